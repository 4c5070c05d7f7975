/**
 * What all limits share: a waiting line per key, leaving it on an abort, and the function that is
 * wrapper and decorator in one.
 *
 * @module
 */

import { optionMessage, QueueFullError, refuseUnknownOptions } from "../base/errors.ts";
import { callerSignals } from "../base/signals.ts";
import { type AsyncFunction, impersonate, methodContext } from "../base/wrap.ts";

/** What every limit may be told. */
export interface LimiterOptions {
  /** Gives the key whose limit a call counts against. */
  readonly deriveKey?: (...args: never[]) => unknown;
  /** How many calls may wait, per key. */
  readonly maxQueue?: number;
  /** Ends the limit. */
  readonly signal?: AbortSignal;
}

/** One call that waits for its turn. */
interface Waiter {
  readonly lane: Lane;
  readonly fn: AsyncFunction;
  readonly self: unknown;
  readonly args: unknown[];
  readonly signals: readonly AbortSignal[];
  readonly admit: (waiter: Waiter) => void;
  readonly refuse: (reason: unknown) => void;
  previous: Waiter | undefined;
  next: Waiter | undefined;
}

/**
 * The calls of one key: first come, first served.
 *
 * The line is a linked list, so that a call leaves it from anywhere at once and nothing of it stays.
 */
export abstract class Lane {
  /** How many calls wait. */
  size = 0;
  /** Who is next. */
  first: Waiter | undefined;
  #last: Waiter | undefined;

  /** @param key The key; `undefined` in a limit without keys. */
  constructor(public key: unknown) {}

  /** Takes what a call needs to start, if it is free and nobody waits for it. */
  abstract take(): boolean;

  /** Runs a call that has what it needs to start; it never throws. */
  abstract run(fn: AsyncFunction, self: unknown, args: unknown[]): Promise<unknown>;

  /** Is told when a call joined the line. */
  joined?(): void;

  /** Is told when an abort took the last waiting call out of the line. */
  emptied?(): void;

  /** Puts a call at the end of the line. */
  push(waiter: Waiter): void {
    waiter.previous = this.#last;
    if (this.#last === undefined) this.first = waiter;
    else this.#last.next = waiter;
    this.#last = waiter;
    this.size++;
  }

  /** Takes a call out of the line, wherever it stands. */
  remove(waiter: Waiter): void {
    if (waiter.previous === undefined) this.first = waiter.next;
    else waiter.previous.next = waiter.next;
    if (waiter.next === undefined) this.#last = waiter.previous;
    else waiter.next.previous = waiter.previous;
    // One that has left must not keep its neighbours from being collected.
    waiter.previous = waiter.next = undefined;
    this.size--;
  }
}

// One executor for all promises saves a closure per waiting call: it runs synchronously, and its
// caller takes both functions at once.
let admit: (waiter: Waiter) => void;
let refuse: (reason: unknown) => void;
function capture(resolve: (waiter: Waiter) => void, reject: (reason: unknown) => void): void {
  admit = resolve;
  refuse = reject;
}

function begin(waiter: Waiter): Promise<unknown> {
  return waiter.lane.run(waiter.fn, waiter.self, waiter.args);
}

/** The waiting calls that one signal takes out of their lines. */
interface Watch extends EventListenerObject {
  // One listener per signal, however many calls share it: runtimes compare each new listener with
  // all earlier ones, which is quadratic for a batch under one signal.
  readonly waiters: Set<Waiter>;
}

/** Lets calls run when their lane lets them, and makes the others wait. */
export class Limiter<Kind extends Lane> {
  /** How many calls wait, over all keys. */
  pendingCount = 0;
  /** The lanes of all keys that are in use; empty in a limit without keys. */
  readonly lanes: Map<unknown, Kind> = new Map();
  readonly #open: (key: unknown, limiter: Limiter<Kind>) => Kind;
  readonly #shared: Kind | undefined;
  readonly #deriveKey: ((...args: never[]) => unknown) | undefined;
  readonly #maxQueue: number;
  readonly #signal: AbortSignal | undefined;
  #spare: Kind | undefined;
  readonly #watches: Map<AbortSignal, Watch> = new Map();

  /**
   * @param options The options, checked.
   * @param open Makes the lane of a key.
   */
  constructor(options: LimiterOptions, open: (key: unknown, limiter: Limiter<Kind>) => Kind) {
    this.#deriveKey = options.deriveKey;
    this.#maxQueue = options.maxQueue ?? Infinity;
    this.#signal = options.signal;
    this.#open = open;
    this.#shared = options.deriveKey === undefined ? open(undefined, this) : undefined;
  }

