/**
 * Waits that end: whatever a store was asked and makes no progress for long is given up.
 *
 * @module
 */

import { builtin } from "./runtime.ts";
import { Link, Ring } from "./ring.ts";
import { nextTurn } from "./turn.ts";

/** How long to wait without progress, in milliseconds. An object, so that tests can shorten it. */
export const PATIENCE = {
  /** For a lookup; for a store or a bust that a caller waits for. */
  callMs: 10_000,
  /** For a store or a bust itself, which then counts as failed. */
  changeMs: 60_000,
};

/** Real time, also under the fake timers of a test. */
const clock = performance.now.bind(performance);

/** The time that progress is told in. */
export function patienceNow(): number {
  return clock();
}

/** Where the progress of a transfer is written down. */
export interface Progress {
  /** When it last moved, by `patienceNow()`. */
  readonly progressAt: number;
}

/** One wait. */
class Wait extends Link {
  /**
   * Counts from the first look after it began, at most 1 s later: asking the clock costs as much as
   * a step of a hit.
   */
  since: number | undefined;
  readonly limitMs: number;
  readonly progress: Progress | undefined;
  readonly giveUp: (error: unknown) => void;
  /** Is called once, after `PATIENCE.callMs` without progress, while the wait goes on. */
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
    // A process that waits for nothing else ends at once.
    if (waits.first === undefined) timer?.unref?.();
  }
}

const waits = new Ring<Wait>();

/** One timer for all waits: making one for each costs more than a read of SQLite. */
let timer: { ref?(): unknown; unref?(): unknown } | undefined;

/**
 * Waits for a store.
 *
 * When the time is up, the event loop gets one turn before the answer is given up: a program that
 * blocked it for as long finds the answer there.
 *
 * @param promise What the store was asked.
 * @param limitMs How long to wait without progress.
 * @param progress Where its progress is written down, where it is.
 * @param late Is called once if that takes longer than a call waits.
 * @returns What the store answers.
 * @throws {Error} When the time is up; `isImpatient` tells it.
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

/** The same for who has a promise of its own to settle: one more costs as much as a lookup. */
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

/** No answer and no progress for long. */
export class NoProgressError extends Error {
  /** The literal name of this class. */
  override readonly name = "NoProgressError";

  /** Tells how long. */
  constructor(milliseconds: number) {
    super(`it has made no progress for ${milliseconds / 1000} s`);
  }
}

function arm(): void {
  // Of node:timers, because Deno's global one gives a number, which cannot be let go of.
  const timers: { setTimeout(fn: () => void, ms: number): unknown } = builtin("node:timers") ??
    globalThis;
  const handle = timers.setTimeout(look, Math.min(1_000, PATIENCE.callMs / 4));
  timer = typeof handle === "object" && handle !== null ? handle : {};
}

function look(): void {
  timer = undefined;
  const now = clock();
  for (const wait of waits) {
    const idleMs = now - Math.max(wait.since ??= now, wait.progress?.progressAt ?? 0);
    if (idleMs >= PATIENCE.callMs && wait.late !== undefined) {
      void nextTurn().then(wait.late);
      wait.late = undefined;
    }
    if (idleMs < wait.limitMs) continue;
    void nextTurn().then(() => {
      if (!wait.hasEnded) wait.giveUp(new NoProgressError(wait.limitMs));
      wait.end();
    });
  }
  if (waits.first !== undefined) arm();
}
