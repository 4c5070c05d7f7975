/**
 * Pauses of a limit: they hold back new starts, and let them resume gradually afterwards.
 *
 * @module
 */

import { clock } from "../base/clock.ts";

/**
 * The time over which starts resume after a pause, in milliseconds: about the latency of a slow
 * server. All at once, they would be refused again.
 */
export const COME_BACK_MS = 1_000;

/** The pauses of one limit, of single keys and of all. */
export class Pauses {
  #ofAll = -Infinity;
  readonly #ofKeys = new Map<unknown, number>();
  #last = -Infinity;
  /** The number of keys at which those whose pause has ended are forgotten. */
  #forgetAt = 1;

  /** Whether any key may be held back, now or later. */
  mayHold(now: number): boolean {
    return !isOver(this.#last, now);
  }

  /** Pauses one key. An earlier pause that ends later stays. */
  pauseKey(key: unknown, milliseconds: number): void {
    const now = clock();
    // Only when the keys have doubled: on each pause, the loop would be quadratic.
    if (this.#ofKeys.size >= this.#forgetAt) {
      for (const [key, until] of this.#ofKeys) {
        if (isOver(until, now)) this.#ofKeys.delete(key);
      }
      this.#forgetAt = 2 * this.#ofKeys.size + 1;
    }
    const until = Math.max(this.#ofKeys.get(key) ?? -Infinity, now + milliseconds);
    this.#ofKeys.set(key, until);
    this.#last = Math.max(this.#last, until);
  }

  /** Pauses all keys, later ones included. An earlier pause that ends later stays. */
  pauseAll(milliseconds: number): void {
    this.#ofAll = Math.max(this.#ofAll, clock() + milliseconds);
    this.#last = Math.max(this.#last, this.#ofAll);
  }

  /**
   * The end of the last pause of a key, which may be past.
   *
   * @param now The time, by `clock()`.
   * @returns The end, on the same clock; `-Infinity` once the starts have resumed fully.
   */
  endOf(key: unknown, now: number): number {
    const until = Math.max(this.#ofAll, this.#ofKeys.get(key) ?? -Infinity);
    return isOver(until, now) ? -Infinity : until;
  }

  /** Whether the pause with this end is one of all keys, which would resume together. */
  isOfAll(until: number): boolean {
    return until === this.#ofAll;
  }
}

function isOver(until: number, now: number): boolean {
  return now - until >= COME_BACK_MS;
}
