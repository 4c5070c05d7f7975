/** `fn.map`: its results, their order, and its requests to the function and the store. */
import { AsyncLocalStorage } from "node:async_hooks";
import process, { memoryUsage } from "node:process";
import { after, test } from "node:test";
import { inspect } from "node:util";
import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertRejects,
  assertStrictEquals,
  assertThrows,
} from "@std/assert";
import type { StoredEntry } from "../../src/encoding/entry.ts";
import type { Batch } from "../../src/core/batch.ts";
import type { MapResult } from "../../src/core/map_options.ts";
import type { BatchProgress } from "../../src/base/batch_progress.ts";
import { Cache } from "../../src/core/cache.ts";
import {
  BatchError,
  CacheClosedError,
  CacheOnlyError,
  UnhashableArgumentError,
} from "../../src/base/errors.ts";
import { limitConcurrency, retry } from "../../concurrency.ts";
import { MemoryBackend, MemoryCache } from "../../memory.ts";
import type { ErrorContext } from "../../src/core/options.ts";
import { FaultyBackend } from "../support/faulty.ts";
import { withVariables } from "../support/environment.ts";
import { collector } from "../support/collected.ts";
import { until } from "../support/event_loop.ts";
import { settle } from "../support/fake_time.ts";
import { Polyfill } from "../support/by_hand.ts";

/** The number of inputs per lookup; `batch.ts` gives the reason. */
const CHUNK = 128;

const unhandled: unknown[] = [];
process.on("unhandledRejection", (reason) => unhandled.push(reason));
after(() => assertEquals(unhandled, [], "a rejection was left unhandled"));

/** A function whose runs end when the test says so. */
class Runs<Input, Value> {
  readonly started: Input[] = [];
  active = 0;
  mostActive = 0;
  readonly #open = new Map<Input, PromiseWithResolvers<Value>>();

  readonly fn = async (input: Input): Promise<Value> => {
    this.started.push(input);
    this.mostActive = Math.max(this.mostActive, ++this.active);
    const run = Promise.withResolvers<Value>();
    this.#open.set(input, run);
    try {
      return await run.promise;
    } finally {
      this.active--;
    }
  };

  async end(input: Input, value: Value): Promise<void> {
    this.#open.get(input)!.resolve(value);
    await settle();
  }

  async fail(input: Input, error: unknown): Promise<void> {
    this.#open.get(input)!.reject(error);
    await settle();
  }
}

/** A cache that counts the requests to its backend, and records its reports. */
function countingCache() {
  const backend = new FaultyBackend(new MemoryBackend());
  const errors: { error: Error; context: ErrorContext }[] = [];
  const cache = new Cache(backend, {
    onError: (error, context) => errors.push({ error, context }),
  });
  return { backend, cache, errors };
}

/** Reads a batch to its end, as far as it comes. */
async function collect<Input, Value>(
  batch: Batch<Input, Value>,
): Promise<{ results: MapResult<Input, Value>[]; failure: unknown }> {
  const results: MapResult<Input, Value>[] = [];
  try {
    for await (const result of batch) results.push(result);
  } catch (failure) {
    return { results, failure };
  }
  return { results, failure: undefined };
}

/** Reads a batch in the background, and shows its progress. */
function watch<Input, Value>(batch: Batch<Input, Value>) {
  const results: MapResult<Input, Value>[] = [];
  const state = { results, ended: false, failure: undefined as unknown };
  void (async () => {
    try {
      for await (const result of batch) results.push(result);
    } catch (failure) {
      state.failure = failure;
    }
    state.ended = true;
  })();
  return state;
}

const double = async (n: number): Promise<number> => await Promise.resolve(2 * n);

function* range(count: number): Generator<number, void, void> {
  for (let n = 0; n < count; n++) yield n;
}

test("fn.map() starts nothing before the batch is iterated", async () => {
  const { backend, cache } = countingCache();
  let read = 0;
  let runs = 0;
  const fn = cache.cache({ id: "f" })(async (n: number) => {
    runs++;
    return await Promise.resolve(n);
  });
  const inputs = function* () {
    read++;
    yield 1;
  };
  const batch = fn.map(inputs(), { concurrency: 1 });
  const iterator = batch[Symbol.asyncIterator]();
  await settle();
  assertEquals([read, runs, backend.calls("getMany")], [0, 0, 0]);
  assertEquals((await iterator.next()).value?.status, "miss");
  assertEquals([read, runs], [1, 1]);
});

test("fn.map() takes arrays, sets, maps, iterators, generators and async generators", async () => {
  await using cache = new MemoryCache();
  const fn = cache.cache({ id: "f" })(double);
  const asynchronous = async function* () {
    for (const n of [1, 2, 3]) {
      await Promise.resolve();
      yield n;
    }
  };
  const sources = [
    [1, 2, 3],
    new Set([1, 2, 3]),
    new Map([
      [1, 0],
      [2, 0],
      [3, 0],
    ]).keys(),
    [1, 2, 3].values(),
    range(4).drop(1),
    asynchronous(),
    new Int8Array([1, 2, 3]),
    ReadableStream.from([1, 2, 3]),
  ];
  for (const inputs of sources) {
    assertEquals(await fn.map(inputs, { concurrency: 2 }).values(), [2, 4, 6]);
  }
  assertEquals(await fn.map([], { concurrency: 2 }).values(), []);
});

test("fn.map() reports the total where it is known", async () => {
  await using cache = new MemoryCache();
  const fn = cache.cache({ id: "f" })(double);
  const totalOf = (inputs: Iterable<number>) => fn.map(inputs, { concurrency: 1 }).summary.total;
  assertEquals(totalOf([1, 2]), 2);
  assertEquals(totalOf(new Set([1, 2, 3])), 3);
  assertEquals(totalOf(range(3)), undefined);
});

test("fn.map() gives index, input, value and status of each input", async () => {
  await using cache = new MemoryCache();
  const error = new Error("odd");
  const fn = cache.cache({ id: "f" })(async (n: number) => {
    if (n === 3) throw error;
    return await Promise.resolve(n * 10);
  });
  await fn(1);
  const { results } = await collect(fn.map([1, 2, 3, 2], { concurrency: 9, ordered: true }));
  assertEquals(results, [
    { index: 0, input: 1, ok: true, value: 10, status: "hit" },
    { index: 1, input: 2, ok: true, value: 20, status: "miss" },
    { index: 2, input: 3, ok: false, error, status: "failed" },
    { index: 3, input: 2, ok: true, value: 20, status: "shared" },
  ]);
});

