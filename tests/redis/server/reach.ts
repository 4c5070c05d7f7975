/** Processes that share work and limits through Redis, while some of them are killed. */
import { appendFileSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { assert, assertEquals } from "@std/assert";
import { type Child, start } from "../../support/child.ts";
import { type RedisServer, startRedis } from "../../support/redis_server.ts";
import { temporaryFolder } from "../../support/temp.ts";
import type { Limited } from "../../torture/limit_child.ts";
import { letGo } from "../../torture/limits.ts";
import type { Share, Shared } from "../../torture/share_child.ts";

/** The time that a session lasts without a heartbeat, in milliseconds. */
const LEASE_MS = 1_500;

const PROCESSES = 8;

function newLog(): string {
  const log = join(temporaryFolder(), "log");
  writeFileSync(log, "");
  return log;
}

/** The lines of a log, each split into event, key, process and time. */
function linesOf(log: string): string[][] {
  return readFileSync(log, "utf8").trimEnd().split("\n").map((line) => line.split(" "));
}

/** Keys of which two runs overlap, runs begun, and keys that have a run which ended. */
function readRuns(log: string): { overlapping: number; begun: number; keys: number } {
  const running = new Map<string, string>();
  const keys = new Set<string>();
  const killed = new Set<string>();
  let overlapping = 0;
  let begun = 0;
  for (const [what = "", key = "", pid = ""] of linesOf(log)) {
    if (what === "kill") killed.add(pid);
    if (what === "begin") {
      begun++;
      const by = running.get(key);
      if (by !== undefined && !killed.has(by)) overlapping++;
      running.set(key, pid);
    }
    if (what === "end") {
      running.delete(key);
      keys.add(key);
    }
  }
  return { overlapping, begun, keys: keys.size };
}

function share(server: RedisServer, log: string, options: Partial<Share>): Child {
  const parameters = { path: server.url(), log, count: 300, ms: 20, leaseMs: LEASE_MS, ...options };
  return start("torture/share_child.ts", [JSON.stringify(parameters)]);
}

async function cameOf(child: Child): Promise<Shared> {
  return JSON.parse((await child.ended()).at(-1) ?? "");
}

/** The notes that are left, except the number of changes. */
async function notesOf(server: RedisServer): Promise<string> {
  await server.send("HDEL", "{panza}:panza-1:notes", "");
  return `${await server.send("HKEYS", "{panza}:panza-1:notes")}`;
}

test("RedisCache lets eight processes compute each input once, whose clocks are hours apart", async () => {
  const server = await startRedis();
  const log = newLog();
  const children = Array.from(
    { length: PROCESSES },
    (_, index) => share(server, log, { concurrency: 10, clockMs: (index % 3 - 1) * 3_600_000 }),
  );
  const came = await Promise.all(children.map(cameOf));
  assertEquals(readRuns(log), { overlapping: 0, begun: 300, keys: 300 });
  assertEquals(came.flatMap(({ reports }) => reports), []);
  assertEquals(came.reduce((sum, { misses }) => sum + misses, 0), 300);
  assertEquals(await notesOf(server), "");
  await server.kill();
});

test("RedisCache lets no runs of a key overlap when processes are killed", async () => {
  const server = await startRedis();
  const log = newLog();
  const options = { concurrency: 5, ms: 60, count: 200 };
  await Promise.all(Array.from({ length: PROCESSES }, async (_, index) => {
    if (index > 3) {
      const child = share(server, log, options);
      await child.said("begin");
      await delay(100 * index);
      appendFileSync(log, `kill - ${child.process.pid}\n`);
      await child.kill();
    }
    const came = await cameOf(share(server, log, options));
    assertEquals(came.reports, []);
  }));
  const { overlapping, begun, keys } = readRuns(log);
  assertEquals([overlapping, keys], [0, 200]);
  // More runs than keys: a kill cuts runs short, or comes between the end and the store of one.
  assert(begun <= 200 + 4 * options.concurrency, `${begun} runs`);
  await cameOf(share(server, log, { first: 1_000, count: 1 }));
  await delay(LEASE_MS);
  await cameOf(share(server, log, { first: 1_001, count: 1 }));
  assertEquals(await notesOf(server), "");
  await server.kill();
});

test("RedisCache gives callers their results when the server is killed among processes", async () => {
  const server = await startRedis();
  const log = newLog();
  const children = [1, 2, 3].map(() => share(server, log, { concurrency: 5, ms: 40 }));
  await Promise.all(children.map((child) => child.said("begin")));
  await delay(500);
  await server.kill();
  await delay(500);
  await server.restart();
  const came = await Promise.all(children.map(cameOf));
  assertEquals(readRuns(log).keys, 300);
  assert(came.some(({ reports }) => reports.length > 0));
  assert(came.flatMap(({ reports }) => reports).every((text) => text.includes("Redis 127.0.0.1")));
  await server.kill();
});

function limit(server: RedisServer, log: string, options: Omit<Limited, "path" | "log">): Child {
  const parameters = { path: server.url(), log, leaseMs: LEASE_MS, ...options };
  return start("torture/limit_child.ts", [JSON.stringify(parameters)]);
}

/** Eight processes, five permits, 20 calls of 50 ms each; two of the processes may be killed. */
async function sharePermits(kills: number): Promise<number> {
  const server = await startRedis();
  const log = newLog();
  const options = { calls: 20, ms: 50, limit: 5, waits: true };
  const children = Array.from({ length: PROCESSES }, () => limit(server, log, options));
  await letGo(children);
  if (kills > 0) await delay(300);
  for (const child of children.slice(0, kills)) {
    appendFileSync(log, `kill - ${child.process.pid} 0\n`);
    await child.kill();
  }
  await Promise.all(children.slice(kills).map((child) => child.ended()));
  const running = new Map<string, number>();
  const dead = new Set<string>();
  let most = 0;
  for (const [what, , pid = ""] of linesOf(log)) {
    if (what === "kill") dead.add(pid);
    if (dead.has(pid)) running.delete(pid);
    else running.set(pid, (running.get(pid) ?? 0) + (what === "begin" ? 1 : -1));
    most = Math.max(most, [...running.values()].reduce((sum, each) => sum + each, 0));
  }
  assertEquals(most, 5, "how many calls ran at once");
  await server.kill();
  const times = linesOf(log).filter(([what]) => what !== "kill").map((line) => Number(line[3]));
  const begun = linesOf(log).filter(([what]) => what === "begin").length;
  return begun * 50 / 5 / (Math.max(...times) - Math.min(...times));
}

test("limitConcurrency() holds for eight processes that share Redis", async () => {
  const part = await sharePermits(0);
  assert(part > 0.25, `${part} of the ideal rate`);
});

test("limitConcurrency() gives permits of killed processes back, within the lease", async () => {
  assert(await sharePermits(2) > 0.1);
});

test("limitRate() holds for all windows of processes that share Redis", async () => {
  const server = await startRedis();
  const log = newLog();
  const [count, per] = [20, 1_000];
  const options = { calls: count, ms: 0, limit: count, per, waits: true };
  const children = [1, 2, 3, 4].map(() => limit(server, log, options));
  await letGo(children);
  await Promise.all(children.map((child) => child.ended()));
  const starts = linesOf(log).filter(([what]) => what === "begin").map((line) => Number(line[3]))
    .sort((a, b) => a - b);
  assertEquals(starts.length, 4 * count);
  for (const [index, at] of starts.entries()) {
    const next = starts[index + count];
    // The clocks of processes are read to a millisecond.
    if (next !== undefined) assert(next - at > per - 2, `${count + 1} starts in ${next - at} ms`);
  }
  const part = 3 * per / ((starts.at(-1) ?? 0) - (starts[0] ?? 0));
  assert(part > 0.4, `${part} of the ideal rate`);
  await server.kill();
});
