/**
 * A sliding window, which limits the number or the cost of the calls that start in a span of time.
 *
 * @module
 */

import {
  check,
  checkValue,
  count as countRule,
  fn,
  required,
  type Rule,
  unawaited,
} from "../base/check.ts";
import { clock } from "../base/clock.ts";
import { type Duration, finiteDuration } from "../base/duration.ts";
import type { Passage } from "../base/passage.ts";
import type { AsyncFunction } from "../base/wrap.ts";
import { type LimitState, Line } from "./line.ts";
import {
  type Limiter,
  type LimiterOptions,
  type LimiterSetup,
  Lines,
  SHARED_RULES,
  type SharedOptions,
} from "./limiter.ts";

/** The options of {@linkcode limitRate}. */
export interface LimitRateOptions extends LimiterOptions, SharedOptions {
  /**
   * The length of the window: finite milliseconds from 5, or `"90s"`, `"10m"`, `"12h"`, `"7d"`.
   * Timers cannot keep to a shorter one: for 1,000 a second, write `limitRate(5, { per: 5 })`.
   */
  readonly per: Duration;
  /**
   * The cost to reserve for a call, from its arguments: a number from 0 to `count`; 1 unless set.
   * If the function throws or returns anything else, the call rejects and does not count.
   */
  readonly cost?: (...args: never[]) => number;
  /**
   * The actual cost of a call, from its result: a number from 0. The reserved cost stays booked if
   * this is unset, throws or returns anything else, and for a call that fails. The result of an
   * async generator function is the array of its items.
   */
  readonly actual?: (result: never) => number;
}

/** The result of {@linkcode limitRate}: functions wrapped by the same one share its window. */
export interface RateLimiter extends Limiter {}

const ACTION = "limit the rate";

/**
 * The shortest window, in milliseconds: timers are up to 1.3 ms late, and from 5 ms on that costs
 * less than 10 % of the rate.
 */
const SHORTEST_WINDOW = 5;

/** The rate within one process: see the door `concurrency`. */
export function limitRate(count: number, options: LimitRateOptions): RateLimiter {
  return rateLimit(count, options, (state, key, window) => new WindowLine(state, key, window));
}

/** The window of a rate, as its lines see it. */
export interface RateWindow {
  readonly count: number;
  /** The length, in milliseconds. */
  readonly per: number;
  /** The actual cost of a call, from its result; `undefined` if it gives no valid one. */
  readonly costOf: ((value: unknown) => number | undefined) | undefined;
}

/**
 * A rate whose calls wait in a given kind of line.
 *
 * @param onPause Also called for each pause.
 * @param shortest The minimum length of the window, in milliseconds.
 */
export function rateLimit(
  count: number,
  options: LimitRateOptions,
  open: (state: LimitState, key: unknown, window: RateWindow) => Line,
  onPause?: LimiterSetup["onPause"],
  shortest: number = SHORTEST_WINDOW,
): RateLimiter {
  checkValue(ACTION, "count", count, countRule());
  const { per } = check(ACTION, options, {
    per: required(finiteDuration),
    cost: fn,
    actual: fn,
    ...SHARED_RULES,
  });
  if (per < shortest) {
    const times = Math.ceil(shortest / per);
    const why = shortest === SHORTEST_WINDOW
      ? "timers are not finer"
      : "processes that share it are not faster";
    throw new RangeError(
      `Cannot ${ACTION}: per must be at least ${shortest} ms, because ${why}, ` +
        `received ${per}; write limitRate(${count * times}, { per: ${per * times} })`,
    );
  }
  const { cost, actual } = options;
  const costRule = costUpTo(count);
  const costOf = actual === undefined ? undefined : (value: unknown) => actualCost(actual, value);
  const window: RateWindow = { count, per, costOf };
  const lines = new Lines({
    action: ACTION,
    options,
    open: (state, key) => open(state, key, window),
    onPause,
    ...(cost === undefined ? {} : {
      cost: (args) =>
        checkValue(ACTION, "cost", unawaited(Reflect.apply(cost, undefined, args)), costRule),
    }),
    needsResult: actual !== undefined,
    mayCoolDown: true,
  });
  return lines.limiter;
}

function actualCost(
  actual: NonNullable<LimitRateOptions["actual"]>,
  value: unknown,
): number | undefined {
  try {
    const cost: unknown = unawaited(Reflect.apply(actual, undefined, [value]));
    return Number.isFinite(cost) && Number(cost) >= 0 ? Number(cost) : undefined;
  } catch {
    // The result is paid for: a mistake in the accounting must not lose it.
    return undefined;
  }
}