  /**
   * Forgets a lane that is as a new one is. The last of them serves the next new key: a call whose
   * key is idle costs no lane then.
   */
  forget(lane: Kind): void {
    if (lane === this.#shared) return;
    this.lanes.delete(lane.key);
    lane.key = undefined;
    this.#spare = lane;
  }

  /** Runs a call now or when its turn comes; it rejects and never throws. */
  call(fn: AsyncFunction, self: unknown, args: unknown[]): Promise<unknown> {
    try {
      this.#signal?.throwIfAborted();
      const lane = this.#shared ?? this.#lane(args);
      return lane.take() ? lane.run(fn, self, args) : this.#wait(lane, fn, self, args);
    } catch (error) {
      return Promise.reject(error);
    }
  }

  /**
   * Lets the first waiting call of a lane start; what it needs is taken already.
   *
   * @returns Whether one waited.
   */
  admit(lane: Lane): boolean {
    const waiter = lane.first;
    if (waiter === undefined) return false;
    this.#leave(waiter);
    waiter.admit(waiter);
    return true;
  }

  /**
   * The function that wraps and decorates.
   *
   * @param action What cannot be done if it is applied to something else, as a verb phrase.
   */
  wrapper(
    action: string,
  ): <Wrapped extends AsyncFunction>(
    fn: Wrapped,
    context?: ClassMethodDecoratorContext<never>,
  ) => Wrapped {
    const call = this.call.bind(this);
    function wrap<Wrapped extends AsyncFunction>(
      fn: Wrapped,
      context?: ClassMethodDecoratorContext<never>,
    ): Wrapped;
    function wrap(fn: AsyncFunction, context?: unknown): AsyncFunction {
      methodContext(action, fn, context);
      return impersonate(function (this: unknown, ...args: unknown[]) {
        return call(fn, this, args);
      }, fn);
    }
    return wrap;
  }

  #lane(args: unknown[]): Kind {
    const key: unknown = this.#deriveKey && Reflect.apply(this.#deriveKey, undefined, args);
    let lane = this.lanes.get(key);
    if (lane === undefined) {
      lane = this.#spare ?? this.#open(key, this);
      this.#spare = undefined;
      lane.key = key;
      this.lanes.set(key, lane);
    }
    return lane;
  }

  #wait(lane: Lane, fn: AsyncFunction, self: unknown, args: unknown[]): Promise<unknown> {
    const signals = callerSignals([this.#signal, ...args]);
    for (const signal of signals) signal.throwIfAborted();
    if (lane.size >= this.#maxQueue) throw new QueueFullError(this.#maxQueue);
    const turn = new Promise<Waiter>(capture);
    const waiter: Waiter = {
      lane,
      fn,
      self,
      args,
      signals,
      admit,
      refuse,
      previous: undefined,
      next: undefined,
    };
    lane.push(waiter);
    this.pendingCount++;
    for (const signal of signals) this.#watch(signal).waiters.add(waiter);
    lane.joined?.();
    // `then` keeps the async context of this caller: whoever admits the call only settles `turn`.
    return turn.then(begin);
  }

  #watch(signal: AbortSignal): Watch {
    let watch = this.#watches.get(signal);
    if (watch === undefined) {
      const waiters = new Set<Waiter>();
      const handleEvent = (): void => {
        for (const waiter of [...waiters]) {
          this.#leave(waiter);
          waiter.refuse(signal.reason);
          if (waiter.lane.size === 0) waiter.lane.emptied?.();
        }
      };
      watch = { waiters, handleEvent };
      this.#watches.set(signal, watch);
      signal.addEventListener("abort", watch);
    }
    return watch;
  }

  #leave(waiter: Waiter): void {
    waiter.lane.remove(waiter);
    this.pendingCount--;
    for (const signal of waiter.signals) {
      const watch = this.#watches.get(signal);
      watch?.waiters.delete(waiter);
      if (watch?.waiters.size === 0) {
        signal.removeEventListener("abort", watch);
        this.#watches.delete(signal);
      }
    }
  }
}

/**
 * Checks the options that all limits share.
 *
 * @param action What cannot be done if one is wrong, as a verb phrase.
 * @param options What was passed.
 * @param further The names of the limit's own options.
 * @throws {TypeError} If an option does not exist or is of the wrong type.
 * @throws {RangeError} If `maxQueue` is out of range.
 */
export function checkLimiterOptions(
  action: string,
  options: LimiterOptions,
  ...further: readonly string[]
): void {
  const known = [...further, "deriveKey", "maxQueue", "signal"];
  refuseUnknownOptions(action, options, known);
  const { deriveKey, maxQueue = Infinity, signal } = options;
  if (deriveKey !== undefined && typeof deriveKey !== "function") {
    throw new TypeError(optionMessage(action, "deriveKey", "a function", deriveKey));
  }
  requireCount(action, "maxQueue", maxQueue, 0);
  requireSignal(action, signal);
}

/**
 * Refuses what is no count.
 *
 * @param action What cannot be done, as a verb phrase.
 * @param name The option.
 * @param value What it is.
 * @param least The smallest count, 0 or 1.
 * @param endless Whether `Infinity` is one.
 * @throws {TypeError} If it is no number.
 * @throws {RangeError} If it is a number and no such count.
 */
export function requireCount(
  action: string,
  name: string,
  value: unknown,
  least: 0 | 1,
  endless: boolean = true,
): void {
  const rule = (least === 0 ? "a non-negative integer" : "a positive integer") +
    (endless ? " or Infinity" : "");
  const isNumber = typeof value === "number";
  if (isNumber && Number.isSafeInteger(value) && value >= least) return;
  if (endless && value === Infinity) return;
  const Mistake = isNumber ? RangeError : TypeError;
  throw new Mistake(optionMessage(action, name, rule, value));
}

/**
 * Refuses what is neither unset nor an `AbortSignal`.
 *
 * @param action What cannot be done, as a verb phrase.
 * @param signal The option `signal`.
 * @throws {TypeError} If it is something else.
 */
export function requireSignal(action: string, signal: unknown): void {
  if (signal !== undefined && !(signal instanceof AbortSignal)) {
    throw new TypeError(optionMessage(action, "signal", "an AbortSignal", signal));
  }
}
