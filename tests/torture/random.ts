/** Random numbers that come again with their seed. */

import { randomNumbers } from "../../src/testing/random.ts";

/** A generator: each of its numbers follows from the seed. */
export class Random {
  /** From 0 to 1, without 1. */
  readonly next: () => number;

  constructor(seed: number) {
    this.next = randomNumbers(seed);
  }

  /** A whole number from 0 to below `end`. */
  below(end: number): number {
    return Math.floor(this.next() * end);
  }

  /** One of these. */
  of<T>(items: readonly T[]): T {
    const item = items[this.below(items.length)];
    if (item === undefined) throw new RangeError("there is nothing to choose");
    return item;
  }

  /** So many random bytes. */
  bytes(count: number): Uint8Array {
    return Uint8Array.from({ length: count }, () => this.below(256));
  }
}

/** How much a scenario does. */
export interface Extent {
  /** How many rounds, calls or cases. */
  readonly count: number;
  /** What its random choices follow from. */
  readonly seed: number;
}
