/** Single flight: calls that share a run, leave it, outlive it, or would wait for themselves. */
import { AsyncLocalStorage } from "node:async_hooks";
import { test } from "node:test";
import { setImmediate } from "node:timers";
import {
  assert,
  assertEquals,
  assertNotStrictEquals,
  assertRejects,
  assertStrictEquals,
} from "@std/assert";
import { Cache } from "../../src/core/cache.ts";
import { FakeTime } from "../support/fake_time.ts";
import { ReentrantCallError } from "../../src/base/errors.ts";
import { MemoryBackend, MemoryCache } from "../../memory.ts";
import {
  ByHand,
  comparable,
  countListeners,
  HandBackend,
  quiet,
  reasonOf,
  stateOf,
  Warnings,
} from "../support/by_hand.ts";

interface Options {
  readonly signal?: AbortSignal;
  readonly model?: string;
}

/** A cached function whose runs are settled by hand. */
function handCache(backend = new HandBackend()) {
  const errors: unknown[] = [];
  const cache = new Cache(backend, { onError: (error) => errors.push(error) });
  const hand = new ByHand<[key: string, options?: Options], unknown>();
  const fn = cache.cache({ id: "f" })(hand.fn);
  return { backend, cache, hand, fn, errors };
}

test("A cached function runs once for equal calls that overlap, and each says how it got its value", async () => {
  const { hand, fn, cache } = handCache();
  const calls = Array.from({ length: 10 }, () => fn.detail("a"));
  await quiet();
  assertEquals(hand.runs.length, 1);
  hand.run(0).resolve({ n: 1 });
  const details = await Promise.all(calls);
  assertEquals(
    details.map(({ value }) => value),
    Array(10).fill({ n: 1 }),
  );
  assertEquals(
    details.map(({ status }) => status),
    ["miss", ...Array(9).fill("shared")],
  );
  assertEquals(new Set(details.map(({ storedAt }) => storedAt)).size, 1);
  assertEquals((await fn.detail("a")).status, "hit");
  assertEquals(hand.runs.length, 1);
  const { misses, shared, hits } = cache.stats();
  assertEquals({ misses, shared, hits }, { misses: 1, shared: 9, hits: 1 });
});

test("A cached function runs different calls side by side", async () => {
  const { hand, fn } = handCache();
  const calls = [fn("a"), fn("b"), fn("a", { model: "x" })];
  await quiet();
  assertEquals(hand.runs.length, 3);
  hand.run(1).resolve("B");
  assertEquals(await calls[1], "B");
  hand.run(0).resolve("A");
  hand.run(2).resolve("X");
  assertEquals(await Promise.all(calls), ["A", "B", "X"]);
});

test("A cached function shares one look into the store, and each caller owns what it found", async () => {
  const { hand, fn, backend } = handCache();
  const first = fn("a");
  await quiet();
  hand.run(0).resolve({ list: [1] });
  await first;
  backend.holding.add("get");
  const calls = [fn.detail("a"), fn.detail("a"), fn.detail("a")];
  await quiet();
  assertEquals(backend.held.length, 1);
  backend.next().go();
  const details = await Promise.all(calls);
  assertEquals(
    details.map(({ status }) => status),
    ["hit", "hit", "hit"],
  );
  const [one, two] = details.map(({ value }) => value as { list: number[] });
  one?.list.push(2);
  assertEquals(two, { list: [1] });
});

