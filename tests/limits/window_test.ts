import { test } from "node:test";
import { AsyncLocalStorage } from "node:async_hooks";
import {
  assert,
  assertEquals,
  assertGreaterOrEqual,
  assertLessOrEqual,
  assertRejects,
  assertStrictEquals,
  assertThrows,
} from "@std/assert";
import fc from "fast-check";
import { limitConcurrency, limitRate } from "../../concurrency.ts";
import { QueueFullError } from "../../src/base/errors.ts";
import { areCollected } from "../support/collected.ts";
import { FakeTime, settle } from "../support/fake_time.ts";

/** A function that records the starts of its calls. */
function recorder(time: FakeTime) {
  const starts: number[] = [];
  return {
    starts,
    run: async (..._args: unknown[]): Promise<number> => {
      starts.push(time.elapsed);
      return await Promise.resolve(time.elapsed);
    },
  };
}

test("limitRate() starts count calls at once and each later one as soon as the window allows", async () => {
  using time = new FakeTime();
  const { run, starts } = recorder(time);
  const limit = limitRate(2, { per: 100 });
  const limited = limit(run);
  const results = Promise.all([limited(), limited()]);
  await time.tick(60);
  const more = Promise.all([limited(), limited(), limited()]);
  assertEquals(starts, [0, 0]);
  assertEquals(limit.pendingCount, 3);
  await time.tick(39);
  assertEquals(starts.length, 2);
  await time.tick(1);
  assertEquals(starts, [0, 0, 100, 100]);
  await time.tick(100);
  assertEquals(starts, [0, 0, 100, 100, 200]);
  assertEquals(limit.pendingCount, 0);
  assertEquals(
    [await results, await more],
    [
      [0, 0],
      [100, 100, 200],
    ],
  );
});

test("limitRate() makes no burst where one window ends and the next begins", async () => {
  using time = new FakeTime();
  const { run, starts } = recorder(time);
  const limited = limitRate(2, { per: "1s" })(run);
  limited();
  await time.tick(900);
  limited();
  await time.tick(100);
  limited();
  limited();
  await time.tick(5_000);
  assertEquals(starts, [0, 900, 1_000, 1_900]);
});

test("limitRate() counts from the moment a call starts, though work of others delays it", async () => {
  using time = new FakeTime();
  const starts: number[] = [];
  const limited = limitRate(2, { per: 100 })(async () => {
    starts.push(time.elapsed);
    // The thread is busy: a call that was admitted in the same turn starts later.
    time.block(30);
    await Promise.resolve();
  });
  for (let i = 0; i < 6; i++) limited();
  await time.tick(1_000);
  for (let i = 2; i < 6; i++) {
    assertGreaterOrEqual((starts[i] ?? 0) - (starts[i - 2] ?? 0), 100);
  }
  assertEquals(starts, [0, 30, 100, 130, 200, 230]);
});

test("limitRate() counts calls that were admitted and have yet to begin", async () => {
  using time = new FakeTime();
  const starts: string[] = [];
  const limited = limitRate(2, { per: 100 })(async (name: string, then?: string): Promise<void> => {
    starts.push(`${name} at ${time.elapsed}`);
    if (then !== undefined) await limited(then);
  });
  // "c" and "d" are admitted together, and "c" calls once more before "d" begins.
  const all = Promise.all([limited("a"), limited("b"), limited("c", "e"), limited("d")]);
  await time.tick(1_000);
  await all;
  assertEquals(starts, ["a at 0", "b at 0", "c at 100", "d at 100", "e at 200"]);
});

test("limitRate() lets no newcomer overtake when the timer is late", async () => {
  using time = new FakeTime();
  const starts: string[] = [];
  const limited = limitRate(1, { per: 100 })(async (name: string) => {
    starts.push(name);
    await Promise.resolve();
  });
  limited("a");
  limited("waiting");
  time.block(150);
  limited("newcomer");
  await time.tick(200);
  assertEquals(starts, ["a", "waiting", "newcomer"]);
});

test("limitRate() checks again when a timer fires too early", async () => {
  using time = new FakeTime({ early: 0.75 });
  const { run, starts } = recorder(time);
  const limited = limitRate(1, { per: 10 })(run);
  for (let i = 0; i < 3; i++) limited();
  await time.tick(50);
  assertEquals(starts.length, 3);
  for (const i of [1, 2]) {
    const gap = (starts[i] ?? 0) - (starts[i - 1] ?? 0);
    assert(gap >= 10 && gap < 11, `${gap} ms between two starts`);
  }
});

