/** One run of a key among the processes that share a store: here, two caches over one file. */

import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { test } from "node:test";
import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { CacheClosedError } from "../../src/base/errors.ts";
import { LEASE } from "../../src/leases/register.ts";
import { Cache } from "../../mod.ts";
import { MemoryBackend, MemoryCache } from "../../memory.ts";
import { SQLiteBackend, SQLiteCache } from "../../sqlite.ts";
import { TieredCache } from "../../tiered.ts";
import { BackendAround } from "../support/around.ts";
import { withVariables } from "../support/environment.ts";
import { start } from "../support/child.ts";
import { FaultyBackend } from "../support/faulty.ts";
import { temporaryFolder } from "../support/temp.ts";

/** A function whose runs end by hand. */
function byHand() {
  const runs: PromiseWithResolvers<string>[] = [];
  const begun: (() => void)[] = [];
  return {
    runs,
    fn: (_n: number, _options: { signal?: AbortSignal } = {}): Promise<string> => {
      const run = Promise.withResolvers<string>();
      runs.push(run);
      for (const resolve of begun.splice(0)) resolve();
      return run.promise;
    },
    /** Resolves when that many runs have begun. */
    async begun(count: number): Promise<void> {
      while (runs.length < count) await new Promise<void>((resolve) => begun.push(resolve));
    },
  };
}

/** Two caches as two processes have them, and the function in each. */
function two(path = join(temporaryFolder(), "cache.db")) {
  const work = byHand();
  const reports: string[] = [];
  const open = () =>
    new SQLiteCache(path, { onError: (error, { kind }) => reports.push(`${kind} ${error}`) });
  const caches = [open(), open()] as const;
  const [one, other] = caches.map((cache) => cache.cache({ id: "work" })(work.fn)) as [
    ReturnType<typeof wrapped>,
    ReturnType<typeof wrapped>,
  ];
  function wrapped() {
    return caches[0].cache({ id: "work" })(work.fn);
  }
  const close = async () => {
    for (const cache of caches) await cache.close();
    assertEquals(reports, []);
    assertEquals(left(path), []);
  };
  return { work, caches, one, other, path, close };
}

/** The notes and files that are left beside the entries. */
function left(path: string): unknown[] {
  const files = readdirSync(dirname(path)).filter((name) => name.includes("-session-"));
  const plain = new DatabaseSync(path, { readOnly: true });
  const table = plain.prepare("SELECT name FROM sqlite_master WHERE name = 'panza_notes'").all();
  const notes = table.length === 0 ? [] : plain.prepare("SELECT * FROM panza_notes").all();
  plain.close();
  return [...files, ...notes];
}

/** Several turns of the event loop in which nothing must happen. */
const aWhile = () => new Promise((resolve) => setTimeout(resolve, 120));

test("SQLiteCache shares the run of another process, and its result", async () => {
  const { work, one, other, close } = two();
  const first = one.detail(1);
  await work.begun(1);
  const second = other.detail(1);
  await aWhile();
  work.runs[0]?.resolve("once");
  const details = await Promise.all([first, second]);
  assertEquals(details.map(({ value, status }) => [value, status]), [
    ["once", "miss"],
    ["once", "shared"],
  ]);
  assertEquals(work.runs.length, 1);
  await close();
});

test("SQLiteCache shares no error: the next one runs", async () => {
  const { work, one, other, close } = two();
  const first = one(1);
  await work.begun(1);
  const second = other(1);
  work.runs[0]?.reject(new Error("fails"));
  await assertRejects(() => first, Error, "fails");
  await work.begun(2);
  work.runs[1]?.resolve("works");
  assertEquals(await second, "works");
  await close();
});

test("A bust by another process wins over a run that began before it", async () => {
  for (const bust of ["call", "id", "all"] as const) {
    const { work, caches, one, other, close } = two();
    const first = one.detail(1);
    await work.begun(1);
    if (bust === "call") await other.bustCache(1);
    else if (bust === "id") await other.bustCache();
    else await caches[1].bustAll();
    work.runs[0]?.resolve("old");
    const { value, storedAt, unstored } = await first;
    assertEquals([value, storedAt, unstored], ["old", null, "lease"], bust);
    assertEquals(await other.readCache(1), { hit: false }, bust);
    await close();
  }
});

