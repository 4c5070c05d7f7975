/**
 * Finds out whether objects are still held, by running the garbage collector.
 *
 * @module
 */

import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { settle } from "./fake_time.ts";

/** A function that starts a full collection; each runtime has its own way. */
export function collector(): () => void {
  const bun: unknown = Reflect.get(globalThis, "Bun");
  if (typeof bun === "object" && bun !== null && "gc" in bun) {
    const { gc } = bun;
    if (typeof gc === "function") return () => gc(true);
  }
  try {
    setFlagsFromString("--expose-gc");
    const gc: unknown = runInNewContext("globalThis.gc");
    if (typeof gc === "function") return () => gc();
  } catch {
    // This runtime cannot set flags; large garbage makes the full collector run.
  }
  return () => new Array(1_000_000).fill(0);
}

/** Waits until garbage collection took most of the objects, or gives up. */
export async function areCollected(references: WeakRef<object>[]): Promise<boolean> {
  const collect = collector();
  for (let round = 0; round < 20; round++) {
    // A reference that was looked at is kept until the turn ends.
    await settle();
    collect();
    await settle();
    const left = references.filter((reference) => reference.deref());
    if (left.length < references.length / 10) return true;
  }
  return false;
}
