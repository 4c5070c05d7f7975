/** `ttl`, `staleWhileRevalidate`, `staleIfError`: the results that are fresh, served, refreshed. */
import process from "node:process";
import { after, test } from "node:test";
import { assert, assertEquals, assertRejects, assertStrictEquals, assertThrows } from "@std/assert";
import type { StoredEntry } from "../../src/encoding/entry.ts";
import { Cache } from "../../src/core/cache.ts";
import { type BatchError, CacheMissError } from "../../src/base/errors.ts";
import { MemoryBackend, MemoryCache } from "../../memory.ts";
import type { ErrorContext, FunctionOptions } from "../../src/core/options.ts";
import { FaultyBackend } from "../support/faulty.ts";
import { withVariables } from "../support/environment.ts";
import { ByHand, quiet, stateOf } from "../support/by_hand.ts";
import { FakeTime } from "../support/fake_time.ts";

const unhandled: unknown[] = [];
process.on("unhandledRejection", (reason) => unhandled.push(reason));
after(() => assertEquals(unhandled, [], "a rejection was left unhandled"));

/** A function that counts its runs and can be made to fail, and its cache. */
function counted(options: FunctionOptions, backend = new MemoryBackend()) {
  const errors: { error: Error; context: ErrorContext }[] = [];
  const cache = new Cache(backend, {
    onError: (error, context) => errors.push({ error, context }),
  });
  const state = { runs: 0, failure: undefined as Error | undefined };
  const fn = cache.cache({ id: "f", ...options })(async (_input: string = ""): Promise<number> => {
    state.runs++;
    if (state.failure !== undefined) throw state.failure;
    return await Promise.resolve(state.runs);
  });
  /** The status and the value of a call. */
  const call = async (): Promise<[string, number]> => {
    const { status, value } = await fn.detail();
    return [status, value];
  };
  return { cache, errors, state, fn, call, backend };
}

/** A function whose runs the test settles, and its cache. */
function held(options: FunctionOptions, backend = new MemoryBackend()) {
  const errors: { error: Error; context: ErrorContext }[] = [];
  const cache = new Cache(backend, {
    onError: (error, context) => errors.push({ error, context }),
  });
  const hand = new ByHand<[string?, AbortSignal?], string>();
  const fn = cache.cache({ id: "f", ...options })(hand.fn);
  return { cache, errors, hand, fn, backend };
}

/** Lets the first run of a function of {@linkcode held} end with `"old"`, under the input `"a"`. */
async function storeOld({ fn, hand }: Pick<ReturnType<typeof held>, "fn" | "hand">): Promise<void> {
  const first = fn("a");
  await quiet();
  hand.run(0).resolve("old");
  await first;
}

const onlyStored = <T>(work: () => Promise<T>): Promise<T> =>
  withVariables({ CACHE_ONLY: "1" }, work);

test("ttl keeps a result fresh up to its last millisecond and not at it", async () => {
  using time = new FakeTime();
  const { call } = counted({ ttl: "1s" });
  assertEquals(await call(), ["miss", 1]);
  await time.tick(999);
  assertEquals(await call(), ["hit", 1]);
  await time.tick(1);
  assertEquals(await call(), ["miss", 2]);
  await time.tick(999);
  assertEquals(await call(), ["hit", 2]);
});

test("ttl counts from when the result is stored, not from when the call began", async () => {
  using time = new FakeTime();
  const { fn, hand } = held({ ttl: 100 });
  const running = fn("a");
  await time.tick(1000);
  hand.run(0).resolve("done");
  await running;
  await time.tick(99);
  assertEquals((await fn.detail("a")).status, "hit");
});

test("results without a ttl, or with an endless one, never expire", async () => {
  for (const options of [{}, { ttl: Infinity, staleIfError: "1s" as const }]) {
    using time = new FakeTime();
    const { call, fn } = counted(options);
    await call();
    await time.tick(1e12);
    assertEquals(await call(), ["hit", 1]);
    const found = await fn.readCache();
    assert(found.hit);
    assertEquals(found.expiresAt, null);
  }
});

