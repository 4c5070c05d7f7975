/** A SQLite file and its log, damaged in every class of place. */

import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { assert, assertEquals } from "@std/assert";
import { BackendError, DamagedDatabaseError } from "../../src/base/errors.ts";
import { LEASE } from "../../src/leases/register.ts";
import { SQLiteCache } from "../../sqlite.ts";
import { copyDatabase } from "../support/sqlite_files.ts";
import { temporaryFolder } from "../support/temp.ts";
import { type Damaged, INPUTS, type Use, use, valueOf } from "./damage.ts";
import { type Extent, Random } from "./random.ts";
import { FIELDS, type Fields, placeOf, Witness } from "./witness.ts";

const PAGE_BYTES = 8192;

interface DamagedDatabase extends Damaged {
  /** Cases in which the file was left alone and the next one was used. */
  readonly left: number;
  /** Cases in which nothing was cached, because the file may not be of this library. */
  readonly uncached: number;
  /** Cases in which a function ran again without a report: SQLite did not find the entry. */
  readonly silent: number;
}

/** A kind of damage, done to a database and its log. */
interface Damage {
  readonly name: string;
  readonly apply: (path: string) => void;
  /** Whether the entries of the damaged database are in its log. */
  readonly isLogged?: boolean;
}

function flip(file: string, at: number, bit: number): void {
  const bytes = readFileSync(file);
  const byte = bytes[at];
  if (byte === undefined) throw new RangeError(`${file} has no byte ${at}`);
  bytes[at] = byte ^ (1 << bit);
  writeFileSync(file, bytes);
}

/**
 * Damages a SQLite file and its log in every class of place.
 *
 * @param extent The number of bits flipped outside the headers. From 1,000 on, the file is also cut
 * at all page boundaries.
 */
export async function damageSQLite({ count, seed }: Extent): Promise<DamagedDatabase> {
  const random = new Random(seed);
  // A log that lost its end may hold a lease whose owner is gone: the next one waits for its end.
  const usual = { ...LEASE };
  Object.assign(LEASE, { ms: 2_000, beatMs: 500 });
  using _usual = { [Symbol.dispose]: () => Object.assign(LEASE, usual) };
  const folder = temporaryFolder();
  const template = join(folder, "template.db");
  await use((options) => new SQLiteCache(template, options), "the template");
  // The same once more, copied while open: closing the cache would remove the log.
  const logged = join(folder, "logged.db");
  {
    await using cache = new SQLiteCache(logged);
    const one = cache.cache({ id: "one" })((n: number) => Promise.resolve(valueOf(n)));
    for (const n of INPUTS) await one(n);
    copyDatabase(logged, join(folder, "copy.db"));
  }
  const copy = join(folder, "copy.db");
  const size = statSync(template).size;
  const logSize = statSync(`${copy}-wal`).size;
  assert(size > 10 * PAGE_BYTES && logSize > 10 * PAGE_BYTES);

  const damages: Damage[] = [];
  const isLong = count >= 1000;
  // Bits of the header of the file, then of those of pages, then any.
  for (let at = 0; at < 100; at += isLong ? 1 : 7) {
    const bit = random.below(8);
    damages.push({
      name: `header byte ${at} bit ${bit}`,
      apply: (path) => flip(path, at, bit),
    });
  }
  for (let n = 0; n < count; n++) {
    const page = random.below(size / PAGE_BYTES);
    const at = page * PAGE_BYTES + random.below(n % 3 === 0 ? 12 : n % 3 === 1 ? 200 : PAGE_BYTES);
    const bit = random.below(8);
    damages.push({
      name: `byte ${at} bit ${bit}`,
      apply: (path) => flip(path, at, bit),
    });
  }
  for (let n = 0; n < count / 3; n++) {
    const frame = 32 + random.below(logSize / (PAGE_BYTES + 24) - 1) * (PAGE_BYTES + 24);
    const at = n % 3 === 0 ? random.below(32) : frame + random.below(n % 3 === 1 ? 24 : PAGE_BYTES);
    const bit = random.below(8);
    damages.push({
      name: `log byte ${at} bit ${bit}`,
      isLogged: true,
      apply: (path) => {
        flip(`${path}-wal`, at, bit);
      },
    });
  }
  const step = isLong ? 1 : 7;
  for (let pages = 0; pages * PAGE_BYTES < size; pages += step) {
    for (const more of [0, 1000]) {
      damages.push({
        name: `cut after ${pages} pages and ${more} bytes`,
        apply: (path) => truncateSync(path, pages * PAGE_BYTES + more),
      });
    }
  }
  for (let at = 0; at < logSize; at += (PAGE_BYTES + 24) * step) {
    damages.push({
      name: `log cut after ${at} bytes`,
      isLogged: true,
      apply: (path) => {
        truncateSync(`${path}-wal`, at);
      },
    });
  }
  damages.push(
    {
      name: "a letter of values",
      apply: (path) => {
        const text = readFileSync(path, "latin1");
        writeFileSync(path, text.replaceAll("value 3", "velue 3"), "latin1");
      },
    },
    {
      name: "garbage",
      apply: (path) => writeFileSync(path, random.bytes(50_000)),
    },
    {
      name: "garbage as a log",
      apply: (path) => writeFileSync(`${path}-wal`, random.bytes(50_000)),
    },
    {
      name: "no bytes",
      apply: (path) => truncateSync(path, 0),
    },
    {
      name: "another database",
      apply: (path) => {
        rmSync(path);
        const other = new DatabaseSync(path);
        other.exec("CREATE TABLE notes (text); INSERT INTO notes VALUES ('a')");
        other.close();
      },
    },
    {
      name: "the log of another database",
      apply: (path) => copyFileSync(`${copy}-wal`, `${path}-wal`),
    },
    {
      name: "values that are none",
      apply: (path) => edit(path, "UPDATE panza_entries SET value = 7"),
    },
    {
      name: "values of other entries",
      apply: (path) =>
        edit(
          path,
          `UPDATE panza_entries SET value =
           (SELECT value FROM panza_entries ORDER BY key LIMIT 1)`,
        ),
    },
    {
      name: "keys of other entries",
      apply: (path) =>
        edit(
          path,
          `CREATE TEMP TABLE moved AS SELECT rowid AS place, lead(key) OVER (ORDER BY key) AS key
           FROM panza_entries WHERE id = 'one';
         UPDATE panza_entries SET key = 'x' || key WHERE id = 'one';
         UPDATE panza_entries
           SET key = (SELECT key FROM moved WHERE place = panza_entries.rowid)
           WHERE rowid IN (SELECT place FROM moved WHERE key IS NOT NULL)`,
        ),
    },
    {
      name: "times and checksums that are none",
      apply: (path) =>
        edit(path, "UPDATE panza_entries SET stored_at = 'x', checksum = 'y', expires_at = 'z'"),
    },
  );

  const healthy = [rowsOf(template), rowsOf(logged)];
  let missed = 0;
  let told = 0;
  let left = 0;
  let uncached = 0;
  let silent = 0;
  for (const [index, { name, apply, isLogged }] of damages.entries()) {
    const place = join(folder, `case${index}`);
    mkdirSync(place);
    const path = join(place, "cache.db");
    copyDatabase(isLogged === true ? copy : template, path);
    apply(path);
    const bytes = readFileSync(path);
    const what = `seed ${seed}: ${name}`;
    let result: Use;
    using witness = new Witness(healthy);
    try {
      result = await use((options) => new SQLiteCache(path, options), what, INPUTS, refuses);
    } catch (error) {
      throw new Error(`${what}: ${error}`, { cause: error });
    }
    if (result.isUncached) {
      uncached++;
      if (isLogged !== true) assert(readFileSync(path).equals(bytes), `${what}: it was changed`);
      assertEquals(readdirSync(place).filter((name) => name.includes(".panza-")), [], what);
    } else if (holdToOnce(place, witness, result, what)) left++;
    if (result.runs > 0) missed++;
    if (result.told.length > 0) told++;
    else if (result.runs > 0) silent++;
    assert(existsSync(path), what);
    rmSync(place, { recursive: true });
  }
  return { cases: damages.length, missed, told, left, uncached, silent };
}

