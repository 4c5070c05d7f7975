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
import {
  type Limiter,
  type LimiterOptions,
  type LimiterSetup,
  Lines,
  SHARED_RULES,
} from "./limiter.ts";

/** What {@linkcode limitConcurrency} returns: functions wrapped by the same one share its permits. */
export interface ConcurrencyLimiter extends Limiter {
  /** How many calls hold a permit, over all keys and all functions that share the limit. */
  readonly activeCount: number;
}

const ACTION = "limit concurrency";

/** How many lines are kept for new keys; each takes 200 bytes. */
const MOST_SPARES = 1_000;

/** The limit of one process: see the door `concurrency`. */
export function limitConcurrency(n: number, options: LimiterOptions = {}): ConcurrencyLimiter {
  return concurrencyLimit(n, options, (state, key) => new PermitLine(state, key, n));
}

/**
 * A limit whose calls wait in a given kind of line.
 *
 * @param onPause Is told of each pause besides.
 */
export function concurrencyLimit(
  n: number,
  options: LimiterOptions,
  open: LimiterSetup["open"],
  onPause?: LimiterSetup["onPause"],
): ConcurrencyLimiter {
  checkValue(ACTION, "n", n, count({ infinity: true }));
  check(ACTION, options, SHARED_RULES);
  return withActiveCount(new Lines({ action: ACTION, options, open, onPause, mayCoolDown: true }));
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
    this.#entered++;
    const result = this.invoke(fn, self, args, passage);
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
    const { lines, spares, isPaused } = this.state;
    if (lines.size === 0 || !lines.delete(this.key)) return;
    this.key = undefined;
    // What has started since a pause concerns its own key.
    if (!isPaused && spares.length < MOST_SPARES) spares.push(this);
  }
}
