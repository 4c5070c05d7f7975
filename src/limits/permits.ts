/**
 * Permits, which limit how many calls of a function run at once.
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

/** The result of {@linkcode limitConcurrency}: functions wrapped by the same one share permits. */
export interface ConcurrencyLimiter extends Limiter {
  /** The number of calls that hold a permit, over all keys and functions that share the limit. */
  readonly activeCount: number;
}

const ACTION = "limit concurrency";

/** The maximum number of lines kept for new keys; each takes 200 bytes. */
const MOST_SPARES = 1_000;

/** The limit within one process: see the door `concurrency`. */
export function limitConcurrency(n: number, options: LimiterOptions = {}): ConcurrencyLimiter {
  return concurrencyLimit(n, options, (state, key) => new PermitLine(state, key, n));
}

/**
 * A limit whose calls wait in a given kind of line.
 *
 * @param onPause Also called for each pause.
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
  /** The number of calls that hold a permit and are in the synchronous part of their function. */
  #entered = 0;

  /** @param capacity The number of calls that may run at once. */
  constructor(state: LimitState, key: unknown, protected capacity: number) {
    super(state, key);
  }

  // While calls wait, no permit is free: it goes from the call that ends to the call that waits, so
  // that a newcomer never overtakes.
  protected take(): boolean {
    if (this.active >= this.capacity) return false;
    this.active++;
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
   * @param kept Releases the permit after a result, and returns the result.
   * @param failed Releases the permit after an error, and throws the error.
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
    // returned. Those of `run` belong to the line, so that a call makes no closures.
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

  /** Releases a permit. */
  protected release(): void {
    this.active--;
    if (this.size > 0) this.pump();
    else if (this.active === 0) this.rest();
  }

  /** Removes the line, which is idle and therefore like a new one. */
  protected override rest(): void {
    const { lines, spares, isPaused } = this.state;
    // Without keys there is no line to look for, which every call that ends would pay for.
    if (lines.size === 0 || !lines.delete(this.key)) return;
    this.key = undefined;
    // The starts since a pause count for their own key only.
    if (!isPaused && spares.length < MOST_SPARES) spares.push(this);
  }
}
