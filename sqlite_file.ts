/**
 * The database file: opening it with the permissions there are, bringing its tables up to date, and
 * moving it aside when it is damaged.
 *
 * @module
 */

import { mayAccess } from "./env.ts";
import { builtin } from "./runtime.ts";
import { BackendError, DatabaseMovedError } from "./errors.ts";
import type { Report } from "./backend.ts";
import {
  isDamage,
  patiently,
  prepare,
  SQLITE,
  sqliteCode,
  type SQLiteHandle,
} from "./sqlite_driver.ts";

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
const MIGRATIONS: readonly (readonly string[])[] = [[
  `CREATE TABLE IF NOT EXISTS panza_entries (
    id TEXT NOT NULL, key TEXT NOT NULL, format TEXT NOT NULL, checksum INTEGER NOT NULL,
    stored_at REAL NOT NULL, expires_at REAL, stale_until REAL, duration_ms REAL NOT NULL,
    size REAL NOT NULL, value NOT NULL)`,
  `CREATE UNIQUE INDEX IF NOT EXISTS panza_entries_by_key ON panza_entries (id, key)`,
]];

/** Fails to prepare when a table is not what the migrations made. */
const PROBE = `SELECT id, key, format, checksum, stored_at, expires_at,
  stale_until, duration_ms, size, value FROM panza_entries INDEXED BY panza_entries_by_key
  WHERE id = '' AND key = ''`;

/** A database that is ready for use. */
export interface OpenDatabase {
  readonly handle: SQLiteHandle;
  /** Whether this library created it, and so may change its settings and move it. */
  readonly own: boolean;
  /** Closes what was opened here; a handle of the user stays open. */
  close(): void;
}

/** Says what SQLite says for damage that it cannot see itself. */
export class DamageError extends Error {
  readonly errcode: number = SQLITE.corrupt;
}

/** Names a transaction in a way that also works inside one of the user's. */
export interface TransactionWords {
  readonly begin: string;
  readonly commit: string;
  readonly rollback: string;
}

/** For a file: the write lock is taken at once, so that a later statement cannot meet it. */
export const TRANSACTION: TransactionWords = {
  begin: "BEGIN IMMEDIATE",
  commit: "COMMIT",
  rollback: "ROLLBACK",
};

/** For a handle, which may be inside a transaction of its owner. */
export const SAVEPOINT: TransactionWords = {
  begin: "SAVEPOINT panza",
  commit: "RELEASE panza",
  rollback: "ROLLBACK TO panza; RELEASE panza",
};

/** Runs statements as one transaction. */
export function transact<Result>(
  handle: SQLiteHandle,
  words: TransactionWords,
  work: () => Result,
): Result {
  handle.exec(words.begin);
  try {
    const result = work();
    handle.exec(words.commit);
    return result;
  } catch (error) {
    rollBack(handle, words);
    throw error;
  }
}

/** Ends a failed transaction, whether or not SQLite has done so already. */
export function rollBack(handle: SQLiteHandle, words: TransactionWords): void {
  try {
    handle.exec(words.rollback);
  } catch {
    // A full disk or a damaged page has rolled it back already.
  }
}

/** The first column of the first row. */
export function scalar(handle: SQLiteHandle, sql: string): unknown {
  return prepare(handle, sql).row()?.[0];
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
 * @throws {BackendError} If its tables were made by a newer version of this library.
 */
export async function migrate(
  handle: SQLiteHandle,
  words: TransactionWords,
  description: string,
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
      handle.exec(
        "CREATE TABLE IF NOT EXISTS panza_schema (version INTEGER PRIMARY KEY, note TEXT NOT NULL)",
      );
      for (let next = schemaVersion(handle); next < MIGRATIONS.length;) {
        for (const statement of MIGRATIONS[next] ?? []) handle.exec(statement);
        next++;
        handle.exec(
          `INSERT INTO panza_schema VALUES (${next}, 'version ${next}')`,
        );
      }
    })
  );
}

/** The files that SQLite keeps beside a database. */
const COMPANIONS = ["-wal", "-shm", "-journal"] as const;

/** A database at a path, or in memory. */
export class DatabaseFile {
  readonly #description: string;
  #path: string;
  readonly #report: Report;
  /** Device and inode of the file that is open: another process may put a new one in its place. */
  #identity: string | undefined;

  /**
   * @param path Where it is, or `:memory:`.
   * @param description Which database, for messages.
   * @param report Takes notice of a damaged file that was moved.
   */
  constructor(path: string, description: string, report: Report) {
    this.#path = path;
    this.#description = description;
    this.#report = report;
  }

  /**
   * Opens the file, makes it and its folder where they are missing, and starts a new one where it
   * is damaged.
   *
   * @throws {BackendError} If it cannot be opened, created or moved.
   */
  async open(): Promise<OpenDatabase> {
    for (let attempt = 1;; attempt++) {
      try {
        return await this.#openOnce();
      } catch (error) {
        if (error instanceof BackendError) throw error;
        if (!isDamage(error) || attempt > 3) {
          throw this.#failure(error, advise(error, this.#path));
        }
        await this.moveAside(error);
      }
    }
  }

