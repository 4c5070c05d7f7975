/** Timers that fire early, late and in any order, while the wall clock is moved. */

import { assert, assertEquals } from "@std/assert";
import type { Cache } from "../../src/core/cache.ts";
import { limitRate } from "../../concurrency.ts";
import { MemoryCache } from "../../memory.ts";
import type { CacheOptions } from "../../src/core/options.ts";
import { retry } from "../../src/limits/retry.ts";
import { SQLiteCache } from "../../sqlite.ts";
import { FakeTime, settle } from "../support/fake_time.ts";
import { type Extent, Random } from "./random.ts";

const TTL_MS = 100;
const STALE_MS = 60;
const RATE = 3;
const PER_MS = 50;
const ATTEMPTS = 3;
const CALLS = 20;
/** Moves of time that end every call many times over. */
const MOST_MOVES = 20_000;

interface Call {
  readonly n: number;
  /** The earliest time on the wall clock during the call. */
  earliest: number;
}

/** The number of calls by their outcome. */
export interface Disorder {
  readonly fresh: number;
  readonly stale: number;
  readonly computed: number;
  readonly failed: number;
}

/**
 * Makes calls through a cache with windows, a retry and a rate. Meanwhile timers fire in any order,
 * and both clocks leap, the wall clock back as well.
 */
export async function disorder({ count, seed }: Extent): Promise<Disorder> {
  const random = new Random(seed);
  const came = { fresh: 0, stale: 0, computed: 0, failed: 0 };
  for (let round = 0; round < count; round++) {
    const what = `seed ${seed}, round ${round}`;
    await disorderly(
      (options) =>
        round % 4 === 0 ? new SQLiteCache(":memory:", options) : new MemoryCache(options),
      random,
      came,
      what,
    );
  }
  return came;
}

async function disorderly(
  open: (options: CacheOptions) => Cache,
  random: Random,
  came: Record<keyof Disorder, number>,
  what: string,
): Promise<void> {
  using time = new FakeTime();
  const failure = new Error("the function failed");
  const troubles: unknown[] = [];
  const cache = open({
    onError: (error) => {
      // A failed refresh has no caller, so it is reported here.
      if (error !== failure && error.cause !== failure) troubles.push(error);
    },
  });
  const starts: number[] = [];
  const limit = limitRate(RATE, { per: PER_MS });
  const again = retry({
    attempts: ATTEMPTS,
    backoff: { min: 10, max: 40 },
    shouldRetry: (error) => error === failure,
    retryAfter: () => (random.below(3) === 0 ? random.below(30) : undefined),
  });
  const fn = cache.cache({
    id: "work",
    ttl: TTL_MS,
    staleWhileRevalidate: STALE_MS,
  })(
    again(
      limit(async (n: number) => {
        starts.push(performance.now());
        if (random.below(3) === 0) throw failure;
        return await Promise.resolve({ n, at: Date.now() });
      }),
    ),
  );
  const underWay = new Set<Call>();
  const call = async (n: number): Promise<void> => {
    const one = { n, earliest: Date.now() };
    underWay.add(one);
    try {
      const { status, value } = await fn.detail(n);
      assertEquals(value.n, n, what);
      const age = one.earliest - value.at;
      if (status === "hit") {
        came.fresh++;
        assert(age < TTL_MS, `${what}: fresh after ${age} ms`);
      } else if (status === "stale") {
        came.stale++;
        assert(age < TTL_MS + STALE_MS, `${what}: stale after ${age} ms`);
      } else came.computed++;
    } catch (error) {
      if (error !== failure) throw error;
      came.failed++;
    } finally {
      underWay.delete(one);
    }
  };
  const calls: Promise<void>[] = [];
  for (let move = 0;; move++) {
    assert(move < MOST_MOVES, `${what}: ${underWay.size} calls hang`);
    const turn = random.below(8);
    if (turn < 2 && calls.length < CALLS) {
      calls.push(call(random.below(3)));
    } else if (turn < 5) time.fire((timers) => random.below(timers));
    else if (turn === 5) time.block(random.below(40));
    else if (turn === 6) await time.tick(0);
    else time.step(random.below(5) === 0 ? random.below(400) - 200 : 0);
    for (const one of underWay) {
      one.earliest = Math.min(one.earliest, Date.now());
    }
    await settle();
    if (
      calls.length === CALLS &&
      underWay.size === 0 &&
      limit.pendingCount === 0 &&
      time.timers === 0
    ) {
      break;
    }
  }
  await Promise.all(calls);
  for (const [index, start] of starts.entries()) {
    const earlier = starts[index - RATE];
    assert(
      earlier === undefined || start - earlier >= PER_MS,
      `${what}: ${RATE + 1} started within ${start - (earlier ?? 0)} ms`,
    );
  }
  assertEquals(troubles, [], what);
  await cache.close();
}
