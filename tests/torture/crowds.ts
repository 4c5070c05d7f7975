/** Many processes on one store: no error is reported, and no value is wrong. */

import { existsSync } from "node:fs";
import { join } from "node:path";
import { assert, assertEquals } from "@std/assert";
import { SQLiteCache } from "../../sqlite.ts";
import { start } from "../support/child.ts";
import { withBucket } from "../support/s3_server.ts";
import { temporaryFolder } from "../support/temp.ts";
import type { Extent } from "./random.ts";

const PROCESSES = 8;

/** The line that a process prints at its end. */
interface Said {
  readonly troubles: readonly string[];
  readonly wrong: number;
  readonly milliseconds: number;
  readonly busy: number;
  readonly asleep: number;
  readonly gap: number;
  readonly hits: number;
}

/** The result of a crowd. */
export interface Crowd {
  readonly callsPerSecond: number;
  readonly hits: number;
  /** Calls of the driver, in all processes, that failed because another process held a lock. */
  readonly busy: number;
  /** The longest sleep in such a call, in milliseconds. */
  readonly asleep: number;
  /** The longest sleep of an event loop between two turns, for any reason, in milliseconds. */
  readonly gap: number;
}

interface Plan {
  readonly processes: number;
  /** The number of calls that each process makes at the same time. */
  readonly atOnce: number;
  readonly store: readonly [kind: string, place: string];
  readonly endpoint?: string;
}

/** Starts all processes, lets them begin at the same moment, and checks their results. */
async function crowd(
  { count, seed }: Extent,
  { processes, atOnce, store, endpoint }: Plan,
): Promise<Crowd> {
  const keys = Math.max(50, count / 4);
  const children = Array.from({ length: processes }, (_, index) =>
    start("torture/crowd_child.ts", [
      ...store,
      ...[seed + index, count, keys, atOnce].map(String),
      ...(endpoint === undefined ? [] : [endpoint]),
    ]));
  await Promise.all(children.map((child) => child.said("ready")));
  for (const child of children) child.process.stdin?.write("go\n");
  const said = await Promise.all(
    children.map(async (child): Promise<Said> => {
      const lines = await child.ended();
      return JSON.parse(lines.at(-1) ?? "");
    }),
  );
  assertEquals(
    said.flatMap(({ troubles }) => troubles),
    [],
    `seed ${seed}`,
  );
  assertEquals(
    said.map(({ wrong }) => wrong),
    said.map(() => 0),
  );
  const most = (of: (one: Said) => number) => Math.max(...said.map(of));
  const sum = (of: (one: Said) => number) => said.reduce((total, one) => total + of(one), 0);
  const slowest = most(({ milliseconds }) => milliseconds);
  return {
    callsPerSecond: Math.round(((processes * count) / slowest) * 1000),
    hits: sum(({ hits }) => hits),
    busy: sum(({ busy }) => busy),
    asleep: most(({ asleep }) => asleep),
    gap: most(({ gap }) => gap),
  };
}

/** The longest that a lock may hold up an event loop, in milliseconds. */
const LONGEST_MS = 50;

/** Asserts that no thread slept because another process had the lock. */
function assertAwake(crowd: Crowd, what: string): void {
  assert(
    crowd.asleep < LONGEST_MS,
    `${what}: waiting for a lock took ${crowd.asleep} ms of a thread`,
  );
}

/** Runs `work` while another process repeatedly takes the lock of a database and keeps it. */
async function withHolder<Result>(
  path: string,
  heldMs: number,
  work: () => Promise<Result>,
): Promise<Result> {
  const holder = start("torture/hold_child.ts", [path, String(heldMs)]);
  try {
    if (existsSync(path)) await holder.said("held");
    return await work();
  } finally {
    await holder.kill();
  }
}

/**
 * All processes on one SQLite file, in a folder that does not exist yet. Another process holds its
 * lock for 300 of every 350 ms.
 */
export async function crowdHeld(extent: Extent): Promise<Crowd> {
  const path = join(temporaryFolder(), "shared", "cache.db");
  const came = await withHolder(path, 300, () =>
    crowd(extent, {
      processes: PROCESSES,
      atOnce: 16,
      store: ["sqlite", path],
    }));
  assert(came.busy > 0, "nobody met the lock");
  assertAwake(came, `seed ${extent.seed}`);
  return came;
}

/**
 * One process on a SQLite file whose lock another process nearly always holds: its event loop keeps
 * turning. In one attempt a disk may make it sleep, or it may only meet the free lock, but not in
 * all of five.
 *
 * @param heldMs The time for which the lock is held at each turn, in milliseconds.
 */
export async function holdLock(extent: Extent, heldMs: number): Promise<Crowd> {
  for (let attempt = 1;; attempt++) {
    const path = join(temporaryFolder(), "held.db");
    {
      await using cache = new SQLiteCache(path);
      await cache.set("first", 1);
    }
    const came = await withHolder(
      path,
      heldMs,
      () => crowd(extent, { processes: 1, atOnce: 64, store: ["sqlite", path] }),
    );
    assertAwake(came, `seed ${extent.seed}`);
    if (came.busy > 0 && came.gap < LONGEST_MS) return came;
    assert(
      attempt < 5,
      `it met the lock ${came.busy} times, and its event loop slept for ${came.gap} ms`,
    );
  }
}

/** All of them. Only the throughput of `shared` counts: no process holds its lock without need. */
export async function crowdSQLite(
  extent: Extent,
): Promise<Record<"shared" | "held" | "alone", Crowd>> {
  const path = join(temporaryFolder(), "shared", "cache.db");
  const shared = await crowd(extent, {
    processes: PROCESSES,
    atOnce: 16,
    store: ["sqlite", path],
  });
  assertAwake(shared, `seed ${extent.seed}`);
  const held = await crowdHeld({ ...extent, count: extent.count / 10 });
  const alone = await holdLock({ ...extent, count: 1000 }, 3000);
  return { shared, held, alone };
}

/** All processes on one prefix of a bucket. */
export async function crowdS3(extent: Extent): Promise<Pick<Crowd, "callsPerSecond" | "hits">> {
  let result: Crowd | undefined;
  await withBucket(async (bucket, _client, server) => {
    result = await crowd(extent, {
      processes: PROCESSES,
      atOnce: 16,
      store: ["s3", `${bucket}/crowd`],
      endpoint: server.endpoint,
    });
  });
  if (result === undefined) throw new Error("there was no crowd");
  const { callsPerSecond, hits } = result;
  return { callsPerSecond, hits };
}
