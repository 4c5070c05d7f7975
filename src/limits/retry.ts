/**
 * Calls an async function again when it fails.
 *
 * @module
 */

import { delay } from "@std/async/delay";
import { abortReason, whenAborted } from "../base/abort.ts";
import { abortSignal, check, count, finite, fn, number, object, unawaited } from "../base/check.ts";
import { clock } from "../base/clock.ts";
import { type Duration, duration, finiteDuration } from "../base/duration.ts";
import { optionMessage, PanzaError, QueueFullError, SchemaError } from "../base/errors.ts";
import { currentPassage, Passage, type Pausable } from "../base/passage.ts";
import { isObject } from "../base/plain.ts";
import { schemaRule, type StandardSchema, validate } from "../base/schema.ts";
import { findSignals, replaceSignals } from "../base/signals.ts";
import { OpenStream } from "../base/stream.ts";
import { type AsyncFunction, type FunctionWrapper, wrapperOf } from "../base/wrap.ts";
import { isReasonOfEnd } from "./end.ts";

/** The waits of {@linkcode retry} after failed attempts. */
export interface Backoff {
  /** The longest wait after the first attempt: 1 s unless set; finite. */
  readonly min?: Duration;
  /** The longest wait after any attempt: 60 s unless set; `Infinity` sets no bound. */
  readonly max?: Duration;
  /** The growth of the longest wait per attempt: a finite number from 1; 2 unless set. */
  readonly multiplier?: number;
  /**
   * The random part of each wait, 0 to 1. With `0`, a wait is always the longest one; with `1`, the
   * default, it is anything between zero and the longest one.
   */
  readonly jitter?: number;
}

/** A retry that is about to happen. */
export interface RetryInfo {
  /** The number of the attempt that failed, from 1. */
  readonly attempt: number;
  /** The wait before the next attempt, in milliseconds. */
  readonly delayMs: number;
}

/**
 * The options of {@linkcode retry}.
 *
 * A callback that throws or returns a wrong value never replaces the error of the function. The
 * call is retried with the ordinary backoff, and the error of the function gets the callback's
 * mistake as its `cause` if it has none.
 */
export interface RetryOptions {
  /** The maximum number of attempts: a positive integer, 5 unless set; 1 never retries. */
  readonly attempts?: number;
  /** The waits after failed attempts; the members state their defaults. */
  readonly backoff?: Backoff;
  /** Whether an error is worth another attempt; unset, every error is. */
  readonly shouldRetry?: (error: unknown) => boolean;
  /**
   * The wait after an error, in place of the backoff: milliseconds, or a duration such as `"30s"`.
   * Zero or less retries at once, `Infinity` gives up, `undefined` and `NaN` leave the wait to the
   * backoff. {@linkcode readRetryAfter} reads the waits that servers ask for.
   */
  readonly retryAfter?: (error: unknown) => Duration | undefined;
  /**
   * The time after the call within which the last attempt may begin; `Infinity`, the default, sets
   * no bound. A wait that would end later is not begun.
   */
  readonly maxElapsed?: Duration;
  /**
   * The longest time of one attempt; `Infinity`, the default, sets no bound. Waits in the limits
   * inside do not count. A longer attempt fails with a `TimeoutError`, and signals among its
   * arguments abort with that error. It keeps its permits until its function has ended.
   */
  readonly timeout?: Duration;
  /**
   * Any Standard Schema that each result must pass, or the attempt fails with `SchemaError`. The
   * result itself is returned, not the schema's output.
   */
  readonly schema?: StandardSchema;
  /** Called before the wait for another attempt. */
  readonly onRetry?: (error: unknown, info: RetryInfo) => void;
  /**
   * The longest pause of limits; finite. If `retryAfter` gives a wait, the limits and rates that
   * the attempt passed pause its keys for that wait, and at most for this time. Off unless set. Use
   * it where a quota is exhausted: where the server caps concurrency, it costs nearly all
   * throughput. A `limitAdaptive` is never paused.
   */
  readonly coolDown?: Duration;
  /**
   * Ends the retries: when the signal aborts, calls that wait for another attempt reject with its
   * reason, and so does every later call. A running attempt continues. Unset, nothing ends them.
   */
  readonly signal?: AbortSignal;
}

/** The result of {@linkcode retry}: a wrapper and a method decorator. */
export interface Retrier extends FunctionWrapper {}

const ACTION = "retry";

/** The options in effect; durations in milliseconds. */
interface Plan extends Omit<RetryOptions, "backoff"> {
  readonly attempts: number;
  readonly backoff: { min: number; max: number; multiplier: number; jitter: number };
  readonly maxElapsed: number;
  readonly timeout: number;
  readonly coolDown: number;
}

