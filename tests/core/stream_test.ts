/** cache.stream: flows that are shared, left, failing, too long, or stored when whole. */
import { test } from "node:test";
import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertMatch,
  assertNotStrictEquals,
  assertRejects,
  assertStrictEquals,
  assertThrows,
} from "@std/assert";
import { CacheClosedError, SchemaError, UncacheableValueError } from "../../src/base/errors.ts";
import { Cache, streamOf } from "../../src/core/cache.ts";
import type { ErrorContext, StreamOptions } from "../../src/core/options.ts";
import { checkStreamOptions } from "../../src/core/options.ts";
import { CacheState } from "../../src/core/state.ts";
import { StreamCalls, StreamReader } from "../../src/core/stream.ts";
import { MemoryBackend, MemoryCache } from "../../memory.ts";
import { SQLiteCache } from "../../sqlite.ts";
import { TieredCache } from "../../tiered.ts";
import { HandBackend, quiet, reasonOf, stateOf } from "../support/by_hand.ts";
import { FakeTime } from "../support/fake_time.ts";
import { all, from, HandStreams } from "../support/hand_stream.ts";

interface Options {
  readonly signal?: AbortSignal;
}

interface Chunk {
  text: string;
}

/** A cached stream function whose streams are given by hand. */
function handCache(options: StreamOptions<readonly unknown[], Chunk[]> = {}) {
  const backend = new HandBackend();
  const reports: [string, string][] = [];
  const onError = (error: Error, { kind }: ErrorContext) =>
    void reports.push([kind, error.message]);
  const cache = new Cache(backend, { onError });
  const hand = new HandStreams<[prompt: string, options?: Options], Chunk>();
  const fn = cache.stream({ id: "f", ...options })(hand.fn);
  return { backend, cache, hand, fn, reports };
}

const A = { text: "a" };
const B = { text: "b" };
const DONE: IteratorReturnResult<undefined> = { done: true, value: undefined };
function item<Item>(value: Item): IteratorYieldResult<Item> {
  return { done: false, value };
}

test("cache.stream() gives an iterator at once, and nothing runs before the first next()", async () => {
  const { hand, fn } = handCache();
  const stream = fn("p");
  assertStrictEquals(stream[Symbol.asyncIterator](), stream);
  await quiet();
  assertEquals(hand.streams.length, 0);
  const first = stream.next();
  await quiet();
  await hand.stream(0).give({ ...A });
  assertEquals(await first, item(A));
});

test("cache.stream() takes the arguments as they are at the call", async () => {
  await using cache = new MemoryCache();
  const fn = cache.stream({ id: "f" })(async function* (doc: { text: string }) {
    yield await Promise.resolve(doc.text);
  });
  const doc = { text: "before" };
  const stream = fn(doc);
  doc.text = "after";
  assertEquals(await all(stream), ["before"]);
  assertEquals(await fn.readCache({ text: "after" }), { hit: false });
  assert((await fn.readCache({ text: "before" })).hit);
});

test("cache.stream() records a stream and replays it", async () => {
  await using cache = new MemoryCache();
  const chunks = (n: number) => ReadableStream.from([n, n + 1]);
  const functions = {
    generator: async function* (n: number) {
      yield* from([n, n + 1]);
    },
    iterable: (n: number) => ({ [Symbol.asyncIterator]: () => from([n, n + 1]) }),
    stream: chunks,
    promise: async (n: number) => await Promise.resolve(from([n, n + 1])),
    promisedStream: async (n: number) => await Promise.resolve(chunks(n)),
    uniterable: (n: number) => {
      const stream = chunks(n);
      return { getReader: () => stream.getReader(), cancel: () => stream.cancel() };
    },
  };
  for (const [id, fn] of Object.entries(functions)) {
    let runs = 0;
    const counted = cache.stream({ id })((n: number) => {
      runs++;
      return fn(n);
    });
    assertEquals(await all(counted(1)), [1, 2], id);
    assertEquals(await all(counted(1)), [1, 2], id);
    assertEquals(runs, 1, id);
  }
});

