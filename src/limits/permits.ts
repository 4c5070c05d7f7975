/**
 * Permits: how many calls of a function run at once.
 *
 * @module
 */

import { check, checkValue, count } from "../base/check.ts";
import { ReentrantCallError } from "../base/errors.ts";
import type { Passage } from "../base/passage.ts";
import type { AsyncFunction } from "../base/wrap.ts";
import { type LimitState, Line } from "./line.ts";
import { type Limiter, LIMITER_RULES, type LimiterOptions, Lines } from "./limiter.ts";

/** What {@linkcode limitConcurrency} returns: functions wrapped by the same one share its permits. */
export interface ConcurrencyLimiter extends Limiter {
  /** How many calls hold a permit, over all keys and all functions that share the limit. */
  readonly activeCount: number;
}

const ACTION = "limit concurrency";

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
 * Outside of a cache it makes hits wait too: `cache.cache({ id })(limitConcurrency(5)(fn))` is the
 * useful order.
 *
 * @param n How many calls may run at once, per key: a positive integer, or `Infinity` for no limit.
 * @param options See {@linkcode LimiterOptions}.
 * @returns A wrapper that is a decorator too, with the counts of the limit and `pause`.
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
export function limitConcurrency(n: number, options: LimiterOptions = {}): ConcurrencyLimiter {
  checkValue(ACTION, "n", n, count({ infinity: true }));
  check(ACTION, options, LIMITER_RULES);
  const lines = new Lines({
    action: ACTION,
    options,
    open: (state, key) => new PermitLine(state, key, n),
    mayCoolDown: true,
  });
  return withActiveCount(lines);
}

/** The limit as its user sees it, with the number of calls that hold a permit. */
export function withActiveCount(lines: Lines): ConcurrencyLimiter {
  return Object.defineProperty(Object.assign(lines.limiter, { activeCount: 0 }), "activeCount", {
    get: () => lines.activeCount,
  });
}

/** The calls of one key that share permits. */
export class PermitLine extends Line {
  /** How many calls hold a permit. */
  protected active = 0;
  /** How many of them are in the synchronous part of their function. */
  #entered = 0;

  /**
   * @param state What the lines of the limit share.
   * @param key The key.
   * @param capacity How many calls may run at once.
   */
  constructor(state: LimitState, key: unknown, protected capacity: number) {
    super(state, key);
  }

  // While calls wait, no permit is free: it goes from the one that ends to the one that waits, so
  // that a newcomer never overtakes.
  protected take(): boolean {
    if (this.active >= this.capacity) return false;
    this.active++;
    this.state.activeCount++;
    return true;
  }

  protected delay(): number {
    return this.active < this.capacity ? 0 : Infinity;
  }

  protected override checkWait(fn: AsyncFunction): void {
    if (this.#entered < this.capacity) return;
    throw new ReentrantCallError(
      fn.name,
      "",
      `Cannot call ${fn.name || "the function"} now: it would wait for a permit that its caller ` +
        "holds; call the plain function there, limit only the inner function, or use two limits",
    );
  }

  protected run(
    fn: AsyncFunction,
    self: unknown,
    args: unknown[],
    _cost: number,
    passage: Passage | undefined,
  ): Promise<unknown> {
    return this.hold(fn, self, args, passage, this.#kept, this.#failed);
  }

  /**
   * Calls the function of a call that holds a permit.
   *
   * @param kept Gives the permit back after a result, and passes the result on.
   * @param failed Gives the permit back after an error, and throws the error.
   */
  protected hold(
    fn: AsyncFunction,
    self: unknown,
    args: unknown[],
    passage: Passage | undefined,
    kept: (value: unknown) => unknown,
    failed: (error: unknown) => never,
  ): Promise<unknown> {
    let result: Promise<unknown>;
    this.#entered++;
    try {
      result = Promise.resolve(
        passage === undefined
          ? Reflect.apply(fn, self, args)
          : this.invoke(fn, self, args, passage),
      );
    } catch (error) {
      result = Promise.reject(error);
    }
    this.#entered--;
    // The intrinsic `then`, as `await` uses it, calls one of the two once, whatever the function
    // returned; they belong to the line, so that a call makes no closures.
    return Reflect.apply(Promise.prototype.then, result, [kept, failed]);
  }

  readonly #kept = (value: unknown): unknown => {
    this.release();
    return value;
  };

  readonly #failed = (error: unknown): never => {
    this.release();
    throw error;
  };

  /** Gives a permit back. */
  protected release(): void {
    this.active--;
    this.state.activeCount--;
    if (this.size > 0) this.pump();
    else if (this.active === 0) this.rest();
  }

  /** The line is not in use now: it is as a new one is. */
  protected rest(): void {
    if (!this.state.lines.delete(this.key)) return;
    this.key = undefined;
    // What has started since a pause concerns its own key.
    if (!this.state.isPaused) this.state.spare = this;
  }
}