test("An entry is fresh until the earlier of its own end and the ttl of the function as it is now", async () => {
  using time = new FakeTime();
  const { call, backend, fn } = counted({ ttl: 100 });
  await call();
  const storedAt = Date.now();
  const found = await fn.readCache();
  assert(found.hit);
  assertEquals([found.storedAt, found.expiresAt], [storedAt, storedAt + 100]);
  const other = counted({}, backend);
  await time.tick(99);
  assertEquals(await other.call(), ["hit", 1]);
  await time.tick(1);
  assertEquals(await other.call(), ["miss", 1]);
  const longer = counted({ ttl: "1h" }, backend);
  await time.tick(1e9);
  assertEquals(await longer.call(), ["miss", 1], "stored long ago, by a function without a ttl");
});

test("entries report until when they may be served stale", async () => {
  using _time = new FakeTime();
  const infoOf = async (options: FunctionOptions) => {
    const { cache, call } = counted(options);
    await call();
    for await (const { expiresAt, staleUntil } of cache.entries()) {
      return [expiresAt, staleUntil].map((at) => at && at - Date.now());
    }
    throw new Error("nothing is stored");
  };
  assertEquals(await infoOf({}), [null, null]);
  assertEquals(await infoOf({ ttl: 100 }), [100, 100]);
  const both = { staleWhileRevalidate: 30, staleIfError: 20 };
  assertEquals(await infoOf({ ttl: 100, ...both }), [100, 130]);
  assertEquals(await infoOf({ ttl: 100, staleIfError: Infinity }), [100, null]);
});

test("Cache.set() with a ttl expires exactly, and is never served stale", async () => {
  using time = new FakeTime();
  await using cache = new MemoryCache();
  await cache.set("k", 1, { ttl: "10s" });
  await cache.set("ever", 1);
  await time.tick(9_999);
  assertEquals(await cache.get("k"), 1);
  const found = await cache.read("k");
  assert(found.hit);
  assertEquals(found.expiresAt, Date.now() + 1);
  await time.tick(1);
  assertEquals(await cache.read("k"), { hit: false });
  await assertRejects(() => cache.get("k"), CacheMissError);
  await time.tick(1e12);
  assertEquals(await cache.get("ever"), 1);
  for (const ttl of [0, -1, NaN]) {
    await assertRejects(() => cache.set("k", 1, { ttl }), RangeError, "ttl");
  }
  const unknown = { ttl: 1, tll: 1 };
  await assertRejects(() => cache.set("k", 1, unknown), TypeError, '"tll"');
});

test("staleWhileRevalidate serves the stale result at once while one run renews it", async () => {
  using time = new FakeTime();
  const { fn, hand } = held({ ttl: 100, staleWhileRevalidate: 50 });
  const first = fn.detail("a");
  await quiet();
  hand.run(0).resolve("old");
  const { storedAt } = await first;
  await time.tick(100);
  for (let calls = 0; calls < 3; calls++) {
    const { value, status, storedAt: at } = await fn.detail("a");
    assertEquals([value, status, at], ["old", "stale", storedAt]);
  }
  assertEquals(hand.runs.length, 2, "one run at a time");
  hand.run(1).resolve("new");
  await quiet();
  const renewed = await fn.detail("a");
  assertEquals([renewed.value, renewed.status], ["new", "hit"]);
  assertEquals(renewed.storedAt, Date.now());
});

test("staleWhileRevalidate ends exactly: then a call waits for a run", async () => {
  using time = new FakeTime();
  const { call, state } = counted({ ttl: 100, staleWhileRevalidate: 50 });
  await call();
  await time.tick(150);
  assertEquals(await call(), ["miss", 2]);
  await time.tick(149);
  assertEquals(await call(), ["stale", 2]);
  await quiet();
  assertEquals(state.runs, 3);
  assertEquals(await call(), ["hit", 3]);
});