test("limitRate() takes no notice when the wall clock steps", async () => {
  using time = new FakeTime();
  const { run, starts } = recorder(time);
  const limited = limitRate(1, { per: "1h" })(run);
  limited();
  limited();
  time.step(365 * 86_400_000);
  await time.tick(3_599_999);
  assertEquals(starts, [0]);
  time.step(-800 * 86_400_000);
  await time.tick(1);
  assertEquals(starts, [0, 3_600_000]);
});

test("limitRate() waits longer than the longest timer", async () => {
  using time = new FakeTime();
  const { run, starts } = recorder(time);
  const limited = limitRate(1, { per: "60d" })(run);
  limited();
  limited();
  await time.tick(60 * 86_400_000 - 1);
  assertEquals(starts, [0]);
  await time.tick(1);
  assertEquals(starts, [0, 60 * 86_400_000]);
});

test("limitRate() has a timer only while calls wait", async () => {
  using time = new FakeTime();
  const { run } = recorder(time);
  const limited = limitRate(1, { per: 100 })(run);
  await limited();
  assertEquals(time.timers, 0);
  const controller = new AbortController();
  const waiting = [limited(controller.signal), limited(controller.signal)];
  assertEquals(time.timers, 1);
  controller.abort("gone");
  assertEquals(time.timers, 0);
  for (const call of waiting) {
    assertEquals(await call.catch((e: unknown) => e), "gone");
  }
  const last = limited();
  assertEquals(time.timers, 1);
  await time.tick(100);
  assertEquals(time.timers, 0);
  assertEquals(await last, 100);
});

test("limitRate() does not count a waiting call that was aborted", async () => {
  using time = new FakeTime();
  const { run, starts } = recorder(time);
  const limited = limitRate(1, { per: 100 })(run);
  limited();
  const controller = new AbortController();
  const aborted = limited({ signal: controller.signal });
  const next = limited();
  controller.abort("gone");
  assertEquals(await aborted.catch((e: unknown) => e), "gone");
  await time.tick(100);
  assertEquals(starts, [0, 100]);
  assertEquals(await next, 100);
});

test("limitRate() gives each key a window of its own, and a failed deriveKey does not count", async () => {
  using time = new FakeTime();
  const { run, starts } = recorder(time);
  const error = new Error("no key");
  const limit = limitRate(1, {
    per: 100,
    maxQueue: 1,
    deriveKey: (key: unknown) => {
      if (key === "bad") throw error;
      return key;
    },
  });
  const limited = limit(run);
  assertStrictEquals(await limited("bad").catch((e: unknown) => e), error);
  limited("a");
  limited(undefined);
  const waiting = [limited("a"), limited(undefined)];
  await assertRejects(() => limited("a"), QueueFullError);
  assertEquals([starts.length, limit.pendingCount], [2, 2]);
  await time.tick(100);
  assertEquals(await Promise.all(waiting), [100, 100]);
  assertEquals(limit.pendingCount, 0);
});

test("limitRate() rejects waiting and later calls when its signal aborts", async () => {
  using time = new FakeTime();
  const { run, starts } = recorder(time);
  const controller = new AbortController();
  const limit = limitRate(1, { per: 100, signal: controller.signal });
  const limited = limit(run);
  await limited();
  const waiting = limited().catch((e: unknown) => e);
  controller.abort("enough");
  assertEquals([limit.pendingCount, time.timers], [0, 0]);
  assertEquals(await waiting, "enough");
  await time.tick(1_000);
  assertEquals(await limited().catch((e: unknown) => e), "enough");
  assertEquals(starts, [0]);
});

test("limitRate() passes values, errors, this, properties and the caller's async context through", async () => {
  using time = new FakeTime();
  const storage = new AsyncLocalStorage<number>();
  const error = new Error("own");
  const limited = limitRate(5, { per: 5 })(
    Object.assign(
      function (this: unknown, n: number): Promise<unknown[]> {
        if (n === 7) throw error;
        return Promise.resolve([this, n, storage.getStore()]);
      },
      { id: "x" },
    ),
  );
  const self = {};
  const results = Promise.allSettled(
    Array.from({ length: 100 }, (_, n) => storage.run(n, () => limited.call(self, n))),
  );
  await time.tick(100);
  const settled = await results;
  assertEquals(limited.id, "x");
  assertEquals(settled[7], { status: "rejected", reason: error });
  for (const [n, result] of settled.entries()) {
    if (n !== 7) {
      assertEquals(result, { status: "fulfilled", value: [self, n, n] });
    }
  }
});