for (
  const [name, value, change] of [
    [
      "an object",
      () => ({ list: [1, { deep: true }] }),
      (value: { list: unknown[] }) => value.list.push(2),
    ],
    ["an array", () => [1, [2]], (value: unknown[]) => value.push(3)],
    [
      "a Map",
      () => new Map<string, unknown>([["a", [1]]]),
      (value: Map<string, unknown[]>) => value.get("a")?.push(2),
    ],
    ["a Set", () => new Set([1]), (value: Set<number>) => value.add(2)],
    ["bytes", () => new Uint8Array([1, 2, 3]), (value: Uint8Array) => value.fill(9)],
    [
      "an ArrayBuffer",
      () => new Uint8Array([1, 2, 3]).buffer,
      (value: ArrayBuffer) => new Uint8Array(value).fill(9),
    ],
    [
      "numbers",
      () => Array.from({ length: 500 }, (_, index) => index / 3),
      (value: number[]) => value.fill(9),
    ],
    ["a Date", () => new Date(5), (value: Date) => value.setTime(9)],
    [
      "an Error",
      () => Object.assign(new TypeError("bad", { cause: [1] }), { stack: "" }),
      (value: Error) => (value.cause as number[]).push(2),
    ],
  ] as [string, () => unknown, (value: unknown) => void][]
) {
  test(`A cached function gives every caller its own copy of ${name}`, async () => {
    for (const stored of [true, false]) {
      const cache = new MemoryCache();
      const hand = new ByHand<[string], unknown>();
      const fn = cache.cache({ id: "f", shouldCache: () => stored })(hand.fn);
      const calls = [fn("a"), fn("a"), fn("a")];
      await quiet();
      hand.run(0).resolve(value());
      const results = await Promise.all(calls);
      for (const [index, result] of results.entries()) {
        assertEquals(comparable(result), comparable(value()));
        change(result);
        for (const later of results.slice(index + 1)) {
          assertEquals(comparable(later), comparable(value()));
        }
      }
      if (!stored) continue;
      const hits = await Promise.all([fn("a"), fn("a"), fn("a")]);
      for (const [index, hit] of hits.entries()) {
        assertEquals(comparable(hit), comparable(value()));
        change(hit);
        for (const later of hits.slice(index + 1)) {
          assertEquals(comparable(later), comparable(value()));
        }
      }
      const found = await fn.readCache("a");
      assert(found.hit);
      assertEquals(comparable(found.value), comparable(value()));
      change(found.value);
      assertEquals(comparable(await fn("a")), comparable(value()));
      assertEquals(hand.runs.length, 1);
    }
  });
}

test("A cached function's leader cannot change what its waiters get, however fast it is", async () => {
  for (const stored of [true, false]) {
    const cache = new MemoryCache();
    const hand = new ByHand<[string], number[]>();
    const fn = cache.cache({ id: "f", shouldCache: () => stored })(hand.fn);
    const first = fn("a").then((value) => value.push(99));
    const second = fn("a");
    await quiet();
    hand.run(0).resolve([1]);
    await first;
    assertEquals(await second, [1]);
  }
});

test("A cached function's error reaches every waiter and is not stored", async () => {
  const { hand, fn, cache } = handCache();
  const calls = [fn("a"), fn("a"), fn("a")].map(reasonOf);
  await quiet();
  const error = new RangeError("no");
  hand.run(0).reject(error);
  for (const reason of await Promise.all(calls)) {
    assertStrictEquals(reason, error);
  }
  assertEquals(await fn.readCache("a"), { hit: false });
  assertEquals(cache.stats().misses, 0);
  const again = fn("a");
  await quiet();
  assertEquals(hand.runs.length, 2);
  hand.run(1).resolve("well");
  assertEquals(await again, "well");
});

test("A cached function that throws at once, or rejects with nothing, rejects all the same", async () => {
  const cache = new MemoryCache();
  const thrower = cache.cache({ id: "thrower" })((): Promise<never> => {
    throw new RangeError("at once");
  });
  await assertRejects(() => thrower(), RangeError, "at once");
  for (const nothing of [undefined, null, 0, ""]) {
    const rejecter = cache.cache({ id: "rejecter" })((_: string) => Promise.reject(nothing));
    const reasons = await Promise.all([rejecter("a"), rejecter("a")].map(reasonOf));
    assertEquals(reasons, [nothing, nothing]);
  }
});

test("A cached function with singleFlight: false runs each call by itself, and stores", async () => {
  const cache = new MemoryCache();
  const hand = new ByHand<[string], number>();
  const fn = cache.cache({ id: "f", singleFlight: false })(hand.fn);
  const calls = [fn.detail("a"), fn.detail("a")];
  await quiet();
  assertEquals(hand.runs.length, 2);
  hand.run(1).resolve(2);
  hand.run(0).resolve(1);
  const details = await Promise.all(calls);
  assertEquals(
    details.map(({ value, status }) => [value, status]),
    [
      [1, "miss"],
      [2, "miss"],
    ],
  );
  assertEquals((await fn.detail("a")).status, "hit");
});

test("A cached function with shouldCache false shares the run and stores nothing", async () => {
  const cache = new MemoryCache();
  const hand = new ByHand<[string], { bad: boolean }>();
  const fn = cache.cache({
    id: "f",
    shouldCache: (value: { bad: boolean }) => !value.bad,
  })(hand.fn);
  const calls = [fn.detail("a"), fn.detail("a")];
  await quiet();
  hand.run(0).resolve({ bad: true });
  const [leader, waiter] = await Promise.all(calls);
  assertEquals([leader?.status, waiter?.status], ["miss", "shared"]);
  assertEquals([leader?.storedAt, waiter?.storedAt], [null, null]);
  assertNotStrictEquals(leader?.value, waiter?.value);
  assertEquals(await fn.readCache("a"), { hit: false });
});