/**
 * Calls a function again when it fails, after a wait that grows and is randomized.
 *
 * When the attempts are used up, the last error is thrown as the function threw it.
 *
 * Never retried are the library's own errors, except `QueueFullError`, `SchemaError` and the
 * `TimeoutError` of an attempt; the reason of a limit that has ended; and a call whose own signal
 * aborts, at any depth of plain objects and arrays among its arguments. If such a call waits, it
 * rejects at once with the reason.
 *
 * Outside of a limit, `cache.cache({ id })(retry()(limitRate(…)(limitConcurrency(…)(fn))))`, a call
 * that waits for another attempt holds no permit, and each attempt counts against the rate. Hits
 * use neither. A function that changes its own arguments must not be retried.
 *
 * An async generator function is called again until its first item has come, and never after that.
 * The attempt is the wait of the first `next()`.
 *
 * @param options See {@linkcode RetryOptions}.
 * @returns A wrapper that is a decorator too.
 * @throws {TypeError} If an option is of the wrong type or does not exist.
 * @throws {RangeError} If an option is out of range.
 *
 * @category Limits
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
 * @example Retry errors that may pass, and wait as long as the server asks
 * ```ts
 * import { readRetryAfter, retry } from "@panza/panza";
 * import { assertEquals } from "@std/assert";
 *
 * class HttpError extends Error {
 *   constructor(readonly response: Response) {
 *     super(`HTTP ${response.status}`);
 *   }
 * }
 *
 * const answers = [new Response("", { status: 429, headers: { "retry-after": "0" } }), new Response("ok")];
 * const request = retry({
 *   shouldRetry: (error) => !(error instanceof HttpError) || error.response.status === 429 || error.response.status >= 500,
 *   retryAfter: readRetryAfter,
 * })(async () => {
 *   const response = answers.shift() ?? Response.error();
 *   if (!response.ok) throw new HttpError(response);
 *   return await response.text();
 * });
 * assertEquals(await request(), "ok");
 * ```
 */
export function retry(options: RetryOptions = {}): Retrier {
  const plan = readOptions(options);
  return wrapperOf(
    ACTION,
    "the retry",
    (fn, self, args) => callUntilItSucceeds(plan, fn, self, args),
    plan.schema === undefined ? "to the first item" : "whole results",
  );
}

function readOptions(options: RetryOptions): Plan {
  const { attempts = 5, maxElapsed = Infinity, timeout = Infinity, coolDown = 0 } = check(
    ACTION,
    options,
    {
      attempts: count(),
      backoff: object,
      shouldRetry: fn,
      retryAfter: fn,
      maxElapsed: duration,
      timeout: duration,
      schema: schemaRule,
      onRetry: fn,
      coolDown: finiteDuration,
      signal: abortSignal,
    },
  );
  const backoff = check(ACTION, options.backoff ?? {}, {
    min: finiteDuration,
    max: duration,
    multiplier: finite(1),
    jitter: number(0, 1),
  }, "backoff.");
  const { max = 60_000, multiplier = 2, jitter = 1 } = backoff;
  // A short `max` alone is enough to make all waits short.
  const { min = Math.min(1_000, max) } = backoff;
  if (min > max) {
    throw new RangeError(optionMessage(ACTION, "backoff.min", `at most backoff.max (${max})`, min));
  }
  const waits = { min, max, multiplier, jitter };
  return { ...options, attempts, backoff: waits, maxElapsed, timeout, coolDown };
}

/** A limit that an attempt passed, and the key of the call there. */
type Passed = readonly [limit: Pausable, key: unknown];

async function callUntilItSucceeds(
  plan: Plan,
  fn: AsyncFunction,
  self: unknown,
  args: unknown[],
): Promise<unknown> {
  const passage = currentPassage();
  // Between an attempt and the wait for the next one, the caller must not seem to work.
  const ended = passage?.wait("turn");
  try {
    return await makeAttempts(plan, passage, fn, self, args);
  } finally {
    ended?.();
  }
}

async function makeAttempts(
  plan: Plan,
  passage: Passage | undefined,
  fn: AsyncFunction,
  self: unknown,
  args: unknown[],
): Promise<unknown> {
  const own = findSignals([plan.signal, ...args]);
  const signals = passage === undefined ? own : [...own, ...passage.signals];
  const start = clock();
  const mistakes: unknown[] = [];
  for (let attempt = 1;; attempt++) {
    const aborted = signals.find((signal) => signal.aborted);
    if (aborted !== undefined) throw abortReason(aborted);
    const passed: Passed[] = [];
    try {
      const value = await callOnce(plan, passage, fn, self, args, passed);
      if (plan.schema !== undefined) await validate(plan.schema, value);
      return value;
    } catch (error) {
      const isOver = attempt === plan.attempts || isFinal(error) ||
        signals.some((signal) => signal.aborted);
      const wait = isOver ? undefined : decide(plan, error, attempt, passed, mistakes);
      if (wait === undefined || clock() - start + wait > plan.maxElapsed) {
        addCause(error, mistakes.at(-1));
        throw error;
      }
      try {
        unawaited(plan.onRetry?.(error, { attempt, delayMs: wait }));
      } catch (mistake) {
        mistakes.push(mistake);
      }
      const ended = passage?.wait("attempt");
      try {
        await delayUnlessAborted(wait, signals);
      } finally {
        ended?.();
      }
    }
  }
}