test("limitRate() decorates methods", async () => {
  using time = new FakeTime();
  class Client {
    @limitRate(1, { per: "1s" })
    async get(name: string): Promise<[string, number]> {
      return await Promise.resolve([name, time.elapsed]);
    }
  }
  const client = new Client();
  const results = Promise.all([client.get("a"), client.get("b")]);
  await time.tick(1_000);
  assertEquals(await results, [
    ["a", 0],
    ["b", 1_000],
  ]);
});

test("limitRate() composes with limitConcurrency() in either order", async () => {
  const durations = [250, 10, 10, 10, 10];
  const startsOf = async (
    compose: (work: (duration: number) => Promise<void>) => typeof work,
  ): Promise<number[]> => {
    using time = new FakeTime();
    const starts: number[] = [];
    let running = 0;
    const limited = compose(async (duration) => {
      starts.push(time.elapsed);
      assertEquals(++running, 1);
      await new Promise((resolve) => setTimeout(resolve, duration));
      running--;
    });
    const all = Promise.all(durations.map((duration) => limited(duration)));
    await time.tick(1_000);
    await all;
    return starts;
  };
  const rate = () => limitRate(2, { per: 100 });
  const one = () => limitConcurrency(1);
  // Inside, the rate counts starts of the function itself.
  assertEquals(await startsOf((work) => one()(rate()(work))), [0, 250, 260, 350, 360]);
  // Outside, it counts calls that come to the inner limit, where they may wait and start together.
  assertEquals(await startsOf((work) => rate()(one()(work))), [0, 250, 260, 270, 280]);
});

test("limitRate() forgets keys whose window has passed, without a timer", async () => {
  using time = new FakeTime();
  const limited = limitRate(2, { per: 100, deriveKey: (key: object) => key })(
    async (_key: object) => await Promise.resolve(),
  );
  const references: WeakRef<object>[] = [];
  for (let i = 0; i < 1_000; i++) {
    const key = { i };
    references.push(new WeakRef(key));
    await limited(key);
  }
  assertEquals(time.timers, 0);
  await time.tick(100);
  // Each later start forgets two.
  for (let i = 0; i < 1_000; i++) await limited({ i });
  assert(await areCollected(references));
});

test("limitRate() keeps a key that is in use while others are forgotten", async () => {
  using time = new FakeTime();
  const { run, starts } = recorder(time);
  const limited = limitRate(1, { per: 100, deriveKey: (key: unknown) => key })(run);
  limited("old");
  await time.tick(99);
  limited("new");
  await time.tick(1);
  limited("other");
  limited("new");
  assertEquals(starts, [0, 99, 100]);
  await time.tick(99);
  assertEquals(starts, [0, 99, 100, 199]);
});

test("limitRate() keeps a key until the actual cost of its calls is booked", async () => {
  using time = new FakeTime();
  const { run, starts } = recorder(time);
  const work = Promise.withResolvers<void>();
  const limit = limitRate(10, { per: 100, actual: () => 20, deriveKey: (key: string) => key });
  const long = limit((_key: string) => work.promise)("key");
  await time.tick(100);
  // Each new key forgets up to two idle ones.
  for (const key of ["a", "b", "c"]) await limit(async (_key: string) => await settle())(key);
  work.resolve();
  await long;
  const next = limit(run)("key");
  await time.tick(1_000);
  await next;
  assertEquals(starts, [200]);
});

test("limitRate() reserves what calls cost, in order, and never more than count in a window", async () => {
  using time = new FakeTime();
  const starts: [number, number][] = [];
  const limit = limitRate(10, { per: 100, cost: (cost: number) => cost });
  const limited = limit(async (cost: number) => {
    starts.push([cost, time.elapsed]);
    await Promise.resolve();
  });
  const calls = [4, 6, 0, 3, 10, 1].map((cost) => limited(cost));
  await time.tick(50);
  assertEquals([starts, limit.pendingCount], [[[4, 0], [6, 0], [0, 0]], 3]);
  await time.tick(1_000);
  // The small last one does not overtake the large one before it.
  assertEquals(starts.slice(3), [[3, 100], [10, 200], [1, 300]]);
  await Promise.all(calls);
  assertEquals(time.timers, 0);
});

