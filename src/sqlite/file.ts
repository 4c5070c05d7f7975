/**
 * The database file: opening it with the permissions there are, and moving it aside when it is
 * damaged.
 *
 * @module
 */

import { mayAccess } from "../base/env.ts";
import { builtin } from "../base/runtime.ts";
import { BackendError, DatabaseMovedError } from "../base/errors.ts";
import type { Report } from "../backend/contract.ts";
import {
  isDamage,
  patiently,
  prepare,
  scalar,
  SQLITE,
  sqliteCode,
  type SQLiteHandle,
  TRANSACTION,
} from "./driver.ts";
import { migrate, setUp } from "./schema.ts";

/** A database that is ready for use. */
export interface OpenDatabase {
  readonly handle: SQLiteHandle;
  /** Whether this library created it, and so may change its settings and move it. */
  readonly own: boolean;
  /** Closes what was opened here; a handle of the user stays open. */
  close(): void;
}

/** The files that SQLite keeps beside a database. */
const COMPANIONS = ["-wal", "-shm", "-journal"] as const;
/** All of a database, itself first. */
const SUFFIXES = ["", ...COMPANIONS] as const;
/** The file whose lock is held by whoever moves a database. */
const LOCK = "-lock";
/** How often a file may turn out to be damaged, and be moved, until opening it fails. */
const MOST_MOVES = 3;
/** How often a file may be replaced while it is opened, until that fails. */
const MOST_REPLACEMENTS = 10;

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
    let moves = 0;
    let replacements = 0;
    for (;;) {
      try {
        return await this.#openOnce();
      } catch (error) {
        if (error instanceof BackendError) throw error;
        if (this.isReplaced() && ++replacements <= MOST_REPLACEMENTS) continue;
        if (!isDamage(error) || ++moves > MOST_MOVES) {
          throw this.#failure(error, advise(error, this.#path));
        }
        await this.moveAside(error);
      }
    }
  }

  /** Whether the path leads elsewhere than when it was opened, or nowhere. */
  isReplaced(): boolean {
    if (this.#path === ":memory:") return false;
    try {
      const now = identity(this.#path);
      return now === undefined || now !== this.#identity;
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
    const files = SUFFIXES.map((suffix) => this.#path + suffix);
    try {
      for (const file of [folderOf(this.#path), ...files.filter(existsSync)]) {
        accessSync(file, constants.W_OK);
      }
      return true;
    } catch (error) {
      // Deno's own refusal to look (it wants to know the user) says nothing about the file.
      const code: unknown = error instanceof Error && Reflect.get(error, "code");
      return code !== "EACCES" && code !== "EPERM" && code !== "EROFS";
    }
  }

  /**
   * Renames a damaged file and its companions, and puts a new database in its place; nothing is
   * deleted. The database must be closed.
   *
   * Of several processes that find the same damage one does it, and the others find another file at
   * the path when they get the lock. The lock is a database of its own, since SQLite cannot lock
   * what it cannot read; the system releases it when its holder dies. The empty lock file stays:
   * removing it would let two processes hold two locks of the same name.
   *
   * SQLite finds the companions of a file by its name, so a process that has opened the damaged file
   * may take those of the new one for them. It must not find a journal there, which it would apply
   * to its own file: so the new database comes complete. Nor may it delete a log there when it
   * closes what it takes for the last connection: so the damaged file is held meanwhile.
   *
   * @param cause What SQLite said.
   * @throws {BackendError} If it cannot be renamed.
   */
  async moveAside(cause: unknown): Promise<void> {
    const damaged = this.#identity;
    if (this.#path === ":memory:" || damaged === undefined) {
      throw this.#failure(cause, "open a new one");
    }
    await this.#exclusively(cause, async () => {
      if (identity(this.#path) !== damaged) return;
      const release = await this.#hold();
      try {
        const target = await this.#replace("damaged");
        this.#report(new DatabaseMovedError(this.#path, target, cause));
      } finally {
        release();
      }
    });
  }

  /**
   * Opens the file, so that nobody else can be the last to close it. Only a file with a log needs
   * that, and who reads one holds a lock from then on, whether or not the rest is damaged.
   *
   * @returns Closes it.
   */
  async #hold(): Promise<() => void> {
    // Windows renames no open file; there nobody has it open when that succeeds. And SQLite would
    // delete the log of an empty one.
    if (builtin("node:path")?.sep === "\\" || !sizeOf(this.#path)) {
      return () => {};
    }
    const holder = this.#connect(this.#path);
    holder.exec("PRAGMA busy_timeout = 1");
    try {
      await patiently(() => scalar(holder, "PRAGMA schema_version"));
    } catch (error) {
      if (!isDamage(error)) {
        holder.close();
        throw error;
      }
    }
    return () => holder.close();
  }

  /**
   * Renames what exists of the database, with one time stamp, and puts a new one in its place.
   *
   * @returns The new name of the old one.
   */
  async #replace(word: string): Promise<string> {
    const { existsSync, renameSync, rmSync } = fileSystem();
    const stamp = new Date().toISOString().replaceAll(/[:.]/g, "-");
    let target = `${this.#path}.${word}-${stamp}`;
    for (let n = 2; SUFFIXES.some((suffix) => existsSync(target + suffix)); n++) {
      target = `${this.#path}.${word}-${stamp}-${n}`;
    }
    const fresh = `${target}-new`;
    try {
      const database = this.#connect(fresh);
      try {
        await setUp(database, this.#description, false);
      } finally {
        database.close();
      }
      // The database goes first: whoever opened it without its companions would make new ones, and
      // companions without a database are recognized should this be interrupted.
      for (const suffix of SUFFIXES) {
        if (existsSync(this.#path + suffix)) {
          renameSync(this.#path + suffix, target + suffix);
        }
      }
      renameSync(fresh, this.#path);
    } finally {
      // What is left of it when that failed.
      for (const suffix of SUFFIXES) rmSync(fresh + suffix, { force: true });
    }
    return target;
  }

  /** Does something that only one process may do at a time. */
  async #exclusively(cause: unknown, work: () => Promise<void>): Promise<void> {
    const folder = folderOf(this.#path);
    const lockPath = this.#path + LOCK;
    if (!mayAccess("read", folder) || !mayAccess("write", folder)) {
      throw this.#failure(
        cause,
        `to let it be moved aside, run with --allow-read=${folder} --allow-write=${folder}`,
      );
    }
    try {
      const lock = this.#connect(lockPath);
      try {
        await patiently(() => lock.exec("BEGIN EXCLUSIVE"));
        await work();
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
    // Before anything else: where there is no SQLite there may be no files either.
    const { DatabaseSync } = driver(this.#description);
    if (this.#path === ":memory:") {
      const memory = new DatabaseSync(":memory:");
      await migrate(memory, TRANSACTION, this.#description);
      return { handle: memory, own: true, close: () => memory.close() };
    }
    const readOnly = this.#permissions();
    await this.#settle();
    this.#identity = identity(this.#path);
    if (this.#identity === undefined) this.#makeFolder();
    const database = await patiently(() => {
      try {
        return new DatabaseSync(this.#path, { readOnly });
      } catch (error) {
        throw this.#withoutFolder(error);
      }
    });
    try {
      // Before the first statement, which opens the log by its name: it must not be that of another
      // file, put here between the look and the opening.
      this.#identity ??= identity(this.#path);
      this.#assertInPlace();
      const own = await setUp(database, this.#description, readOnly, () => this.#assertInPlace());
      this.#assertInPlace();
      // The folder of the process may change later.
      const [, , location] = prepare(database, "PRAGMA database_list").row() ?? [];
      if (typeof location === "string" && location !== "") {
        this.#path = location;
      }
      return { handle: database, own, close: () => database.close() };
    } catch (error) {
      database.close();
      throw error;
    }
  }

  /** Throws when the file that is open has been moved since. */
  #assertInPlace(): void {
    if (this.isReplaced()) throw new Error("it is replaced again and again");
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

  /**
   * Makes the missing folder. SQLite must not find it missing: it would then try to open the file for
   * reading, and could, if another process made both in this moment.
   */
  #makeFolder(): void {
    const folder = folderOf(this.#path);
    if (mayAccess("read", folder) && fileSystem().existsSync(folder)) return;
    if (!mayAccess("write", folder)) return;
    fileSystem().mkdirSync(folder, { recursive: true });
  }

  /** Why a file cannot be opened whose folder is missing and may not be made. */
  #withoutFolder(error: unknown): unknown {
    const folder = folderOf(this.#path);
    if (sqliteCode(error) !== SQLITE.cannotOpen) return error;
    if (mayAccess("write", folder)) return error;
    return this.#failure(
      error,
      `make the folder ${folder}, or run with --allow-read=${folder} --allow-write=${folder}`,
    );
  }

  /**
   * Before a database is made: waits for whoever moves an old one away, and moves companions whose
   * database is gone, or emptied, since SQLite deletes the log of an empty one. A process that still
   * has the old database open goes on using them, and a new database must not share them with it.
   */
  async #settle(): Promise<void> {
    if (sizeOf(this.#path)) return;
    const folder = folderOf(this.#path);
    if (!mayAccess("read", folder) || !mayAccess("write", folder)) return;
    const { existsSync } = fileSystem();
    // In this order: whoever makes the database now makes it before its companions, and writes to it
    // before it has a log.
    const isOrphaned = () =>
      sizeOf(`${this.#path}-wal`)
        ? !sizeOf(this.#path)
        : COMPANIONS.some((suffix) => existsSync(this.#path + suffix)) && !existsSync(this.#path);
    if (!existsSync(this.#path + LOCK) && !isOrphaned()) return;
    await this.#exclusively("files of a removed database are left", async () => {
      if (isOrphaned()) await this.#replace("orphaned");
    });
  }

  #connect(path: string) {
    return new (driver(this.#description).DatabaseSync)(path);
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

/** The bytes of the file at a path; `undefined` when there is none. */
function sizeOf(path: string): number | undefined {
  return fileSystem().statSync(path, { throwIfNoEntry: false })?.size;
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
