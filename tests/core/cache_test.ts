/** The cache by its behaviour: what is a hit, whose entry it is, and what each method does. */
import { test } from "node:test";
import {
  assert,
  assertEquals,
  assertNotEquals,
  assertNotStrictEquals,
  assertRejects,
  assertStrictEquals,
  assertThrows,
} from "@std/assert";
import type { EntryInfo } from "../../src/backend/contract.ts";
import type { StoredEntry } from "../../src/encoding/entry.ts";
import { Cache } from "../../src/core/cache.ts";
import type { CachedFunction } from "../../src/core/wrapped.ts";
import {
  BackendError,
  CacheClosedError,
  CacheMissError,
  UncacheableValueError,
  UnhashableArgumentError,
} from "../../src/base/errors.ts";
import { limitConcurrency, retry } from "../../concurrency.ts";
import { hashKey } from "../../hash.ts";
import { MemoryBackend, MemoryCache } from "../../memory.ts";
import { escapeName, unescapeName } from "../../src/core/names.ts";
import { FakeTime } from "../support/fake_time.ts";
import { ByHand, comparable, HandBackend, quiet, stateOf, Warnings } from "../support/by_hand.ts";

/** A cached function that records the arguments of its runs. */
function echo(
  cache: Cache = new MemoryCache(),
  options: Parameters<Cache["cache"]>[0] = { id: "echo" },
): {
  readonly fn: CachedFunction<(...args: unknown[]) => Promise<unknown>>;
  readonly runs: unknown[][];
  readonly cache: Cache;
} {
  const runs: unknown[][] = [];
  const fn = cache.cache(options)((...args: unknown[]): Promise<unknown> => {
    runs.push(args);
    return Promise.resolve(`run ${runs.length}`);
  });
  return { fn, runs, cache };
}

async function all<T>(items: AsyncIterable<T>): Promise<T[]> {
  const list: T[] = [];
  for await (const item of items) list.push(item);
  return list;
}

/** Strings that stores, paths and patterns tend to mix up. */
const AWKWARD: readonly string[] = [
  "a",
  "A",
  "a/b",
  "a/b/c",
  "a//b",
  "/a",
  "a/",
  "ab",
  "a_b",
  "axb",
  "a%b",
  "a*b",
  "a?b",
  "a.b",
  "../a",
  "./a",
  ".",
  "..",
  "a b",
  " a",
  "a ",
  "a\tb",
  "a\nb",
  "a\\b",
  "a\\\\b",
  "\\",
  "\\\\",
  "\\0",
  "\0",
  "a\0b",
  "a\\u0000b",
  "\ud800",
  "\udc00",
  "\\ud800",
  "\udc00\ud800",
  "\ufffd",
  "é",
  "e\u0301",
  "😀",
  "__proto__",
  "constructor",
  "toString",
  "__direct",
  "all",
  "undefined",
  "null",
  "0",
  "-0",
  "'",
  '"',
  "';drop table entries--",
  "a:b",
  "1:a",
  "x".repeat(900),
  `${"x".repeat(899)}y`,
];

for (
  const [name, value] of [
    ["undefined", undefined],
    ["null", null],
    ["false", false],
    ["0", 0],
    ["-0", -0],
    ["an empty string", ""],
    ["NaN", NaN],
    ["empty bytes", new Uint8Array()],
    ["an empty array", []],
    ["an empty object", {}],
    ["an array of undefined", [undefined]],
    ["an object with undefined", { a: undefined }],
    ["an object that looks like a miss", { hit: false }],
    ["an object with a member __proto__", JSON.parse('{"__proto__":{"a":1}}')],
    ["a text that looks like a number", "123"],
    ["a text that looks like JSON", '{"a":1}'],
    ["Infinity", Infinity],
    ["a bigint", 12345678901234567890n],
    ["a Date", new Date(0)],
    ["an invalid Date", new Date(NaN)],
    ["a Map with a NaN key", new Map([[NaN, undefined]])],
    ["an Error with a cause", new RangeError("bad", { cause: { n: 1 } })],
    ["a URL", new URL("https://example.com/a?b#c")],
    ["a lone surrogate", "\ud800"],
    ["text with NUL", "a\0b"],
  ] as [string, unknown][]
) {
  test(`A cached function's ${name} is a value like any other: the second call is a hit`, async () => {
    await using cache = new MemoryCache();
    let runs = 0;
    const fn = cache.cache({ id: "f" })((): Promise<unknown> => {
      runs++;
      return Promise.resolve(value);
    });
    assertEquals(await fn.readCache(), { hit: false });
    assertEquals(comparable(await fn()), comparable(value));
    assertEquals(comparable(await fn()), comparable(value));
    assertEquals(runs, 1);
    const found = await fn.readCache();
    assert(found.hit);
    assertEquals(comparable(found.value), comparable(value));
    assertEquals((await fn.detail()).status, "hit");
    await cache.set("direct", value);
    assertEquals(comparable(await cache.get("direct")), comparable(value));
    const read = await cache.read("direct");
    assert(read.hit);
    assertEquals(comparable(read.value), comparable(value));
    if (typeof value !== "object") assert(Object.is(read.value, value));
  });
}

