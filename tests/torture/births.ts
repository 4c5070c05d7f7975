/** Databases whose makers are killed: the next process finds a usable one. */

import { existsSync, readdirSync } from "node:fs";
import { dirname, join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { setTimeout as delay } from "node:timers/promises";
import { assert, assertEquals } from "@std/assert";
import { SQLiteCache } from "../../sqlite.ts";
import { start } from "../support/child.ts";
import { copyDatabase } from "../support/sqlite_files.ts";
import { temporaryFolder } from "../support/temp.ts";
import { type Extent, Random } from "./random.ts";
import { smallValue } from "./values.ts";

/** The number of processes that make one database at the same time. */
const MAKERS = 4;
/** The latest kill after the start, in milliseconds; most hit a process while it opens. */
const WITHIN_MS = 80;
/** More calls of the driver than opening and the first result take, which is about 25. */
const STEPS = 32;

/** The counts of a run. */
interface Births {
  readonly kills: number;
  /** Makers that were killed before they had stored anything. */
  readonly early: number;
  /** Databases without tables when all makers were dead: the next one to open it makes them. */
  readonly unmade: number;
}

/**
 * Lets several processes make one database, in a folder that does not exist. Each is killed at its
 * own moment: at random, or after a number of calls of the driver that differs in each round. Every
 * third round all die by such a number. Every other round a second lot continues after the first.
 */
export async function killMakers({ count, seed }: Extent): Promise<Births> {
  const random = new Random(seed);
  const folder = temporaryFolder();
  let kills = 0;
  let early = 0;
  let unmade = 0;
  for (let round = 0; round < count; round++) {
    const path = join(folder, `${round}`, "deep", "cache.db");
    const stored: number[] = [];
    for (let lot = 0; lot <= round % 2; lot++) {
      const makers = Array.from({ length: MAKERS }, (_, index) => {
        const diesAtStep = index === 0 || round % 3 === 0;
        const step = ((round * 5 + lot + index * 3) % STEPS) + 1;
        const steps = diesAtStep ? step : 0;
        const name = lot * MAKERS + index;
        const parameters = [path, String(name), String(steps)];
        const child = start("torture/birth_child.ts", parameters);
        return { child, steps, name };
      });
      await Promise.all(makers.map(({ child }) => child.said("ready")));
      for (const { child } of makers) child.process.stdin?.write("go\n");
      await Promise.all(
        makers.map(async ({ child, steps, name }) => {
          const moment = random.next() ** 2 * WITHIN_MS;
          // It dies by itself, unless it has stored its result in fewer steps.
          if (steps > 0) await child.said(`born ${name}`).catch(() => {});
          else await delay(moment);
          const lines = await child.kill();
          const said = lines.filter((line) => line !== "ready");
          kills++;
          if (said.length === 0) early++;
          for (const line of said) {
            assert(line.startsWith("born "), `seed ${seed}: ${line}`);
            stored.push(Number(line.split(" ")[1]));
          }
        }),
      );
    }
    if (await survey(path, stored, `seed ${seed}, round ${round}`)) unmade++;
  }
  return { kills, early, unmade };
}

/** Opens the file as the next process would; returns whether it had to make the tables. */
async function survey(path: string, stored: readonly number[], what: string): Promise<boolean> {
  const wasUnmade = !hasTables(path);
  assert(stored.length === 0 || !wasUnmade, what);
  const troubles: string[] = [];
  {
    await using cache = new SQLiteCache(path, {
      onError: (error) => troubles.push(error.message),
    });
    const born = cache.cache({ id: "born" })((n: number): Promise<unknown> =>
      Promise.resolve(smallValue(n))
    );
    for (const n of stored) {
      const found = await born.readCache(n);
      assert(found.hit, `${what}: ${n} was acknowledged and is lost`);
      assertEquals(found.value, smallValue(n), what);
    }
    assertEquals(await born(-1), smallValue(-1), what);
    assert((await born.readCache(-1)).hit, `${what}: nothing is stored`);
  }
  assertEquals(troubles, [], what);
  const plain = new DatabaseSync(path);
  try {
    const one = (sql: string): unknown[] =>
      plain
        .prepare(sql)
        .all()
        .flatMap((row) => Object.values(row));
    assertEquals(one("PRAGMA integrity_check"), ["ok"], what);
    assertEquals(one("SELECT version FROM panza_schema"), [1], what);
    assertEquals(one("PRAGMA journal_mode"), ["wal"], what);
    assertEquals(one("PRAGMA page_size"), [8192], what);
  } finally {
    plain.close();
  }
  // No other file: the database did not pass for a damaged one, nor its log for another's.
  assertEquals(readdirSync(dirname(path)), ["cache.db"], what);
  return wasUnmade;
}

/** Whether a database has its tables, seen in a copy: opening the original would recover it. */
function hasTables(path: string): boolean {
  if (!existsSync(path)) return false;
  const copy = join(temporaryFolder(), "copy.db");
  copyDatabase(path, copy);
  const plain = new DatabaseSync(copy);
  try {
    const tables = plain.prepare(
      "SELECT name FROM sqlite_master WHERE name IN ('panza_schema', 'panza_entries')",
    ).all();
    return tables.length === 2;
  } finally {
    plain.close();
  }
}
