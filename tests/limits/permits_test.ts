import { test } from "node:test";
import { AsyncLocalStorage } from "node:async_hooks";
import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertLess,
  assertRejects,
  assertStrictEquals,
  assertThrows,
} from "@std/assert";
import fc from "fast-check";
import { limitConcurrency } from "../../concurrency.ts";
import { QueueFullError, ReentrantCallError } from "../../src/base/errors.ts";
import { areCollected } from "../support/collected.ts";
import { settle } from "../support/fake_time.ts";

/** A function whose calls settle when the test says so. */
function manual() {
  const started: string[] = [];
  const settles = new Map<
    string,
    { resolve: (value: string) => void; reject: (error: unknown) => void }
  >();
  const run = (name: string, ..._rest: unknown[]): Promise<string> => {
    started.push(name);
    const { promise, resolve, reject } = Promise.withResolvers<string>();
    settles.set(name, { resolve, reject });
    return promise;
  };
  return {
    run,
    started,
    end: async (name: string): Promise<void> => {
      settles.get(name)?.resolve(name);
      await settle();
    },
    fail: async (name: string, error: unknown): Promise<void> => {
      settles.get(name)?.reject(error);
      await settle();
    },
  };
}

/** Fails the type check unless both types are the same. */
type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true
  : false;
function holds<_Fact extends true>(): void {}

test("limitConcurrency() runs at most n calls, the others in the order of their calls", async () => {
  const { run, started, end } = manual();
  const limit = limitConcurrency(2);
  const limited = limit(run);
  const results = Promise.all(["a", "b", "c", "d"].map((name) => limited(name)));
  assertEquals(started, ["a", "b"]);
  assertEquals([limit.activeCount, limit.pendingCount], [2, 2]);
  await end("b");
  assertEquals(started, ["a", "b", "c"]);
  await end("a");
  assertEquals(started, ["a", "b", "c", "d"]);
  assertEquals([limit.activeCount, limit.pendingCount], [2, 0]);
  await end("c");
  await end("d");
  assertEquals(await results, ["a", "b", "c", "d"]);
  assertEquals([limit.activeCount, limit.pendingCount], [0, 0]);
});

test("limitConcurrency() hands a freed permit to the waiting call, not to a newcomer of that moment", async () => {
  const { run, started, end } = manual();
  const limited = limitConcurrency(1)(run);
  const first = limited("first");
  const waiting = limited("waiting");
  // Runs as soon as the permit is free, before the waiting call had its turn.
  const newcomer = first.then(() => limited("newcomer"));
  await end("first");
  assertEquals(started, ["first", "waiting"]);
  await end("waiting");
  await end("newcomer");
  assertEquals(await Promise.all([waiting, newcomer]), ["waiting", "newcomer"]);
});

test("limitConcurrency() starts a call that finds a permit at once, in the same turn", () => {
  let started = false;
  limitConcurrency(1)(() => {
    started = true;
    return Promise.resolve();
  })();
  assert(started);
});

test("limitConcurrency() accepts Infinity as no limit", async () => {
  const { run, started, end } = manual();
  const limit = limitConcurrency(Infinity);
  const limited = limit(run);
  const names = Array.from({ length: 1000 }, (_, i) => String(i));
  const results = Promise.all(names.map((name) => limited(name)));
  assertEquals(started.length, 1000);
  for (const name of names.slice(1)) end(name);
  await end("0");
  assertEquals((await results).length, 1000);
});

test("limitConcurrency() passes this, arguments, values and errors through unchanged", async () => {
  const error = new Error("own");
  const object = { name: "self" };
  const limited = limitConcurrency(1)(async function (this: { name: string }, ...args: number[]) {
    await Promise.resolve();
    if (args.length === 0) throw error;
    return [this, ...args];
  });
  const results = await Promise.allSettled([
    limited.call(object, 1, 2),
    limited.call(object),
    limited.call(object, 3),
  ]);
  assertEquals(results[0], { status: "fulfilled", value: [object, 1, 2] });
  assertEquals(results[2], { status: "fulfilled", value: [object, 3] });
  assert(results[1]?.status === "rejected");
  assertStrictEquals(results[1].reason, error);
});