test("fn.map() passes args after the input, and they are part of the key", async () => {
  await using cache = new MemoryCache();
  const fn = cache.cache({ id: "f" })(
    async (n: number, add: number, text = "") => await Promise.resolve(`${n + add}${text}`),
  );
  const map = (args: [number, string?]) => fn.map([1, 2], { concurrency: 2, args }).values();
  assertEquals(await map([10]), ["11", "12"]);
  assertEquals(await map([20, "!"]), ["21!", "22!"]);
  assertEquals((await fn.readCache(1, 10)).hit, true);
  assertEquals((await fn.readCache(1, 20)).hit, false);
});

test("fn.map() looks keys up in chunks, and once more before it runs one", async () => {
  const { backend, cache } = countingCache();
  const fn = cache.cache({ id: "f" })(double);
  const inputs = [...range(5 * CHUNK)];
  await fn.map(inputs, { concurrency: 3 }).values();
  assertEquals([backend.calls("getMany"), backend.calls("get")], [5, 5 * CHUNK]);
  assertEquals(backend.calls("set"), 5 * CHUNK);
  await fn.map(inputs, { concurrency: 3 }).values();
  assertEquals([backend.calls("getMany"), backend.calls("get")], [10, 5 * CHUNK]);
});

test("fn.map() gives hits before misses that run", async () => {
  await using cache = new MemoryCache();
  const runs = new Runs<number, number>();
  const fn = cache.cache({ id: "f" })(runs.fn);
  const first = watch(fn.map([2, 3], { concurrency: 2 }));
  await settle();
  await runs.end(2, 2);
  await runs.end(3, 3);
  assert(first.ended);
  const second = watch(fn.map([1, 2, 3], { concurrency: 1 }));
  await settle();
  assertEquals(
    second.results.map(({ input }) => input),
    [2, 3],
  );
  await runs.end(1, 1);
  assertEquals(
    second.results.map(({ input }) => input),
    [2, 3, 1],
  );
});

test("fn.map() runs as many misses as asked for and never more", async () => {
  for (const concurrency of [1, 3, 200]) {
    await using cache = new MemoryCache();
    const runs = new Runs<number, number>();
    const fn = cache.cache({ id: "f" })(runs.fn);
    const count = 5 * CHUNK;
    const watched = watch(fn.map(range(count), { concurrency }));
    for (let ended = 0; ended < count; ended++) {
      const most = Math.min(concurrency, count - ended);
      await until(() => runs.active >= most);
      assertEquals(runs.active, most);
      await runs.end(runs.started[ended]!, 0);
    }
    await until(() => watched.ended);
    assertEquals(runs.mostActive, concurrency);
    assertEquals([watched.ended, watched.results.length], [true, count]);
  }
});

test("fn.map() looks each key up alone where the bulk look-up fails", async () => {
  const { backend, cache, errors } = countingCache();
  let runs = 0;
  const fn = cache.cache({ id: "f" })(async (n: number) => {
    runs++;
    return await Promise.resolve(2 * n);
  });
  await fn.map(range(100), { concurrency: 10 }).values();
  backend.fail("getMany");
  const batch = fn.map(range(101), { concurrency: 10 });
  assertEquals(
    await batch.values(),
    [...range(101)].map((n) => 2 * n),
  );
  assertEquals(runs, 101, "what is stored is not computed again");
  assertEquals([batch.summary.hits, batch.summary.misses], [100, 1]);
  assertEquals(
    errors.map(({ context }) => context.kind),
    ["read"],
  );
});

test("fn.map() with endless concurrency starts every miss", async () => {
  await using cache = new MemoryCache();
  const runs = new Runs<number, number>();
  const fn = cache.cache({ id: "f" })(runs.fn);
  const watched = watch(fn.map(range(3000), { concurrency: Infinity }));
  await until(() => runs.active >= 3000);
  for (const n of range(3000)) void runs.end(n, n);
  await settle();
  assertEquals([watched.ended, watched.results.length], [true, 3000]);
});

test("fn.map() runs equal inputs of one chunk once", async () => {
  await using cache = new MemoryCache();
  let runs = 0;
  const fn = cache.cache({ id: "f" })(async (input: { n: number }) => {
    runs++;
    return await Promise.resolve([input.n]);
  });
  const inputs = [1, 2, 1, 1, 2].map((n) => ({ n }));
  const batch = fn.map(inputs, { concurrency: 5 });
  const values = await batch.values();
  assertEquals(values, [[1], [2], [1], [1], [2]]);
  assertEquals(runs, 2);
  values[0]!.push(9);
  assertEquals(values[2], [1], "each input owns its value");
  const { misses, shared, done } = batch.summary;
  assertEquals([misses, shared, done], [2, 3, 5]);
});

test("fn.map() lets an input of a later chunk wait for the run of an equal one", async () => {
  const { cache } = countingCache();
  const runs = new Runs<number, string>();
  const fn = cache.cache({ id: "f" })(runs.fn);
  const inputs = [...range(CHUNK), 0, 0];
  const watched = watch(fn.map(inputs, { concurrency: Infinity }));
  await until(() => runs.started.length === CHUNK);
  await settle();
  for (const n of range(CHUNK)) await runs.end(n, `${n}`);
  assertEquals(watched.results.length, CHUNK + 2);
  assertEquals(runs.started.length, CHUNK);
  assertEquals(watched.results.filter(({ status }) => status === "shared").length, 2);
});

test("fn.map() fails equal inputs that wait with the one error, and later ones run again", async () => {
  await using cache = new MemoryCache();
  const runs = new Runs<number, string>();
  const fn = cache.cache({ id: "f" })(runs.fn);
  const error = new Error("refused");
  const inputs = async function* () {
    yield* [1, 1];
    await later.promise;
    yield 1;
  };
  const later = Promise.withResolvers<void>();
  const watched = watch(fn.map(inputs(), { concurrency: 2 }));
  await until(() => runs.started.length > 0);
  await runs.fail(1, error);
  assertEquals(runs.started, [1]);
  for (const result of watched.results) {
    assert(!result.ok);
    assertStrictEquals(result.error, error);
  }
  assertEquals(watched.results.length, 2);
  later.resolve();
  await until(() => runs.started.length > 1);
  await runs.end(1, "better");
  assert(watched.ended);
  assertEquals(watched.results[2]?.status, "miss");
});

