/**
 * What all limits share: their options, a line per key, and the function that is wrapper and
 * decorator in one.
 *
 * @module
 */

import { abortSignal, checkValue, count, fn, type Rule } from "../base/check.ts";
import { type Duration, finiteDuration } from "../base/duration.ts";
import { type AsyncFunction, type FunctionWrapper, wrapperOf } from "../base/wrap.ts";
import { reasonOfEnd } from "./end.ts";
import type { LimitState, Line } from "./line.ts";
import { Pauses } from "./pauses.ts";

/** The options that all limits share. */
export interface LimiterOptions {
  /**
   * Gives the key of a call from its arguments: any value but a promise, compared as a `Map`
   * compares its keys. Each key has a limit of its own. Unset, all calls share one. If it throws,
   * the call rejects with that error and does not count.
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

/** A limit: a wrapper and a method decorator, which all wrapped functions share. */
export interface Limiter extends FunctionWrapper {
  /** How many calls wait, over all keys and all functions that share the limit. */
  readonly pendingCount: number;
  /**
   * Holds back new starts for a while. Calls that run go on.
   *
   * Afterwards the starts come back spread over a second. A pause is never shortened by a later
   * one.
   *
   * @param duration How long from now: milliseconds above zero, or such as `"20s"`; finite.
   * @param key The key to pause; left out, all keys are paused.
   * @throws {TypeError} If the duration is of the wrong type.
   * @throws {RangeError} If it is out of range.
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

/** How a limit comes to its lines. */
export interface LimiterSetup<Kind extends Line> {
  /** What cannot be done if the limit is used wrongly, as a verb phrase. */
  readonly action: string;
  /** The options, checked. */
  readonly options: LimiterOptions;
  /** Makes the line of a key. */
  readonly open: (state: LimitState, key: unknown) => Kind;
  /** What a call costs; unset, each costs 1. */
  readonly cost?: (args: unknown[]) => number;
  /** Whether a retry around the limit may pause it. */
  readonly mayCoolDown: boolean;
}

/** A limit and its lines. */
export class Lines<Kind extends Line> {
  readonly #setup: LimiterSetup<Kind>;
  readonly #shared: Kind | undefined;
  readonly #ofKeys = new Map<unknown, Kind>();
  readonly #pauses = new Pauses();
  readonly #state: LimitState;

  /** @param setup What kind of limit it is. */
  constructor(setup: LimiterSetup<Kind>) {
    const { signal, maxQueue = Infinity, deriveKey } = setup.options;
    this.#setup = setup;
    this.#state = {
      pendingCount: 0,
      activeCount: 0,
      maxQueue,
      signal,
      pauses: this.#pauses,
      pausable: setup.mayCoolDown ? this : undefined,
    };
    this.#shared = deriveKey === undefined ? setup.open(this.#state, undefined) : undefined;
  }

  /** How many calls wait, over all keys. */
  get pendingCount(): number {
    return this.#state.pendingCount;
  }

  /** How many calls hold a permit, over all keys. */
  get activeCount(): number {
    return this.#state.activeCount;
  }

  /** The line of a key, if there is one: lines of idle keys are forgotten. */
  find(key: unknown): Kind | undefined {
    return this.#shared ?? this.#ofKeys.get(key);
  }

  /** Holds back new starts of a key. */
  pause(milliseconds: number, key: unknown): void {
    this.#pauses.pauseKey(key, milliseconds);
  }

  /** The limit as its user sees it. */
  get limiter(): Limiter {
    const wrapper = wrapperOf(
      this.#setup.action,
      "the limit",
      (fn, self, args) => this.#call(fn, self, args),
    );
    const pause = (...args: [duration: Duration, key?: unknown]): void => {
      const milliseconds = checkValue("pause the limit", "duration", args[0], finiteDuration);
      if (args.length === 1) this.#pauses.pauseAll(milliseconds);
      else this.#pauses.pauseKey(args[1], milliseconds);
    };
    return Object.defineProperties(Object.assign(wrapper, { pause, pendingCount: 0 }), {
      pendingCount: { get: () => this.pendingCount },
    });
  }

  /** Runs a call now or when its turn comes; it rejects and never throws. */
  #call(fn: AsyncFunction, self: unknown, args: unknown[]): Promise<unknown> {
    const { options, cost } = this.#setup;
    try {
      if (options.signal?.aborted) throw reasonOfEnd(options.signal);
      const line = this.#shared ?? this.#lineOf(args);
      return line.call(fn, self, args, cost === undefined ? 1 : cost(args));
    } catch (error) {
      return Promise.reject(error);
    }
  }

  #lineOf(args: unknown[]): Kind {
    const { action, open, options } = this.#setup;
    const key: unknown = options.deriveKey && Reflect.apply(options.deriveKey, undefined, args);
    const known = this.#ofKeys.get(key);
    if (known !== undefined) return known;
    if (isThenable(key)) {
      throw new TypeError(
        `Cannot ${action}: deriveKey must return the key itself, not a promise of it; derive it ` +
          "from the arguments, or await it before the call",
      );
    }
    this.#forgetIdle();
    const line = open(this.#state, key);
    this.#ofKeys.set(key, line);
    return line;
  }

  /**
   * Looks at the two lines that were not looked at for longest. Each new line makes this happen, so
   * that idle ones run out without a timer and without a pause.
   */
  #forgetIdle(): void {
    let left = 2;
    for (const [key, line] of this.#ofKeys) {
      if (left-- === 0) return;
      this.#ofKeys.delete(key);
      if (!line.isIdle()) this.#ofKeys.set(key, line);
    }
  }
}

function isThenable(value: unknown): boolean {
  return typeof value === "object" && value !== null &&
    typeof Reflect.get(value, "then") === "function";
}
