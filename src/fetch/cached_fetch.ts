/**
 * A `fetch` that caches responses: a stream function of a head and the pieces of a body, with a
 * codec that stores them as one readable result.
 *
 * @module
 */

import { array, check, count, fn, object, oneOf, required, type Rule } from "../base/check.ts";
import type { Duration } from "../base/duration.ts";
import { CacheOnlyError, optionMessage, UnstoredResponseError } from "../base/errors.ts";
import type { FunctionWrapper } from "../base/wrap.ts";
import { Cache, streamOf } from "../core/cache.ts";
import { StreamReader } from "../core/stream.ts";
import type { RetryOptions } from "../limits/retry.ts";
import { exchangeOver, OpaqueResponse } from "./exchange.ts";
import { type FetchRequest, IDENTIFYING, type IdentityRules } from "./identity.ts";
import { isFinal, isSuccess, reasonAgainst } from "./keep.ts";
import { AskedRequest } from "./request.ts";
import { type CacheStatus, respond } from "./response.ts";
import {
  decodeResponse,
  encodeResponse,
  headOf,
  type Item,
  joined,
  type StoredResponse,
} from "./stored.ts";

/** Options of {@linkcode cachedFetch}. */
export interface CachedFetchOptions {
  /**
   * The id of the responses in the store, for `cache.bust(id)`, `BUST_CACHE` and statistics.
   * Clients may share an id, because the URL is part of each key.
   *
   * @default {"fetch"}
   */
  readonly id?: string;
  /**
   * The methods whose responses are kept: `["POST"]` for clients of LLMs, `["GET"]` for pages and
   * APIs. Requests of other methods pass. There is no default: with GET kept, a client that polls
   * a job never sees its end.
   */
  readonly methods: readonly string[];
  /**
   * Further request headers that identify a request, such as `["x-tenant"]`. Those that choose a
   * representation or the version of an API always identify it.
   *
   * @default {[]}
   */
  readonly headers?: readonly string[];
  /**
   * `"ignore"`: credentials do not identify a request. For LLMs, where a rotated key, a colleague
   * and CI with a dummy key must find the same answers. Unset: `authorization`, `cookie`,
   * `x-api-key` and the like identify it as a digest, so nobody gets the answer to another user.
   */
  readonly credentials?: "ignore";
  /**
   * Returns the identity of a request, in place of method, URL, headers and body: any value that
   * can be hashed. Credentials still identify it too, unless they are ignored.
   */
  readonly hashFunc?: (url: string, request: FetchRequest) => unknown;
  /**
   * Whether a whole and successful response is worth keeping: false, or a promise of it, stores
   * nothing.
   */
  readonly shouldCache?: (
    response: StoredResponse,
    url: string,
    request: FetchRequest,
  ) => boolean | Promise<boolean>;
  /** Part of each key: another version starts afresh. */
  readonly version?: string | number;
  /**
   * The time that a response stays fresh: more than 0. The HTTP headers for that are ignored.
   *
   * @default {Infinity}
   */
  readonly ttl?: Duration;
  /**
   * The time after `ttl` in which it is served if there is no response at all. Needs `ttl`.
   *
   * @default {never}
   */
  readonly staleIfError?: Duration;
  /**
   * Whether to print each request to stderr: its status, key, URL and body, never its credentials.
   *
   * @default {false}
   */
  readonly debug?: boolean;
  /**
   * The function that sends a request, such as a `fetch` over a proxy.
   *
   * @default {the global fetch, as it is at the call}
   */
  readonly fetch?: typeof fetch;
  /**
   * A limit around each exchange, until its body ends or its reader leaves; `deriveKey` and `cost`
   * get the URL. Hits do not count.
   */
  readonly limit?: FunctionWrapper;
  /**
   * Retries after a broken connection, or a response of 408, 409, 429 or 5xx, whose `Retry-After`
   * is obeyed. Callbacks find that response as `error.response`. The last response is returned.
   * There is no retry once the body has begun, and none for methods that pass.
   *
   * @default {no retry}
   */
  readonly retry?: RetryOptions;
  /**
   * The longest body that is kept, in bytes: a positive integer or `Infinity`. Longer ones pass.
   *
   * @default {32 MiB}
   */
  readonly maxBytes?: number;
}

