/**
 * Random calls, batches, busts, aborts, refreshes, direct keys and a close over slow and failing
 * stores, against an oracle.
 *
 * - A call that begins after a bust never gets the result of a run that began before the bust.
 * - Every caller owns its result.
 * - A direct key holds the value that was set last, or nothing after a delete.
 * - Every call settles; after `close()` nothing runs, and every call is refused.
 */

import { setImmediate } from "node:timers/promises";
import { assert, assertEquals } from "@std/assert";
import type { Backend } from "../../src/backend/contract.ts";
import { BackendError, CacheClosedError } from "../../src/base/errors.ts";
import { Cache } from "../../src/core/cache.ts";
import type { FunctionOptions } from "../../src/core/options.ts";
import { MemoryBackend } from "../../memory.ts";
import { SQLiteBackend } from "../../sqlite.ts";
import { FolderBackend } from "../../src/folder/backend.ts";
import { temporaryFolder } from "../support/temp.ts";
import { TieredBackend } from "../../tiered.ts";
import { type Extent, Random } from "./random.ts";

/** The number of keys that the calls of a round share. */
const KEYS = 4;

/** The number of steps in a round. */
const STEPS = 80;

/** The result of a run: its key, and its start on the clock of the round. */
interface Answer {
  key: number;
  began: number;
}

/** Waits for a random number of turns of the event loop, often none. */
async function linger(random: Random): Promise<void> {
  for (let turns = random.below(4) - 1; turns > 0; turns--) await setImmediate();
}

/** Puts random waits around every operation of a store, and lets some fail. */
function slow<Store extends Backend>(store: Store, random: Random, failing: number): Store {
  const around = (name: "get" | "getMany" | "set" | "delete" | "deleteId" | "clear") => {
    const method: (...args: never[]) => unknown = store[name].bind(store);
    const slowed = async (...args: never[]): Promise<unknown> => {
      await linger(random);
      const mayFail = name === "get" || name === "getMany" || name === "set";
      if (mayFail && random.next() < failing) throw new Error("the store failed");
      const result = await method(...args);
      await linger(random);
      return result;
    };
    Object.defineProperty(store, name, { value: slowed });
  };
  for (const name of ["get", "getMany", "set", "delete", "deleteId", "clear"] as const) {
    around(name);
  }
  return store;
}

/** The stores of the rounds, in turn. */
const STORES: readonly ((random: Random) => Backend)[] = [
  (random) => slow(new MemoryBackend(), random, 0.05),
  () => new MemoryBackend(),
  () => new SQLiteBackend(":memory:"),
  () => new FolderBackend(temporaryFolder()),
  (random) =>
    new TieredBackend([
      new MemoryBackend(),
      slow(new MemoryBackend(), random, 0.1),
      slow(new MemoryBackend(), random, 0),
    ]),
];