test("cache.stream() keeps streams of any storable items, the empty one too", async () => {
  await using cache = new MemoryCache();
  const streams: readonly unknown[][] = [
    [],
    [undefined, null, false, 0, "", NaN],
    [new Uint8Array([1, 2]), new Uint8Array()],
    [new Date(0), new Map([[1, 2]])],
    Array.from({ length: 300 }, (_, n) => n),
  ];
  let runs = 0;
  const fn = cache.stream({ id: "f" })(async function* (n: number) {
    runs++;
    yield* from(streams[n] ?? []);
  });
  for (const [n, items] of streams.entries()) {
    assertEquals(await all(fn(n)), items);
    assertEquals(await all(fn(n)), items);
  }
  assertEquals(runs, streams.length);
});

test("cache.stream() refuses what gives no stream", async () => {
  await using cache = new MemoryCache();
  const fn = Reflect.apply(cache.stream({ id: "f" }), undefined, [() => [1]]);
  await assertRejects(() => fn().next(), TypeError, "must give an async iterable");
  assertThrows(
    () => Reflect.apply(cache.stream, cache, [() => from([1])]),
    TypeError,
    "call cache.stream(options)(fn)",
  );
  assertThrows(
    () => cache.stream({ id: "g" })(Object(function* () {})),
    TypeError,
    "make it an async generator",
  );
});

test("cache.cache() refuses async generator functions, and names cache.stream()", async () => {
  const errors: Error[] = [];
  await using cache = new MemoryCache({ onError: (error) => void errors.push(error) });
  const tokens = async function* () {
    yield await Promise.resolve(1);
  };
  assertThrows(() => cache.cache({ id: "f" })(tokens), TypeError, "cache.stream(options)(fn)");
  const streamed = cache.stream({ id: "g" })(tokens);
  assertThrows(() => cache.cache({ id: "f" })(streamed), TypeError, "cache.stream(options)(fn)");
  for (const stream of [() => from([1]), () => ReadableStream.from([1])]) {
    await cache.cache({ id: "f" })(async () => await Promise.resolve(stream()))();
    assertInstanceOf(errors.at(-1), UncacheableValueError);
    assertMatch(String(errors.at(-1)), /value is a stream.* cache\.stream\(options\)\(fn\)/);
  }
});

test("A flow is pulled as its fastest reader reads", async () => {
  const { hand, fn } = handCache();
  const [fast, slow] = [fn("p"), fn("p")];
  const first = [fast.next(), slow.next()];
  await quiet();
  const source = hand.stream(0);
  await source.give({ ...A });
  assertEquals(await Promise.all(first), [item(A), item(A)]);
  assertEquals(source.pulls, 1);
  const second = fast.next();
  await source.give({ ...B });
  assertEquals(await second, item(B));
  await quiet();
  assertEquals(source.pulls, 2);
  assertEquals(await slow.next(), item(B));
  assertEquals(source.pulls, 2);
});

test("A flow takes several next() at once in their order", async () => {
  const { hand, fn } = handCache();
  const stream = fn("p");
  const steps = [stream.next(), stream.next(), stream.next(), stream.next()];
  await quiet();
  await hand.stream(0).give({ ...A });
  await hand.stream(0).give({ ...B });
  await hand.stream(0).end();
  assertEquals(await Promise.all(steps), [item(A), item(B), DONE, DONE]);
});

test("Equal calls share a flow from its first item on, and say how they got it", async () => {
  const { hand, fn, cache } = handCache();
  const readers = [fn("p"), fn("p")].map((stream) => all(stream));
  await quiet();
  const source = hand.stream(0);
  await source.give({ ...A });
  const late = all(fn("p"));
  await source.give({ ...B });
  await source.end();
  const latest = fn.detail("p");
  for (const items of await Promise.all([...readers, late])) assertEquals(items, [A, B]);
  assertEquals((await latest).value, [A, B]);
  assertEquals(await all(fn("p")), [A, B]);
  assertEquals(hand.streams.length, 1);
  const { misses, shared, hits, unstored } = cache.stats();
  assertEquals({ misses, all: shared + hits, unstored }, { misses: 1, all: 4, unstored: 0 });
});

test("Callers of a flow that want all items at once pull it to its end", async () => {
  const { hand, fn } = handCache();
  const calls = [fn.detail("p"), fn.detail("p")];
  const reader = fn("p");
  await quiet();
  for (const chunk of [A, B]) await hand.stream(0).give({ ...chunk });
  await hand.stream(0).end();
  const [first, second] = await Promise.all(calls);
  assertEquals([first?.value, first?.status], [[A, B], "miss"]);
  assertEquals([second?.value, second?.status], [[A, B], "shared"]);
  assertNotStrictEquals(first?.value[0], second?.value[0]);
  assertEquals(await all(reader), [A, B]);
});