test("limitRate() gives back at once what a call did not cost, and lets an overrun delay later calls", async () => {
  using time = new FakeTime();
  const starts: number[] = [];
  const limited = limitRate(10, {
    per: "1s",
    cost: (cost: number) => cost,
    actual: (answer: { tokens: number }) => answer.tokens,
  })(async (_cost: number, tokens: number, latency?: number) => {
    starts.push(time.elapsed);
    await new Promise((resolve) => setTimeout(resolve, latency ?? 100));
    return { tokens };
  });
  // 8 are reserved and 2 used: the next 8 fit when that is known. They cost 15, 5 too many.
  const calls = [limited(8, 2), limited(8, 15), limited(5, 5)];
  await time.tick(100);
  assertEquals(starts, [0, 100]);
  await time.tick(5_000);
  // The overrun of 7, booked at 200, leaves the window at 1,200.
  assertEquals(starts, [0, 100, 1_200]);
  assertEquals((await Promise.all(calls)).map(({ tokens }) => tokens), [2, 15, 5]);
  // A cost that is known only after the window has passed changes nothing.
  starts.length = 0;
  const late = [limited(10, 1, 1_500)];
  await time.tick(1_200);
  late.push(limited(10, 10));
  await time.tick(3_000);
  assertEquals(starts, [0, 1_200].map((at) => at + 5_100));
  await Promise.all(late);
});

test("limitRate() keeps what was reserved where actual throws or gives no cost, or the call fails", async () => {
  const own = new Error("own");
  const actuals: ((result: unknown) => unknown)[] = [
    () => {
      throw new Error("a bug in actual");
    },
    () => NaN,
    () => Infinity,
    () => -1,
    () => "3",
    () => undefined,
    () => Promise.reject(new Error("late")),
  ];
  for (const actual of actuals) {
    using time = new FakeTime();
    const options = { per: 100, cost: () => 6, actual };
    const limited: (fails: boolean) => Promise<string> = Reflect.apply(limitRate, undefined, [
      10,
      options,
    ])(async (fails: boolean) => {
      await Promise.resolve();
      if (fails) throw own;
      return `kept at ${time.elapsed}`;
    });
    const first = limited(true);
    const second = limited(false);
    const third = limited(false);
    assertStrictEquals(await first.catch((error: unknown) => error), own);
    await time.tick(200);
    assertEquals(await Promise.all([second, third]), ["kept at 100", "kept at 200"]);
  }
});

test("limitRate() refuses a call whose cost cannot fit or is not known, and does not count it", async () => {
  using time = new FakeTime();
  const mine = new Error("mine");
  const limit = limitRate(10, {
    per: 100,
    // Callers without types may pass such functions.
    cost: (cost: number) => {
      if (typeof cost === "object") throw mine;
      return cost;
    },
  });
  const limited = limit(async (_cost: number) => await Promise.resolve(time.elapsed));
  const untyped = (cost: unknown): Promise<unknown> => Reflect.apply(limited, undefined, [cost]);
  const error = await assertRejects(() => limited(11), RangeError);
  assertEquals(
    error.message,
    "Cannot limit the rate: cost must be a number from 0 to 10, the whole of a window " +
      "(raise count, or split the call), received 11",
  );
  for (const cost of [-1, NaN]) await assertRejects(() => limited(cost), RangeError);
  for (const cost of [undefined, "x"]) await assertRejects(() => untyped(cost), TypeError);
  const late = limitRate(10, {
    per: 100,
    cost: () => Promise.reject(new Error("late")) as never,
  });
  await assertRejects(() => late(async () => await settle())(), TypeError);
  // An unhandled rejection is reported when the turn ends.
  await settle();
  assertStrictEquals(await untyped({}).catch((error: unknown) => error), mine);
  assertEquals([await limited(10), limit.pendingCount], [0, 0]);
});

test("limitRate() waits for no more than a window where costs are fractions that do not add up", async () => {
  using time = new FakeTime();
  const limited = limitRate(1, { per: 100, cost: (cost: number) => cost })(
    async (_cost: number) => await Promise.resolve(time.elapsed),
  );
  const calls = Array.from({ length: 300 }, (_, n) => limited([0.1, 0.2, 0.7][n % 3] ?? 0));
  await time.tick(100 * 300);
  const starts = await Promise.all(calls);
  assert((starts.at(-1) ?? Infinity) <= 100 * 199);
});

test("limitRate() reaches a window of 5 ms within 10 % with timers that are late, and refuses a shorter one", async () => {
  // Like those of Deno, which fire up to 1.2 ms late.
  using time = new FakeTime({ early: -1.2 });
  const { run, starts } = recorder(time);
  const limited = limitRate(1, { per: 5 })(run);
  const calls = Array.from({ length: 201 }, () => limited());
  await time.tick(1_100);
  await Promise.all(calls);
  assertLessOrEqual(starts.at(-1) ?? Infinity, 1_000 * 1.1);
  assertThrows(
    () => limitRate(2, { per: 0.1 }),
    RangeError,
    "Cannot limit the rate: per must be at least 5 ms, because timers are not finer, received " +
      "0.1; write limitRate(100, { per: 5 })",
  );
});