test("fn.map() runs equal inputs once where shouldCache is false", async () => {
  await using cache = new MemoryCache();
  let runs = 0;
  const fn = cache.cache({ id: "f", shouldCache: () => false })(async (n: number) => {
    runs++;
    return await Promise.resolve({ n });
  });
  const values = await fn.map([7, 7, 7], { concurrency: 3 }).values();
  assertEquals(values, [{ n: 7 }, { n: 7 }, { n: 7 }]);
  assertEquals(runs, 1);
  assert(values[0] !== values[1]);
});

test("fn.map() joins a call that runs already, and a call joins the batch", async () => {
  await using cache = new MemoryCache();
  const runs = new Runs<number, number>();
  const fn = cache.cache({ id: "f" })(runs.fn);
  const before = fn(1);
  const watched = watch(fn.map([1, 2], { concurrency: 2 }));
  await settle();
  const later = fn.detail(2);
  await settle();
  assertEquals(runs.started, [1, 2]);
  await runs.end(1, 10);
  await runs.end(2, 20);
  assertEquals(await before, 10);
  assertEquals((await later).status, "shared");
  assertEquals(
    watched.results.map(({ status }) => status),
    ["shared", "miss"],
  );
});

test("fn.map() fails an input without a key alone", async () => {
  await using cache = new MemoryCache();
  const fn = cache.cache({ id: "f" })(
    async (input: unknown) => await Promise.resolve(typeof input),
  );
  const { results, failure } = await collect(
    fn.map([1, () => 1, "text", Symbol("s")], {
      concurrency: 2,
      ordered: true,
    }),
  );
  assertEquals(failure, undefined);
  assertEquals(
    results.map(({ ok }) => ok),
    [true, false, true, false],
  );
  for (const index of [1, 3]) {
    const result = results[index];
    assert(result !== undefined && !result.ok);
    assertInstanceOf(result.error, UnhashableArgumentError);
  }
});

test("fn.map() in order gives results in the order of the inputs", async () => {
  await using cache = new MemoryCache();
  const runs = new Runs<number, number>();
  const fn = cache.cache({ id: "f" })(runs.fn);
  const watched = watch(fn.map([0, 1, 2, 3], { concurrency: 4, ordered: true }));
  await settle();
  await runs.end(2, 2);
  await runs.fail(1, new Error("one"));
  assertEquals(watched.results, []);
  await runs.end(0, 0);
  assertEquals(
    watched.results.map(({ index }) => index),
    [0, 1, 2],
  );
  await runs.end(3, 3);
  assertEquals(
    watched.results.map(({ index }) => index),
    [0, 1, 2, 3],
  );
  assert(watched.ended);
});

test("fn.map() in order reads a bounded number of inputs past a slow one", async () => {
  await using cache = new MemoryCache();
  const { promise, resolve } = Promise.withResolvers<void>();
  let read = 0;
  const inputs = function* () {
    for (const n of range(100_000)) {
      read++;
      yield n;
    }
  };
  const fn = cache.cache({ id: "f" })(async (n: number) => {
    if (n === 0) await promise;
    return n;
  });
  const watched = watch(fn.map(inputs(), { concurrency: 4, ordered: true }));
  for (let turn = 0; turn < 200; turn++) await settle();
  assertEquals(watched.results, []);
  assert(read > CHUNK && read <= 10 * CHUNK, `read ${read}`);
  resolve();
  await until(() => watched.ended);
  assertEquals(watched.results.length, 100_000);
  assert(watched.results.every(({ index }, position) => index === position));
});

test("fn.map() reads no further than a bounded number past a consumer that pauses", async () => {
  for (const stored of [false, true]) {
    await using cache = new MemoryCache();
    const fn = cache.cache({ id: "f" })(double);
    if (stored) await fn.map(range(5000), { concurrency: 9 }).values();
    let read = 0;
    const inputs = function* () {
      for (const n of range(1_000_000)) {
        read++;
        yield n;
      }
    };
    const results = fn.map(inputs(), { concurrency: 2 })[Symbol.asyncIterator]();
    let furthest = 0;
    for (let taken = 0; taken < 2000; taken++) {
      await results.next();
      if (taken % 100 === 0) {
        for (let turn = 0; turn < 20; turn++) await settle();
      }
      furthest = Math.max(furthest, read - taken);
    }
    assert(furthest <= 16 * CHUNK, `${furthest} inputs read ahead`);
    await results.return?.();
  }
});

test("fn.map() over 1,000,000 inputs keeps a bounded number in memory", async () => {
  await using cache = new MemoryCache({ maxBytes: 1_000_000 });
  const fn = cache.cache({ id: "f", hashFunc: (n: number) => `${n % 1000}` })(
    async (n: number) => await Promise.resolve(n),
  );
  let read = 0;
  const inputs = function* () {
    for (; read < 1_000_000; read++) yield read;
  };
  let ahead = 0;
  let most = 0;
  let done = 0;
  const collect = collector();
  collect();
  const before = memoryUsage().heapUsed;
  for await (const { ok } of fn.map(inputs(), { concurrency: 8 })) {
    assert(ok);
    done++;
    ahead = Math.max(ahead, read - done);
    if (done % 100_000 === 0) {
      collect();
      most = Math.max(most, memoryUsage().heapUsed);
    }
  }
  assertEquals(done, 1_000_000);
  assert(ahead <= 16 * CHUNK, `${ahead} inputs read ahead`);
  // A million results take more than 100 MB.
  assert(most - before < 15e6, `${(most - before) / 1e6} MB`);
});

test("fn.map() gives what a slow source has at once", async () => {
  await using cache = new MemoryCache();
  const fn = cache.cache({ id: "f" })(double);
  const gates = [0, 1, 2].map(() => Promise.withResolvers<void>());
  const inputs = async function* () {
    for (const [n, gate] of gates.entries()) {
      await gate.promise;
      yield n;
    }
  };
  const watched = watch(fn.map(inputs(), { concurrency: 2 }));
  for (const [n, gate] of gates.entries()) {
    await settle();
    assertEquals(watched.results.length, n);
    gate.resolve();
    await until(() => watched.results.length > n);
  }
  await until(() => watched.ended);
});

test("fn.map() looks inputs of a fast async source up in whole chunks", async () => {
  const { backend, cache } = countingCache();
  const fn = cache.cache({ id: "f" })(double);
  const inputs = async function* () {
    for (const n of range(4 * CHUNK)) yield await Promise.resolve(n);
  };
  await fn.map(inputs(), { concurrency: 2 }).values();
  // A pause of the machine may cut a chunk short, but inputs are never looked up one by one.
  assert(backend.calls("getMany") <= 8, `${backend.calls("getMany")}`);
});