test("A call without single flight has a flow of its own", async () => {
  const { hand, fn } = handCache({ singleFlight: false });
  const steps = [fn("p").next(), fn("p").next()];
  await quiet();
  assertEquals(hand.streams.length, 2);
  await hand.stream(1).give({ ...B });
  await hand.stream(0).give({ ...A });
  assertEquals(await Promise.all(steps), [item(A), item(B)]);
});

test("The first reader of an item owns it, the others a copy, and what they change is not stored", async () => {
  const { hand, fn } = handCache();
  const readers = [fn("p"), fn("p"), fn("p")];
  const steps = readers.map((reader) => reader.next());
  await quiet();
  const original = { ...A };
  await hand.stream(0).give(original);
  const [first, second, third] = (await Promise.all(steps)).map(({ value }) => value);
  assertStrictEquals(first, original);
  assertNotStrictEquals(second, third);
  first.text = "changed";
  second.text = "changed too";
  const rest = readers.map((reader) => all(reader));
  await quiet();
  await hand.stream(0).end();
  await Promise.all(rest);
  assertEquals((await fn.detail("p")).value, [A]);
});

test("The end arrives after the store", async () => {
  const { hand, fn, backend } = handCache();
  const reader = fn("p");
  const first = reader.next();
  await quiet();
  await hand.stream(0).give({ ...A });
  await first;
  backend.holding.add("set");
  const end = reader.next();
  await quiet();
  await hand.stream(0).end();
  assertEquals(await stateOf(end), "pending");
  backend.next().go();
  assertEquals(await end, DONE);
  assert((await fn.readCache("p")).hit);
});

test("A reader that leaves does not stop the others; the last one closes the source, and nothing is kept", async () => {
  const { hand, fn, cache } = handCache();
  const [one, other] = [fn("p", { signal: new AbortController().signal }), fn("p", {})];
  const first = [one.next(), other.next()];
  await quiet();
  const source = hand.stream(0);
  await source.give({ ...A });
  await Promise.all(first);
  assertEquals(await one.return?.(), DONE);
  assertEquals(await one.next(), DONE);
  assert(!source.isLeft);
  const second = other.next();
  await source.give({ ...B });
  assertEquals(await second, item(B));
  // All items are there, but not the end.
  assertEquals(await other.return?.(), DONE);
  assert(source.isLeft);
  assert((source.args[1] as Options).signal?.aborted);
  assertEquals(await fn.readCache("p", {}), { hit: false });
  assertEquals(cache.stats().failed, 1);
});

test("break in a loop leaves a generator, whose finally blocks run first", async () => {
  await using cache = new MemoryCache();
  let isOver = false;
  const fn = cache.stream({ id: "f" })(async function* () {
    try {
      for (let n = 0;; n++) yield n;
    } finally {
      await quiet();
      isOver = true;
    }
  });
  for await (const n of fn()) if (n === 3) break;
  assert(isOver);
});

test("A reader that leaves while it waits gets the end, and a hanging source holds nobody up", async () => {
  const { hand, fn } = handCache();
  const reader = fn("p");
  const step = reader.next();
  await quiet();
  assert(hand.stream(0).isAsked);
  const left = reader.return?.();
  assertEquals(await Promise.all([step, left]), [DONE, DONE]);
  assert(hand.stream(0).isLeft);

  await using cache = new MemoryCache();
  let isHanging = false;
  const hanging = cache.stream({ id: "h" })(async function* () {
    isHanging = true;
    await new Promise(() => {});
    yield 1;
  });
  const stuck = hanging();
  const never = stuck.next();
  await quiet();
  assert(isHanging);
  assertEquals(await Promise.all([stuck.return?.(), never]), [DONE, DONE]);
});

test("A reader that leaves before its first item, or its call, starts nothing", async () => {
  const { hand, fn, backend } = handCache();
  const unread = fn("p");
  assertEquals(await unread.return?.(), DONE);
  assertEquals(await unread.next(), DONE);
  backend.holding.add("get");
  const looking = fn("p");
  const step = looking.next();
  await quiet();
  assertEquals(await Promise.all([looking.return?.(), step]), [DONE, DONE]);
  backend.next().go();
  await quiet();
  assertEquals(hand.streams.length, 0);
});

