/**
 * The identity of a request: method, URL, identifying headers, credentials as a digest, and body.
 *
 * @module
 */

import { isObject } from "../base/plain.ts";
import { digest } from "../encoding/digest.ts";
import { bytesName, bytesOf, tagOf } from "../encoding/kinds.ts";
import { keepsNumbers, parseJson } from "./json.ts";

/** A request as `hashFunc`, `shouldCache` and `deriveKey` see it. */
export interface FetchRequest {
  /** The method, in upper case. */
  readonly method: string;
  /** All headers that the caller passed, by their names in lower case. */
  readonly headers: Readonly<Record<string, string>>;
  /**
   * The body: the value of a JSON text, another text, bytes, or the parts of a form with digests in
   * place of its files; `undefined` for none.
   */
  readonly body?: unknown;
}

/** The parts of a request that identify it, besides its method, its URL and its body. */
export interface IdentityRules {
  /** The names of the headers that identify, in lower case. */
  readonly headers: ReadonlySet<string>;
  /** Whether the headers that hold credentials identify too. */
  readonly credentials: boolean;
  /** Returns the identity in place of method, URL, headers and body; credentials stay. */
  readonly hashFunc: ((url: string, request: FetchRequest) => unknown) | undefined;
}

/** The headers in which clients send credentials. */
export const CREDENTIALS: ReadonlySet<string> = new Set([
  "api-key",
  "authorization",
  "cookie",
  "proxy-authorization",
  "x-api-key",
  "x-auth-token",
  "x-github-otp",
  "x-goog-api-key",
]);

/**
 * The headers that choose among representations, or versions of an API. A list of ignored headers
 * would break with each release of an SDK: `x-stainless-…`, `traceparent`, `user-agent`.
 */
export const IDENTIFYING: readonly string[] = [
  "accept",
  "accept-language",
  "anthropic-beta",
  "anthropic-version",
  "notion-version",
  "openai-beta",
  "prefer",
  "range",
  "x-github-api-version",
  "x-requested-with",
];

/** The body of a request: owned, so that later changes of the caller's objects do not reach it. */
export type Body =
  | { readonly kind: "none" }
  | { readonly kind: "text"; readonly text: string; readonly type: string }
  | { readonly kind: "bytes"; readonly bytes: Uint8Array<ArrayBuffer> }
  | { readonly kind: "blob"; readonly blob: Blob }
  | { readonly kind: "form"; readonly form: FormData }
  /** A stream can only be read once, and is passed on as it is. */
  | { readonly kind: "stream" };

/** The content types that fetch gives to texts and parameters without one. */
const TEXT = "text/plain";
const FORM = "application/x-www-form-urlencoded";

/** Takes a body as it is now. */
export function bodyOf(body: unknown): Body {
  if (body === undefined || body === null) return { kind: "none" };
  if (typeof body === "string") return { kind: "text", text: body, type: TEXT };
  if (!isObject(body)) return { kind: "text", text: String(body), type: TEXT };
  if (bytesName(body) !== undefined) {
    return { kind: "bytes", bytes: new Uint8Array(bytesOf(body)) };
  }
  const tag = tagOf(body);
  if (tag === "URLSearchParams") return { kind: "text", text: String(body), type: FORM };
  if (body instanceof Blob) return { kind: "blob", blob: body };
  if (body instanceof FormData) return { kind: "form", form: copyOf(body) };
  return { kind: "stream" };
}

function copyOf(form: FormData): FormData {
  const copy = new FormData();
  for (const [name, value] of form) copy.append(name, value);
  return copy;
}

/**
 * The content of a body, as canonical data.
 *
 * JSON is its value, because clients order and indent it as they like. A form is its parts, because
 * the boundary between them is random. Files and bytes are digests.
 *
 * @param type The content type, from the headers or the body itself; empty for none.
 */
export async function contentOf(body: Body, type: string): Promise<unknown> {
  const [essence = ""] = type.toLowerCase().split(";", 1);
  switch (body.kind) {
    case "none":
    case "stream":
      return undefined;
    case "text":
      return textContent(body.text, essence.trim());
    case "form":
      return { form: await partsOf(body.form) };
    case "blob":
      return await bytesContent(new Uint8Array(await body.blob.arrayBuffer()), type, essence);
    case "bytes":
      return await bytesContent(body.bytes, type, essence);
  }
}

