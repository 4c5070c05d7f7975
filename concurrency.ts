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

import type { LimiterOptions, SharedOptions } from "./src/limits/limiter.ts";
import {
  type ConcurrencyLimiter,
  limitConcurrency as limitConcurrencyHere,
} from "./src/limits/permits.ts";
import { sharedLimits } from "./src/limits/shared.ts";
import {
  limitRate as limitRateHere,
  type LimitRateOptions,
  type RateLimiter,
} from "./src/limits/window.ts";

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
export type { Limiter, LimiterOptions, SharedOptions } from "./src/limits/limiter.ts";
export type { ConcurrencyLimiter } from "./src/limits/permits.ts";
export {
  type Backoff,
  type Retrier,
  retry,
  type RetryInfo,
  type RetryOptions,
} from "./src/limits/retry.ts";
export { readRetryAfter } from "./src/limits/retry_after.ts";
export type { LimitRateOptions, RateLimiter } from "./src/limits/window.ts";

/**
 * Limits how many calls of a function run at once; the others wait, first come, first served.
 *
 * One result used on several functions makes them share the permits. A permit is held from the
 * start of a call until its promise settles, and then handed to the call that waits longest.
 *
 * Around an async generator function it is held from the first `next()` until the stream has ended
 * or was left. A function that returns a promise of a stream holds it to the end of the stream inside
 * of `cache.stream` alone, for nobody else is known to read on.
 *
 * A waiting call leaves the line and rejects at once when one of its arguments is an `AbortSignal`
 * that aborts, or an object whose member `signal` is one. Once it runs, the signal is the
 * function's own affair.
 *
 * A limited function that awaits another call under the same limit keeps its permit meanwhile. If
 * all permits are held by such calls, they wait for each other for ever: limit the innermost
 * function only, or use two limits. Where the functions on the stack hold all permits (a call in
 * the synchronous part of its own function, under a limit of 1), the call rejects with
 * `ReentrantCallError` instead.
 *
 * With `store` and `id` all processes that give the same share the permits: never more than `n` are
 * held together, and processes take turns. Those of a process that is killed are free again at once
 * over SQLite. While the store fails, calls that hold a permit go on, and others wait; that is
 * printed once.
 *
 * Outside of a cache it makes hits wait too: `cache.cache({ id })(limitConcurrency(5)(fn))` is the
 * useful order.
 *
 * @param n How many calls may run at once, per key: a positive integer, or `Infinity` for no limit.
 * @param options See {@linkcode LimiterOptions} and {@linkcode SharedOptions}. Processes that give
 * different numbers each keep to their own.
 * @returns A wrapper that is a decorator too, with the counts of the limit and `pause`.
 * @throws {TypeError} If an argument is of the wrong type or an option does not exist.
 * @throws {RangeError} If `n` or `maxQueue` is out of range.
 *
 * @category Limits
 * @example Two at a time
 * ```ts
 * import { limitConcurrency } from "@panza/panza/concurrency";
 * import { assertEquals } from "@std/assert";
 *
 * const limit = limitConcurrency(2);
 * const { promise, resolve } = Promise.withResolvers<void>();
 * const work = limit(async (n: number) => {
 *   await promise;
 *   return n;
 * });
 *
 * const results = Promise.all([work(1), work(2), work(3)]);
 * assertEquals([limit.activeCount, limit.pendingCount], [2, 1]);
 * resolve();
 * assertEquals(await results, [1, 2, 3]);
 * ```
 *
 * @example As a decorator
 * ```ts
 * import { limitConcurrency } from "@panza/panza/concurrency";
 * import { assertEquals } from "@std/assert";
 *
 * class Client {
 *   @limitConcurrency(4)
 *   async double(n: number): Promise<number> {
 *     return await Promise.resolve(n * 2);
 *   }
 * }
 * assertEquals(await new Client().double(21), 42);
 * ```
 */
export function limitConcurrency(
  n: number,
  options: LimiterOptions & SharedOptions = {},
): ConcurrencyLimiter {
  return sharedLimits("limit concurrency", options)?.concurrency(n, options) ??
    limitConcurrencyHere(n, options);
}

/**
 * Limits how many calls of a function start in any window of time; the others wait, first come,
 * first served.
 *
 * The window slides: between the start of a call and the start of the call `count` places later
 * there is never less than `per`, so there is no burst where one window ends and the next begins.
 * Time is measured on the clock that never steps (`performance.now`).
 *
 * With `cost` each call counts as much as it costs, such as the tokens of a request: what is
 * reserved in a window is never more than `count`. With `actual` the result tells what it did cost:
 * the rest is free again at once, and an overrun delays later calls.
 *
 * With `store` and `id` all processes that give the same, and the same `per`, share the window, which
 * outlives them: a script that is started again goes on where it was. Time is measured on the clock
 * of the store then, and `per` is a second at least.
 *
 * What counts is the start of what it wraps. Around a {@linkcode limitConcurrency}, calls that
 * have passed the rate may have to wait for a permit, and those that waited may run close together
 * when permits become free; inside of one, `limitConcurrency(n)(limitRate(…)(fn))`, the function
 * itself keeps to the rate, and calls that wait for it hold a permit.
 *
 * One result used on several functions makes them share the limit. A waiting call leaves the line
 * as {@linkcode limitConcurrency} says. A timer exists only while calls wait.
 *
 * @param count How many calls may start in a window, per key, or what they may cost together: a
 * positive integer. A number is kept for each start in the window.
 * @param options See {@linkcode LimitRateOptions}.
 * @returns A wrapper that is a decorator too, with the count of waiting calls and `pause`.
 * @throws {TypeError} If an argument is of the wrong type or an option does not exist.
 * @throws {RangeError} If `count`, `per` or `maxQueue` is out of range.
 *
 * @category Limits
 * @example At most two starts in 20 milliseconds
 * ```ts
 * import { limitRate } from "@panza/panza/concurrency";
 * import { assert } from "@std/assert";
 *
 * const started = limitRate(2, { per: "20ms" })(async () => await Promise.resolve(performance.now()));
 *
 * const [first = 0, , third = 0] = await Promise.all([started(), started(), started()]);
 * assert(third - first >= 20);
 * ```
 *
 * @example 200,000 tokens a minute, estimated before and counted after each call
 * ```ts
 * import { limitRate } from "@panza/panza/concurrency";
 * import { assertEquals } from "@std/assert";
 *
 * const tokens = limitRate(200_000, {
 *   per: "1m",
 *   cost: (prompt: string) => prompt.length / 3 + 500,
 *   actual: (answer: { usage: number }) => answer.usage,
 * });
 * const ask = tokens(async (prompt: string) => await Promise.resolve({ usage: prompt.length }));
 * assertEquals(await ask("Why?"), { usage: 4 });
 * ```
 */
export function limitRate(count: number, options: LimitRateOptions): RateLimiter {
  return sharedLimits("limit the rate", options)?.rate(count, options) ??
    limitRateHere(count, options);
}