/** Whether a report says that a file is left alone. */
function refuses(error: Error): boolean {
  return error instanceof BackendError && error.operation === "open";
}

/** All entries of a healthy file, by id and key. */
function rowsOf(path: string): Map<string, Fields> {
  const database = new DatabaseSync(path, { readOnly: true });
  try {
    return new Map(
      database
        .prepare(`SELECT id, key, ${FIELDS} FROM panza_entries`)
        .all()
        .map((row) => {
          const [id, key, ...fields] = Object.values(row);
          return [placeOf(id, key), fields];
        }),
    );
  } finally {
    database.close();
  }
}

/**
 * Asserts that each damage is reported once. Where SQLite notices the damage, the report is that
 * the file is left alone. Otherwise each entry is reported that SQLite gives changed. Nothing else
 * is reported, so an entry that SQLite does not find is a silent miss.
 *
 * @returns Whether the file is left alone.
 */
function holdToOnce(
  place: string,
  { hasNoticed, asked, changed }: Witness,
  { told }: Use,
  what: string,
): boolean {
  const left = readdirSync(place).filter((name) => /\.panza-\d$/.test(name));
  const ofFile = told.filter(({ error }) => error instanceof DamagedDatabaseError);
  const placesOf = (some: Use["told"]) =>
    new Set(some.map(({ context }) => placeOf(context.id, context.key)));
  const damaged = placesOf(told.filter(({ context }) => context.kind === "damaged"));
  const lines = `${what}: ${told.map(({ error }) => error.message).join("; ")}`;
  assertEquals(ofFile.length, left.length, lines);
  assert(left.length <= 1, lines);
  assert(!hasNoticed || left.length === 1, `${lines}: SQLite noticed it`);
  // A truncated page cannot be read, which may be the fault of the disk alone.
  const unread = told.filter(
    ({ error, context }) => context.kind === "read" && error.message.includes("disk I/O error"),
  );
  assertEquals(ofFile.length + damaged.size + unread.length, told.length, lines);
  assertEquals(damaged.difference(changed).size, 0, `${lines}: they are as they were`);
  // An unreadable entry has been reported, whatever SQLite gives at the next read.
  const untold = changed.difference(damaged).difference(placesOf(unread));
  assertEquals(untold.size, 0, `${lines}: these were not told: ${[...untold]}`);
  // Every entry was asked for.
  assertEquals(asked.size, 2 * INPUTS.length + 1, lines);
  return left.length > 0;
}

function edit(path: string, sql: string): void {
  const database = new DatabaseSync(path);
  try {
    database.exec("PRAGMA ignore_check_constraints = ON");
    database.exec(sql);
  } finally {
    database.close();
  }
}