test("A cached function pays once for equal arguments, however they came about", async () => {
  const { fn, runs } = echo();
  const text = "the same text";
  const copy = ["the same", "text"].join(" ");
  await fn([text, text]);
  await fn([text, copy]);
  await fn({ a: 1, b: [new Set([1, 2])] });
  await fn({ b: [new Set([2, 1])], a: 1 });
  await fn({ 1: "x", a: "y" });
  await fn({ a: "y", 1: "x" }, undefined);
  assertEquals(runs.length, 3);
});

test("A cached function never takes one argument for another", async () => {
  const { fn, runs } = echo();
  const calls: unknown[][] = [
    [],
    [null],
    [undefined, 1],
    [1],
    ["1"],
    [1n],
    [[1]],
    [new Set([1])],
    [new Map([[1, 1]])],
    [{ 0: 1 }],
    [true],
    ["true"],
    [{}],
    [[]],
    [[undefined]],
    [[null]],
    [""],
    [new Date(1)],
    [new Uint8Array([1])],
    [new Uint16Array([1])],
    [{ $: "Set", v: [1] }],
    ["a", "b"],
    ["a,b"],
    [["a", "b"]],
    [{ a: "b" }],
    [NaN],
    ["NaN"],
    [Infinity],
    ["\ud800"],
    ["\ufffd"],
    [{ __proto__: null, a: 1 }],
    [JSON.parse('{"__proto__":1}')],
  ];
  for (const args of calls) await fn(...args);
  assertEquals(runs.length, calls.length);
  for (const [index, args] of calls.entries()) {
    assertEquals(await fn(...args), `run ${index + 1}`);
  }
});

test("A cached function without a stable key rejects with the path, and nothing runs", async () => {
  const { fn, runs } = echo();
  class Client {
    #secret = 1;
    read(): number {
      return this.#secret;
    }
  }
  class Model {}
  const cycle: Record<string, unknown> = {};
  cycle["self"] = cycle;
  for (
    const [args, path] of [
      [[{ client: new Client() }], "args[0].client"],
      [["a", Model], "args[1]"],
      [[cycle], "args[0].self"],
      [[[Symbol("s")]], "args[0][0]"],
      [[Promise.resolve(1)], "args[0]"],
    ] as [unknown[], string][]
  ) {
    for (const method of [fn, fn.readCache, fn.bustCache, fn.detail, fn.key]) {
      const error = await assertRejects(
        async () => await method(...args),
        UnhashableArgumentError,
        path,
      );
      assertEquals(error.path, path);
    }
  }
  assertEquals(runs.length, 0);
});

test("CachedMethods.key() is the key that any language can compute, and touches no store", async () => {
  const backend = new HandBackend();
  backend.holding.add("get");
  const { fn, runs } = echo(new Cache(backend));
  assertEquals(await fn.key("a", 1), await hashKey(["a", 1]));
  assertEquals(await fn.key("a", 1, undefined), await hashKey(["a", 1]));
  assertEquals([runs.length, backend.held.length], [0, 0]);
});

test("CachedMethods.readCache() never runs the function and reports when it was stored", async () => {
  const { fn, runs } = echo();
  assertEquals(await fn.readCache("a"), { hit: false });
  assertEquals(runs.length, 0);
  const before = Date.now();
  await fn("a");
  const found = await fn.readCache("a");
  assert(found.hit);
  assertEquals(found.value, "run 1");
  assert(found.storedAt >= before && found.storedAt <= Date.now());
  assertEquals(found.expiresAt, null);
  assertEquals(runs.length, 1);
});

