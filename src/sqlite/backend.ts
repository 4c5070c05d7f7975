/**
 * Keeps entries in a SQLite database: a file, memory, or a database that is open already.
 *
 * @module
 */

import type { Backend, EntryInfo, Pruned, PruneRule, Report } from "../backend/contract.ts";
import type { StoredEntry } from "../encoding/entry.ts";
import {
  BackendError,
  CacheClosedError,
  optionMessage,
  refuseUnknownOptions,
} from "../base/errors.ts";
import { builtin } from "../base/runtime.ts";
import { isBusy, isHandle, type Parameter, rollBack, type SQLiteHandle } from "./driver.ts";
import { nextTurn } from "../base/turn.ts";
import { Connection, many, one, type Session, time, utf8Length } from "./session.ts";
import { cull, prune, shrink, sweep, sweepId } from "./sweep.ts";

/** Options of {@linkcode SQLiteBackend}. */
export interface SQLiteBackendOptions {
  /**
   * How large the file may become, in bytes, at least 1,048,576; the entries that were stored first
   * make room. Unset and `Infinity` set no bound. Only for a file that this library creates.
   */
  readonly maxBytes?: number;
}

/** How long one transaction or one read of many may take before others have their turn. */
const SLICE_MS = 8;
/** How many entries are read with one statement, and listed in one step. */
const CHUNK = 128;

/** A read that waits for the end of its turn. */
interface Read {
  readonly id: string;
  readonly key: string;
  readonly resolve: (entry: StoredEntry | undefined) => void;
  readonly reject: (error: unknown) => void;
}

/** A change that waits for its transaction. */
interface Write {
  readonly kind: "write";
  readonly operation: "write" | "delete";
  readonly bytes: number;
  readonly apply: (session: Session) => void;
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

/** A change that takes many transactions. */
interface Job {
  readonly kind: "job";
  readonly work: () => Promise<void>;
}

/**
 * Keeps entries in a SQLite database, in the tables `panza_entries` and `panza_schema`.
 *
 * The database is opened on first use. Several processes may use one file at the same time. A
 * damaged file is renamed, never deleted, and a new one started.
 *
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
  /** What it is and where: `SQLite cache.db`. */
  readonly description: string;
  readonly #connection: Connection;
  readonly #maxBytes: number;
  readonly #reports: Report[] = [];
  /**
   * When reads let the event loop turn. Reads that find their entry settle without leaving the
   * turn, so a loop of them would keep timers and sockets waiting for ever.
   */
  #pauseAt = 0;
  #reads: Read[] = [];
  /** Whether there was a read in this turn. */
  #hasRead = false;
  #queue: (Write | Job)[] = [];
  #draining: Promise<void> | undefined;
  /** How many writes of the next ones go one by one, because one of them failed. */
  #singly = 0;
  /** Bytes stored since the size of the file was looked at; the first write looks. */
  #unchecked = Infinity;
  readonly #running = new Set<Promise<unknown>>();
  #closing: Promise<void> | undefined;

