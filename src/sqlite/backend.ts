/**
 * Keeps entries in a SQLite database: a file, memory, or a database that is open already.
 *
 * @module
 */

import type {
  Backend,
  EntryInfo,
  Maybe,
  NoteChange,
  Pruned,
  PruneRule,
  Report,
} from "../backend/contract.ts";
import { boolean, check, count } from "../base/check.ts";
import { CacheClosedError } from "../base/errors.ts";
import { pathOf } from "../base/path.ts";
import { builtin } from "../base/runtime.ts";
import type { StoredEntry } from "../encoding/entry.ts";
import { Connection } from "./connection.ts";
import { isHandle, type Parameter, type SQLiteHandle } from "./driver.ts";
import { Generations } from "./generations.ts";
import { Changes, removeNote, removeNotes, removeNotesOf, takeNote, update } from "./notes.ts";
import { CHUNK, Reads } from "./reads.ts";
import { type Session, toTime, utf8Length } from "./rows.ts";
import { SideFiles } from "./side_files.ts";
import { prune, type RunStep, sweep, sweepId, sweeping } from "./sweep.ts";
import { Writes } from "./writes.ts";

const RULE = 'a path, a file: URL object, ":memory:" or an open database';

/** Options of {@linkcode SQLiteBackend}. */
export interface SQLiteBackendOptions {
  /**
   * The bound of the file, in bytes, at least 1,048,576; the entries that were stored first are
   * evicted. Unset and `Infinity` set no bound. Only for a file that this library creates. Its log
   * (`-wal`) takes up to 16 MiB besides, and more only while another program reads.
   */
  readonly maxBytes?: number;
  /**
   * Whether a missing database is made. With false, every operation rejects while there is none,
   * and nothing is made in an empty file, in another program's, or beside a damaged one. Only for a
   * path.
   *
   * @default {true}
   */
  readonly create?: boolean;
}

/**
 * Keeps entries in a SQLite database, in the tables `panza_entries`, `panza_schema` and, where
 * processes share work, `panza_notes`.
 *
 * The database is opened on first use. Several processes may use one file at the same time. No file
 * is ever renamed, moved or deleted: when SQLite calls `cache.db` damaged, and again a second
 * later, every process keeps entries in `cache.db.panza-2` from then on (up to `-9`). A file that
 * is not of this library is left alone.
 *
 * Work on an open database inside a transaction of its owner is part of that transaction: a
 * rollback also undoes what was stored or deleted.
 *
 * @category Backends
 * @example Entries outlive the backend
 * ```ts
 * import { SQLiteBackend } from "@panza/panza/sqlite";
 * import { assertEquals } from "@std/assert";
 *
 * const backend = new SQLiteBackend(":memory:");
 * await backend.set("id", "key", {
 *   data: "[1,2]",
 *   format: "json",
 *   checksum: 0,
 *   storedAt: 1_700_000_000_000,
 *   expiresAt: null,
 *   staleUntil: null,
 *   durationMs: 5,
 * });
 * assertEquals((await backend.get("id", "key"))?.data, "[1,2]");
 * await backend.close();
 * ```
 */
export class SQLiteBackend implements Backend {
  /** Its kind and place: `SQLite cache.db`. */
  readonly description: string;
  readonly #files: Generations | undefined;
  readonly #connection: Connection;
  readonly #reads: Reads;
  readonly #writes: Writes;
  readonly #changes: Changes;
  readonly #sideFiles: SideFiles | undefined;
  /**
   * Makes the side file of a session and locks it, where that is allowed; only for a path.
   *
   * @param session The name of the session.
   */
  readonly openSession?: (session: string) => Promise<void>;
  /**
   * Whether the process of a session is gone; only for a path.
   *
   * @param session The name of the session.
   */
  readonly isOver?: (session: string) => boolean;
  /**
   * Ends a session: removes its notes and its side file; only for a path.
   *
   * @param session The name of the session.
   */
  readonly endSession?: (session: string) => Promise<void>;
  readonly #reports: Report[] = [];
  readonly #running = new Set<Promise<unknown>>();
  #closing: Promise<void> | undefined;