test("callers of one turn all get the stale result, each its own", async () => {
  using time = new FakeTime();
  await using cache = new MemoryCache();
  let runs = 0;
  const fn = cache.cache({ id: "f", ttl: 1, staleWhileRevalidate: 10 })(
    async () => await Promise.resolve({ run: ++runs }),
  );
  await fn();
  await time.tick(1);
  const details = await Promise.all([fn.detail(), fn.detail(), fn.detail()]);
  assertEquals(
    details.map(({ status }) => status),
    ["stale", "stale", "stale"],
  );
  assertEquals(
    details.map(({ value }) => value.run),
    [1, 1, 1],
  );
  assertEquals(new Set(details.map(({ value }) => value)).size, 3);
  await quiet();
  assertEquals(runs, 2);
});

test("a call past staleWhileRevalidate waits for the run that renews already", async () => {
  using time = new FakeTime();
  const { fn, hand } = held({ ttl: 100, staleWhileRevalidate: 50 });
  await storeOld({ fn, hand });
  await time.tick(149);
  assertEquals((await fn.detail("a")).status, "stale");
  await time.tick(1);
  const waiting = [fn.detail("a"), fn.detail("a")];
  await quiet();
  assertEquals(hand.runs.length, 2);
  hand.run(1).resolve("new");
  for (const detail of waiting) {
    const { value, status } = await detail;
    assertEquals([value, status], ["new", "shared"]);
  }
  assertEquals((await fn.detail("a")).status, "hit");
});

test("an error while renewing keeps the stale result and reaches onError", async () => {
  using time = new FakeTime();
  const { call, state, errors, fn } = counted({
    ttl: 100,
    staleWhileRevalidate: 10_000,
  });
  await call();
  await time.tick(100);
  state.failure = new Error("down");
  assertEquals(await call(), ["stale", 1]);
  await quiet();
  // For a second no further refresh is tried, then for two, and so on.
  assertEquals(await call(), ["stale", 1]);
  await quiet();
  assertEquals(state.runs, 2);
  await time.tick(1_000);
  assertEquals(await call(), ["stale", 1]);
  await quiet();
  assertEquals(state.runs, 3);
  await time.tick(1_999);
  assertEquals(await call(), ["stale", 1]);
  await quiet();
  assertEquals(state.runs, 3);
  assertEquals(
    errors.map(({ error }) => error),
    [state.failure, state.failure],
  );
  assertEquals(errors[0]?.context, {
    kind: "refresh",
    id: "f",
    key: await fn.key(),
  });
  state.failure = undefined;
  await time.tick(1);
  assertEquals(await call(), ["stale", 1]);
  await quiet();
  assertEquals(await call(), ["hit", 4]);
});

test("staleIfError serves the stale result when the function throws, up to its end", async () => {
  using time = new FakeTime();
  const { call, state, errors } = counted({ ttl: 100, staleIfError: 1_050 });
  await call();
  state.failure = new Error("down");
  await time.tick(99);
  assertEquals(await call(), ["hit", 1]);
  await time.tick(1);
  assertEquals(await call(), ["stale", 1]);
  await time.tick(49);
  assertEquals(await call(), ["stale", 1]);
  assertEquals(state.runs, 2, "no call tries in the pause after a failure");
  await time.tick(1_000);
  assertEquals(await call(), ["stale", 1]);
  assertEquals(state.runs, 3);
  assertEquals(
    errors.map(({ context }) => context.kind),
    ["refresh", "refresh"],
  );
  await time.tick(1);
  assertStrictEquals(await call().catch((error: unknown) => error), state.failure);
  assertEquals(errors.length, 2, "its caller saw it");
});

