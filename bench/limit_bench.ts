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
import { pooledMap } from "npm:deno-std@1.4.0/async/pool.js";
import { limitAsync } from "npm:es-toolkit@1.53.2";
import pLimit from "npm:p-limit@7.3.3";
import PQueue from "npm:p-queue@10.0.0";
import { limitConcurrency } from "../concurrency.ts";
import { type Contender, measure, median, ratio } from "./measure.ts";

const TASKS = 1_000_000;
const LIMIT = 10;

type Task = (n: number) => Promise<number>;
const task: Task = (n) => Promise.resolve(n);

/** How tasks come: each after the one before, or all before the first has ended. */
export type Way = "all at once" | "one at a time";

/** A limiter: a function that is limited, or one that runs all tasks and gives their sum. */
type Limiter = { readonly make: () => Task } | {
  readonly all: () => Promise<number>;
};

/** The limiters, by name; ours comes first. */
const limiters: Record<string, Limiter> = {
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
  "pooledMap of std": {
    all: async () => {
      let sum = 0;
      for await (const n of pooledMap(LIMIT, numbers(), task)) sum += n;
      return sum;
    },
  },
};

function* numbers(): Generator<number> {
  for (let n = 0; n < TASKS; n++) yield n;
}

const EXPECTED = TASKS * (TASKS - 1) / 2;

async function oneAtATime(run: Task): Promise<number> {
  let sum = 0;
  for (let n = 0; n < TASKS; n++) sum += await run(n);
  return sum;
}

async function allAtOnce(run: Task): Promise<number> {
  const calls = new Array<Promise<number>>(TASKS);
  for (let n = 0; n < TASKS; n++) calls[n] = run(n);
  return (await Promise.all(calls)).reduce((sum, n) => sum + n, 0);
}

/** The limiters that can run tasks in a way; the sum of the results is checked in each run. */
export function contenders(way: Way): Contender[] {
  return Object.entries(limiters).flatMap(([name, limiter]) => {
    if ("all" in limiter && way === "one at a time") return [];
    return [{
      name,
      calls: TASKS,
      run: async () => {
        const sum = "all" in limiter
          ? await limiter.all()
          : await (way === "all at once" ? allAtOnce : oneAtATime)(
            limiter.make(),
          );
        if (sum !== EXPECTED) throw new Error(`${name} lost results`);
      },
    }];
  });
}

if (import.meta.main) {
  for (const way of ["all at once", "one at a time"] as const) {
    const times = await measure(
      contenders(way),
      Number(globalThis.process.argv[2] ?? 5),
    );
    const ours = times.get("limitConcurrency")!;
    // deno-lint-ignore no-console
    console.table(
      [...times].map(([name, timing]) => ({
        [way]: name,
        "ns per task": Math.round(median(timing.processor) * 1000),
        "× ours": ratio(timing, ours).toFixed(2),
      })),
    );
  }
}
