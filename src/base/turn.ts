/**
 * Turns of the event loop, for loops that would keep everything else waiting.
 *
 * @module
 */

import { builtin } from "./runtime.ts";

/**
 * The runtime's own timers, taken when this module loads: the library must make progress under the
 * fake timers of a test too.
 */
const { setImmediate: immediate, setTimeout: timeout, queueMicrotask: microtask } = globalThis;

/** Runs work at the end of this turn. */
export function soon(work: () => void): void {
  microtask(work);
}

/** Lets everything else that is due run. */
export function nextTurn(): Promise<void> {
  return new Promise((resolve) => {
    // A timer takes at least 1 ms, an immediate less than 10 µs.
    if (typeof immediate === "function") immediate(() => resolve());
    else timeout(resolve, 0);
  });
}

/** Waits for this many milliseconds of real time. */
export function sleep(milliseconds: number): Promise<void> {
  return new Promise((resolve) => timeout(resolve, milliseconds));
}

/** The longest work before others have their turn, in milliseconds. */
const SLICE_MS = 8;

/** Keeps a loop from blocking the event loop: a turn is due after some milliseconds of work. */
export class Pacer {
  #since = performance.now();

  /** Whether the work since the last turn has taken 8 ms. */
  get isDue(): boolean {
    return performance.now() - this.#since >= SLICE_MS;
  }

  /** Waits for a turn of the event loop if one is due. */
  async pace(): Promise<void> {
    if (this.isDue) await this.turn();
  }

  /** Waits for a turn of the event loop. */
  async turn(): Promise<void> {
    await nextTurn();
    this.#since = performance.now();
  }
}

/**
 * Runs work later, in real time. A process that waits for nothing else ends before that.
 *
 * @returns A function that cancels the work.
 */
export function inBackground(work: () => void, milliseconds: number): () => void {
  // From node:timers, because Deno's global one returns a number, which has no `unref`.
  const timers = builtin("node:timers");
  if (timers === undefined) {
    const id = timeout(work, milliseconds);
    return () => clearTimeout(id);
  }
  const timer = timers.setTimeout(work, milliseconds).unref();
  return () => timers.clearTimeout(timer);
}
