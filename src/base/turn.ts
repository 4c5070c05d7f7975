/**
 * Turns of the event loop, for loops that would keep everything else waiting.
 *
 * @module
 */

import { builtin } from "./runtime.ts";

/**
 * The runtime's own timers, taken when this module loads: what the library needs to make progress
 * must go on under the fake timers of a test.
 */
const { setImmediate: immediate, setTimeout: timeout, queueMicrotask: microtask } = globalThis;

/** Does something at the end of this turn. */
export function soon(work: () => void): void {
  microtask(work);
}

/** Lets everything else that is due have its turn. */
export function nextTurn(): Promise<void> {
  return new Promise((resolve) => {
    // A timer takes at least a millisecond, an immediate less than 10 µs.
    if (typeof immediate === "function") immediate(() => resolve());
    else timeout(resolve, 0);
  });
}

/** Waits, in real time, for so many milliseconds. */
export function sleep(milliseconds: number): Promise<void> {
  return new Promise((resolve) => timeout(resolve, milliseconds));
}

/** How long work may go on before others have their turn, in milliseconds. */
const SLICE_MS = 8;

/** Keeps a loop from holding up the event loop: asks for a turn after some milliseconds of work. */
export class Pacer {
  #since = performance.now();

  /** Whether the work since the last turn has taken its 8 ms. */
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
 * Does something later, in real time; a process that waits for nothing else ends before that.
 *
 * @returns Calls it off.
 */
export function inBackground(work: () => void, milliseconds: number): () => void {
  // Of node:timers, because Deno's global one gives a number, which cannot be let go of.
  const timers = builtin("node:timers");
  if (timers === undefined) {
    const id = timeout(work, milliseconds);
    return () => clearTimeout(id);
  }
  const timer = timers.setTimeout(work, milliseconds).unref();
  return () => timers.clearTimeout(timer);
}
