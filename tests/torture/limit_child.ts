/**
 * Makes calls under a limit that others share; its only parameter is a {@linkcode Limited}. The
 * start and the end of each call go to a log outside the store. Prints `begin`, then the time for
 * all calls, in milliseconds.
 */

// deno-lint-ignore-file no-console -- its output is what the test reads

import { appendFileSync } from "node:fs";
import process from "node:process";
import { finished } from "node:stream/promises";
import { setTimeout as delay } from "node:timers/promises";
import { limitConcurrency, limitRate } from "../../concurrency.ts";
import { LEASE } from "../../src/leases/register.ts";
import { openStore } from "../support/store.ts";

/** The work of a process. */
export interface Limited {
  /** A file of SQLite, or the URL of Redis. */
  readonly path: string;
  readonly log: string;
  /** The number of calls, all made at once. */
  readonly calls: number;
  /** The duration of each call, in milliseconds. */
  readonly ms: number;
  /** The number of permits, or of calls that start in a window. */
  readonly limit: number;
  /** The window, in milliseconds; unset, permits limit the calls. */
  readonly per?: number;
  /** The pause of all calls that the first one asks for, in milliseconds. */
  readonly pauseMs?: number;
  /** Whether the calls begin only when stdin ends. */
  readonly waits?: boolean;
  /** The lifetime of a session without a heartbeat, in milliseconds. */
  readonly leaseMs?: number;
}

const now = (): number => performance.timeOrigin + performance.now();

async function work(limited: Limited): Promise<void> {
  const { path, log, calls, ms, limit, per, pauseMs, waits, leaseMs = LEASE.ms } = limited;
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
  if (waits) await finished(process.stdin.resume());
  const start = performance.now();
  await Promise.all(Array.from({ length: calls }, (_, n) => call(n)));
  const took = performance.now() - start;
  await cache.close();
  console.log(Math.round(took));
}

await work(JSON.parse(process.argv[2] ?? "{}"));