test("CachedMethods.detail() reports status, key, time and cost", async () => {
  const { fn } = echo();
  const miss = await fn.detail("a");
  assertEquals(Object.keys(miss).sort(), ["durationMs", "key", "status", "storedAt", "value"]);
  assertEquals([miss.value, miss.status], ["run 1", "miss"]);
  assertEquals(miss.key, await fn.key("a"));
  assert(typeof miss.storedAt === "number" && miss.durationMs >= 0);
  const hit = await fn.detail("a");
  assertEquals(hit, { ...miss, status: "hit" });
});

test("CachedMethods.bustCache() forgets one call, and everything without arguments", async () => {
  const { fn, runs, cache } = echo();
  const { fn: other } = echo(cache, { id: "other" });
  await fn("a");
  await fn("b");
  await fn();
  await other("a");
  await fn.bustCache("a");
  await fn.bustCache("absent");
  assertEquals((await fn.readCache("a")).hit, false);
  assertEquals((await fn.readCache("b")).hit, true);
  // One call without arguments is `bustCache(undefined)`.
  await fn.bustCache(undefined);
  assertEquals((await fn.readCache()).hit, false);
  assertEquals((await fn.readCache("b")).hit, true);
  await fn.bustCache();
  assertEquals((await fn.readCache("b")).hit, false);
  assertEquals((await other.readCache("a")).hit, true);
  assertEquals(runs.length, 3);
});

test("Cache.bust() forgets ids of other processes, and leaves ids that only look alike", async () => {
  const backend = new MemoryBackend();
  const first = new Cache(backend);
  for (const id of AWKWARD) await echo(first, { id }).fn("x");
  const second = new Cache(backend);
  for (const [index, id] of AWKWARD.entries()) {
    await second.bust(id);
    const left = new Set((await all(second.entries())).map(({ id }) => id));
    assertEquals(left, new Set(AWKWARD.slice(index + 1)));
  }
});

test("No two ids ever reach each other's entries", async () => {
  const cache = new MemoryCache();
  assertEquals(new Set(AWKWARD).size, AWKWARD.length);
  for (const id of AWKWARD) {
    const { fn } = echo(cache, { id });
    assertEquals(fn.id, id);
    assertEquals((await fn.detail("x")).status, "miss", JSON.stringify(id));
  }
  for (const id of AWKWARD) {
    const { fn } = echo(cache, { id });
    assertEquals((await fn.detail("x")).status, "hit", JSON.stringify(id));
    assertEquals(
      (await all(cache.entries({ id }))).map(({ id }) => id),
      [id],
    );
    assertEquals(cache.stats({ id }).misses, 1);
  }
  assertEquals(new Set((await all(cache.entries())).map(({ id }) => id)), new Set(AWKWARD));
});

test("Direct keys are any strings, and none reaches another's value or a function's", async () => {
  const cache = new MemoryCache();
  const keys = ["", ...AWKWARD];
  const { fn } = echo(cache, { id: "__direct", hashFunc: (key) => key });
  for (const key of keys) {
    assertEquals(await cache.read(key), { hit: false });
    await cache.set(key, { key });
    assertEquals((await fn.readCache(key)).hit, false);
  }
  for (const key of keys) assertEquals(await cache.get(key), { key });
  const listed = await all(cache.entries());
  assertEquals(new Set(listed.map(({ key }) => key)), new Set(keys));
  assertEquals(new Set(listed.map(({ id }) => id)), new Set([""]));
  assertEquals(await all(cache.entries({ id: "" })), listed);
  for (const [index, key] of keys.entries()) {
    await cache.delete(key);
    await cache.delete(key);
    assertEquals(await cache.read(key), { hit: false });
    assertEquals((await all(cache.entries())).length, keys.length - index - 1);
  }
});

test("Cache.get() of what is absent throws CacheMissError with the key", async () => {
  const cache = new MemoryCache();
  const error = await assertRejects(() => cache.get("my_key"), CacheMissError, '"my_key"');
  assertEquals(error.key, "my_key");
});