/** The rule for the cost of a call. */
function costUpTo(count: number): Rule<number> {
  return {
    must: `a number from 0 to ${count}, the whole of a window (raise count, or split the call)`,
    read: (value) => typeof value === "number" ? value : undefined,
    isInRange: (value) => value >= 0 && value <= count,
  };
}

/** The calls of one key that share a sliding window. */
class WindowLine extends Line {
  protected readonly capacity: number;
  readonly #per: number;
  readonly #costOf: RateWindow["costOf"];
  /** The starts and the costs of the calls in the window, oldest first, from `#oldest` on. */
  readonly #starts: number[] = [];
  readonly #costs: number[] = [];
  #oldest = 0;
  /** The number of dropped bookings: the number of a booking is its place plus this. */
  #dropped = 0;
  /** The total cost of the bookings from `#oldest` on. */
  #booked = 0;
  /** The number of admitted calls that have not begun: each begins in a microtask of its own. */
  #admitted = 0;
  /** The total cost of the admitted calls. */
  #reserved = 0;
  /** The number of running calls whose actual cost will be booked. */
  #unsettled = 0;

  constructor(
    state: LimitState,
    key: unknown,
    { count, per, costOf }: RateWindow,
  ) {
    super(state, key);
    this.capacity = count;
    this.#per = per;
    this.#costOf = costOf;
  }

  override isIdle(): boolean {
    if (this.size > 0 || this.#admitted > 0 || this.#unsettled > 0) return false;
    this.#drop(clock());
    return this.#oldest === this.#starts.length;
  }

  protected take(cost: number): boolean {
    if (!this.#fits(cost)) {
      this.#drop(clock());
      if (!this.#fits(cost)) return false;
    }
    this.#admitted++;
    this.#reserved += cost;
    return true;
  }

  protected delay(cost: number): number {
    if (this.#fits(cost)) return 0;
    const now = clock();
    // Admitted calls begin first, and pump the line again then.
    if (this.#admitted > 0) return Infinity;
    let missing = this.#booked + cost - this.capacity;
    let place = this.#oldest;
    for (; place < this.#starts.length - 1; place++) {
      missing -= this.#costs[place] ?? 0;
      if (missing <= 0) break;
    }
    return Math.max(0, (this.#starts[place] ?? now) + this.#per - now);
  }

  protected run(
    fn: AsyncFunction,
    self: unknown,
    args: unknown[],
    cost: number,
    passage: Passage | undefined,
  ): Promise<unknown> {
    // The window counts from here and not from the admission: work of others may lie between.
    const number = this.#book(clock(), cost);
    // Sums of fractions drift; when no call is left, the sum is known to be 0.
    this.#reserved = --this.#admitted === 0 ? 0 : this.#reserved - cost;
    if (this.size > 0) this.pump();
    const result = this.invoke(fn, self, args, passage);
    return this.#costOf === undefined ? result : this.#settled(result, number, cost);
  }

  #fits(cost: number): boolean {
    return this.#booked + this.#reserved + cost <= this.capacity;
  }

  /** Books the cost of a call, and returns the number of the booking. */
  #book(now: number, cost: number): number {
    this.#booked += cost;
    this.#starts.push(now);
    return this.#costs.push(cost) + this.#dropped - 1;
  }

  /** Returns a result, and books its actual cost in place of the reserved one. */
  async #settled(result: Promise<unknown>, number: number, reserved: number): Promise<unknown> {
    this.#unsettled++;
    let value: unknown;
    try {
      value = await result;
    } finally {
      this.#unsettled--;
    }
    const cost = this.#costOf?.(value);
    if (cost === undefined || cost === reserved) return value;
    const place = number - this.#dropped;
    if (cost > reserved) this.#book(clock(), cost - reserved);
    else if (place >= this.#oldest) {
      this.#booked += cost - reserved;
      this.#costs[place] = cost;
    }
    this.pump();
    return value;
  }

  /** Drops the bookings that have left the window. */
  #drop(now: number): void {
    const { length } = this.#starts;
    while (this.#oldest < length && now - (this.#starts[this.#oldest] ?? 0) >= this.#per) {
      this.#booked -= this.#costs[this.#oldest++] ?? 0;
    }
    if (this.#oldest === length) this.#booked = 0;
    // Dropping in large steps keeps each start cheap; `shift` would move the rest every time.
    if (this.#oldest > 0 && this.#oldest * 2 >= length) {
      this.#starts.splice(0, this.#oldest);
      this.#costs.splice(0, this.#oldest);
      this.#dropped += this.#oldest;
      this.#oldest = 0;
    }
  }
}
