/**
 * Waits that end: a store operation that makes no progress for long is given up.
 *
 * @module
 */

import { builtin } from "./runtime.ts";
import { Link, Ring } from "./ring.ts";
import { nextTurn } from "./turn.ts";

/** The longest waits without progress, in milliseconds. An object, so that tests can shorten it. */
export const PATIENCE = {
  /** For a lookup, and for a store or a bust that a caller waits for. */
  callMs: 10_000,
  /** For a store or a bust itself, which then counts as failed. */
  changeMs: 60_000,
};

/** Real time, in milliseconds, also under the fake timers of a test. */
export const patienceNow: () => number = performance.now.bind(performance);

/**
 * The time spent waiting, in milliseconds. Each call of `look` adds one interval, so that time does
 * not count in which the program blocks the event loop or the machine sleeps.
 */
let waited = 0;

/** The time now, in milliseconds, on the clock of {@linkcode Progress}. */
export function waitedMs(): number {
  return waited;
}

/** The progress of a transfer. */
export interface Progress {
  /** The time of the last progress, by `waitedMs()`. */
  readonly progressAt: number;
}

class Wait extends Link {
  readonly since: number = waited;
  readonly limitMs: number;
  readonly progress: Progress | undefined;
  readonly giveUp: (error: unknown) => void;
  /** Called once, after `PATIENCE.callMs` without progress, while the wait goes on. */
  late: (() => void) | undefined;
  hasEnded = false;

  constructor(
    limitMs: number,
    progress: Progress | undefined,
    giveUp: (error: unknown) => void,
    late: (() => void) | undefined,
  ) {
    super();
    this.limitMs = limitMs;
    this.progress = progress;
    this.giveUp = giveUp;
    this.late = late;
    if (waits.first === undefined) timer?.ref?.();
    waits.add(this);
    if (timer === undefined) arm();
  }

  end(): void {
    if (this.hasEnded) return;
    this.hasEnded = true;
    this.leave();
    // A process that waits for nothing else can end at once.
    if (waits.first === undefined) timer?.unref?.();
  }
}

const waits = new Ring<Wait>();

/** One timer for all waits: a timer for each costs more than a read of SQLite. */
let timer: { ref?(): unknown; unref?(): unknown } | undefined;

/**
 * Waits for a store operation, which is given up when the time is up.
 *
 * @param limitMs The longest wait without progress, in milliseconds.
 * @param progress The progress of the operation, if it is recorded.
 * @param late Called once, after `PATIENCE.callMs` without progress.
 * @throws {NoProgressError} When the time is up.
 */
export function patiently<Result>(
  promise: Promise<Result>,
  limitMs: number,
  progress?: Progress,
  late?: () => void,
): Promise<Result> {
  return new Promise((resolve, reject) => {
    waitPatiently(promise, limitMs, progress, resolve, reject, late);
  });
}

/** The same for a caller with its own promise to settle: one more costs as much as a lookup. */
export function waitPatiently<Result>(
  promise: Promise<Result>,
  limitMs: number,
  progress: Progress | undefined,
  resolve: (result: Result) => void,
  reject: (error: unknown) => void,
  late?: () => void,
): void {
  const wait = new Wait(limitMs, progress, reject, late);
  promise.then((result) => {
    wait.end();
    resolve(result);
  }, (error) => {
    wait.end();
    reject(error);
  });
}

/** Thrown when a store neither answers nor makes progress for too long. */
export class NoProgressError extends Error {
  /** The literal name of this class. */
  override readonly name = "NoProgressError";

  constructor(milliseconds: number) {
    super(`it has made no progress for ${milliseconds / 1000} s`);
  }
}

/** The time between two looks, in milliseconds. */
function lookMs(): number {
  return Math.min(1_000, PATIENCE.callMs / 4);
}

function arm(): void {
  // From node:timers, because Deno's global one returns a number, which has no `unref`.
  const timers: { setTimeout(fn: () => void, ms: number): unknown } = builtin("node:timers") ??
    globalThis;
  const handle = timers.setTimeout(look, lookMs());
  timer = typeof handle === "object" && handle !== null ? handle : {};
}

async function look(): Promise<void> {
  // What arrived while the program blocked the event loop is taken in this turn.
  await nextTurn();
  timer = undefined;
  waited += lookMs();
  for (const wait of waits) {
    const idleMs = waited - Math.max(wait.since, wait.progress?.progressAt ?? 0);
    // Not `>=`: the wait, or its progress, began between two looks.
    if (idleMs > PATIENCE.callMs) {
      wait.late?.();
      wait.late = undefined;
    }
    if (idleMs <= wait.limitMs) continue;
    wait.giveUp(new NoProgressError(wait.limitMs));
    wait.end();
  }
  if (waits.first !== undefined) arm();
}
