/** Limits and retries around functions that give streams. */
import { test } from "node:test";
import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertMatch,
  assertRejects,
  assertStrictEquals,
  assertThrows,
} from "@std/assert";
import fc from "fast-check";
import {
  type AsyncFunction,
  limitAdaptive,
  limitConcurrency,
  limitRate,
  retry,
} from "../../concurrency.ts";
import { CacheClosedError, QueueFullError } from "../../src/base/errors.ts";
import { MemoryCache } from "../../memory.ts";
import { quiet, reasonOf, stateOf } from "../support/by_hand.ts";
import { FakeTime } from "../support/fake_time.ts";
import { all, from, HandStreams } from "../support/hand_stream.ts";

/** An async generator function over streams that are given by hand. */
function handGenerator() {
  const hand = new HandStreams<[name: string, options?: { signal?: AbortSignal }], string>();
  async function* tokens(name: string, options?: { signal?: AbortSignal }) {
    yield* hand.fn(name, options);
  }
  return { hand, tokens };
}

test("limitConcurrency() holds a permit from the first next() of a generator to its end", async () => {
  const { hand, tokens } = handGenerator();
  const limit = limitConcurrency(1);
  const limited = limit(tokens);
  const [first, second] = [limited("a"), limited("b")];
  assertEquals([limit.activeCount, limit.pendingCount], [0, 0]);
  const begun = first.next();
  const waiting = second.next();
  assertEquals([limit.activeCount, limit.pendingCount], [1, 1]);
  await hand.stream(0).give("a1");
  assertEquals(await begun, { done: false, value: "a1" });
  await quiet();
  assertEquals([limit.activeCount, hand.streams.length], [1, 1]);
  const end = first.next();
  await quiet();
  await hand.stream(0).end();
  assertEquals(await end, { done: true, value: undefined });
  assertEquals([limit.activeCount, hand.streams.length], [1, 2]);
  await hand.stream(1).give("b1");
  assertEquals((await waiting).value, "b1");
  await second.return();
  assertEquals([limit.activeCount, limit.pendingCount], [0, 0]);
});

test("limitConcurrency() passes on what goes in and out of a generator, and keeps its kind", async () => {
  const limit = limitConcurrency(2);
  const limited = limit(async function* (start: number): AsyncGenerator<number, string, number> {
    let sum = start;
    try {
      while (sum < 10) sum += yield await Promise.resolve(sum);
    } catch {
      return "thrown";
    }
    return `sum ${sum}`;
  });
  const counting = limited(1);
  assertEquals(await counting.next(), { done: false, value: 1 });
  assertEquals(await counting.next(4), { done: false, value: 5 });
  assertEquals(await counting.next(6), { done: true, value: "sum 11" });
  const thrown = limited(2);
  await thrown.next();
  assertEquals(await thrown.throw(new Error("stop")), { done: true, value: "thrown" });
  assertEquals(limit.activeCount, 0);
  // A limit around another limit passes generators on, too.
  const twice = limitConcurrency(1);
  assertEquals(await all(twice(limit(limited))(9)), [9]);
  assertEquals([twice.activeCount, limit.activeCount], [0, 0]);
});

test("A limit gives its permit back when a generator throws, first or later", async () => {
  const failure = new Error("broken");
  for (const after of [0, 1]) {
    const limit = limitConcurrency(1);
    const limited = limit(async function* () {
      yield* from([1].slice(0, after));
      throw failure;
    });
    assertStrictEquals(await reasonOf(all(limited())), failure);
    assertEquals(limit.activeCount, 0);
  }
});

test("A limit gives its permit back when an iterator is left that says nothing of its end", async () => {
  await using cache = new MemoryCache();
  const limit = limitConcurrency(1);
  const endless = {
    [Symbol.asyncIterator]: () => ({
      next: () => Promise.resolve({ done: false, value: 1 }),
      return: () => Promise.resolve({ done: false, value: 2 }),
    }),
  };
  const fn = cache.stream({ id: "f" })(limit(async () => await Promise.resolve(endless)));
  for await (const _ of fn()) break;
  await quiet();
  assertEquals(limit.activeCount, 0);
});

test("A limit refuses streams as it refuses calls: too many in the line, the signal of the limit", async () => {
  const { tokens } = handGenerator();
  const full = limitConcurrency(1, { maxQueue: 0 })(tokens);
  void full("a").next();
  await assertRejects(() => full("b").next(), QueueFullError);
  const controller = new AbortController();
  const limit = limitConcurrency(1, { signal: controller.signal });
  const limited = limit(tokens);
  void limited("a").next();
  const waiting = reasonOf(limited("b").next());
  controller.abort(new Error("over"));
  assertEquals(String(await waiting), "Error: over");
  assertEquals([limit.activeCount, limit.pendingCount], [1, 0]);
});

