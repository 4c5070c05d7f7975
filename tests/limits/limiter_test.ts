import { test } from "node:test";
import { assert, assertEquals, assertLess, assertStrictEquals, assertThrows } from "@std/assert";
import {
  limitAdaptive,
  limitConcurrency,
  type Limiter,
  type LimiterOptions,
  limitRate,
  MemoryCache,
  retry,
} from "../../mod.ts";
import { Passage } from "../../src/base/passage.ts";
import { ByHand, quiet, reasonOf } from "../support/by_hand.ts";
import { areCollected } from "../support/collected.ts";
import { FakeTime, settle } from "../support/fake_time.ts";

/** The limits of each kind that let one call start and hold back the next. */
const ONE: Record<string, (options?: LimiterOptions) => Limiter> = {
  "limitConcurrency()": (options) => limitConcurrency(1, options),
  "limitRate()": (options) => limitRate(1, { per: "1s", ...options }),
  "limitAdaptive()": (options) =>
    limitAdaptive({ isOverload: () => false, start: 1, max: 1, ...options }),
};
/** The same with room for 100. */
const HUNDRED: Record<string, (options?: LimiterOptions) => Limiter> = {
  "limitConcurrency()": (options) => limitConcurrency(100, options),
  "limitConcurrency() without a limit": (options) => limitConcurrency(Infinity, options),
  "limitRate()": (options) => limitRate(100, { per: "1h", ...options }),
  "limitAdaptive()": (options) =>
    limitAdaptive({ isOverload: () => false, start: 100, ...options }),
};

for (const [name, make] of Object.entries(ONE)) {
  test(`${name} waits under the signals of a run, and reports to it when it waits and when it works`, async () => {
    using time = new FakeTime();
    const { fn, runs } = new ByHand<[number], string>();
    const limited = make()(fn);
    const first = limited(1);
    const controller = new AbortController();
    const states: unknown[] = [];
    const run: Passage = new Passage(undefined, {
      signal: controller.signal,
      onChange: () => states.push([run.isWorking, run.hasStarted]),
    });
    const second = run.enter(() => limited(2));
    assertEquals([run.isWorking, run.hasStarted, run.isBetweenAttempts], [false, false, false]);
    runs[0]?.resolve("first");
    await time.tick(1_000);
    assertEquals([run.isWorking, run.hasStarted, runs.length], [true, true, 2]);
    // Between its wait and the function, a call never counts as working by itself.
    assertEquals(states.slice(0, 2), [[false, false], [true, true]]);
    runs[1]?.resolve("second");
    assertEquals([await first, await second], ["first", "second"]);
    assertEquals([run.isWorking, run.workedMs > 0], [true, name === "limitRate()" ? false : true]);
    const third = run.enter(() => limited(3));
    await quiet();
    const held = runs.length === 3 ? run.enter(() => limited(4)) : third;
    controller.abort("closing");
    assertEquals(await reasonOf(held), "closing");
    assertEquals(time.timers, 0);
  });
}

test("limitConcurrency() enters the run again around each call, so that a limit inside finds it", async () => {
  using time = new FakeTime();
  const run = new Passage(undefined);
  const limited = limitConcurrency(1)(limitRate(1, { per: "1s" })(async () => await settle()));
  await run.enter(() => limited());
  const second = run.enter(() => limited());
  assertEquals(run.isWorking, false);
  await time.tick(999);
  assertEquals([run.isWorking, run.hasStarted], [false, true]);
  await time.tick(1);
  await second;
  assertEquals(run.workedMs, 0);
});

test("Every limit refuses a deriveKey that returns a promise, and takes no permit", async () => {
  for (const [name, make] of Object.entries(ONE)) {
    const limit = make({ deriveKey: (url: string) => Promise.reject(new Error(url)) });
    const error = await reasonOf(limit(async (_url: string) => await settle())("http://a"));
    assert(error instanceof TypeError, name);
    assert(error.message.includes("deriveKey must return the key itself, not a promise"), name);
    // An unhandled rejection is reported when the turn ends.
    await settle();
    assertEquals(limit.pendingCount, 0);
  }
});

