/**
 * Real responses made of flows, with the URL that they came from and a `Cache-Status`.
 *
 * @module
 */

import { hasNoBody } from "./keep.ts";
import type { Head, Item } from "./stored.ts";

/** The source of a response, in the words of the header `Cache-Status` (RFC 9211). */
export type CacheStatus =
  | "hit"
  | "hit; detail=stale-if-error"
  | "fwd=miss"
  | "fwd=miss; collapsed"
  | "fwd=request"
  | "fwd=bypass"
  | "fwd=method";

/** A response in transit: its head, and the rest of its body. */
export interface Flow {
  readonly head: Head;
  /** The body after the head: `next` for its pieces, and `return` to leave. */
  readonly rest: AsyncIterator<Item>;
  /** Whether the rest is already there, in one piece. */
  readonly isStored: boolean;
}

/**
 * Makes a response of a flow.
 *
 * @param flow The flow, after its head.
 * @param request The requested URL and method.
 * @param status The source of the response.
 */
export async function respond(
  { head, rest, isStored }: Flow,
  request: { readonly url: string; readonly method: string },
  status: CacheStatus,
): Promise<Response> {
  const headers = new Headers();
  for (const [name, value] of head.headers) headers.append(name, value);
  headers.append("cache-status", `panza; ${status}`);
  const options = { status: head.status, statusText: head.statusText, headers };
  let body: BodyInit | null = null;
  if (isStored || hasNoBody(head.status, request.method)) {
    // Read to the end, which comes after the response is stored.
    for (let next = await rest.next(); next.done !== true; next = await rest.next()) {
      if (!isHead(next.value)) body = whole(next.value, headers);
    }
    if (hasNoBody(head.status, request.method)) body = null;
  } else body = streamOf(rest);
  return dress(new Response(body, options), head.redirectedTo, request.url);
}

function isHead(item: Item): item is Head {
  return typeof item === "object" && !(item instanceof Uint8Array);
}

/** A stored body. A string alone would add a content type that the response did not have. */
function whole(item: Uint8Array | string, headers: Headers): BodyInit {
  if (typeof item !== "string") return new Uint8Array(item);
  return headers.has("content-type") ? item : new TextEncoder().encode(item);
}

/** The body as a client reads it; to cancel it is to leave the flow. */
function streamOf(rest: AsyncIterator<Item>): ReadableStream<Uint8Array<ArrayBuffer>> {
  return new ReadableStream({
    type: "bytes",
    async pull(controller) {
      for (;;) {
        const { done, value } = await rest.next();
        if (done === true) {
          controller.close();
          // A reader with its own buffer waits for this response.
          controller.byobRequest?.respond(0);
          return;
        }
        if (value instanceof Uint8Array && value.length > 0) {
          return controller.enqueue(new Uint8Array(value));
        }
      }
    },
    async cancel() {
      await rest.return?.();
    },
  });
}

/** Gives a response the URL that it came from, which otherwise only `fetch` can. */
function dress(response: Response, redirectedTo: string | undefined, url: string): Response {
  const { clone } = Response.prototype;
  return Object.defineProperties(response, {
    url: { value: redirectedTo ?? url },
    redirected: { value: redirectedTo !== undefined },
    clone: { value: () => dress(clone.call(response), redirectedTo, url) },
  });
}
