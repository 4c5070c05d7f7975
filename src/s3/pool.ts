/**
 * Bounds for requests: slots that a backend has in all, and loops that keep a few under way.
 *
 * @module
 */

import { abortable } from "@std/async/abortable";

/** A number of slots, first come, first served. */
export class Slots {
  #free: number;
  readonly #line: (() => void)[] = [];

  /** @param count How many run at once, a positive integer. */
  constructor(count: number) {
    this.#free = count;
  }

  /**
   * Runs work in a slot.
   *
   * @param signal Ends the waiting for a slot; the work itself must heed it too.
   * @param work What holds the slot until it settles.
   * @returns What the work returns.
   * @throws The reason of the signal, or what the work throws.
   */
  async run<Out>(signal: AbortSignal | undefined, work: () => Promise<Out>): Promise<Out> {
    await this.#enter(signal);
    try {
      return await work();
    } finally {
      this.#leave();
    }
  }

  async #enter(signal: AbortSignal | undefined): Promise<void> {
    signal?.throwIfAborted();
    if (this.#free > 0) {
      this.#free--;
      return;
    }
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#line.push(resolve);
    try {
      await (signal === undefined ? promise : abortable(promise, signal));
    } catch (error) {
      const place = this.#line.indexOf(resolve);
      // Called just before the abort was seen: the slot is ours to pass on.
      if (place === -1) this.#leave();
      else this.#line.splice(place, 1);
      throw error;
    }
  }

  #leave(): void {
    const next = this.#line.shift();
    if (next === undefined) this.#free++;
    else next();
  }
}

/**
 * Maps items in order, a few at a time. Nothing is started that a consumer which stops early would
 * not have asked for within the limit, and nothing is left running when it ends.
 *
 * @param limit How many are under way at once, a positive integer.
 * @param items Pulled as there is room.
 * @param work Makes a result of an item.
 * @returns The results, in the order of the items; the first failure ends them.
 */
export async function* mapInOrder<In, Out>(
  limit: number,
  items: Iterable<In> | AsyncIterable<In>,
  work: (item: In) => Promise<Out>,
): AsyncGenerator<Out, void, undefined> {
  const running: Promise<Out>[] = [];
  try {
    for await (const item of items) {
      const result = work(item);
      // It is looked at when its turn comes.
      result.catch(() => {});
      running.push(result);
      if (running.length < limit) continue;
      const [first] = running.splice(0, 1);
      if (first !== undefined) yield await first;
    }
    for (const result of running) yield await result;
  } finally {
    await Promise.allSettled(running);
  }
}
