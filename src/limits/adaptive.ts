/**
 * A limit that finds the number of calls that a server takes at once.
 *
 * The law was chosen among eleven in simulations of servers. Its numbers are the best compromise
 * between throughput, refusals and fairness among processes.
 *
 * @module
 */

import { check, count, fn, required, unawaited } from "../base/check.ts";
import { clock } from "../base/clock.ts";
import { optionMessage } from "../base/errors.ts";
import type { Passage } from "../base/passage.ts";
import type { AsyncFunction } from "../base/wrap.ts";
import type { LimitState } from "./line.ts";
import { LIMITER_RULES, type LimiterOptions, Lines } from "./limiter.ts";
import { type ConcurrencyLimiter, PermitLine, withActiveCount } from "./permits.ts";

/** The options of {@linkcode limitAdaptive}. */
export interface LimitAdaptiveOptions extends LimiterOptions {
  /**
   * Whether an error means that the server is overloaded: HTTP 429, 503 or 529, or a timeout of an
   * overloaded server, but not every 5xx. If the function throws or returns anything but `true`,
   * the error does not count as an overload.
   */
  readonly isOverload: (error: unknown) => boolean;
  /** The initial limit, per key: a positive integer, 10 unless set, kept within the bounds. */
  readonly start?: number;
  /** The lowest limit, per key: a positive integer, 1 unless set. */
  readonly min?: number;
  /**
   * The highest limit, per key: a positive integer or `Infinity`, 200 unless set. It is the only
   * bound where an overloaded server gets slower but never refuses.
   */
  readonly max?: number;
}

/** The result of {@linkcode limitAdaptive}: functions wrapped by the same one share its permits. */
export interface AdaptiveLimiter extends ConcurrencyLimiter {
  /**
   * The current limit: the number of calls that may run at once.
   *
   * @param key The key; left out in a limit without keys.
   * @returns The limit of the key; the initial limit for a key that is not in use.
   */
  limitOf(key?: unknown): number;
}

const ACTION = "limit adaptively";

/**
 * Limits how many calls of a function run at once, and finds the limit by itself. The limit grows
 * while the server takes all that it allows, and shrinks when the server reports an overload.
 *
 * It begins at `start` and doubles per round of calls until the first overload. From then on, it
 * returns to just below the level that was too high, stays there for five rounds, and tries more.
 * One wave of refusals lowers it once: by 15 %, or by half if nothing succeeded since the last cut.
 * If even `min` is refused, it pauses for 1 s, doubled up to 30 s. It considers neither latency nor
 * `Retry-After`. A key keeps what it has learned until it was idle for 5 minutes.
 *
 * The limit must be the innermost one, because the calls that it counts must be at the server. A
 * retry must be outside, because the limit must see every refusal:
 * `cache.cache({ id })(retry()(limitRate(…)(limitAdaptive({ isOverload })(fn))))`.
 *
 * @param options See {@linkcode LimitAdaptiveOptions}.
 * @returns A wrapper that is a decorator too, with the counts of the limit, `limitOf` and `pause`.
 * @throws {TypeError} If an option is of the wrong type or does not exist.
 * @throws {RangeError} If a number is out of range, or `min` is more than `max`.
 *
 * @category Limits
 * @example As many calls at once as the server takes
 * ```ts
 * import { limitAdaptive } from "@panza/panza/concurrency";
 * import { assertEquals } from "@std/assert";
 *
 * class HttpError extends Error {
 *   constructor(readonly status: number) {
 *     super(`HTTP ${status}`);
 *   }
 * }
 *
 * const limit = limitAdaptive({
 *   isOverload: (error) => error instanceof HttpError && [429, 503, 529].includes(error.status),
 * });
 * const ask = limit(async (n: number) => await Promise.resolve(n * 2));
 * assertEquals(await ask(21), 42);
 * assertEquals(limit.limitOf(), 10);
 * ```
 */
export function limitAdaptive(options: LimitAdaptiveOptions): AdaptiveLimiter {
  const { min = 1, max = 200, start = 10 } = check(ACTION, options, {
    isOverload: required(fn),
    start: count(),
    min: count(),
    max: count({ infinity: true }),
    ...LIMITER_RULES,
  });
  if (min > max) {
    throw new RangeError(optionMessage(ACTION, "min", `at most max (${max})`, min));
  }
  const { isOverload } = options;
  const law: Law = { isOverload, min, max, start: Math.min(max, Math.max(min, start)) };
  const lines = new Lines({
    action: ACTION,
    options,
    open: (state, key) => new AdaptiveLine(state, key, law),
    // Measured: where the server caps concurrency, a pause as long as it asks for costs up to 98 %
    // of the throughput.
    mayCoolDown: false,
  });
  return Object.assign(withActiveCount(lines), {
    limitOf: (key?: unknown): number => {
      const line = lines.find(key);
      return line instanceof AdaptiveLine ? line.limit : law.start;
    },
  });
}

