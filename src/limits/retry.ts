/**
 * Tries again when an async function fails.
 *
 * @module
 */

import { delay } from "@std/async/delay";
import { retry as retryCall } from "@std/async/retry";
import { type Duration, parseDuration } from "../base/duration.ts";
import { optionMessage, refuseUnknownOptions } from "../base/errors.ts";
import { requireCount, requireSignal } from "./limiter.ts";
import { callerSignals } from "../base/signals.ts";
import { type AsyncFunction, impersonate, methodContext } from "../base/wrap.ts";

export type { AsyncFunction, Duration };

/** How long {@linkcode retry} waits after a failed attempt. */
export interface Backoff {
  /** The longest wait after the first attempt: 1 s unless set; finite. */
  readonly min?: Duration;
  /** The longest wait after any attempt: 60 s unless set; `Infinity` sets no bound. */
  readonly max?: Duration;
  /** By how much the longest wait grows from attempt to attempt: a finite number from 1; 2 unless set. */
  readonly multiplier?: number;
  /**
   * The part of each wait that is random, 0 to 1: `0` waits the longest time always, `1`, the
   * default, anything between nothing and that.
   */
  readonly jitter?: number;
}

/** The options of {@linkcode retry}. */
export interface RetryOptions {
  /** How many times the function is called in all: a positive integer, 5 unless set; 1 never retries. */
  readonly attempts?: number;
  /** How long to wait after a failed attempt; the members say their defaults. */
  readonly backoff?: Backoff;
  /** Whether this error is worth another attempt; unset, every error is. */
  readonly when?: (error: unknown) => boolean;
  /**
   * How long to wait after this error, in place of the backoff: milliseconds, or a duration such as
   * `"30s"`. Zero and less is at once, `Infinity` gives up, `undefined` and `NaN` leave it to the backoff.
   */
  readonly after?: (error: unknown) => Duration | undefined;
  /**
   * Ends the retries: when it aborts, calls that wait to try again reject with its reason, and so
   * does every later call. An attempt that runs goes on. Unset, they never end.
   */
  readonly signal?: AbortSignal;
}

