/**
 * Exchanges with a server, under a limit and with retries, as flows of a head and pieces.
 *
 * @module
 */

import type { FunctionWrapper } from "../base/wrap.ts";
import { retry, type RetryOptions } from "../limits/retry.ts";
import { readRetryAfter } from "../limits/retry_after.ts";
import type { AskedRequest } from "./request.ts";
import type { Head, Item } from "./stored.ts";

/** Makes one exchange, or retries until one succeeds. */
export type Exchange = (
  url: string,
  request: AskedRequest,
  signal: AbortSignal,
) => AsyncGenerator<Item, void, unknown>;

/** Whether a retry may change a status. */
function isPassing(status: number): boolean {
  return status === 408 || status === 409 || status === 429 || status >= 500;
}

/** A response that may be retried; the last one goes to the caller. */
class ResponseError extends Error {
  override readonly name = "ResponseError";
  readonly status: number;
  /** Headers and status; the body has been read. */
  readonly response: Response;
  readonly items: readonly Item[];

  constructor(response: Response, items: readonly Item[]) {
    super(`the server answered ${response.status}`);
    this.status = response.status;
    this.response = response;
    this.items = items;
  }
}

/** Thrown for an opaque response, which only the runtime's own object can represent. */
export class OpaqueResponse extends Error {
  override readonly name = "OpaqueResponse";
  readonly response: Response;

  constructor(response: Response) {
    super("the response is opaque");
    this.response = response;
  }
}

/**
 * The exchange over a `fetch`, with each attempt under the limit. The caller gets the last failure,
 * a response or an error.
 *
 * @param base The `fetch` that sends a request.
 * @param limit Holds a permit for each exchange, to the end of its body.
 * @param options The retries; unset, there are none.
 */
export function exchangeOver(
  base: typeof fetch,
  limit: FunctionWrapper | undefined,
  options?: RetryOptions,
): Exchange {
  async function* exchange(
    _url: string,
    request: AskedRequest,
    signal: AbortSignal,
  ): AsyncGenerator<Item, void, unknown> {
    const response = await request.send(base, signal);
    if (response.status === 0) throw new OpaqueResponse(response);
    if (options !== undefined && isPassing(response.status)) {
      const items: Item[] = [];
      // Read under the permit, so that the next attempt finds the connection free.
      for await (const item of itemsOf(response)) items.push(item);
      throw new ResponseError(response, items);
    }
    yield* itemsOf(response);
  }
  const limited = limit === undefined ? exchange : limit(exchange);
  if (options === undefined) return limited;
  const { shouldRetry } = options;
  const attempts = retry({
    retryAfter: readRetryAfter,
    ...options,
    shouldRetry: (error) =>
      !(error instanceof OpaqueResponse) && (shouldRetry === undefined || shouldRetry(error)),
  })(limited);
  return async function* exchanges(url, request, signal) {
    try {
      yield* attempts(url, request, signal);
    } catch (error) {
      if (!(error instanceof ResponseError)) throw error;
      yield* error.items;
    }
  };
}

/** The head of a response, and its body as it arrives. */
async function* itemsOf(response: Response): AsyncGenerator<Item, void, unknown> {
  const { status, statusText, url, redirected } = response;
  const headers = [...response.headers];
  const head: Head = { status, statusText, headers, ...(redirected && { redirectedTo: url }) };
  yield head;
  const reader = response.body?.getReader();
  if (reader === undefined) return;
  let isOver = false;
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      // A copy: a piece may arrive as a Buffer, or as a part of a larger one.
      yield new Uint8Array(value);
    }
    isOver = true;
  } finally {
    if (!isOver) reader.cancel().catch(() => {});
  }
}
