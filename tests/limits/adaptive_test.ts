import { test } from "node:test";
import {
  assert,
  assertEquals,
  assertGreaterOrEqual,
  assertLess,
  assertLessOrEqual,
  assertStrictEquals,
  assertThrows,
} from "@std/assert";
import fc from "fast-check";
import {
  limitAdaptive,
  type LimitAdaptiveOptions,
  limitConcurrency,
  retry,
} from "../../concurrency.ts";
import { ByHand, reasonOf } from "../support/by_hand.ts";
import { FakeTime, settle } from "../support/fake_time.ts";
import { capacity, simulate, TooManyRequests } from "../support/servers.ts";

const OVERLOAD = new TooManyRequests("429");
const isOverload = (error: unknown): boolean => error instanceof TooManyRequests;

/** The law in its plainest form: one key, and the outcomes of its calls. */
class Model {
  limit: number;
  active = 0;
  generation = 0;
  #good = 0;
  #clean = 0;
  #wait = 0;
  pausedUntil = -Infinity;

  constructor(readonly start: number, readonly min: number, readonly max: number) {
    this.limit = start;
  }

  mayStart(now: number): boolean {
    return this.active < Math.floor(this.limit) && now >= this.pausedUntil;
  }

  settle(outcome: "success" | "overload" | "error", generation: number, now: number): void {
    if (generation === this.generation) {
      if (outcome === "success") this.#grow();
      if (outcome === "overload") this.#cut(now);
    }
    this.active--;
  }