test("A result that cannot be encoded is not shared: each waiter runs by itself", async () => {
  const { hand, fn, errors, backend } = handCache();
  const calls = [fn.detail("a"), fn.detail("a"), fn.detail("a")];
  await quiet();
  // An unstored result is not looked up again.
  backend.holding.add("get");
  assertEquals(hand.runs.length, 1);
  const values = [{ f: () => 0 }, { f: () => 1 }, { f: () => 2 }];
  hand.run(0).resolve(values[0]);
  await quiet();
  assertEquals(hand.runs.length, 3);
  hand.run(1).resolve(values[1]);
  hand.run(2).resolve(values[2]);
  const details = await Promise.all(calls);
  for (const [index, { value, status }] of details.entries()) {
    assertStrictEquals(value, values[index]);
    assertEquals(status, "miss");
  }
  assertEquals(errors.length, 3);
});

for (
  const [name, bust] of [
    ["bustCache(args)", ({ fn }) => fn.bustCache("a")],
    ["bustCache()", ({ fn }) => fn.bustCache()],
    ["Cache.bust(id)", ({ cache }) => cache.bust("f")],
    ["Cache.bustAll()", ({ cache }) => cache.bustAll()],
  ] as [string, (made: ReturnType<typeof handCache>) => Promise<void>][]
) {
  test(`${name} wins over a run: the late result is returned and not stored`, async () => {
    const made = handCache();
    const { hand, fn } = made;
    const early = [fn.detail("a"), fn.detail("a")];
    await quiet();
    await bust(made);
    const later = [fn.detail("a"), fn.detail("a")];
    await quiet();
    assertEquals(hand.runs.length, 2);
    hand.run(0).resolve("old");
    const details = await Promise.all(early);
    assertEquals(
      details.map(({ value }) => value),
      ["old", "old"],
    );
    assertEquals(
      details.map(({ storedAt }) => storedAt),
      [null, null],
    );
    assertEquals(await fn.readCache("a"), { hit: false });
    hand.run(1).resolve("new");
    const laterDetails = await Promise.all(later);
    assertEquals(
      laterDetails.map(({ value }) => value),
      ["new", "new"],
    );
    assertEquals(await fn("a"), "new");
    assertEquals(hand.runs.length, 2);
  });

  test(`${name} wins over a run that ends after the run that followed it`, async () => {
    const made = handCache();
    const { hand, fn } = made;
    const early = fn("a");
    await quiet();
    await bust(made);
    const later = fn("a");
    await quiet();
    hand.run(1).resolve("new");
    assertEquals(await later, "new");
    hand.run(0).resolve("old");
    assertEquals(await early, "old");
    assertEquals(await fn("a"), "new");
  });

  test(`${name} wins over a look into the store: a later call runs anew`, async () => {
    const made = handCache();
    const { hand, fn, backend } = made;
    const first = fn("a");
    await quiet();
    hand.run(0).resolve("old");
    await first;
    backend.holding.add("get");
    const early = fn("a");
    await quiet();
    const look = backend.next();
    backend.holding.clear();
    await bust(made);
    const later = fn("a");
    await quiet();
    hand.run(1).resolve("new");
    assertEquals(await later, "new");
    look.go();
    // The late lookup now finds the newer result.
    assertEquals(await early, "new");
    assertEquals(await fn("a"), "new");
  });

  test(`${name} wins over a store under way: it deletes after it`, async () => {
    const made = handCache();
    const { hand, fn, backend } = made;
    backend.holding.add("set");
    const early = fn("a");
    await quiet();
    hand.run(0).resolve("old");
    await quiet();
    const store = backend.next();
    const busting = bust(made);
    const later = fn("a");
    await quiet();
    assertEquals(hand.runs.length, 1);
    assertEquals(await stateOf(busting), "pending");
    backend.holding.clear();
    store.go();
    await busting;
    assertEquals(await early, "old");
    await quiet();
    assertEquals(hand.runs.length, 2);
    hand.run(1).resolve("new");
    assertEquals(await later, "new");
    assertEquals(await fn("a"), "new");
  });

  test(`${name} wins over a store that fails late`, async () => {
    const made = handCache();
    const { hand, fn, backend, errors } = made;
    backend.holding.add("set");
    const early = fn("a");
    await quiet();
    hand.run(0).resolve("old");
    await quiet();
    const busting = bust(made);
    backend.holding.clear();
    backend.next().fail(new Error("disk full"));
    await busting;
    assertEquals(await early, "old");
    assertEquals(errors.length, 1);
    assertEquals(await fn.readCache("a"), { hit: false });
  });

  test(`${name} is not awaited and wins all the same: a call after it runs anew`, async () => {
    const made = handCache();
    const { hand, fn } = made;
    const first = fn("a");
    await quiet();
    hand.run(0).resolve("old");
    await first;
    const busting = bust(made);
    const call = fn("a");
    const look = fn.readCache("a");
    await quiet();
    assertEquals(hand.runs.length, 2);
    hand.run(1).resolve("new");
    assertEquals(await call, "new");
    assertEquals(await look, { hit: false });
    await busting;
  });

  test(`${name} from inside the run that it outdates does not wait for it`, async () => {
    const backend = new HandBackend();
    const cache = new Cache(backend);
    const made = handCache();
    let runs = 0;
    const fn: (key: string) => Promise<number> = cache.cache({ id: "f" })(async (
      key: string,
    ): Promise<number> => {
      runs++;
      await bust({ ...made, cache, fn: fn as never });
      return key.length;
    });
    assertEquals(await fn("a"), 1);
    assertEquals(await fn("a"), 1);
    assertEquals(runs, 2);
  });
}

