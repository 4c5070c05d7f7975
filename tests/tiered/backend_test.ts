import { join } from "node:path";
import { test } from "node:test";
import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertRejects,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import type { Backend } from "../../src/backend/contract.ts";
import { Cache } from "../../src/core/cache.ts";
import { BackendError, CacheClosedError, DamagedEntryError } from "../../src/base/errors.ts";
import { MemoryBackend, MemoryCache } from "../../memory.ts";
import { SQLiteBackend, SQLiteCache } from "../../sqlite.ts";
import { FaultyBackend } from "../support/faulty.ts";
import { TieredBackend, TieredCache } from "../../tiered.ts";
import { ByHand, quiet, reasonOf, stateOf } from "../support/by_hand.ts";
import { FakeTime } from "../support/fake_time.ts";
import { temporaryFolder } from "../support/temp.ts";
import { bench, breakDown, damagedOf, entryOf, listOf, valueIn } from "../support/tiers.ts";

/** The element of a list that is known to be there. */
function at<T>(list: readonly T[], index: number): T {
  const item = list[index];
  assert(item !== undefined, `there is no item ${index}`);
  return item;
}

test("new TieredBackend() refuses what is not a tier, one twice, and unknown options", () => {
  const make = (tiers: unknown, options?: object): TieredBackend =>
    Reflect.construct(TieredBackend, [tiers, options]);
  const memory = new MemoryBackend();
  assertThrows(() => make([]), TypeError, "at least one");
  assertThrows(() => make(memory), TypeError, "at least one");
  assertThrows(() => make([memory, undefined]), TypeError, "tiers[1]");
  assertThrows(() => make([{ ...memory }]), TypeError, "tiers[0]");
  assertThrows(() => make(new Array(1)), TypeError, "tiers[0]");
  assertThrows(() => make([memory, memory]), TypeError, "same store");
  const cache = new MemoryCache();
  assertThrows(() => make([cache, cache.backend]), TypeError, "same store");
  assertThrows(() => make([memory], { ttl: 1 }), TypeError, '"ttl"');
  assertThrows(() => make([memory], { innerTtl: 0 }), RangeError, "innerTtl");
  assertThrows(() => make([memory], { innerTtl: "x" }), TypeError, "innerTtl");
  assertThrows(() => new TieredCache([memory], Object({ ttl: 1 })), TypeError, '"ttl"');
});

test("TieredBackend.description names the tiers, nearest first", () => {
  const { description } = new TieredBackend([new MemoryCache(), new SQLiteBackend(":memory:")]);
  assertEquals(description, "tiers (memory, SQLite :memory:)");
});

test("TieredBackend.get() asks no further tier than the nearest that has it", async () => {
  const { tiers, faulty } = bench(3);
  await tiers.set("i", "a", entryOf("a", 1));
  assertEquals(await valueIn(tiers, "a"), 1);
  assertEquals(
    faulty.map((tier) => tier.calls("get")),
    [1, 0, 0],
  );
});

test("TieredBackend.get() copies what it finds to every tier before", async () => {
  const { tiers, faulty, stores } = bench(3);
  await at(stores, 2).set("i", "a", entryOf("a", 1));
  assertEquals(await valueIn(tiers, "a"), 1);
  await quiet();
  for (const store of stores) assertEquals(await valueIn(store, "a"), 1);
  assertEquals(await valueIn(tiers, "a"), 1);
  assertEquals(
    faulty.map((tier) => tier.calls("get")),
    [2, 1, 1],
  );
});

test("TieredBackend.get() does not wait for the copy, and close() does", async () => {
  const { tiers, faulty, stores } = bench(2);
  await at(stores, 1).set("i", "a", entryOf("a", 1));
  at(faulty, 0).hold("set");
  assertEquals(await valueIn(tiers, "a"), 1);
  assertEquals(at(faulty, 0).waiting("set"), 1);
  const closed = tiers.close();
  assertEquals(await stateOf(closed), "pending");
  at(faulty, 0).release("set");
  await closed;
});

test("TieredBackend.get() returns what it found though the copy fails, and reports it", async () => {
  const { tiers, faulty, stores, reports } = bench(2);
  await at(stores, 1).set("i", "a", entryOf("a", 1));
  at(faulty, 0).fail("set");
  assertEquals(await valueIn(tiers, "a"), 1);
  await quiet();
  assertEquals(reports.length, 1);
  assertInstanceOf(at(reports, 0), BackendError);
  assertEquals(await valueIn(tiers, "a"), 1);
});

