/** Processes under one limit: a log outside the store shows that they never exceed it. */

import { appendFileSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { assert, assertEquals } from "@std/assert";
import { type Child, start } from "../support/child.ts";
import { temporaryFolder } from "../support/temp.ts";
import type { Extent } from "./random.ts";
import type { Limited } from "./limit_child.ts";
import { leftIn } from "./shares.ts";

/** A line of the log: the start or the end of a call, or a kill. */
interface Line {
  readonly what: string;
  readonly pid: string;
  readonly at: number;
}

/** The result of processes under one limit. */
export interface Under {
  /** The throughput as a fraction of the ideal one. */
  readonly part: number;
  /** The times of the fastest and the slowest process, in milliseconds. */
  readonly took: readonly [number, number];
}

function place(): { path: string; log: string } {
  const folder = temporaryFolder();
  const log = join(folder, "log");
  writeFileSync(log, "");
  return { path: join(folder, "cache.db"), log };
}

function begin(limited: Limited): Child {
  return start("torture/limit_child.ts", [JSON.stringify(limited)]);
}

function readLog(log: string): Line[] {
  return readFileSync(log, "utf8").trimEnd().split("\n").map((line) => {
    const [what = "", , pid = "", at] = line.split(" ");
    return { what, pid, at: Number(at) };
  });
}

/** Lets processes that wait begin, once all of them are ready. */
export async function letGo(children: readonly Child[]): Promise<void> {
  await Promise.all(children.map((child) => child.said("begin")));
  for (const child of children) child.process.stdin?.end();
}

/** Eight processes, five permits, calls of 50 ms; some of the processes are killed. */
export async function sharePermits(calls: number, kills: number): Promise<Under> {
  const { path, log } = place();
  const limited = { path, log, calls, ms: 50, limit: 5, waits: true };
  const children = Array.from({ length: 8 }, () => begin(limited));
  const dying = children.slice(0, kills);
  await letGo(children);
  if (kills > 0) await delay(400);
  for (const child of dying) {
    appendFileSync(log, `kill 0 ${child.process.pid} 0\n`);
    await child.kill();
  }
  const took = await Promise.all(
    children.slice(kills).map(async (child) => Number((await child.ended()).at(-1))),
  );
  const running = new Map<string, number>();
  let most = 0;
  const dead = new Set<string>();
  for (const { what, pid } of readLog(log)) {
    if (what === "kill") {
      dead.add(pid);
      running.delete(pid);
    }
    if (dead.has(pid)) continue;
    running.set(pid, (running.get(pid) ?? 0) + (what === "begin" ? 1 : -1));
    most = Math.max(most, [...running.values()].reduce((sum, each) => sum + each, 0));
  }
  assertEquals(most, 5, "how many calls ran at once");
  const lines = readLog(log).filter(({ what }) => what !== "kill");
  const whole = Math.max(...lines.map(({ at }) => at)) - Math.min(...lines.map(({ at }) => at));
  const begun = lines.filter(({ what }) => what === "begin").length;
  // A process that waits looks for killed ones; the killed ones may have been the last to wait.
  if (kills > 0) await begin({ ...limited, waits: false }).ended();
  assertEquals(leftIn({ path }), []);
  return { part: begun * 50 / 5 / whole, took: [Math.min(...took), Math.max(...took)] };
}

/** Four processes, and one after them, under one rate; no window over all starts exceeds it. */
export async function shareRate(limit: number, per: number): Promise<Under> {
  const { path, log } = place();
  const limited = { path, log, calls: limit, ms: 0, limit, per, waits: true };
  const children = Array.from({ length: 4 }, () => begin(limited));
  await letGo(children);
  const took = await Promise.all(
    children.map(async (child) => Number((await child.ended()).at(-1))),
  );
  // The late process inherits the starts of the others.
  await begin({ ...limited, calls: 1, waits: false }).ended();
  const starts = readLog(log).filter(({ what }) => what === "begin").map(({ at }) => at)
    .sort((a, b) => a - b);
  for (const [index, at] of starts.entries()) {
    const next = starts[index + limit];
    // The clock of each process is exact to a millisecond.
    if (next !== undefined) assert(next - at > per - 2, `${limit + 1} starts in ${next - at} ms`);
  }
  const whole = starts[4 * limit - 1]! - starts[0]!;
  return { part: 3 * per / whole, took: [Math.min(...took), Math.max(...took)] };
}

/** One process pauses, and another one waits. */
export async function sharePause(): Promise<void> {
  const { path, log } = place();
  const first = begin({ path, log, calls: 1, ms: 300, limit: 5, pauseMs: 1_500 });
  await first.until(() => readFileSync(log, "utf8").includes("begin"));
  await first.ended();
  await begin({ path, log, calls: 1, ms: 0, limit: 5 }).ended();
  const [one, two] = readLog(log).filter(({ what }) => what === "begin");
  assert(two!.at - one!.at > 1_450, `the other process began ${two!.at - one!.at} ms later`);
}

/** All of them, with `count` calls of each process. */
export async function limitLong({ count }: Extent): Promise<Record<string, Under>> {
  const permits = await sharePermits(count, 0);
  assert(permits.part >= 0.85, `${permits.part} of the ideal rate`);
  const killed = await sharePermits(count, 2);
  const rate = await shareRate(count, 2_000);
  assert(rate.part >= 0.95, `${rate.part} of the ideal rate`);
  await sharePause();
  return { permits, killed, rate };
}
