/** `cache.prune`: the entries that go and stay, its report, and an event loop that stays free. */
import { test } from "node:test";
import { assert, assertEquals, assertRejects, assertStrictEquals } from "@std/assert";
import fc from "fast-check";
import type { Backend, PruneRule } from "../../src/backend/contract.ts";
import { Cache } from "../../src/core/cache.ts";
import { encode } from "../../src/encoding/codec.ts";
import { seal } from "../../src/encoding/entry.ts";
import { BackendError, CacheClosedError } from "../../src/base/errors.ts";
import { MemoryBackend, MemoryCache } from "../../memory.ts";
import { prune, type PruneOptions } from "../../src/backend/prune.ts";
import { SQLiteBackend } from "../../sqlite.ts";
import { FaultyBackend } from "../support/faulty.ts";
import { heldUp, leastHeldUp } from "../support/event_loop.ts";
import { FakeTime } from "../support/fake_time.ts";

/** An entry of the model. */
interface Item {
  readonly id: string;
  readonly key: string;
  readonly storedAt: number;
  readonly staleUntil: number | null;
  readonly size: number;
}

async function store(backend: Backend, items: Iterable<Item>): Promise<void> {
  for (const { id, key, storedAt, staleUntil, size } of items) {
    const encoded = { format: "json-1", data: "9".repeat(size) };
    const times = { storedAt, expiresAt: staleUntil, staleUntil };
    await backend.set(id, key, seal(id, key, encoded, { ...times, durationMs: 1 }));
  }
}

async function namesOf(backend: Backend): Promise<string[]> {
  const names: string[] = [];
  for await (const { id, key } of backend.entries()) names.push(`${id}/${key}`);
  return names.sort();
}

/** The entries that a prune leaves, in the plainest form. */
function left(items: readonly Item[], options: PruneOptions, now: number) {
  const { olderThan, expired, maxBytes = Infinity, maxEntries = Infinity } = options;
  const young = items.filter(
    ({ storedAt, staleUntil }) =>
      !(typeof olderThan === "number" && now - storedAt > olderThan) &&
      !(expired === true && staleUntil !== null && staleUntil < now),
  );
  const isOther = (item: Item) => options.id !== undefined && item.id !== options.id;
  const newestFirst = young.filter((item) => !isOther(item)).toSorted((a, b) =>
    b.storedAt - a.storedAt
  );
  const stay: Item[] = [];
  let bytes = 0;
  for (const item of newestFirst) {
    bytes += item.size;
    if (bytes > maxBytes || stay.length === maxEntries) break;
    stay.push(item);
  }
  return [...stay, ...items.filter(isOther)];
}

const NOW = 1_000_000;

/** A cache whose clock stands at `NOW`. */
function clockAt(time: FakeTime, now: number): void {
  time.step(now - Date.now());
}

const BACKENDS: Readonly<Record<string, () => Backend>> = {
  "a backend without a prune of its own": () => new FaultyBackend(new MemoryBackend()),
  MemoryBackend: () => new MemoryBackend(),
  SQLiteBackend: () => new SQLiteBackend(":memory:"),
};

for (const [name, open] of Object.entries(BACKENDS)) {
  test(`Cache.prune() over ${name} leaves what a plain model leaves`, async () => {
    using time = new FakeTime();
    clockAt(time, NOW);
    const items = fc.uniqueArray(
      fc.record({
        id: fc.constantFrom("", "f", "g"),
        key: fc.nat(99).map(String),
        age: fc.nat(400),
        staleFor: fc.option(fc.integer({ min: -20, max: 20 }), { freq: 1 }),
        size: fc.integer({ min: 1, max: 30 }),
      }),
      // Different ages, because entries of one age may go in any order.
      { selector: ({ age }) => age, maxLength: 100 },
    );
    const rule = fc
      .record(
        {
          olderThan: fc.integer({ min: 1, max: 450 }),
          expired: fc.boolean(),
          maxBytes: fc.integer({ min: 1, max: 900 }),
          maxEntries: fc.integer({ min: 1, max: 60 }),
          id: fc.constantFrom("", "f", "absent"),
        },
        { requiredKeys: [] },
      )
      .filter(({ expired, id: _, ...bounds }) =>
        expired === true || Object.keys(bounds).length > 0
      );
    await fc.assert(
      fc.asyncProperty(items, rule, fc.boolean(), async (drawn, options, shuffled) => {
        const unique = new Map(drawn.map((item) => [item.id + item.key, item]));
        const oldestFirst = [...unique.values()]
          .sort((a, b) => b.age - a.age)
          .map(({ id, key, age, staleFor, size }) => ({
            id,
            key,
            storedAt: NOW - age,
            staleUntil: staleFor === null ? null : NOW + staleFor,
            size,
          }));
        await using cache = new Cache(open());
        // SQLite goes by the order in which entries were stored.
        const order = shuffled && name !== "SQLiteBackend"
          ? oldestFirst.toSorted((a, b) => a.size - b.size)
          : oldestFirst;
        await store(cache.backend, order);
        const all = await namesOf(cache.backend);
        const dry = await cache.prune({ ...options, dryRun: true });
        assertEquals(await namesOf(cache.backend), all);
        const freed = await cache.prune(options);
        assertEquals(dry, freed);
        const stay = left(oldestFirst, options, NOW);
        assertEquals(
          await namesOf(cache.backend),
          stay.map(({ id, key }) => `${id}/${key}`).sort(),
        );
        const bytesOf = (list: readonly Item[]) => list.reduce((sum, { size }) => sum + size, 0);
        assertEquals(freed, {
          entries: oldestFirst.length - stay.length,
          bytes: bytesOf(oldestFirst) - bytesOf(stay),
        });
      }),
      { seed: 7, numRuns: name === "SQLiteBackend" ? 60 : 300 },
    );
  });
}