test("A flow that all have left is never joined: the next call runs and has every item", async () => {
  const { hand, fn } = handCache();
  const [one, other] = [fn("p"), fn("p")];
  const steps = [one.next(), other.next()];
  await quiet();
  await hand.stream(0).give({ ...A });
  await Promise.all(steps);
  const leaving = [one.return?.(), other.return?.()];
  // In the same turn, while the source is being closed.
  const next = all(fn("p"));
  await Promise.all(leaving);
  await quiet();
  assertEquals(hand.streams.length, 2);
  for (const chunk of [A, B]) await hand.stream(1).give({ ...chunk });
  await hand.stream(1).end();
  assertEquals(await next, [A, B]);
  assertEquals((await fn.detail("p")).value, [A, B]);
});

test("A flow that waits for readers is closed when the last one leaves, and closes with the cache", async () => {
  const { hand, fn, cache } = handCache();
  const reader = fn("p");
  const step = reader.next();
  await quiet();
  await hand.stream(0).give({ ...A });
  await step;
  await quiet();
  assert(!hand.stream(0).isAsked);
  await reader.return?.();
  assert(hand.stream(0).isLeft);
  await cache.close();
});

test("An error comes to every reader after the items before it, and is not kept", async () => {
  const { hand, fn, cache } = handCache();
  const [fast, slow] = [fn("p"), fn("p")];
  const first = [fast.next(), slow.next()];
  await quiet();
  await hand.stream(0).give({ ...A });
  await Promise.all(first);
  const second = fast.next();
  await hand.stream(0).give({ ...B });
  await second;
  const third = reasonOf(fast.next());
  const failure = new Error("the connection broke");
  await hand.stream(0).fail(failure);
  assertStrictEquals(await third, failure);
  assertEquals(await fast.next(), DONE);
  assertEquals(await slow.next(), item(B));
  assertStrictEquals(await reasonOf(slow.next()), failure);
  assertEquals(cache.stats().failed, 1);
  void fn("p").next();
  await quiet();
  assertEquals(hand.streams.length, 2);
});

test("A function that fails before its stream fails the call", async () => {
  await using cache = new MemoryCache();
  const failure = new Error("busy");
  const asynchronous = cache.stream({ id: "f" })(async (): Promise<AsyncIterable<number>> => {
    await Promise.resolve();
    throw failure;
  });
  const synchronous = cache.stream({ id: "g" })((): AsyncIterable<number> => {
    throw failure;
  });
  for (const fn of [asynchronous, synchronous]) {
    assertStrictEquals(await reasonOf(fn().next()), failure);
  }
});

test("An item that cannot be stored goes to its readers, and the report says which one", async () => {
  class Thing {}
  const reports: [string, string][] = [];
  await using cache = new MemoryCache({
    onError: (error, { kind }) => void reports.push([kind, error.message]),
  });
  const thing = new Thing();
  const fn = cache.stream({ id: "f" })(async function* () {
    yield* from([1, thing]);
  });
  const both = await Promise.all([all(fn()), all(fn())]);
  for (const items of both) assertStrictEquals(items[1], thing);
  assertEquals(reports.map(([kind]) => kind), ["encode"]);
  assertMatch(reports[0]?.[1] ?? "", /value\[1\] is an instance of Thing/);
  assertEquals(await fn.readCache(), { hit: false });
  assertEquals(cache.stats().unstored, 1);
});

test("codec makes items of one's own types storable, and each reader owns its items", async () => {
  class Thing {
    constructor(public n: number) {}
  }
  await using cache = new MemoryCache();
  let runs = 0;
  const fn = cache.stream({
    id: "f",
    codec: {
      encode: (things: Thing[]) => things.map(({ n }) => n),
      decode: (numbers: number[]) => numbers.map((n) => new Thing(n)),
    },
  })(async function* () {
    runs++;
    yield* from([new Thing(1), new Thing(2)]);
  });
  const [first, second] = await Promise.all([all(fn()), all(fn())]);
  for (const items of [first, second, await all(fn())]) {
    assertEquals(items, [new Thing(1), new Thing(2)]);
    for (const thing of items) assertInstanceOf(thing, Thing);
  }
  assertNotStrictEquals(first?.[0], second?.[0]);
  assertEquals(runs, 1);
});

