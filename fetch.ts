/**
 * A `fetch` that caches responses, for any client that accepts one: LLM SDKs, scrapers, APIs.
 *
 * @example One line for a client
 * ```ts
 * import { MemoryCache } from "@panza/panza";
 * import { cachedFetch } from "@panza/panza/fetch";
 *
 * await using cache = new MemoryCache();
 * const fetch = cachedFetch(cache, { id: "openai", methods: ["POST"], credentials: "ignore" });
 * // For new OpenAI({ fetch }), new Anthropic({ fetch }), createOpenAI({ fetch }) and their like.
 * ```
 *
 * @module
 */

export { cachedFetch, type CachedFetchOptions } from "./src/fetch/cached_fetch.ts";
export type { FetchRequest } from "./src/fetch/identity.ts";
export type { StoredResponse } from "./src/fetch/stored.ts";
export { UnstoredResponseError } from "./src/base/errors.ts";
