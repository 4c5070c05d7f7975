/**
 * A request of the caller: owned, identified, and ready to be sent more than once.
 *
 * @module
 */

import { isObject } from "../base/plain.ts";
import {
  type Body,
  bodyOf,
  contentOf,
  CREDENTIALS,
  type FetchRequest,
  identityOf,
  type IdentityRules,
} from "./identity.ts";

/** A request as `hashFunc`, `shouldCache` and limits see it, which can send itself. */
export class AskedRequest implements FetchRequest {
  readonly method: string;
  readonly headers: Readonly<Record<string, string>>;
  body?: unknown;
  /** The URL without its fragment. */
  readonly url: string;
  readonly signal: AbortSignal | undefined;
  /** Whether to replace the stored response. */
  readonly isReload: boolean;
  /** Whether neither lookup nor store may see it, because of the caller's options or its body. */
  readonly isBypass: boolean;
  readonly #input: RequestInfo | URL;
  readonly #init: RequestInit;
  readonly #headers: Headers;
  #body: Body;
  #identity: unknown;

  /** Takes the arguments of `fetch` as they are now. */
  constructor(input: RequestInfo | URL, init: RequestInit = {}) {
    const request = isRequest(input) ? input : undefined;
    const base: unknown = Reflect.get(globalThis, "location");
    const href = isObject(base) ? String(Reflect.get(base, "href")) : undefined;
    const url = new URL(request?.url ?? String(input), href);
    url.hash = "";
    this.url = url.href;
    this.method = (init.method ?? request?.method ?? "GET").toUpperCase();
    this.#headers = new Headers(init.headers ?? request?.headers);
    this.headers = Object.fromEntries(this.#headers);
    this.signal = init.signal ?? request?.signal ?? undefined;
    const cacheMode = init.cache ?? request?.cache;
    const redirect = init.redirect ?? request?.redirect ?? "follow";
    const mode = init.mode ?? request?.mode;
    this.isReload = cacheMode === "reload" || cacheMode === "no-cache";
    this.#input = input;
    this.#init = init;
    this.#body = bodyOf(init.body);
    this.isBypass = cacheMode === "no-store" || redirect !== "follow" || mode === "no-cors" ||
      this.#body.kind === "stream";
  }

  /** Whether its headers hold credentials. */
  get hasCredentials(): boolean {
    return Object.keys(this.headers).some((name) => CREDENTIALS.has(name));
  }

  /** Its identity, once `identify` is done. */
  get identity(): unknown {
    return this.#identity;
  }

  /** Reads its body and computes its identity. */
  async identify(rules: IdentityRules): Promise<void> {
    const input = this.#input;
    if (this.#body.kind === "none" && isRequest(input) && input.body !== null) {
      // This consumes the body, as `fetch` itself does.
      this.#body = { kind: "bytes", bytes: new Uint8Array(await input.arrayBuffer()) };
    }
    const { kind } = this.#body;
    const own = kind === "blob" ? this.#body.blob.type : kind === "text" ? this.#body.type : "";
    const content = await contentOf(this.#body, this.headers["content-type"] ?? own);
    this.body = shownBody(this.#body, content);
    this.#identity = await identityOf(this.url, this, content, rules);
  }

  /** Sends the request; may be called again. */
  send(base: typeof fetch, signal: AbortSignal): Promise<Response> {
    const body = sentBody(this.#body);
    return base(this.#input, {
      ...this.#init,
      ...(body !== undefined && { body }),
      headers: this.#headers,
      signal,
    });
  }

  /** The part that `debug` prints: no headers, because they hold credentials. */
  toJSON(): unknown {
    return { method: this.method, body: this.body };
  }
}

/** Whether the input is a Request, also of another realm or a polyfill. */
function isRequest(input: unknown): input is Request {
  return isObject(input) && "url" in input && "method" in input && "headers" in input;
}

function sentBody(body: Body): BodyInit | undefined {
  switch (body.kind) {
    case "text":
      return body.text;
    case "bytes":
      return body.bytes;
    case "blob":
      return body.blob;
    case "form":
      return body.form;
    case "none":
    case "stream":
      // The caller's own argument holds it.
      return undefined;
  }
}

/** The body as the caller's functions see it. */
function shownBody(body: Body, content: unknown): unknown {
  if (!isObject(content)) return undefined;
  if ("json" in content) return content.json;
  if ("form" in content) return content.form;
  if ("text" in content) return content.text;
  return body.kind === "bytes" ? body.bytes : content;
}