test("staleIfError counts the end of the run, not its beginning", async () => {
  using time = new FakeTime();
  const { fn, hand } = held({ ttl: 100, staleIfError: 50 });
  await storeOld({ fn, hand });
  await time.tick(149);
  const late = fn("a");
  await quiet();
  await time.tick(1);
  hand.run(1).reject(new Error("too late"));
  await assertRejects(() => late, Error, "too late");
});

test("staleWhileRevalidate and staleIfError both count from expiry", async () => {
  using time = new FakeTime();
  const { call, state } = counted({
    ttl: 100,
    staleWhileRevalidate: 50,
    staleIfError: 80,
  });
  await call();
  state.failure = new Error("down");
  await time.tick(149);
  assertEquals(await call(), ["stale", 1]);
  await quiet();
  assertEquals(state.runs, 2);
  await time.tick(30);
  assertEquals(await call(), ["stale", 1]);
  assertEquals(state.runs, 2, "in the pause after the failed refresh");
  await time.tick(1);
  await assertRejects(call, Error, "down");
});

test("staleIfError gives every waiter of the failed run the stale result", async () => {
  using time = new FakeTime();
  const { fn, hand, errors } = held({ ttl: 100, staleIfError: 50 });
  await storeOld({ fn, hand });
  await time.tick(100);
  const calls = [fn.detail("a"), fn.detail("a")];
  await quiet();
  hand.run(1).reject(new Error("down"));
  const details = await Promise.all(calls);
  assertEquals(
    details.map(({ value, status }) => [value, status]),
    [
      ["old", "stale"],
      ["old", "stale"],
    ],
  );
  assertEquals([hand.runs.length, errors.length], [2, 1]);
});

test("staleIfError does not answer a caller who aborted", async () => {
  using time = new FakeTime();
  const { fn, hand, errors } = held({ ttl: 100, staleIfError: 50 });
  await storeOld({ fn, hand });
  await time.tick(100);
  const controller = new AbortController();
  const call = fn("a", controller.signal);
  await quiet();
  const reason = new Error("never mind");
  controller.abort(reason);
  hand.run(1).reject(reason);
  assertStrictEquals(await call.catch((error: unknown) => error), reason);
  assertEquals(errors, []);
});

test("readCache() finds what is fresh only", async () => {
  using time = new FakeTime();
  const { call, fn, state } = counted({ ttl: 100, staleWhileRevalidate: 50 });
  await call();
  await time.tick(99);
  assertEquals((await fn.readCache()).hit, true);
  await time.tick(1);
  assertEquals(await fn.readCache(), { hit: false });
  assertEquals(state.runs, 1, "it never runs the function");
});

test("CACHE_ONLY serves what is stored, however old, and runs nothing", async () => {
  using time = new FakeTime();
  const { call, backend } = counted({ ttl: 100 });
  await call();
  await onlyStored(async () => {
    const only = counted({ ttl: 100, staleWhileRevalidate: 50 }, backend);
    for (const ms of [100, 100, 1e9]) {
      await time.tick(ms);
      assertEquals(await only.call(), ["hit", 1]);
      assertEquals((await only.fn.readCache()).hit, true);
    }
    await quiet();
    assertEquals(only.state.runs, 0);
  });
});

test("bustCache() during a renewal wins", async () => {
  using time = new FakeTime();
  for (const all of [false, true]) {
    const { fn, hand } = held({ ttl: 100, staleWhileRevalidate: 50 });
    await storeOld({ fn, hand });
    await time.tick(100);
    assertEquals((await fn.detail("a")).status, "stale");
    await (all ? fn.bustCache() : fn.bustCache("a"));
    hand.run(1).resolve("outdated");
    await quiet();
    assertEquals(await fn.readCache("a"), { hit: false });
    const next = fn.detail("a");
    await quiet();
    hand.run(2).resolve("new");
    assertEquals((await next).status, "miss");
  }
});