for (
  const [name, bust] of [
    ["delete()", (tiers: Backend) => tiers.delete("i", "a")],
    ["deleteId()", (tiers: Backend) => tiers.deleteId("i")],
    ["clear()", (tiers: Backend) => tiers.clear()],
  ] as const
) {
  test(`TieredBackend.${name} wins over a copy that is under way`, async () => {
    const { tiers, faulty, stores } = bench(2);
    await at(stores, 1).set("i", "a", entryOf("a", 1));
    at(faulty, 0).hold("set");
    assertEquals(await valueIn(tiers, "a"), 1);
    const busted = bust(tiers);
    await quiet();
    at(faulty, 0).release("set");
    await busted;
    await quiet();
    assertEquals(await tiers.get("i", "a"), undefined);
    assertEquals(await listOf(tiers), []);
  });

  test(`TieredBackend.${name} wins over a read that is under way`, async () => {
    const { tiers, faulty, stores } = bench(2);
    await at(stores, 1).set("i", "a", entryOf("a", 1));
    // The read has its answer in the second tier already, and gets it after the bust.
    const { promise, resolve } = Promise.withResolvers<void>();
    const late = new TieredBackend([
      at(faulty, 0),
      Object.assign(new FaultyBackend(at(stores, 1)), {
        get: async (id: string, key: string) => {
          const entry = await at(stores, 1).get(id, key);
          await promise;
          return entry;
        },
      }),
    ]);
    const read = late.get("i", "a");
    await quiet();
    await bust(late);
    resolve();
    assert((await read) !== undefined);
    await quiet();
    assertEquals(await at(stores, 0).get("i", "a"), undefined);
    await tiers.close();
  });

  test(`TieredBackend.${name} under way lets no read copy what it finds`, async () => {
    const { tiers, faulty, stores } = bench(2);
    await at(stores, 1).set("i", "a", entryOf("a", 1));
    at(faulty, 1).hold("delete");
    at(faulty, 1).hold("deleteId");
    at(faulty, 1).hold("clear");
    const busted = bust(tiers);
    assertEquals(await valueIn(tiers, "a"), 1);
    at(faulty, 1).heal();
    await busted;
    await quiet();
    assertEquals(await listOf(at(stores, 0)), []);
  });
}

test("TieredBackend.set() wins over a copy of the older entry", async () => {
  const { tiers, faulty, stores } = bench(2);
  await at(stores, 1).set("i", "a", entryOf("a", "old"));
  at(faulty, 0).hold("set");
  assertEquals(await valueIn(tiers, "a"), "old");
  const stored = tiers.set("i", "a", entryOf("a", "new"));
  await quiet();
  at(faulty, 0).release("set");
  await stored;
  await quiet();
  for (const store of stores) assertEquals(await valueIn(store, "a"), "new");
});

test("TieredBackend.set() of one key at a time leaves every tier with the same entry", async () => {
  const { tiers, faulty, stores } = bench(2);
  at(faulty, 0).hold("set");
  const first = tiers.set("i", "a", entryOf("a", 1));
  const second = tiers.set("i", "a", entryOf("a", 2));
  const other = tiers.set("i", "b", entryOf("b", 3));
  await quiet();
  assertEquals(await valueIn(at(stores, 1), "a"), 1);
  assertEquals(await valueIn(at(stores, 1), "b"), 3, "other keys do not wait");
  at(faulty, 0).release("set");
  await Promise.all([first, second, other]);
  for (const store of stores) assertEquals(await valueIn(store, "a"), 2);
});

test("TieredBackend.getMany() asks each tier only for what is missing", async () => {
  const { tiers, faulty, stores } = bench(3);
  const asked: string[][] = [];
  for (const [index, key] of ["a", "b", "c"].entries()) {
    await at(stores, index).set("i", key, entryOf(key, key));
  }
  for (const tier of faulty) {
    const getMany = tier.getMany.bind(tier);
    tier.getMany = (id, keys, signal) => {
      asked.push([...keys]);
      return getMany(id, keys, signal);
    };
  }
  const found = await tiers.getMany("i", ["c", "x", "a", "b", "a"]);
  assertEquals(
    found.map((entry) => entry?.data),
    ['"c"', undefined, '"a"', '"b"', '"a"'],
  );
  assertEquals(asked, [
    ["c", "x", "a", "b", "a"],
    ["c", "x", "b"],
    ["c", "x"],
  ]);
  await quiet();
  assertEquals(await listOf(at(stores, 0)), ["i/a", "i/b", "i/c"]);
  await tiers.getMany("i", ["a", "b", "c"]);
  assertEquals(asked.length, 4);
});

test("TieredBackend.get() passes a damaged entry by, reports it once and replaces it", async () => {
  const { tiers, stores, reports } = bench(2);
  const entry = entryOf("a", 1);
  for (const many of [false, true]) {
    reports.length = 0;
    await at(stores, 0).set("i", "a", damagedOf(entry));
    await at(stores, 1).set("i", "a", entry);
    for (let time = 0; time < 3; time++) {
      const found = many ? (await tiers.getMany("i", ["a"]))[0] : await tiers.get("i", "a");
      assertEquals(found, entry);
      await quiet();
    }
    assertEquals(reports.length, 1);
    assertInstanceOf(at(reports, 0), DamagedEntryError);
    assertEquals(await at(stores, 0).get("i", "a"), entry);
  }
});

