/**
 * Waits that end: whatever a store was asked and makes no progress for long is given up.
 *
 * @module
 */

import { builtin } from "./runtime.ts";
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
interface Wait {
  readonly since: number;
  readonly limitMs: number;
  readonly progress: Progress | undefined;
  readonly giveUp: () => void;
  /** Is called once, after `PATIENCE.callMs` without progress, while the wait goes on. */
  late: (() => void) | undefined;
}

/** With one member that never ends: a Set that empties makes itself a new table each time. */
const waits = new Set<Wait | undefined>([undefined]);

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
    const wait: Wait = {
      since: clock(),
      limitMs,
      progress,
      giveUp: () => reject(new NoProgressError(limitMs)),
      late,
    };
    add(wait);
    promise.then((result) => {
      remove(wait);
      resolve(result);
    }, (error) => {
      remove(wait);
      reject(error);
    });
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

function add(wait: Wait): void {
  waits.add(wait);
  if (timer === undefined) arm();
  else if (waits.size === 2) timer.ref?.();
}

function remove(wait: Wait): void {
  // A process that waits for nothing else ends at once.
  if (waits.delete(wait) && waits.size === 1) timer?.unref?.();
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
    if (wait === undefined) continue;
    const idleMs = now - Math.max(wait.since, wait.progress?.progressAt ?? 0);
    if (idleMs >= PATIENCE.callMs && wait.late !== undefined) {
      void nextTurn().then(wait.late);
      wait.late = undefined;
    }
    if (idleMs < wait.limitMs) continue;
    void nextTurn().then(() => {
      if (waits.has(wait)) wait.giveUp();
      remove(wait);
    });
  }
  if (waits.size > 1) arm();
}