test("A run that a bust has reached ends without taking the run that followed it from later calls", async () => {
  const { hand, fn } = handCache();
  // One of another key, which began first and is still there.
  const other = fn("z");
  const early = fn("a");
  await quiet();
  await fn.bustCache("a");
  const later = fn("a");
  await quiet();
  hand.run(1).resolve("old");
  assertEquals(await early, "old");
  const last = fn("a");
  await quiet();
  assertEquals(hand.runs.length, 3);
  hand.run(2).resolve("new");
  assertEquals(await Promise.all([later, last]), ["new", "new"]);
  hand.run(0).resolve("other");
  assertEquals(await other, "other");
});

test("bustCache(args) leaves the runs and entries of other arguments", async () => {
  const { hand, fn } = handCache();
  const calls = [fn("a"), fn("b")];
  await quiet();
  await fn.bustCache("a");
  hand.run(0).resolve("A");
  hand.run(1).resolve("B");
  await Promise.all(calls);
  assertEquals((await fn.readCache("a")).hit, false);
  assertEquals((await fn.readCache("b")).hit, true);
});

test("Cache.bust() leaves the runs of other ids", async () => {
  const { cache, hand, fn } = handCache();
  const other = new ByHand<[], string>();
  const g = cache.cache({ id: "g" })(other.fn);
  const calls = [fn("a"), g()];
  await quiet();
  await cache.bust("f");
  hand.run(0).resolve("A");
  other.run(0).resolve("G");
  await Promise.all(calls);
  assertEquals((await fn.readCache("a")).hit, false);
  assertEquals((await g.readCache()).hit, true);
});

test("A bust reaches calls that run with singleFlight: false, too", async () => {
  const cache = new MemoryCache();
  const hand = new ByHand<[string], number>();
  const fn = cache.cache({ id: "f", singleFlight: false })(hand.fn);
  const calls = [fn("a"), fn("a"), fn("b")];
  await quiet();
  await fn.bustCache("a");
  for (const run of hand.runs) run.resolve(1);
  await Promise.all(calls);
  assertEquals((await fn.readCache("a")).hit, false);
  assertEquals((await fn.readCache("b")).hit, true);
});

test("A call waits until no bust of its function is under way, also when one follows the other", async () => {
  const { hand, fn, backend } = handCache();
  const first = fn("a");
  await quiet();
  hand.run(0).resolve("old");
  await first;
  backend.holding.add("delete");
  const one = fn.bustCache("b");
  const call = fn("a");
  const two = fn.bustCache("a");
  await quiet();
  const [oneHeld, twoHeld] = [backend.next(), backend.next()];
  oneHeld.go();
  await one;
  // The second bust has yet to delete the entry that this call could find now.
  assertEquals(await stateOf(call), "pending");
  twoHeld.go();
  await two;
  await quiet();
  hand.run(1).resolve("new");
  assertEquals(await call, "new");
});