test("TieredBackend.get() copies no damaged entry, and returns it where there is no other", async () => {
  const { tiers, stores, reports } = bench(3);
  const damaged = damagedOf(entryOf("a", 1));
  await at(stores, 1).set("i", "a", damaged);
  assertEquals(await tiers.get("i", "a"), damaged);
  await quiet();
  assertEquals(await at(stores, 0).get("i", "a"), undefined);
  assertEquals(reports, [], "whoever asked reports it");
});

test("TieredCache reports a damaged entry once when there is no other", async () => {
  const store = new MemoryBackend();
  const seen: string[] = [];
  await using cache = new TieredCache([new MemoryBackend(), store], {
    onError: (error, { kind }) => seen.push(`${kind} ${error.name}`),
  });
  await store.set("", "a", damagedOf(entryOf("a", 1, { id: "" })));
  assertEquals(await cache.read("a"), { hit: false });
  assertEquals(seen, ["damaged DamagedEntryError"]);
});

test("TieredBackend.get() takes a tier's word that an entry is damaged", async () => {
  const { tiers, faulty, stores, reports } = bench(2);
  const error = new DamagedEntryError("it was cut off", "i", "a");
  at(faulty, 0).fail("get", { error });
  assertEquals(await reasonOf(Promise.resolve(tiers.get("i", "a"))), error);
  await at(stores, 1).set("i", "a", entryOf("a", 1));
  assertEquals(await valueIn(tiers, "a"), 1);
  assertEquals(reports, [error]);
  assertEquals(at(faulty, 0).calls("get"), 2, "it is no outage");
});

test("TieredBackend.get() prefers a fresh entry further out to an expired one", async () => {
  using time = new FakeTime();
  const { tiers, stores } = bench(3);
  const expiresAt = Date.now() + 100;
  await tiers.set("i", "a", entryOf("a", "old", { expiresAt }));
  await time.tick(100);
  assertEquals(await valueIn(tiers, "a"), "old", "nobody has a fresh one");
  await at(stores, 2).set("i", "a", entryOf("a", "new", { expiresAt: Date.now() + 100 }));
  assertEquals(await valueIn(tiers, "a"), "new");
  await time.tick();
  assertEquals(await valueIn(at(stores, 0), "a"), "new");
});

test("TieredBackend.get() returns the stale entry that expired last", async () => {
  const { tiers, stores } = bench(2);
  const now = Date.now();
  await at(stores, 0).set("i", "a", entryOf("a", 1, { expiresAt: now - 20 }));
  await at(stores, 1).set("i", "a", entryOf("a", 2, { expiresAt: now - 10 }));
  assertEquals(await valueIn(tiers, "a"), 2);
  await at(stores, 0).set("i", "a", entryOf("a", 3, { expiresAt: now - 5 }));
  assertEquals(await valueIn(tiers, "a"), 3);
});

test("TieredBackend.set() stores where it can, and reports an outage once", async () => {
  using time = new FakeTime();
  const { tiers, faulty, stores, reports } = bench(2);
  breakDown(at(faulty, 1));
  for (let n = 0; n < 5; n++) {
    await tiers.set("i", `${n}`, entryOf(`${n}`, n));
    assertEquals(await valueIn(tiers, `${n}`), n);
    assertEquals(await tiers.get("i", "absent"), undefined);
  }
  assertEquals((await listOf(at(stores, 0))).length, 5);
  // Reads and writes fail apart from each other.
  assertEquals(reports.length, 2);
  assertStringIncludes(at(reports, 0).message, "Cannot write in faulty memory");
  assertStringIncludes(at(reports, 1).message, "Cannot read in faulty memory");
  assertEquals(at(faulty, 1).calls("set"), 1, "it is left alone");
  assertEquals(time.timers, 0, "no timer keeps the process alive");
});

test("TieredBackend leaves a tier alone for 1 s after it failed, then longer, at most 30 s", async () => {
  using time = new FakeTime();
  const { tiers, faulty, reports } = bench(2);
  const tier = at(faulty, 1);
  tier.fail("get");
  const asked: number[] = [];
  for (let second = 0; second < 130; second++) {
    const before = tier.calls("get");
    // Only one of the calls asks the tier.
    await Promise.all([tiers.get("i", "a"), tiers.get("i", "b")]);
    // The first two began before the failure was known.
    if (tier.calls("get") > before) asked.push(second);
    if (second > 0) assert(tier.calls("get") <= before + 1);
    await time.tick(1000);
  }
  assertEquals(asked, [0, 1, 3, 7, 15, 31, 61, 91, 121]);
  assertEquals(reports.length, 1);
  tier.heal();
  await time.tick(30_000);
  await tiers.get("i", "a");
  await tiers.get("i", "a");
  assertEquals(reports.length, 1);
  tier.fail("get");
  await tiers.get("i", "a");
  assertEquals(reports.length, 2, "another outage");
  tier.heal();
  await time.tick(1000);
  const before = tier.calls("get");
  await tiers.get("i", "a");
  assertEquals(tier.calls("get"), before + 1, "the pause is short again");
});