test("A codec for the whole stream stores one value, and a hit reads its items", async () => {
  await using cache = new MemoryCache();
  const fn = cache.stream({
    id: "f",
    codec: {
      encode: (texts: string[]) => ({ text: texts.join("") }),
      decode: (stored: { text: string }) => [stored.text],
    },
  })(async function* () {
    yield* from(["a", "b"]);
  });
  assertEquals(await Promise.all([all(fn()), all(fn())]), [["a", "b"], ["a", "b"]]);
  assertEquals(await all(fn()), ["ab"]);
});

test("An entry that is not the items of a stream is a reported miss, and is replaced", async () => {
  const kinds: string[] = [];
  await using cache = new MemoryCache({ onError: (_, { kind }) => void kinds.push(kind) });
  await cache.cache({ id: "f" })(async (n: number) => await Promise.resolve({ n }))(1);
  const fn = cache.stream({ id: "f" })(async function* (n: number) {
    yield* from([n]);
  });
  assertEquals(await all(fn(1)), [1]);
  assertEquals(await all(fn(1)), [1]);
  assertEquals(kinds, ["id", "damaged"]);
});

test("shouldCache sees all items and the arguments, and false keeps nothing", async () => {
  const seen: unknown[] = [];
  await using cache = new MemoryCache();
  const fn = cache.stream({
    id: "f",
    shouldCache: (items: number[], n: number) => {
      seen.push(items, n);
      return items.length > 1;
    },
  })(async function* (n: number) {
    yield* from(Array(n).keys());
  });
  for (const n of [1, 2]) assertEquals(await all(fn(n)), [...Array(n).keys()]);
  assertEquals(seen, [[0], 1, [0, 1], 2]);
  assertEquals([(await fn.readCache(1)).hit, (await fn.readCache(2)).hit], [false, true]);
});

test("schema guards the whole: readers get the items, then the error, and nothing is kept", async () => {
  await using cache = new MemoryCache();
  let runs = 0;
  const fn = cache.stream({
    id: "f",
    schema: {
      "~standard": {
        version: 1,
        vendor: "test",
        validate: (value) =>
          Array.isArray(value) && value.length > 1
            ? { value: ["what it makes is not used"] }
            : { issues: [{ message: "too few" }] },
      },
    },
  })(async function* (n: number) {
    runs++;
    yield* from(Array(n).keys());
  });
  const short = fn(1);
  assertEquals(await short.next(), item(0));
  await assertRejects(() => short.next(), SchemaError);
  assertEquals(await fn.readCache(1), { hit: false });
  for (let round = 0; round < 2; round++) assertEquals(await all(fn(2)), [0, 1]);
  assertEquals((await fn.detail(2)).value, [0, 1]);
  assertEquals(runs, 2);
});

test("A bust meanwhile lets a flow go on and not be kept, and later calls run", async () => {
  const { hand, fn } = handCache();
  const reader = all(fn("p"));
  await quiet();
  await hand.stream(0).give({ ...A });
  await fn.bustCache("p");
  const next = all(fn("p"));
  await quiet();
  assertEquals(hand.streams.length, 2);
  await hand.stream(0).end();
  assertEquals(await reader, [A]);
  assertEquals(await fn.readCache("p"), { hit: false });
  await hand.stream(1).give({ ...B });
  await hand.stream(1).end();
  assertEquals(await next, [B]);
  assertEquals((await fn.detail("p")).value, [B]);
});

test("A stream that is longer than maxItems passes, is not kept, and nobody joins it any more", async () => {
  const { hand, fn, reports, cache } = handCache({ maxItems: 2 });
  const chunks = ["a", "b", "c", "d", "e", "f"].map((text) => ({ text }));
  const [fast, slow] = [fn("p"), fn("p")];
  const first = [fast.next(), slow.next()];
  await quiet();
  const source = hand.stream(0);
  await source.give(chunks[0]!);
  await Promise.all(first);
  for (let n = 1; n < 4; n++) {
    const step = fast.next();
    await source.give(chunks[n]!);
    await step;
  }
  // Only the items that the slow reader has not read are held: b, c and d.
  const waiting = fast.next();
  await quiet();
  assert(!source.isAsked);
  const newcomer = fn("p").next();
  await quiet();
  assertEquals(hand.streams.length, 2);
  assertEquals(await slow.next(), item(chunks[1]!));
  await source.give(chunks[4]!);
  assertEquals(await waiting, item(chunks[4]!));
  const rest = Promise.all([all(fast), all(slow)]);
  await quiet();
  await source.end();
  assertEquals(await rest, [[], chunks.slice(2, 5)]);
  assertEquals(reports.map(([kind]) => kind), ["encode"]);
  assertMatch(reports[0]?.[1] ?? "", /more than 2 items.*maxItems/);
  assertEquals(cache.stats().unstored, 1);
  await hand.stream(1).give({ ...A });
  assertEquals(await newcomer, item(A));
});

