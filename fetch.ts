/**
 * A `fetch` that keeps responses, for whatever client takes one: SDKs of LLMs, scrapers, APIs.
 *
 * @example One line for a client
 * ```ts
 * import { SQLiteCache } from "@panza/panza";
 * import { cachedFetch } from "@panza/panza/fetch";
 * import OpenAI from "openai";
 *
 * await using cache = new SQLiteCache(".cache/answers.db");
 * const openai = new OpenAI({
 *   apiKey: "sk-…",
 *   fetch: cachedFetch(cache, { id: "openai", methods: ["POST"], credentials: "ignore" }),
 * });
 * ```
 *
 * @module
 */

export { cachedFetch, type CachedFetchOptions } from "./src/fetch/cached_fetch.ts";
export type { FetchRequest } from "./src/fetch/identity.ts";
export type { StoredResponse } from "./src/fetch/stored.ts";
export { UnstoredResponseError } from "./src/base/errors.ts";