test("TieredBackend never serves the entry that a failed write was to replace", async () => {
  using time = new FakeTime();
  for (const when of ["before", "after"] as const) {
    const { tiers, faulty, stores } = bench(2);
    await tiers.set("i", "a", entryOf("a", "old"));
    at(faulty, 0).fail("set", { when });
    await tiers.set("i", "a", entryOf("a", "new"));
    assertEquals(await valueIn(tiers, "a"), "new");
    // The tier answers again, but still holds the old entry.
    at(faulty, 0).heal();
    at(faulty, 0).hold("set");
    at(faulty, 0).hold("delete");
    await time.tick(1000);
    const other = await tiers.get("i", "other");
    assertEquals(other, undefined);
    assertEquals(await valueIn(tiers, "a"), "new");
    assertEquals((await tiers.getMany("i", ["a"]))[0]?.data, '"new"');
    assertEquals(await listOf(tiers), ["i/a"]);
    at(faulty, 0).heal();
    await time.tick(2000);
    assertEquals(await valueIn(tiers, "a"), "new");
    await time.tick();
    assertEquals(await valueIn(at(stores, 0), "a"), "new");
    const before = at(faulty, 1).calls("get");
    assertEquals(await valueIn(tiers, "a"), "new");
    assertEquals(at(faulty, 1).calls("get"), before, "it counts again");
  }
});

test("TieredBackend brings a tier what it missed once it answers again", async () => {
  using time = new FakeTime();
  const { tiers, faulty, stores } = bench(2);
  for (let n = 0; n < 50; n++) {
    await tiers.set("i", `${n}`, entryOf(`${n}`, "old"));
  }
  breakDown(at(faulty, 1));
  for (let n = 25; n < 75; n++) {
    await tiers.set("i", `${n}`, entryOf(`${n}`, "new"));
  }
  // Evicted meanwhile: no tier has it. The old entry stays there, and does not count.
  await at(stores, 0).delete("i", "30");
  at(faulty, 1).heal();
  await time.tick(1000);
  await tiers.get("i", "absent");
  await time.tick();
  for (let n = 0; n < 75; n++) {
    const isOld = n < 25 || n === 30;
    assertEquals(await valueIn(at(stores, 1), `${n}`), isOld ? "old" : "new");
  }
  assertEquals(await valueIn(tiers, "30"), undefined);
});

test("TieredBackend overwrites no newer entry of another machine with what a tier missed", async () => {
  using time = new FakeTime();
  const { tiers, faulty, stores } = bench(2);
  breakDown(at(faulty, 1));
  await tiers.set("i", "a", entryOf("a", "ours"));
  await tiers.set("i", "b", entryOf("b", "ours"));
  await time.tick(10);
  await at(stores, 1).set("i", "a", entryOf("a", "theirs"));
  // A time in the future: the clock was set back, and this entry is older.
  const storedAt = Date.now() + 5000;
  await at(stores, 1).set("i", "b", entryOf("b", "older", { storedAt }));
  at(faulty, 1).heal();
  await time.tick(1000);
  await tiers.get("i", "absent");
  await time.tick();
  assertEquals(await valueIn(at(stores, 1), "a"), "theirs");
  assertEquals(await valueIn(at(stores, 1), "b"), "ours");
});

test("TieredBackend.close() brings a tier what it missed, and reports how much it could not", async () => {
  for (const healed of [true, false]) {
    const { tiers, faulty, stores, reports } = bench(2);
    const kept: string[] = [];
    const close = at(faulty, 1).close.bind(at(faulty, 1));
    at(faulty, 1).close = async () => {
      kept.push(...(await listOf(at(stores, 1))));
      await close();
    };
    breakDown(at(faulty, 1));
    for (let n = 0; n < 40; n++) {
      await tiers.set("i", `${n}`, entryOf(`${n}`, n));
    }
    if (healed) at(faulty, 1).heal();
    await tiers.close();
    assertEquals(kept.length, healed ? 40 : 0);
    const lost = reports.filter(({ message }) => message.includes("40 entries"));
    assertEquals(lost.length, healed ? 0 : 1);
  }
});

test("TieredBackend.set() rejects when every tier fails, and what was stored stays", async () => {
  const { tiers, faulty } = bench(2);
  await tiers.set("i", "a", entryOf("a", "old"));
  for (const tier of faulty) tier.fail("set", { times: 1 });
  const error = await assertRejects(
    () => tiers.set("i", "a", entryOf("a", "new")),
    BackendError,
    "2 of 2 tiers failed",
  );
  assertInstanceOf(error.cause, AggregateError);
  assertEquals(error.cause.errors.length, 2);
});