  /**
   * Opens nothing yet.
   *
   * @param database A path, a `file:` URL, `":memory:"`, or an open database of `node:sqlite`,
   * `jsr:@db/sqlite` or `bun:sqlite`, which its owner closes.
   * @param options How large the file may become.
   * @throws {TypeError} If `database` is none of these, or there is no such option.
   * @throws {RangeError} If `maxBytes` is out of range.
   */
  constructor(database: string | URL | SQLiteHandle, options: SQLiteBackendOptions = {}) {
    const action = "open a SQLite database";
    refuseUnknownOptions(action, options, ["maxBytes"]);
    const { maxBytes = Infinity } = options;
    const isBound = Number.isSafeInteger(maxBytes) && maxBytes >= 1_048_576;
    if (maxBytes !== Infinity && !isBound) {
      throw new RangeError(
        optionMessage(action, "maxBytes", "an integer of at least 1048576, or Infinity", maxBytes),
      );
    }
    this.#maxBytes = maxBytes;
    if (isHandle(database) && maxBytes !== Infinity) {
      throw new TypeError(
        `Cannot ${action}: maxBytes is for a path; use prune for an open database`,
      );
    }
    const source = isHandle(database) ? database : pathOf(action, database);
    this.description = typeof source === "string" ? `SQLite ${source}` : "SQLite, an open database";
    this.#connection = new Connection(
      source,
      this.description,
      maxBytes !== Infinity,
      (error) => this.#reports.forEach((report) => report(error)),
    );
  }

  /**
   * Adds a listener for a damaged file that was moved.
   *
   * @param report Gets a `DatabaseMovedError`.
   */
  connect(report: Report): void {
    this.#reports.push(report);
  }

  /**
   * Reads one entry; reads of the same turn share a statement.
   *
   * @param id The id of the function.
   * @param key The key of the call.
   * @returns The entry, `undefined` when there is none.
   * @throws {BackendError} If it cannot be read.
   * @throws {CacheClosedError} After `close()`.
   */
  get(id: string, key: string): Promise<StoredEntry | undefined> {
    if (this.#closing !== undefined) {
      return Promise.reject(new CacheClosedError());
    }
    const session = this.#connection.session;
    if (!this.#hasRead && session !== undefined && performance.now() < this.#pauseAt) {
      // The first read of a turn goes the shortest way: it waits for nothing.
      try {
        const entry = one(session, id, key);
        this.#expectReads();
        return Promise.resolve(entry);
      } catch {
        // The long way finds the same error, and what to do about it.
      }
    }
    return new Promise((resolve, reject) => {
      this.#reads.push({ id, key, resolve, reject });
      this.#expectReads();
    });
  }

  /**
   * Reads many entries of one id.
   *
   * @param id The id of the function.
   * @param keys The keys, in any order, repeated or not.
   * @returns One answer for each key, in their order.
   * @throws {BackendError} If they cannot be read.
   * @throws {CacheClosedError} After `close()`.
   */
  getMany(id: string, keys: readonly string[]): Promise<(StoredEntry | undefined)[]> {
    if (this.#closing !== undefined) {
      return Promise.reject(new CacheClosedError());
    }
    return this.#track(this.#readMany(id, keys));
  }

  /**
   * Stores an entry; writes of the same turn share a transaction.
   *
   * @param id The id of the function.
   * @param key The key of the call.
   * @param entry What to store.
   * @returns Settles when it is committed.
   * @throws {BackendError} If it cannot be stored.
   * @throws {CacheClosedError} After `close()`.
   */
  set(id: string, key: string, entry: StoredEntry): Promise<void> {
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
    return this.#enqueue("write", bytes, (session) => {
      session.insert.run(...parameters);
    });
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
    return this.#enqueue("delete", 0, (session) => {
      session.remove.run(id, key);
    });
  }

  /**
   * Deletes every entry of one id, in slices.
   *
   * @param id The id of the function.
   * @returns Settles when all that were there are gone.
   * @throws {BackendError} If they cannot be deleted.
   * @throws {CacheClosedError} After `close()`.
   */
  deleteId(id: string): Promise<void> {
    return this.#enqueueJob(() => sweepId(this.#connection.step("delete"), id));
  }

  /**
   * Deletes every entry, in slices; other tables of the database stay as they are.
   *
   * @returns Settles when all that were there are gone.
   * @throws {BackendError} If they cannot be deleted.
   * @throws {CacheClosedError} After `close()`.
   */
  clear(): Promise<void> {
    return this.#enqueueJob(async () => {
      await sweep(this.#connection.step("delete"), "TRUE", []);
    });
  }

  /**
   * Deletes entries by age, expiry, number or size, in slices, and gives the room back to the file
   * system where the database is of this library.
   *
   * Bounds keep what was stored last. That is the order of storing, not of `storedAt`, so a clock
   * that was set back does not matter.
   *
   * @param rule Which entries to delete; each bound that is given is kept.
   * @returns How much was deleted.
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
    return this.#enqueueJob(async () => {
      const step = this.#connection.step("delete");
      const pruned = await prune(step, rule);
      if (this.#connection.session?.database.own === true) await shrink(step);
      return pruned;
    });
  }

  /**
   * Lists entries in the order of their ids and keys, a few at a time.
   *
   * @param id The id whose entries to list; unset lists all.
   * @returns What is there, each entry once.
   * @throws {BackendError} If they cannot be listed.
   * @throws {CacheClosedError} After `close()`.
   */
  async *entries(id?: string): AsyncIterable<EntryInfo> {
    let last: readonly [string, string] | undefined;
    const step = this.#connection.step("list");
    for (;;) {
      await this.#pause();
      if (this.#closing !== undefined) throw new CacheClosedError();
      // By key and not by rowid, because a replaced entry gets a new rowid and would come twice.
      // The last one is asked for again, and dropped: the first key may be the empty string.
      const rows = await this.#track(
        step((session) =>
          session
            .statement(
              `SELECT id, key, size, stored_at, expires_at, stale_until FROM panza_entries
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
          expiresAt: time(row[4]),
          staleUntil: time(row[5]),
        };
        if (last?.[0] === info.id && last[1] === info.key) continue;
        last = [info.id, info.key];
        yield info;
      }
      if (rows.length <= CHUNK) return;
    }
  }

  /**
   * Waits for what was accepted, then closes the database, unless it was given open.
   *
   * @returns Settles when it is closed; a second call waits for the same.
   * @throws {BackendError} If it cannot be closed.
   */
  close(): Promise<void> {
    return (this.#closing ??= this.#close());
  }

  async #close(): Promise<void> {
    this.#flushReads();
    await this.#draining;
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

  // Reading

  #expectReads(): void {
    if (this.#hasRead) return;
    this.#hasRead = true;
    queueMicrotask(this.#flushReads);
  }

  /** Answers the reads of this turn but the first, those of one id together. */
  readonly #flushReads = (): void => {
    this.#hasRead = false;
    const reads = this.#reads;
    if (reads.length === 0) return;
    this.#reads = [];
    const groups = new Map<string, Read[]>();
    for (const read of reads) {
      const group = groups.get(read.id);
      if (group === undefined) groups.set(read.id, [read]);
      else group.push(read);
    }
    for (const [id, group] of groups) this.#track(this.#answer(id, group));
  };

  /** Reads what was asked for in one turn; what fails together is read one by one. */
  async #answer(id: string, reads: readonly Read[]): Promise<void> {
    try {
      const keys = reads.map((read) => read.key);
      await this.#readMany(id, keys, (index, entry) => {
        reads[index]?.resolve(entry);
      });
    } catch (error) {
      const [only] = reads;
      if (reads.length === 1) only?.reject(error);
      else for (const read of reads) await this.#answer(id, [read]);
    }
  }

  async #readMany(
    id: string,
    keys: readonly string[],
    found?: (index: number, entry: StoredEntry | undefined) => void,
  ): Promise<(StoredEntry | undefined)[]> {
    const entries: (StoredEntry | undefined)[] = [];
    let size = CHUNK;
    while (entries.length < keys.length) {
      await this.#pause();
      const start = performance.now();
      const chunk = keys.slice(entries.length, entries.length + size);
      const read = await this.#connection.run("read", (session) => many(session, id, chunk));
      for (const entry of read) {
        found?.(entries.length, entry);
        entries.push(entry);
      }
      if (performance.now() - start > SLICE_MS) size = Math.max(1, size >> 1);
    }
    return entries;
  }

  /** Lets the event loop turn when reads have kept it for a slice of time. */
  async #pause(): Promise<void> {
    if (performance.now() < this.#pauseAt) return;
    await nextTurn();
    this.#pauseAt = performance.now() + SLICE_MS;
  }

  // Writing

  #enqueue(
    operation: "write" | "delete",
    bytes: number,
    apply: (session: Session) => void,
  ): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#push({ kind: "write", operation, bytes, apply, resolve, reject });
    });
  }

  #enqueueJob<Result>(work: () => Promise<Result>): Promise<Result> {
    return new Promise((resolve, reject) => {
      this.#push({ kind: "job", work: () => work().then(resolve, reject) });
    });
  }

  #push(task: Write | Job): void {
    if (this.#closing !== undefined) throw new CacheClosedError();
    this.#queue.push(task);
    this.#draining ??= this.#drain();
  }

  async #drain(): Promise<void> {
    do {
      // Everything that is written in one turn of the event loop goes into one transaction.
      await nextTurn();
      const [first] = this.#queue;
      if (first?.kind === "job") {
        this.#queue.shift();
        await first.work();
      } else await this.#flush();
    } while (this.#queue.length > 0);
    this.#draining = undefined;
  }

  /** Commits the first writes of the queue, as many as fit into a slice of time. */
  async #flush(): Promise<void> {
    const queue = this.#queue;
    let taken = 0;
    try {
      await this.#connection.run("write", (session) => {
        taken = 0;
        const start = performance.now();
        session.begin.run();
        try {
          for (const write of queue) {
            if (write.kind === "job") break;
            taken++;
            write.apply(session);
            if (this.#singly > 0 || performance.now() - start > SLICE_MS) break;
          }
          session.commit.run();
        } catch (error) {
          rollBack(session.database.handle, session.words);
          throw error;
        }
      });
    } catch (error) {
      this.#fail(error, taken);
      return;
    }
    this.#singly = Math.max(0, this.#singly - 1);
    for (const write of queue.splice(0, taken)) {
      if (write.kind === "write") {
        this.#unchecked += write.bytes;
        write.resolve();
      }
    }
    await this.#cull();
  }

  /** Finds the write that is to blame for a failed transaction, so that its neighbours do not pay. */
  #fail(error: unknown, taken: number): void {
    const queue = this.#queue;
    const cause = error instanceof BackendError ? error.cause : error;
    const isHopeless = this.#connection.session === undefined || isBusy(cause);
    if (!isHopeless && taken > 1) {
      this.#singly = taken;
      return;
    }
    const end = queue.findIndex((task) => task.kind === "job");
    const count = isHopeless ? (end < 0 ? queue.length : end) : 1;
    this.#singly = Math.max(0, this.#singly - 1);
    for (const write of queue.splice(0, count)) {
      if (write.kind !== "write") continue;
      write.reject(
        error instanceof BackendError && error.operation === "write"
          ? this.#connection.failure(write.operation, error.cause)
          : error,
      );
    }
  }

  /** Keeps the file within its bound. */
  async #cull(): Promise<void> {
    const limit = this.#maxBytes;
    if (limit === Infinity || this.#unchecked < Math.min(limit / 50, 4_194_304)) return;
    this.#unchecked = 0;
    try {
      await cull(this.#connection.step("delete"), limit);
    } catch (error) {
      // No call failed, so there is nobody else to tell.
      const failure = this.#connection.failure("delete", error);
      for (const report of this.#reports) report(failure);
    }
  }
}

/** The path of a database, checked. */
function pathOf(action: string, database: unknown): string {
  const path = database instanceof URL && database.protocol === "file:"
    ? (builtin("node:url")?.fileURLToPath(database) ?? database.pathname)
    : database;
  // SQLite would take an empty path for a temporary database, and `file:` for a URI with options.
  if (typeof path !== "string" || path === "" || path.includes("\0") || path.startsWith("file:")) {
    throw new TypeError(
      optionMessage(
        action,
        "database",
        'a path, a file: URL object, ":memory:" or an open database',
        database instanceof URL ? database.href : database,
      ),
    );
  }
  return path;
}
