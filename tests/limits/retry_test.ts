import { test } from "node:test";
import { AsyncLocalStorage } from "node:async_hooks";
import {
  assert,
  assertEquals,
  assertStrictEquals,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import { z } from "zod";
import { limitAdaptive, limitConcurrency, limitRate, retry } from "../../concurrency.ts";
import {
  CacheClosedError,
  QueueFullError,
  ReentrantCallError,
  SchemaError,
} from "../../src/base/errors.ts";
import { Passage } from "../../src/base/passage.ts";
import { FakeTime, settle } from "../support/fake_time.ts";

/** A function that fails the first `failures` times and records when it was called. */
function flaky(time: FakeTime, failures: number) {
  const starts: number[] = [];
  const errors: Error[] = [];
  return {
    starts,
    errors,
    run: async (..._args: unknown[]): Promise<string> => {
      starts.push(time.elapsed);
      await Promise.resolve();
      if (starts.length > failures) return "done";
      const error = new Error(`failure ${starts.length}`);
      errors.push(error);
      throw error;
    },
  };
}

function fail(message: string): never {
  throw new Error(message);
}

/** The reason of a rejection, or the value. */
function outcome(call: Promise<unknown>): Promise<unknown> {
  return call.catch((error: unknown) => error);
}

/** Fails the type check unless both types are the same. */
type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true
  : false;
function holds<_Fact extends true>(): void {}

const steady = { jitter: 0 } as const;

test("retry() calls again after waits that grow from min to max", async () => {
  using time = new FakeTime();
  const { run, starts } = flaky(time, 4);
  const result = retry({
    backoff: { min: "1s", max: "5s", multiplier: 2, ...steady },
  })(run)();
  await time.tick(100_000);
  assertEquals(await result, "done");
  assertEquals(starts, [0, 1_000, 3_000, 7_000, 12_000]);
});

test("retry() makes five attempts by default, a second or more apart", async () => {
  using time = new FakeTime();
  const { run, starts } = flaky(time, 9);
  const result = outcome(retry({ backoff: steady })(run)());
  await time.tick(100_000);
  assert((await result) instanceof Error);
  assertEquals(starts, [0, 1_000, 3_000, 7_000, 15_000]);
});

test("retry() spreads its waits at random between nothing and the backoff", async () => {
  using time = new FakeTime();
  const waits: number[] = [];
  for (let i = 0; i < 50; i++) {
    const { run, starts } = flaky(time, 1);
    const result = retry({ backoff: { min: 1_000 } })(run)();
    await time.tick(1_000);
    assertEquals(await result, "done");
    waits.push((starts[1] ?? NaN) - (starts[0] ?? NaN));
  }
  assert(waits.every((wait) => wait >= 0 && wait <= 1_000));
  assert(new Set(waits).size > 10);
});

test("retry() throws the last error itself when the attempts are used up", async () => {
  using time = new FakeTime();
  const { run, starts, errors } = flaky(time, 9);
  const result = outcome(retry({ attempts: 3 })(run)());
  await time.tick(100_000);
  assertStrictEquals(await result, errors[2]);
  assertEquals([starts.length, errors.length], [3, 3]);
});

test("retry() makes one attempt only when attempts is 1, and asks nobody", async () => {
  using time = new FakeTime();
  const { run, errors } = flaky(time, 9);
  const never = () => {
    throw new Error("asked");
  };
  const result = retry({ attempts: 1, shouldRetry: never, retryAfter: never })(run)();
  assertStrictEquals(await outcome(result), errors[0]);
  assertEquals(errors.length, 1);
});

test("retry() does not repeat an error that when refuses", async () => {
  using time = new FakeTime();
  const { run, errors } = flaky(time, 9);
  const result = outcome(
    retry({
      backoff: steady,
      shouldRetry: (error) => error instanceof Error && error.message !== "failure 2",
    })(run)(),
  );
  await time.tick(100_000);
  assertStrictEquals(await result, errors[1]);
  assertEquals(errors.length, 2);
});

test("retry() repeats a function that throws before it returns a promise", async () => {
  using time = new FakeTime();
  let calls = 0;
  const result = retry({ backoff: steady })((): Promise<number> => {
    if (++calls < 3) throw new Error("sync");
    return Promise.resolve(calls);
  })();
  await time.tick(3_000);
  assertEquals(await result, 3);
});

test("retry() waits as long as after says in place of the backoff, which goes on where it stood", async () => {
  using time = new FakeTime();
  const { run, starts } = flaky(time, 6);
  const answers = [undefined, 10, "1m", NaN, 0, -5] as const;
  let asked = 0;
  const result = retry({
    attempts: 7,
    backoff: steady,
    retryAfter: () => answers[asked++],
  })(run)();
  await time.tick(1_000_000);
  assertEquals(await result, "done");
  const waits = starts.slice(1).map((at, i) => at - (starts[i] ?? 0));
  assertEquals(waits, [1_000, 10, 60_000, 8_000, 0, 0]);
});

test("retry() counts the attempts after waits of after too", async () => {
  using time = new FakeTime();
  const { run, errors } = flaky(time, 9);
  const result = outcome(retry({ attempts: 3, retryAfter: () => 10 })(run)());
  await time.tick(1_000);
  assertStrictEquals(await result, errors[2]);
  assertEquals(errors.length, 3);
});

test("retry() gives up when after says Infinity", async () => {
  using time = new FakeTime();
  const { run, errors } = flaky(time, 9);
  const result = retry({ retryAfter: () => Infinity })(run)();
  assertStrictEquals(await outcome(result), errors[0]);
  assertEquals([errors.length, time.timers], [1, 0]);
});

test("retry() reports a callback's error as the cause of the function's error, and goes on", async () => {
  const late = () => Promise.reject(new Error("late"));
  const mistakes: [name: string, options: unknown, message: string][] = [
    ["shouldRetry", { shouldRetry: () => fail("mine") }, "mine"],
    ["shouldRetry", { shouldRetry: () => Promise.resolve(true) }, "the result of shouldRetry must"],
    ["retryAfter", { retryAfter: () => fail("mine") }, "mine"],
    ["retryAfter", { retryAfter: () => "soon" }, "the result of retryAfter must be a duration"],
    ["shouldRetry", { shouldRetry: late }, "the result of shouldRetry must"],
    ["retryAfter", { retryAfter: late }, "the result of retryAfter must be a duration"],
    ["onRetry", { onRetry: () => fail("mine") }, "mine"],
  ];
  for (const [name, options, message] of mistakes) {
    using time = new FakeTime();
    const { run, starts, errors } = flaky(time, 9);
    const wrap: ReturnType<typeof retry> = Reflect.apply(retry, undefined, [{
      attempts: 3,
      backoff: steady,
      ...Object(options),
    }]);
    const result = outcome(wrap(run)());
    await time.tick(100_000);
    const error = await result;
    assertStrictEquals(error, errors[2]);
    assert(error instanceof Error && error.cause instanceof Error);
    assertStringIncludes(error.cause.message, message, name);
    assertEquals(starts, [0, 1_000, 3_000], name);
  }
});

test("retry() leaves an error that has a cause, or takes none, as it is", async () => {
  const cause = new Error("cause");
  for (const error of [new Error("own", { cause }), Object.freeze(new Error("own")), "own", null]) {
    using time = new FakeTime();
    const result = outcome(
      retry({ attempts: 2, shouldRetry: () => fail("mine") })(() => Promise.reject(error))(),
    );
    await time.tick(100_000);
    assertStrictEquals(await result, error);
    if (error instanceof Error && error.cause !== undefined) {
      assertStrictEquals(error.cause, cause);
    }
  }
});

test("retry() stops waiting when the caller's signal aborts, in the backoff and in after", async () => {
  for (const after of [() => undefined, () => 1_000]) {
    for (const argument of ["direct", "member"]) {
      using time = new FakeTime();
      const { run, starts } = flaky(time, 9);
      const controller = new AbortController();
      const { signal } = controller;
      const result = outcome(
        retry({ backoff: steady, retryAfter: after })(run)(
          1,
          argument === "direct" ? signal : { signal },
        ),
      );
      await time.tick(500);
      controller.abort("gone");
      assertEquals(await result, "gone");
      assertEquals(time.timers, 0);
      await time.tick(10_000);
      assertEquals(starts, [0]);
    }
  }
});

test("retry() does not repeat what fails because the caller's signal aborted", async () => {
  using time = new FakeTime();
  const controller = new AbortController();
  const error = new Error("stopped");
  let calls = 0;
  const result = retry({ retryAfter: () => 0 })(async (_signal: AbortSignal) => {
    calls++;
    await Promise.resolve();
    controller.abort("gone");
    throw error;
  })(controller.signal);
  assertStrictEquals(await outcome(result), error);
  assertEquals([calls, time.timers], [1, 0]);
});

test("retry() ends all waits and later calls when its own signal aborts", async () => {
  using time = new FakeTime();
  const own = new AbortController();
  const caller = new AbortController();
  const { run, starts } = flaky(time, 9);
  const wrapped = retry({ backoff: steady, signal: own.signal })(run);
  const results = [wrapped(), wrapped(caller.signal)].map(outcome);
  await time.tick(10);
  assertEquals(time.timers, 2);
  own.abort("over");
  assertEquals(await Promise.all(results), ["over", "over"]);
  assertEquals([starts.length, time.timers], [2, 0]);
  assertEquals(await outcome(wrapped()), "over");
  assertEquals(starts.length, 2);
});

test("retry() leaves no listener on signals that outlive the call", async () => {
  using time = new FakeTime();
  let listeners = 0;
  const observed = (): AbortSignal => {
    const { signal } = new AbortController();
    const add = signal.addEventListener.bind(signal);
    const remove = signal.removeEventListener.bind(signal);
    return Object.assign(signal, {
      addEventListener: (...args: Parameters<typeof add>) => {
        listeners++;
        add(...args);
      },
      removeEventListener: (...args: Parameters<typeof remove>) => {
        listeners--;
        remove(...args);
      },
    });
  };
  const { run } = flaky(time, 1);
  const result = retry({ backoff: steady, signal: observed() })(run)(observed());
  await time.tick(500);
  assert(listeners > 0);
  await time.tick(500);
  assertEquals([await result, listeners], ["done", 0]);
});

test("retry() does not repeat the library's own errors, but QueueFullError and SchemaError", async () => {
  const cases: [error: Error, calls: number][] = [
    [new CacheClosedError(), 1],
    [new ReentrantCallError("id", "key"), 1],
    [new QueueFullError(1), 3],
    [new SchemaError([]), 3],
    [new TypeError("fetch failed"), 3],
    [new DOMException("The operation timed out", "TimeoutError"), 3],
  ];
  for (const [error, wanted] of cases) {
    using time = new FakeTime();
    let calls = 0;
    const result = outcome(
      retry({ attempts: 3 })(() => {
        calls++;
        return Promise.reject(error);
      })(),
    );
    await time.tick(100_000);
    assertStrictEquals(await result, error);
    assertEquals(calls, wanted, error.name);
  }
});

test("retry() does not call a limit again that has ended, whatever the reason is", async () => {
  for (const reason of [new Error("Ctrl-C"), "Ctrl-C"]) {
    using time = new FakeTime();
    const stop = new AbortController();
    const limit = limitConcurrency(1, { signal: stop.signal });
    const { promise, resolve } = Promise.withResolvers<void>();
    // Behind another await, where only the error shows that the limit has ended.
    const limited = limit(() => promise);
    const call = retry()(async () => {
      await Promise.resolve();
      await limited();
    });
    const results = [call(), call()];
    await time.tick(0);
    stop.abort(reason);
    assertEquals(await outcome(results[1] ?? promise), reason);
    assertEquals(await outcome(call()), reason);
    assertEquals(time.timers, 0);
    resolve();
    await results[0];
  }
});

test("retry() begins no wait that would end after maxElapsed", async () => {
  using time = new FakeTime();
  const { run, starts, errors } = flaky(time, 9);
  const result = outcome(retry({ backoff: steady, maxElapsed: "3s" })(run)());
  await time.tick(100_000);
  assertStrictEquals(await result, errors[2]);
  assertEquals(starts, [0, 1_000, 3_000]);
});

test("retry() reports each failed attempt and the wait that follows to onRetry", async () => {
  using time = new FakeTime();
  const { run, errors } = flaky(time, 2);
  const told: unknown[] = [];
  const result = retry({
    backoff: steady,
    retryAfter: (error) => error === errors[1] ? 7 : undefined,
    onRetry: (error, info) => told.push([error, info]),
  })(run)();
  await time.tick(100_000);
  assertEquals(await result, "done");
  assertEquals(told, [
    [errors[0], { attempt: 1, delayMs: 1_000 }],
    [errors[1], { attempt: 2, delayMs: 7 }],
  ]);
});

test("retry() leaves no rejection behind when onRetry is async and fails", async () => {
  using time = new FakeTime();
  const { run } = flaky(time, 1);
  const onRetry = async () => {
    await Promise.resolve();
    throw new Error("the log is full");
  };
  const result = retry({ backoff: steady, onRetry })(run)();
  await time.tick(1_000);
  assertEquals(await result, "done");
});

test("retry() takes a result that fails the schema for a failed attempt, and returns the result itself", async () => {
  using time = new FakeTime();
  const answers = [{ n: "1" }, { n: 1 }, 3, {}, {}];
  const schema = z.object({ n: z.number().transform(String) });
  const ask = retry({ attempts: 2, schema })(async () => await Promise.resolve(answers.shift()));
  const first = ask();
  await time.tick(1_000);
  assertEquals(await first, { n: 1 });
  const second = outcome(ask());
  await time.tick(1_000);
  const error = await second;
  assert(error instanceof SchemaError);
  assertEquals([error.issues.length, answers.length], [1, 1]);
});

test("retry() gives an attempt its timeout of work, then an aborted signal, and makes the next one", async () => {
  using time = new FakeTime();
  const limit = limitConcurrency(1);
  const signals: AbortSignal[] = [];
  const ends: (() => void)[] = [];
  const own = new AbortController();
  const work = retry({ attempts: 2, timeout: 500, retryAfter: () => 0 })(
    limit((name: string, { signal }: { signal: AbortSignal }) => {
      signals.push(signal);
      return new Promise<string>((resolve) => ends.push(() => resolve(name)));
    }),
  );
  const first = work("first", { signal: own.signal });
  const second = work("second", { signal: own.signal });
  await time.tick(400);
  ends[0]?.();
  await time.tick(499);
  // The wait for the permit does not count.
  assertEquals([await first, signals[1]?.aborted], ["first", false]);
  await time.tick(1);
  assertEquals(signals[1]?.aborted, true);
  const reason: unknown = signals[1]?.reason;
  assert(reason instanceof DOMException);
  assertEquals([reason.name, own.signal.aborted], ["TimeoutError", false]);
  // The attempt keeps its permit until it has ended; the next attempt waits for the permit.
  await time.tick(10_000);
  assertEquals([signals.length, limit.activeCount, limit.pendingCount], [2, 1, 1]);
  ends[1]?.();
  await settle();
  assertEquals(signals.length, 3);
  own.abort("gone");
  assertEquals([signals[2]?.aborted, signals[2]?.reason], [true, "gone"]);
  ends[2]?.();
  assertEquals([await second, time.timers], ["second", 0]);
});

test("retry() sets no timer into the past when a function blocks the thread past the timeout", async () => {
  using time = new FakeTime();
  const set = globalThis.setTimeout;
  const delays: number[] = [];
  globalThis.setTimeout = Object.assign((...args: unknown[]) => {
    delays.push(Number(args[1]));
    return Reflect.apply(set, undefined, args);
  }, set);
  const work = limitConcurrency(1)(async () => {
    await Promise.resolve();
    time.block(80);
    return "done";
  });
  const result = retry({ timeout: 50 })(work)();
  await time.tick(0);
  assertEquals([await result, Math.min(...delays)], ["done", 0]);
});

test("retry() throws the TimeoutError of the last attempt, and leaves no rejection behind", async () => {
  using time = new FakeTime();
  let calls = 0;
  const result = outcome(
    retry({ attempts: 3, backoff: steady, timeout: "1s" })(async () => {
      calls++;
      await new Promise((resolve) => setTimeout(resolve, 5_000));
      throw new Error("late");
    })(),
  );
  await time.tick(100_000);
  const error = await result;
  assert(error instanceof DOMException && error.name === "TimeoutError");
  assertEquals([calls, time.timers], [3, 0]);
});

test("retry() lets what a server says pause the fixed limits that the attempt passed, no others and no longer", async () => {
  using time = new FakeTime();
  const deriveKey = (host: string): string => host;
  const rate = limitRate(1_000, { per: "1s", deriveKey });
  const permits = limitConcurrency(10, { deriveKey });
  const adaptive = limitAdaptive({ isOverload: () => false, deriveKey });
  const starts: string[] = [];
  let refuses = true;
  const call = async (host: string): Promise<void> => {
    starts.push(`${host} ${time.elapsed}`);
    await Promise.resolve();
    if (refuses) throw new Error("429");
  };
  const retrying = retry({ attempts: 2, retryAfter: () => "1m", coolDown: "30s" });
  const asked = outcome(retrying(rate(permits(call)))("a"));
  await settle();
  refuses = false;
  const others = [rate(call)("a"), permits(call)("a"), rate(call)("b")];
  await time.tick(29_999);
  assertEquals(starts, ["a 0", "b 0"]);
  await time.tick(1);
  assertEquals(starts, ["a 0", "b 0", "a 30000", "a 30000"]);
  await time.tick(30_000);
  assertEquals([await asked, starts.at(-1)], [undefined, "a 60000"]);
  await Promise.all(others);
  // Neither an adaptive limit, nor one without the option, nor the backoff pauses anything.
  starts.length = 0;
  refuses = true;
  const more = [
    retrying(adaptive(call))("c"),
    retry({ attempts: 2, retryAfter: () => "1m" })(rate(call))("d"),
    retry({ attempts: 2, coolDown: "30s" })(rate(call))("e"),
  ].map(outcome);
  await settle();
  refuses = false;
  await Promise.all([adaptive(call)("c"), rate(call)("d"), rate(call)("e")]);
  assertEquals(starts.length, 6);
  await time.tick(60_000);
  await Promise.all(more);
});

test("retry() reports to the run around it when it waits for an attempt, and leaves with the run's signal", async () => {
  using time = new FakeTime();
  const controller = new AbortController();
  const states: boolean[] = [];
  const run: Passage = new Passage(undefined, {
    signal: controller.signal,
    onChange: () => states.push(run.isWorking),
  });
  const { run: fn } = flaky(time, 9);
  const result = outcome(run.enter(() => retry({ backoff: steady })(fn)()));
  assertEquals([run.isWorking, run.hasStarted], [true, true]);
  await time.tick(500);
  assertEquals([run.isWorking, run.hasStarted, run.isBetweenAttempts], [false, false, true]);
  await time.tick(1_000);
  assertEquals([run.isBetweenAttempts, run.workedMs], [true, 0]);
  // It begins, works and waits; nothing between an attempt and its wait looks like work.
  assertEquals(states.filter((isWorking, i) => isWorking !== states[i - 1]).length, 5);
  controller.abort("closing");
  assertEquals([await result, time.timers], ["closing", 0]);
  assertEquals([run.isWorking, run.isBetweenAttempts], [true, false]);
});

test("retry() gives the permit back while it waits when it is outside of the limit", async () => {
  using time = new FakeTime();
  const events: string[] = [];
  const failed = new Set<string>();
  const limit = limitConcurrency(1);
  const work = retry({ backoff: steady })(
    limitRate(10, { per: "1s" })(
      limit(async (name: string) => {
        events.push(`${name} at ${time.elapsed}`);
        await Promise.resolve();
        if (name === "first" && !failed.has(name)) {
          failed.add(name);
          throw new Error("busy");
        }
        return name;
      }),
    ),
  );
  const results = Promise.all([work("first"), work("second")]);
  await time.tick(500);
  assertEquals(events, ["first at 0", "second at 0"]);
  assertEquals([limit.activeCount, limit.pendingCount], [0, 0]);
  await time.tick(500);
  assertEquals(events, ["first at 0", "second at 0", "first at 1000"]);
  assertEquals(await results, ["first", "second"]);
});

test("retry() counts each attempt against a rate inside of it", async () => {
  using time = new FakeTime();
  const { run, starts } = flaky(time, 2);
  const result = retry({ backoff: { min: 1, max: 1, ...steady } })(
    limitRate(1, { per: 100 })(run),
  )();
  await time.tick(1_000);
  assertEquals(await result, "done");
  assertEquals(starts, [0, 100, 200]);
});

test("retry() keeps this, arguments, properties, types and the async context of the caller", async () => {
  using time = new FakeTime();
  const storage = new AsyncLocalStorage<string>();
  const seen: unknown[] = [];
  const fn = Object.assign(
    async function <T>(this: { name: string }, value: T) {
      seen.push([this.name, value, storage.getStore()]);
      await Promise.resolve();
      if (seen.length === 1) throw new Error("busy");
      return value;
    },
    { id: "x" },
  );
  const wrapped = retry({ backoff: steady })(fn);
  holds<Same<typeof wrapped, typeof fn>>();
  const result = storage.run("store", () => wrapped.call({ name: "self" }, 7));
  await time.tick(1_000);
  assertEquals(await result, 7);
  assertEquals(seen, [
    ["self", 7, "store"],
    ["self", 7, "store"],
  ]);
  assertEquals([wrapped.id, wrapped.length], ["x", 1]);
});

test("retry() decorates methods", async () => {
  using time = new FakeTime();
  class Client {
    calls = 0;
    @retry({ backoff: steady })
    async get(name: string): Promise<string> {
      await Promise.resolve();
      if (++this.calls === 1) throw new Error("busy");
      return name;
    }
  }
  const result = new Client().get("a");
  await time.tick(1_000);
  assertEquals(await result, "a");
});

test("retry() refuses bad options by name when constructing", () => {
  const refused = (
    options: unknown,
    kind: typeof TypeError | typeof RangeError,
    text: string,
  ): void => {
    assertThrows(() => Reflect.apply(retry, undefined, [options]), kind, text);
  };
  for (const attempts of [0, -1, 1.5, NaN, Infinity]) {
    refused(
      { attempts },
      RangeError,
      `Cannot retry: attempts must be a positive integer, received ${attempts}`,
    );
  }
  refused({ attempts: "3" }, TypeError, "attempts must be");
  refused({ shouldRetry: 1 }, TypeError, "shouldRetry must be a function");
  refused({ retryAfter: 1 }, TypeError, "retryAfter must be a function");
  refused({ signal: {} }, TypeError, "signal must be an AbortSignal");
  refused({ retries: 3 }, TypeError, '"retries"');
  refused(null, TypeError, "options must be an object");
  refused({ backoff: null }, TypeError, "backoff must be an object");
  refused({ backoff: { base: 1 } }, TypeError, '"backoff.base"');
  refused({ backoff: { min: 0 } }, RangeError, "backoff.min must be");
  refused({ backoff: { min: "soon" } }, TypeError, "backoff.min must be");
  refused({ backoff: { min: Infinity } }, RangeError, "backoff.min must be");
  refused({ backoff: { min: 2, max: 1 } }, RangeError, "backoff.min must be");
  refused({ backoff: { max: -1 } }, RangeError, "backoff.max must be");
  refused({ backoff: { jitter: 1.1 } }, RangeError, "backoff.jitter must be");
  refused({ backoff: { jitter: "1" } }, TypeError, "backoff.jitter must be");
  refused({ backoff: { multiplier: 0.5 } }, RangeError, "backoff.multiplier");
  refused({ backoff: { multiplier: Infinity } }, RangeError, "multiplier");
  retry({ backoff: { max: Infinity } });
  retry({ backoff: { max: 5 } });
});