/** What {@linkcode retry} returns: a wrapper and a method decorator. */
export interface Retry {
  /**
   * Makes a function try again, or a method when used as a standard decorator.
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
}

const ACTION = "retry";

/** The options in effect. */
interface Plan {
  readonly attempts: number;
  readonly min: number;
  readonly max: number;
  readonly multiplier: number;
  readonly jitter: number;
  readonly when: (error: unknown) => boolean;
  readonly after: (error: unknown) => unknown;
  readonly signal: AbortSignal | undefined;
}

/**
 * Calls a function again when it fails, after a wait that grows and is spread at random.
 *
 * When the attempts are used up, the last error is thrown as the function threw it.
 *
 * A call whose own signal aborts (an argument that is an `AbortSignal`, or an object whose member
 * `signal` is one) is not retried, and if it waits it rejects at once with the reason.
 *
 * Outside of a limit, `cache.cache({ id })(retry()(limitRate(…)(limitConcurrency(…)(fn))))`, a call that
 * waits to try again holds no permit, each attempt counts against the rate, and hits do neither.
 *
 * @param options See {@linkcode RetryOptions}.
 * @returns A wrapper that is a decorator too.
 * @throws {TypeError} If an option is of the wrong type or does not exist.
 * @throws {RangeError} If an option is out of range.
 *
 * @example The second attempt succeeds
 * ```ts
 * import { retry } from "@panza/panza";
 * import { assertEquals } from "@std/assert";
 *
 * let calls = 0;
 * const flaky = retry({ backoff: { min: "1ms" } })(async () => {
 *   if (++calls === 1) throw new Error("busy");
 *   return await Promise.resolve("done");
 * });
 * assertEquals([await flaky(), calls], ["done", 2]);
 * ```
 *
 * @example Honour Retry-After, which is a number of seconds or an HTTP date
 * ```ts
 * import { retry } from "@panza/panza";
 * import { assertEquals } from "@std/assert";
 *
 * class HttpError extends Error {
 *   constructor(readonly response: Response) {
 *     super(`HTTP ${response.status}`);
 *   }
 * }
 *
 * function retryAfter(error: unknown): number | undefined {
 *   const header = error instanceof HttpError ? error.response.headers.get("retry-after") : null;
 *   if (header === null) return undefined;
 *   const seconds = Number(header);
 *   // A date that cannot be read is NaN, which leaves the wait to the backoff.
 *   return Number.isNaN(seconds) ? Date.parse(header) - Date.now() : seconds * 1000;
 * }
 *
 * const answers = [new Response("", { status: 429, headers: { "retry-after": "0" } }), new Response("ok")];
 * const request = retry({
 *   when: (error) => error instanceof HttpError && (error.response.status === 429 || error.response.status >= 500),
 *   after: retryAfter,
 * })(async () => {
 *   const response = answers.shift() ?? Response.error();
 *   if (!response.ok) throw new HttpError(response);
 *   return await response.text();
 * });
 * assertEquals(await request(), "ok");
 * ```
 */
export function retry(options: RetryOptions = {}): Retry {
  const plan = readOptions(options);
  function wrap<Wrapped extends AsyncFunction>(
    fn: Wrapped,
    context?: ClassMethodDecoratorContext<never>,
  ): Wrapped;
  function wrap(fn: AsyncFunction, context?: unknown): AsyncFunction {
    methodContext(ACTION, fn, context);
    return impersonate(function (this: unknown, ...args: unknown[]) {
      return callUntilItSucceeds(plan, fn, this, args);
    }, fn);
  }
  return wrap;
}

function readOptions(options: RetryOptions): Plan {
  refuseUnknownOptions(ACTION, options, ["attempts", "backoff", "when", "after", "signal"]);
  const { attempts = 5, backoff = {}, signal } = options;
  const { when = () => true, after = () => undefined } = options;
  requireCount(ACTION, "attempts", attempts, 1, false);
  requireSignal(ACTION, signal);
  for (
    const [name, value] of [
      ["when", when],
      ["after", after],
    ] as const
  ) {
    if (typeof value !== "function") {
      throw new TypeError(optionMessage(ACTION, name, "a function", value));
    }
  }
  if (typeof backoff !== "object" || backoff === null) {
    throw new TypeError(optionMessage(ACTION, "backoff", "an object", backoff));
  }
  const known = ["min", "max", "multiplier", "jitter"];
  refuseUnknownOptions("retry with this backoff", backoff, known);
  const { multiplier = 2, jitter = 1 } = backoff;
  const max = parseDuration(ACTION, "backoff.max", backoff.max ?? "60s");
  const min = parseDuration(
    ACTION,
    "backoff.min",
    // A short `max` alone is enough to make all waits short.
    backoff.min ?? Math.min(1_000, max),
  );
  requireRange("backoff.min", min, 0, Math.min(max, Number.MAX_VALUE));
  requireRange("backoff.multiplier", multiplier, 1, Number.MAX_VALUE);
  requireRange("backoff.jitter", jitter, 0, 1);
  return { attempts, min, max, multiplier, jitter, when, after, signal };
}

function requireRange(name: string, value: unknown, from: number, to: number): void {
  const rule = to === Number.MAX_VALUE
    ? `a finite number from ${from}`
    : `a number from ${from} to ${to}`;
  if (typeof value !== "number") {
    throw new TypeError(optionMessage(ACTION, name, rule, value));
  }
  if (!(value >= from && value <= to)) {
    throw new RangeError(optionMessage(ACTION, name, rule, value));
  }
}

/**
 * Makes the attempts of one call.
 *
 * The loop and the backoff are std's. It cannot wait as long as one error asks for, so such an error
 * ends its loop: the wait is made here, and std goes on with the attempts that are left and with
 * the backoff where it stood. That the attempts are counted here also keeps the last error as the
 * function threw it, which std would wrap.
 */
async function callUntilItSucceeds(
  plan: Plan,
  fn: AsyncFunction,
  self: unknown,
  args: unknown[],
): Promise<unknown> {
  const signals = callerSignals(args);
  const ends = joinSignals(plan.signal === undefined ? signals : [plan.signal, ...signals]);
  let made = 0;
  let pause: number | undefined;
  const call = (): unknown => {
    made++;
    return Reflect.apply(fn, self, args);
  };
  const isRetriable = (error: unknown): boolean => {
    if (made === plan.attempts || signals.some((signal) => signal.aborted) || !plan.when(error)) {
      return false;
    }
    pause = readPause(plan.after(error));
    return pause === undefined;
  };
  try {
    while (true) {
      try {
        return await retryCall(call, {
          ...ends.options,
          isRetriable,
          maxAttempts: plan.attempts,
          minTimeout: Math.min(plan.max, plan.min * plan.multiplier ** made),
          maxTimeout: plan.max,
          multiplier: plan.multiplier,
          jitter: plan.jitter,
        });
      } catch (error) {
        if (pause === undefined || pause === Infinity) throw error;
        await delay(pause, ends.options);
        pause = undefined;
      }
    }
  } finally {
    ends.release();
  }
}

/** What {@linkcode RetryOptions.after} said, in milliseconds; `undefined` leaves it to the backoff. */
function readPause(value: unknown): number | undefined {
  if (value === undefined || Number.isNaN(value)) return undefined;
  if (typeof value === "number") return Math.max(0, value);
  return parseDuration(ACTION, "the result of after", value);
}

/** One signal that aborts with the first of several, in the form of std's options. */
interface JoinedSignals {
  readonly options: { readonly signal?: AbortSignal };
  /** Leaves nothing behind on signals that outlive the call. */
  readonly release: () => void;
}

function joinSignals(signals: readonly AbortSignal[]): JoinedSignals {
  const [first] = signals;
  if (first === undefined) return { options: {}, release: () => {} };
  if (signals.length === 1) {
    return { options: { signal: first }, release: () => {} };
  }
  const controller = new AbortController();
  const abort = (): void => {
    controller.abort(signals.find((signal) => signal.aborted)?.reason);
  };
  for (const signal of signals) {
    if (signal.aborted) abort();
    signal.addEventListener("abort", abort);
  }
  return {
    options: { signal: controller.signal },
    release: () => {
      for (const signal of signals) signal.removeEventListener("abort", abort);
    },
  };
}