test("Cache.set() takes the value as it is at that moment, and get() gives a copy each time", async () => {
  const cache = new MemoryCache();
  const bytes = new Uint8Array([1]);
  const value = { list: [1], bytes };
  const setting = cache.set("k", value);
  value.list.push(2);
  bytes[0] = 9;
  await setting;
  const one = await cache.get<typeof value>("k");
  assertEquals(one, { list: [1], bytes: new Uint8Array([1]) });
  one.list.push(3);
  one.bytes[0] = 7;
  assertEquals(await cache.get("k"), {
    list: [1],
    bytes: new Uint8Array([1]),
  });
  await cache.set("k", "other");
  assertEquals(await cache.get("k"), "other");
});

test("Cache.set() refuses what cannot be stored, and keeps what was there", async () => {
  const cache = new MemoryCache();
  await cache.set("k", 1);
  const error = await assertRejects(
    () => cache.set("k", { callback: () => {} }),
    UncacheableValueError,
  );
  assertEquals(error.path, "value.callback");
  assertEquals(await cache.get("k"), 1);
});

test("Cache.bustAll() forgets functions and direct keys", async () => {
  const { fn, cache } = echo();
  await fn("a");
  await cache.set("k", 1);
  await cache.bustAll();
  assertEquals(await all(cache.entries()), []);
  assertEquals((await fn.readCache("a")).hit, false);
});

test("Cache.read() and set() that begin while everything is deleted wait for it", async () => {
  const backend = new HandBackend();
  const cache = new Cache(backend);
  await cache.set("k", "old");
  backend.holding.add("clear");
  const busting = cache.bustAll();
  const read = cache.read("k");
  const set = cache.set("l", "new");
  await quiet();
  assertEquals(await stateOf(read), "pending");
  backend.next().go();
  await busting;
  assertEquals(await read, { hit: false });
  await set;
  assertEquals(await cache.get("l"), "new");
});

test("Cache.read() with an id gives the result of a call by its key, as it is stored", async () => {
  using time = new FakeTime();
  const { cache } = echo();
  const codec = { encode: (date: Date) => date.getTime(), decode: (ms: number) => new Date(ms) };
  const day = cache.cache({ id: "day", ttl: 100, codec })(async (n: number): Promise<Date> =>
    await Promise.resolve(new Date(n))
  );
  const key = await day.key(5);
  assertEquals(await cache.read(key, { id: "day" }), { hit: false });
  await day(5);
  const { storedAt, expiresAt } = await cache.entries({ id: "day" }).next().then((next) =>
    next.value
  );
  assertEquals(await cache.read(key, { id: "day" }), { hit: true, value: 5, storedAt, expiresAt });
  assertEquals(await cache.read(key), { hit: false });
  const storing = cache.set(key, "direct");
  assertEquals((await cache.read(key, { id: "day" })).hit, true);
  await storing;
  await time.tick(100);
  assertEquals(await cache.read(key, { id: "day" }), { hit: false });
});

test("Cache.entries() reports id, key, size, times and cost, of all or of one function", async () => {
  const { fn, cache } = echo();
  const before = Date.now();
  await fn("a");
  await cache.set("k", "äöü", { ttl: "1h" });
  const [entry] = await all(cache.entries({ id: "echo" }));
  assert(entry !== undefined);
  assertEquals(entry.durationMs, (await fn.detail("a")).durationMs);
  assertEquals(Object.keys(entry).sort(), [
    "durationMs",
    "expiresAt",
    "id",
    "key",
    "size",
    "staleUntil",
    "storedAt",
  ]);
  assertEquals([entry.id, entry.key], ["echo", await fn.key("a")]);
  assertEquals(entry.size, new TextEncoder().encode('"run 1"').length);
  assert(entry.storedAt >= before);
  assertEquals(entry.expiresAt, null);
  const [direct] = await all(cache.entries({ id: "" }));
  assertEquals(direct?.size, new TextEncoder().encode('"äöü"').length);
  assertEquals(direct?.expiresAt, (direct?.storedAt ?? 0) + 3_600_000);
  assertEquals(await all(cache.entries({ id: "absent" })), []);
});

test("Cache.entries() can be left early", async () => {
  const cache = new MemoryCache();
  for (const key of ["a", "b", "c"]) await cache.set(key, key);
  const seen: EntryInfo[] = [];
  for await (const entry of cache.entries()) {
    seen.push(entry);
    break;
  }
  assertEquals(seen.length, 1);
});

