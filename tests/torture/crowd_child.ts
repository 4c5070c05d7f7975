/**
 * One of many processes that use one store: `sqlite <path> <seed> <calls> <keys> <at once>`, or
 * `s3 <bucket> <seed> <calls> <keys> <at once> <endpoint>`. It starts on a line of stdin and prints
 * its counts.
 */

// deno-lint-ignore-file no-console -- its output is what the test reads

import { createInterface } from "node:readline";
import process from "node:process";
import { isDeepStrictEqual } from "node:util";
import { S3Cache } from "../../s3.ts";
import { SQLiteCache } from "../../sqlite.ts";
import { isBusy } from "../../src/sqlite/errors.ts";
import { watchAwake } from "./awake.ts";
import { aroundDriver } from "./driver.ts";
import { Random } from "./random.ts";
import { smallValue } from "./values.ts";

const [, , store, place = "", seed, calls, keys, atOnce, endpoint = ""] = process.argv;
const awake = watchAwake();

/** The cost of locks to this thread. */
interface Locks {
  /** Calls of the driver that failed because another connection held a lock. */
  busy: number;
  /** The longest sleep in such a call, in milliseconds; all of it counts as a wait for the lock. */
  asleep: number;
}

/** Watches every call of the driver. */
function watchDriver(): Locks {
  const locks: Locks = { busy: 0, asleep: 0 };
  aroundDriver((call) => {
    const wasAwake = awake();
    const start = performance.now();
    try {
      return call();
    } catch (error) {
      if (isBusy(error)) {
        const asleep = performance.now() - start - (awake() - wasAwake);
        locks.busy++;
        locks.asleep = Math.max(locks.asleep, asleep);
      }
      throw error;
    }
  });
  return locks;
}

/** Watches the event loop for its longest sleep between two turns, in milliseconds. */
function watchLoop(): () => number {
  let longest = 0;
  let clock = performance.now();
  let wasAwake = awake();
  const timer = setInterval(() => {
    const asleep = performance.now() - clock - (awake() - wasAwake);
    longest = Math.max(longest, asleep);
    clock = performance.now();
    wasAwake = awake();
  }, 1);
  return () => {
    clearInterval(timer);
    return longest;
  };
}

const troubles: string[] = [];
const onError = (error: Error): void => {
  troubles.push(`${error.name}: ${error.message}`);
};
process.on("unhandledRejection", (error) => troubles.push(String(error)));

const cache = store === "s3"
  ? new S3Cache(place, {
    endpoint,
    region: "us-east-1",
    credentials: { accessKeyId: "test", secretAccessKey: "test-secret" },
    onError,
  })
  : new SQLiteCache(place, { onError });
const work = cache.cache({ id: "work" })(async (n: number) => await Promise.resolve(smallValue(n)));
const random = new Random(Number(seed));

console.log("ready");
await new Promise<void>((resolve) => {
  const lines = createInterface({ input: process.stdin });
  lines.once("line", () => {
    lines.close();
    process.stdin.destroy();
    resolve();
  });
});

const locks = watchDriver();
const gap = watchLoop();
const start = performance.now();
let left = Number(calls);
let wrong = 0;
await Promise.all(
  Array.from({ length: Number(atOnce) }, async () => {
    while (left-- > 0) {
      const n = random.below(Number(keys));
      try {
        const turn = random.below(200);
        if (turn === 0) await work.bustCache(n);
        if (turn === 1) await cache.set(`direct ${n}`, n);
        if (turn === 2) {
          const found = await cache.read(`direct ${n}`);
          if (found.hit && found.value !== n) wrong++;
        }
        if (!isDeepStrictEqual(await work(n), smallValue(n))) wrong++;
      } catch (error) {
        troubles.push(`thrown: ${error}`);
      }
    }
  }),
);
const milliseconds = performance.now() - start;
const longestGap = gap();
await cache.close();
console.log(
  JSON.stringify({
    troubles,
    wrong,
    milliseconds,
    ...locks,
    gap: longestGap,
    hits: cache.stats().hits,
  }),
);
