/**
 * The interface to limits that several processes share.
 *
 * The caches bring the implementation: a program without a cache does not carry it.
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

/** The words after "must be" for the store of a shared limit. */
export const STORE_RULE = "a cache or a backend that keeps notes, as over SQLite";

let brought: SharedLimits | undefined;

/** Registers the implementation of shared limits. */
export function bringSharedLimits(limits: SharedLimits): void {
  brought = limits;
}

/**
 * The implementation of the limit that some options ask for.
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
