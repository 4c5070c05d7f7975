/**
 * Opens one database file, with the permissions there are.
 *
 * @module
 */

import { mayAccess, mayAskForUser } from "../base/env.ts";
import { BackendError, reasonOf } from "../base/errors.ts";
import { builtin } from "../base/runtime.ts";
import type { SQLiteHandle } from "./driver.ts";
import { DamageError, isDamage, SQLITE, sqliteCode } from "./errors.ts";
import { claim, configure, hasTables, migrate } from "./schema.ts";
import { TRANSACTION, whenUnlocked } from "./transaction.ts";

/** A database that is ready for use. */
export interface OpenDatabase {
  readonly handle: SQLiteHandle;
  /** Whether this library created it, and so may change its settings. */
  readonly isOurs: boolean;
  /** Whether it is read as a file that nobody changes. */
  readonly isFrozen: boolean;
  /** Closes what was opened here; a handle of the user stays open. */
  close(): void;
}

export async function openMemory(description: string): Promise<OpenDatabase> {
  const memory = new (driver(description).DatabaseSync)(":memory:");
  await migrate(memory, TRANSACTION, description);
  return { handle: memory, isOurs: true, isFrozen: false, close: () => memory.close() };
}

/**
 * Opens a file, and makes it and its folder where they are missing.
 *
 * @param mustBeOurs Whether a file of another program is refused.
 * @param mayCreate Whether a database is made where there is none.
 * @throws {DamageError} If SQLite calls a file of ours damaged.
 */
export async function openFile(
  file: string,
  mustBeOurs: boolean,
  description: string,
  mayCreate: boolean,
): Promise<OpenDatabase> {
  const { DatabaseSync } = driver(description);
  const stat = statOf(file);
  if (!mayCreate && stat === undefined && mayAccess("read", file)) {
    throw new BackendError(description, "open", "there is no such file");
  }
  const isPermitted = permitsWriting(file, stat !== undefined, description);
  if (stat === undefined) makeFolder(file);
  // SQLite takes a file of one byte for an empty one, and would overwrite it.
  if (stat?.size === 1n) throw new Error("file is not a database");
  const isWhole = stat !== undefined && isLogless(file);
  const isFrozen = isWhole && !isWritable(file, stat.mode);
  const open = async (withoutLog: boolean): Promise<OpenDatabase> => {
    const isReadOnly = withoutLog || isFrozen || !isPermitted;
    const database = withoutLog
      ? openFrozen(file, DatabaseSync)
      : await whenUnlocked(() => new DatabaseSync(file, { readOnly: isReadOnly }));
    let isOurs = false;
    try {
      isOurs = await claim(database, isReadOnly || !mayCreate);
      if (!mayCreate && !(await hasTables(database))) throw new Error("it holds no cache");
      if (mustBeOurs && !isOurs) throw new Error("the file is not of this library");
      if (isOurs && !isReadOnly) await configure(database);
      await migrate(database, TRANSACTION, description);
      if (isFrozen && !withoutLog) thawCompanions(file);
      const close = () => database.close();
      return { handle: database, isOurs, isFrozen: withoutLog || isFrozen, close };
    } catch (error) {
      database.close();
      if (!isOurs || !isDamage(error)) throw error;
      throw new DamageError(reasonOf(error), { cause: error });
    }
  };
  try {
    return await open(isFrozen);
  } catch (error) {
    if (stat === undefined) throw withoutFolder(error, file, description);
    // Even a reader makes a log and its index, which read-only media refuse. Not every runtime can
    // do without them.
    const code = sqliteCode(error);
    if (!isWhole || (code !== SQLITE.cannotOpen && code !== SQLITE.readOnly)) throw error;
    return await open(!isFrozen).catch(() => Promise.reject(error));
  }
}

/**
 * Lets this user write the log and its index. On Node before 22.15, SQLite makes both with the mode
 * of a read-only file, and they stay: a database made writable again could not be written.
 */
function thawCompanions(file: string): void {
  for (const suffix of ["-wal", "-shm"]) {
    try {
      fileSystem().chmodSync(file + suffix, 0o644);
    } catch {
      // The file is missing, or another user's.
    }
  }
}