test("TieredBackend.get() rejects when no tier answers, now and while all are left alone", async () => {
  using time = new FakeTime();
  const { tiers, faulty, reports } = bench(2);
  await tiers.set("i", "a", entryOf("a", 1));
  for (const tier of faulty) breakDown(tier);
  for (let round = 0; round < 2; round++) {
    for (const read of [() => tiers.get("i", "a"), () => tiers.getMany("i", ["a", "b"])]) {
      await assertRejects(async () => await read(), BackendError, "2 of 2 tiers failed");
    }
  }
  assertEquals(reports.length, 2);
  for (const tier of faulty) tier.heal();
  await time.tick(1000);
  assertEquals(await valueIn(tiers, "a"), 1);
});

test("TieredBackend.get() blames no tier when its caller aborts", async () => {
  const { tiers, faulty, stores, reports } = bench(2);
  await at(stores, 1).set("i", "a", entryOf("a", 1));
  at(faulty, 1).hold("get");
  const controller = new AbortController();
  const read = tiers.get("i", "a", controller.signal);
  await quiet();
  const reason = new Error("enough");
  controller.abort(reason);
  assertEquals(await reasonOf(Promise.resolve(read)), reason);
  assertEquals(reports, []);
  at(faulty, 1).release("get");
  assertEquals(await valueIn(tiers, "a"), 1);
});

for (
  const [name, bust] of [
    ["delete", (tiers: Backend) => tiers.delete("i", "a")],
    ["deleteId", (tiers: Backend) => tiers.deleteId("i")],
    ["clear", (tiers: Backend) => tiers.clear()],
  ] as const
) {
  test(`TieredBackend.${name}() rejects when one tier failed, and the others have done it`, async () => {
    for (const failing of [0, 1, 2]) {
      using time = new FakeTime();
      const { tiers, faulty, stores } = bench(3);
      await tiers.set("i", "a", entryOf("a", 1));
      const cause = new Error("connection lost");
      at(faulty, failing).fail(name, { error: cause });
      // The tier is left alone at present, and asked all the same.
      at(faulty, failing).fail("get", { times: 1 });
      await tiers.get("i", "absent");
      const error = await assertRejects(() => bust(tiers), BackendError);
      assertStringIncludes(error.message, "1 of 3 tiers failed");
      assertStringIncludes(error.message, "connection lost");
      assertInstanceOf(error.cause, AggregateError);
      assertInstanceOf(error.cause.errors[0], BackendError);
      assertEquals(error.cause.errors[0].cause, cause);
      for (const [index, store] of stores.entries()) {
        const left = (await listOf(store)).length;
        assertEquals(left, index === failing ? 1 : 0);
      }
      // In this process the busted entry does not come back.
      at(faulty, failing).heal();
      await time.tick(60_000);
      assertEquals(await tiers.get("i", "a"), undefined);
      assertEquals(await listOf(tiers), []);
      await tiers.set("i", "a", entryOf("a", 2));
      assertEquals(await valueIn(tiers, "a"), 2);
      await bust(tiers);
      for (const store of stores) assertEquals(await listOf(store), []);
      await at(stores, failing).set("i", "a", entryOf("a", 3));
      assertEquals(await valueIn(tiers, "a"), 3, "it is trusted again");
    }
  });
}

test("TieredBackend.entries() lists each entry once, as the nearest tier reports it", async () => {
  const { tiers, stores } = bench(3);
  await at(stores, 0).set("i", "a", entryOf("a", "long enough"));
  await at(stores, 1).set("i", "a", entryOf("a", 1));
  await at(stores, 1).set("i", "b", entryOf("b", 1));
  await at(stores, 2).set("i", "b", entryOf("b", 1));
  await at(stores, 2).set("j", "a", entryOf("a", 1, { id: "j" }));
  assertEquals(await listOf(tiers), ["i/a", "i/b", "j/a"]);
  assertEquals(await listOf(tiers, "i"), ["i/a", "i/b"]);
  for await (const { key, size } of tiers.entries("i")) {
    if (key === "a") assertEquals(size, 13);
  }
});

test("TieredBackend.entries() rejects when a tier fails, because the list is not whole", async () => {
  const { tiers, faulty } = bench(2);
  await tiers.set("i", "a", entryOf("a", 1));
  at(faulty, 1).fail("entries");
  await assertRejects(() => listOf(tiers), BackendError, "faulty memory");
});

