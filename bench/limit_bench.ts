// The peers are measured, not used: pinned here, they stay out of the dependencies of the package.
// deno-lint-ignore-file no-import-prefix

/**
 * What a limit costs: 1,000,000 trivial tasks under a limit of 10, all at once and one at a time.
 *
 * `deno run --allow-env --allow-read bench/limit_bench.ts [rounds]`, best with `--v8-flags=--expose-gc`. Each round runs every
 * contender once, in an order that rotates; the table shows medians and their ratio to ours. The
 * sum of the results is checked.
 *
 * @module
 */

import { Sema } from "npm:async-sema@3.1.1";
import { limitAsync } from "npm:es-toolkit@1.53.2";
import pLimit from "npm:p-limit@7.3.3";
import PQueue from "npm:p-queue@10.0.0";
import { limitConcurrency } from "../concurrency.ts";

const TASKS = 1_000_000;
const LIMIT = 10;

type Task = (n: number) => Promise<number>;
const task: Task = (n) => Promise.resolve(n);

const contenders: Record<string, { make: () => Task }> = {
  "limitConcurrency": {
    make: () => limitConcurrency(LIMIT)(task),
  },
  "limitConcurrency, 1,000 keys": {
    make: () =>
      limitConcurrency(LIMIT, { deriveKey: (n: number) => n % 1_000 })(task),
  },
  "async-sema": {
    make: () => {
      const semaphore = new Sema(LIMIT);
      return async (n) => {
        await semaphore.acquire();
        try {
          return await task(n);
        } finally {
          semaphore.release();
        }
      };
    },
  },
  "p-limit": {
    make: () => {
      const limit = pLimit(LIMIT);
      return (n) => limit(task, n);
    },
  },
  "p-queue": {
    make: () => {
      const queue = new PQueue({ concurrency: LIMIT });
      return (n) => queue.add(() => task(n));
    },
  },
  "es-toolkit limitAsync": {
    make: () => limitAsync(task, LIMIT),
  },
};

const EXPECTED = TASKS * (TASKS - 1) / 2;

function check(name: string, sum: number): void {
  if (sum !== EXPECTED) throw new Error(`${name} lost results`);
}

async function oneAtATime(name: string, run: Task): Promise<number> {
  let sum = 0;
  const begin = performance.now();
  for (let n = 0; n < TASKS; n++) sum += await run(n);
  const took = performance.now() - begin;
  check(name, sum);
  return took;
}

async function allAtOnce(name: string, run: Task): Promise<number> {
  const calls = new Array<Promise<number>>(TASKS);
  const begin = performance.now();
  for (let n = 0; n < TASKS; n++) calls[n] = run(n);
  const results = await Promise.all(calls);
  const took = performance.now() - begin;
  check(name, results.reduce((sum, n) => sum + n, 0));
  return took;
}

function median(times: number[]): number {
  return times.toSorted((a, b) => a - b)[times.length >> 1] ?? NaN;
}

const collect: unknown = Reflect.get(globalThis, "gc");
const rounds = Number(globalThis.process.argv[2] ?? 5);
const names = Object.keys(contenders);
const times: Record<string, { one: number[]; all: number[] }> = {};
for (let round = 0; round < rounds; round++) {
  for (let i = 0; i < names.length; i++) {
    const name = names[(i + round) % names.length] ?? "";
    const contender = contenders[name];
    if (contender === undefined) continue;
    const { one, all } = times[name] ??= { one: [], all: [] };
    one.push(await oneAtATime(name, contender.make()));
    if (typeof collect === "function") collect();
    all.push(await allAtOnce(name, contender.make()));
    if (typeof collect === "function") collect();
  }
}

const ours = times["limitConcurrency"];
const rows = names.map((name) => {
  const one = median(times[name]?.one ?? []);
  const all = median(times[name]?.all ?? []);
  return {
    name,
    "one at a time, ns per task": Math.round(one * 1e6 / TASKS),
    "× ours": (one / median(ours?.one ?? [])).toFixed(2),
    "all at once, ns per task": Math.round(all * 1e6 / TASKS),
    "× ours ": (all / median(ours?.all ?? [])).toFixed(2),
  };
});
// deno-lint-ignore no-console
console.table(rows);