test("A run that is aborted gives its lease up, and is stored if nobody else began", async () => {
  const { work, one, other, close } = two();
  const abort = new AbortController();
  const first = one.detail(1, { signal: abort.signal });
  await work.begun(1);
  abort.abort();
  await aWhile();
  // No other process wants the key.
  work.runs[0]?.resolve("late");
  assertEquals((await first).unstored, undefined);
  assertEquals((await other.readCache(1, {})).hit, true);

  const again = new AbortController();
  const third = one.detail(2, { signal: again.signal });
  await work.begun(2);
  const fourth = other(2, {});
  again.abort();
  // The call does not wait for the aborted run.
  await work.begun(3);
  work.runs[2]?.resolve("new");
  assertEquals(await fourth, "new");
  work.runs[1]?.resolve("late");
  assertEquals((await third).unstored, "lease");
  const found = await one.readCache(2, {});
  assertEquals(found.hit && found.value, "new");
  await close();
});

test("A call that waits for another process leaves with its signal, and with close()", async () => {
  const { work, caches, one, other, close } = two();
  const first = one(1, {});
  await work.begun(1);
  const abort = new AbortController();
  const second = other(1, { signal: abort.signal });
  const third = other.detail(2);
  await work.begun(2);
  await aWhile();
  abort.abort(new Error("left"));
  await assertRejects(() => second, Error, "left");
  const fourth = other(1, {});
  await aWhile();
  const closing = caches[1].close();
  await assertRejects(() => fourth, CacheClosedError);
  for (const run of work.runs) run.resolve("value");
  await Promise.all([first, third, closing]);
  assertEquals(work.runs.length, 2);
  await close();
});

test("map() goes on with other inputs while another process computes one, also in order", async () => {
  for (const ordered of [false, true]) {
    const { work, one, other, close } = two();
    const first = one(2);
    await work.begun(1);
    const results: (string | number)[][] = [];
    const batch = (async () => {
      for await (const result of other.map([1, 2, 3], { concurrency: 1, ordered })) {
        assert(result.ok);
        results.push([result.input, result.status]);
      }
    })();
    await work.begun(2);
    work.runs[1]?.resolve("one");
    await work.begun(3);
    work.runs[2]?.resolve("three");
    await aWhile();
    assertEquals(results.length, ordered ? 1 : 2);
    work.runs[0]?.resolve("two");
    await Promise.all([first, batch]);
    const came = ordered
      ? [[1, "miss"], [2, "shared"], [3, "miss"]]
      : [[1, "miss"], [3, "miss"], [2, "shared"]];
    assertEquals(results, came);
    await close();
  }
});

test("map() whose consumer leaves drops what other processes compute", async () => {
  const { work, one, other, close } = two();
  const first = one(1);
  await work.begun(1);
  void work.begun(2).then(() => work.runs[1]?.resolve("two"));
  for await (const { input } of other.map([1, 2], { concurrency: 2 })) {
    assertEquals(input, 2);
    break;
  }
  assertEquals(work.runs.length, 2);
  work.runs[0]?.resolve("value");
  await first;
  await close();
});

test("A cache that holds no lease has no session and no side file", async () => {
  const before = { ...LEASE };
  LEASE.beatMs = 20;
  try {
    const { work, one, path, close } = two();
    const first = one(1);
    await work.begun(1);
    assertEquals(left(path).length, 3);
    work.runs[0]?.resolve("value");
    await first;
    while (left(path).length > 0) await aWhile();
    const second = one(2);
    await work.begun(2);
    work.runs[1]?.resolve("value");
    await second;
    await close();
  } finally {
    Object.assign(LEASE, before);
  }
});

test("CACHE_ONLY writes no lease, no session and no side file", async () => {
  const path = join(temporaryFolder(), "cache.db");
  const open = async (only: boolean) => {
    await using cache = new SQLiteCache(path);
    const double = cache.cache({ id: "double" })((n: number) => Promise.resolve(2 * n));
    if (!only) return assertEquals(await double(1), 2);
    assertEquals(await double(1), 2);
    await assertRejects(() => double(2));
    assertEquals(left(path), []);
  };
  await open(false);
  await withVariables({ CACHE_ONLY: "1" }, () => open(true));
});

test("BUST_CACHE takes what another process computes while this one waits for it", async () => {
  await withVariables({ BUST_CACHE: "work" }, async () => {
    const { work, one, other, close } = two();
    const first = one(1);
    await work.begun(1);
    const second = other(1);
    const batch = other.map([1, 2], { concurrency: 1 }).values();
    await work.begun(2);
    await aWhile();
    for (const run of work.runs) run.resolve("new");
    assertEquals([await first, await second, await batch], ["new", "new", ["new", "new"]]);
    assertEquals(work.runs.length, 2);
    await close();
  });
});

