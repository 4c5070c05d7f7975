/**
 * Limits on async functions: how many calls run at once, and how many start in a span of time.
 *
 * @example Five downloads at a time, at most one per host
 * ```ts
 * import { limitConcurrency } from "@panza/panza/concurrency";
 * import { assertEquals } from "@std/assert";
 *
 * const perHost = limitConcurrency(1, { deriveKey: (url: string) => new URL(url).host });
 * const inAll = limitConcurrency(5);
 * const download = perHost(inAll(async (url: string) => await Promise.resolve(url.length)));
 *
 * assertEquals(await Promise.all(["http://a/", "http://a/b", "http://c/"].map((url) => download(url))), [9, 10, 9]);
 * ```
 *
 * @module
 */

export type { Duration } from "./src/base/duration.ts";
export type { SchemaResult, StandardSchema } from "./src/base/schema.ts";
export type {
  AnyFunction,
  AsyncFunction,
  FunctionWrapper,
  GeneratorFunction,
  PlainCall,
} from "./src/base/wrap.ts";
export {
  type AdaptiveLimiter,
  limitAdaptive,
  type LimitAdaptiveOptions,
} from "./src/limits/adaptive.ts";
export type { Limiter, LimiterOptions } from "./src/limits/limiter.ts";
export { type ConcurrencyLimiter, limitConcurrency } from "./src/limits/permits.ts";
export {
  type Backoff,
  type Retrier,
  retry,
  type RetryInfo,
  type RetryOptions,
} from "./src/limits/retry.ts";
export { readRetryAfter } from "./src/limits/retry_after.ts";
export { limitRate, type LimitRateOptions, type RateLimiter } from "./src/limits/window.ts";
