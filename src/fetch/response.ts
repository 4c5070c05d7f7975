/**
 * Responses made of flows: real ones, with the URL that they came from and how they were had.
 *
 * @module
 */

import { hasNoBody } from "./keep.ts";
import type { Head, Item } from "./stored.ts";

/** How a response was had, as the header `Cache-Status` says it (RFC 9211). */
export type CacheStatus =
  | "hit"
  | "hit; detail=stale-if-error"
  | "fwd=miss"
  | "fwd=miss; collapsed"
  | "fwd=request"
  | "fwd=bypass"
  | "fwd=method";

/** A response as far as it has come: its head, and the rest of its body. */
export interface Flow {
  readonly head: Head;
  /** The body after the head: next pieces, and `return` to leave. */
  readonly rest: AsyncIterator<Item>;
  /** Whether the rest is there already, in one piece. */
  readonly isStored: boolean;
}

/**
 * Makes a response of a flow.
 *
 * @param flow The flow, after its head.
 * @param request The URL and the method that were asked for.
 * @param status How it was had.
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
    // To the end, which comes after the response is stored.
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

/** A stored body. A string alone would get a content type that the response had not. */
function whole(item: Uint8Array | string, headers: Headers): BodyInit {
  if (typeof item !== "string") return new Uint8Array(item);
  return headers.has("content-type") ? item : new TextEncoder().encode(item);
}

/** The body as its client reads it: whoever cancels it leaves the flow. */
function streamOf(rest: AsyncIterator<Item>): ReadableStream<Uint8Array<ArrayBuffer>> {
  return new ReadableStream({
    type: "bytes",
    async pull(controller) {
      for (;;) {
        const { done, value } = await rest.next();
        if (done === true) {
          controller.close();
          // A reader with a buffer of its own waits for that.
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

/** Gives a response what only `fetch` itself can give: the URL that it is from. */
function dress(response: Response, redirectedTo: string | undefined, url: string): Response {
  const { clone } = Response.prototype;
  return Object.defineProperties(response, {
    url: { value: redirectedTo ?? url },
    redirected: { value: redirectedTo !== undefined },
    clone: { value: () => dress(clone.call(response), redirectedTo, url) },
  });
}