test("Cache.stats() counts by function and in all", async () => {
  const { fn, cache } = echo();
  const { fn: other } = echo(cache, { id: "other" });
  await fn("a");
  await fn("a");
  await fn("b");
  await other("a");
  assertEquals(cache.stats({ id: "echo" }).misses, 2);
  assertEquals(cache.stats({ id: "echo" }).hits, 1);
  assertEquals(cache.stats().misses, 3);
  assert(cache.stats().bytesWritten > 0 && cache.stats().bytesRead > 0);
  assertEquals(cache.stats({ id: "unknown" }).misses, 0);
  const kept = cache.stats();
  await fn("c");
  assertEquals(kept.misses, 3);
});

test("Cache.close() can be called twice, and every later call rejects with CacheClosedError", async () => {
  const { fn, cache, runs } = echo();
  await fn("a");
  await cache.set("k", 1);
  await Promise.all([cache.close(), cache.close()]);
  await cache.close();
  await cache[Symbol.asyncDispose]();
  const uses: Record<string, () => Promise<unknown>> = {
    call: () => fn("a"),
    "another call": () => fn("new"),
    readCache: () => fn.readCache("a"),
    bustCache: () => fn.bustCache("a"),
    "bustCache()": () => fn.bustCache(),
    detail: () => fn.detail("a"),
    "map().values": () => fn.map(["a", "new"], { concurrency: 1 }).values(),
    map: () => all(fn.map(["a", "new"], { concurrency: 1 })),
    get: () => cache.get("k"),
    set: () => cache.set("k", 1),
    read: () => cache.read("k"),
    delete: () => cache.delete("k"),
    bust: () => cache.bust("echo"),
    bustAll: () => cache.bustAll(),
    entries: () => all(cache.entries()),
  };
  for (const [name, use] of Object.entries(uses)) {
    await assertRejects(use, CacheClosedError, undefined, name);
  }
  assertEquals(runs.length, 1);
  // Methods that touch no store still work, for a summary at the end.
  assertEquals(cache.stats().misses, 1);
  assertEquals(await fn.key("a"), await hashKey(["a"]));
});

test("Cache.close() waits for the calls that run and stores what they give; a refused call runs nothing", async () => {
  const errors: unknown[] = [];
  const backend = new MemoryBackend();
  const cache = new Cache(backend, { onError: (error) => errors.push(error) });
  const hand = new ByHand<[string], string>();
  const fn = cache.cache({ id: "f" })(hand.fn);
  const calls = [fn("a"), fn("a")];
  await quiet();
  const entry = Promise.withResolvers<StoredEntry>();
  const set = backend.set.bind(backend);
  backend.set = (id, key, stored) => {
    entry.resolve(stored);
    return set(id, key, stored);
  };
  const closing = cache.close();
  await assertRejects(() => fn("b"), CacheClosedError);
  assertEquals(await stateOf(closing), "pending");
  hand.run(0).resolve("A");
  assertEquals(await Promise.all(calls), ["A", "A"]);
  await closing;
  assertEquals((await entry.promise).data, '"A"');
  assertEquals([hand.runs.length, errors], [1, []]);
});

test("Cache.close() rejects calls that a limit, a rate or a retry still holds back, and calls nothing", async () => {
  const cache = new MemoryCache();
  const hand = new ByHand<[string], string>();
  const limited = cache.cache({ id: "limited" })(limitConcurrency(1)(hand.fn));
  const running = limited("a");
  const waiting = limited("b");
  let attempts = 0;
  const again = cache.cache({ id: "again" })(
    retry({ attempts: 3, backoff: { min: "1h", max: "1h" } })(async (): Promise<number> => {
      attempts++;
      return await Promise.reject(new Error("down"));
    }),
  );
  const retrying = again();
  await quiet();
  const closing = cache.close();
  await assertRejects(() => waiting, CacheClosedError);
  await assertRejects(() => retrying, CacheClosedError);
  hand.run(0).resolve("A");
  assertEquals(await running, "A");
  await closing;
  assertEquals([hand.runs.length, attempts], [1, 1]);
});

test("Cache.close() lets a run that fails meanwhile make no further attempt", async () => {
  const cache = new MemoryCache();
  const failing = Promise.withResolvers<never>();
  let attempts = 0;
  const fn = cache.cache({ id: "f" })(
    retry({ attempts: 2, backoff: { min: "1h", max: "1h" } })((): Promise<number> => {
      attempts++;
      return failing.promise;
    }),
  );
  const call = fn();
  await quiet();
  const closing = cache.close();
  await quiet();
  failing.reject(new Error("busy"));
  // The run has failed by itself, and its caller gets that error.
  await assertRejects(() => call, Error, "busy");
  await closing;
  assertEquals(attempts, 1);
});