test("A bust that fails rejects, and the calls that waited for it go on", async () => {
  const { hand, fn, backend, cache } = handCache();
  backend.holding.add("deleteId");
  const busting = reasonOf(cache.bust("f"));
  const call = fn("a");
  await quiet();
  assertEquals(hand.runs.length, 0);
  backend.next().fail(new Error("offline"));
  assert((await busting) instanceof Error);
  await quiet();
  hand.run(0).resolve("A");
  assertEquals(await call, "A");
});

test("A function that awaits the bust of another one that runs does not hang, nor the other way round", async () => {
  const cache = new MemoryCache();
  const started = Promise.withResolvers<void>();
  let runs = 0;
  const a: (n: number) => Promise<string> = cache.cache({ id: "a" })(async (
    n: number,
  ): Promise<string> => {
    runs++;
    if (n === 1) {
      await started.promise;
      await cache.bust("b");
      await cache.bustAll();
    }
    return `a${n}`;
  });
  const b = cache.cache({ id: "b" })(async (): Promise<string> => {
    started.resolve();
    await cache.bust("a");
    return `b, ${await a(2)}`;
  });
  assertEquals(await Promise.all([a(1), b()]), ["a1", "b, a2"]);
  assertEquals(runs, 2);
});

test("A waiter whose signal aborts leaves at once with its reason, and the others go on", async () => {
  const { hand, fn } = handCache();
  const controller = new AbortController();
  const leader = fn("a", {});
  const leaver = fn("a", { signal: controller.signal });
  const third = fn("a", {});
  await quiet();
  assertEquals(hand.runs.length, 1);
  const reason = new Error("enough");
  controller.abort(reason);
  assertStrictEquals(await reasonOf(leaver), reason);
  assertEquals(await stateOf(leader), "pending");
  assertEquals(await stateOf(third), "pending");
  hand.run(0).resolve("A");
  assertEquals(await Promise.all([leader, third]), ["A", "A"]);
  assertEquals(await fn("a", {}), "A");
  assertEquals(hand.runs.length, 1);
});

test("When the signal of the call that began a run aborts, the others get the result of that run", async () => {
  const { hand, fn } = handCache();
  const controller = new AbortController();
  const leader = fn("a", { signal: controller.signal });
  const others = [fn.detail("a", {}), fn.detail("a", {})];
  await quiet();
  const reason = new Error("enough");
  controller.abort(reason);
  assertStrictEquals(await reasonOf(leader), reason);
  assert(hand.run(0).args[1]?.signal?.aborted !== true);
  hand.run(0).resolve("A");
  const details = await Promise.all(others);
  assertEquals(details.map(({ value }) => value), ["A", "A"]);
  assertEquals([hand.runs.length, await fn("a", {})], [1, "A"]);
});

test("A run that was aborted and never settles keeps nobody waiting", async () => {
  const { hand, fn } = handCache();
  const controller = new AbortController();
  const alone = fn("a", { signal: controller.signal });
  await quiet();
  controller.abort();
  assertEquals(await stateOf(alone), "pending");
  const later = fn("a", {});
  await quiet();
  hand.run(1).resolve("A");
  assertEquals([await later, await fn("a", {})], ["A", "A"]);
});

test("A run that was aborted returns to its caller alone, and takes nobody else's run away", async () => {
  const { hand, fn } = handCache();
  const controller = new AbortController();
  const first = fn("a", { signal: controller.signal });
  await quiet();
  const reason = new Error("enough");
  controller.abort(reason);
  assertStrictEquals(hand.run(0).args[1]?.signal?.reason, reason);
  const other = fn("a", {});
  await quiet();
  assertEquals(hand.runs.length, 2);
  hand.run(0).resolve("late");
  assertEquals(await first, "late");
  hand.run(1).resolve("A");
  assertEquals(await other, "A");
  assertEquals(hand.runs.length, 2);
});

test("Callers leave a run one by one; the abort of the last is passed to it", async () => {
  const { hand, fn } = handCache();
  const controllers = [0, 1, 2].map(() => new AbortController());
  const reasons = controllers.map(({ signal }) => reasonOf(fn("a", { signal })));
  await quiet();
  for (const index of [0, 1]) {
    controllers[index]?.abort(index);
    assertEquals(await reasons[index], index);
    assertEquals(hand.run(0).args[1]?.signal?.aborted, false);
  }
  controllers[2]?.abort(2);
  assertEquals(hand.run(0).args[1]?.signal?.reason, 2);
  const failure = new Error("of the function");
  hand.run(0).reject(failure);
  assertStrictEquals(await reasons[2], failure);
  assertEquals(hand.runs.length, 1);
});