/** Plays one round; returns the number of answers that it checked. */
async function play(seed: number): Promise<number> {
  const random = new Random(seed);
  const open = STORES[seed % STORES.length]!;
  const cache = new Cache(open(random), { onError: () => {} });
  let clock = 0;
  let checks = 0;
  let isClosed = false;
  const isExpected = (error: unknown): boolean =>
    error instanceof CacheClosedError || error instanceof BackendError ||
    (error instanceof Error && /^expected/.test(error.message));
  const options: FunctionOptions = {
    id: "f",
    ...(random.next() < 0.5 && { ttl: 3, staleWhileRevalidate: 30, staleIfError: 100 }),
    ...(random.next() < 0.2 && { singleFlight: false }),
  };
  const fn = cache.cache(options)(async (key: number, signal?: AbortSignal): Promise<Answer> => {
    assert(!isClosed, `seed ${seed}: a run began after close()`);
    const began = ++clock;
    const fails = random.next();
    if (fails < 0.1) throw new Error("expected: the function failed");
    await linger(random);
    signal?.throwIfAborted();
    await linger(random);
    if (fails > 0.9) throw new Error("expected: the function failed late");
    return { key, began };
  });
  const busts: { readonly key: number | undefined; readonly at: number }[] = [];
  const check = (key: number, at: number, answer: Answer): void => {
    checks++;
    assertEquals(answer.key, key, `seed ${seed}: another key's result`);
    const old = busts.find((bust) =>
      (bust.key === undefined || bust.key === key) && bust.at < at && answer.began < bust.at
    );
    assertEquals(old, undefined, `seed ${seed}: call ${at} got a run of ${answer.began}`);
    // A caller owns its result and may change it.
    answer.key = answer.began = -1;
  };
  const pending: Promise<void>[] = [];
  const expect = (work: Promise<unknown>): void => {
    pending.push(work.then(() => {}, (error) => {
      if (!isExpected(error)) throw error;
    }));
  };
  const bust = (key: number | undefined, work: () => Promise<void>): void => {
    busts.push({ key, at: ++clock });
    expect(work());
  };
  const map = async (inputs: number[], at: number): Promise<void> => {
    const seen = new Set<number>();
    const concurrency = 1 + random.below(3);
    for await (const result of fn.map(inputs, { concurrency, ordered: random.next() < 0.5 })) {
      assert(!seen.has(result.index), `seed ${seed}: an input came out twice`);
      seen.add(result.index);
      if (result.ok) check(result.input, at, result.value);
      else assert(isExpected(result.error), String(result.error));
    }
    assertEquals(seen.size, inputs.length, `seed ${seed}: inputs that never came out`);
  };
  /** The value of the direct key after the last of `changes`; `NaN` after one that failed. */
  let direct: number | undefined;
  let changes = 0;
  const change = (to: number | undefined): void => {
    direct = to;
    changes++;
  };
  const acts: readonly (readonly [weight: number, act: (key: number, at: number) => void])[] = [
    [30, (key, at) => expect(fn(key).then((answer) => check(key, at, answer)))],
    [15, (key, at) => {
      const controller = new AbortController();
      expect(fn(key, controller.signal).then((answer) => check(key, at, answer)));
      expect(linger(random).then(() => controller.abort(new Error("expected: aborted"))));
    }],
    [
      10,
      (key, at) =>
        expect(fn.readCache(key).then((found) => found.hit && check(key, at, found.value))),
    ],
    [10, (key) => bust(key, () => fn.bustCache(key))],
    [4, () => bust(undefined, () => fn.bustCache())],
    [2, () => {
      change(undefined);
      bust(undefined, () => cache.bustAll());
    }],
    [15, (_, at) => expect(map(Array.from({ length: 6 }, () => random.below(KEYS)), at))],
    [5, (key) => {
      change(key);
      expect(cache.set("direct", key).catch(() => change(NaN)));
    }],
    [3, () => {
      change(undefined);
      expect(cache.delete("direct"));
    }],
    [5, () => {
      const expected = direct;
      const before = changes;
      expect(
        cache.read<number>("direct").then((found) => {
          // A later change may be visible already, and a failed one may have been stored or not.
          if (changes !== before || Number.isNaN(expected)) return;
          checks++;
          assertEquals(found.hit ? found.value : undefined, expected, `seed ${seed}: direct key`);
        }),
      );
    }],
  ];
  const whole = acts.reduce((sum, [weight]) => sum + weight, 0);
  const closesAt = random.next() < 0.3 ? random.below(STEPS) : STEPS;
  for (let step = 0; step < closesAt; step++) {
    let at = random.below(whole);
    const chosen = acts.find(([weight]) => (at -= weight) < 0);
    chosen?.[1](random.below(KEYS), ++clock);
    if (random.next() < 0.4) await linger(random);
  }
  if (closesAt === STEPS) await Promise.all(pending);
  const closing = cache.close();
  await closing;
  isClosed = true;
  await Promise.all(pending);
  const late: readonly (() => Promise<unknown>)[] = [
    () => fn(1),
    () => fn.readCache(1),
    () => fn.bustCache(),
    () => fn.map([1], { concurrency: 1 }).values(),
    () => cache.set("direct", 1),
    () => cache.bustAll(),
  ];
  for (const use of late) {
    const error = await use().catch((error: unknown) => error);
    assert(error instanceof CacheClosedError, `seed ${seed}: a call after close() was not refused`);
  }
  return checks;
}

/** Plays rounds until `count` answers are checked. */
export async function fuzz({ count, seed }: Extent): Promise<{ checks: number; rounds: number }> {
  let checks = 0;
  let rounds = 0;
  while (checks < count) checks += await play(seed + rounds++);
  return { checks, rounds };
}