const ACTION = "make a cached fetch";

const names: Rule<readonly string[]> = {
  must: "an array of the names of headers",
  read: (value) => readNames(value)?.map((name) => name.toLowerCase()),
};

const methods: Rule<readonly string[]> = {
  must: 'the methods whose responses are kept: ["POST"] for clients of LLMs, ["GET"] for pages ' +
    "and APIs",
  read: (value) => readNames(value)?.map((name) => name.toUpperCase()),
  isInRange: (value) => value.length > 0,
};

function readNames(value: unknown): string[] | undefined {
  const isList = array.read(value)?.every((name) => /^[!#$%&'*+.^`|~\w-]+$/.test(String(name)));
  return isList === true ? Array.from(value as Iterable<unknown>, String) : undefined;
}

const anything: Rule<unknown> = { must: "set", read: (value) => value ?? null };

/** The rules that are not those of `cache.stream`, which checks the others. */
const RULES = {
  methods: required(methods),
  headers: names,
  credentials: oneOf("ignore"),
  hashFunc: fn as Rule<NonNullable<CachedFetchOptions["hashFunc"]>>,
  shouldCache: fn as Rule<NonNullable<CachedFetchOptions["shouldCache"]>>,
  fetch: fn as Rule<typeof fetch>,
  limit: fn as Rule<FunctionWrapper>,
  retry: object,
  maxBytes: count({ infinity: true }),
  id: anything,
  version: anything,
  ttl: anything,
  staleIfError: anything,
  debug: anything,
};

/** The most bytes that a body takes besides its own: a head, and a few bytes for each piece. */
const OVERHEAD = 2 ** 20;

/**
 * Makes a `fetch` that caches responses, for any client.
 *
 * A request is identified by method, URL, the headers that choose a representation, its credentials
 * as a digest, and its body: JSON by its value, a form by its parts, files by their bytes. Requests
 * with a stream as body pass. Only whole responses of 2xx other than 206 are kept: JSON must parse,
 * and streams of events or lines must end as they began. A response that varies by what does not
 * identify its request is not kept. Neither a header nor the body of a request is ever stored.
 *
 * A body flows to its client while it is recorded, and equal requests meanwhile share it live. The
 * client sees its end once it is stored. A client that leaves early ends the exchange, and nothing
 * is kept unless the body was already complete. The header `Cache-Status` (RFC 9211) of every
 * response reports its source. The request option `cache: "no-store"` passes; `"reload"` and
 * `"no-cache"` ask again and replace.
 *
 * @param cache The cache that keeps responses.
 * @param options The kept methods, the identity of a request, limits and retries.
 * @returns A function of the type of `fetch`.
 * @throws {TypeError} If `methods` is missing, or an option is unknown or of the wrong shape.
 * @throws {RangeError} If an option is out of range.
 *
 * @category Fetch
 * @example Each question is asked once
 * ```ts
 * import { MemoryCache } from "@panza/panza";
 * import { cachedFetch } from "@panza/panza/fetch";
 * import { assertEquals } from "@std/assert";
 *
 * await using cache = new MemoryCache();
 * const ask = cachedFetch(cache, {
 *   id: "echo",
 *   methods: ["POST"],
 *   credentials: "ignore",
 *   fetch: async (_url, init) => await Promise.resolve(Response.json({ echo: init?.body })),
 * });
 * const request = { method: "POST", body: "hi", headers: { authorization: "Bearer secret" } };
 * const first = await ask("https://example.com/", request);
 * assertEquals([await first.json(), first.headers.get("cache-status")], [{ echo: "hi" }, "panza; fwd=miss"]);
 * const second = await ask("https://example.com/", request);
 * assertEquals([await second.json(), second.headers.get("cache-status")], [{ echo: "hi" }, "panza; hit"]);
 * ```
 */
export function cachedFetch(cache: Cache, options: CachedFetchOptions): typeof fetch {
  if (!(cache instanceof Cache)) {
    throw new TypeError(optionMessage(ACTION, "cache", "a cache of this library", cache));
  }
  const checked = check(ACTION, options ?? {}, RULES);
  const { limit, shouldCache, maxBytes = 32 * 2 ** 20 } = checked;
  const { id = "fetch", version, ttl, staleIfError, debug } = options;
  const methods = new Set(checked.methods);
  const rules: IdentityRules = {
    headers: new Set([...IDENTIFYING, ...checked.headers ?? []]),
    credentials: checked.credentials !== "ignore",
    hashFunc: checked.hashFunc,
  };
  // Looked up at each call, because tests and tracers replace it.
  const base: typeof fetch = checked.fetch ?? ((input, init) => globalThis.fetch(input, init));
  const passing = exchangeOver(base, limit);
  // The signal of a request without one, so that leaving ends an exchange that waits.
  const never = new AbortController().signal;

  /** Whether a response is kept; a successful one that cannot be kept is reported. */
  async function isKept(
    items: readonly Item[],
    url: string,
    request: AskedRequest,
  ): Promise<boolean> {
    const { status } = headOf(items);
    if (!isSuccess(status)) return false;
    const reason = joined(items).length > maxBytes
      ? `it has more than ${maxBytes} bytes; maxBytes decides`
      : reasonAgainst(items, request.method, rules);
    if (reason !== undefined) throw new UnstoredResponseError(reason);
    return shouldCache === undefined ||
      Boolean(await shouldCache(encodeResponse(items), url, request));
  }

  const flow = streamOf(
    cache,
    {
      id,
      ...(version !== undefined && { version }),
      ...(ttl !== undefined && { ttl }),
      ...(staleIfError !== undefined && { staleIfError }),
      ...(debug !== undefined && { debug }),
      maxItems: Infinity,
      hashFunc: (_url: string, request: AskedRequest) => request.identity,
      shouldCache: isKept,
      codec: { encode: encodeResponse, decode: decodeResponse },
    },
    {
      isEager: true,
      maxBytes: maxBytes + OVERHEAD,
      bound: `${maxBytes} bytes; maxBytes decides`,
      finishes: isFinal,
      renews: ([, request]) => request instanceof AskedRequest && request.isReload,
    },
  )(exchangeOver(base, limit, options.retry));

  /** Sends a request past the cache. */
  async function pass(request: AskedRequest, status: CacheStatus): Promise<Response> {
    const leaving = new AbortController();
    const signals = request.signal === undefined ? [] : [request.signal];
    const items = passing(request.url, request, AbortSignal.any([...signals, leaving.signal]));
    const rest: AsyncIterator<Item> = {
      next: () => items.next(),
      // Otherwise a read that waits for the server would delay the end of the generator.
      return: () => {
        leaving.abort(new DOMException("The body was left", "AbortError"));
        return items.return();
      },
    };
    const first = await items.next();
    return await respond({ head: headOf([first.value]), rest, isStored: false }, request, status);
  }

  async function ask(request: AskedRequest): Promise<Response> {
    if (!methods.has(request.method)) return await pass(request, "fwd=method");
    if (request.isBypass) return await pass(request, "fwd=bypass");
    await request.identify(rules);
    const rest = flow(request.url, request, request.signal ?? never);
    const first = await rest.next();
    const how = rest instanceof StreamReader ? rest.status : undefined;
    const isStored = how === "hit" || how === "stale";
    const status = how === "miss" && request.isReload ? "fwd=request" : STATUSES[how ?? "miss"];
    return await respond({ head: headOf([first.value]), rest, isStored }, request, status);
  }

  return async (input, init) => {
    const request = new AskedRequest(input, init);
    try {
      return await ask(request);
    } catch (error) {
      if (error instanceof OpaqueResponse) return error.response;
      const isByCredentials = error instanceof CacheOnlyError && rules.credentials &&
        request.hasCredentials;
      if (!isByCredentials) throw error;
      throw new CacheOnlyError(
        id,
        error.key,
        'the credentials of a request identify it: with credentials: "ignore" what was recorded ' +
          "under others is found",
      );
    }
  };
}

/** The `Cache-Status` of each status of a call. */
const STATUSES = {
  hit: "hit",
  stale: "hit; detail=stale-if-error",
  miss: "fwd=miss",
  shared: "fwd=miss; collapsed",
} as const;
