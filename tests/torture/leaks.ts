/** Many calls: their memory is given back, and no rejection goes unhandled. */

import { BatchError } from "../../mod.ts";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import process from "node:process";
import { setImmediate } from "node:timers/promises";
import { assert, assertEquals } from "@std/assert";
import type { Cache } from "../../src/core/cache.ts";
import { limitConcurrency } from "../../concurrency.ts";
import { MemoryCache } from "../../memory.ts";
import { SQLiteCache } from "../../sqlite.ts";
import { type Extent, Random } from "./random.ts";

/** Starts a full collection; `undefined` where a runtime offers no exact one. */
function collector(): (() => void) | undefined {
  const bun: unknown = Reflect.get(globalThis, "Bun");
  if (typeof bun === "object" && bun !== null && "gc" in bun) {
    const { gc } = bun;
    if (typeof gc === "function") return () => gc(true);
  }
  setFlagsFromString("--expose-gc");
  const gc: unknown = runInNewContext("globalThis.gc");
  return typeof gc === "function" ? () => gc() : undefined;
}

/** Bytes of the heap in use after a full collection. */
async function heap(): Promise<number> {
  const collect = collector();
  assert(collect !== undefined, "garbage can be collected on request");
  for (let round = 0; round < 5; round++) {
    await setImmediate();
    collect();
  }
  return process.memoryUsage().heapUsed;
}

const CONCURRENCY = 50;

const failure = new Error("the function failed");
const limit = limitConcurrency(20);
const limited = limit(async (n: number, _options?: { signal: AbortSignal }) => {
  await Promise.resolve();
  if (n % 97 === 0) throw failure;
  return { n, text: `value ${n}` };
});
const limitPerKey = limitConcurrency(1, {
  deriveKey: (n: number) => String(n),
});
const perKey = limitPerKey(async (n: number) => await Promise.resolve(n));

/** Calls of every kind: hits, misses, shared ones, failures, aborts, busts, batches. */
async function work(
  cache: Cache,
  { count, seed }: Extent,
  first: number,
  keys: number,
): Promise<void> {
  const random = new Random(seed);
  const fn = cache.cache({ id: "work" })(limited);
  let left = count;
  await Promise.all(
    Array.from({ length: CONCURRENCY }, async () => {
      while (left-- > 0) {
        const n = first + random.below(keys);
        const turn = random.below(100);
        try {
          if (turn === 0) await fn.bustCache(n);
          else if (turn < 15) {
            const controller = new AbortController();
            const call = fn(n, { signal: controller.signal });
            controller.abort(failure);
            await call;
          } else if (turn < 20) await Promise.all([fn(n), fn(n), fn(n)]);
          else if (turn < 22) {
            await fn.map([n, n + 1], { concurrency: 2 }).values();
          } else if (turn < 70) await perKey(n);
          else assertEquals((await fn(n)).n, n);
        } catch (error) {
          const isExpected = error === failure ||
            (error instanceof BatchError && error.failures.every((one) => one.error === failure));
          if (!isExpected) throw error;
        }
      }
    }),
  );
  assertEquals([limit.activeCount, limit.pendingCount], [0, 0]);
  assertEquals([limitPerKey.activeCount, limitPerKey.pendingCount], [0, 0]);
  await cache.bustAll();
}

/** The growth of the heap. */
interface Growth {
  /** As a fraction of the heap before. */
  readonly part: number;
  /** In bytes for each call. */
  readonly bytesPerCall: number;
}

/**
 * Makes calls through caches and limits that stay open, with ever new keys.
 *
 * @param callsPerKey The number of calls for each key.
 */
export async function leak({ count, seed }: Extent, callsPerKey: number = 1): Promise<Growth> {
  const unhandled: unknown[] = [];
  const note = (reason: unknown): void => {
    unhandled.push(reason);
  };
  process.on("unhandledRejection", note);
  try {
    await using memory = new MemoryCache({ onError: () => {} });
    await using sqlite = new SQLiteCache(":memory:", { onError: () => {} });
    // Three rounds through two caches.
    const each = { count: count / 6, seed };
    let first = 0;
    const round = async (): Promise<void> => {
      await work(memory, each, first, each.count / callsPerKey);
      await work(sqlite, each, first, each.count / callsPerKey);
      first += count;
    };
    // Warm-up: compiled code and tables grow the heap too.
    await round();
    await round();
    const before = await heap();
    await round();
    const grown = (await heap()) - before;
    assertEquals(unhandled, [], `seed ${seed}`);
    return { part: grown / before, bytesPerCall: grown / (count / 3) };
  } finally {
    process.off("unhandledRejection", note);
  }
}

/** The long form, held to its bound with one call for each key and with ten. */
export async function leakLong(extent: Extent): Promise<readonly Growth[]> {
  const all: Growth[] = [];
  for (const callsPerKey of [1, 10]) {
    const growth = await leak(extent, callsPerKey);
    assert(growth.part < 0.05, `the heap grew by ${growth.part}`);
    all.push(growth);
  }
  return all;
}
