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

import { type Duration, parseDuration } from "../base/duration.ts";
import { optionMessage } from "../base/errors.ts";
import { checkLimiterOptions, Lane, Limiter, requireCount } from "./limiter.ts";
import type { AsyncFunction } from "../base/wrap.ts";

/** The options of {@linkcode limitConcurrency}. */
export interface LimitConcurrencyOptions {
  /**
   * Gives the key of a call from its arguments: any value, compared as a `Map` compares its keys.
   * Each key has permits of its own. Unset, all calls share them. If it throws, the call rejects
   * with that error and takes no permit.
   */
  readonly deriveKey?: (...args: never[]) => unknown;
  /**
   * How many calls may wait, per key: a non-negative integer or `Infinity`, the default. `0` lets
   * none wait. A call that finds the line full rejects with `QueueFullError`.
   */
  readonly maxQueue?: number;
  /**
   * Ends the limit: when it aborts, every waiting call and every later one rejects with its
   * reason. Calls that run go on. Unset, the limit never ends.
   */
  readonly signal?: AbortSignal;
}

/** The options of {@linkcode limitRate}. */
export interface LimitRateOptions {
  /** The length of the window: milliseconds above zero, or `"90s"`, `"10m"`, `"12h"`, `"7d"`. */
  readonly per: Duration;
  /**
   * Gives the key of a call from its arguments: any value, compared as a `Map` compares its keys.
   * Each key has a window of its own. Unset, all calls share one. If it throws, the call rejects
   * with that error and does not count.
   */
  readonly deriveKey?: (...args: never[]) => unknown;
  /**
   * How many calls may wait, per key: a non-negative integer or `Infinity`, the default. `0` lets
   * none wait. A call that finds the line full rejects with `QueueFullError`.
   */
  readonly maxQueue?: number;
  /**
   * Ends the limit: when it aborts, every waiting call and every later one rejects with its
   * reason. Calls that run go on. Unset, the limit never ends.
   */
  readonly signal?: AbortSignal;
}

/** What {@linkcode limitRate} returns: a wrapper and a method decorator that share one limit. */
export interface RateLimit {
  /**
   * Limits a function, or a method when used as a standard decorator.
   *
   * @param fn The function; it may also return a plain value or throw, as `await` takes it.
   * @param context What a decorator is told; leave it out otherwise.
   * @returns A function of the same type, with every own property of `fn`.
   * @throws {TypeError} If it is applied to something else than a function or a method.
   */
  <Wrapped extends AsyncFunction>(
    fn: Wrapped,
    context?: ClassMethodDecoratorContext<never>,
  ): Wrapped;
  /** How many calls wait, over all keys and all functions that share the limit. */
  readonly pendingCount: number;
}

/** What {@linkcode limitConcurrency} returns: a wrapper and a method decorator that share permits. */
export interface Limit extends RateLimit {
  /** How many calls hold a permit, over all keys and all functions that share the limit. */
  readonly activeCount: number;
}

const CONCURRENCY = "limit concurrency";
const RATE = "limit the rate";

/**
 * Limits how many calls of a function run at once; the others wait, first come, first served.
 *
 * One result used on several functions makes them share the permits. A permit is held from the
 * start of a call until its promise settles, and then handed to the call that waits longest.
 *
 * A waiting call leaves the line and rejects at once when one of its arguments is an `AbortSignal`
 * that aborts, or an object whose member `signal` is one. Once it runs, the signal is the
 * function's own affair.
 *
 * A limited function that awaits another call under the same limit keeps its permit meanwhile. If
 * all permits are held by such calls, they wait for each other for ever: limit the innermost
 * function only, or use two limits.
 *
 * Outside of a cache it makes hits wait too: `cache.cache({ id })(limitConcurrency(5)(fn))` is the
 * useful order.
 *
 * @param n How many calls may run at once, per key: a positive integer, or `Infinity` for no limit.
 * @param options See {@linkcode LimitConcurrencyOptions}.
 * @returns A wrapper that is a decorator too, with the counts of the limit.
 * @throws {TypeError} If an argument is of the wrong type or an option does not exist.
 * @throws {RangeError} If `n` or `maxQueue` is out of range.
 *
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
export function limitConcurrency(n: number, options: LimitConcurrencyOptions = {}): Limit {
  requireCount(CONCURRENCY, "n", n, 1);
  checkLimiterOptions(CONCURRENCY, options);
  const permits: Permits = { perKey: n, activeCount: 0 };
  const limiter = new Limiter<PermitLane>(
    options,
    (key, limiter) => new PermitLane(key, limiter, permits),
  );
  const counts = Object.assign(limiter.wrapper(CONCURRENCY), {
    activeCount: 0,
    pendingCount: 0,
  });
  return Object.defineProperties(counts, {
    activeCount: { get: () => permits.activeCount },
    pendingCount: { get: () => limiter.pendingCount },
  });
}

/** The permits of one limit. */
interface Permits {
  readonly perKey: number;
  activeCount: number;
}