test("a call after a bust does not wait for the renewal that was busted", async () => {
  using time = new FakeTime();
  const { fn, hand } = held({ ttl: 100, staleWhileRevalidate: 50 });
  await storeOld({ fn, hand });
  await time.tick(100);
  await fn("a");
  await fn.bustCache("a");
  const next = fn.detail("a");
  await quiet();
  assertEquals(hand.runs.length, 3);
  hand.run(1).resolve("outdated");
  hand.run(2).resolve("new");
  assertEquals((await next).value, "new");
});

test("Cache.close() waits for renewals, and their results are stored", async () => {
  using time = new FakeTime();
  const backend = new MemoryBackend();
  let closed = false;
  const close = backend.close.bind(backend);
  backend.close = async () => {
    closed = true;
    for await (const { storedAt } of backend.entries()) newest = storedAt;
    await close();
  };
  let newest = 0;
  const { fn, hand, cache, errors } = held({ ttl: 100, staleWhileRevalidate: 50 }, backend);
  await storeOld({ fn, hand });
  await time.tick(120);
  await fn("a");
  const closing = cache.close();
  assertEquals([await stateOf(closing), closed], ["pending", false]);
  hand.run(1).resolve("new");
  await closing;
  assertEquals([newest, errors], [Date.now(), []]);
});

test("a stale result that is found after close() is not renewed any more", async () => {
  using time = new FakeTime();
  const backend = new MemoryBackend();
  const { fn, hand, cache } = held({ ttl: 100, staleWhileRevalidate: 50 }, backend);
  await storeOld({ fn, hand });
  await time.tick(100);
  const get = backend.get.bind(backend);
  const answer = Promise.withResolvers<void>();
  backend.get = async (...args) => {
    const entry = await get(...args);
    await answer.promise;
    return entry;
  };
  const call = fn("a");
  await quiet();
  await cache.close();
  answer.resolve();
  assertEquals(await call, "old");
  await quiet();
  assertEquals(hand.runs.length, 1);
});

test("a clock that goes back keeps results fresh, and ages are never negative", async () => {
  using time = new FakeTime();
  const { call, fn, state } = counted({ ttl: 100, staleWhileRevalidate: 50 });
  await call();
  time.step(-10_000);
  const found = await fn.readCache();
  assert(found.hit);
  assert(found.storedAt > Date.now());
  const { durationMs, status } = await fn.detail();
  assertEquals(status, "hit");
  assert(durationMs >= 0);
  time.step(10_100);
  assertEquals(await call(), ["stale", 1]);
  await quiet();
  assertEquals(state.runs, 2);
});

test("a result that shouldCache refuses while renewing leaves the stale one", async () => {
  using time = new FakeTime();
  const { call, state } = counted({
    ttl: 100,
    staleWhileRevalidate: 50,
    shouldCache: (value) => value !== 2,
  });
  await call();
  await time.tick(100);
  assertEquals(await call(), ["stale", 1]);
  await quiet();
  assertEquals([await call(), state.runs], [["stale", 1], 3]);
  await quiet();
  assertEquals(await call(), ["hit", 3]);
});

test("a renewal that cannot be stored is reported, and the stale result stays", async () => {
  using time = new FakeTime();
  const backend = new FaultyBackend(new MemoryBackend());
  const errors: ErrorContext[] = [];
  await using cache = new Cache(backend, {
    onError: (_error, context) => errors.push(context),
  });
  let runs = 0;
  const fn = cache.cache({ id: "f", ttl: 100, staleWhileRevalidate: 50 })(
    async () => await Promise.resolve(++runs),
  );
  await fn();
  await time.tick(100);
  backend.fail("set", { times: 1 });
  assertEquals(await fn(), 1);
  await quiet();
  assertEquals(
    errors.map(({ kind }) => kind),
    ["write"],
  );
  assertEquals(await fn(), 1);
  await quiet();
  assertEquals(await fn(), 3);
});