test("limitConcurrency() gives the permit back when the function throws before it returns a promise", async () => {
  const error = new Error("sync");
  const limit = limitConcurrency(1);
  const limited = limit((fail: boolean): Promise<string> => {
    if (fail) throw error;
    return Promise.resolve("fine");
  });
  const results = [limited(true), limited(true), limited(false)];
  for (const result of results.slice(0, 2)) {
    assertStrictEquals(await result.catch((thrown: unknown) => thrown), error);
  }
  assertEquals(await results[2], "fine");
  assertEquals(limit.activeCount, 0);
});

test("limitConcurrency() makes a promise of a plain value, of a thenable and of a foreign promise", async () => {
  const limit = limitConcurrency(1);
  // Callers without types may wrap such functions.
  const untyped = (fn: () => unknown): () => Promise<unknown> =>
    Reflect.apply(limit, undefined, [fn]);
  class Foreign<T> extends Promise<T> {}
  assertEquals(await untyped(() => 1)(), 1);
  assertEquals(await untyped(() => ({ then: (done: (n: number) => void) => done(2) }))(), 2);
  assertEquals(await untyped(() => Foreign.resolve(3))(), 3);
  assertInstanceOf(untyped(() => 4)(), Promise);
  await settle();
  assertEquals(limit.activeCount, 0);
});

test("limitConcurrency() releases a permit once, even for a promise that settles twice", async () => {
  const limit = limitConcurrency(1);
  const double = Promise.resolve(1);
  // A promise of a careless library, which calls both listeners, and twice.
  Object.defineProperty(double, "then", {
    value: (done?: (n: number) => void, failed?: (error: unknown) => void) => {
      done?.(1);
      done?.(1);
      failed?.(new Error("twice"));
      return Promise.resolve(1);
    },
  });
  const thenable = { then: (done: (n: number) => void) => (done(1), done(1)) };
  for (const result of [double, thenable]) {
    await Reflect.apply(limit, undefined, [() => result])();
    await settle();
    assertEquals(limit.activeCount, 0);
    const { run, started, end } = manual();
    const limited = limit(run);
    const results = [limited("a"), limited("b")];
    assertEquals(started, ["a"]);
    await end("a");
    await end("b");
    await Promise.all(results);
  }
});

test("limitConcurrency() shares the permits among all functions that one limit wraps", async () => {
  const { run, started, end } = manual();
  const limit = limitConcurrency(1);
  const results = [limit(run)("a"), limit((name: string) => run(name))("b")];
  assertEquals(started, ["a"]);
  assertEquals([limit.activeCount, limit.pendingCount], [1, 1]);
  await end("a");
  await end("b");
  assertEquals(await Promise.all(results), ["a", "b"]);
});

test("limitConcurrency() keeps name, length, source and own properties of what it wraps", () => {
  const bustCache = (): number => 1;
  async function summarize(a: string, b: string): Promise<string> {
    return await Promise.resolve(a + b);
  }
  const symbol = Symbol("own");
  const limited = limitConcurrency(5)(
    Object.assign(summarize, { bustCache, id: "x", [symbol]: 2 }),
  );
  assertStrictEquals(limited.bustCache, bustCache);
  assertEquals([limited.id, limited[symbol]], ["x", 2]);
  assertEquals([limited.name, limited.length], ["summarize", 2]);
  assertEquals(limited.toString(), summarize.toString());
});