test("Cache.close() waits for a refresh in the background, and for those that it starts", async () => {
  const cache = new MemoryCache();
  const hand = new ByHand<[string], string>();
  const fn = cache.cache({
    id: "f",
    ttl: 1,
    staleWhileRevalidate: Infinity,
  })(hand.fn);
  const first = fn("a");
  await quiet();
  hand.run(0).resolve("old");
  await first;
  const { now } = Date;
  Date.now = (): number => now() + 10;
  try {
    assertEquals((await fn.detail("a")).status, "stale");
  } finally {
    Date.now = now;
  }
  await quiet();
  assertEquals(hand.runs.length, 2);
  const closing = cache.close();
  assertEquals(await stateOf(closing), "pending");
  hand.run(1).resolve("new");
  await closing;
});

test("Cache.close() that fails rejects with the cause, each time", async () => {
  const backend = new HandBackend();
  backend.holding.add("close");
  const cache = new Cache(backend);
  const closing = cache.close();
  await quiet();
  const cause = new Error("busy");
  backend.next().fail(cause);
  for (const attempt of [closing, cache.close()]) {
    const error = await assertRejects(() => attempt, BackendError);
    assertEquals([error.operation, error.cause], ["close", cause]);
  }
  await assertRejects(() => cache.get("k"), CacheClosedError);
});

test("A cache closes at the end of an await using block", async () => {
  let kept: Cache | undefined;
  {
    await using cache = new MemoryCache();
    kept = cache;
    await cache.set("k", 1);
  }
  await assertRejects(() => kept.get("k"), CacheClosedError);
});

test("Cache.cache() takes the function's name as its id", () => {
  const cache = new MemoryCache();
  const named = cache.cache()(async function summarize(): Promise<number> {
    return await Promise.resolve(1);
  });
  assertEquals(named.id, "summarize");
  const arrow = async (): Promise<number> => await Promise.resolve(2);
  assertEquals(cache.cache({})(arrow).id, "arrow");
  assertEquals(cache.cache({ id: "given" })(arrow).id, "given");
});

test("Cache.cache() refuses a function with neither a name nor an id, when it is wrapped", () => {
  const cache = new MemoryCache();
  const wrap = cache.cache();
  const message = "id";
  assertThrows(() => wrap(async () => await Promise.resolve(1)), TypeError, message);
  assertThrows(
    () =>
      wrap(
        (() =>
          function (): Promise<number> {
            return Promise.resolve(1);
          })(),
      ),
    TypeError,
    message,
  );
  assertThrows(() => cache.cache({ id: "" }), TypeError, "id");
});

test("Cache.cache() lets one function object alone use its name, in all caches over one store", async () => {
  const make = () =>
    async function twin(n: number): Promise<number> {
      return await Promise.resolve(n);
    };
  const backend = new MemoryBackend();
  const cache = new Cache(backend);
  // Not named like the function: a transpiler would rename one of them.
  const first = make();
  assertEquals(cache.cache()(first).id, "twin");
  assertEquals(cache.cache()(first).id, "twin", "the same object, again");
  const error = assertThrows(() => cache.cache()(make()), TypeError);
  assert(error.message.includes('"twin"') && error.message.includes("id"));
  assertThrows(() => new Cache(backend).cache()(make()), TypeError, '"twin"');
  // The name is free in another store, and a given id does not use it.
  assertEquals(new MemoryCache().cache()(make()).id, "twin");
  assertEquals(cache.cache({ id: "given" })(make()).id, "given");
  await cache.close();
  assertEquals(new Cache(backend).cache()(make()).id, "twin", "the name is free again");
});

test("Cache.cache() reports once that one given id is used for functions with different sources", async () => {
  const told: unknown[] = [];
  const cache = new MemoryCache({ onError: (_, { kind, id }) => told.push([kind, id]) });
  const wrap = cache.cache({ id: "given" });
  await wrap((n: number) => Promise.resolve(n))(1);
  assertEquals(told, []);
  wrap((n: number) => Promise.resolve(n * 2));
  wrap((n: number) => Promise.resolve(n * 3));
  assertEquals(told[0], ["id", "given"]);
});