  /**
   * Opens nothing yet.
   *
   * @param database A path, a `file:` URL, `":memory:"`, or an open database of `node:sqlite`,
   * `jsr:@db/sqlite`, `bun:sqlite` or `better-sqlite3`, which its owner closes. A relative path is
   * resolved now.
   * @param options The bound of the file, and whether to make a missing one.
   * @throws {TypeError} If `database` is none of these, or an option is unknown or the wrong kind.
   * @throws {RangeError} If `maxBytes` is out of range.
   */
  constructor(database: string | URL | SQLiteHandle, options: SQLiteBackendOptions = {}) {
    const action = "open a SQLite database";
    const rules = { maxBytes: count({ min: 1_048_576, infinity: true }), create: boolean };
    const { maxBytes = Infinity, create = true } = check(action, options, rules);
    const report = (error: Error): void => this.#reports.forEach((each) => each(error));
    let handle: SQLiteHandle | undefined;
    if (isHandle(database)) {
      if (maxBytes !== Infinity) {
        throw new TypeError(
          `Cannot ${action}: maxBytes is for a path; use prune for an open database`,
        );
      }
      handle = database;
      this.description = "SQLite, an open database";
    } else {
      const path = pathOf(action, "database", RULE, database);
      this.description = `SQLite ${path}`;
      if (path !== ":memory:") {
        const absolute = builtin("node:path")?.resolve(path) ?? path;
        const files = this.#files = new Generations(absolute, this.description, report, create);
        const sides = this.#sideFiles = new SideFiles(() => files.location);
        this.openSession = (session) => {
          if (this.#closing !== undefined) return Promise.reject(new CacheClosedError());
          return Promise.resolve(sides.open(session));
        };
        this.isOver = (session) => sides.isOver(session);
        this.endSession = async (session) => {
          await removeNotesOf(this.#writes, session);
          // After its notes: a process that dies in between leaves a file that lets others go on.
          sides.end(session);
          this.#changes.tell();
        };
      }
    }
    if (!create && this.#files === undefined) {
      throw new TypeError(`Cannot ${action}: create: false is for a path`);
    }
    const isBounded = maxBytes !== Infinity;
    this.#connection = new Connection(this.#files, handle, this.description, isBounded);
    this.#reads = new Reads(this.#connection, (promise) => this.#track(promise));
    this.#writes = new Writes(this.#connection, maxBytes, report);
    this.#changes = new Changes(this.#connection);
  }

  /** The real path of a file; absent for memory and for an open database. */
  get location(): string | undefined {
    return this.#files?.location;
  }

  /**
   * Adds a listener for errors that fail no operation: a damaged file, a bound that is not kept.
   *
   * @param report Gets a `DamagedDatabaseError` or a `BackendError`.
   */
  connect(report: Report): void {
    this.#reports.push(report);
  }

  /**
   * Reads one entry, at once where it can; further reads of the same turn share a statement.
   *
   * @param id The id of the function.
   * @param key The key of the call.
   * @returns The entry, `undefined` when there is none. It rejects, and never throws:
   * with a `BackendError` if the entry cannot be read, with a `CacheClosedError` after `close()`.
   */
  get(id: string, key: string): Maybe<StoredEntry | undefined> {
    if (this.#closing !== undefined) return Promise.reject(new CacheClosedError());
    return this.#reads.one(id, key);
  }

  /**
   * Reads many entries of one id, at once where it can.
   *
   * @param id The id of the function.
   * @param keys The keys, in any order, repeated or not.
   * @returns One answer for each key, in their order. It rejects as `get` does.
   */
  getMany(id: string, keys: readonly string[]): Maybe<(StoredEntry | undefined)[]> {
    if (this.#closing !== undefined) return Promise.reject(new CacheClosedError());
    return this.#reads.many(id, keys);
  }

  /**
   * Stores an entry; writes of the same turn share a transaction.
   *
   * @param id The id of the function.
   * @param key The key of the call.
   * @param entry The entry to store.
   * @returns Settles when it is committed.
   * @throws {BackendError} If it cannot be stored.
   * @throws {CacheClosedError} After `close()`.
   */
  set(id: string, key: string, entry: StoredEntry): Promise<void> {
    const [bytes, store] = storing(id, key, entry);
    return this.#writes.change("write", bytes, store);
  }

  /**
   * Stores an entry in exchange for its note, in one transaction.
   *
   * @param id The id that both belong to.
   * @param key The key.
   * @param note The note that must be there, and is removed.
   * @param entry The entry to store.
   * @returns Whether the entry was stored; otherwise nothing changed.
   * @throws {BackendError} If it cannot be stored.
   * @throws {CacheClosedError} After `close()`.
   */
  async exchange(id: string, key: string, note: string, entry: StoredEntry): Promise<boolean> {
    const [bytes, store] = storing(id, key, entry);
    let isStored = false;
    await this.#writes.change("write", bytes, (session) => {
      isStored = takeNote(session, id, key, note);
      if (isStored) store(session);
    });
    this.#changes.tell();
    return isStored;
  }

  /**
   * Deletes one entry.
   *
   * @param id The id of the function.
   * @param key The key of the call.
   * @returns Settles when it is committed.
   * @throws {BackendError} If it cannot be deleted.
   * @throws {CacheClosedError} After `close()`.
   */
  delete(id: string, key: string): Promise<void> {
    return this.#writes.change("delete", 0, (session) => {
      removeNote(session, id, key);
      session.remove.run(id, key);
    });
  }