test("limitConcurrency() returns the type of what it wraps", async () => {
  const limit = limitConcurrency(2);
  const plain = async (a: string, b?: number) => await Promise.resolve(a + b);
  const generic = async <T>(value: T) => await Promise.resolve(value);
  interface Overloaded {
    (a: string): Promise<string>;
    (a: number): Promise<number>;
  }
  function either(a: string): Promise<string>;
  function either(a: number): Promise<number>;
  function either(a: string | number): Promise<string | number> {
    return Promise.resolve(a);
  }
  async function method(this: { n: number }, by: number) {
    return await Promise.resolve(this.n * by);
  }
  const limitedPlain = limit(plain);
  const limitedGeneric = limit(generic);
  const limitedEither = limit(either);
  const limitedMethod = limit(method);
  holds<Same<typeof limitedPlain, typeof plain>>();
  holds<Same<typeof limitedGeneric, typeof generic>>();
  holds<Same<typeof limitedEither, typeof either>>();
  holds<Same<typeof limitedMethod, typeof method>>();
  const overloaded: Overloaded = limitedEither;
  const text: string = await overloaded("a");
  const number: number = await overloaded(1);
  const kept: 7 = await limitedGeneric<7>(7);
  assertEquals([text, number, kept], ["a", 1, 7]);
  assertEquals(await limitedMethod.call({ n: 2 }, 3), 6);
  // @ts-expect-error: the argument is a string.
  await limitedPlain(1);
  // @ts-expect-error: the function returns no promise.
  limit(() => 1);
});

