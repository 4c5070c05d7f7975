/**
 * Tells whether objects are still held, by letting the garbage collector run.
 *
 * @module
 */

import { settle } from "./fake_time.ts";

/** Waits until garbage collection took most of the objects, or gives up. */
export async function areCollected(
  references: WeakRef<object>[],
): Promise<boolean> {
  for (let round = 0; round < 200; round++) {
    // A reference that was looked at is kept until the turn ends.
    await settle();
    // Large garbage makes the full collector run.
    new Array(1_000_000).fill(round);
    await settle();
    const left = references.filter((reference) => reference.deref());
    if (left.length < references.length / 10) return true;
  }
  return false;
}