test("limitConcurrency() around a function that returns a promise of a stream keeps to the promise", async () => {
  const { hand } = handGenerator();
  const limit = limitConcurrency(1);
  const limited = limit(async (name: string) => await Promise.resolve(hand.fn(name)));
  const streams = [await limited("a"), await limited("b")];
  assertEquals([limit.activeCount, streams.length], [0, 2]);
});

test("Inside cache.stream() the permit of such a function is held to the end of its stream", async () => {
  await using cache = new MemoryCache();
  const { hand } = handGenerator();
  const limit = limitConcurrency(1);
  const fn = cache.stream({ id: "f" })(
    limit(async (name: string) => await Promise.resolve(hand.fn(name))),
  );
  const [a, b] = [fn("a"), fn("b")];
  const steps = [a.next(), b.next()];
  await quiet();
  assertEquals([limit.activeCount, limit.pendingCount, hand.streams.length], [1, 1, 1]);
  await hand.stream(0).give("a1");
  assertEquals((await steps[0])?.value, "a1");
  assertEquals(limit.activeCount, 1);
  const end = all(a);
  await quiet();
  await hand.stream(0).end();
  assertEquals(await end, []);
  await quiet();
  assertEquals([limit.activeCount, hand.streams.length], [1, 2]);
  await hand.stream(1).give("b1");
  await steps[1];
  await b.return?.();
  await quiet();
  assertEquals([limit.activeCount, hand.stream(1).isLeft], [0, true]);
  // A result that is not a stream settles at once, here too.
  const other = cache.stream({ id: "g" })(async function* () {
    yield await limit(async () => await Promise.resolve(1))();
    yield await limit(async () => await Promise.resolve(2))();
  });
  assertEquals(await all(other()), [1, 2]);
});