test("freshness options that are not durations are refused by name", () => {
  const cache = new MemoryCache();
  const refused: [Record<string, unknown>, typeof TypeError, string][] = [];
  for (const name of ["ttl", "staleWhileRevalidate", "staleIfError"]) {
    const fitting = name === "ttl" ? {} : { ttl: 1 };
    for (const value of [0, -1, NaN, -Infinity, "0s", "-1s"]) {
      refused.push([{ ...fitting, [name]: value }, RangeError, name]);
    }
    for (const value of ["", "1", "1 s", "1w", "s", "1e3ms", null, 1n, {}, true]) {
      refused.push([{ ...fitting, [name]: value }, TypeError, name]);
    }
  }
  refused.push([{ staleIfError: 1 }, TypeError, "staleIfError"]);
  refused.push([{ staleWhileRevalidate: 1 }, TypeError, "pass a ttl"]);
  for (const [options, Class, message] of refused) {
    assertThrows(() => Reflect.apply(cache.cache, cache, [options]), Class, message);
  }
});

test("fn.map() serves stale results at once and renews them within its concurrency", async () => {
  using time = new FakeTime();
  const options = { ttl: 100, staleWhileRevalidate: 50 };
  const { fn, hand, cache } = held(options);
  const first = fn.map(["a", "b", "c", "d"], { concurrency: 4 }).values();
  await quiet();
  for (const { resolve, args } of hand.runs) resolve(`old ${args[0]}`);
  await first;
  await time.tick(100);
  const inputs = ["x", "a", "b", "a", "c", "d"];
  const batch = fn.map(inputs, { concurrency: 2 });
  const out: string[] = [];
  let ended = false;
  const reading = (async () => {
    for await (const { input = "", status } of batch) {
      out.push(`${input} ${status}`);
    }
    ended = true;
  })();
  await quiet();
  assertEquals(out, ["a stale", "b stale", "a stale", "c stale", "d stale"]);
  const renewed = (): unknown[] => hand.runs.slice(4).map(({ args }) => args[0]);
  assertEquals(renewed().sort(), ["a", "x"], "two places, two runs");
  for (let run = 4; run < 9; run++) {
    assertEquals(ended, false);
    hand.run(run).resolve("new");
    await quiet();
  }
  await reading;
  assertEquals(renewed().sort(), ["a", "b", "c", "d", "x"]);
  const { stale, misses, done } = batch.summary;
  assertEquals([stale, misses, done], [5, 1, 6]);
  assertEquals((await fn.detail("d")).value, "new");
  await cache.close();
});

test("fn.map() that is left waits for the renewals that run and drops the others", async () => {
  using time = new FakeTime();
  const { fn, hand } = held({ ttl: 100, staleWhileRevalidate: 50 });
  const first = fn.map(["a", "b", "c"], { concurrency: 4 }).values();
  await quiet();
  for (const { resolve } of hand.runs) resolve("old");
  await first;
  await time.tick(100);
  const leaving = (async () => {
    for await (const _ of fn.map(["a", "b", "c"], { concurrency: 1 })) break;
  })();
  assertEquals(await stateOf(leaving), "pending");
  hand.run(3).resolve("new");
  await leaving;
  await quiet();
  assertEquals(hand.runs.length, 4);
});

test("fn.map() does not serve what was busted while it waited", async () => {
  using time = new FakeTime();
  const { fn, hand } = held({ ttl: 100, staleIfError: 50 });
  const first = fn.map(["a", "b"], { concurrency: 4 }).values();
  await quiet();
  for (const { resolve } of hand.runs) resolve("old");
  await first;
  await time.tick(100);
  const second = fn
    .map(["a", "b"], { concurrency: 1 })
    .values()
    .catch((error: BatchError) => error.failures.map((failure) => failure.error));
  await quiet();
  await fn.bustCache("b");
  hand.run(2).resolve("new");
  await quiet();
  const failure = new Error("down");
  hand.run(3).reject(failure);
  assertEquals(await second, [failure]);
});

