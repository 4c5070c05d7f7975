/** Limits that processes share: here, two caches over one file. */

import { join } from "node:path";
import { test } from "node:test";
import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { limitConcurrency, limitRate } from "../../concurrency.ts";
import { CacheClosedError, QueueFullError } from "../../src/base/errors.ts";
import { MemoryBackend, MemoryCache } from "../../memory.ts";
import { SQLiteCache } from "../../sqlite.ts";
import { BackendAround } from "../support/around.ts";
import { start } from "../support/child.ts";
import { FaultyBackend } from "../support/faulty.ts";
import { temporaryFolder } from "../support/temp.ts";

/** Two caches as two processes have them. */
function two(): [SQLiteCache, SQLiteCache] {
  const path = join(temporaryFolder(), "cache.db");
  return [new SQLiteCache(path), new SQLiteCache(path)];
}

const aWhile = () => new Promise((resolve) => setTimeout(resolve, 120));

test("limitConcurrency() with a store counts the permits of all, per key", async () => {
  const caches = two();
  const runs: PromiseWithResolvers<void>[] = [];
  let most = 0;
  let active = 0;
  const fns = caches.map((store) =>
    limitConcurrency(2, { store, id: "x", deriveKey: (key: string) => key })(async (_: string) => {
      const run = Promise.withResolvers<void>();
      runs.push(run);
      most = Math.max(most, ++active);
      await run.promise;
      active--;
    })
  );
  const calls = fns.flatMap((fn) => [fn("a"), fn("a")]);
  const other = fns[0]!("b");
  while (runs.length < 3) await aWhile();
  await aWhile();
  assertEquals(runs.length, 3);
  for (let at = 0; at < 5; at++) {
    while (runs.length <= at) await aWhile();
    runs[at]?.resolve();
  }
  await Promise.all([...calls, other]);
  assertEquals(most, 3);
  for (const cache of caches) await cache.close();
});

test("A limit with a store refuses calls past maxQueue once the store has said that they wait", async () => {
  const [store, other] = two();
  const run = Promise.withResolvers<void>();
  const options = { store, id: "x", maxQueue: 2 };
  const held = limitConcurrency(70, options)(() => run.promise);
  const refused: unknown[] = [];
  const calls = Array.from({ length: 80 }, () => held().catch((error) => refused.push(error)));
  while (refused.length < 8) await aWhile();
  run.resolve();
  await Promise.all(calls);
  assertEquals(refused.length, 8);
  assert(refused.every((error) => error instanceof QueueFullError));
  // Free permits are no queue.
  const none = { store: other, id: "alone", maxQueue: 0 };
  for (const limit of [limitConcurrency(5, none), limitRate(5, { ...none, per: "1m" })]) {
    assertEquals(await limit(() => Promise.resolve("ran"))(), "ran");
  }
  for (const cache of [store, other]) await cache.close();
});

test("limitRate() with a store books for all, and frees what a call did not cost", async () => {
  const caches = two();
  const start = performance.now();
  const options = { per: 3_000, id: "x", cost: () => 5, actual: (cost: number) => cost };
  const fns = caches.map((store) =>
    limitRate(10, { ...options, store })((cost: number) => Promise.resolve(cost))
  );
  // 5 + 5 are booked, 1 + 1 remain: another 5 fit at once.
  await Promise.all(fns.map((fn) => fn(1)));
  await fns[0]!(5);
  assert(performance.now() - start < 2_700, "what was not used is not free again");
  await fns[1]!(5);
  assert(performance.now() - start > 2_700, "the window is not shared");
  for (const cache of caches) await cache.close();
});

test("A limit whose store fails keeps its calls waiting, and goes on when it answers", async () => {
  class Failing extends BackendAround {
    fails = true;
    readonly update: MemoryBackend["update"];
    readonly exchange: MemoryBackend["exchange"];
    readonly changed: MemoryBackend["changed"];
    constructor(memory: MemoryBackend) {
      super(memory, "failing");
      this.update = (...args) =>
        this.fails ? Promise.reject(new Error("down")) : memory.update(...args);
      this.exchange = memory.exchange.bind(memory);
      this.changed = memory.changed.bind(memory);
    }
  }
  const store = new Failing(new MemoryBackend());
  const limit = limitConcurrency(1, { store, id: "x" });
  let runs = 0;
  const warnings: unknown[] = [];
  const { warn } = console;
  console.warn = (text: unknown) => warnings.push(text);
  try {
    const call = limit(() => Promise.resolve(++runs))();
    await aWhile();
    assertEquals([runs, limit.pendingCount], [0, 1]);
    store.fails = false;
    assertEquals(await call, 1);
    assertEquals(warnings, ["panza: calls under the limit x wait for its store: down"]);
  } finally {
    console.warn = warn;
  }
});

test("A limit whose store is closed rejects those who wait and those who come", async () => {
  const [cache, other] = two();
  const run = Promise.withResolvers<void>();
  const begun = Promise.withResolvers<void>();
  const fn = limitConcurrency(1, { store: cache, id: "x" })(() => {
    begun.resolve();
    return run.promise;
  });
  const first = fn();
  const second = fn();
  const refused = assertRejects(() => second, CacheClosedError);
  await begun.promise;
  await cache.close();
  await refused;
  await assertRejects(() => fn(), CacheClosedError);
  // Its permit is free for others.
  assertEquals(await limitConcurrency(1, { store: other, id: "x" })(() => Promise.resolve(1))(), 1);
  run.resolve();
  await first;
  await other.close();
});

test("A waiting call leaves the line of a shared limit with its signal", async () => {
  const [cache, other] = two();
  const run = Promise.withResolvers<void>();
  const [one, two_] = [cache, other].map((store) =>
    limitConcurrency(1, { store, id: "x" })((_: AbortSignal | undefined) => run.promise)
  );
  const first = one!(undefined);
  await aWhile();
  const abort = new AbortController();
  const second = two_!(abort.signal);
  await aWhile();
  abort.abort(new Error("left"));
  await assertRejects(() => second, Error, "left");
  run.resolve();
  await first;
  await cache.close();
  await other.close();
});

test("CACHE_ONLY starts nothing under a shared limit", async () => {
  const path = join(temporaryFolder(), "cache.db");
  const child = start("fixtures/limit_only_child.ts", [path], undefined, { CACHE_ONLY: "1" });
  assertEquals(await child.ended(), ["CacheOnlyError", "false"]);
});

test("Wrong options of shared limits are refused by name", async () => {
  await using cache = new MemoryCache();
  const noNotes = new FaultyBackend(new MemoryBackend());
  assertThrows(() => limitConcurrency(1, { store: cache }), TypeError, "id must be");
  assertThrows(() => limitConcurrency(1, { id: "x" }), TypeError, "store must be");
  assertThrows(() => limitConcurrency(1, { store: noNotes, id: "x" }), TypeError, "keeps notes");
  assertThrows(() => limitRate(1, { per: 1_000, store: {}, id: "x" }), TypeError, "store must be");
  assertThrows(() => limitRate(1, { per: 500, store: cache, id: "x" }), RangeError, "1000 ms");
});