  #grow(): void {
    this.#clean += 1;
    this.#wait = this.#wait > 1_000 ? this.#wait / 2 : 0;
    if (this.active < Math.floor(this.limit)) return;
    if (this.#good > 0 && this.limit >= this.#good && this.#clean < 5 * this.limit) return;
    const distance = Math.abs(this.limit - this.#good);
    const next = this.limit + Math.max(1, Math.min(this.limit, distance)) / this.limit;
    this.limit = Math.min(this.max, this.limit < this.#good ? Math.min(this.#good, next) : next);
  }

  #cut(now: number): void {
    if (this.limit < this.min + 1) {
      this.#wait = Math.min(30_000, Math.max(1_000, 2 * this.#wait));
      this.pausedUntil = Math.max(this.pausedUntil, now + this.#wait);
    }
    const level = Math.min(this.limit, this.active);
    if (this.#clean > 0 || this.#good === 0) this.#good = Math.max(this.min, Math.floor(level) - 1);
    this.limit = Math.max(this.min, Math.min(level - 2, level * (this.#clean > 0 ? 0.85 : 0.5)));
    this.generation += 1;
    this.#clean = 0;
  }
}

test("limitAdaptive() follows the law in random schedules, and lets every call start", async () => {
  const step = fc.oneof(
    { weight: 6, arbitrary: fc.constant({ do: "call" as const, pick: 0 }) },
    {
      weight: 6,
      arbitrary: fc.record({
        do: fc.constantFrom("success" as const, "success" as const, "overload" as const),
        pick: fc.nat(),
      }),
    },
    { weight: 1, arbitrary: fc.record({ do: fc.constant("error" as const), pick: fc.nat() }) },
    { weight: 1, arbitrary: fc.record({ do: fc.constant("abort" as const), pick: fc.nat() }) },
    { weight: 1, arbitrary: fc.record({ do: fc.constant("wait" as const), pick: fc.nat(40_000) }) },
  );
  await fc.assert(
    fc.asyncProperty(
      fc.record({
        start: fc.integer({ min: 1, max: 6 }),
        min: fc.integer({ min: 1, max: 3 }),
        more: fc.integer({ min: 0, max: 8 }),
      }),
      fc.array(step, { maxLength: 120 }),
      async ({ start, min, more }, steps) => {
        using time = new FakeTime();
        const max = min + more;
        const limit = limitAdaptive({ isOverload, start, min, max });
        const model = new Model(Math.min(max, Math.max(min, start)), min, max);
        /** Running calls, with the generation in which they began. */
        const running: { generation: number; settle: (error?: unknown) => void }[] = [];
        const waiting = new Set<AbortController>();
        const limited = limit((controller: AbortController, _signal: AbortSignal) => {
          waiting.delete(controller);
          assert(model.mayStart(time.elapsed), "a call started that the law holds back");
          model.active++;
          const { promise, resolve, reject } = Promise.withResolvers<void>();
          running.push({
            generation: model.generation,
            settle: (error) => error === undefined ? resolve() : reject(error),
          });
          return promise;
        });
        const end = async (outcome: "success" | "overload" | "error", pick: number) => {
          const [call] = running.splice(pick % Math.max(1, running.length), 1);
          if (call === undefined) return;
          model.settle(outcome, call.generation, time.elapsed);
          const errors = { success: undefined, overload: OVERLOAD, error: new Error("own") };
          call.settle(errors[outcome]);
          await settle();
        };
        for (const { do: action, pick } of steps) {
          if (action === "call") {
            const controller = new AbortController();
            waiting.add(controller);
            limited(controller, controller.signal).catch(() => {});
          } else if (action === "abort") {
            const controller = [...waiting][pick % Math.max(1, waiting.size)];
            if (controller !== undefined) waiting.delete(controller);
            controller?.abort();
          } else if (action === "wait") await time.tick(pick);
          else await end(action, pick);
          assertEquals(limit.limitOf(), Math.floor(model.limit));
          assertEquals([limit.activeCount, limit.pendingCount], [model.active, waiting.size]);
        }
        // Liveness: while calls wait and nobody pauses, one starts within 30 s of the last end.
        while (running.length > 0 || waiting.size > 0) {
          const before = waiting.size;
          if (running.length > 0) await end("overload", 0);
          else {
            await time.tick(30_000);
            assertLess(waiting.size, before, "no call has started within 30 s");
          }
        }
        assertEquals([limit.activeCount, time.timers], [0, 0]);
      },
    ),
    { seed: 20_250_607, numRuns: 300 },
  );
});

test("limitAdaptive() reaches 90 % of a server whose places are halved and doubled, at under 1 % refused", async () => {
  const places = (now: number): number => Math.floor(now / 60_000) % 2 === 0 ? 50 : 25;
  const against = async (
    limit: () => ReturnType<typeof limitConcurrency>,
    seed: number,
    seconds = 600,
  ) =>
    await simulate({
      server: capacity(places),
      wrap: (call) => retry()(limit()(call)),
      seconds,
      seed,
    });
  for (const seed of [1, 2, 3]) {
    const { throughput, refused, lost } = await against(() => limitAdaptive({ isOverload }), seed);
    assertGreaterOrEqual(throughput, 90);
    assertLess(refused, 1);
    assertEquals(lost, 0);
  }
  const tooLow = await against(() => limitConcurrency(12), 1, 240);
  assertLess(tooLow.throughput, 40);
  const tooHigh = await against(() => limitConcurrency(75), 1, 240);
  assertGreaterOrEqual(tooHigh.refused, 80);
  assertGreaterOrEqual(tooHigh.lost, 50);
});

test("limitAdaptive() is back soon after an outage, and starts nothing in vain meanwhile", async () => {
  const { perSecond, refused, lost } = await simulate({
    server: capacity((now) => now >= 100_000 && now < 160_000 ? 0 : 50),
    wrap: (call) => retry()(limitAdaptive({ isOverload })(call)),
    seconds: 300,
    seed: 1,
  });
  const mean = perSecond.slice(200, 210).reduce((sum, n) => sum + n, 0) / 10;
  assertGreaterOrEqual(mean, 0.85 * 50);
  assertLess(refused, 1);
  assertEquals(lost, 0);
});

test("limitAdaptive() does not learn from a quiet time: a burst after it is not refused", async () => {
  const { refused } = await simulate({
    server: capacity(() => 50),
    wrap: (call) => retry()(limitAdaptive({ isOverload })(call)),
    seconds: 600,
    seed: 1,
    callersAt: (now) => now < 300_000 ? 20 : 500,
  });
  assertLessOrEqual(refused, 2);
});

test("limitAdaptive() shares a server fairly among processes that know nothing of each other", async () => {
  const { throughput, refused, fairness } = await simulate({
    server: capacity(() => 50),
    wrap: (call) => retry()(limitAdaptive({ isOverload })(call)),
    seconds: 600,
    seed: 1,
    processes: 4,
  });
  assertGreaterOrEqual(throughput, 95);
  assertLess(refused, 3);
  assertGreaterOrEqual(fairness, 0.95);
});

/** A call that fails at once. */
function refusing(options: Partial<LimitAdaptiveOptions> = {}) {
  const limit = limitAdaptive({ isOverload, start: 1, ...options });
  let outcome: unknown = OVERLOAD;
  const starts: number[] = [];
  return {
    limit,
    starts,
    succeed: (value: boolean) => outcome = value ? undefined : OVERLOAD,
    call: (time: FakeTime) =>
      limit(async () => {
        starts.push(time.elapsed);
        await Promise.resolve();
        if (outcome !== undefined) throw outcome;
      })().catch(() => {}),
  };
}

test("limitAdaptive() pauses at the least limit for 1 s, doubled up to 30 s, and halved by each success", async () => {
  using time = new FakeTime();
  const { call, starts, succeed } = refusing();
  for (let n = 0; n < 8; n++) void call(time);
  await time.tick(200_000);
  const waits = () => starts.slice(1).map((at, i) => at - (starts[i] ?? 0));
  assertEquals(waits(), [1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000]);
  await time.tick(30_000);
  starts.length = 0;
  succeed(true);
  await call(time);
  succeed(false);
  await call(time);
  void call(time);
  await time.tick(100_000);
  // Halved to 15 s by the success, and doubled by the refusal after it.
  assertEquals(waits(), [0, 30_000]);
});

test("limitAdaptive() does not change with errors that are not an overload, whatever isOverload makes of them", async () => {
  const own = new Error("own");
  const answers: ((error: unknown) => unknown)[] = [
    () => false,
    () => 1,
    () => Promise.resolve(true),
    () => Promise.reject(new Error("late")),
    () => {
      throw new Error("a bug in isOverload");
    },
  ];
  for (const answer of answers) {
    const limit: ReturnType<typeof limitAdaptive> = Reflect.apply(limitAdaptive, undefined, [
      { isOverload: answer, start: 4 },
    ]);
    for (let n = 0; n < 10; n++) {
      assertStrictEquals(await reasonOf(limit(() => Promise.reject(own))()), own);
    }
    assertEquals([limit.limitOf(), limit.activeCount], [4, 0]);
    // An unhandled rejection is reported when the turn ends.
    await settle();
  }
});

test("limitAdaptive() learns for each key alone, and keeps that while the key is idle for 5 minutes", async () => {
  using time = new FakeTime();
  const limit = limitAdaptive({ isOverload, start: 8, deriveKey: (key: string) => key });
  const call = limit(async (_key: string, error?: unknown) => {
    await Promise.resolve();
    if (error !== undefined) throw error;
  });
  await Promise.allSettled([call("a", OVERLOAD), call("a", OVERLOAD), call("b")]);
  // One cut for both.
  assertEquals([limit.limitOf("a"), limit.limitOf("b"), limit.limitOf("c")], [1, 8, 8]);
  await time.tick(299_999);
  for (let n = 0; n < 10; n++) await call(`new ${n}`);
  assertEquals(limit.limitOf("a"), 1);
  await time.tick(1);
  for (let n = 10; n < 30; n++) await call(`new ${n}`);
  assertEquals(limit.limitOf("a"), 8);
});

test("limitAdaptive() is held back by a pause, which changes nothing of the law", async () => {
  using time = new FakeTime();
  const { fn, runs } = new ByHand<[], void>();
  const limit = limitAdaptive({ isOverload, start: 2 });
  const limited = limit(fn);
  void limited();
  limit.pause("20s");
  void limited();
  limit.pause("1s");
  await time.tick(19_999);
  assertEquals([runs.length, limit.limitOf()], [1, 2]);
  await time.tick(1);
  assertEquals(runs.length, 2);
  // Both are in use, so that a success raises the limit.
  runs[0]?.resolve();
  await settle();
  assertEquals(limit.limitOf(), 3);
});

test("limitAdaptive() refuses bad options by name when constructing", () => {
  const refused = (
    options: unknown,
    kind: typeof TypeError | typeof RangeError,
    text: string,
  ): void => {
    assertThrows(() => Reflect.apply(limitAdaptive, undefined, [options]), kind, text);
  };
  refused({}, TypeError, "Cannot limit adaptively: isOverload must be a function");
  refused({ isOverload, start: 0 }, RangeError, "start must be a positive integer");
  refused({ isOverload, start: Infinity }, RangeError, "start must be");
  refused({ isOverload, min: 1.5 }, RangeError, "min must be");
  refused({ isOverload, max: "9" }, TypeError, "max must be a positive integer or Infinity");
  refused({ isOverload, min: 9, max: 8 }, RangeError, "min must be at most max (8), received 9");
  refused({ isOverload, step: 1 }, TypeError, '"step"');
  assertEquals(limitAdaptive({ isOverload, min: 20 }).limitOf(), 20);
  assertEquals(limitAdaptive({ isOverload, max: 5 }).limitOf(), 5);
});