test("Every limit starts nothing while it is paused, and a later pause never shortens an earlier one", async () => {
  for (const [name, make] of Object.entries(HUNDRED)) {
    using time = new FakeTime();
    let started = 0;
    const limit = make();
    const limited = limit(async () => {
      started++;
      await settle();
    });
    limit.pause("20s");
    limit.pause(10);
    const call = limited();
    await time.tick(19_999);
    assertEquals([started, limit.pendingCount], [0, 1], name);
    await time.tick(1);
    await call;
    assertEquals([started, time.timers], [1, 0], name);
  }
});

test("Every limit lets calls come back spread over a second after a pause", async () => {
  for (const [name, make] of Object.entries(HUNDRED)) {
    using time = new FakeTime();
    const starts: number[] = [];
    const { promise, resolve } = Promise.withResolvers<void>();
    const limit = make();
    const limited = limit(() => {
      starts.push(time.elapsed);
      return promise;
    });
    limit.pause("5s");
    const calls = Array.from({ length: 100 }, () => limited());
    await time.tick(7_000);
    assertEquals(starts.length, 100, name);
    for (const [i, at] of starts.entries()) {
      const due = 5_000 + i * 10;
      assert(at >= due && at <= due + 2, `${name}: call ${i} started at ${at}`);
    }
    resolve();
    await Promise.all(calls);
    assertEquals(time.timers, 0);
  }
});

test("Every limit pauses one key, or all of them, later ones too", async () => {
  for (const [name, make] of Object.entries(HUNDRED)) {
    using time = new FakeTime();
    const starts: [string, number][] = [];
    const limit = make({ deriveKey: (key: string) => key });
    const limited = limit(async (key: string) => {
      starts.push([key, time.elapsed]);
      await settle();
    });
    limit.pause("2s", "a");
    const calls = ["a", "b"].map((key) => limited(key));
    await time.tick(3_000);
    assertEquals(starts, [["b", 0], ["a", 2_000]], name);
    await Promise.all(calls);
    starts.length = 0;
    limit.pause("2s");
    const keys = Array.from({ length: 100 }, (_, n) => `key ${n}`);
    const more = Promise.all(keys.map((key) => limited(key)));
    await time.tick(1_999);
    assertEquals(starts, []);
    await time.tick(1_001);
    await more;
    // Keys that were paused together come back at different times.
    assert(new Set(starts.map(([, at]) => at)).size > (name.endsWith("limit") ? 10 : 5), name);
  }
});

test("pause() of 50,000 keys takes a moment, and forgets those whose pause has ended", async () => {
  using time = new FakeTime();
  const limit = limitConcurrency(1, { deriveKey: (key: object) => key });
  const references: WeakRef<object>[] = [];
  const start = new Date();
  for (let i = 0; i < 50_000; i++) {
    const key = { i };
    references.push(new WeakRef(key));
    limit.pause("1s", key);
  }
  assertLess(new Date().getTime() - start.getTime(), 5_000);
  await time.tick(2_000);
  for (let i = 0; i < 50_000; i++) limit.pause("1s", { i });
  assert(await areCollected(references));
  limit.pause("1s", {});
});

test("pause() refuses what is not a finite duration", () => {
  for (const make of Object.values(ONE)) {
    assertThrows(() => make().pause(0), RangeError, "Cannot pause the limit: duration must be");
    assertThrows(() => make().pause(Infinity), RangeError, "a finite duration above zero");
    assertThrows(() => Reflect.apply(make().pause, undefined, ["soon"]), TypeError, "duration");
  }
});