test("A call whose signal has aborted already runs nothing and joins nobody, and still gets a hit", async () => {
  const { hand, fn } = handCache();
  const reason = new Error("before");
  const signal = AbortSignal.abort(reason);
  assertStrictEquals(await reasonOf(fn("a", { signal })), reason);
  assertEquals(hand.runs.length, 0);
  const other = fn("a", {});
  await quiet();
  assertStrictEquals(await reasonOf(fn("a", { signal })), reason);
  hand.run(0).resolve("A");
  assertEquals(await other, "A");
  await using cache = new MemoryCache();
  const kept = cache.cache({ id: "kept" })(async (n: number, _?: Options): Promise<number> =>
    await Promise.resolve(n)
  );
  await kept(1, {});
  assertEquals(await kept(1, { signal }), 1);
});

test("A signal is found wherever it stands in the arguments, with hashFunc and without", async () => {
  const cache = new MemoryCache();
  const hand = new ByHand<[string, ...unknown[]], string>();
  const plain = cache.cache({ id: "plain" })(hand.fn);
  const hashed = cache.cache({
    id: "hashed",
    hashFunc: (key: string) => key,
  })(hand.fn);
  for (
    const [fn, shapes] of [
      [
        plain,
        [
          (signal: AbortSignal) => [signal],
          (signal: AbortSignal) => [{ signal }],
          (signal: AbortSignal) => [{ fetch: { init: { signal } } }],
          (signal: AbortSignal) => [undefined, [signal]],
        ],
      ],
      [
        hashed,
        [
          (signal: AbortSignal) => [signal],
          (signal: AbortSignal) => [{ signal }],
          (signal: AbortSignal) => [{ client: () => 0, signal }],
        ],
      ],
    ] as [typeof plain, ((signal: AbortSignal) => unknown[])[]][]
  ) {
    for (const [index, shape] of shapes.entries()) {
      const key = `${fn.id}${index}`;
      const begun = hand.runs.length;
      const { signal } = new AbortController();
      const leaver = new AbortController();
      const leader = fn(key, ...shape(signal));
      const waiter = fn(key, ...shape(leaver.signal));
      await quiet();
      assertEquals(hand.runs.length, begun + 1, key);
      leaver.abort("left");
      assertEquals(await reasonOf(waiter), "left");
      hand.run(begun).resolve(key);
      assertEquals(await leader, key);
    }
  }
});

test("A signal that outlives many calls keeps no listener of them", async () => {
  const { hand, fn, backend } = handCache();
  const { signal } = new AbortController();
  const listeners = countListeners(signal);
  const settled = Promise.allSettled(
    Array.from({ length: 20 }, (_, index) => fn(`${index % 4}`, { signal })),
  );
  await quiet();
  assert(listeners.left > 0);
  hand.run(0).resolve(0);
  hand.run(1).reject(new Error("no"));
  hand.run(2).resolve(() => {});
  await quiet();
  for (const { resolve } of hand.runs.slice(3)) resolve(1);
  await settled;
  assertEquals(listeners.left, 0);
  await fn("0", { signal });
  assertEquals(listeners.left, 0);
  // A caller that leaves, and the one that began the run.
  const leader = new AbortController();
  const leaving = new AbortController();
  const left = countListeners(leaving.signal);
  const begun = hand.runs.length;
  const first = reasonOf(fn("x", { signal: leader.signal }));
  const second = reasonOf(fn("x", { signal: leaving.signal }));
  const third = fn("x", { signal });
  await quiet();
  leaving.abort();
  await second;
  assertEquals(left.left, 0);
  leader.abort();
  await first;
  hand.run(begun).resolve(1);
  await third;
  assertEquals(listeners.left, 0);
  backend.holding.add("get");
  const reading = fn.readCache("x", { signal });
  await quiet();
  backend.next().go();
  await reading;
  assertEquals(listeners.left, 0);
});

