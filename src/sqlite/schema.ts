/**
 * The inside of a database: its settings, its tables and their migrations.
 *
 * @module
 */

import { BackendError } from "../base/errors.ts";
import { prepare, scalar, type SQLiteHandle } from "./driver.ts";
import { SQLITE, sqliteCode } from "./errors.ts";
import { transact, TRANSACTION, type TransactionWords, whenUnlocked } from "./transaction.ts";

/**
 * The mark of files that this library created: `Panz`. Any other file belongs to somebody else: its
 * settings stay as they are, and only its owner repairs it.
 */
const APPLICATION_ID = 0x50616e7a;

/**
 * One list of statements per schema version, oldest first; each list is applied in one transaction.
 *
 * The columns are in this order so that a read finds everything before a long value, which is last
 * and has no type: text stays text for `value ->> '$.a'` in the `sqlite3` shell, bytes stay a BLOB.
 * Times are REAL and the checksum is signed, because `@db/sqlite` cuts integers to 32 bits.
 *
 * A rowid table with an index beats `WITHOUT ROWID`, which keeps the values in the index: 9 against
 * 13 µs a read and 21 against 102 µs an insert at 100,000 entries of 2 KB. There is no index on
 * `stored_at` (up to half more for an insert): `INSERT OR REPLACE` gives each stored entry the
 * highest rowid, so the order of rowids is the order of storing.
 *
 * `note` repeats the version, so that a flipped bit does not pass for a schema of the future.
 */
const MIGRATIONS: readonly (readonly string[])[] = [
  [
    `CREATE TABLE IF NOT EXISTS panza_entries (
    id TEXT NOT NULL, key TEXT NOT NULL, format TEXT NOT NULL, checksum INTEGER NOT NULL,
    stored_at REAL NOT NULL, expires_at REAL, stale_until REAL, duration_ms REAL NOT NULL,
    size REAL NOT NULL, value NOT NULL)`,
    `CREATE UNIQUE INDEX IF NOT EXISTS panza_entries_by_key ON panza_entries (id, key)`,
  ],
];

/**
 * Made when a note is first written, not by a migration: a newer version of the tables would lock
 * out processes that still run an older library on the same file.
 */
const NOTES = `CREATE TABLE IF NOT EXISTS panza_notes (
  id TEXT NOT NULL, key TEXT NOT NULL, note TEXT NOT NULL, PRIMARY KEY (id, key)) WITHOUT ROWID`;

/**
 * Whether the table of notes is there.
 *
 * @param handle The database.
 * @param make Whether to make it, as part of the transaction.
 */
export function hasNotes(handle: SQLiteHandle, make: boolean): boolean {
  const found = scalar(handle, "SELECT count(*) FROM sqlite_master WHERE name = 'panza_notes'");
  if (Number(found) > 0) return true;
  if (make) handle.exec(NOTES);
  return false;
}

/** Fails to prepare when a table is not what the migrations made. */
const PROBE = `SELECT id, key, format, checksum, stored_at, expires_at,
  stale_until, duration_ms, size, value FROM panza_entries INDEXED BY panza_entries_by_key
  WHERE id = '' AND key = ''`;

/** The version of the tables; 0 when one of them is gone. */
function schemaVersion(handle: SQLiteHandle): number {
  const tables = scalar(
    handle,
    `SELECT count(*) FROM sqlite_master
     WHERE name IN ('panza_schema', 'panza_entries', 'panza_entries_by_key')`,
  );
  if (Number(tables) < 3) return 0;
  const row = prepare(
    handle,
    "SELECT version, note FROM panza_schema ORDER BY version DESC LIMIT 1",
  ).row();
  if (row === undefined) return 0;
  // A handle may be set to give integers as `bigint`.
  const version = Number(row[0]);
  if (!(version >= 1) || row[1] !== `version ${version}`) {
    throw new Error("the version of its tables is malformed");
  }
  return version;
}

/** Whether a database holds the tables of this library. */
export async function hasTables(handle: SQLiteHandle): Promise<boolean> {
  return await whenUnlocked(() => schemaVersion(handle)) > 0;
}