test("TieredBackend.close() closes every tier though one fails, and can be called twice", async () => {
  const { tiers, faulty, stores } = bench(3);
  at(faulty, 0).fail("close");
  const error = await assertRejects(() => tiers.close(), BackendError);
  assertStringIncludes(error.message, "1 of 3 tiers failed");
  await assertRejects(async () => await at(stores, 1).get("i", "a"), CacheClosedError);
  await assertRejects(async () => await at(stores, 2).get("i", "a"), CacheClosedError);
  assertEquals(await reasonOf(tiers.close()), error);
  const whole = bench(2);
  await Promise.all([whole.tiers.close(), whole.tiers.close()]);
  await whole.tiers.close();
});

test("TieredBackend reports nothing of a read that close() overtook", async () => {
  const { tiers, faulty, reports } = bench(2);
  at(faulty, 0).hold("get");
  const read = tiers.get("i", "a");
  await quiet();
  await tiers.close();
  at(faulty, 0).release("get");
  await assertRejects(async () => await read, CacheClosedError);
  assertEquals(reports, []);
});

test("TieredBackend.connect() passes the listener to every tier", async () => {
  const listeners: unknown[] = [];
  const { faulty, tiers } = bench(2);
  for (const tier of faulty) tier.connect = (report) => listeners.push(report);
  const report = (): void => {
    throw new Error("not of any interest to the operation");
  };
  tiers.connect(report);
  assertEquals(listeners, [report, report]);
  at(faulty, 0).fail("get");
  assertEquals(await tiers.get("i", "a"), undefined);
});

test("TieredBackend.prune() prunes each tier", async () => {
  const { tiers, faulty, stores } = bench(2);
  for (
    const [key, storedAt] of [
      ["a", 1],
      ["b", 2],
      ["c", 3],
    ] as const
  ) {
    await tiers.set("i", key, entryOf(key, 1, { storedAt }));
  }
  await at(stores, 0).delete("i", "a");
  assertEquals(await tiers.prune({ storedBefore: 3 }), {
    entries: 2,
    bytes: 2,
  });
  for (const store of stores) assertEquals(await listOf(store), ["i/c"]);
  at(faulty, 0).fail("entries");
  await assertRejects(() => tiers.prune({ storedBefore: 4 }), BackendError, "1 of 2 tiers failed");
  assertEquals(await listOf(at(stores, 1)), []);
});

test("TieredBackend.prune() lets no copy bring back what it deletes", async () => {
  const { tiers, faulty, stores } = bench(2);
  await at(stores, 1).set("i", "a", entryOf("a", 1, { storedAt: 1 }));
  at(faulty, 0).hold("set");
  await tiers.get("i", "a");
  const pruned = tiers.prune({ storedBefore: 2 });
  await tiers.get("i", "a");
  await quiet();
  at(faulty, 0).release("set");
  assertEquals(await pruned, { entries: 1, bytes: 1 });
  await quiet();
  assertEquals(await listOf(tiers), []);
});

test("TieredBackend.prune() lets no read during it copy what it deletes", async () => {
  const { tiers, faulty, stores } = bench(2);
  await at(stores, 1).set("i", "a", entryOf("a", 1, { storedAt: 1 }));
  at(faulty, 1).hold("entries");
  const pruned = tiers.prune({ storedBefore: 2 });
  await quiet();
  assertEquals(await valueIn(tiers, "a"), 1);
  at(faulty, 1).release("entries");
  await pruned;
  await quiet();
  assertEquals(await listOf(tiers), []);
});

test("TieredBackend.set() makes a tier count again for what it failed to delete", async () => {
  const { tiers, faulty } = bench(2);
  await tiers.set("i", "a", entryOf("a", 1));
  at(faulty, 0).fail("delete", { times: 1 });
  await assertRejects(() => tiers.delete("i", "a"), BackendError);
  // The tier answers again, so it is asked to store.
  await tiers.deleteId("other");
  await tiers.set("i", "a", entryOf("a", 2));
  const before = at(faulty, 1).calls("get");
  assertEquals(await valueIn(tiers, "a"), 2);
  assertEquals(at(faulty, 1).calls("get"), before);
});

test("TieredBackend goes on with what is stored after a bust that failed everywhere", async () => {
  using time = new FakeTime();
  for (const name of ["deleteId", "clear"] as const) {
    const { tiers, faulty, stores } = bench(2);
    await tiers.set("i", "a", entryOf("a", "busted"));
    await tiers.set("i", "b", entryOf("b", "busted"));
    for (const tier of faulty) tier.fail(name, { times: 1 });
    await assertRejects(
      () => (name === "clear" ? tiers.clear() : tiers.deleteId("i")),
      BackendError,
    );
    await time.tick(1000);
    assertEquals(await tiers.get("i", "a"), undefined);
    await tiers.set("i", "a", entryOf("a", "new"));
    assertEquals(await valueIn(tiers, "a"), "new");
    assertEquals(await tiers.get("i", "b"), undefined);
    assertEquals(await listOf(tiers), ["i/a"]);
    assertEquals((await listOf(at(stores, 0))).length, 2);
  }
});