test("Batch.values() gives the values in the order of the inputs", async () => {
  await using cache = new MemoryCache();
  const runs = new Runs<number, string>();
  const fn = cache.cache({ id: "f" })(runs.fn);
  const values = fn.map([3, 1, 2], { concurrency: 3 }).values();
  await settle();
  for (const n of [1, 2, 3]) await runs.end(n, `v${n}`);
  assertEquals(await values, ["v3", "v1", "v2"]);
});

test("Batch.values() rejects with every error, in order, when all else is stored", async () => {
  await using cache = new MemoryCache();
  const runs = new Runs<number, string>();
  const fn = cache.cache({ id: "f" })(runs.fn);
  const values = fn.map([1, 2, 3, 4], { concurrency: 4 }).values();
  const outcome = assertRejects(() => values, BatchError);
  await settle();
  await runs.fail(3, new Error("third"));
  await runs.end(2, "two");
  await runs.fail(1, new Error("first"));
  await runs.end(4, "four");
  const error = await outcome;
  assertEquals(
    error.failures.map(({ index, input, error }) => [index, input, (error as Error).message]),
    [[0, 1, "first"], [2, 3, "third"]],
  );
  assert(!inspect(error).includes("third"), "only the first is its cause, and no input is shown");
  assert(error.message.includes("2 of 4 inputs failed"), error.message);
  assertEquals((await fn.readCache(2)).hit, true);
  assertEquals((await fn.readCache(4)).hit, true);
});

test("Batch refuses to be consumed twice", async () => {
  await using cache = new MemoryCache();
  const fn = cache.cache({ id: "f" })(double);
  const batch = fn.map([1], { concurrency: 1 });
  assertEquals(await batch.values(), [2]);
  assertThrows(() => batch[Symbol.asyncIterator](), TypeError, "consumed already");
  await assertRejects(() => batch.values(), TypeError, "consumed already");
});

test("Batch.summary counts what came out, and what it saved", async () => {
  await using cache = new MemoryCache();
  const fn = cache.cache({ id: "f" })(async (n: number) => {
    if (n < 0) throw new RangeError("negative");
    return await new Promise<number>((resolve) => setTimeout(() => resolve(n), 5));
  });
  await fn(1);
  const { durationMs: cost } = await fn.detail(1);
  const batch = fn.map([1, 2, 2, -1, 1], { concurrency: 2 });
  await assertRejects(() => batch.values(), BatchError);
  const { savedMs, durationMs, ...counts } = batch.summary;
  assertEquals(counts, {
    done: 5,
    total: 5,
    hits: 2,
    misses: 1,
    shared: 1,
    stale: 0,
    failed: 1,
    unstored: 0,
    running: 0,
    finished: true,
  });
  const second = (await fn.detail(2)).durationMs;
  assertEquals(savedMs, Math.round((2 * cost + second) * 1000) / 1000);
  assert(durationMs > 0);
});

test("onProgress is called at the start, for each result and at the end", async () => {
  await using cache = new MemoryCache();
  const fn = cache.cache({ id: "f" })(double);
  await fn(2);
  const told: BatchProgress[] = [];
  const batch = fn.map([1, 2, 3], {
    concurrency: 1,
    onProgress: (progress) => told.push({ ...progress }),
  });
  await batch.values();
  assertEquals(
    told.map(({ done }) => done),
    [0, 1, 2, 3, 3],
  );
  assertEquals(
    told.map(({ finished }) => finished),
    [false, false, false, false, true],
  );
  const last = told.at(-1);
  assertEquals([last?.hits, last?.misses, last?.total], [1, 2, 3]);
});

test("onProgress that throws is reported and stops nothing", async () => {
  const { cache, errors } = countingCache();
  const fn = cache.cache({ id: "f" })(double);
  const values = await fn
    .map([1, 2], {
      concurrency: 1,
      onProgress: () => {
        throw new Error("no terminal");
      },
    })
    .values();
  assertEquals(values, [2, 4]);
  assertEquals(
    errors.map(({ error, context }) => [error.message, context]),
    [
      ["no terminal", { kind: "progress", id: "f", key: undefined }],
      ["no terminal", { kind: "progress", id: "f", key: undefined }],
      ["no terminal", { kind: "progress", id: "f", key: undefined }],
      ["no terminal", { kind: "progress", id: "f", key: undefined }],
    ],
  );
});

test("fn.map() with a signal that has aborted takes no input", async () => {
  const { backend, cache } = countingCache();
  const fn = cache.cache({ id: "f" })(double);
  let read = 0;
  const inputs = function* () {
    read++;
    yield 1;
  };
  const reason = new Error("never mind");
  const signal = AbortSignal.abort(reason);
  const progress: boolean[] = [];
  const { results, failure } = await collect(
    fn.map(inputs(), {
      concurrency: 1,
      signal,
      onProgress: ({ finished }) => progress.push(finished),
    }),
  );
  assertStrictEquals(failure, reason);
  assertEquals(results, []);
  assertEquals([read, backend.calls("getMany")], [0, 0]);
  assertEquals(progress, [true]);
});

test("fn.map() that is aborted lets what runs finish, stores it and ends with the reason", async () => {
  await using cache = new MemoryCache();
  const runs = new Runs<number, number>();
  const fn = cache.cache({ id: "f" })(runs.fn);
  const controller = new AbortController();
  let closed = false;
  const inputs = function* () {
    try {
      yield* range(1000);
    } finally {
      closed = true;
    }
  };
  const watched = watch(fn.map(inputs(), { concurrency: 2, signal: controller.signal }));
  await settle();
  await runs.end(0, 0);
  const reason = new Error("enough");
  controller.abort(reason);
  await settle();
  assert(closed, "the source is told at once");
  assertEquals([watched.ended, runs.active], [false, 2]);
  await runs.end(1, 1);
  await runs.fail(2, new Error("two"));
  assertEquals([watched.ended, runs.active], [true, 0]);
  assertStrictEquals(watched.failure, reason);
  assertEquals(
    watched.results.map(({ input, ok }) => [input, ok]),
    [
      [0, true],
      [1, true],
      [2, false],
    ],
  );
  assertEquals(runs.started, [0, 1, 2]);
  assertEquals((await fn.readCache(1)).hit, true);
});