/**
 * Brings the tables of a database up to date, even while others do the same, and makes missing
 * tables again.
 *
 * @param handle The database.
 * @throws {BackendError} If its tables were made by a newer version of this library.
 */
export async function migrate(
  handle: SQLiteHandle,
  words: TransactionWords,
  description: string,
): Promise<void> {
  const version = await whenUnlocked(() => schemaVersion(handle));
  if (version > MIGRATIONS.length) {
    throw new BackendError(
      description,
      "open",
      `its tables have version ${version}, this library knows ${MIGRATIONS.length}`,
      "update @panza/panza, or use another file",
    );
  }
  if (version < MIGRATIONS.length) {
    await whenUnlocked(() =>
      transact(handle, words, () => {
        handle.exec(
          "CREATE TABLE IF NOT EXISTS panza_schema (version INTEGER PRIMARY KEY, note TEXT NOT NULL)",
        );
        for (let next = schemaVersion(handle); next < MIGRATIONS.length;) {
          for (const statement of MIGRATIONS[next] ?? []) handle.exec(statement);
          next++;
          handle.exec(`INSERT OR REPLACE INTO panza_schema VALUES (${next}, 'version ${next}')`);
        }
      })
    );
  }
  try {
    await whenUnlocked(() => prepare(handle, PROBE).rows());
  } catch (error) {
    if (sqliteCode(error) !== SQLITE.error) throw error;
    throw new Error("its tables are not those of this library", { cause: error });
  }
}

/**
 * Makes a new database in a file without a page, with settings of its own.
 *
 * Pages of 8 KB read as fast as any at 1,000 entries and are 1 to 2 µs ahead of 4 and 16 KB at
 * 100,000 and more (2 KB values).
 */
async function create(handle: SQLiteHandle): Promise<void> {
  // There is no need to wait for the disk yet: the first checkpoint syncs these pages too.
  handle.exec("PRAGMA synchronous = OFF; PRAGMA page_size = 8192");
  // Both pragmas write, and nobody must ever see a file of ours without its mark.
  await whenUnlocked(() =>
    transact(handle, { ...TRANSACTION, begin: "BEGIN" }, () =>
      handle.exec(
        `PRAGMA auto_vacuum = INCREMENTAL; PRAGMA application_id = ${APPLICATION_ID}`,
      ))
  );
}

/** The number of pages in the log of a file at which they are checkpointed into it. */
export const LOG_PAGES = 500;

/**
 * Checks whose file is open, and makes the database of an empty one. Nothing changes in a file of
 * somebody else.
 *
 * @param handle The database.
 * @param isReadOnly Whether nothing may be written.
 * @returns Whether this library created the file.
 */
export async function claim(handle: SQLiteHandle, isReadOnly: boolean): Promise<boolean> {
  // SQLite would sleep on this thread; `whenUnlocked` waits instead.
  handle.exec("PRAGMA busy_timeout = 1");
  // First, because everything else needs the schema, which may be damaged.
  const isOurs = () => scalar(handle, "PRAGMA application_id") === APPLICATION_ID;
  if (await whenUnlocked(isOurs)) return true;
  const pages = await whenUnlocked(() => scalar(handle, "PRAGMA page_count"));
  if (pages === 0 && !isReadOnly) await create(handle);
  // Another process may have made it since the first look.
  return await whenUnlocked(isOurs);
}

/** Gives a file of ours the settings that are not kept in it. */
export async function configure(handle: SQLiteHandle): Promise<void> {
  const mode = await whenUnlocked(() => scalar(handle, "PRAGMA journal_mode"));
  if (mode !== "wal") await whenUnlocked(() => handle.exec("PRAGMA journal_mode = WAL"));
  // No memory map: reading past the end of a truncated file kills the process.
  handle.exec(
    `PRAGMA synchronous = NORMAL; PRAGMA journal_size_limit = 16777216;
     PRAGMA wal_autocheckpoint = ${LOG_PAGES}`,
  );
}
