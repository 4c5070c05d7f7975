/** A machine that refuses: no room, no rights, no file, a wrong clock, no more handles. */

import { spawnSync } from "node:child_process";
import { mkdirSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { DatabaseSync } from "node:sqlite";
import { assert, assertEquals } from "@std/assert";
import type { Cache } from "../../src/core/cache.ts";
import type { CacheOptions } from "../../src/core/options.ts";
import { SQLiteCache } from "../../sqlite.ts";
import { temporaryFolder } from "../support/temp.ts";
import { deny } from "./denials.ts";
import type { Extent } from "./random.ts";
import { smallValue } from "./values.ts";

/** A value of some 10 KB, so that little room is soon full. */
function valueOf(n: number): unknown {
  return { value: smallValue(n), long: `${n},`.repeat(3000) };
}

/** The result of calls. */
interface Came {
  readonly runs: number;
  readonly kinds: ReadonlySet<string>;
  readonly messages: readonly string[];
}

/** Calls a function for many inputs, in every way, and checks the results. */
async function call(
  open: (options: CacheOptions) => Cache,
  inputs: readonly number[],
  meanwhile: () => void = () => {},
): Promise<Came> {
  const kinds = new Set<string>();
  const messages: string[] = [];
  const cache = open({
    onError: (error, { kind }) => {
      kinds.add(kind);
      messages.push(error.message);
    },
  });
  let runs = 0;
  const fn = cache.cache({ id: "work" })(async (n: number) => {
    runs++;
    return await Promise.resolve(valueOf(n));
  });
  for (const [index, n] of inputs.entries()) {
    if (index === inputs.length >> 1) meanwhile();
    assertEquals(await fn(n), valueOf(n));
  }
  assertEquals(await fn.map(inputs, { concurrency: 3 }).values(), inputs.map(valueOf));
  await cache.close();
  return { runs, kinds, messages };
}

function inputs(count: number): number[] {
  return Array.from({ length: count }, (_, n) => n);
}

/** A database that may not grow: its entries stay, and results that do not fit are computed. */
export async function fillDatabase(): Promise<Came> {
  const path = join(temporaryFolder(), "full.db");
  const handle = new DatabaseSync(path);
  try {
    handle.exec("PRAGMA max_page_count = 60");
    const open = (options: CacheOptions) => new SQLiteCache(handle, options);
    const came = await call(open, inputs(60));
    assertEquals(came.kinds, new Set(["write"]));
    // With room again, everything is stored.
    handle.exec("PRAGMA max_page_count = 100000");
    const again = await call(open, inputs(60));
    assert(again.runs < 60 && again.kinds.size === 0);
    assertEquals((await call(open, inputs(60))).runs, 0);
    return came;
  } finally {
    handle.close();
  }
}

/** A read-only database, and paths that lead nowhere. */
export async function refuseWrites(): Promise<void> {
  const folder = temporaryFolder();
  const path = join(folder, "read.db");
  await call((options) => new SQLiteCache(path, options), inputs(5));
  const handle = new DatabaseSync(path, { readOnly: true });
  const came = await call((options) => new SQLiteCache(handle, options), inputs(10));
  handle.close();
  assert(came.runs >= 5);
  assertEquals(came.kinds, new Set(["write"]));
  const file = join(folder, "file");
  writeFileSync(file, "");
  for (const nowhere of [join(file, "cache.db"), folder]) {
    const { kinds } = await call((options) => new SQLiteCache(nowhere, options), inputs(3));
    assertEquals(kinds, new Set(["lease", "read", "write"]));
  }
}

/** A file, its companions or its folder that vanish while they are used. */
export async function removeFiles(): Promise<void> {
  for (
    const names of [
      ["cache.db"],
      ["cache.db-wal"],
      ["cache.db-shm"],
      ["cache.db", "cache.db-wal", "cache.db-shm"],
      ["."],
    ]
  ) {
    const folder = join(temporaryFolder(), "deep");
    const open = (options: CacheOptions) => new SQLiteCache(join(folder, "cache.db"), options);
    await call(open, inputs(20), () => {
      for (const name of names) {
        rmSync(join(folder, name), { recursive: true, force: true });
      }
    });
    // The cache works again, whatever was lost with the file.
    await call(open, inputs(20));
    const last = await call(open, inputs(20));
    assertEquals([last.runs, last.kinds.size], [0, 0], names.join());
  }
}

const YEAR_MS = 365 * 24 * 3600 * 1000;

/** A clock that jumps a year back and forth between calls. */
export async function turnClock(open: (options: CacheOptions) => Cache): Promise<void> {
  const errors: Error[] = [];
  const cache = open({ onError: (error) => errors.push(error) });
  const real = Date.now;
  let runs = 0;
  const compute = async (n: number): Promise<number> => {
    runs++;
    return await Promise.resolve(n * 2);
  };
  const ever = cache.cache({ id: "ever" })(compute);
  const daily = cache.cache({
    id: "daily",
    ttl: "1d",
    staleIfError: "1d",
    staleWhileRevalidate: "1h",
  })(compute);
  const at = async (shift: number, expected: number): Promise<void> => {
    Date.now = () => real() + shift;
    runs = 0;
    for (const n of [1, 2, 3]) {
      assertEquals([await ever(n), await daily(n)], [n * 2, n * 2]);
      assertEquals(await daily.map([n], { concurrency: 1 }).values(), [n * 2]);
    }
    assertEquals(runs, expected, `after ${shift}`);
    assertEquals(await cache.get("direct"), 1);
  };
  try {
    await cache.set("direct", 1);
    await at(0, 6);
    await at(0, 0);
    // After a year a result that lives for a day has expired; one without an end has not.
    await at(YEAR_MS, 3);
    await at(YEAR_MS, 0);
    // A result stored in what is now the future counts as stored now.
    await at(-YEAR_MS, 0);
    await cache.prune({ olderThan: "1d", expired: true });
    await at(-YEAR_MS, 0);
    await at(0, 0);
    await at(3 * YEAR_MS, 3);
    await cache.prune({ olderThan: "30d" });
  } finally {
    Date.now = real;
    await cache.close();
  }
  assertEquals(errors, []);
}

/** The number of open handles of a file in this process; `undefined` where no list exists. */
function handlesOf(path: string): number | undefined {
  // By `ls`, because the tests lack the right to read the folder.
  const { stdout } = spawnSync("ls", ["-l", `/proc/${process.pid}/fd`], {
    encoding: "utf8",
    maxBuffer: 2 ** 26,
  });
  // `ls` complains of handles that other threads close meanwhile, and lists the rest.
  return stdout ? stdout.split(path).length - 1 : undefined;
}

/** Many caches on one file at the same time; closing them leaves no handle open. */
export async function openMany({ count }: Extent): Promise<void> {
  const path = join(temporaryFolder(), "many.db");
  const errors: Error[] = [];
  const caches = Array.from(
    { length: count },
    // A cache that shares its runs has a session, and each session knows of all others: this suits
    // a hundred processes, not thousands.
    (_, index) =>
      new SQLiteCache(path, {
        onError: (error) => errors.push(error),
        singleFlight: index < 100 ? "store" : "process",
      }),
  );
  const results = await Promise.all(
    caches.map(async (cache, index) => {
      const fn = cache.cache({ id: "work" })((n: number) => Promise.resolve(n + 1));
      return await fn(index % 10);
    }),
  );
  results.forEach((result, index) => assertEquals(result, (index % 10) + 1));
  const opened = handlesOf(path);
  await Promise.all(caches.map((cache) => cache.close()));
  // Handles beyond the system's limit are reported, and no call fails.
  if (count <= 200) {
    assertEquals(
      errors.map(({ message }) => message),
      [],
    );
  }
  if (opened !== undefined) {
    assert(opened >= Math.min(count, 100), `${opened} handles are seen`);
    assertEquals(handlesOf(path), 0);
  }
}

/**
 * A full and a read-only file system, where this process may mount one.
 *
 * @returns A line for the report.
 */
export async function mount(): Promise<string> {
  const place = join(temporaryFolder(), "mounted");
  mkdirSync(place);
  const run = (...command: [string, ...string[]]): boolean =>
    spawnSync(command[0], command.slice(1)).status === 0;
  if (!run("mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", place)) {
    return "not done: this process may not mount a file system";
  }
  try {
    const open = (options: CacheOptions) => new SQLiteCache(join(place, "cache.db"), options);
    const full = await call(open, inputs(200));
    assert(full.kinds.has("write"), "the disk was full");
    assert(!full.kinds.has("damaged") && !full.kinds.has("backend"));
    assert(
      full.messages.some((message) => message.includes("free some disk space")),
      full.messages[0],
    );
    assert(run("mount", "-o", "remount,size=50m", place));
    assertEquals((await call(open, inputs(200))).kinds.size, 0);
    assertEquals((await call(open, inputs(200))).runs, 0);
    assert(run("mount", "-o", "remount,ro", place));
    const readOnly = await call(open, inputs(210));
    assertEquals(readOnly.kinds, new Set(["lease", "write"]));
    assert(readOnly.runs <= 20, `${readOnly.runs} runs: what is stored is not read`);
    assert(run("mount", "-o", "remount,rw", place));
    assertEquals((await call(open, inputs(210))).kinds.size, 0);
    const left = readdirSync(place).filter((name) => name.includes(".panza-"));
    assertEquals(left, [], "a healthy file was left");
    return `done: ${full.runs} runs on the full one, ${readOnly.runs} on the read-only one`;
  } finally {
    run("umount", place);
  }
}

export async function refuse(extent: Extent): Promise<string> {
  await fillDatabase();
  await refuseWrites();
  await removeFiles();
  await openMany(extent);
  const denied = (await deny()).join(", ");
  return `taken away: ${denied}; mounted file systems: ${await mount()}`;
}