test("A stream of just maxItems is kept", async () => {
  await using cache = new MemoryCache({ onError: () => {} });
  const fn = cache.stream({ id: "f", maxItems: 2 })(async function* (n: number) {
    yield* from(Array(n).keys());
  });
  for (const n of [2, 3]) assertEquals((await all(fn(n))).length, n);
  assertEquals([(await fn.readCache(2)).hit, (await fn.readCache(3)).hit], [true, false]);
  const { value, unstored } = await fn.detail(5);
  assertEquals([value, unstored], [[0, 1, 2, 3, 4], "length"]);
  const details = await Promise.all([fn.detail(4), fn.detail(4)]);
  for (const { value } of details) assertEquals(value, [0, 1, 2, 3]);
});

test("A slow reader past the bound is freed of its hold when it leaves", async () => {
  const { hand, fn } = handCache({ maxItems: 1 });
  const [fast, slow] = [fn("p"), fn("p")];
  const first = [fast.next(), slow.next()];
  await quiet();
  const source = hand.stream(0);
  await source.give({ ...A });
  await Promise.all(first);
  for (let n = 0; n < 2; n++) {
    const step = fast.next();
    await source.give({ ...B });
    await step;
  }
  const waiting = fast.next();
  await quiet();
  assert(!source.isAsked);
  await slow.return?.();
  await source.give({ ...A });
  assertEquals(await waiting, item(A));
  await fast.return?.();
  assert(source.isLeft);
});

test("An abort is its reader's alone; that of the last one is passed to the function", async () => {
  const { hand, fn } = handCache();
  const [one, other] = [new AbortController(), new AbortController()];
  const readers = [one, other].map(({ signal }) => fn("p", { signal }));
  const first = readers.map((reader) => reader.next());
  await quiet();
  const source = hand.stream(0);
  await source.give({ ...A });
  await Promise.all(first);
  const [left, second] = readers.map((reader) => reader.next());
  await quiet();
  one.abort(new Error("one"));
  assertEquals(String(await reasonOf(left!)), "Error: one");
  const { signal } = source.args[1] as Options;
  assert(!signal?.aborted);
  other.abort(new Error("other"));
  assert(signal?.aborted);
  // The second reader gets what the function still yields, and no later call joins its flow.
  const next = fn("p", {}).next();
  await quiet();
  assertEquals(hand.streams.length, 2);
  await source.give({ ...B });
  assertEquals(await second, item(B));
  await readers[1]?.return?.();
  assert(source.isLeft);
  await hand.stream(1).give({ ...A });
  assertEquals(await next, item(A));
});

test("An abort wakes a source that nobody reads, and one before the call starts nothing", async () => {
  const { hand, fn } = handCache();
  const controller = new AbortController();
  const { signal } = controller;
  const reader = fn("p", { signal });
  const step = reader.next();
  await quiet();
  await hand.stream(0).give({ ...A });
  await step;
  controller.abort(new Error("enough"));
  await quiet();
  await hand.stream(0).fail(new Error("what the source makes of it"));
  assertEquals(String(await reasonOf(reader.next())), "Error: what the source makes of it");
  assertEquals(String(await reasonOf(fn("p", { signal }).next())), "Error: enough");
  assertEquals(hand.streams.length, 1);
});

