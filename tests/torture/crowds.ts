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
  readonly gap: number;
  readonly longest: number;
  readonly hits: number;
}

/** What a crowd came to. */
export interface Crowd {
  readonly callsPerSecond: number;
  /** The 99th percentile of how long the event loop of a process was away, in milliseconds. */
  readonly gap: number;
  /** The longest that any of them was away, in milliseconds. */
  readonly longest: number;
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
    gap: Math.max(...said.map(({ gap }) => gap)),
    longest: Math.max(...said.map(({ longest }) => longest)),
    hits: said.reduce((sum, { hits }) => sum + hits, 0),
  };
}

/**
 * All on one SQLite file that does not exist yet; and each on a file of its own, which tells what
 * the machine costs without the lock.
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
  return { shared: await crowd(extent, () => ["sqlite", path]), apart };
}

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