test("fn.map() that is aborted ends though its source hangs", async () => {
  for (const first of [[], [1]]) {
    await using cache = new MemoryCache();
    const fn = cache.cache({ id: "f" })(double);
    const controller = new AbortController();
    const inputs = async function* () {
      yield* first;
      await new Promise(() => {});
      yield 2;
    };
    const watched = watch(fn.map(inputs(), { concurrency: 1, signal: controller.signal }));
    await until(() => watched.results.length >= first.length);
    controller.abort(new Error("waited long enough"));
    await until(() => watched.ended);
    assertEquals((watched.failure as Error).message, "waited long enough");
  }
});

test("fn.map() takes its listener off the signal", async () => {
  await using cache = new MemoryCache();
  const fn = cache.cache({ id: "f" })(double);
  const { signal } = new AbortController();
  let listeners = 0;
  const { addEventListener, removeEventListener } = signal;
  signal.addEventListener = (...args: unknown[]) => {
    listeners++;
    Reflect.apply(addEventListener, signal, args);
  };
  signal.removeEventListener = (...args: unknown[]) => {
    listeners--;
    Reflect.apply(removeEventListener, signal, args);
  };
  await fn.map([1, 2], { concurrency: 1, signal }).values();
  assertEquals(listeners, 0);
});

test("leaving the loop waits for what runs, and closes the source", async () => {
  for (const how of ["break", "throw", "return"]) {
    await using cache = new MemoryCache();
    const runs = new Runs<number, number>();
    const fn = cache.cache({ id: "f" })(runs.fn);
    let closed = false;
    const inputs = function* () {
      try {
        yield* range(Infinity);
      } finally {
        closed = true;
      }
    };
    let left = false;
    const leave = async (): Promise<void> => {
      for await (const _ of fn.map(inputs(), { concurrency: 3 })) {
        if (how === "break") break;
        if (how === "return") return;
        throw new Error("thrown in the loop");
      }
    };
    const leaving = leave()
      .then(
        () => "left",
        (error) => error.message,
      )
      .finally(() => (left = true));
    await settle();
    await runs.end(0, 0);
    assertEquals([left, closed], [false, true]);
    // The place of the first run was taken before the loop saw its result.
    for (const n of [1, 2, 3]) {
      assertEquals(left, false);
      await runs.end(n, n);
    }
    assertEquals(await leaving, how === "throw" ? "thrown in the loop" : "left");
    assertEquals([runs.started, runs.active], [[0, 1, 2, 3], 0]);
    assertEquals((await fn.readCache(3)).hit, true);
  }
});

test("fn.map() whose source throws finishes the rest, then rejects with that error", async () => {
  await using cache = new MemoryCache();
  const runs = new Runs<number, number>();
  const fn = cache.cache({ id: "f" })(runs.fn);
  const error = new Error("bad line");
  const inputs = function* () {
    yield* range(CHUNK);
    throw error;
  };
  const watched = watch(fn.map(inputs(), { concurrency: 2 }));
  await settle();
  for (const n of range(CHUNK)) {
    assertEquals(watched.ended, false);
    await runs.end(n, n);
  }
  assertStrictEquals(watched.failure, error);
  assertEquals(watched.results.length, CHUNK);
});

test("fn.map() refuses bad options by name before anything runs", () => {
  const cache = new MemoryCache();
  const fn = cache.cache({ id: "f" })(double);
  const map = (inputs: unknown, options?: unknown): unknown =>
    Reflect.apply(fn.map, fn, [inputs, options]);
  const refused: [unknown, unknown, typeof TypeError, string][] = [
    [null, { concurrency: 1 }, TypeError, "inputs must be"],
    [5, { concurrency: 1 }, TypeError, "inputs must be"],
    ["text", { concurrency: 1 }, TypeError, "inputs must be"],
    [{}, { concurrency: 1 }, TypeError, "inputs must be"],
    [[], undefined, TypeError, "options must be"],
    [[], {}, TypeError, "concurrency must be"],
    [[], { concurrency: "2" }, TypeError, "concurrency must be"],
    [[], { concurrency: 0 }, RangeError, "concurrency must be"],
    [[], { concurrency: -1 }, RangeError, "concurrency must be"],
    [[], { concurrency: 1.5 }, RangeError, "concurrency must be"],
    [[], { concurrency: NaN }, RangeError, "concurrency must be"],
    [[], { concurrency: 1, order: true }, TypeError, '"order"'],
    [[], { concurrency: 1, ordered: 1 }, TypeError, "ordered must be"],
    [[], { concurrency: 1, signal: {} }, TypeError, "signal must be"],
    [[], { concurrency: 1, onProgress: 1 }, TypeError, "onProgress must be"],
    [[], { concurrency: 1, args: 1 }, TypeError, "args must be"],
  ];
  for (const [inputs, options, Class, message] of refused) {
    assertThrows(() => map(inputs, options), Class, message);
  }
});

test("fn.map() over a store that cannot be read computes all, and reports once for each chunk", async () => {
  const { backend, cache, errors } = countingCache();
  const fn = cache.cache({ id: "f" })(double);
  backend.fail("getMany");
  const batch = fn.map(range(2 * CHUNK + 1), { concurrency: 9 });
  assertEquals((await batch.values()).length, 2 * CHUNK + 1);
  assertEquals(batch.summary.misses, 2 * CHUNK + 1);
  assertEquals(
    errors.map(({ context }) => context),
    [
      { kind: "read", id: "f", key: undefined },
      { kind: "read", id: "f", key: undefined },
      { kind: "read", id: "f", key: undefined },
    ],
  );
});

test("fn.map() over a store that cannot be written gives every value", async () => {
  const { backend, cache, errors } = countingCache();
  const fn = cache.cache({ id: "f" })(double);
  backend.fail("set");
  assertEquals(await fn.map([1, 2], { concurrency: 1 }).values(), [2, 4]);
  assertEquals(
    errors.map(({ context }) => context.kind),
    ["write", "write"],
  );
});

test("fn.map() takes a damaged entry for a miss and reports it", async () => {
  const { backend, cache, errors } = countingCache();
  const fn = cache.cache({ id: "f" })(double);
  await fn.map([1, 2], { concurrency: 1 }).values();
  const key = await fn.key(2);
  const entry = (await backend.get("f", key)) as StoredEntry;
  await backend.set("f", key, { ...entry, data: "5" });
  const batch = fn.map([1, 2], { concurrency: 1 });
  assertEquals(await batch.values(), [2, 4]);
  assertEquals([batch.summary.hits, batch.summary.misses], [1, 1]);
  assertEquals(
    errors.map(({ context }) => context),
    [{ kind: "damaged", id: "f", key }],
  );
});