function textContent(text: string, type: string): unknown {
  const json = /^\s*[[{]/.test(text) ? parseJson(text) : undefined;
  return json !== undefined && keepsNumbers(text) ? { json: json.value } : { text, type };
}

async function bytesContent(
  bytes: Uint8Array<ArrayBuffer>,
  type: string,
  essence: string,
): Promise<unknown> {
  if (essence === "multipart/form-data") {
    try {
      const headers = { "content-type": type };
      const form = await new Response(bytes, { headers }).formData();
      return { form: await partsOf(form, typesOf(bytes, type)) };
    } catch {
      // Not a form, whatever its type says.
    }
  }
  // Some runtimes give no content type to the text of a Request.
  if (/\b(?:json|xml)$|^text\/|^$/.test(essence) || essence === FORM) {
    const text = textOf(bytes);
    if (text !== undefined) return textContent(text, essence.trim() || TEXT);
  }
  return { bytes: await digest(bytes), type: essence.trim() };
}

/** The parts of a form, as they are sent; `types` are the known types of its files. */
async function partsOf(
  form: FormData,
  types: readonly (string | undefined)[] = [],
): Promise<readonly unknown[]> {
  const parts: unknown[] = [];
  for (const [name, value] of form) {
    // Each line break is sent as CRLF.
    if (typeof value === "string") parts.push([name, value.replace(/\r\n?|\n/g, "\r\n")]);
    else {
      const bytes = new Uint8Array(await value.arrayBuffer());
      const type = types[parts.length] ?? (value.type || "application/octet-stream");
      parts.push([name, value.name, withoutUTF8(type.toLowerCase()), await digest(bytes)]);
    }
  }
  return parts;
}

/** The types in the parts of a form; Bun drops those that it does not know when it reads a form. */
function typesOf(bytes: Uint8Array, type: string): (string | undefined)[] {
  const [, boundary = ""] = /boundary="?([^";]+)/i.exec(type) ?? [];
  const parts = new TextDecoder("latin1").decode(bytes).split(`--${boundary}`).slice(1);
  return parts.map((part) =>
    /^content-type: *([^\r\n]*)/im.exec(part.slice(0, part.indexOf("\r\n\r\n")))?.[1]
  );
}

/** A type without the charset that Bun adds to files of text. */
function withoutUTF8(type: string): string {
  return type.replace(/; ?charset=utf-8$/, "");
}

/** Bytes as text; `undefined` if they are not UTF-8. */
export function textOf(bytes: Uint8Array): string | undefined {
  try {
    // With its byte order mark: the text must encode to the same bytes.
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return undefined;
  }
}

/**
 * The identity of a request, as canonical data. It holds credentials as a digest only.
 *
 * @param url The URL, without its fragment.
 * @param content The content of its body.
 */
export async function identityOf(
  url: string,
  request: FetchRequest,
  content: unknown,
  rules: IdentityRules,
): Promise<unknown> {
  const headers: Record<string, string> = {};
  const secrets: [name: string, value: string][] = [];
  for (const [name, value] of Object.entries(request.headers)) {
    const isNamed = rules.headers.has(name);
    if (!CREDENTIALS.has(name)) { if (isNamed) headers[name] = value; }
    else if (isNamed || rules.credentials) secrets.push([name, value]);
  }
  const who = {
    credentials: secrets.length === 0
      ? undefined
      : await digest(JSON.stringify(secrets.sort(([a], [b]) => a < b ? -1 : 1))),
    // Kept apart: what was stored without credentials may be the answer to anybody.
    ignores: rules.credentials ? undefined : "credentials",
  };
  if (rules.hashFunc === undefined) {
    return { method: request.method, url, headers, body: content, ...who };
  }
  const hash = rules.hashFunc(url, request);
  if (hash === undefined || hash instanceof Promise) {
    throw new TypeError("Cannot identify the request: hashFunc must return a value, not a promise");
  }
  return { hash, ...who };
}
