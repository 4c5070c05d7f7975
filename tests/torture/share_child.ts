/**
 * Shares work with others that do the same; its only parameter is a {@linkcode Share}. The start
 * and the end of each run go to a log outside the store. Prints `begin`, then a {@linkcode Shared}
 * as JSON.
 */

// deno-lint-ignore-file no-console -- its output is what the test reads

import { appendFileSync } from "node:fs";
import process from "node:process";
import { setTimeout as delay } from "node:timers/promises";
import { LEASE } from "../../src/leases/register.ts";
import { openStore } from "../support/store.ts";

/** The work of a process. */
export interface Share {
  /** A file of SQLite, or the URL of Redis. */
  readonly path: string;
  readonly log: string;
  /** The first input; 0 when unset. The inputs are `count` numbers from there. */
  readonly first?: number;
  readonly count: number;
  /** The average duration of a run, in milliseconds. */
  readonly ms: number;
  /** Whether a run blocks the event loop. */
  readonly blocks?: boolean;
  readonly concurrency?: number;
  /** Inputs in order in one batch; a batch in any order; ordinary calls one after the other. */
  readonly way?: "ordered" | "any" | "calls";
  /** The lifetime of a session without a heartbeat, in milliseconds. */
  readonly leaseMs?: number;
  /** The lead of the process's clock, in milliseconds. */
  readonly clockMs?: number;
}

/** The result of a process. */
export interface Shared {
  readonly pid: number;
  readonly misses: number;
  readonly reused: number;
  /** The duration, in milliseconds. */
  readonly took: number;
  readonly reports: readonly string[];
  /** The process that computed the last ordinary call; `unstored` is why it was not stored. */
  readonly by: number | undefined;
  readonly unstored: string | undefined;
}

async function share(options: Share): Promise<void> {
  const { path, log, first = 0, count, ms, concurrency = 1, way = "any" } = options;
  if (options.leaseMs !== undefined) {
    LEASE.ms = options.leaseMs;
    LEASE.beatMs = options.leaseMs / 3;
  }
  const { clockMs = 0 } = options;
  const now = Date.now;
  if (clockMs !== 0) Date.now = () => now() + clockMs;
  const reports: string[] = [];
  const { pid } = process;
  const cache = openStore(path, {
    onError: (error, { kind }) => reports.push(`${kind}: ${error.message}`),
  });
  const square = cache.cache({ id: "square" })(async (n: number) => {
    appendFileSync(log, `begin ${n} ${pid}\n`);
    const end = performance.now() + ms * (0.5 + (n * 7919 % 100) / 100);
    if (options.blocks) { while (performance.now() < end); }
    else await delay(end - performance.now());
    appendFileSync(log, `end ${n} ${pid}\n`);
    return { square: n * n, pid };
  });
  const inputs = Array.from({ length: count }, (_, index) => first + index);
  console.log("begin");
  const start = performance.now();
  let by: number | undefined;
  let unstored: string | undefined;
  if (way === "calls") {
    for (const n of inputs) {
      const detail = await square.detail(n);
      if (detail.value.square !== n * n) throw new Error(`wrong: ${n}`);
      by = detail.value.pid;
      unstored = detail.unstored;
    }
  } else {
    let next = first;
    for await (const result of square.map(inputs, { concurrency, ordered: way === "ordered" })) {
      if (!result.ok || result.value.square !== result.input ** 2) throw new Error("wrong");
      if (way === "ordered" && result.input !== next++) throw new Error("not in order");
    }
  }
  const { misses, hits, shared } = cache.stats();
  const took = Math.round(performance.now() - start);
  await cache.close();
  const came: Shared = { pid, misses, reused: hits + shared, took, reports, by, unstored };
  console.log(JSON.stringify(came));
}

await share(JSON.parse(process.argv[2] ?? "{}"));