/** Whether another attempt would be in vain. */
function isFinal(error: unknown): boolean {
  if (error instanceof PanzaError) {
    return !(error instanceof QueueFullError || error instanceof SchemaError);
  }
  return isReasonOfEnd(error);
}

/**
 * Makes one attempt.
 *
 * @param passed Receives the limits that the attempt passes.
 */
async function callOnce(
  { timeout, coolDown }: Plan,
  parent: Passage | undefined,
  fn: AsyncFunction,
  self: unknown,
  args: unknown[],
  passed: Passed[],
): Promise<unknown> {
  const onPass = (limit: Pausable, key: unknown): void => {
    if (coolDown > 0) passed.push([limit, key]);
  };
  if (timeout === Infinity) {
    return await new Passage(parent, { onPass }).run(() => Reflect.apply(fn, self, args));
  }
  const controller = new AbortController();
  const { signal } = controller;
  const { promise: expired, reject } = Promise.withResolvers<never>();
  let timer: ReturnType<typeof setTimeout> | undefined;
  const arm = (): void => {
    clearTimeout(timer);
    // A function that blocks the thread may work past its timeout.
    const left = Math.max(0, timeout - passage.workedMs);
    if (passage.isWorking) timer = setTimeout(expire, Math.min(left, LONGEST_DELAY));
  };
  const expire = (): void => {
    // A timer may be early, or cover only a part of a long timeout.
    if (passage.workedMs < timeout) return arm();
    const error = new DOMException(`An attempt took more than ${timeout} ms`, "TimeoutError");
    passage.end(false);
    controller.abort(error);
    reject(error);
  };
  const passage: Passage = new Passage(parent, { signal, onPass, onChange: arm });
  arm();
  const stop = whenAborted(findSignals(args), (reason) => controller.abort(reason));
  const given = replaceSignals(args, signal);
  try {
    return await Promise.race([
      expired,
      passage.run(() => Reflect.apply(fn, self, given)).then((value) => {
        // Until a stream has ended, aborts of its caller still reach the signal that it was given.
        if (value instanceof OpenStream) value.ended.then(stop, stop);
        else stop();
        return value;
      }, (failure) => {
        stop();
        throw failure;
      }),
    ]);
  } finally {
    clearTimeout(timer);
  }
}

/** The longest delay that `setTimeout` supports, in milliseconds; a longer one fires at once. */
const LONGEST_DELAY = 2_147_483_647;

/**
 * Decides the wait before the next attempt, and pauses limits if the server asks for a wait.
 *
 * @param mistakes Receives the errors of callbacks, wrong results included.
 * @returns The wait, in milliseconds; `undefined` for no more attempts.
 */
function decide(
  plan: Plan,
  error: unknown,
  attempt: number,
  passed: readonly Passed[],
  mistakes: unknown[],
): number | undefined {
  const { min, max, multiplier, jitter } = plan.backoff;
  const longest = Math.min(max, min * multiplier ** (attempt - 1));
  const backoff = longest * (1 - jitter * Math.random());
  try {
    const isWorth: unknown = unawaited(plan.shouldRetry?.(error)) ?? true;
    if (isObject(isWorth)) {
      throw new TypeError(optionMessage(ACTION, "the result of shouldRetry", "a boolean", isWorth));
    }
    if (!isWorth) return undefined;
    const after = readWait(unawaited(plan.retryAfter?.(error)));
    if (after === undefined) return backoff;
    if (after === Infinity) return undefined;
    const pause = Math.min(after, plan.coolDown);
    if (pause > 0) { for (const [limit, key] of passed) limit.pause(pause, key); }
    return after;
  } catch (mistake) {
    mistakes.push(mistake);
    return backoff;
  }
}

/** The result of `retryAfter`, in milliseconds; `undefined` leaves the wait to the backoff. */
function readWait(value: unknown): number | undefined {
  if (value === undefined || value === null) return undefined;
  const milliseconds = duration.read(value);
  if (milliseconds === undefined) {
    const name = "the result of retryAfter";
    throw new TypeError(optionMessage(ACTION, name, duration.must, value));
  }
  return Number.isNaN(milliseconds) ? undefined : Math.max(0, milliseconds);
}

/** Adds a callback's mistake as the `cause` of the function's error, unless it has a cause. */
function addCause(error: unknown, mistake: unknown): void {
  if (mistake === undefined || !isObject(error)) return;
  if (Reflect.get(error, "cause") !== undefined) return;
  Reflect.defineProperty(error, "cause", { value: mistake, writable: true, configurable: true });
}

async function delayUnlessAborted(
  milliseconds: number,
  signals: readonly AbortSignal[],
): Promise<void> {
  if (signals.length === 0) return await delay(milliseconds);
  const controller = new AbortController();
  const stop = whenAborted(signals, (reason) => controller.abort(reason));
  try {
    await delay(milliseconds, { signal: controller.signal });
  } finally {
    stop();
  }
}