test("A store that gives no lease changes no outcome, and is reported", async () => {
  class Failing extends BackendAround {
    readonly update = () => Promise.reject(new Error("no notes today"));
    readonly exchange = () => Promise.resolve(false);
    readonly changed = () => Promise.resolve();
  }
  const kinds: string[] = [];
  await using cache = new Cache(new Failing(new MemoryBackend(), "failing"), {
    singleFlight: "store",
    onError: (_, { kind }) => kinds.push(kind),
  });
  const double = cache.cache({ id: "double" })((n: number) => Promise.resolve(2 * n));
  assertEquals([await double(1), await double(2), await double(1)], [2, 4, 2]);
  assertEquals(kinds, ["lease"]);
  assertEquals(cache.stats().hits, 1);
});

test('singleFlight is by default "store" over a file and over tiers that end in one', async () => {
  const path = join(temporaryFolder(), "cache.db");
  const caches = [
    new SQLiteCache(path),
    new SQLiteCache(":memory:"),
    new SQLiteCache(new DatabaseSync(":memory:")),
    new MemoryCache(),
    new TieredCache([new MemoryCache(), new SQLiteCache(path)]),
    new TieredCache([new MemoryCache(), new SQLiteCache(path, { singleFlight: "process" })]),
    new TieredCache([new SQLiteCache(path), new MemoryCache()]),
    new TieredCache([new MemoryCache(), new SQLiteBackend(path)]),
  ];
  assertEquals(caches.map(({ singleFlight }) => singleFlight), [
    "store",
    "process",
    "process",
    "process",
    "store",
    "process",
    "process",
    "store",
  ]);
  for (const cache of caches) await cache.close();
});

test('singleFlight "store" is refused over a backend that keeps no notes', async () => {
  const backend = new FaultyBackend(new MemoryBackend());
  assertThrows(() => new Cache(backend, { singleFlight: "store" }), TypeError, "keeps no notes");
  await using cache = new Cache(backend);
  assertThrows(() => cache.cache({ id: "a", singleFlight: "store" }), TypeError, "keeps no notes");
});

test("Tiers and caches in memory share runs where they are asked to", async () => {
  const path = join(temporaryFolder(), "cache.db");
  const shared = new MemoryBackend();
  const pairs = [
    () => new TieredCache([new MemoryCache(), new SQLiteCache(path)]),
    () => new Cache(shared, { singleFlight: "store" }),
  ];
  for (const open of pairs) {
    const work = byHand();
    const [a, b] = [open(), open()];
    const first = a.cache({ id: "work" })(work.fn)(1);
    await work.begun(1);
    const second = b.cache({ id: "work" })(work.fn)(1);
    await aWhile();
    work.runs[0]?.resolve("value");
    assertEquals([await first, await second, work.runs.length], ["value", "value", 1]);
    await a.close();
    await b.close();
  }
});

test("A register of sessions that somebody else wrote removes no file of another name", async () => {
  const path = join(temporaryFolder(), "cache.db");
  const theirs = new SQLiteCache(path);
  await theirs.cache({ id: "f" })((n: number) => Promise.resolve(n))(1);
  await theirs.close();
  const files = [`${path}-session-notes.txt`, join(dirname(path), "thesis.txt")];
  for (const file of files) writeFileSync(file, "mine");
  mkdirSync(`${path}-session-x`);
  const plain = new DatabaseSync(path);
  plain.prepare("INSERT INTO panza_notes (id, key, note) VALUES (?, 'all', ?)")
    .run("\\:session", "notes.txt 1\nx/../thesis.txt 1");
  plain.close();
  await using cache = new SQLiteCache(path);
  await cache.cache({ id: "f" })((n: number) => Promise.resolve(n))(2);
  assertEquals(files.map((file) => readFileSync(file, "utf8")), ["mine", "mine"]);
});

test("A process that ends without close() leaves nothing that stops the next one", async () => {
  const path = join(temporaryFolder(), "cache.db");
  const log = `${path}.log`;
  const share = { path, log, count: 1, ms: 60_000, way: "calls" };
  const child = start("torture/share_child.ts", [JSON.stringify(share)]);
  await child.said("begin");
  await child.until(() => readdirSync(dirname(path)).includes("cache.db.log"));
  await child.kill();
  const since = performance.now();
  await using cache = new SQLiteCache(path);
  const square = cache.cache({ id: "square" })((n: number) => Promise.resolve(n));
  assertEquals(await square(0), 0);
  assert(performance.now() - since < 5_000, "it waited for a dead process");
});