test("fn.map() of a method takes the instance through call", async () => {
  await using cache = new MemoryCache();
  interface Model {
    readonly name: string;
  }
  const ask = cache.cache({
    id: "Model.ask",
    this: (model: Model) => model.name,
  })(async function (this: Model, prompt: string): Promise<string> {
    return await Promise.resolve(`${this.name}: ${prompt}`);
  });
  const [a, b] = [{ name: "a" }, { name: "b" }];
  const map = (model: Model) => ask.map.call(model, ["x", "y"], { concurrency: 2 }).values();
  assertEquals(await map(a), ["a: x", "a: y"]);
  assertEquals(await map(b), ["b: x", "b: y"]);
});

test("fn.map() keeps the async context of its caller", async () => {
  await using cache = new MemoryCache();
  const context = new AsyncLocalStorage<string>();
  const fn = cache.cache({ id: "f" })(async (n: number) => {
    await Promise.resolve();
    return `${n} ${context.getStore()}`;
  });
  const values = await context.run(
    "mine",
    () => fn.map([1, 2, 3, 4, 5], { concurrency: 2 }).values(),
  );
  assertEquals(
    values,
    [1, 2, 3, 4, 5].map((n) => `${n} mine`),
  );
});

test("fn.map() with CACHE_ONLY fails each miss and gives the hits", async () => {
  await using cache = new MemoryCache();
  const fn = cache.cache({ id: "f" })(double);
  await fn(1);
  await using only = new Cache(cache.backend);
  await withVariables({ CACHE_ONLY: "1" }, async () => {
    const same = only.cache({ id: "f" })(double);
    const { results } = await collect(same.map([1, 2], { concurrency: 1, ordered: true }));
    assertEquals(
      results.map(({ status }) => status),
      ["hit", "failed"],
    );
    const [, second] = results;
    assert(second !== undefined && !second.ok);
    assertInstanceOf(second.error, CacheOnlyError);
  });
});

test("fn.map() with BUST_CACHE computes each older entry once", async () => {
  const backend = new MemoryBackend();
  await using old = new Cache(backend);
  const before = old.cache({ id: "f" })(double);
  await before.map([1, 2, 3], { concurrency: 1 }).values();
  // Entries as another process has left them, long ago.
  const { seal } = await import("../../src/encoding/entry.ts");
  for (const n of [1, 2, 3]) {
    const key = await before.key(n);
    const { format, data } = (await backend.get("f", key)) as StoredEntry;
    await backend.set(
      "f",
      key,
      seal(
        "f",
        key,
        { format, data },
        {
          storedAt: 1,
          expiresAt: null,
          staleUntil: null,
          durationMs: 1,
        },
      ),
    );
  }
  await withVariables({ BUST_CACHE: "f" }, async () => {
    await using cache = new Cache(backend);
    const fn = cache.cache({ id: "f" })(double);
    const first = fn.map([1, 2, 3], { concurrency: 2 });
    await first.values();
    assertEquals(first.summary.misses, 3);
    const second = fn.map([1, 2, 3], { concurrency: 2 });
    await second.values();
    assertEquals(second.summary.hits, 3);
  });
});

test("fn.map() computes what a source gave before it threw in the middle of a chunk", async () => {
  await using cache = new MemoryCache();
  const fn = cache.cache({ id: "f" })(double);
  const error = new Error("bad line");
  const sync = function* () {
    yield* [1, 2, 3];
    throw error;
  };
  const asynchronous = async function* () {
    yield* [4, 5, 6];
    await Promise.resolve();
    throw error;
  };
  for (const inputs of [sync(), asynchronous()]) {
    const { results, failure } = await collect(fn.map(inputs, { concurrency: 2 }));
    assertStrictEquals(failure, error);
    assertEquals(results.length, 3);
  }
});

test("fn.map() gives equal inputs a run each where the result cannot be copied", async () => {
  const { cache } = countingCache();
  let runs = 0;
  const fn = cache.cache({ id: "f" })(async (n: number) => {
    runs++;
    return await Promise.resolve(() => n);
  });
  const values = await fn.map([7, 7, 7, 8], { concurrency: 4 }).values();
  assertEquals(
    values.map((value) => value()),
    [7, 7, 7, 8],
  );
  assertEquals(runs, 4);
  assertEquals(new Set(values).size, 4);
});

test("fn.map() does not run again what was stored while it was looked up", async () => {
  const { backend, cache } = countingCache();
  const runs = new Runs<number, number>();
  const fn = cache.cache({ id: "f" })(runs.fn);
  const { getMany } = backend;
  const answer = Promise.withResolvers<void>();
  const asked = Promise.withResolvers<void>();
  backend.getMany = async (...args) => {
    const entries = await Reflect.apply(getMany, backend, args);
    asked.resolve();
    await answer.promise;
    return entries;
  };
  // The answer of the lookup is on its way, and empty, when another call stores.
  const watched = watch(fn.map([1, 1], { concurrency: 2 }));
  await asked.promise;
  const call = fn(1);
  await until(() => runs.started.length > 0);
  await runs.end(1, 10);
  await call;
  answer.resolve();
  await until(() => watched.ended);
  assertEquals(runs.started, [1]);
  assertEquals(watched.results.map(({ status }) => status), ["hit", "hit"]);
});

test("fn.map() does not run again what another batch stored while it waited", async () => {
  await using cache = new MemoryCache();
  let runs = 0;
  const fn = cache.cache({ id: "f" })(async (n: number) => {
    runs++;
    await settle();
    return n;
  });
  const [one, two] = [[...range(100)], [...range(100)].reverse()];
  const batches = [one, two].map((inputs) => fn.map(inputs, { concurrency: 3 }));
  assertEquals(await Promise.all(batches.map((batch) => batch.values())), [one, two]);
  assertEquals(runs, 100);
  const statuses = batches.map(({ summary }) => summary);
  assertEquals(
    statuses.reduce((sum, { misses }) => sum + misses, 0),
    100,
  );
});

test("fn.map() of a function that calls itself runs each input once", async () => {
  await using cache = new MemoryCache();
  let runs = 0;
  const fibonacci: (n: number) => Promise<number> = async (n) => {
    runs++;
    return n < 2 ? n : (await fn(n - 1)) + (await fn(n - 2));
  };
  const fn = cache.cache({ id: "fibonacci" })(fibonacci);
  assertEquals(await fn.map([10, 9, 8, 7], { concurrency: 1 }).values(), [55, 34, 21, 13]);
  assertEquals(runs, 11);
});

