/**
 * Shares work with others that do the same, as its only parameter says (see {@linkcode Share}). Each
 * run is written to a log outside the store when it begins and when it ends. Prints `begin`, and what
 * came of it as JSON.
 */

// deno-lint-ignore-file no-console -- its output is what the test reads

import { appendFileSync } from "node:fs";
import process from "node:process";
import { setTimeout as delay } from "node:timers/promises";
import { LEASE } from "../../src/leases/register.ts";
import { openStore } from "../support/store.ts";

/** What a process does. */
export interface Share {
  /** A file of SQLite, or the URL of Redis. */
  readonly path: string;
  readonly log: string;
  /** The inputs: from 0, unless `first` says otherwise, and how many. */
  readonly first?: number;
  readonly count: number;
  /** How long a run takes on average, in milliseconds. */
  readonly ms: number;
  /** Whether a run keeps the event loop all the time. */
  readonly blocks?: boolean;
  readonly concurrency?: number;
  /** Inputs in order in one batch; a batch in any order; ordinary calls one after the other. */
  readonly way?: "ordered" | "any" | "calls";
  /** How long a session lasts without a heartbeat, in milliseconds. */
  readonly leaseMs?: number;
  /** How far the clock of the process is ahead, in milliseconds. */
  readonly clockMs?: number;
}

/** What came of it. */
export interface Shared {
  readonly pid: number;
  readonly misses: number;
  readonly reused: number;
  /** How long it took, in milliseconds. */
  readonly took: number;
  readonly reports: readonly string[];
  /** Of the last ordinary call: which process computed it, and why it was not stored. */
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
