// The peers are measured, not used: pinned here, they stay out of the dependencies of the package.
// deno-lint-ignore-file no-import-prefix

/**
 * What a limit costs: 1,000,000 trivial tasks under a limit of 10, all at once and one at a time.
 *
 * `deno run --allow-env --allow-read bench/limit_bench.ts [rounds]`. A script, not a `deno bench`,
 * because one run takes seconds. Each round runs every contender once, in an order that rotates;
 * the table shows medians and their ratio to ours. The sum of the results is checked.
 *
 * @module
 */

import { Sema } from "npm:async-sema@3.1.1";
import { limitAsync } from "npm:es-toolkit@1.53.2";
import pLimit from "npm:p-limit@7.3.3";
import PQueue from "npm:p-queue@10.0.0";
import { limitConcurrency } from "../concurrency.ts";
import { measure, median, ratio } from "./measure.ts";

const TASKS = 1_000_000;
const LIMIT = 10;

export type Task = (n: number) => Promise<number>;
const task: Task = (n) => Promise.resolve(n);

/** The limiters, by name; ours comes first. */
export const contenders: Record<string, { make: () => Task }> = {
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

/** Runs all tasks, each after the one before. */
export async function oneAtATime(name: string, run: Task): Promise<number> {
  let sum = 0;
  const begin = performance.now();
  for (let n = 0; n < TASKS; n++) sum += await run(n);
  const took = performance.now() - begin;
  check(name, sum);
  return took;
}

/** Starts all tasks, then waits for them. */
export async function allAtOnce(name: string, run: Task): Promise<number> {
  const calls = new Array<Promise<number>>(TASKS);
  const begin = performance.now();
  for (let n = 0; n < TASKS; n++) calls[n] = run(n);
  const results = await Promise.all(calls);
  const took = performance.now() - begin;
  check(name, results.reduce((sum, n) => sum + n, 0));
  return took;
}

if (import.meta.main) {
  for (
    const [group, way] of [["all at once", allAtOnce], [
      "one at a time",
      oneAtATime,
    ]] as const
  ) {
    const times = await measure(
      Object.entries(contenders).map(([name, { make }]) => ({
        name,
        calls: TASKS,
        run: () => way(name, make()),
      })),
      Number(globalThis.process.argv[2] ?? 5),
    );
    const ours = times.get("limitConcurrency")!;
    // deno-lint-ignore no-console
    console.table(
      [...times].map(([name, timing]) => ({
        [group]: name,
        "ns per task": Math.round(median(timing.processor) * 1000),
        "× ours": ratio(timing, ours).toFixed(2),
      })),
    );
  }
}