test("Cache.prune() counts direct keys like any other, and reports what it freed", async () => {
  using time = new FakeTime();
  await using cache = new MemoryCache();
  const fn = cache.cache({ id: "f" })(async (n: number) => await Promise.resolve(n));
  await cache.set("direct", "x");
  await time.tick(10);
  await fn(1);
  await time.tick(10);
  assertEquals(await cache.prune({ olderThan: 15 }), { entries: 1, bytes: 3 });
  assertEquals((await cache.read("direct")).hit, false);
  assertEquals((await fn.readCache(1)).hit, true);
  assertEquals(await cache.prune({ olderThan: 15 }), { entries: 0, bytes: 0 });
});

test("Cache.prune({ olderThan }) keeps an entry that is exactly so old", async () => {
  using time = new FakeTime();
  await using cache = new MemoryCache();
  await cache.set("k", 1);
  await time.tick(60_000);
  assertEquals((await cache.prune({ olderThan: "1m" })).entries, 0);
  await time.tick(1);
  assertEquals((await cache.prune({ olderThan: "1m" })).entries, 1);
});

test("Cache.prune({ expired: true }) keeps what may still be served stale", async () => {
  using time = new FakeTime();
  await using cache = new MemoryCache();
  const keep = (id: string, options: object) =>
    cache.cache({ id, ...options })(async () => await Promise.resolve(id))();
  await keep("plain", { ttl: 100 });
  await keep("error", { ttl: 100, staleIfError: 300 });
  await keep("while", { ttl: 100, staleWhileRevalidate: 200 });
  await keep("ever", { ttl: 100, staleIfError: Infinity });
  await keep("fresh", {});
  const ids = async (): Promise<string[]> => {
    await cache.prune({ expired: true });
    const found: string[] = [];
    for await (const { id } of cache.entries()) found.push(id);
    return found.sort();
  };
  await time.tick(99);
  assertEquals(await ids(), ["error", "ever", "fresh", "plain", "while"]);
  await time.tick(2);
  assertEquals(await ids(), ["error", "ever", "fresh", "while"]);
  await time.tick(200);
  assertEquals(await ids(), ["error", "ever", "fresh"]);
  await time.tick(1_000_000);
  assertEquals(await ids(), ["ever", "fresh"]);
});

test("Cache.prune() keeps none where the newest entry alone is past maxBytes", async () => {
  using time = new FakeTime();
  await using cache = new MemoryCache();
  await cache.set("old", 1);
  await time.tick(1);
  await cache.set("new", "x".repeat(100));
  assertEquals(await cache.prune({ maxBytes: 50 }), { entries: 2, bytes: 103 });
});

test("Cache.prune() keeps the same entries whichever order they are listed in", async () => {
  const items = Array.from({ length: 6 }, (_, index) => ({
    id: "f",
    key: `${index}`,
    storedAt: 5,
    staleUntil: null,
    size: 1,
  }));
  const kept: string[][] = [];
  for (const order of [items, items.toReversed()]) {
    await using cache = new MemoryCache();
    await store(cache.backend, order);
    await cache.prune({ maxEntries: 2 });
    kept.push(await namesOf(cache.backend));
  }
  assertEquals(kept[0], kept[1]);
  assertEquals(kept[0]?.length, 2);
});

test("Cache.prune() rejects when a deletion fails, and the others are done", async () => {
  const backend = new FaultyBackend(new MemoryBackend());
  const cache = new Cache(backend);
  for (let n = 0; n < 5; n++) await cache.set(`${n}`, n);
  backend.fail("delete", { error: new Error("disk full"), times: 1 });
  const error = await assertRejects(() => cache.prune({ maxEntries: 1 }), BackendError);
  assertEquals((error.cause as Error).message, "disk full");
  assertEquals((await namesOf(backend)).length, 2);
  backend.fail("entries", { times: 1 });
  await assertRejects(() => cache.prune({ maxEntries: 1 }), BackendError);
  assertEquals(await cache.prune({ maxEntries: 1 }), { entries: 1, bytes: 1 });
  await cache.close();
  await assertRejects(() => cache.prune({ maxEntries: 1 }), CacheClosedError);
});