test("limitRate() refuses bad options by name when constructing", () => {
  const make = (...args: unknown[]): void => {
    Reflect.apply(limitRate, undefined, args);
  };
  for (const count of [0, -1, 1.5, NaN, Infinity]) {
    assertThrows(
      () => make(count, { per: 1 }),
      RangeError,
      `Cannot limit the rate: count must be a positive integer, received ${count}`,
    );
  }
  assertThrows(() => make("1", { per: 1 }), TypeError, "count must be");
  for (const per of [0, -1, NaN, Infinity, "0s"]) {
    assertThrows(() => make(1, { per }), RangeError, "per must be");
  }
  for (const options of [{}, { per: "soon" }]) {
    assertThrows(() => make(1, options), TypeError, "per must be");
  }
  assertThrows(() => make(1), TypeError, "options must be an object");
  assertThrows(() => make(1, { per: 9, burst: 2 }), TypeError, '"burst"');
  assertThrows(() => make(1, { per: 9, maxQueue: -1 }), RangeError, "maxQueue");
  assertThrows(() => make(1, { per: 9, signal: 1 }), TypeError, "signal");
  assertThrows(() => make(1, { per: 9, cost: 1 }), TypeError, "cost must be a function");
  assertThrows(() => make(1, { per: 9, actual: 1 }), TypeError, "actual must be a function");
});

test("limitRate() holds in every window of a random schedule, and is no slower than needed", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.integer({ min: 1, max: 4 }),
      fc.integer({ min: 5, max: 50 }),
      fc.array(
        fc.record({
          wait: fc.oneof(fc.constant(0), fc.nat(40)),
          key: fc.nat(1),
          abortAfter: fc.option(fc.nat(60)),
        }),
        { maxLength: 40 },
      ),
      async (count, per, calls) => {
        using time = new FakeTime();
        const starts: [id: number, at: number][] = [];
        const limit = limitRate(count, {
          per,
          deriveKey: (_: number, key: number) => key,
        });
        const limited = limit(async (id: number, _key: number, _signal: AbortSignal) => {
          starts.push([id, time.elapsed]);
          return await Promise.resolve(id);
        });
        // The model: each call starts at the earliest moment that the earlier calls allow, or
        // leaves the line when it is aborted before that.
        const expected: [id: number, at: number][] = [];
        const outcomes: unknown[] = [];
        const wanted: unknown[] = [];
        const arrivals: { at: number; key: number; abortAt: number }[] = [];
        for (const { wait, key, abortAfter } of calls) {
          const at = (arrivals.at(-1)?.at ?? 0) + wait;
          // Half a millisecond off, so that no abort falls on the moment of a start.
          arrivals.push({
            at,
            key,
            abortAt: abortAfter === null ? Infinity : at + abortAfter + 0.5,
          });
        }
        for (const key of [0, 1]) {
          const before: number[] = [];
          for (const [id, call] of arrivals.entries()) {
            if (call.key !== key) continue;
            const earliest = Math.max(call.at, (before.at(-count) ?? -Infinity) + per);
            if (call.abortAt < earliest) wanted[id] = "aborted";
            else {
              before.push(earliest);
              expected.push([id, earliest]);
              wanted[id] = id;
            }
          }
        }
        for (const [id, call] of arrivals.entries()) {
          await time.tick(call.at - time.elapsed);
          const controller = new AbortController();
          if (call.abortAt < Infinity) {
            setTimeout(() => controller.abort("aborted"), call.abortAt - time.elapsed);
          }
          limited(id, call.key, controller.signal).then(
            (value) => (outcomes[id] = value),
            (reason: unknown) => (outcomes[id] = reason),
          );
        }
        await time.tick(per * calls.length + 100);
        const byId = (a: [number, number], b: [number, number]) => a[0] - b[0];
        assertEquals(starts.toSorted(byId), expected.toSorted(byId));
        assertEquals(outcomes, wanted);
        for (const key of [0, 1]) {
          const own = starts.filter(([id]) => arrivals[id]?.key === key);
          assertEquals(own, own.toSorted(byId));
          for (let i = count; i < own.length; i++) {
            assertGreaterOrEqual((own[i]?.[1] ?? 0) - (own[i - count]?.[1] ?? 0), per);
          }
        }
        assertEquals([limit.pendingCount, time.timers], [0, 0]);
      },
    ),
    { seed: 20_250_607, numRuns: 300 },
  );
});
