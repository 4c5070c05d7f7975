/**
 * One of many processes that use one store: `sqlite <path> <seed> <calls> <keys>`, or
 * `s3 <bucket> <seed> <calls> <keys> <endpoint>`. It begins when told, and prints what it met.
 */

// deno-lint-ignore-file no-console -- its output is what the test reads

import { createInterface } from "node:readline";
import process from "node:process";
import { DatabaseSync, StatementSync } from "node:sqlite";
import { isDeepStrictEqual } from "node:util";
import { S3Cache } from "../../s3.ts";
import { SQLiteCache } from "../../sqlite.ts";
import { Random } from "./random.ts";
import { smallValue } from "./values.ts";

const [, , store, place = "", seed, calls, keys, endpoint = ""] = process.argv;
const AT_ONCE = 16;

/**
 * Tells the longest that a call of the driver kept this thread without using the processor, in
 * milliseconds: what waits for a lock sleeps.
 */
function watchDriver(): () => number {
  let longest = 0;
  const processor = (): number => {
    const { user, system } = process.cpuUsage();
    return (user + system) / 1000;
  };
  const watch = (prototype: object, names: readonly string[]): void => {
    for (const name of names) {
      const method: unknown = Reflect.get(prototype, name);
      if (typeof method !== "function") throw new Error(`there is no ${name}`);
      Reflect.set(
        prototype,
        name,
        function (this: unknown, ...args: unknown[]) {
          const used = processor();
          const start = performance.now();
          try {
            return Reflect.apply(method, this, args);
          } finally {
            const asleep = performance.now() - start - (processor() - used);
            longest = Math.max(longest, asleep);
          }
        },
      );
    }
  };
  watch(DatabaseSync.prototype, ["exec"]);
  watch(StatementSync.prototype, ["get", "all", "run"]);
  return () => longest;
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
const work = cache.cache({ id: "work" })(async (n: number) =>
  await Promise.resolve(smallValue(n))
);
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

const blocked = watchDriver();
const start = performance.now();
let left = Number(calls);
let wrong = 0;
await Promise.all(Array.from({ length: AT_ONCE }, async () => {
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
}));
const milliseconds = performance.now() - start;
await cache.close();
console.log(JSON.stringify({
  troubles,
  wrong,
  milliseconds,
  blocked: blocked(),
  hits: cache.stats().hits,
}));
