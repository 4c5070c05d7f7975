/**
 * Limits that several processes share, as far as a limit needs to know of them.
 *
 * The caches bring the rest with them: a program without a cache does not carry it.
 *
 * @module
 */

import { optionMessage } from "../base/errors.ts";
import type { LimiterOptions, SharedOptions } from "./limiter.ts";
import type { ConcurrencyLimiter } from "./permits.ts";
import type { LimitRateOptions, RateLimiter } from "./window.ts";

/** Makes limits that are in a store. */
export interface SharedLimits {
  concurrency(n: number, options: LimiterOptions & SharedOptions): ConcurrencyLimiter;
  rate(count: number, options: LimitRateOptions): RateLimiter;
}

/** What the store of a shared limit must be. */
export const STORE_RULE = "a cache or a backend that keeps notes, as over SQLite";

let brought: SharedLimits | undefined;

/** Brings what makes shared limits. */
export function bringSharedLimits(limits: SharedLimits): void {
  brought = limits;
}

/**
 * What makes the limit that some options ask for.
 *
 * @returns `undefined` for a limit of this process.
 * @throws {TypeError} If there is no cache that could be its store.
 */
export function sharedLimits(
  action: string,
  options: SharedOptions | undefined,
): SharedLimits | undefined {
  // One of the two alone is a mistake.
  if (options?.store === undefined && options?.id === undefined) return undefined;
  if (brought !== undefined) return brought;
  throw new TypeError(optionMessage(action, "store", STORE_RULE, options.store));
}
