/** Many processes on one store: nobody is told of an error, and no value is wrong. */

import { join } from "node:path";
import { assertEquals } from "@std/assert";
import { start } from "../child.ts";
import { withBucket } from "../s3_server.ts";
import { temporaryFolder } from "../temp.ts";
import type { Extent } from "./random.ts";

const PROCESSES = 8;

/** What one process says at its end. */
interface Said {
  readonly troubles: readonly string[];
  readonly wrong: number;
  readonly milliseconds: number;
  readonly blocked: number;
  readonly hits: number;
}

/** What a crowd came to. */
export interface Crowd {
  readonly callsPerSecond: number;
  /** The longest that a call of the driver slept in any process, in milliseconds. */
  readonly blocked: number;
  readonly hits: number;
}

/** Starts them all, lets them begin in the same moment, and holds them to the rules. */
async function crowd(
  { count, seed }: Extent,
  parametersOf: (process: number) => readonly [string, string],
  more: readonly string[] = [],
): Promise<Crowd> {
  const keys = Math.max(50, count / 4);
  const children = Array.from(
    { length: PROCESSES },
    (_, index) =>
      start("torture/crowd_child.ts", [
        ...parametersOf(index),
        String(seed + index),
        String(count),
        String(keys),
        ...more,
      ]),
  );
  await Promise.all(children.map((child) => child.said("ready")));
  for (const child of children) child.process.stdin?.write("go\n");
  const said = await Promise.all(children.map(async (child): Promise<Said> => {
    const lines = await child.ended();
    return JSON.parse(lines.at(-1) ?? "");
  }));
  assertEquals(said.flatMap(({ troubles }) => troubles), [], `seed ${seed}`);
  assertEquals(said.map(({ wrong }) => wrong), said.map(() => 0));
  const slowest = Math.max(...said.map(({ milliseconds }) => milliseconds));
  return {
    callsPerSecond: Math.round(PROCESSES * count / slowest * 1000),
    blocked: Math.max(...said.map(({ blocked }) => blocked)),
    hits: said.reduce((sum, { hits }) => sum + hits, 0),
  };
}

/**
 * All on one SQLite file that does not exist yet, whose lock another process takes and keeps for
 * {@linkcode HELD_MS} again and again; and each on a file of its own, which tells what the machine
 * costs without the lock.
 */
export async function crowdSQLite(
  extent: Extent,
): Promise<{ shared: Crowd; apart: Crowd }> {
  const folder = temporaryFolder();
  const apart = await crowd(
    extent,
    (process) => ["sqlite", join(folder, "apart", `${process}.db`)],
  );
  const path = join(folder, "shared", "cache.db");
  const holder = start("torture/hold_child.ts", [path, String(HELD_MS)]);
  try {
    return { shared: await crowd(extent, () => ["sqlite", path]), apart };
  } finally {
    await holder.kill();
  }
}

/** How long the lock is kept, in milliseconds. */
export const HELD_MS = 300;

/** All on one prefix of a bucket. */
export async function crowdS3(extent: Extent): Promise<Crowd> {
  let result: Crowd | undefined;
  await withBucket(async (bucket, _client, server) => {
    result = await crowd(
      extent,
      () => ["s3", `${bucket}/crowd`],
      [server.endpoint],
    );
  });
  if (result === undefined) throw new Error("there was no crowd");
  return result;
}