test("Cache.cache() refuses bound and native functions without an id: their source is invisible", () => {
  const cache = new MemoryCache();
  const object = {
    async ask(): Promise<number> {
      return await Promise.resolve(1);
    },
  };
  for (const fn of [object.ask.bind(object), Math.abs]) {
    assertThrows(() => cache.cache()(fn), TypeError, "bound or native");
  }
  assertEquals(cache.cache({ id: "other" })(object.ask.bind({})).id, "other");
});

test("Cache.cache() distinguishes functions that come out of the same wrapper of this library", () => {
  const cache = new MemoryCache();
  const wrap = new MemoryCache();
  const one = wrap.cache({ id: "one" })(async function job(): Promise<number> {
    return await Promise.resolve(1);
  });
  const two = wrap.cache({ id: "two" })(async function job(): Promise<number> {
    return await Promise.resolve(2);
  });
  assertNotEquals(String(one), String(two));
  assertEquals(cache.cache()(one).id, "job");
  assertThrows(() => cache.cache()(two), TypeError, '"job"');
});

test("Cache.cache() wrapped twice with one id shares entries and flights", async () => {
  const cache = new MemoryCache();
  const hand = new ByHand<[string], string>();
  const one = cache.cache({ id: "f" })(hand.fn);
  const two = cache.cache({ id: "f" })(hand.fn);
  const calls = [one("a"), two("a")];
  await quiet();
  assertEquals(hand.runs.length, 1);
  hand.run(0).resolve("A");
  assertEquals(await Promise.all(calls), ["A", "A"]);
  await two.bustCache("a");
  assertEquals((await one.readCache("a")).hit, false);
});

test("A cached function looks like the function that it wraps", () => {
  const cache = new MemoryCache();
  const symbol = Symbol("mark");
  const fn = Object.assign(
    async function summarize(text: string, _length = 3): Promise<string> {
      return await Promise.resolve(text);
    },
    { docs: "of the function", [symbol]: 1 },
  );
  const cached = cache.cache()(fn);
  assertEquals([cached.name, cached.length], ["summarize", 1]);
  assertEquals([cached.docs, cached[symbol]], ["of the function", 1]);
  assertEquals(String(cached), String(fn));
  assertEquals(Object.keys(fn), ["docs"]);
});

test("A cached function passes this, arguments and the value's identity on a miss", async () => {
  const cache = new MemoryCache();
  const value = { n: 1 };
  const object = {
    factor: 3,
    times: cache.cache({ id: "times", this: "ignore" })(function (
      this: { factor: number },
      n: number,
    ): Promise<unknown> {
      return Promise.resolve([this.factor * n, value]);
    }),
  };
  const result = (await object.times(2)) as [number, unknown];
  assertEquals(result[0], 6);
  assertStrictEquals(result[1], value);
  assertNotStrictEquals(((await object.times(2)) as unknown[])[1], value);
});

test("The version option starts afresh and leaves the old entries readable", async () => {
  const cache = new MemoryCache();
  const versions = [undefined, 1, "1", 2, "", 0, "undefined"];
  const keys = new Set<string>();
  for (const version of versions) {
    const { fn } = echo(cache, {
      id: "f",
      ...(version === undefined ? {} : { version }),
    });
    assertEquals((await fn.detail("a")).status, "miss");
    keys.add(await fn.key("a"));
  }
  assertEquals(keys.size, versions.length);
  assertEquals((await echo(cache, { id: "f", version: 1 }).fn.detail("a")).status, "hit");
  assertEquals((await echo(cache, { id: "f", version: -0 }).fn.detail("a")).status, "hit");
  await cache.bust("f");
  assertEquals(await all(cache.entries()), []);
});