  /**
   * Deletes every entry of one id, in slices, and gives the space back as {@linkcode prune} does.
   *
   * @param id The id of the function.
   * @returns Settles when all that were there are gone.
   * @throws {BackendError} If they cannot be deleted.
   * @throws {CacheClosedError} After `close()`.
   */
  deleteId(id: string): Promise<void> {
    return this.#sweep(async (step) => {
      await step((session) => removeNotes(session, id));
      await sweepId(step, id);
    });
  }

  /**
   * Deletes every entry, in slices, and gives the space back as {@linkcode prune} does; other
   * tables of the database stay as they are.
   *
   * @returns Settles when all that were there are gone.
   * @throws {BackendError} If they cannot be deleted.
   * @throws {CacheClosedError} After `close()`.
   */
  clear(): Promise<void> {
    return this.#sweep(async (step) => {
      await step((session) => removeNotes(session, undefined));
      await sweep(step, "TRUE", []);
    });
  }

  /**
   * Deletes entries by age, expiry, number or size, in slices, and gives the space back to the file
   * system where the database is of this library.
   *
   * Bounds keep what was stored last, by the order of storing and not by `storedAt`: a clock that
   * was set back does not matter.
   *
   * @param rule The entries to delete; each given bound is kept.
   * @returns The counts of what was deleted.
   * @throws {BackendError} If they cannot be deleted.
   * @throws {CacheClosedError} After `close()`.
   *
   * @example Keep only what was stored last
   * ```ts
   * import { SQLiteBackend } from "@panza/panza/sqlite";
   * import { assertEquals } from "@std/assert";
   *
   * const backend = new SQLiteBackend(":memory:");
   * assertEquals(await backend.prune({ maxEntries: 1000 }), { entries: 0, bytes: 0 });
   * await backend.close();
   * ```
   */
  prune(rule: PruneRule): Promise<Pruned> {
    if (rule.dryRun !== true) return this.#sweep((step) => prune(step, rule));
    if (this.#closing !== undefined) return Promise.reject(new CacheClosedError());
    return this.#track(prune(this.#connection.step("list"), rule));
  }

  /**
   * Replaces a note, in the same transaction as other changes of its turn.
   *
   * @param id The id that it belongs to.
   * @param key The key.
   * @param change Makes the new note from the stored one, and may be called again. Without it, the
   * note is only read.
   * @returns The note that is stored then.
   * @throws {BackendError} If it cannot be stored.
   * @throws {CacheClosedError} After `close()`.
   */
  async update(id: string, key: string, change?: NoteChange): Promise<string | undefined> {
    const ready = this.#closing === undefined ? this.#connection.ready() : undefined;
    const { note, isChange } = await update(this.#writes, ready, id, key, change);
    if (isChange) this.#changes.tell();
    return note;
  }

  /**
   * Waits for a change by any process, noticed a tenth of the wait late at most, and 50 ms.
   *
   * @param ms The longest wait, in milliseconds.
   * @throws {CacheClosedError} After `close()`.
   */
  async changed(ms: number): Promise<void> {
    if (this.#closing !== undefined) throw new CacheClosedError();
    await this.#changes.wait(ms);
  }

  /**
   * Lists entries in the order of their ids and keys, a few at a time.
   *
   * @param id The id whose entries to list; unset lists all.
   * @returns The stored entries, each once.
   * @throws {BackendError} If they cannot be listed.
   * @throws {CacheClosedError} After `close()`.
   */
  async *entries(id?: string): AsyncIterable<EntryInfo> {
    let last: readonly [string, string] | undefined;
    const step = this.#connection.step("list");
    for (;;) {
      await this.#reads.pace();
      if (this.#closing !== undefined) throw new CacheClosedError();
      // By key and not by rowid, because a replaced entry gets a new rowid and would come twice.
      // The last entry is read again and dropped: the first key may be the empty string.
      const rows = await this.#track(
        step((session) =>
          session
            .statement(
              `SELECT id, key, size, stored_at, expires_at, stale_until, duration_ms
             FROM panza_entries
           WHERE ${
                id === undefined ? "(id, key) >= (?, ?)" : "id = ? AND key >= ?"
              } ORDER BY id, key LIMIT ${CHUNK + 1}`,
            )
            .rows(last?.[0] ?? id ?? "", last?.[1] ?? "")
        ),
      );
      for (const row of rows) {
        const info: EntryInfo = {
          id: String(row[0]),
          key: String(row[1]),
          size: Number(row[2]),
          storedAt: Number(row[3]),
          expiresAt: toTime(row[4]),
          staleUntil: toTime(row[5]),
          durationMs: Number(row[6]),
        };
        if (last?.[0] === info.id && last[1] === info.key) continue;
        last = [info.id, info.key];
        yield info;
      }
      if (rows.length <= CHUNK) return;
    }
  }

  /**
   * Waits for accepted work, then closes the database, unless it was given open.
   *
   * @returns Settles when it is closed; a second call waits for the same.
   * @throws {BackendError} If it cannot be closed.
   */
  close(): Promise<void> {
    return (this.#closing ??= this.#close());
  }

  async #close(): Promise<void> {
    this.#changes.tell();
    this.#reads.flush();
    await this.#writes.close();
    this.#sideFiles?.close();
    await Promise.allSettled(this.#running);
    await this.#connection.close();
  }

  /** Makes `close` wait for something. */
  #track<Result>(promise: Promise<Result>): Promise<Result> {
    this.#running.add(promise);
    const settled = () => this.#running.delete(promise);
    promise.then(settled, settled);
    return promise;
  }

  /** Deletes in slices, and gives the space back where the file is of this library. */
  #sweep<Result>(work: (step: RunStep) => Promise<Result>): Promise<Result> {
    const step = this.#connection.step("delete");
    return this.#writes.sweep(() => sweeping(step, work));
  }
}

/** The size of an entry in bytes, and the work that stores it. */
function storing(
  id: string,
  key: string,
  entry: StoredEntry,
): [bytes: number, store: (session: Session) => void] {
  const { data } = entry;
  const bytes = typeof data === "string" ? utf8Length(data) : data.byteLength;
  const parameters: Parameter[] = [
    id,
    key,
    entry.format,
    entry.checksum | 0,
    entry.storedAt,
    entry.expiresAt,
    entry.staleUntil,
    entry.durationMs,
    bytes,
    // A copy, because the caller may change its bytes before the transaction begins; not
    // `slice`, which shares memory in Node's Buffer.
    typeof data === "string" ? data : new Uint8Array(data),
  ];
  return [bytes, (session) => session.insert.run(...parameters)];
}