/** The options in effect. */
interface Law {
  readonly isOverload: (error: unknown) => boolean;
  readonly start: number;
  readonly min: number;
  readonly max: number;
}

/** The rounds of successes at the last good level before more is tried. */
const DWELL_ROUNDS = 5;
/** The factor of the limit after an overload. More is faster, but less fair among processes. */
const CUT = 0.85;
/** The factor of the limit after an overload if nothing succeeded since the last one. */
const CUT_IN_OUTAGE = 0.5;
/** The bounds of the pause after a refusal at the lowest limit, in milliseconds. */
const [SHORTEST_PAUSE, LONGEST_PAUSE] = [1_000, 30_000];
/** The time for which an idle key keeps what it has learned, in milliseconds. */
const MEMORY = 300_000;

/** The calls of one key under an adaptive limit. */
class AdaptiveLine extends PermitLine {
  readonly #law: Law;
  /** The limit, with the fraction by which it has grown towards the next. */
  #level: number;
  /** The number of cuts so far: a call that began before the last one says nothing new. */
  #generation = 0;
  /** The level below the last overload; 0 before the first one. */
  #good = 0;
  /** Successes since the last cut. */
  #clean = 0;
  /** The last pause at the lowest limit, in milliseconds; 0 when there is none. */
  #pause = 0;
  #pausedUntil = -Infinity;
  #lastEnd = -Infinity;

  constructor(state: LimitState, key: unknown, law: Law) {
    super(state, key, law.start);
    this.#law = law;
    this.#level = law.start;
  }

  /** The number of calls that may run at once. */
  get limit(): number {
    return this.capacity;
  }

  override isIdle(): boolean {
    const now = clock();
    return this.active === 0 && this.size === 0 && now - this.#lastEnd >= MEMORY;
  }

  protected override take(): boolean {
    return this.#pauseLeft() === 0 && super.take();
  }

  protected override delay(): number {
    return Math.max(super.delay(), this.#pauseLeft());
  }

  #pauseLeft(): number {
    return this.#pausedUntil === -Infinity ? 0 : Math.max(0, this.#pausedUntil - clock());
  }

  protected override run(
    fn: AsyncFunction,
    self: unknown,
    args: unknown[],
    _cost: number,
    passage: Passage | undefined,
  ): Promise<unknown> {
    const generation = this.#generation;
    return this.hold(fn, self, args, passage, (value) => {
      if (generation === this.#generation) this.#succeed();
      this.release();
      return value;
    }, (error) => {
      if (generation === this.#generation && this.#isOverload(error)) this.#cut();
      this.release();
      throw error;
    });
  }

  /** Keeps what it has learned. */
  protected override rest(): void {
    this.#lastEnd = clock();
  }

  #isOverload(error: unknown): boolean {
    try {
      return unawaited(this.#law.isOverload(error)) === true;
    } catch {
      return false;
    }
  }

  #succeed(): void {
    this.#clean++;
    this.#pause = this.#pause > SHORTEST_PAUSE ? this.#pause / 2 : 0;
    // A level that is not fully used is not known to be too low.
    if (this.active < this.capacity) return;
    const level = this.#level;
    if (this.#good > 0 && level >= this.#good && this.#clean < DWELL_ROUNDS * level) return;
    // At most doubled per round; faster when farther from the last overload, on either side.
    const distance = Math.abs(level - this.#good);
    const grown = level + Math.max(1, Math.min(level, distance)) / level;
    this.#set(level < this.#good ? Math.min(this.#good, grown) : grown);
  }

  #cut(): void {
    const { min } = this.#law;
    if (this.#level < min + 1) {
      this.#pause = Math.min(LONGEST_PAUSE, Math.max(SHORTEST_PAUSE, 2 * this.#pause));
      this.#pausedUntil = Math.max(this.#pausedUntil, clock() + this.#pause);
    }
    const level = Math.min(this.#level, this.active);
    // In an outage, when nothing succeeded since the last cut, the last good level stays known.
    if (this.#clean > 0 || this.#good === 0) this.#good = Math.max(min, Math.floor(level) - 1);
    this.#set(Math.min(level - 2, level * (this.#clean > 0 ? CUT : CUT_IN_OUTAGE)));
    this.#generation++;
    this.#clean = 0;
  }

  #set(level: number): void {
    this.#level = Math.min(this.#law.max, Math.max(this.#law.min, level));
    this.capacity = Math.floor(this.#level);
  }
}