test("A limited function under cache.stream() still gives a stream of its own class", async () => {
  class Tokens {
    readonly model = "a";
    readonly #texts: readonly string[] = ["to", "be"];
    get first(): string | undefined {
      return this.#texts[0];
    }
    async *[Symbol.asyncIterator](): AsyncIterableIterator<string> {
      yield* from(this.#texts);
    }
    text(): string {
      return this.#texts.join(" ");
    }
  }
  await using cache = new MemoryCache();
  const limit = limitConcurrency(1);
  for (const [id, wrap] of [["limit", limit], ["retry", retry({ attempts: 1 })]] as const) {
    const open = wrap(async () => await Promise.resolve(new Tokens()));
    const fn = cache.stream({ id })(async function* () {
      const tokens = await open();
      assertInstanceOf(tokens, Tokens);
      yield `${tokens.model} ${tokens.first} ${tokens.text()}`;
      yield* tokens;
    });
    assertEquals(await all(fn()), ["a to to be", "to", "be"]);
    assertEquals(limit.activeCount, 0);
  }
});

test("A stream that a function under cache.stream() takes and never reads is left when its flow ends", async () => {
  await using cache = new MemoryCache();
  const { hand } = handGenerator();
  const limit = limitConcurrency(1);
  const limited = limit(async (name: string) => await Promise.resolve(hand.fn(name)));
  const fn = cache.stream({ id: "f" })(async function* () {
    await limited("unread");
    yield 1;
  });
  await fn().next();
  assertEquals(limit.activeCount, 1);
  assertEquals(await all(fn()), [1]);
  await quiet();
  assertEquals([limit.activeCount, hand.stream(0).isLeft], [0, true]);
});

test("A batch over 1,000 streams under a limit collects each of them", async () => {
  await using cache = new MemoryCache();
  const limit = limitConcurrency(5);
  let open = 0;
  let most = 0;
  const fn = cache.stream({ id: "f" })(limit(async function* (n: number) {
    most = Math.max(most, ++open);
    yield* from([n, -n]);
    open--;
  }));
  const inputs = Array.from({ length: 1000 }, (_, n) => n);
  const values = await fn.map(inputs, { concurrency: 50 }).values();
  assertEquals(values, inputs.map((n) => [n, -n]));
  assertEquals([most, limit.activeCount, limit.pendingCount], [5, 0, 0]);
  assertEquals((await fn.map(inputs, { concurrency: 50 }).run()).hits, 1000);
});

test("A reader that leaves the line of a limit takes no permit, and its function never runs", async () => {
  await using cache = new MemoryCache();
  const { hand, tokens } = handGenerator();
  const limit = limitConcurrency(1);
  const fn = cache.stream({ id: "f" })(limit(tokens));
  const running = fn("a");
  const first = running.next();
  const waiting = fn("b");
  const step = waiting.next();
  await quiet();
  assertEquals(limit.pendingCount, 1);
  await Promise.all([waiting.return?.(), step]);
  assertEquals([limit.pendingCount, hand.streams.length], [0, 1]);
  await hand.stream(0).give("a1");
  await first;
  await running.return?.();
});

test("close() ends flows that wait for a permit, and waits for those that have one", async () => {
  const cache = new MemoryCache();
  const { hand, tokens } = handGenerator();
  const fn = cache.stream({ id: "f" })(limitConcurrency(1)(tokens));
  const [running, waiting] = [fn("a"), fn("b")];
  const first = running.next();
  const refused = reasonOf(waiting.next());
  await quiet();
  await hand.stream(0).give("a1");
  await first;
  const closing = cache.close();
  assertInstanceOf(await refused, CacheClosedError);
  assertEquals(await stateOf(closing), "pending");
  await hand.stream(0).end();
  await closing;
  assertEquals(await all(running), []);
});

test("The time of a flow is work: neither the wait for a permit nor for readers counts", async () => {
  using time = new FakeTime();
  await using cache = new MemoryCache();
  const { hand, tokens } = handGenerator();
  const limit = limitConcurrency(1);
  const fn = cache.stream({ id: "f" })(limit(tokens));
  const other = limit(async () => await new Promise((resolve) => setTimeout(resolve, 1000)))();
  const reader = fn("a");
  const first = reader.next();
  await time.tick(1000);
  await other;
  await time.tick(10);
  await hand.stream(0).give("a1");
  await first;
  await time.tick(5000);
  const rest = all(reader);
  await time.tick(20);
  await hand.stream(0).end();
  await rest;
  assertEquals((await fn.detail("a")).durationMs, 30);
});

test("limitRate() counts the start of a stream, and its cost by all of its items", async () => {
  using time = new FakeTime();
  const limit = limitRate(10, {
    per: 1000,
    cost: () => 10,
    actual: (items: number[]) => items.reduce((sum, n) => sum + n, 0),
  });
  const limited = limit(async function* (items: number[]) {
    yield* from(items);
  });
  assertEquals(await all(limited([1, 2, 7])), [1, 2, 7]);
  const waiting = all(limited([1]));
  await time.tick(999);
  assertEquals(await stateOf(waiting), "pending");
  await time.tick(1);
  assertEquals(await waiting, [1]);
  // The stream cost 1 of the 10 that were reserved.
  const next = all(
    limit(async function* () {
      yield* from([0]);
    })(),
  );
  assertEquals(await stateOf(next), "pending");
  await time.tick(1000);
  await next;
});

test("limitAdaptive() learns from streams that fail on their way", async () => {
  const limit = limitAdaptive({ isOverload: (error) => error === "overload", start: 4 });
  const limited = limit(async function* (end: string) {
    yield await Promise.resolve(1);
    if (end !== "") throw end;
  });
  assertEquals(await all(limited("")), [1]);
  assertEquals(await reasonOf(all(limited("other"))), "other");
  assertEquals(limit.limitOf(), 4);
  assertEquals(await reasonOf(all(limited("overload"))), "overload");
  assert(limit.limitOf() < 4);
  assertEquals(limit.activeCount, 0);
});

test("retry() calls a stream function again until its first item, and never after it", async () => {
  const backoff = { min: 1 };
  let attempts = 0;
  const failure = new Error("broken");
  const tokens = (failAt: number) =>
    async function* (failures: number) {
      attempts++;
      for (let n = 0; n < 2; n++) {
        if (n === failAt && attempts <= failures) throw failure;
        yield await Promise.resolve(n);
      }
    };
  assertEquals(await all(retry({ backoff })(tokens(0))(2)), [0, 1]);
  assertEquals(attempts, 3);
  attempts = 0;
  const stream = retry({ backoff })(tokens(1))(5);
  assertEquals((await stream.next()).value, 0);
  assertStrictEquals(await reasonOf(stream.next()), failure);
  assertEquals(attempts, 1);
  attempts = 0;
  const empty = retry({ backoff })(async function* () {
    attempts++;
    yield* from([]);
  });
  assertEquals([await all(empty()), attempts], [[], 1]);
});

test("retry() inside cache.stream() retries promises of streams until the first item", async () => {
  await using cache = new MemoryCache();
  let attempts = 0;
  const limit = limitConcurrency(1);
  const fn = cache.stream({ id: "f" })(
    retry({ backoff: { min: 1 } })(limit(async () => {
      if (++attempts === 1) throw new Error("429");
      const hasFailed = attempts === 2;
      return await Promise.resolve((async function* () {
        if (hasFailed) throw new Error("before the first item");
        yield* from([1, 2]);
      })());
    })),
  );
  assertEquals(await Promise.all([all(fn()), all(fn())]), [[1, 2], [1, 2]]);
  assertEquals([attempts, limit.activeCount], [3, 0]);
});

test("retry({ timeout }) is the time to the first item; the signal stays that of the caller", async () => {
  using time = new FakeTime();
  const { hand, tokens } = handGenerator();
  const limit = limitConcurrency(2);
  const tried = retry({ timeout: 100, attempts: 2, backoff: { min: 1, jitter: 0 } })(limit(tokens));
  const controller = new AbortController();
  const stream = tried("a", { signal: controller.signal });
  const first = stream.next();
  await time.tick(101);
  assertEquals(hand.streams.length, 2);
  const signalOf = (n: number) => (hand.stream(n).args[1] as { signal: AbortSignal }).signal;
  assertEquals(signalOf(0).reason.name, "TimeoutError");
  await hand.stream(1).give("a1");
  assertEquals((await first).value, "a1");
  // The attempt that timed out is left as soon as it answers.
  await hand.stream(0).give("late");
  assert(hand.stream(0).isLeft);
  assertEquals(limit.activeCount, 1);
  await time.tick(10_000);
  assert(!signalOf(1).aborted);
  controller.abort(new Error("enough"));
  assertEquals(String(signalOf(1).reason), "Error: enough");
  await stream.return();
  assertEquals(limit.activeCount, 0);
});

test("retry({ schema }) refuses an async generator function", () => {
  const schema = {
    "~standard": { version: 1, vendor: "test", validate: (value: unknown) => ({ value }) },
  } as const;
  const error = assertThrows(() => retry({ schema })(handGenerator().tokens), TypeError);
  assertMatch(String(error), /Cannot retry.*cache\.stream/);
});

test("A limit around a cached stream function holds its permit while it is read", async () => {
  await using cache = new MemoryCache();
  const { hand, tokens } = handGenerator();
  const limit = limitConcurrency(1);
  const fn = limit(cache.stream({ id: "f" })(tokens));
  const stream = fn("a");
  const first = stream.next();
  await quiet();
  await hand.stream(0).give("a1");
  await first;
  assertEquals(limit.activeCount, 1);
  await stream.return?.();
  assertEquals([limit.activeCount, hand.stream(0).isLeft], [0, true]);
  assertEquals(await fn.readCache("a"), { hit: false });
  assertThrows(() => fn.map(["a"], { concurrency: 1 }), TypeError, "inside the cache");
});

test("Every permit is given back, whatever becomes of the streams under it", async () => {
  const step = fc.record({
    items: fc.nat(3),
    read: fc.nat(4),
    fails: fc.boolean(),
    isPromise: fc.boolean(),
    aborts: fc.boolean(),
    leaves: fc.boolean(),
  });
  const property = fc.asyncProperty(fc.array(step, { maxLength: 12 }), async (steps) => {
    await using cache = new MemoryCache();
    const limit = limitConcurrency(2);
    const rate = limitRate(1000, { per: 5 });
    const wrap = <F extends AsyncFunction>(fn: F) => retry({ attempts: 1 })(rate(limit(fn)));
    let open = 0;
    let most = 0;
    type Step = (typeof steps)[number] & { n: number; signal: AbortSignal };
    async function* tokens({ items, fails }: Step) {
      most = Math.max(most, ++open);
      try {
        for (let n = 0; n < items; n++) {
          await quiet();
          yield n;
        }
        if (fails) throw new Error("fails");
      } finally {
        open--;
      }
    }
    const generator = cache.stream({ id: "g" })(
      retry({ attempts: 1 })(rate(limit(tokens))),
    );
    const promise = cache.stream({ id: "p" })(
      wrap(async (given: Step) => await Promise.resolve(tokens(given))),
    );
    await Promise.all(steps.map(async (given, n) => {
      const controller = new AbortController();
      const fn = given.isPromise ? promise : generator;
      const stream = fn({ ...given, n, signal: controller.signal });
      try {
        for (let read = 0; read < given.read; read++) {
          if ((await stream.next()).done === true) return;
        }
        if (given.aborts) controller.abort(new Error("aborted"));
        if (given.leaves) await stream.return?.();
        else await all(stream);
      } catch (error) {
        assertMatch(String(error), /fails|aborted/);
      }
    }));
    await quiet();
    assert(most <= 2, `${most} at once`);
    assertEquals([open, limit.activeCount, limit.pendingCount], [0, 0, 0]);
  });
  await fc.assert(property, { seed: 15, numRuns: 30 });
});