test("fn.map() falls back on a stale result when the run fails", async () => {
  using time = new FakeTime();
  const backend = new FaultyBackend(new MemoryBackend());
  await using cache = new Cache(backend, { onError: () => {} });
  let fail = false;
  const fn = cache.cache({ id: "f", ttl: 100, staleIfError: 50 })(async (n: number) => {
    if (fail) throw new Error("down");
    return await Promise.resolve(n);
  });
  await fn.map([1, 2], { concurrency: 1 }).values();
  await time.tick(100);
  fail = true;
  const batch = fn.map([1, 2], { concurrency: 1 });
  assertEquals(await batch.values(), [1, 2]);
  assertEquals(batch.summary.stale, 2);
  // One lookup in bulk for each chunk, and one more for each input that was not found.
  assertEquals([backend.calls("get"), backend.calls("getMany")], [4, 2]);
});

test("stats() counts calls by how they got their values, for all and for one id", async () => {
  using time = new FakeTime();
  const { call, cache, state, errors } = counted({
    ttl: 100,
    staleWhileRevalidate: 50,
  });
  const none = {
    hits: 0,
    misses: 0,
    shared: 0,
    stale: 0,
    failed: 0,
    unstored: 0,
    errors: {},
    bytesRead: 0,
    bytesWritten: 0,
    savedMs: 0,
  };
  assertEquals(cache.stats(), { ...none, byId: { f: none } });
  await call();
  await call();
  await time.tick(100);
  state.failure = new Error("down");
  await call();
  await quiet();
  const hand = new ByHand<[string], string>();
  const slow = cache.cache({ id: "slow" })(hand.fn);
  const both = [slow("a"), slow("a")];
  await quiet();
  await time.tick(70);
  hand.run(0).resolve("four");
  await Promise.all(both);
  await slow("a");
  assertEquals(cache.stats({ id: "f" }), {
    ...none,
    hits: 1,
    misses: 1,
    stale: 1,
    failed: 1,
    errors: { refresh: 1 },
    bytesRead: 2,
    bytesWritten: 1,
  });
  assertEquals(cache.stats({ id: "slow" }), {
    ...none,
    hits: 1,
    misses: 1,
    shared: 1,
    bytesRead: 6,
    bytesWritten: 6,
    savedMs: 140,
  });
  const { hits, misses, shared, stale, savedMs, byId } = cache.stats();
  assertEquals(byId, { f: cache.stats({ id: "f" }), slow: cache.stats({ id: "slow" }) });
  assertEquals([hits, misses, shared, stale, savedMs], [2, 2, 1, 1, 140]);
  assertEquals(cache.stats({ id: "never wrapped" }), none);
  assertEquals(errors.length, 1);
  const wrong = { id: "f", name: "f" };
  assertThrows(() => cache.stats(wrong), TypeError, '"name"');
});

test("stats() counts what a batch did", async () => {
  await using cache = new MemoryCache();
  const fn = cache.cache({ id: "f" })(async (n: number) => {
    if (n < 0) throw new RangeError("negative");
    return await Promise.resolve(n);
  });
  await fn
    .map([1, 1, 2, -1], { concurrency: 3 })
    .values()
    .catch(() => {});
  await fn.map([1, 1, 2], { concurrency: 3 }).values();
  const { hits, misses, shared } = cache.stats({ id: "f" });
  assertEquals([hits, misses, shared], [3, 2, 1]);
});

test("an entry whose stale windows another configuration wrote is judged by the reader's", async () => {
  using time = new FakeTime();
  const { call, backend, fn } = counted({ ttl: 100 });
  await call();
  const entry = (await backend.get("f", await fn.key())) as StoredEntry;
  assertEquals(entry.staleUntil, entry.expiresAt);
  await time.tick(100);
  const other = counted({ ttl: 100, staleWhileRevalidate: 10 }, backend);
  assertEquals(await other.call(), ["stale", 1]);
});