  /** Whether the path leads elsewhere than when it was opened, or nowhere. */
  isReplaced(): boolean {
    if (this.#identity === undefined) return false;
    try {
      return identity(this.#path) !== this.#identity;
    } catch {
      // It can no longer be looked at, and opening it again tells why.
      return true;
    }
  }

  /**
   * Whether the system lets this process write. If SQLite still calls the file read-only, its header
   * asks for that, and ours never does.
   */
  isWritable(): boolean {
    const { accessSync, constants, existsSync } = fileSystem();
    const files = ["", ...COMPANIONS].map((suffix) => this.#path + suffix);
    try {
      for (const file of [folderOf(this.#path), ...files.filter(existsSync)]) {
        accessSync(file, constants.W_OK);
      }
      return true;
    } catch (error) {
      // Deno's own refusal to look (it wants to know the user) says nothing about the file.
      const code: unknown = error instanceof Error &&
        Reflect.get(error, "code");
      return code !== "EACCES" && code !== "EPERM" && code !== "EROFS";
    }
  }

  /**
   * Renames a damaged file and its companions; nothing is deleted. The database must be closed.
   *
   * Of several processes that find the same damage one does it, and the others find another file at
   * the path when they get the lock. The lock is a database of its own, since SQLite cannot lock
   * what it cannot read; the system releases it when its holder dies. The empty lock file stays:
   * removing it would let two processes hold two locks of the same name.
   *
   * @param cause What SQLite said.
   * @throws {BackendError} If it cannot be renamed.
   */
  async moveAside(cause: unknown): Promise<void> {
    const damaged = this.#identity;
    if (this.#path === ":memory:" || damaged === undefined) {
      throw this.#failure(cause, "open a new one");
    }
    await this.#exclusively(cause, () => {
      if (identity(this.#path) !== damaged) return;
      const target = this.#rename(["", ...COMPANIONS], "damaged");
      this.#report(new DatabaseMovedError(this.#path, target, cause));
    });
  }

  /** Renames what exists of the database, with one time stamp, and tells the new name. */
  #rename(suffixes: readonly string[], word: string): string {
    const { existsSync, renameSync } = fileSystem();
    const stamp = new Date().toISOString().replaceAll(/[:.]/g, "-");
    const all = ["", ...COMPANIONS];
    let target = `${this.#path}.${word}-${stamp}`;
    for (let n = 2; all.some((suffix) => existsSync(target + suffix)); n++) {
      target = `${this.#path}.${word}-${stamp}-${n}`;
    }
    // The database goes first: companions without a database are recognized when one is opened.
    for (const suffix of suffixes) {
      if (existsSync(this.#path + suffix)) {
        renameSync(this.#path + suffix, target + suffix);
      }
    }
    return target;
  }

  /** Does something that only one process may do at a time. */
  async #exclusively(cause: unknown, work: () => void): Promise<void> {
    const folder = folderOf(this.#path);
    const lockPath = `${this.#path}-lock`;
    if (!mayAccess("read", folder) || !mayAccess("write", folder)) {
      throw this.#failure(
        cause,
        `to let it be moved aside, run with --allow-read=${folder} --allow-write=${folder}`,
      );
    }
    try {
      const lock = new (driver(this.#description).DatabaseSync)(lockPath);
      try {
        await patiently(() => lock.exec("BEGIN EXCLUSIVE"));
        work();
      } finally {
        lock.close();
      }
    } catch (error) {
      throw this.#failure(
        cause,
        `it could not be moved aside (${
          error instanceof Error ? error.message : error
        }): move it yourself, or use another path`,
      );
    }
  }

  async #openOnce(): Promise<OpenDatabase> {
    const { DatabaseSync } = driver(this.#description);
    if (this.#path === ":memory:") {
      const memory = new DatabaseSync(":memory:");
      await migrate(memory, TRANSACTION, this.#description);
      return { handle: memory, own: true, close: () => memory.close() };
    }
    const readOnly = this.#permissions();
    this.#identity = identity(this.#path);
    if (this.#identity === undefined) await this.#moveOrphans();
    const database = await patiently(() => {
      try {
        return new DatabaseSync(this.#path, { readOnly });
      } catch (error) {
        if (readOnly || !this.#makeFolder(error)) throw error;
        return new DatabaseSync(this.#path);
      }
    });
    // Not `database.isOpen`, which is younger than Node 22.13.
    let isOpen = true;
    try {
      const own = await this.#prepare(database, readOnly);
      // Somebody moved the file between the look and the opening: what is open has companions that
      // belong to another file.
      const after = identity(this.#path);
      if (this.#identity !== undefined && after !== this.#identity) {
        database.close();
        isOpen = false;
        return await this.#openOnce();
      }
      this.#identity = after;
      // The folder of the process may change later.
      const [, , location] = prepare(database, "PRAGMA database_list").row() ??
        [];
      if (typeof location === "string" && location !== "") {
        this.#path = location;
      }
      return { handle: database, own, close: () => database.close() };
    } catch (error) {
      if (isOpen) database.close();
      // The identity of a new file is known only now, and a damaged one needs it.
      this.#identity ??= identity(this.#path);
      throw error;
    }
  }

  /** Sets the database up and tells whether it is of this library. */
  async #prepare(handle: SQLiteHandle, readOnly: boolean): Promise<boolean> {
    // SQLite would sleep on this thread; `patiently` waits instead.
    handle.exec("PRAGMA busy_timeout = 1");
    const pages = await patiently(() => scalar(handle, "PRAGMA page_count"));
    if (pages === 0 && !readOnly) {
      // Pages of 8 KB read as fast as any at 1,000 entries and are 1 to 2 µs ahead of 4 and 16 KB
      // at 100,000 and more (2 KB values). The mark is the first write, so that nobody ever sees a
      // file of ours without it. Nothing is worth waiting for the disk yet: the first checkpoint
      // syncs these pages too.
      await patiently(() =>
        handle.exec(
          `PRAGMA synchronous = OFF; PRAGMA page_size = 8192; PRAGMA auto_vacuum = INCREMENTAL;
           PRAGMA application_id = ${APPLICATION_ID}`,
        )
      );
    }
    const own = APPLICATION_ID ===
      await patiently(() => scalar(handle, "PRAGMA application_id"));
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
    await migrate(handle, TRANSACTION, this.#description);
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

  /** Whether the file can only be read; refuses when it cannot even be read. */
  #permissions(): boolean {
    const path = this.#path;
    const flags = `--allow-read=${path} --allow-write=${path}`;
    const readable = mayAccess("read", path);
    const writable = mayAccess("write", path);
    if (readable && (writable || identity(path) !== undefined)) {
      return !writable;
    }
    throw this.#failure(
      `${readable ? "write" : "read"} permission is missing`,
      `run with ${flags}`,
    );
  }

  /** Makes the missing folder; true when opening the file again may help. */
  #makeFolder(error: unknown): boolean {
    const folder = folderOf(this.#path);
    if (sqliteCode(error) !== SQLITE.cannotOpen) return false;
    // Another process may have made it since: opening again tells whether that was all.
    if (mayAccess("read", folder) && fileSystem().existsSync(folder)) {
      return true;
    }
    if (!mayAccess("write", folder)) {
      throw this.#failure(
        error,
        `make the folder ${folder}, or run with --allow-read=${folder} --allow-write=${folder}`,
      );
    }
    fileSystem().mkdirSync(folder, { recursive: true });
    return true;
  }

  /**
   * Moves companions whose database is gone. A process that still has the old database open goes on
   * using them, and a new database must not share them with it.
   */
  async #moveOrphans(): Promise<void> {
    const folder = folderOf(this.#path);
    if (!mayAccess("read", folder) || !mayAccess("write", folder)) return;
    const { existsSync } = fileSystem();
    // In this order: whoever creates the database now makes it before its companions.
    const orphaned = () =>
      COMPANIONS.some((suffix) => existsSync(this.#path + suffix)) &&
      identity(this.#path) === undefined;
    if (!orphaned()) return;
    await this.#exclusively("files of a removed database are left", () => {
      if (orphaned()) this.#rename(COMPANIONS, "orphaned");
    });
  }

  #failure(cause: unknown, advice?: string): BackendError {
    return new BackendError(this.#description, "open", cause, advice);
  }
}

/** The runtime's SQLite, loaded now at the latest. */
function driver(description: string): typeof import("node:sqlite") {
  const sqlite = builtin("node:sqlite");
  if (sqlite === undefined) {
    throw new BackendError(
      description,
      "open",
      "this runtime has no node:sqlite",
      "use Deno, Node 22.13 or newer, or a current Bun, " +
        "or pass an open database of bun:sqlite or jsr:@db/sqlite",
    );
  }
  return sqlite;
}

function fileSystem(): typeof import("node:fs") {
  const fs = builtin("node:fs");
  // Where there is node:sqlite there are files; this is for the type.
  if (fs === undefined) throw new Error("this runtime has no node:fs");
  return fs;
}

function folderOf(path: string): string {
  return builtin("node:path")?.dirname(path) ?? ".";
}

/** Which file is at a path; `undefined` when there is none. */
function identity(path: string): string | undefined {
  // Inodes go beyond 2⁵³ on some file systems.
  const stat = fileSystem().statSync(path, {
    bigint: true,
    throwIfNoEntry: false,
  });
  return stat === undefined ? undefined : `${stat.dev}:${stat.ino}`;
}

/** The way out, where the code tells one. */
export function advise(error: unknown, path: string): string | undefined {
  switch (sqliteCode(error)) {
    case SQLITE.cannotOpen:
    case SQLITE.readOnly:
      return `let this process write ${path} and its folder, or use another path`;
    case SQLITE.full:
      return "free some disk space, or set maxBytes";
    case SQLITE.busy:
    case SQLITE.locked:
      return "end the process that has kept the database locked for a minute";
    case SQLITE.corrupt:
    case SQLITE.notADatabase:
      return "repair the database, or use another one";
    case SQLITE.tooBig:
      return "store less than 1 GB per entry";
    default:
      return undefined;
  }
}