test("TieredBackend ends no outage with an answer to what was asked before", async () => {
  const { tiers, faulty, reports } = bench(2);
  at(faulty, 1).hold("get");
  const read = tiers.get("i", "absent");
  await quiet();
  at(faulty, 1).fail("set");
  await tiers.set("i", "a", entryOf("a", 1));
  at(faulty, 1).release("get");
  assertEquals(await read, undefined);
  await tiers.set("i", "b", entryOf("b", 1));
  assertEquals(at(faulty, 1).calls("set"), 1);
  assertEquals(reports.length, 1);
});

test("TieredBackend.set() keeps the bytes it was given though it has to wait", async () => {
  const { tiers, faulty, stores } = bench(2);
  at(faulty, 0).hold("set");
  const first = tiers.set("i", "a", entryOf("a", 1));
  const entry = entryOf("a", new Uint8Array([1, 2, 3]));
  const second = tiers.set("i", "a", entry);
  if (typeof entry.data !== "string") entry.data.fill(0);
  at(faulty, 0).release("set");
  await Promise.all([first, second]);
  for (const store of stores) {
    assertEquals(await valueIn(store, "a"), new Uint8Array([1, 2, 3]));
  }
});

test("TieredBackend takes nothing old from a tier that missed too much, until all is busted", async () => {
  const { tiers, faulty, stores, reports } = bench(2);
  at(faulty, 1).fail("set");
  const entry = entryOf("a", 1);
  for (let n = 0; n <= 100_000; n++) await tiers.set("i", `${n}`, entry);
  assertEquals(reports.length, 2);
  assertStringIncludes(at(reports, 1).message, "100000");
  at(faulty, 1).heal();
  await at(stores, 1).set("i", "a", entry);
  assertEquals(await tiers.get("i", "a"), undefined);
  await tiers.deleteId("i");
  await at(stores, 1).set("i", "a", entry);
  assertEquals(await tiers.get("i", "a"), undefined);
  await tiers.set("i", "a", entry);
  await at(stores, 0).clear();
  assertEquals(await valueIn(tiers, "a"), 1, "it was stored since");
  await tiers.clear();
  await at(stores, 1).set("i", "b", entryOf("b", 2));
  assertEquals(await valueIn(tiers, "b"), 2, "all is trusted again");
});

test("TieredOptions.innerTtl bounds how long another machine's bust stays unseen", async () => {
  using time = new FakeTime();
  const { tiers, faulty, stores } = bench(3, { innerTtl: "10s" });
  const entry = entryOf("a", 1);
  await tiers.set("i", "a", entry);
  await at(stores, 2).delete("i", "a");
  const { expiresAt } = await tiers.get("i", "a") ?? {};
  assertEquals(expiresAt, Date.now() + 10_000, "that of the copy");
  await time.tick(9_999);
  assertEquals(await valueIn(tiers, "a"), 1);
  assertEquals(at(faulty, 2).calls("get"), 0);
  await time.tick(1);
  assertEquals(await tiers.get("i", "a"), undefined);
  assertEquals((await tiers.getMany("i", ["a"]))[0], undefined);
});

test("TieredOptions.innerTtl begins anew when the last tier was asked, never in between", async () => {
  using time = new FakeTime();
  const { tiers, faulty, stores } = bench(3, { innerTtl: "10s" });
  await at(stores, 2).set("i", "a", entryOf("a", 1));
  assertEquals(await valueIn(tiers, "a"), 1);
  await time.tick(6_000);
  // From the tier in the middle, with the time that is left there.
  await at(stores, 0).delete("i", "a");
  assertEquals(await valueIn(tiers, "a"), 1);
  await time.tick(3_999);
  assertEquals(await valueIn(tiers, "a"), 1);
  assertEquals(at(faulty, 2).calls("get"), 1);
  await time.tick(1);
  assertEquals(await valueIn(tiers, "a"), 1);
  assertEquals(at(faulty, 2).calls("get"), 2);
  await time.tick(9_999);
  assertEquals(await valueIn(tiers, "a"), 1);
  assertEquals(at(faulty, 2).calls("get"), 2);
});

test("TieredOptions.innerTtl serves the inner copy while the last tier fails", async () => {
  using time = new FakeTime();
  const { tiers, faulty, stores, reports } = bench(2, { innerTtl: "10s" });
  await tiers.set("i", "a", entryOf("a", 1));
  breakDown(at(faulty, 1));
  await time.tick(20_000);
  assertEquals(await valueIn(tiers, "a"), 1);
  assertEquals(reports.length, 1);
  at(faulty, 1).heal();
  await at(stores, 1).delete("i", "a");
  assertEquals(await valueIn(tiers, "a"), 1, "it is left alone");
  await time.tick(1_000);
  assertEquals(await tiers.get("i", "a"), undefined);
});