/** Opens a file without a log as one that nobody changes, and makes nothing beside it. */
function openFrozen(
  file: string,
  DatabaseSync: typeof import("node:sqlite").DatabaseSync,
): import("node:sqlite").DatabaseSync {
  try {
    const uri = `${builtin("node:url")?.pathToFileURL(file).href}?immutable=1`;
    return new DatabaseSync(uri, { readOnly: true });
  } catch (error) {
    // Deno takes a URI only from a process with all permissions, Node only from 22.15 on.
    const memory = new DatabaseSync(":memory:");
    const deserialize: unknown = Reflect.get(memory, "deserialize");
    if (typeof deserialize !== "function") throw error;
    const bytes = fileSystem().readFileSync(file);
    // The header says that there is a log (2), which no database in memory has (1).
    // https://www.sqlite.org/fileformat.html
    bytes.fill(1, 18, 20);
    deserialize.call(memory, bytes);
    memory.exec("PRAGMA query_only = ON");
    return memory;
  }
}

/**
 * Whether a file has no log, so that all of its entries are in the file itself. A log that this
 * process may not read counts as there.
 */
export function isLogless(file: string): boolean {
  return mayAccess("read", `${file}-wal`) && !statOf(`${file}-wal`)?.size;
}

/** The state of a file; `undefined` where there is none that this process may read. */
export function statOf(file: string): import("node:fs").BigIntStats | undefined {
  if (!mayAccess("read", file)) return undefined;
  try {
    // Inodes go beyond 2⁵³ on some file systems.
    return fileSystem().statSync(file, { bigint: true, throwIfNoEntry: false });
  } catch {
    // Its folder may not be read.
    return undefined;
  }
}

/** Whether the system lets this process write a file; one without any right to write is frozen. */
function isWritable(file: string, mode: bigint): boolean {
  if ((mode & 0o222n) === 0n) return false;
  // Deno's `accessSync` compares the mode with the user, for whose id it asks.
  if (!mayAskForUser()) return true;
  const { accessSync, constants } = fileSystem();
  try {
    accessSync(file, constants.W_OK);
    return true;
  } catch {
    return false;
  }
}

/** Whether the runtime lets a file be written; throws where the file cannot be opened at all. */
function permitsWriting(file: string, exists: boolean, description: string): boolean {
  const readable = mayAccess("read", file);
  const writable = mayAccess("write", file);
  if (readable && (writable || exists)) return writable;
  throw new BackendError(
    description,
    "open",
    `${readable ? "write" : "read"} permission is missing`,
    `run with --allow-read=${file} --allow-write=${file}`,
  );
}

/**
 * Makes the missing folder. Without it, SQLite would try to open the file for reading, and would
 * succeed if another process made both in this moment.
 */
function makeFolder(file: string): void {
  const folder = folderOf(file);
  if (mayAccess("read", folder) && fileSystem().existsSync(folder)) return;
  if (!mayAccess("write", folder)) return;
  fileSystem().mkdirSync(folder, { recursive: true });
}

/** The error for a file that cannot be opened because its folder is missing and may not be made. */
function withoutFolder(error: unknown, file: string, description: string): unknown {
  const folder = folderOf(file);
  if (sqliteCode(error) !== SQLITE.cannotOpen || mayAccess("write", folder)) return error;
  return new BackendError(
    description,
    "open",
    error,
    `make the folder ${folder}, or run with --allow-read=${folder} --allow-write=${folder}`,
  );
}

/** The runtime's SQLite, loaded now at the latest. */
export function driver(description: string): typeof import("node:sqlite") {
  const sqlite = builtin("node:sqlite");
  if (sqlite === undefined) {
    throw new BackendError(
      description,
      "open",
      "this runtime has no node:sqlite",
      "use Deno, Node 22.13 or newer, or a current Bun, or pass an open database of bun:sqlite, " +
        "better-sqlite3 or jsr:@db/sqlite",
    );
  }
  return sqlite;
}

/** The runtime's file system. */
export function fileSystem(): typeof import("node:fs") {
  const fs = builtin("node:fs");
  // Where there is node:sqlite there are files; this is for the type.
  if (fs === undefined) throw new Error("this runtime has no node:fs");
  return fs;
}

function folderOf(file: string): string {
  return builtin("node:path")?.dirname(file) ?? ".";
}