test("The hashFunc option chooses what identifies a call: a string as it is, or any value", async () => {
  const cache = new MemoryCache();
  const client = { ask: () => 1 };
  const { fn, runs } = echo(cache, {
    id: "f",
    hashFunc: (...args) => {
      const [, text] = args;
      return text;
    },
  });
  await fn(client, "a");
  await fn({ ask: () => 2 }, "a");
  assertEquals(runs.length, 1);
  await fn(client, { deep: [new Date(5)] });
  await fn(client, { deep: [new Date(5)] });
  assertEquals(runs.length, 2);
  const plain = echo(cache, { id: "g", hashFunc: () => "abc" }).fn;
  // printf abc | sha256sum
  assertEquals(
    await plain.key(),
    "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
  );
  const error = await assertRejects(() => fn(client, () => {}), UnhashableArgumentError);
  assertEquals(error.path, "hashFunc(…)");
  await assertRejects(
    () => echo(cache, { id: "h", hashFunc: () => Promise.resolve("a") }).fn(),
    UnhashableArgumentError,
    "hashFunc(…)",
  );
});

test("The hashFunc option never takes a string for a value that is written like it", async () => {
  const values: unknown[] = [
    1,
    "1",
    true,
    "true",
    null,
    "null",
    '{"$":"undefined"}',
    [1],
    "[1]",
    { a: 1 },
    '{"a":1}',
    '{"hash":1}',
    '{"hash":"1"}',
    '{"hash":{"a":1}}',
    '{"hash":"{\\"hash\\":1}"}',
    { hash: 1 },
    "\ud800",
    '{"$":"string","v":"\\ud800"}',
    "",
    '""',
    "\ufffd",
  ];
  for (const version of [undefined, 1]) {
    const { fn } = echo(new MemoryCache(), {
      id: "f",
      hashFunc: (value) => value,
      ...(version === undefined ? {} : { version }),
    });
    const keys = new Map<string, unknown>();
    for (const value of values) {
      const key = await fn.key(value);
      assert(!keys.has(key), `${JSON.stringify(keys.get(key))} and ${JSON.stringify(value)}`);
      keys.set(key, value);
    }
  }
});

test("The shouldCache option sees the value and the arguments, and false stores nothing", async () => {
  const cache = new MemoryCache();
  const seen: unknown[][] = [];
  const { fn, runs } = echo(cache, {
    id: "f",
    shouldCache: (...args) => {
      seen.push(args);
      return args[1] === "good";
    },
  });
  await fn("good", 1);
  await fn("good", 1);
  await fn("bad", 2);
  await fn("bad", 2);
  assertEquals(runs.length, 3);
  assertEquals(seen, [
    ["run 1", "good", 1],
    ["run 2", "bad", 2],
    ["run 3", "bad", 2],
  ]);
});

test("The debug option prints each call with its arguments to stderr, and nothing does without", async () => {
  using warnings = new Warnings();
  const cache = new MemoryCache();
  const quietly = echo(cache, { id: "quiet" });
  await quietly.fn("secret");
  assertEquals(warnings.lines, []);
  const { fn } = echo(cache, { id: "loud", debug: true });
  await fn("a", { b: 1 });
  await fn("a", { b: 1 });
  await fn("x".repeat(2000));
  const key = await fn.key("a", { b: 1 });
  assertEquals(warnings.lines.slice(0, 2), [
    `panza: miss loud ${key} ["a",{"b":1}]`,
    `panza: hit loud ${key} ["a",{"b":1}]`,
  ]);
  assert((warnings.lines[2]?.length ?? 0) < 700);
  const hashed = echo(cache, { id: "h", debug: true, hashFunc: () => "k" });
  assertEquals(await hashed.fn(() => {}), "run 1");
  assert(warnings.lines[3]?.includes("cannot be shown"));
});

test("Options that are changed after cache.cache() change nothing", async () => {
  const cache = new MemoryCache();
  const options: { id: string; version?: number } = { id: "f", version: 1 };
  const wrap = cache.cache(options);
  options.id = "g";
  const { fn: expected } = echo(cache, { id: "f", version: 1 });
  const fn = wrap(async (n: number): Promise<number> => await Promise.resolve(n));
  options.version = 2;
  assertEquals(fn.id, "f");
  assertEquals(await fn.key(1), await expected.key(1));
});

test("escapeName() keeps ordinary names, writes every other one for one, and unescapeName() reads it", () => {
  const seen = new Map<string, string>();
  for (const name of [...AWKWARD, "", "\\\\0", "\\\0", "\ud800\\udc00"]) {
    const text = escapeName(name);
    assert(text.isWellFormed() && !text.includes("\0"));
    assertEquals(unescapeName(text), name);
    assertEquals(seen.get(text), undefined);
    seen.set(text, name);
    if (/^[\w/%. -]+$/.test(name)) assertEquals(text, name);
  }
});
