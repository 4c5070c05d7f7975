/**
 * Makes calls under a limit that others share, as its only parameter says (see {@linkcode Limited}).
 * Each is written to a log outside the store when it begins and when it ends. Prints `begin`, and how
 * long it took.
 */

// deno-lint-ignore-file no-console -- its output is what the test reads

import { appendFileSync } from "node:fs";
import process from "node:process";
import { setTimeout as delay } from "node:timers/promises";
import { limitConcurrency, limitRate } from "../../concurrency.ts";
import { LEASE } from "../../src/leases/register.ts";
import { openStore } from "../support/store.ts";

/** What a process does. */
export interface Limited {
  /** A file of SQLite, or the URL of Redis. */
  readonly path: string;
  readonly log: string;
  /** How many calls it makes, all at once. */
  readonly calls: number;
  /** How long each takes, in milliseconds. */
  readonly ms: number;
  /** How many permits there are, or how many calls start in a window. */
  readonly limit: number;
  /** The window, in milliseconds; unset, permits limit the calls. */
  readonly per?: number;
  /** For how long the first call pauses all, in milliseconds. */
  readonly pauseMs?: number;
  /** The time at which to begin, in milliseconds since the Unix epoch. */
  readonly at?: number;
  /** How long a session lasts without a heartbeat, in milliseconds. */
  readonly leaseMs?: number;
}

const now = (): number => performance.timeOrigin + performance.now();

async function work(limited: Limited): Promise<void> {
  const { path, log, calls, ms, limit, per, pauseMs, at = 0, leaseMs = LEASE.ms } = limited;
  Object.assign(LEASE, { ms: leaseMs, beatMs: leaseMs / 3 });
  const { pid } = process;
  const cache = openStore(path);
  const shared = per === undefined
    ? limitConcurrency(limit, { store: cache, id: "shared" })
    : limitRate(limit, { per, store: cache, id: "shared" });
  let isFirst = true;
  const call = shared(async (n: number): Promise<void> => {
    appendFileSync(log, `begin ${n} ${pid} ${now()}\n`);
    if (pauseMs !== undefined && isFirst) shared.pause(pauseMs);
    isFirst = false;
    await delay(ms);
    appendFileSync(log, `end ${n} ${pid} ${now()}\n`);
  });
  console.log("begin");
  if (at > now()) await delay(at - now());
  const start = performance.now();
  await Promise.all(Array.from({ length: calls }, (_, n) => call(n)));
  const took = performance.now() - start;
  await cache.close();
  console.log(Math.round(took));
}

await work(JSON.parse(process.argv[2] ?? "{}"));