/** The calls of one key that share permits. */
class PermitLane extends Lane {
  readonly #limiter: Limiter<PermitLane>;
  readonly #permits: Permits;
  #active = 0;

  constructor(key: unknown, limiter: Limiter<PermitLane>, permits: Permits) {
    super(key);
    this.#limiter = limiter;
    this.#permits = permits;
  }

  // While calls wait, no permit is free: it goes from the one that ends to the one that waits, so
  // that a newcomer never overtakes.
  take(): boolean {
    if (this.#active >= this.#permits.perKey) return false;
    this.#active++;
    this.#permits.activeCount++;
    return true;
  }

  run(fn: AsyncFunction, self: unknown, args: unknown[]): Promise<unknown> {
    let result: Promise<unknown>;
    try {
      result = Promise.resolve(Reflect.apply(fn, self, args));
    } catch (error) {
      this.#release();
      return Promise.reject(error);
    }
    // The intrinsic `then`, as `await` uses it, calls one of the two once, whatever the function
    // returned; they belong to the lane, so that a call makes no closures.
    return Reflect.apply(Promise.prototype.then, result, [this.#kept, this.#failed]);
  }

  readonly #kept = (value: unknown): unknown => {
    this.#release();
    return value;
  };

  readonly #failed = (error: unknown): never => {
    this.#release();
    throw error;
  };

  #release(): void {
    if (this.#limiter.admit(this)) return;
    this.#active--;
    this.#permits.activeCount--;
    if (this.#active === 0) this.#limiter.forget(this);
  }
}

/**
 * Limits how many calls of a function start in any window of time; the others wait, first come,
 * first served.
 *
 * The window slides: between the start of a call and the start of the call `count` places later
 * there is never less than `per`, so there is no burst where one window ends and the next begins.
 * Time is measured on the clock that never steps (`performance.now`).
 *
 * What counts is the start of what it wraps. Around a {@linkcode limitConcurrency}, calls that
 * have passed the rate may have to wait for a permit, and those that waited may run close together
 * when permits become free; inside of one, `limitConcurrency(n)(limitRate(…)(fn))`, the function
 * itself keeps to the rate, and calls that wait for it hold a permit.
 *
 * One result used on several functions makes them share the limit. A waiting call leaves the line
 * as {@linkcode limitConcurrency} says. A timer exists only while calls wait.
 *
 * @param count How many calls may start in a window, per key: a positive integer. As many numbers
 * are kept per key that is in use.
 * @param options See {@linkcode LimitRateOptions}; `per` must be finite.
 * @returns A wrapper that is a decorator too, with the count of waiting calls.
 * @throws {TypeError} If an argument is of the wrong type or an option does not exist.
 * @throws {RangeError} If `count`, `per` or `maxQueue` is out of range.
 *
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
 */
export function limitRate(count: number, options: LimitRateOptions): RateLimit {
  requireCount(RATE, "count", count, 1, false);
  checkLimiterOptions(RATE, options, "per");
  const per = parseDuration(RATE, "per", options.per);
  if (per === Infinity) {
    throw new RangeError(optionMessage(RATE, "per", "finite, or later calls never start", per));
  }
  const limiter = new Limiter<WindowLane>(
    options,
    (key, limiter) => new WindowLane(key, limiter, count, per),
  );
  const counts = Object.assign(limiter.wrapper(RATE), { pendingCount: 0 });
  return Object.defineProperties(counts, {
    pendingCount: { get: () => limiter.pendingCount },
  });
}

/** The longest delay that `setTimeout` understands, in milliseconds; more fires at once. */
const LONGEST_DELAY = 2_147_483_647;

/** The calls of one key that share a sliding window. */
class WindowLane extends Lane {
  readonly #limiter: Limiter<WindowLane>;
  readonly #count: number;
  readonly #per: number;
  /** When the calls of the window started, oldest first, from `#oldest` on. */
  readonly #starts: number[] = [];
  #oldest = 0;
  /** Calls that may start and have not: they are admitted, and begin in a microtask of their own. */
  #admitted = 0;
  #timer: ReturnType<typeof setTimeout> | undefined = undefined;

  constructor(key: unknown, limiter: Limiter<WindowLane>, count: number, per: number) {
    super(key);
    this.#limiter = limiter;
    this.#count = count;
    this.#per = per;
  }

  take(): boolean {
    if (this.size > 0 || this.#free(performance.now()) === 0) return false;
    this.#admitted++;
    return true;
  }

  run(fn: AsyncFunction, self: unknown, args: unknown[]): Promise<unknown> {
    // The window counts from here and not from the admission: work of others may lie between.
    const now = performance.now();
    this.#admitted--;
    this.#starts.push(now);
    this.#forgetIdle(now);
    this.#arm(now);
    try {
      return Promise.resolve(Reflect.apply(fn, self, args));
    } catch (error) {
      return Promise.reject(error);
    }
  }

  override joined(): void {
    this.#arm(performance.now());
  }

  override emptied(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  /** How many calls may start now. */
  #free(now: number): number {
    while (this.#oldest < this.#starts.length && this.#age(now) >= this.#per) {
      this.#oldest++;
    }
    // Dropping in large steps keeps each start cheap; `shift` would move the rest every time.
    if (this.#oldest > 0 && this.#oldest * 2 >= this.#starts.length) {
      this.#starts.splice(0, this.#oldest);
      this.#oldest = 0;
    }
    const used = this.#starts.length - this.#oldest + this.#admitted;
    return this.#count - used;
  }

  /** How long ago the oldest call of the window started, in milliseconds. */
  #age(now: number): number {
    return now - (this.#starts[this.#oldest] ?? -Infinity);
  }

  /** Sets the timer for the next waiting call; calls that have yet to begin will do it themselves. */
  #arm(now: number): void {
    if (this.size === 0 || this.#admitted > 0 || this.#timer !== undefined) return;
    const delay = Math.ceil(this.#per - this.#age(now));
    this.#timer = setTimeout(
      () => {
        this.#timer = undefined;
        this.#admit();
      },
      Math.min(delay, LONGEST_DELAY),
    );
  }

  /** Admits whom the window lets start: a timer may fire early, or be a part of a long delay. */
  #admit(): void {
    const now = performance.now();
    for (let free = this.#free(now); free > 0; free--) {
      if (!this.#limiter.admit(this)) break;
      this.#admitted++;
    }
    this.#arm(now);
  }

  /**
   * Forgets up to two keys whose window has passed: each start adds one at most, so that the idle
   * ones run out without a timer and without a pause.
   */
  #forgetIdle(now: number): void {
    const { lanes } = this.#limiter;
    if (!lanes.delete(this.key)) return;
    // Last, because it started last: the keys that idle longest come first.
    lanes.set(this.key, this);
    let left = 2;
    for (const lane of lanes.values()) {
      if (left-- === 0 || !lane.#idle(now)) return;
      lanes.delete(lane.key);
    }
  }

  #idle(now: number): boolean {
    return (
      this.size === 0 &&
      this.#admitted === 0 &&
      now - (this.#starts.at(-1) ?? -Infinity) >= this.#per
    );
  }
}