test("Cache.prune() gives the rule to a backend that brings its own", async () => {
  using time = new FakeTime();
  clockAt(time, NOW);
  const rules: PruneRule[] = [];
  const pruned = { entries: 3, bytes: 4 };
  class Own extends MemoryBackend {
    prune(rule: PruneRule) {
      rules.push(rule);
      return Promise.resolve(pruned);
    }
  }
  await using cache = new Cache(new Own());
  assertStrictEquals(await cache.prune({ olderThan: "1s" }), pruned);
  await cache.prune({ expired: true, maxBytes: 5, maxEntries: 6 });
  assertEquals(rules, [
    { storedBefore: NOW - 1000 },
    { expiredBefore: NOW, maxBytes: 5, maxEntries: 6 },
  ]);
});

test("Cache.prune() refuses bad options by name and deletes nothing", async () => {
  await using cache = new MemoryCache();
  await cache.set("k", 1);
  const prune = (options: unknown): Promise<unknown> =>
    Reflect.apply(cache.prune, cache, [options]);
  const refused: [unknown, typeof TypeError, string][] = [
    [undefined, TypeError, "options must be"],
    [{}, TypeError, "pass olderThan, maxBytes"],
    [{ expired: false }, TypeError, "pass olderThan, maxBytes"],
    [{ expired: 1 }, TypeError, "expired must be"],
    [{ older: 1 }, TypeError, '"older"'],
    [{ olderThan: 0 }, RangeError, "olderThan must be"],
    [{ olderThan: -1 }, RangeError, "olderThan must be"],
    [{ olderThan: Infinity }, RangeError, "olderThan must be"],
    [{ olderThan: "1w" }, TypeError, "olderThan must be"],
    [{ maxBytes: 0 }, RangeError, "maxBytes must be"],
    [{ maxBytes: Infinity }, RangeError, "maxBytes must be"],
    [{ maxBytes: "1" }, TypeError, "maxBytes must be"],
    [{ maxEntries: 0 }, RangeError, "maxEntries must be"],
    [{ maxEntries: 1.5 }, RangeError, "maxEntries must be"],
    [{ maxEntries: null }, TypeError, "maxEntries must be"],
  ];
  for (const [options, Class, message] of refused) {
    await assertRejects(() => prune(options), Class, message);
  }
  assertEquals(await cache.get("k"), 1);
});

test("Cache.prune() of 50,000 entries never holds the event loop up for long", async () => {
  for (const options of [{ olderThan: 1 }, { maxEntries: 20_000 }]) {
    // A step takes 8 ms. A garbage collection on this thread takes up to 40 ms with this many
    // objects on some runtimes; without turns the prune would hold the loop for all of 300.
    const held = await leastHeldUp(
      75,
      async () => {
        await using cache = new MemoryCache();
        const { format, data } = encode(1);
        for (let n = 0; n < 50_000; n++) {
          await cache.backend.set("f", `${n}`, {
            format,
            data,
            checksum: 0,
            storedAt: (n * 7919) % 50_000,
            expiresAt: null,
            staleUntil: null,
            durationMs: 0,
          });
        }
        let entries = 0;
        const attempt = await heldUp(async () => {
          ({ entries } = await cache.prune(options));
        });
        assert(entries >= 30_000);
        assert(attempt.turns >= 3, `only ${attempt.turns} turns`);
        return attempt;
      },
      "working",
    );
    assert(held < 75, `the loop was held up for ${held} ms`);
  }
});

test("prune() deletes at most 16 entries at a time, also when one large entry pushes out thousands", async () => {
  const inner = new MemoryBackend();
  const item = (key: string, storedAt: number, size: number): Item => {
    return { id: "f", key, storedAt, staleUntil: null, size };
  };
  await store(inner, Array.from({ length: 500 }, (_, n) => item(`${n}`, n, 1)));
  await store(inner, [item("large", 1_000, 600)]);
  let deleting = 0;
  let most = 0;
  const remove = inner.delete.bind(inner);
  inner.delete = async (id, key) => {
    most = Math.max(most, ++deleting);
    await Promise.resolve();
    await remove(id, key);
    deleting--;
  };
  await prune(inner, { maxBytes: 600 });
  assert(most <= 16, `${most} at a time`);
});

test("Cache.prune() with an id takes any id, and the direct keys as the empty one", async () => {
  await using cache = new MemoryCache();
  const ids = ["a\\b", "a\0b", "a\ud800", "a"];
  for (const id of ids) {
    const fn = cache.cache({ id })(async (n: number): Promise<number> => await Promise.resolve(n));
    await fn.map([1, 2, 3], { concurrency: 1 }).run();
  }
  await cache.set("key", 1);
  for (const id of ids) {
    assertEquals((await cache.prune({ id, maxEntries: 1 })).entries, 2, JSON.stringify(id));
  }
  assertEquals((await cache.prune({ id: "", maxBytes: 1 })).entries, 0);
  assertEquals((await Array.fromAsync(cache.entries())).length, ids.length + 1);
});
