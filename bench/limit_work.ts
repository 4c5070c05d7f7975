// The peers are measured, not used: pinned here, they stay out of the dependencies of the package.
// deno-lint-ignore-file no-import-prefix

/**
 * Trivial tasks under a limit of 10, through `limitConcurrency` and its peers.
 *
 * @module
 */

import { Sema } from "npm:async-sema@3.1.1";
import { pooledMap } from "npm:deno-std@1.4.0/async/pool.js";
import { limitAsync } from "npm:es-toolkit@1.53.2";
import pLimit from "npm:p-limit@7.3.3";
import PQueue from "npm:p-queue@10.0.0";
import { limitConcurrency } from "../concurrency.ts";
import { collectGarbage, type Contender } from "./measure.ts";

const LIMIT = 10;

type Task = (n: number) => Promise<number>;
const task: Task = (n) => Promise.resolve(n);

/** The number of tasks that come at once; the next ones come after the last of them has ended. */
export const SIZES: readonly number[] = [1, 1_000, 100_000, 1_000_000];

/** A limiter: makes a limited task, or runs a number of tasks and resolves with their sum. */
type Limiter =
  | { readonly make: () => Task }
  | {
    readonly all: (tasks: number) => Promise<number>;
  };

/** The limiters, by name; ours comes first. */
const limiters: Record<string, Limiter> = {
  limitConcurrency: {
    make: () => limitConcurrency(LIMIT)(task),
  },
  "limitConcurrency, 1,000 keys": {
    make: () => limitConcurrency(LIMIT, { deriveKey: (n: number) => n % 1_000 })(task),
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
    all: async (tasks) => {
      let sum = 0;
      for await (const n of pooledMap(LIMIT, numbers(tasks), task)) sum += n;
      return sum;
    },
  },
};

function* numbers(count: number): Generator<number> {
  for (let n = 0; n < count; n++) yield n;
}

async function inBatches(run: Task, tasks: number, atOnce: number): Promise<number> {
  let sum = 0;
  if (atOnce === 1) {
    for (let n = 0; n < tasks; n++) sum += await run(n);
    return sum;
  }
  const calls = new Array<Promise<number>>(atOnce);
  for (let n = 0; n < tasks; n += atOnce) {
    for (let index = 0; index < atOnce; index++) calls[index] = run(n + index);
    for (const result of await Promise.all(calls)) sum += result;
  }
  return sum;
}

function contender(name: string, limiter: Limiter, atOnce: number, tasks: number): Contender {
  return {
    name,
    calls: tasks,
    // Many promises at once leave garbage that the next contender would pay for.
    ...(atOnce > 1 ? { before: collectGarbage } : {}),
    run: async () => {
      const sum = "all" in limiter
        ? await limiter.all(tasks)
        : await inBatches(limiter.make(), tasks, atOnce);
      if (sum !== (tasks * (tasks - 1)) / 2) {
        throw new Error(`${name} lost results`);
      }
    },
  };
}

/**
 * The limiters that can run tasks of which `atOnce` come at a time, ours first. Each run checks the
 * sum of the results.
 */
export function contenders(
  atOnce: number,
  tasks: number = Math.max(atOnce, 200_000),
): Contender[] {
  return Object.entries(limiters)
    .filter(([, limiter]) => "make" in limiter || atOnce === tasks)
    .map(([name, limiter]) => contender(name, limiter, atOnce, tasks));
}

/** The same tasks without any limit: the floor. */
export function unlimited(atOnce: number, tasks: number): Contender {
  return contender("no limit", { make: () => task }, atOnce, tasks);
}
