/**
 * The common part of all limits: their options, a line per key, and the function that is wrapper
 * and decorator in one.
 *
 * @module
 */

import {
  abortSignal,
  checkValue,
  count,
  fn,
  object,
  type Rule,
  text,
  unawaited,
} from "../base/check.ts";
import { type Duration, finiteDuration } from "../base/duration.ts";
import { isObject } from "../base/plain.ts";
import { type AsyncFunction, type FunctionWrapper, wrapperOf } from "../base/wrap.ts";
import { reasonOfEnd } from "./end.ts";
import type { LimitState, Line } from "./line.ts";
import { Pauses } from "./pauses.ts";

/** The options that all limits share. */
export interface LimiterOptions {
  /**
   * Derives the key of a call from its arguments: any value but a promise, compared as a `Map`
   * compares its keys. Each key has a limit of its own. Unset, all calls share one limit. If the
   * function throws, the call rejects with that error and does not count.
   */
  readonly deriveKey?: (...args: never[]) => unknown;
  /**
   * The maximum number of waiting calls, per key: a non-negative integer, or `Infinity` (the
   * default). With `0`, no call waits. Calls beyond the maximum reject with `QueueFullError`.
   */
  readonly maxQueue?: number;
  /**
   * Ends the limit: when the signal aborts, all waiting and all later calls reject with its reason.
   * Running calls continue. Unset, the limit never ends.
   */
  readonly signal?: AbortSignal;
}

/** The place of a limit that several processes share. */
export interface SharedOptions {
  /**
   * The cache, or the backend, through which processes share the limit: one over SQLite, or tiers
   * whose last one is. It must stay open. Unset, the limit applies to this process only.
   */
  readonly store?: object;
  /** The name of the limit in the store; required with `store`. */
  readonly id?: string;
}

/** A limit that all its wrapped functions share: a wrapper and a method decorator. */
export interface Limiter extends FunctionWrapper {
  /** The number of waiting calls, over all keys and all functions that share the limit. */
  readonly pendingCount: number;
  /**
   * Holds back new starts for a while. Running calls continue.
   *
   * Afterwards, starts resume spread over a second. A later pause never shortens an earlier one.
   *
   * @param duration The time from now: milliseconds above zero, or a text such as `"20s"`; finite.
   * @param key The key to pause; left out, all keys are paused.
   * @throws {TypeError} If the duration is of the wrong type.
   * @throws {RangeError} If the duration is out of range.
   */
  pause(duration: Duration, key?: unknown): void;
}

/** The rules of the options that all limits share. */
export const LIMITER_RULES: {
  // deno-lint-ignore ban-types -- any function is one
  readonly deriveKey: Rule<Function>;
  readonly maxQueue: Rule<number>;
  readonly signal: Rule<AbortSignal>;
} = { deriveKey: fn, maxQueue: count({ min: 0, infinity: true }), signal: abortSignal };

/** The rules of limits that processes may share. */
export const SHARED_RULES: typeof LIMITER_RULES & {
  readonly store: Rule<object>;
  readonly id: Rule<string>;
} = { ...LIMITER_RULES, store: object, id: text };

/** The definition of a kind of limit. */
export interface LimiterSetup {
  /** The verb phrase after "Cannot" in messages. */
  readonly action: string;
  /** The checked options. */
  readonly options: LimiterOptions;
  /** Makes the line of a key. */
  readonly open: (state: LimitState, key: unknown) => Line;
  /** The cost of a call; unset, each costs 1. */
  readonly cost?: (args: unknown[]) => number;
  /** Whether the limit reads results: that of a stream function is the array of its items. */
  readonly needsResult?: boolean;
  /** Called for each pause, of one key or of all. */
  readonly onPause?: ((milliseconds: number, key: unknown, isOfAll: boolean) => void) | undefined;
  /** Whether a retry around the limit may pause it. */
  readonly mayCoolDown: boolean;
}

/** A limit and its lines. */
export class Lines {
  readonly #setup: LimiterSetup;
  readonly #state: LimitState;
  readonly #shared: Line | undefined;
  readonly #signal: AbortSignal | undefined;
  readonly #cost: LimiterSetup["cost"];
  readonly #deriveKey: LimiterOptions["deriveKey"];

