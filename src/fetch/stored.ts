/**
 * The stored form of a response: readable, and without the parts that belong to one exchange.
 *
 * @module
 */

import { isObject } from "../base/plain.ts";
import { textOf } from "./identity.ts";
import { keepsNumbers, parseJson } from "./json.ts";

/** The beginning of a response, as plain data. */
export interface Head {
  readonly status: number;
  readonly statusText: string;
  readonly headers: readonly (readonly [name: string, value: string])[];
  /** The URL that a redirect led to. */
  readonly redirectedTo?: string;
}

/** A response as it is stored. */
export interface StoredResponse {
  /** From 200 to 299. */
  readonly status: number;
  /** The reason phrase, often empty. */
  readonly statusText: string;
  /** The headers by their names in lower case, without those that belong to one exchange. */
  readonly headers: Readonly<Record<string, string>>;
  /** The URL that a redirect led to, without its query, which is often a signature. */
  readonly redirectedTo?: string;
  /** The body, if it is JSON whose numbers JavaScript keeps. */
  readonly json?: unknown;
  /** The body, if it is other UTF-8. */
  readonly text?: string;
  /** Any other body. */
  readonly bytes?: Uint8Array;
}

/** An item in the flow of a response: its head, then its body in pieces. */
export type Item = Head | Uint8Array | string;

/** Headers that concern one exchange or its connection, or grant something to one client. */
const UNSTORED =
  /^(?:set-cookie2?|connection|keep-alive|proxy-.*|te|trailer|transfer-encoding|upgrade|content-encoding|content-length|age|alt-svc|retry-after|(?:.*-)?ratelimit(?:-.*)?|(?:.*-)?rate-limit(?:-.*)?|authentication-info|www-authenticate|clear-site-data)$/;

/** The content type among headers; empty for none. */
export function typeOf({ headers }: Head): string {
  return headers.find(([name]) => name === "content-type")?.[1] ?? "";
}

/** The bytes of a body in one piece. */
export function joined(chunks: readonly unknown[]): Uint8Array<ArrayBuffer> {
  const bytes = chunks.filter((chunk) => chunk instanceof Uint8Array);
  const whole = new Uint8Array(bytes.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const chunk of bytes) {
    whole.set(chunk, at);
    at += chunk.length;
  }
  return whole;
}

/** The head of a flow, its first item. */
export function headOf([head]: readonly unknown[]): Head {
  if (!isHead(head)) throw new TypeError("Cannot read the response: it has no head");
  return head;
}

function isHead(value: unknown): value is Head {
  return isObject(value) && typeof Reflect.get(value, "status") === "number";
}

/** Makes the stored form of the items of a flow. */
export function encodeResponse(items: readonly Item[]): StoredResponse {
  const head = headOf(items);
  const { status, statusText, redirectedTo } = head;
  const stored = {
    status,
    statusText,
    headers: Object.fromEntries(head.headers.filter(([name]) => !UNSTORED.test(name))),
    ...(redirectedTo !== undefined && { redirectedTo: redirectedTo.replace(/[?#].*$/s, "") }),
  };
  return items.length === 1 ? stored : { ...stored, ...bodyOf(typeOf(head), joined(items)) };
}

/** The member that holds a body. */
export function bodyOf(
  type: string,
  bytes: Uint8Array,
): Pick<StoredResponse, "json" | "text" | "bytes"> {
  const text = textOf(bytes);
  if (text === undefined) return { bytes };
  const json = /json\s*(?:;|$)/i.test(type) ? parseJson(text) : undefined;
  return json !== undefined && keepsNumbers(text) ? { json: json.value } : { text };
}

/** Makes the items of a flow from the stored form: the head, and the body in one piece. */
export function decodeResponse(stored: StoredResponse): Item[] {
  const { status, statusText, headers, redirectedTo, json, text, bytes } = stored;
  const head: Head = {
    status,
    statusText,
    headers: Object.entries(headers),
    ...(redirectedTo !== undefined && { redirectedTo }),
  };
  if (bytes !== undefined) return [head, bytes];
  if (text !== undefined) return [head, text];
  return "json" in stored ? [head, JSON.stringify(json)] : [head];
}