test("fn.map() over hits alone lets timers and signals have their turn", async () => {
  await using cache = new MemoryCache();
  const fn = cache.cache({ id: "f" })(double);
  await fn(1);
  const inputs = function* () {
    while (true) yield 1;
  };
  const controller = new AbortController();
  const { signal } = controller;
  let done = 0;
  setTimeout(() => controller.abort(new Error("time is up")), 30);
  await assertRejects(
    async () => {
      for await (const _ of fn.map(inputs(), { concurrency: 1, signal })) {
        if (++done > 5_000_000) throw new Error("the timer never came");
      }
    },
    Error,
    "time is up",
  );
});

test("fn.map() over hits reads only a few chunks ahead", async () => {
  await using cache = new MemoryCache();
  const fn = cache.cache({ id: "f" })(double);
  await fn.map(range(3000), { concurrency: 9 }).values();
  let read = 0;
  const inputs = function* () {
    for (; read < 3000; read++) yield read;
  };
  const results = fn.map(inputs(), { concurrency: 2 })[Symbol.asyncIterator]();
  for (let taken = 1; taken <= 1000; taken++) {
    await results.next();
    if (taken % 100 === 0) {
      for (let turn = 0; turn < 20; turn++) await settle();
    }
    assert(read - taken <= 4 * CHUNK, `${read - taken} read ahead`);
  }
  await results.return?.();
});

test("fn.map() stops at once when its source aborts it, and closes the source", async () => {
  await using cache = new MemoryCache();
  const fn = cache.cache({ id: "f" })(double);
  const controller = new AbortController();
  const taken: number[] = [];
  let closed = false;
  const inputs = function* () {
    try {
      for (const n of range(50)) {
        taken.push(n);
        if (n === 3) controller.abort(new Error("from inside"));
        yield n;
      }
    } finally {
      closed = true;
    }
  };
  const { signal } = controller;
  const { failure } = await collect(fn.map(inputs(), { concurrency: 1, signal }));
  assertEquals((failure as Error).message, "from inside");
  assertEquals([taken, closed], [[0, 1, 2, 3], true]);
});

test("onProgress that rejects is reported and stops nothing", async () => {
  const { cache, errors } = countingCache();
  const fn = cache.cache({ id: "f" })(double);
  const onProgress = async (): Promise<void> => {
    await Promise.resolve();
    throw new Error("no disk");
  };
  const options = { concurrency: 1, onProgress };
  assertEquals(await fn.map([1], options).values(), [2]);
  await settle();
  assertEquals(
    errors.map(({ error }) => error.message),
    ["no disk", "no disk", "no disk"],
  );
});

test("fn.map() whose cache is closed takes no further input, and ends when its running calls have settled", async () => {
  const { cache, errors, backend } = countingCache();
  const runs = new Runs<number, number>();
  const fn = cache.cache({ id: "f" })(runs.fn);
  const watched = watch(fn.map(range(Infinity), { concurrency: 2 }));
  await until(() => runs.started.length >= 2);
  const closing = cache.close();
  await settle();
  assertEquals(watched.ended, false);
  for (const n of [0, 1]) await runs.end(n, n);
  await closing;
  await until(() => watched.ended);
  assertInstanceOf(watched.failure, CacheClosedError);
  assertEquals(runs.started, [0, 1]);
  assertEquals(watched.results.map(({ ok }) => ok), [true, true]);
  assertEquals([errors.length, backend.calls("set")], [0, 2]);
});

test("fn.map() gives back the place of a call that waits for its next attempt, and keeps that of one that waits for a permit", async () => {
  await using cache = new MemoryCache();
  const attempts = new Map<number, number>();
  const failing = cache.cache({ id: "failing" })(
    retry({ attempts: 2, backoff: { min: "1h", max: "1h" } })(async (n: number) => {
      attempts.set(n, (attempts.get(n) ?? 0) + 1);
      return await Promise.reject(new Error("down"));
    }),
  );
  const controller = new AbortController();
  const { signal } = controller;
  const down = watch(failing.map(range(100), { concurrency: 3, signal }));
  await until(() => attempts.size >= 6);
  await settle();
  assertEquals(attempts.size, 6, "three that are set aside, three in their places");
  controller.abort(new Error("enough"));
  await until(() => down.ended);

  const runs = new Runs<number, number>();
  const limited = cache.cache({ id: "limited" })(limitConcurrency(1)(runs.fn));
  const batch = limited.map(range(5), { concurrency: 2 });
  const waiting = watch(batch);
  await until(() => runs.started.length === 1);
  await settle();
  assertEquals(batch.summary.running, 2, "no further input has a place");
  for (const n of range(5)) {
    await until(() => runs.started.length > n);
    await runs.end(n, n);
  }
  await until(() => waiting.ended);
  assertEquals(runs.mostActive, 1);
});

test("fn.map() with count reports what was spent and what was saved, and what was not stored", async () => {
  const errors: unknown[] = [];
  await using cache = new MemoryCache({ onError: (error) => errors.push(error) });
  const fn = cache.cache({ id: "f", shouldCache: (value: number) => value !== 3 })(
    async (n: number) => await Promise.resolve(n),
  );
  await fn(1);
  const batch = fn.map([1, 2, 3], { concurrency: 2, count: (value: number) => value / 10_000 });
  const { counted, unstored, hits, misses } = await batch.run();
  assertEquals([hits, misses, unstored], [1, 2, 1]);
  assertEquals([counted?.saved, counted?.spent.toFixed(4)], [0.0001, "0.0005"]);
  const broken = (): number => {
    throw new Error("not a number");
  };
  assertEquals((await fn.map([1], { concurrency: 1, count: broken }).run()).hits, 1);
  assertEquals(errors.length, 1);
  assertThrows(() => fn.map("123" as never, { concurrency: 1 }), TypeError, "a string");
});