test("A stale stream is served whole while one run refreshes it without readers", async () => {
  using time = new FakeTime();
  const { hand, fn } = handCache({ ttl: 1000, staleWhileRevalidate: 1000 });
  const reader = all(fn("p"));
  await time.tick();
  await hand.stream(0).give({ ...A });
  await hand.stream(0).end();
  await reader;
  await time.tick(1500);
  const stale = fn("p");
  assertEquals(await stale.next(), item(A));
  assertInstanceOf(stale, StreamReader);
  assertEquals(stale.status, "stale");
  assertEquals(await stale.next(), DONE);
  await time.tick();
  await hand.stream(1).give({ ...B });
  await hand.stream(1).end();
  assertEquals(await all(fn("p")), [B]);
});

test("A stale stream stands in for one that fails, for readers that have no item of it", async () => {
  using time = new FakeTime();
  const { hand, fn } = handCache({ ttl: 1000, staleIfError: 10_000 });
  const reader = all(fn("p"));
  await time.tick();
  await hand.stream(0).give({ ...A });
  await hand.stream(0).end();
  await reader;
  await time.tick(2000);
  const [begun, waiting] = [fn("p"), fn("p")];
  const first = begun.next();
  await time.tick();
  await hand.stream(1).give({ ...B });
  assertEquals(await first, item(B));
  const second = reasonOf(begun.next());
  await time.tick();
  const failure = new Error("down");
  const other = waiting.next();
  assertEquals(await other, item(B));
  await hand.stream(1).fail(failure);
  assertStrictEquals(await second, failure);
  assertStrictEquals(await reasonOf(waiting.next()), failure);
  await time.tick(2000);
  const whole = all(fn("p"));
  await time.tick();
  await hand.stream(2).fail(failure);
  assertEquals(await whole, [A]);
});

test("close() reads an open flow to its end and stores it; its readers read on", async () => {
  const { hand, fn, cache, backend } = handCache();
  const reader = fn("p");
  const first = reader.next();
  await quiet();
  await hand.stream(0).give({ ...A });
  await first;
  const closing = cache.close();
  await quiet();
  await assertRejects(() => fn("q").next(), CacheClosedError);
  await hand.stream(0).give({ ...B });
  await hand.stream(0).end();
  await closing;
  assertEquals(await all(reader), [B]);
  const again = new Cache(backend.inner).stream({ id: "f" })(hand.fn);
  assertEquals(hand.streams.length, 1);
  assert(again.id === "f");
});

test("close() leaves a flow that is longer than its bound", async () => {
  for (const isLongBefore of [true, false]) {
    const { hand, fn, cache } = handCache({ maxItems: 1 });
    const reader = fn("p");
    const first = reader.next();
    await quiet();
    const source = hand.stream(0);
    await source.give({ ...A });
    await first;
    if (isLongBefore) {
      const second = reader.next();
      await source.give({ ...B });
      await second;
    }
    const closing = cache.close();
    await quiet();
    if (!isLongBefore) await source.give({ ...B });
    await closing;
    assert(source.isLeft);
    if (!isLongBefore) assertEquals(await reader.next(), item(B));
    await assertRejects(() => reader.next(), CacheClosedError);
  }
});

test("A stream function has readCache, bustCache, detail, key and map", async () => {
  await using cache = new MemoryCache();
  let runs = 0;
  const fn = cache.stream({ id: "f" })(async function* (n: number, step = 1) {
    runs++;
    yield* from([n, n + step]);
  });
  assertEquals(fn.id, "f");
  assertEquals(await fn.readCache(1), { hit: false });
  const { value, status, key } = await fn.detail(1);
  assertEquals([value, status, key], [[1, 2], "miss", await fn.key(1)]);
  const found = await fn.readCache(1);
  assert(found.hit);
  assertEquals(found.value, [1, 2]);
  assertEquals(await fn.map([1, 2, 2], { concurrency: 2, args: [] }).values(), [
    [1, 2],
    [2, 3],
    [2, 3],
  ]);
  assertEquals(runs, 2);
  await fn.bustCache(1);
  assertEquals(await fn.readCache(1), { hit: false });
  await fn.bustCache();
  assertEquals(await fn.readCache(2), { hit: false });
});

test("A stream function stores in SQLite what another cache replays", async () => {
  await using cache = new SQLiteCache(":memory:");
  let runs = 0;
  const tokens = async function* (n: number) {
    runs++;
    yield* from([{ n }, { n: n + 1 }]);
  };
  const fn = cache.stream({ id: "f" })(tokens);
  const readers = await Promise.all([all(fn(1)), all(fn(1)), all(fn(2))]);
  assertEquals(readers.map((items) => items.length), [2, 2, 2]);
  assertEquals(await all(cache.stream({ id: "f" })(tokens)(1)), [{ n: 1 }, { n: 2 }]);
  assertEquals(runs, 2);
  for await (const { size } of cache.entries({ id: "f" })) {
    assertEquals(size, '[{"n":1},{"n":2}]'.length);
  }
});

