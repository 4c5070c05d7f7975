/** Processes that meet one damaged database at once: none touches it, and none loses a result. */

import { mkdirSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { setTimeout as delay } from "node:timers/promises";
import { assert, assertEquals } from "@std/assert";
import type { CachedFunction } from "../../src/core/wrapped.ts";
import { SQLiteCache } from "../../sqlite.ts";
import { type Child, start } from "../support/child.ts";
import {
  assertIntact,
  assertUntouched,
  contents,
  copyDatabase,
  overwrite,
} from "../support/sqlite_files.ts";
import { temporaryFolder } from "../support/temp.ts";
import { type Extent, Random } from "./random.ts";
import { smallValue } from "./values.ts";

/** The number of processes at one database. */
const RACERS = 4;
/** The rounds of a process: a child that lives for minutes counts as hanging. */
const ROUNDS = 100;
/** The longest delay between the first and the last start, in microseconds. */
const APART_US = 20_000;

/** The time in which every process notices another file at the path, in milliseconds. */
const NOTICED_MS = 300;

const PAGE_BYTES = 8192;

/** The counts of a run. */
interface Races {
  readonly rounds: number;
  /** Databases that were left alone for the next file. */
  readonly left: number;
  /** The number of them that were damaged while in use. */
  readonly inUse: number;
}

/** The inputs whose results a racer stores. */
export function resultsOf(name: number): readonly number[] {
  return Array.from({ length: 5 }, (_, index) => name * 100 + index);
}

/** A damage to a database whose last entries are in its log alone. */
interface Spoiled {
  readonly what: string;
  /** Whether it is left alone for the next number; a file that is missing is made anew. */
  readonly isLeft: boolean;
  readonly spoil: (path: string) => void;
}

const SPOILED: readonly Spoiled[] = [
  {
    what: "garbage after the header",
    isLeft: true,
    spoil: (path) => {
      writeFileSync(path, readFileSync(path).fill(0xa5, 100));
      rmSync(`${path}-wal`);
    },
  },
  {
    what: "garbage in its tables",
    isLeft: true,
    spoil: (path) => {
      rmSync(`${path}-wal`);
      overwrite(path, PAGE_BYTES, 2 * PAGE_BYTES);
    },
  },
  {
    what: "nothing but a log",
    isLeft: true,
    spoil: (path) => rmSync(path),
  },
  {
    what: "an empty file, and a log",
    isLeft: true,
    spoil: (path) => truncateSync(path),
  },
  {
    what: "an empty file",
    isLeft: false,
    spoil: (path) => {
      truncateSync(path);
      rmSync(`${path}-wal`);
    },
  },
  {
    what: "no folder",
    isLeft: false,
    spoil: (path) => rmSync(dirname(path), { recursive: true }),
  },
];

/**
 * Lets several processes open one database that is damaged, emptied or gone, and store results.
 * Afterwards each result is there, and the damaged files are unchanged. Each process reports the
 * damage at most once. Every seventh round the database is whole and is damaged while in use: the
 * results that are stored once the processes have noticed are there too.
 */
export async function race({ count, seed }: Extent): Promise<Races> {
  const random = new Random(seed);
  const folder = temporaryFolder();
  const template = join(folder, "template.db");
  await makeTemplate(template);
  let racers: readonly Child[] = [];
  let left = 0;
  let inUse = 0;
  for (let round = 0; round < count; round++) {
    if (round % ROUNDS === 0) {
      await Promise.all(racers.map(leave));
      racers = Array.from({ length: RACERS }, () => start("torture/race_child.ts", []));
      await Promise.all(racers.map((racer) => racer.said("ready")));
    }
    const place = join(folder, `${round}`);
    const path = join(place, "cache.db");
    mkdirSync(place);
    copyDatabase(template, path);
    const apart = random.of([0, 0, APART_US / 20, APART_US]);
    const run = (then: "keep" | "close") =>
      letRace(racers, path, then, () => random.below(apart + 1));
    const spoiled = SPOILED[round % (SPOILED.length + 1)];
    const where = `seed ${seed}, round ${round}, ${spoiled?.what}`;
    if (spoiled === undefined) {
      const finished = run("keep");
      await delay(random.next() * 10);
      overwrite(path, PAGE_BYTES, 6 * PAGE_BYTES);
      const reports = await finished;
      reports.push(await use(path, () => Promise.resolve()));
      await delay(NOTICED_MS);
      reports.push(...(await run("close")));
      if (isLeft(place)) inUse++;
      assertReported(reports, where);
    } else {
      spoiled.spoil(path);
      const before = spoiled.isLeft ? contents(place) : new Map();
      const reports = await run("close");
      assertReported(reports, where);
      assertEquals(isLeft(place), spoiled.isLeft, where);
      assertEquals(reports.flat().length > 0, spoiled.isLeft, where);
      assertUntouched(before, where);
    }
    await assertUsable(
      path,
      racers.flatMap((_, n) => resultsOf(n)),
      where,
    );
    if (isLeft(place)) left++;
    assert(!readdirSync(place).includes("cache.db.panza-3"), `${where}: a sound file was left`);
    rmSync(place, { recursive: true });
  }
  await Promise.all(racers.map(leave));
  return { rounds: count, left, inUse };
}

async function leave(racer: Child): Promise<void> {
  racer.process.stdin?.end();
  await racer.ended();
}

function isLeft(place: string): boolean {
  return readdirSync(place).includes("cache.db.panza-2");
}

/** Asserts that each process reports nothing but the damage, and at most once. */
function assertReported(reports: readonly (readonly string[])[], where: string): void {
  for (const each of reports) {
    const names = each.map((report) => report.split(":")[0]).join();
    assert(["", "DamagedDatabaseError"].includes(names), `${where}: ${each.join("; ")}`);
  }
}

async function makeTemplate(path: string): Promise<void> {
  const open = join(temporaryFolder(), "open.db");
  await using cache = new SQLiteCache(open);
  await cache.set("first", smallValue(1));
  const plain = new DatabaseSync(open);
  plain.exec("PRAGMA wal_checkpoint(TRUNCATE)");
  plain.close();
  for (let n = 0; n < 20; n++) await cache.set(`later ${n}`, smallValue(n));
  copyDatabase(open, path);
}

let races = 0;

/** One race of all; resolves with the reports of each. */
async function letRace(
  racers: readonly Child[],
  path: string,
  then: string,
  microseconds: () => number,
): Promise<string[][]> {
  const number = races++;
  racers.forEach((racer, name) => {
    const line = `${number} ${path} ${name} ${microseconds()} ${then}`;
    racer.process.stdin?.write(`${line}\n`);
  });
  const said = await Promise.all(racers.map((racer) => racer.saidAfter(`done ${number} `)));
  return said.map((reports): string[] => JSON.parse(reports));
}

/** Asserts that the results are there and that the database can be used without a report. */
async function assertUsable(path: string, results: readonly number[], what: string): Promise<void> {
  const reports = await use(path, async (raced) => {
    for (const n of results) {
      const found = await raced.readCache(n);
      assert(found.hit, `${what}: ${n} was acknowledged and is lost`);
      assertEquals(found.value, smallValue(n), what);
    }
  });
  assertEquals(reports, [], what);
  assertIntact(isLeft(dirname(path)) ? `${path}.panza-2` : path, what);
}

type Raced = CachedFunction<(n: number) => Promise<unknown>>;

/** A database with the function whose results it stores, and its reports. */
export interface OpenRaced {
  readonly cache: SQLiteCache;
  readonly raced: Raced;
  readonly reports: string[];
}

/** Opens a database for the races. */
export function openRaced(path: string): OpenRaced {
  const reports: string[] = [];
  const cache = new SQLiteCache(path, {
    onError: (error) => reports.push(`${error.name}: ${error.message}`),
  });
  const raced = cache.cache({ id: "raced" })((n: number): Promise<unknown> =>
    Promise.resolve(smallValue(n))
  );
  return { cache, raced, reports };
}

/** Reads from a database and stores in it; resolves with its reports. */
async function use(path: string, work: (raced: Raced) => Promise<void>): Promise<string[]> {
  const { cache, raced, reports } = openRaced(path);
  await using _ = cache;
  await work(raced);
  await cache.backend.deleteId("nobody");
  for (let n = -20; n < 0; n++) {
    await raced(n);
    assert((await raced.readCache(n)).hit, `${n} is not stored`);
  }
  return reports;
}