test("A call in the synchronous part of its own run is refused, and no other", async () => {
  await using cache = new MemoryCache();
  const direct = cache.cache({ id: "direct" })((n: number): Promise<number> => direct(n));
  await assertRejects(() => direct(1), ReentrantCallError, "direct");
  // Pages that link to each other, prefetched: no run waits for another.
  const failed: unknown[] = [];
  const page = cache.cache({ id: "page" })(async (name: string): Promise<string> => {
    page(name === "a" ? "b" : "a").catch((error: unknown) => failed.push(error));
    return await Promise.resolve(name);
  });
  assertEquals([await page("a"), await page("b"), failed], ["a", "b", []]);
  const prefetch = cache.cache({ id: "prefetch" })(async (n: number): Promise<number> => {
    await Promise.resolve();
    // Not awaited here, so `later` waits for a run that ends.
    void later(n);
    return n;
  });
  const later = cache.cache({ id: "later" })((n: number): Promise<number> => prefetch(n));
  assertEquals([await prefetch(1), await later(1)], [1, 1]);
});

test("Calls that do not wait for themselves are not refused", async () => {
  const cache = new MemoryCache();
  // Other arguments of the same function.
  const sum: (n: number) => Promise<number> = cache.cache({ id: "sum" })(
    async (n: number): Promise<number> => (n === 0 ? 0 : n + (await sum(n - 1))),
  );
  assertEquals(await sum(20), 210);
  // Two that wait for a third, and one of them for the other.
  const leaf = cache.cache({ id: "leaf" })(async (): Promise<string> => {
    await quiet();
    return "leaf";
  });
  const branch = cache.cache({ id: "branch" })(
    async (): Promise<string> => `branch ${await leaf()}`,
  );
  const tree = cache.cache({ id: "tree" })(async (): Promise<string> =>
    (await Promise.all([leaf(), branch(), leaf(), branch()])).join()
  );
  const results = await Promise.all([tree(), branch(), leaf()]);
  assertEquals(results, ["leaf,branch leaf,leaf,branch leaf", "branch leaf", "leaf"]);
  // readCache() does not run the function, so it never waits.
  const looker: () => Promise<boolean> = cache.cache({ id: "looker" })(
    async (): Promise<boolean> => (await lookerRead()).hit,
  );
  const lookerRead = (
    looker as unknown as {
      readCache(): Promise<{ hit: boolean }>;
    }
  ).readCache;
  assertEquals(await looker(), false);
});

test("What a run left behind may call the same again once it is over", async () => {
  const cache = new MemoryCache();
  let again: Promise<string> | undefined;
  let runs = 0;
  const fn: () => Promise<string> = cache.cache({
    id: "f",
    shouldCache: () => false,
  })((): Promise<string> => {
    const run = ++runs;
    if (run === 1) {
      setImmediate(() => setImmediate(() => (again = fn())));
    }
    return Promise.resolve(`run ${run}`);
  });
  assertEquals(await fn(), "run 1");
  await quiet();
  assertEquals(await again, "run 2");
});

test("A function with singleFlight: false may call itself with its own arguments", async () => {
  const cache = new MemoryCache();
  let left = 3;
  const fn: () => Promise<number> = cache.cache({
    id: "f",
    singleFlight: false,
  })(async (): Promise<number> => (--left === 0 ? 0 : 1 + (await fn())));
  assertEquals(await fn(), 2);
});

test("The caller's async context is kept in the run, in waiters and in callbacks", async () => {
  const storage = new AsyncLocalStorage<string>();
  const seen: string[] = [];
  const see = (where: string): void => {
    seen.push(`${where}: ${storage.getStore()}`);
  };
  const backend = new HandBackend();
  const cache = new Cache(backend, { onError: () => see("onError") });
  const go = Promise.withResolvers<string>();
  const fn = cache.cache({
    id: "f",
    hashFunc: (key: string) => {
      see("hashFunc");
      return key;
    },
    shouldCache: () => {
      see("shouldCache");
      return true;
    },
  })(async (_: string): Promise<string> => {
    see("run");
    const value = await go.promise;
    see("run after");
    return value;
  });
  backend.holding.add("set");
  const leader = storage.run("leader", async () => {
    await fn("a");
    see("leader");
  });
  const waiter = storage.run("waiter", async () => {
    await fn("a");
    see("waiter");
  });
  await quiet();
  storage.run("stranger", () => go.resolve("A"));
  await quiet();
  storage.run("stranger", () => backend.next().fail(new Error("full")));
  await Promise.all([leader, waiter]);
  assertEquals(
    seen.sort(),
    [
      "hashFunc: leader",
      "run: leader",
      "hashFunc: waiter",
      "run after: leader",
      "shouldCache: leader",
      // The key is computed again, because the identity of the call may have changed.
      "hashFunc: leader",
      "onError: leader",
      "leader: leader",
      "waiter: waiter",
    ].sort(),
  );
});

