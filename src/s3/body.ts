/**
 * Bodies of requests and answers, in pieces, so that a long transfer shows progress.
 *
 * @module
 */

import { builtin } from "../base/runtime.ts";
import { BrokenBodyError, S3Failure } from "./errors.ts";

/** The size of a piece of a request and of the longest answer read at once, in bytes. */
const PIECE_BYTES = 2 ** 18;

/** A request of the SDK before it is sent. */
interface Request {
  readonly headers: Record<string, string>;
  readonly body: string | Uint8Array;
}

/**
 * Reads a whole body, which must have its announced length.
 *
 * @param progress Called after each piece.
 * @throws {BrokenBodyError} If it breaks off, or does not match its length or checksum.
 */
export async function readBody(
  answer: { readonly Body?: unknown; readonly ContentLength?: number | undefined },
  progress: () => void,
): Promise<Uint8Array> {
  const pieces: Uint8Array[] = [];
  let length = 0;
  try {
    // A stream costs 7 % of a small read.
    const isShort = (answer.ContentLength ?? Infinity) <= PIECE_BYTES;
    for await (const piece of piecesOf(answer.Body, isShort)) {
      pieces.push(piece);
      length += piece.length;
      progress();
    }
  } catch (cause) {
    throw new BrokenBodyError("the body broke off", { cause });
  }
  const { ContentLength: announced = length } = answer;
  if (length !== announced) {
    const reason = `${length} of ${announced} bytes arrived`;
    const cause = new S3Failure(reason, "check the network");
    throw new BrokenBodyError("the body is incomplete", { cause });
  }
  // A copy: the bytes that arrive may be part of a pool of the runtime.
  const body = new Uint8Array(length);
  let at = 0;
  for (const piece of pieces) {
    body.set(piece, at);
    at += piece.length;
  }
  return body;
}

/** The pieces of a body: a single one if it is short, or is not a stream that can be iterated. */
async function* piecesOf(
  body: unknown,
  isShort: boolean,
): AsyncGenerator<Uint8Array, void, undefined> {
  if (isIterable(body) && !isShort) yield* body;
  else if (isWhole(body)) yield await body.transformToByteArray();
}

function isIterable(body: unknown): body is AsyncIterable<Uint8Array> {
  return typeof body === "object" && body !== null && Symbol.asyncIterator in body;
}

function isWhole(body: unknown): body is { transformToByteArray(): Promise<Uint8Array> } {
  return typeof body === "object" && body !== null && "transformToByteArray" in body;
}

/**
 * A signed request with its body in pieces.
 *
 * @param progress Called when the connection takes a piece.
 * @returns A copy, because the SDK sends the same request again when an attempt fails.
 */
export function inPieces(request: unknown, progress: () => void): unknown {
  const { Readable } = builtin("node:stream") ?? {};
  if (Readable === undefined || !isRequest(request) || request.body.length <= PIECE_BYTES) {
    return request;
  }
  const body = Readable.from(cut(request.body, progress), { objectMode: false });
  return Object.assign(Object.create(Object.getPrototypeOf(request)), request, { body });
}

function* cut(body: Uint8Array | string, progress: () => void): Generator<Uint8Array | string> {
  for (let at = 0; at < body.length; at += PIECE_BYTES) {
    progress();
    yield body.slice(at, at + PIECE_BYTES);
  }
}

/** Makes the MD5 of the body, which older servers demand, the only checksum of a request. */
export function withMD5(request: unknown): unknown {
  const crypto = builtin("node:crypto");
  if (isRequest(request) && crypto !== undefined) {
    for (const name of Object.keys(request.headers)) {
      if (/^x-amz-(sdk-)?checksum/i.test(name)) delete request.headers[name];
    }
    const hash = crypto.createHash("md5").update(request.body);
    request.headers["content-md5"] = hash.digest("base64");
  }
  return request;
}

function isRequest(value: unknown): value is Request {
  return typeof value === "object" && value !== null && "headers" in value && "body" in value &&
    (typeof value.body === "string" || value.body instanceof Uint8Array);
}