test("limitConcurrency() decorates instance and static methods, which share its permits", async () => {
  const { run, started, end } = manual();
  const limit = limitConcurrency(1);
  class Client {
    readonly #prefix: string;
    constructor(prefix: string) {
      this.#prefix = prefix;
    }
    @limit
    async get(name: string): Promise<string> {
      return await run(this.#prefix + name);
    }
    @limit
    async typed<T>(this: Client, value: T): Promise<[T, string]> {
      return await Promise.resolve([value, this.#prefix]);
    }
    @limit
    static async make(name: string): Promise<string> {
      return await run(`${this.name}.${name}`);
    }
  }
  const one = new Client("one.");
  const results = [one.get("a"), Client.make("b"), new Client("two.").get("c")];
  const typed = one.typed(5);
  holds<Same<typeof typed, Promise<[number, string]>>>();
  assertEquals(started, ["one.a"]);
  for (const name of ["one.a", "Client.b", "two.c"]) await end(name);
  assertEquals(await Promise.all(results), ["one.a", "Client.b", "two.c"]);
  assertEquals(await typed, [5, "one."]);
  assertEquals(one.get.name, "get");
});

test("limitConcurrency() refuses to decorate or wrap what is not a function", () => {
  const limit = limitConcurrency(1);
  assertThrows(
    () => Reflect.apply(limit, undefined, [3]),
    TypeError,
    "Cannot limit concurrency: fn must be a function, received 3",
  );
  assertThrows(
    () =>
      Reflect.apply(limit, undefined, [
        undefined,
        {
          kind: "field",
          name: "x",
        },
      ]),
    TypeError,
    "Cannot limit concurrency: it decorates methods",
  );
});

test("limitConcurrency() refuses bad options by name when constructing", () => {
  const make = (...args: unknown[]): void => {
    Reflect.apply(limitConcurrency, undefined, args);
  };
  for (const n of [0, -1, 1.5, NaN, -Infinity]) {
    assertThrows(
      () => make(n),
      RangeError,
      `Cannot limit concurrency: n must be a positive integer or Infinity, received ${n}`,
    );
  }
  for (const n of ["2", undefined, null, 2n]) {
    assertThrows(() => make(n), TypeError, "n must be a positive integer");
  }
  for (const maxQueue of [-1, 0.5, NaN]) {
    assertThrows(() => make(1, { maxQueue }), RangeError, "maxQueue must be");
  }
  assertThrows(() => make(1, { maxQueue: "1" }), TypeError, "maxQueue must be");
  assertThrows(() => make(1, { deriveKey: "k" }), TypeError, "deriveKey must");
  assertThrows(() => make(1, { signal: {} }), TypeError, "signal must be");
  assertThrows(() => make(1, { maxqueue: 1 }), TypeError, '"maxqueue"');
  assertThrows(() => make(1, null), TypeError, "options must be an object");
});

test("limitConcurrency() gives each key permits of its own, compared as a Map does", async () => {
  const { run, started, end } = manual();
  const object = {};
  const keys: Record<string, unknown> = {
    undefined1: undefined,
    undefined2: undefined,
    null: null,
    nan1: NaN,
    nan2: NaN,
    one: 1,
    oneText: "1",
    object1: object,
    object2: object,
    other: {},
  };
  const limit = limitConcurrency(1, {
    deriveKey: (name: string) => keys[name],
  });
  const limited = limit(run);
  const results = Object.keys(keys).map((name) => limited(name));
  assertEquals(started, ["undefined1", "null", "nan1", "one", "oneText", "object1", "other"]);
  assertEquals([limit.activeCount, limit.pendingCount], [7, 3]);
  for (const name of Object.keys(keys)) await end(name);
  assertEquals(await Promise.all(results), Object.keys(keys));
  assertEquals([limit.activeCount, limit.pendingCount], [0, 0]);
});

test("limitConcurrency() rejects with what deriveKey throws, and no permit is lost", async () => {
  const error = new Error("no key");
  const limit = limitConcurrency(1, {
    deriveKey: (n: number) => {
      if (n === 0) throw error;
      return n;
    },
  });
  const limited = limit(async (n: number) => await Promise.resolve(n));
  for (let round = 0; round < 3; round++) {
    assertStrictEquals(await limited(0).catch((e: unknown) => e), error);
    assertEquals([limit.activeCount, limit.pendingCount], [0, 0]);
  }
  assertEquals(await limited(1), 1);
});

test("limitConcurrency() rejects with QueueFullError when maxQueue calls of the key wait", async () => {
  const { run, started, end } = manual();
  const limit = limitConcurrency(1, {
    maxQueue: 1,
    deriveKey: (name: string) => name[0],
  });
  const limited = limit(run);
  const results = [limited("a1"), limited("a2"), limited("b1"), limited("b2")];
  const error = await assertRejects(() => limited("a3"), QueueFullError);
  assertEquals(error.maxQueue, 1);
  await end("a1");
  const later = limited("a4");
  for (const name of ["a2", "b1", "b2", "a4"]) await end(name);
  assertEquals(await Promise.all(results), ["a1", "a2", "b1", "b2"]);
  assertEquals(await later, "a4");
  assertEquals(started, ["a1", "b1", "a2", "a4", "b2"]);
});

test("limitConcurrency() lets nobody wait when maxQueue is 0", async () => {
  const { run, end } = manual();
  const limited = limitConcurrency(1, { maxQueue: 0 })(run);
  const first = limited("a");
  await assertRejects(() => limited("b"), QueueFullError);
  await end("a");
  assertEquals(await first, "a");
});

test("limitConcurrency() rejects waiting and later calls when its signal aborts, and running ones go on", async () => {
  const { run, started, end } = manual();
  const controller = new AbortController();
  const limit = limitConcurrency(1, {
    signal: controller.signal,
    deriveKey: (name: string) => name[0],
  });
  const limited = limit(run);
  const running = [limited("a1"), limited("b1")];
  const waiting = ["a2", "b2", "a3"].map((name) =>
    limited(name).catch((reason: unknown) => reason)
  );
  const reason = new Error("enough");
  controller.abort(reason);
  assertEquals([limit.activeCount, limit.pendingCount], [2, 0]);
  assertEquals(await Promise.all(waiting), [reason, reason, reason]);
  assertStrictEquals(await limited("a4").catch((e: unknown) => e), reason);
  assertStrictEquals(await limited("c1").catch((e: unknown) => e), reason);
  await end("a1");
  await end("b1");
  assertEquals(await Promise.all(running), ["a1", "b1"]);
  assertEquals(started, ["a1", "b1"]);
  assertEquals([limit.activeCount, limit.pendingCount], [0, 0]);
});

test("limitConcurrency() takes a waiting call out of the line when a signal among its arguments aborts", async () => {
  const { run, started, end } = manual();
  const limit = limitConcurrency(1);
  const limited = limit(run);
  const running = limited("running");
  const direct = new AbortController();
  const member = new AbortController();
  const waiting = [
    limited("direct", direct.signal),
    limited("stays", new AbortController().signal),
    limited("member", 1, { signal: member.signal }),
    limited("last"),
  ];
  const outcomes = waiting.map((call) => call.catch((e: unknown) => e));
  member.abort("member");
  assertEquals(await outcomes[2], "member");
  direct.abort("direct");
  assertEquals(await outcomes[0], "direct");
  assertEquals(limit.pendingCount, 2);
  assertEquals(await limited("late", direct.signal).catch((e: unknown) => e), "direct");
  for (const name of ["running", "stays", "last"]) await end(name);
  assertEquals(await running, "running");
  assertEquals(await Promise.all([outcomes[1], outcomes[3]]), ["stays", "last"]);
  assertEquals(started, ["running", "stays", "last"]);
});

test("limitConcurrency() leaves a running call alone when its signal aborts", async () => {
  const { run, end } = manual();
  const limit = limitConcurrency(1);
  const controller = new AbortController();
  const call = limit(run)("a", controller.signal);
  controller.abort();
  await settle();
  assertEquals(limit.activeCount, 1);
  await end("a");
  assertEquals(await call, "a");
});

test("limitConcurrency() takes arguments that cannot be looked into as they are", async () => {
  const { run, end } = manual();
  const limited = limitConcurrency(1)(run);
  const { proxy, revoke } = Proxy.revocable({}, {});
  revoke();
  const trap = {
    get signal(): never {
      throw new Error("private");
    },
  };
  const results = [limited("a"), limited("b", proxy), limited("c", trap)];
  for (const name of ["a", "b", "c"]) await end(name);
  assertEquals(await Promise.all(results), ["a", "b", "c"]);
});

test("limitConcurrency() listens once per signal while calls wait, and not at all afterwards", async () => {
  let listeners = 0;
  let most = 0;
  class Counted extends AbortController {
    constructor() {
      super();
      const { signal } = this;
      const add = signal.addEventListener.bind(signal);
      const remove = signal.removeEventListener.bind(signal);
      Object.assign(signal, {
        addEventListener: (...args: Parameters<typeof add>) => {
          most = Math.max(most, ++listeners);
          add(...args);
        },
        removeEventListener: (...args: Parameters<typeof remove>) => {
          listeners--;
          remove(...args);
        },
      });
    }
  }
  const { run, end } = manual();
  const own = new Counted();
  const limited = limitConcurrency(1, { signal: own.signal })(run);
  assertEquals(listeners, 0);
  const caller = new Counted();
  const names = ["a", "b", "c", "d"];
  const results = names.map((name) => limited(name, caller.signal));
  assertEquals([listeners, most], [2, 2]);
  for (const name of names) await end(name);
  await Promise.all(results);
  assertEquals(listeners, 0);
  const again = [limited("e"), limited("f", caller.signal)];
  caller.abort("gone");
  assertEquals(await again[1]?.catch((e: unknown) => e), "gone");
  assertEquals(listeners, 0);
  await end("e");
});

test("limitConcurrency() runs each of 100 waiting calls in the async context of its own caller", async () => {
  const storage = new AsyncLocalStorage<number>();
  const limited = limitConcurrency(3, { deriveKey: (n: number) => n % 2 })(async (n: number) => {
    const before = storage.getStore();
    await settle();
    return [n, before, storage.getStore()];
  });
  const results = await Promise.all(
    Array.from({ length: 100 }, (_, n) => storage.run(n, () => limited(n))),
  );
  assertEquals(
    results,
    Array.from({ length: 100 }, (_, n) => [n, n, n]),
  );
});

test("limitConcurrency() refuses a call that would wait for a permit of the functions that make it", async () => {
  const cases: [n: number, deriveKey: ((n: number) => unknown) | undefined, isRefused: boolean][] =
    [
      [1, undefined, true],
      [2, undefined, true],
      [3, undefined, false],
      [1, (n) => n, false],
    ];
  for (const [n, deriveKey, isRefused] of cases) {
    const limit = limitConcurrency(n, deriveKey === undefined ? {} : { deriveKey });
    const countdown: (n: number) => Promise<number> = limit((n: number) =>
      n === 0 ? Promise.resolve(0) : countdown(n - 1)
    );
    if (isRefused) {
      const error = await assertRejects(() => countdown(2), ReentrantCallError);
      assert(error.message.includes("it would wait for a permit that its caller holds"));
    } else assertEquals(await countdown(2), 0);
    assertEquals([limit.activeCount, limit.pendingCount], [0, 0]);
  }
  // A call outside of the synchronous part may wait for others.
  const limit = limitConcurrency(1);
  const later: Promise<string>[] = [];
  const limited: (name: string) => Promise<string> = limit(async (name: string) => {
    await Promise.resolve();
    if (name === "first") later.push(limited("later"));
    return name;
  });
  assertEquals(await limited("first"), "first");
  assertEquals(await later[0], "later");
});

test("limitConcurrency() forgets idle keys", async () => {
  const limited = limitConcurrency(1, { deriveKey: (key: object) => key })(async (
    _key: object,
    fail: boolean,
  ) => {
    await Promise.resolve();
    if (fail) throw new Error("failed");
  });
  const references: WeakRef<object>[] = [];
  for (let i = 0; i < 1_000; i++) {
    const key = { i };
    references.push(new WeakRef(key));
    await Promise.allSettled([limited(key, false), limited(key, true)]);
  }
  assert(await areCollected(references));
  await limited({}, false);
});

test("limitConcurrency() forgets keys whose calls leave during a pause", async () => {
  const make = (maxQueue: number) => {
    const limit = limitConcurrency(1, { maxQueue, deriveKey: (key: object) => key });
    limit.pause("1h");
    return limit(async (_key: object, _signal: AbortSignal) => await settle());
  };
  const [waits, refuses] = [make(Infinity), make(0)];
  const references: WeakRef<object>[] = [];
  for (let i = 0; i < 1_000; i++) {
    const controller = new AbortController();
    const key = { i };
    references.push(new WeakRef(key));
    const calls = [waits(key, controller.signal), refuses(key, controller.signal)];
    controller.abort("gone");
    await Promise.allSettled(calls);
  }
  assert(await areCollected(references));
  // A limit that is not reachable would keep nothing anyway.
  for (const call of [waits, refuses]) await call({}, AbortSignal.abort()).catch(() => {});
});

test("limitConcurrency() keeps nothing of waiting calls that were aborted", async () => {
  const { run, end } = manual();
  const limit = limitConcurrency(1);
  const limited = limit(run);
  const running = limited("a");
  const patient = limited("b");
  const references: WeakRef<object>[] = [];
  for (let i = 0; i < 1_000; i++) {
    const controller = new AbortController();
    const payload = { i };
    references.push(new WeakRef(payload));
    const call = limited("never", payload, controller.signal);
    controller.abort("gone");
    await call.catch(() => {});
  }
  assert(await areCollected(references));
  await end("a");
  await end("b");
  assertEquals(await Promise.all([running, patient]), ["a", "b"]);
});

test("limitConcurrency() takes 100,000 waiting calls under one signal out in a moment", async () => {
  const { run, end } = manual();
  const limited = limitConcurrency(1)(run);
  const running = limited("a");
  const controller = new AbortController();
  const begin = performance.now();
  const calls = Array.from(
    { length: 100_000 },
    () => limited("never", controller.signal).catch((e: unknown) => e),
  );
  controller.abort("gone");
  assert((await Promise.all(calls)).every((reason) => reason === "gone"));
  // A quadratic algorithm needs minutes; this one needs a fraction of a second.
  assertLess(performance.now() - begin, 10_000);
  await end("a");
  await running;
});

test("limitConcurrency() behaves as a simple model over random schedules", async () => {
  /** The limit in its plainest form. */
  class Model {
    readonly lanes = new Map<number, { running: number[]; waiting: number[] }>();
    readonly started: number[] = [];
    constructor(
      readonly n: number,
      readonly maxQueue: number,
    ) {}
    lane(key: number) {
      const lane = this.lanes.get(key) ?? { running: [], waiting: [] };
      this.lanes.set(key, lane);
      return lane;
    }
    /** Whether the call is accepted. */
    call(id: number, key: number): boolean {
      const { running, waiting } = this.lane(key);
      if (running.length < this.n) {
        running.push(id);
        this.started.push(id);
      } else if (waiting.length < this.maxQueue) waiting.push(id);
      else return false;
      return true;
    }
    settle(id: number, key: number): void {
      const { running, waiting } = this.lane(key);
      running.splice(running.indexOf(id), 1);
      const next = waiting.shift();
      if (next === undefined) return;
      running.push(next);
      this.started.push(next);
    }
    abort(id: number, key: number): void {
      const { waiting } = this.lane(key);
      waiting.splice(waiting.indexOf(id), 1);
    }
    count(kind: "running" | "waiting"): number {
      return [...this.lanes.values()].reduce((sum, l) => sum + l[kind].length, 0);
    }
  }
  const step = fc.oneof(
    {
      weight: 5,
      arbitrary: fc.record({
        do: fc.constant("call" as const),
        key: fc.nat(2),
      }),
    },
    {
      weight: 4,
      arbitrary: fc.record({
        do: fc.constantFrom("resolve" as const, "reject" as const),
        pick: fc.nat(),
      }),
    },
    {
      weight: 2,
      arbitrary: fc.record({
        do: fc.constant("abort" as const),
        pick: fc.nat(),
      }),
    },
  );
  await fc.assert(
    fc.asyncProperty(
      fc.integer({ min: 1, max: 3 }),
      fc.constantFrom(0, 2, Infinity),
      fc.array(fc.tuple(step, fc.boolean()), { maxLength: 40 }),
      async (n, maxQueue, steps) => {
        const model = new Model(n, maxQueue);
        const limit = limitConcurrency(n, {
          maxQueue,
          deriveKey: (_id: number, key: number) => key,
        });
        const started: number[] = [];
        const settles = new Map<number, (fail: boolean) => void>();
        const limited = limit((id: number, _key: number, _signal: AbortSignal) => {
          started.push(id);
          return new Promise<number>((resolve, reject) =>
            settles.set(id, (fail) => (fail ? reject(`failed ${id}`) : resolve(id)))
          );
        });
        const calls: { key: number; controller: AbortController }[] = [];
        const outcomes: unknown[] = [];
        const expected: unknown[] = [];
        const finish = (id: number, key: number, fail: boolean): void => {
          settles.get(id)?.(fail);
          model.settle(id, key);
          expected[id] = fail ? `failed ${id}` : id;
        };
        const picked = (kind: "running" | "waiting", pick: number) => {
          const all = [...model.lanes].flatMap(([key, lane]) =>
            lane[kind].map((id) => ({ id, key }))
          );
          return all[pick % all.length];
        };
        for (const [action, pause] of steps) {
          if (action.do === "call") {
            const id = calls.length;
            const controller = new AbortController();
            calls.push({ key: action.key, controller });
            limited(id, action.key, controller.signal).then(
              (value) => (outcomes[id] = value),
              (error: unknown) => (outcomes[id] = error instanceof QueueFullError ? "full" : error),
            );
            if (!model.call(id, action.key)) expected[id] = "full";
          } else if (action.do === "abort") {
            const chosen = picked("waiting", action.pick);
            if (chosen === undefined) continue;
            calls[chosen.id]?.controller.abort(`aborted ${chosen.id}`);
            model.abort(chosen.id, chosen.key);
            expected[chosen.id] = `aborted ${chosen.id}`;
          } else {
            // Only a running call can be settled, so the pending steps have to finish first.
            await settle();
            const chosen = picked("running", action.pick);
            if (chosen === undefined) continue;
            finish(chosen.id, chosen.key, action.do === "reject");
            await settle();
          }
          if (pause) await settle();
          assertEquals(limit.activeCount, model.count("running"));
          assertEquals(limit.pendingCount, model.count("waiting"));
        }
        await settle();
        assertEquals(started, model.started);
        for (let more = picked("running", 0); more; more = picked("running", 0)) {
          finish(more.id, more.key, false);
          await settle();
        }
        assertEquals(started, model.started);
        assertEquals(outcomes, expected);
        assertEquals([limit.activeCount, limit.pendingCount], [0, 0]);
      },
    ),
    { seed: 20_250_607, numRuns: 300 },
  );
});