test("limitConcurrency() ends a pause that was made while calls wait, and keeps their order", async () => {
  using time = new FakeTime();
  const { fn, runs } = new ByHand<[string], void>();
  const limit = limitConcurrency(2);
  const limited = limit(fn);
  const calls = ["a", "b", "c", "d"].map((name) => limited(name));
  limit.pause("1s");
  for (const run of runs) run.resolve();
  await settle();
  assertEquals([runs.length, limit.activeCount, limit.pendingCount], [2, 0, 2]);
  calls.push(limited("newcomer"));
  await time.tick(1_000);
  assertEquals(runs.map(({ args }) => args[0]), ["a", "b", "c"]);
  await time.tick(500);
  assertEquals(runs.map(({ args }) => args[0]), ["a", "b", "c", "d"]);
  for (const run of runs) run.resolve();
  await time.tick(500);
  runs[4]?.resolve();
  await Promise.all(calls);
  assertEquals(time.timers, 0);
});

test("A limit or retry around a cached function keeps what never runs it, and refuses what would run past it", async () => {
  await using cache = new MemoryCache();
  const cached = cache.cache({ id: "double" })(async (n: number): Promise<number> =>
    await Promise.resolve(n * 2)
  );
  const wrappers = { ...ONE, "retry()": () => retry() };
  for (const [name, make] of Object.entries(wrappers)) {
    const wrapped = make()(cached);
    assertEquals(await wrapped(1), 2);
    assertEquals(wrapped.id, "double");
    const found = await wrapped.readCache(1);
    assertEquals([found.hit, found.hit && found.value], [true, 2]);
    await wrapped.bustCache(1);
    assertEquals((await wrapped.readCache(1)).hit, false);
    for (
      const [method, call] of [
        ["map", () => wrapped.map([1], { concurrency: 1 })],
        ["detail", () => wrapped.detail(1)],
      ] as const
    ) {
      const error = assertThrows(call, TypeError, `Cannot use ${method} here`, name);
      assert(error.message.includes("wrap the function inside the cache"));
    }
    // A second wrapper around the first one does the same.
    assertThrows(() => retry()(wrapped).map([1], { concurrency: 1 }), TypeError, "past the retry");
  }
  const plain = Object.assign(async () => await Promise.resolve(1), { map: () => "own" });
  assertStrictEquals(limitConcurrency(1)(plain).map, plain.map);
});

test("100,000 calls that abort, fail, throw and pause leave nothing behind in any limit", async () => {
  for (const [name, make] of Object.entries(ONE)) {
    using time = new FakeTime();
    const wide: Record<string, () => Limiter> = {
      "limitConcurrency()": () => limitConcurrency(20, { deriveKey: (n: number) => n % 7 }),
      "limitRate()": () =>
        limitRate(300, {
          per: 20,
          deriveKey: (n: number) => n % 7,
          cost: (n: number) => n % 3,
          actual: (n: number) => n % 5,
        }),
    };
    const limit = (wide[name] ?? make)();
    let running = 0;
    const limited = limit((n: number, _options: { signal: AbortSignal }): Promise<number> => {
      if (n % 11 === 0) throw new Error("thrown");
      running++;
      return Promise.resolve().then(() => {
        running--;
        if (n % 5 === 0) throw new Error("rejected");
        return n;
      });
    });
    let settled = 0;
    const total = 33_400;
    for (let n = 0; n < total;) {
      const controllers: AbortController[] = [];
      for (let m = 0; m < 100; m++) {
        const controller = new AbortController();
        controllers.push(controller);
        limited(n++, controller).then(() => settled++, () => settled++);
      }
      if (n % 5_000 === 0) limit.pause(50, n % 2_000 === 0 ? 3 : undefined);
      for (const controller of controllers) if (n % 3 === 0) controller.abort();
      await time.tick(n % 1_000 === 0 ? 100 : 0);
    }
    await time.tick(1_000_000);
    assertEquals([settled, running, limit.pendingCount, time.timers], [total, 0, 0, 0], name);
    if ("activeCount" in limit) assertEquals(limit.activeCount, 0);
  }
});