test("TieredOptions.innerTtl hides no damage", async () => {
  const { tiers, stores, reports } = bench(2, { innerTtl: "10s" });
  const entry = entryOf("a", 1);
  await tiers.set("i", "a", entry);
  const stored = await at(stores, 0).get("i", "a");
  assert(stored !== undefined && stored.expiresAt !== entry.expiresAt);
  await at(stores, 0).set("i", "a", damagedOf(stored));
  assertEquals(await tiers.get("i", "a"), entry);
  assertEquals(reports.length, 1);
  const damaged = damagedOf(entryOf("b", 1));
  await tiers.set("i", "b", damaged);
  assertEquals(await tiers.get("i", "b"), damaged);
});

test("TieredCache shares runs and keys over all tiers", async () => {
  const stores = [new MemoryBackend(), new MemoryBackend()];
  await using cache = new TieredCache(stores);
  const hand = new ByHand<[number], number>();
  const double = cache.cache({ id: "double" })(hand.fn);
  const calls = [double(1), double(1), double.detail(1)] as const;
  await quiet();
  assertEquals(hand.runs.length, 1);
  hand.run(0).resolve(2);
  assertEquals((await Promise.all(calls)).slice(0, 2), [2, 2]);
  const key = await double.key(1);
  for (const store of stores) {
    assertEquals(await listOf(store), [`double/${key}`]);
  }
  await double.bustCache(1);
  for (const store of stores) assertEquals(await listOf(store), []);
});

test("TieredCache takes the backends of caches, and closes them", async () => {
  const memory = new MemoryCache();
  const database = new SQLiteCache(":memory:");
  const cache = new TieredCache([memory, database]);
  assertInstanceOf(cache.backend, TieredBackend);
  await cache.set("a", 1);
  assertEquals([await memory.get("a"), await database.get("a")], [1, 1]);
  await cache.bustAll();
  assertEquals(await database.read("a"), { hit: false });
  await cache.close();
  await assertRejects(() => database.get("a"), CacheClosedError);
  await memory.close();
  await database.close();
});

test("TieredCache gives the result though every tier fails, and an explicit bust rejects", async () => {
  const faulty = [1, 2].map(() => new FaultyBackend(new MemoryBackend()));
  const kinds: string[] = [];
  await using cache = new TieredCache(faulty, {
    onError: (_, { kind }) => kinds.push(kind),
  });
  for (const tier of faulty) breakDown(tier);
  const double = cache.cache({ id: "double" })((n: number): Promise<number> =>
    Promise.resolve(n * 2)
  );
  assertEquals(await double(2), 4);
  assertEquals(kinds, ["backend", "backend", "read", "backend", "backend", "write"]);
  await assertRejects(() => double.bustCache(2), BackendError);
  await assertRejects(() => cache.bust("double"), BackendError);
  await assertRejects(() => cache.bustAll(), BackendError);
});

test("TieredCache finds copies in a file after a restart, and asks the last tier no more", async () => {
  const path = join(temporaryFolder(), "inner.db");
  const shared = new MemoryBackend();
  const last = new FaultyBackend(shared);
  // Shared by several: closing one of them leaves it open.
  last.close = () => Promise.resolve();
  let runs = 0;
  const start = (innerTtl?: "1h"): [Cache, (n: number) => Promise<number>] => {
    const cache = new TieredCache(
      [new MemoryCache(), new SQLiteCache(path), last],
      innerTtl === undefined ? {} : { innerTtl },
    );
    const double = cache.cache({ id: "double" })((n: number) => {
      runs++;
      return Promise.resolve(n * 2);
    });
    return [cache, double];
  };
  // Another machine has computed them.
  const elsewhere = new Cache(shared);
  const theirs = elsewhere.cache({ id: "double" })((n: number) => Promise.resolve(n * 2));
  for (let n = 0; n < 20; n++) await theirs(n);
  for (const innerTtl of [undefined, "1h"] as const) {
    const asked: number[] = [];
    for (let restart = 0; restart < 3; restart++) {
      const before = last.calls("get");
      const [cache, double] = start(innerTtl);
      for (let n = 0; n < 20; n++) assertEquals(await double(n), n * 2);
      await cache.close();
      asked.push(last.calls("get") - before);
    }
    // Copies from before the bound was set keep their own time.
    assertEquals(asked, innerTtl === undefined ? [20, 0, 0] : [0, 0, 0]);
  }
  assertEquals(runs, 0);
});

test("a loop of hits in memory keeps no write to another tier waiting for ever", async () => {
  await using cache = new TieredCache([new MemoryBackend(), new SQLiteBackend(":memory:")]);
  await cache.set("a", 1);
  let done = false;
  const write = cache.set("b", 1).then(() => (done = true));
  while (!done) await cache.get("a");
  await write;
});
