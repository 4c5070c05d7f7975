/**
 * The inside of a database: its settings, its tables, how they are made and brought up to date, and
 * how to tell that they are not what they should be.
 *
 * @module
 */

import { BackendError } from "../base/errors.ts";
import {
  patiently,
  prepare,
  scalar,
  SQLITE,
  sqliteCode,
  type SQLiteHandle,
  transact,
  TRANSACTION,
  type TransactionWords,
} from "./driver.ts";

/**
 * Marks the files that this library created: `Panz`. Any other file belongs to somebody else, so
 * its settings stay as they are and it is never moved.
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

/** Fails to prepare when a table is not what the migrations made. */
const PROBE = `SELECT id, key, format, checksum, stored_at, expires_at,
  stale_until, duration_ms, size, value FROM panza_entries INDEXED BY panza_entries_by_key
  WHERE id = '' AND key = ''`;

/** Says what SQLite says for damage that it cannot see itself. */
export class DamageError extends Error {
  readonly errcode: number = SQLITE.corrupt;
}

/** The version of the tables; 0 when there are none. */
function schemaVersion(handle: SQLiteHandle): number {
  const tables = scalar(
    handle,
    "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = 'panza_schema'",
  );
  if (Number(tables) === 0) return 0;
  const row = prepare(
    handle,
    "SELECT version, note FROM panza_schema ORDER BY version DESC LIMIT 1",
  ).row();
  if (row === undefined) return 0;
  // A handle may be set to give integers as `bigint`.
  const version = Number(row[0]);
  if (!(version >= 1) || row[1] !== `version ${version}`) {
    throw new DamageError("the schema version is malformed");
  }
  return version;
}

/**
 * Brings the tables of a database up to date, whoever else does the same at the same time.
 *
 * @param handle The database.
 * @param words How to make a transaction in it.
 * @param description Which database, for the message.
 * @param assertUsable Throws, inside the transaction, when nothing must be written after all.
 * @throws {BackendError} If its tables were made by a newer version of this library.
 */
export async function migrate(
  handle: SQLiteHandle,
  words: TransactionWords,
  description: string,
  assertUsable: () => void = () => {},
): Promise<void> {
  const version = await patiently(() => schemaVersion(handle));
  if (version === MIGRATIONS.length) return;
  if (version > MIGRATIONS.length) {
    throw new BackendError(
      description,
      "open",
      `its tables have version ${version}, this library knows ${MIGRATIONS.length}`,
      "update @panza/panza, or use another file",
    );
  }
  await patiently(() =>
    transact(handle, words, () => {
      assertUsable();
      handle.exec(
        "CREATE TABLE IF NOT EXISTS panza_schema (version INTEGER PRIMARY KEY, note TEXT NOT NULL)",
      );
      for (let next = schemaVersion(handle); next < MIGRATIONS.length;) {
        for (const statement of MIGRATIONS[next] ?? []) handle.exec(statement);
        next++;
        handle.exec(`INSERT INTO panza_schema VALUES (${next}, 'version ${next}')`);
      }
    })
  );
}

/**
 * Sets a database file up: the settings of one that this library created, and the tables.
 *
 * @param handle The database.
 * @param description Which database, for messages.
 * @param readOnly Whether nothing can be written.
 * @param assertUsable Throws, before tables are made, when nothing must be written after all.
 * @returns Whether this library created it.
 * @throws {BackendError} If its tables were made by a newer version of this library.
 * @throws {DamageError} If its tables are not what this library made.
 */
export async function setUp(
  handle: SQLiteHandle,
  description: string,
  readOnly: boolean,
  assertUsable?: () => void,
): Promise<boolean> {
  // SQLite would sleep on this thread; `patiently` waits instead.
  handle.exec("PRAGMA busy_timeout = 1");
  const pages = await patiently(() => scalar(handle, "PRAGMA page_count"));
  if (pages === 0 && !readOnly) {
    // Pages of 8 KB read as fast as any at 1,000 entries and are 1 to 2 µs ahead of 4 and 16 KB
    // at 100,000 and more (2 KB values). Nothing is worth waiting for the disk yet: the first
    // checkpoint syncs these pages too.
    handle.exec("PRAGMA synchronous = OFF; PRAGMA page_size = 8192");
    // Both write, and nobody must ever see a file of ours without its mark.
    await patiently(() =>
      transact(
        handle,
        { ...TRANSACTION, begin: "BEGIN" },
        () =>
          handle.exec(
            `PRAGMA auto_vacuum = INCREMENTAL; PRAGMA application_id = ${APPLICATION_ID}`,
          ),
      )
    );
  }
  const own = APPLICATION_ID === (await patiently(() => scalar(handle, "PRAGMA application_id")));
  if (own && !readOnly) {
    const mode = await patiently(() => scalar(handle, "PRAGMA journal_mode"));
    if (mode !== "wal") {
      await patiently(() => handle.exec("PRAGMA journal_mode = WAL"));
    }
    // No memory map: reading one past the end of a truncated file kills the process.
    handle.exec(
      "PRAGMA synchronous = NORMAL; PRAGMA journal_size_limit = 16777216; PRAGMA wal_autocheckpoint = 500",
    );
  }
  await migrate(handle, TRANSACTION, description, assertUsable);
  try {
    await patiently(() => prepare(handle, PROBE).rows());
  } catch (error) {
    if (own && sqliteCode(error) === SQLITE.error) {
      throw new DamageError("the tables are malformed", { cause: error });
    }
    throw error;
  }
  return own;
}