test("A caller that runs by itself, because the result cannot be copied, does so in its own async context", async () => {
  const storage = new AsyncLocalStorage<string>();
  const cache = new MemoryCache({ onError: () => {} });
  const seen: (string | undefined)[] = [];
  const hand = new ByHand<[], unknown>();
  const fn = cache.cache({ id: "f" })((): Promise<unknown> => {
    seen.push(storage.getStore());
    return hand.fn();
  });
  const leader = storage.run("leader", () => fn());
  const waiter = storage.run("waiter", () => fn());
  await quiet();
  storage.run("stranger", () => hand.run(0).resolve(() => {}));
  await leader;
  await quiet();
  hand.run(1).resolve("A");
  assertEquals(await waiter, "A");
  assertEquals(seen, ["leader", "waiter"]);
});

test("A shared flight that nobody but its leader waits for does not encode what is not stored", async () => {
  const cache = new MemoryCache();
  let reads = 0;
  const fn = cache.cache({ id: "f", shouldCache: () => false })(
    (): Promise<{ readonly value: number }> =>
      Promise.resolve({
        get value() {
          reads++;
          return 1;
        },
      }),
  );
  await fn();
  assertEquals(reads, 0);
});

test("A hundred calls with one signal make no runtime warn of too many listeners", async () => {
  using warnings = new Warnings();
  const told: unknown[] = [];
  const { default: process } = await import("node:process");
  const listen = (warning: unknown): void => {
    told.push(warning);
  };
  process.on("warning", listen);
  const { hand, fn } = handCache();
  const { signal } = new AbortController();
  const calls = Array.from({ length: 100 }, (_, index) => fn(`${index % 50}`, { signal }));
  await quiet();
  for (const { resolve } of hand.runs) resolve(1);
  await Promise.all(calls);
  await quiet();
  process.off("warning", listen);
  assertEquals([...told, ...warnings.lines], []);
});

test("A flight that fails after its last waiter left leaves no rejection unhandled", async () => {
  const cache = new Cache(new MemoryBackend());
  const hand = new ByHand<[Options?], string>();
  const fn = cache.cache({ id: "f" })(hand.fn);
  const controller = new AbortController();
  const call = reasonOf(fn({}));
  const waiter = reasonOf(fn({ signal: controller.signal }));
  await quiet();
  controller.abort("left");
  assertEquals(await waiter, "left");
  hand.run(0).reject("no");
  assertEquals(await call, "no");
  await quiet();
});

test("A lookup that a bust has overtaken gives nothing, not even to calls from before the bust", async () => {
  const { backend, hand, fn } = handCache();
  const first = fn("a");
  await quiet();
  hand.run(0).resolve("old");
  await first;
  backend.holding.add("get");
  const call = fn("a");
  await quiet();
  const read = backend.next();
  backend.holding.delete("get");
  await fn.bustCache("a");
  read.go();
  await quiet();
  hand.run(1).resolve("new");
  assertEquals(await call, "new");
});

test("A result that was busted is not served as stale when the run fails", async () => {
  using time = new FakeTime();
  const cache = new MemoryCache({ onError: () => {} });
  const hand = new ByHand<[string], string>();
  const fn = cache.cache({ id: "f", ttl: 10, staleIfError: Infinity })(hand.fn);
  const first = fn("a");
  await quiet();
  hand.run(0).resolve("old");
  await first;
  await time.tick(10);
  const call = fn("a");
  await quiet();
  await fn.bustCache("a");
  const failure = new Error("503");
  hand.run(1).reject(failure);
  assertStrictEquals(await reasonOf(call), failure);
});

test("Once the function has returned, no abort changes anything: the result is stored and given", async () => {
  const { backend, hand, fn } = handCache();
  backend.holding.add("set");
  const controllers = [new AbortController(), new AbortController()];
  const calls = controllers.map(({ signal }) => fn("a", { signal }));
  await quiet();
  hand.run(0).resolve("A");
  await quiet();
  for (const controller of controllers) controller.abort();
  backend.next().go();
  assertEquals(await Promise.all(calls), ["A", "A"]);
  assertEquals([(await fn.detail("a", {})).status, hand.runs.length], ["hit", 1]);
});