test("leaving the loop lets calls leave that a limit holds back, and no call of others", async () => {
  const cache = new MemoryCache();
  const runs = new Runs<number, string>();
  const fn = cache.cache({ id: "f" })(limitConcurrency(2)(runs.fn));
  const inputs = [1, 2, 3, 4, 4, 5];
  const results = fn.map(inputs, { concurrency: 10 })[Symbol.asyncIterator]();
  const first = results.next();
  await until(() => runs.started.length === 2);
  const other = fn(4);
  await settle();
  await runs.end(1, "one");
  await first;
  const leaving = results.return?.();
  await until(() => runs.started.length === 3);
  // The permit of the first goes to the third, which runs on, as the second does.
  for (const input of runs.started.slice(1)) await runs.end(input, `${input}`);
  await leaving;
  await until(() => runs.started.includes(4));
  await runs.end(4, "four");
  assertEquals(await other, "four");
  assertEquals(runs.started, [1, 2, 3, 4]);
  for (const input of [1, 2, 3, 4]) assert((await fn.readCache(input)).hit, `${input}`);
  assertEquals((await fn.readCache(5)).hit, false);
});

test("leaving the loop waits for no further attempt", async () => {
  await using cache = new MemoryCache();
  let attempts = 0;
  const answer = Promise.withResolvers<string>();
  const fn = cache.cache({ id: "f" })(
    retry({ backoff: { min: "1m", jitter: 0 } })((input: number) => {
      if (input === 0) return Promise.resolve("zero");
      attempts++;
      return input === 1 ? Promise.reject(new Error("down")) : answer.promise;
    }),
  );
  const batch = fn.map([0, 1, 2], { concurrency: 3 });
  for await (const _ of batch) {
    await until(() => attempts === 2);
    await settle();
    assertEquals(batch.summary.running, 1, "one of them waits");
    // This one fails after the loop was left.
    setTimeout(() => answer.reject(new Error("down later")), 10);
    break;
  }
  assertEquals(attempts, 2);
});

test("a batch under a signal of a polyfill, or with any reason, ends with the reason", async () => {
  for (const reason of [undefined, NaN, "stop"]) {
    await using cache = new MemoryCache();
    const signal = new Polyfill();
    const held = Promise.withResolvers<number>();
    const fn = cache.cache({ id: "f" })(limitConcurrency(1)((_: number) => held.promise));
    const other = fn(0);
    // The types want a native one.
    const batch = fn.map([1, 2], { concurrency: 2, signal: signal as Polyfill & AbortSignal });
    const failed = batch.values().then(() => "ended", (error: unknown) => error);
    await settle();
    signal.abort(reason);
    const error = await failed;
    if (reason === undefined) assertEquals((error as Error).name, "AbortError");
    else assert(Object.is(error, reason));
    assertEquals(cache.stats().failed, 2);
    assertEquals(batch.summary.failed, 0);
    held.resolve(0);
    await other;
  }
});

test("leaving the loop during a lookup waits for it and reports no failure", async () => {
  const { backend, cache, errors } = countingCache();
  const fn = cache.cache({ id: "f" })(double);
  await fn(1);
  const more = Promise.withResolvers<void>();
  const inputs = async function* () {
    yield 1;
    await more.promise;
    yield* [1, 2];
  };
  const results = fn.map(inputs(), { concurrency: 1 })[Symbol.asyncIterator]();
  await results.next();
  backend.hold("getMany");
  more.resolve();
  await until(() => backend.waiting("getMany") > 0);
  let left = false;
  const leaving = results.return?.().then(() => (left = true));
  for (let turn = 0; turn < 100; turn++) await settle();
  assertEquals(left, false);
  backend.release("getMany");
  await leaving;
  await cache.close();
  await settle();
  assertEquals(errors, []);
  assertEquals(cache.stats().hits, 1, "what nobody gets is not counted");
});

test("fn.map() that is aborted during a lookup ends at once and reports no failure", async () => {
  const { backend, cache, errors } = countingCache();
  const fn = cache.cache({ id: "f" })(double);
  const controller = new AbortController();
  backend.hold("getMany");
  const { signal } = controller;
  const watched = watch(fn.map([1, 2], { concurrency: 1, signal }));
  await until(() => backend.waiting("getMany") > 0);
  const reason = new Error("enough");
  controller.abort(reason);
  await settle();
  assert(watched.ended);
  assertStrictEquals(watched.failure, reason);
  assertEquals([watched.results, errors], [[], []]);
});

test("leaving the loop waits until an async source has closed", async () => {
  await using cache = new MemoryCache();
  const fn = cache.cache({ id: "f" })(double);
  let closed = false;
  const inputs = async function* () {
    try {
      for (const n of range(Infinity)) yield await Promise.resolve(n);
    } finally {
      await settle();
      closed = true;
    }
  };
  for await (const _ of fn.map(inputs(), { concurrency: 1 })) break;
  assert(closed);
});

test("fn.map() prints hits too where debug is asked for", async () => {
  await using cache = new MemoryCache();
  const fn = cache.cache({ id: "f", debug: true })(double);
  const lines: string[] = [];
  const { console: host } = globalThis;
  const { warn } = host;
  host.warn = (line: string) => lines.push(line);
  try {
    await fn.map([1, 1], { concurrency: 1 }).values();
    await fn.map([1], { concurrency: 1 }).values();
  } finally {
    host.warn = warn;
  }
  assertEquals(
    lines.map((line) => line.split(" ")[1]),
    ["miss", "shared", "hit"],
  );
});

test("fn.map() goes on through more equal inputs than it holds at a time", async () => {
  await using cache = new MemoryCache();
  let runs = 0;
  const fn = cache.cache({ id: "f" })(async (n: number) => {
    runs++;
    await settle();
    return n;
  });
  const inputs = range(6000).map((n) => n >> 1);
  const batch = fn.map(inputs, { concurrency: 50 });
  assertEquals((await batch.values()).length, 6000);
  assertEquals(runs, 3000);
});

test("fn.map() with count adds fractions without noise, and reports a promise of a count", async () => {
  const errors: unknown[] = [];
  await using cache = new MemoryCache({ onError: (error) => errors.push(error) });
  const fn = cache.cache({ id: "f" })(double);
  const countOf = async (inputs: number[], count: (value: number) => number) =>
    (await fn.map(inputs, { concurrency: 1, count }).run()).counted;
  // A plain sum of 0.1 and 0.2 is 0.30000000000000004.
  assertEquals(await countOf([1, 2], (n) => n / 20), { spent: 0.3, saved: 0 });
  const most = Number.MAX_SAFE_INTEGER;
  const saved = await countOf([1, 2], (n) => n === 2 ? most - 1 : 1);
  assertEquals(saved, { spent: 0, saved: most });
  await countOf([1], () => Promise.reject(new Error("late")) as never);
  await settle();
  assertEquals(unhandled, []);
  assertEquals(errors.length, 1);
  assertInstanceOf(errors[0], TypeError);
});