test("Streams are kept encrypted and in tiers like other results", async () => {
  const encrypt = await crypto.subtle.generateKey({ name: "AES-GCM", length: 256 }, false, [
    "encrypt",
    "decrypt",
  ]);
  const [near, far] = [new MemoryBackend(), new MemoryBackend()];
  await using cache = new TieredCache([near, far], { encrypt });
  let runs = 0;
  const fn = cache.stream({ id: "f" })(async function* () {
    runs++;
    yield* from(["a", "b"]);
  });
  assertEquals(await Promise.all([all(fn()), all(fn())]), [["a", "b"], ["a", "b"]]);
  await near.clear();
  assertEquals(await all(fn()), ["a", "b"]);
  assertEquals(runs, 1);
});

test("An eager flow is read without readers' help, up to its bound in bytes", async () => {
  await using cache = new MemoryCache();
  const hand = new HandStreams<[string], Uint8Array>();
  const fn = streamOf(cache, { id: "f" }, { isEager: true, maxBytes: 2000 })(hand.fn);
  const reader = fn("p");
  const head = reader.next();
  await quiet();
  for (let n = 0; n < 3; n++) await hand.stream(0).give(new Uint8Array([n]));
  await hand.stream(0).end();
  assertEquals((await head).value, new Uint8Array([0]));
  assert((await fn.readCache("p")).hit);
  assertEquals((await all(reader)).length, 2);

  const long = fn("q");
  const first = long.next();
  await quiet();
  await hand.stream(1).give(new Uint8Array(3000));
  await first;
  await hand.stream(1).give(new Uint8Array(3000));
  assert(!hand.stream(1).isAsked);
  await long.next();
  await quiet();
  assert(hand.stream(1).isAsked);
  await long.return?.();
  assert(hand.stream(1).isLeft);
});

test("A flow that has said its last word is stored although its last reader leaves", async () => {
  await using cache = new MemoryCache();
  const hand = new HandStreams<[string], string>();
  const finishes = (items: unknown[]) => items.at(-1) === "[DONE]";
  const fn = streamOf(cache, { id: "f" }, { finishes })(hand.fn);
  for (const last of ["a", "[DONE]"]) {
    const reader = fn(last);
    const step = reader.next();
    await quiet();
    const source = hand.streams.at(-1)!;
    await source.give(last);
    await step;
    assertEquals(await reader.return?.(), DONE);
    assertEquals(source.isLeft, last === "a");
  }
  // It can still be joined, for it is read to its end.
  const joined = all(fn("[DONE]"));
  await quiet();
  await hand.stream(1).end();
  assertEquals(await joined, ["[DONE]"]);
  assertEquals(hand.streams.length, 2);
  assert((await fn.readCache("[DONE]")).hit);
});

test("10,000 flows that end, fail or are left leave nothing in any table", async () => {
  const backend = new MemoryBackend();
  const state = new CacheState(backend, backend, { onError: () => {} });
  const own = state.of("f");
  const { maxItems, ...options } = checkStreamOptions({});
  const failure = new Error("broken");
  const tokens = async function* (n: number) {
    yield n;
    if (n % 3 === 0) throw failure;
    yield n;
  };
  const flows = { maxItems, maxBytes: Infinity, isEager: false, bound: "its bound" };
  const calls = new StreamCalls(state, own, tokens, options, true, flows);
  for (let n = 0; n < 10_000; n += 100) {
    await Promise.all(Array.from({ length: 100 }, async (_, more) => {
      const readers = [calls.open(undefined, [n + more]), calls.open(undefined, [n + more])];
      await Promise.allSettled(readers.map(async (reader) => {
        for await (const _ of reader) if (more % 3 === 1) break;
      }));
    }));
  }
  await quiet();
  assertStrictEquals(state.runs.first, undefined);
  assertEquals(state.closing.size, 0);
  // The empty one stays.
  assertEquals([...own.scope.places.keys()], [""]);
  await state.close();
});