  constructor(setup: LimiterSetup) {
    const { signal, maxQueue = Infinity, deriveKey } = setup.options;
    this.#setup = setup;
    this.#signal = signal;
    this.#cost = setup.cost;
    this.#deriveKey = deriveKey;
    this.#state = {
      pendingCount: 0,
      isPaused: false,
      pauses: new Pauses(),
      lines: new Map(),
      spares: [],
      maxQueue,
      signal,
      pausable: setup.mayCoolDown ? this : undefined,
    };
    this.#shared = deriveKey === undefined ? setup.open(this.#state, undefined) : undefined;
  }

  /** The number of calls that hold a permit, over all keys. */
  get activeCount(): number {
    const lines = this.#shared === undefined ? [...this.#state.lines.values()] : [this.#shared];
    return lines.reduce((sum, { active }) => sum + active, 0);
  }

  /** The line of a key, if there is one: lines of idle keys are forgotten. */
  find(key: unknown): Line | undefined {
    return this.#shared ?? this.#state.lines.get(key);
  }

  /** Holds back new starts of a key. */
  pause(milliseconds: number, key: unknown): void {
    this.#state.pauses.pauseKey(key, milliseconds);
    this.#state.isPaused = true;
    this.#setup.onPause?.(milliseconds, key, false);
  }

  /** The limit as its user sees it. */
  get limiter(): Limiter {
    const { action } = this.#setup;
    const wrapper = wrapperOf(
      action,
      "the limit",
      (fn, self, args) => this.#call(fn, self, args),
      this.#setup.needsResult ? "all items" : "to the end",
    );
    const pause = (...args: [duration: Duration, key?: unknown]): void => {
      const milliseconds = checkValue("pause the limit", "duration", args[0], finiteDuration);
      if (args.length > 1) return this.pause(milliseconds, args[1]);
      this.#state.pauses.pauseAll(milliseconds);
      this.#state.isPaused = true;
      this.#setup.onPause?.(milliseconds, undefined, true);
    };
    const limiter = Object.assign(wrapper, { pause, pendingCount: 0 });
    return Object.defineProperty(limiter, "pendingCount", { get: () => this.#state.pendingCount });
  }

  /** Runs a call now or when its turn comes; it rejects and never throws. */
  #call(fn: AsyncFunction, self: unknown, args: unknown[]): Promise<unknown> {
    const signal = this.#signal;
    let line: Line | undefined;
    try {
      if (signal !== undefined && signal.aborted) throw reasonOfEnd(signal);
      line = this.#shared ?? this.#lineOf(args);
      return line.call(fn, self, args, this.#cost === undefined ? 1 : this.#cost(args));
    } catch (error) {
      line?.restIfIdle();
      return Promise.reject(error);
    }
  }

  #lineOf(args: unknown[]): Line {
    const deriveKey = this.#deriveKey;
    const { lines, spares } = this.#state;
    const key: unknown = deriveKey && Reflect.apply(deriveKey, undefined, args);
    const known = lines.get(key);
    if (known !== undefined) return known;
    this.#checkKey(key);
    let line = spares.pop();
    if (line === undefined) {
      line = this.#setup.open(this.#state, key);
      if (line.isIdle !== undefined) this.#forgetIdle();
    }
    line.key = key;
    lines.set(key, line);
    return line;
  }

  #checkKey(key: unknown): void {
    if (!isObject(key) || !("then" in key)) return;
    unawaited(key);
    throw new TypeError(
      `Cannot ${this.#setup.action}: deriveKey must return the key itself, not a promise of it; ` +
        "derive it from the arguments, or await it before the call",
    );
  }

  /**
   * Checks the two lines that were not checked for longest. Each new line does this, so that idle
   * lines are forgotten without a timer and without a long scan.
   */
  #forgetIdle(): void {
    const { lines } = this.#state;
    let left = 2;
    for (const [key, line] of lines) {
      if (left-- === 0 || line.isIdle === undefined) return;
      lines.delete(key);
      if (!line.isIdle()) lines.set(key, line);
    }
  }
}
