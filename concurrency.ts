/**
 * Limits on async functions: the calls that run at once, and the calls that start in a window.
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
 * Limits the calls of a function that run at once; the others wait, first come, first served.
 *
 * Functions wrapped by the same limiter share its permits. A call holds a permit from its start
 * until its promise settles. The permit then goes to the call that has waited longest.
 *
 * Around an async generator function, a permit is held from the first `next()` until the stream
 * ends or its reader leaves. For a function that returns a promise of a stream, the permit is held
 * to the end of the stream only inside `cache.stream`: elsewhere nothing shows who reads on.
 *
 * A waiting call leaves the queue and rejects at once when a signal among its arguments aborts: an
 * `AbortSignal`, or the member `signal` of an object. Once the call runs, its function alone
 * decides about the signal.
 *
 * A limited function that awaits another call under the same limit keeps its permit meanwhile. If
 * such calls hold all permits, they deadlock: limit the innermost function only, or use two limits.
 * If the functions on the stack hold all permits (a call in the synchronous part of its own
 * function, under a limit of 1), the call rejects with `ReentrantCallError` instead.
 *
 * With `store` and `id`, all processes that pass the same values share the permits: together they
 * never hold more than `n`, and they take turns. Over SQLite, the permits of a killed process are
 * free at once. While the store fails, calls that hold a permit go on and the others wait; the
 * failure is printed once.
 *
 * Put the limit inside a cache, `cache.cache({ id })(limitConcurrency(5)(fn))`: outside of it, hits
 * wait too.
 *
 * @param n The most calls at once, per key: a positive integer, or `Infinity` for no limit.
 * @param options See {@linkcode LimiterOptions} and {@linkcode SharedOptions}. Processes that pass
 * different numbers each keep to their own.
 * @returns A wrapper that is also a decorator, with the counts of the limit and `pause`.
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
 * Limits the calls of a function that start in any window of time; the others wait, first come,
 * first served.
 *
 * The window slides: between the start of a call and the start of the call `count` places later
 * there is never less than `per`, so there is no burst where one window ends and the next begins.
 * The clock is `performance.now`, which never steps.
 *
 * With `cost`, each call counts as much as it costs, such as the tokens of a request: at most
 * `count` is reserved in a window. With `actual`, the real cost is read from the result: what was
 * reserved in excess is free again at once, and an overrun delays later calls.
 *
 * With `store` and `id`, all processes that pass the same values and the same `per` share the
 * window. It outlives them: a restarted script goes on where it was. The clock is then that of the
 * store, and `per` is at least one second.
 *
 * The rate applies to the start of the wrapped function. Around a {@linkcode limitConcurrency},
 * calls that have passed the rate may still wait for a permit, and may then run close together.
 * Inside of one, `limitConcurrency(n)(limitRate(…)(fn))`, the function itself keeps to the rate,
 * and calls that wait for it hold a permit.
 *
 * Functions wrapped by the same limiter share the limit. A signal takes a waiting call out of the
 * queue as in {@linkcode limitConcurrency}. A timer exists only while calls wait.
 *
 * @param count The most calls that start in a window, per key, or with `cost` their total cost: a
 * positive integer. A number is kept for each start in the window.
 * @param options See {@linkcode LimitRateOptions}.
 * @returns A wrapper that is also a decorator, with the count of waiting calls and `pause`.
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
