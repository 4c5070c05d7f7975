/** Processes that share work compute each key once, even if one is killed, stopped or held up. */

import { appendFileSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import process from "node:process";
import { DatabaseSync } from "node:sqlite";
import { setTimeout as delay } from "node:timers/promises";
import { assert, assertEquals } from "@std/assert";
import { LEASE } from "../../src/leases/register.ts";
import { type Child, start } from "../support/child.ts";
import { assertIntact } from "../support/sqlite_files.ts";
import { temporaryFolder } from "../support/temp.ts";
import { type Extent, Random } from "./random.ts";
import type { Share, Shared } from "./share_child.ts";

/** A store, and the log of all runs. */
interface Place {
  readonly path: string;
  readonly log: string;
}

function newPlace(): Place {
  const folder = temporaryFolder();
  const log = join(folder, "log");
  writeFileSync(log, "");
  return { path: join(folder, "cache.db"), log };
}

function begin(place: Place, share: Omit<Share, "path" | "log">, flags?: readonly string[]): Child {
  return start("torture/share_child.ts", [JSON.stringify({ ...place, ...share })], flags);
}

/** Resolves with the result of a process once it has ended without a report. */
async function cameOf(child: Child): Promise<Shared> {
  const lines = await child.ended();
  const came: Shared = JSON.parse(lines.at(-1) ?? "");
  assertEquals(came.reports, []);
  return came;
}

/** The counts of the log. */
interface Runs {
  /** Runs that began while another one of their key was under way. */
  readonly overlapping: number;
  readonly begun: number;
  readonly ended: number;
  /** Keys with a run that has ended. */
  readonly keys: number;
  /** Runs that a kill cut short, or whose result was not stored because of one. */
  readonly lost: number;
}

function readLog({ log }: Place): Runs {
  const running = new Map<string, Set<string>>();
  const done = new Map<string, string[]>();
  const killed = new Set<string>();
  let overlapping = 0;
  let begun = 0;
  let ended = 0;
  let lost = 0;
  for (const line of readFileSync(log, "utf8").trimEnd().split("\n")) {
    const [what = "", key = "", pid = ""] = line.split(" ");
    const runs = running.get(key) ?? new Set();
    running.set(key, runs);
    if (what === "begin") {
      begun++;
      if (runs.size > 0) overlapping++;
      // After the end of a run, only a kill before its commit makes another run necessary.
      lost += done.get(key)?.filter((by) => killed.has(by)).length ?? 0;
      done.set(key, (done.get(key) ?? []).filter((by) => !killed.has(by)));
      // A process may begin a run before the signal ends it.
      if (killed.has(pid)) lost++;
      else runs.add(pid);
    } else if (what === "end") {
      ended++;
      runs.delete(pid);
      done.set(key, [...done.get(key) ?? [], pid]);
    } else {
      killed.add(key);
      for (const each of running.values()) if (each.delete(key)) lost++;
    }
  }
  const keys = [...done.values()].filter((by) => by.length > 0).length;
  return { overlapping, begun, ended, keys, lost };
}

/** Asserts that after one more process nothing is left beside the entries. */
async function assertClean(place: Place, what: string): Promise<void> {
  await cameOf(begin(place, { first: 1_000_000, count: 1, ms: 1 }));
  let left = leftIn(place);
  if (left.length > 0) {
    // A session that was killed before it had a file ends when its heartbeat runs out.
    await delay(LEASE.ms);
    await cameOf(begin(place, { first: 1_000_001, count: 1, ms: 1 }));
    left = leftIn(place);
  }
  assertEquals(left, [], what);
  assertIntact(place.path, what);
}

/** Files and notes of processes beside the entries. */
export function leftIn({ path }: Pick<Place, "path">): unknown[] {
  const files = readdirSync(dirname(path)).filter((name) => name.includes("-session-"));
  const plain = new DatabaseSync(path, { readOnly: true });
  try {
    const notes = plain.prepare("SELECT id, key, note FROM panza_notes").all();
    return [...files, ...notes.map((note) => Object.values(note).join(" "))];
  } finally {
    plain.close();
  }
}

/** The number of processes that share the work. */
const PROCESSES = 8;

/**
 * Lets processes compute the same inputs, kills them at random moments, and starts them again.
 *
 * @returns The number of kills, and of runs lost by them.
 */
export async function killSharers(
  { count, seed }: Extent,
): Promise<{ kills: number; lost: number }> {
  const random = new Random(seed);
  let kills = 0;
  let lost = 0;
  for (let round = 0; kills < count; round++) {
    const what = `seed ${seed}, round ${round}`;
    const place = newPlace();
    const keys = 200;
    let left = Math.min(count - kills, PROCESSES - 1);
    await Promise.all(Array.from({ length: PROCESSES }, async () => {
      const way = random.of(["any", "any", "ordered", "calls"] as const);
      const share = { count: keys, ms: 100, concurrency: 5, way };
      while (left > 0) {
        left--;
        kills++;
        const child = begin(place, share);
        await child.said("begin");
        await delay(random.next() ** 2 * 800);
        // Logged before the kill, so that the runs of a process that takes over come later.
        appendFileSync(place.log, `kill ${child.process.pid}\n`);
        await child.kill();
      }
      await cameOf(begin(place, share));
    }));
    const runs = readLog(place);
    if (runs.overlapping > 0) throw new Error(`${what}: runs of one key overlap: ${place.log}`);
    assertEquals(runs.keys, keys, what);
    // Fewer runs are possible: a process may commit between the log line and its kill.
    const most = keys + runs.lost;
    assert(runs.begun <= most, `${what}: ${runs.begun} runs, kills made ${most} necessary`);
    await assertClean(place, what);
    lost += runs.lost;
  }
  return { kills, lost };
}

/** Lets processes compute the same inputs, each once; resolves with the time, in milliseconds. */
export async function shareWork(
  keys: number,
  ms: number,
  processes: number,
  share: Partial<Share> = {},
): Promise<number> {
  const place = newPlace();
  const children = Array.from(
    { length: processes },
    (_, index) =>
      begin(place, { count: keys, ms, concurrency: 10, ...share, clockMs: clockOf(share, index) }),
  );
  const came = await Promise.all(children.map(cameOf));
  const runs = readLog(place);
  assertEquals([runs.begun, runs.keys, runs.overlapping], [keys, keys, 0]);
  assertEquals(came.reduce((sum, { misses }) => sum + misses, 0), keys);
  for (const { misses, reused } of came) assertEquals(misses + reused, keys);
  await assertClean(place, "after shared work");
  return Math.max(...came.map(({ took }) => took));
}

/** Of every three processes, the clock of the second is ahead and that of the third behind. */
function clockOf({ clockMs = 0 }: Partial<Share>, index: number): number {
  return index % 3 === 0 ? 0 : index % 3 === 1 ? clockMs : -clockMs;
}

/** The lifetime of a session where a test waits for its end, in milliseconds. */
const SHORT_MS = 900;

/**
 * Holds a process up for longer than its session lasts, while it computes. Another process takes
 * over, and the late result of the first one goes to its caller alone.
 *
 * @param way `stopped` by a signal, or `blocked` by its own code.
 */
export async function holdUp(way: "stopped" | "blocked"): Promise<void> {
  const place = newPlace();
  const share = { count: 1, way: "calls", leaseMs: SHORT_MS } as const;
  const ms = way === "blocked" ? 8 * SHORT_MS : 2 * SHORT_MS;
  const first = begin(place, { ...share, ms, blocks: way === "blocked" });
  await first.until(() => readFileSync(place.log, "utf8").startsWith("begin"));
  const { pid = 0 } = first.process;
  // Not `first.process.kill`: Deno then counts the process as ended.
  if (way === "stopped") process.kill(pid, "SIGSTOP");
  const second = await cameOf(begin(place, { ...share, ms: 10 }));
  assertEquals([second.misses, second.by], [1, second.pid]);
  if (way === "stopped") process.kill(pid, "SIGCONT");
  const late = await cameOf(first);
  assertEquals([late.misses, late.by, late.unstored], [1, late.pid, "lease"]);
  const third = await cameOf(begin(place, { ...share, ms: 10 }));
  assertEquals([third.misses, third.by], [0, second.pid], "the stored result was replaced");
  await assertClean(place, way);
}

/** Processes without permission for a side file: only missing heartbeats show a death. */
export async function shareWithoutSideFiles(): Promise<void> {
  if (!("Deno" in globalThis)) return;
  const place = newPlace();
  const flags = ["read", "write"].map((name) => `--allow-${name}=${place.path},${place.log}`);
  const share = { count: 1, way: "calls", leaseMs: SHORT_MS, ms: 200 } as const;
  const first = begin(place, { ...share, ms: 60_000 }, flags);
  await first.until(() => readFileSync(place.log, "utf8").startsWith("begin"));
  assertEquals(leftIn(place).filter((left) => String(left).startsWith("cache.db-session")), []);
  const others = [1, 2].map(() => begin(place, share, flags));
  await others[0]?.said("begin");
  appendFileSync(place.log, `kill ${first.process.pid}\n`);
  const killed = performance.now();
  await first.kill();
  const came = await Promise.all(others.map(cameOf));
  assertEquals(came.map(({ misses }) => misses).sort(), [0, 1]);
  assert(performance.now() - killed < 20 * SHORT_MS);
  assertEquals(readLog(place).overlapping, 0);
}
