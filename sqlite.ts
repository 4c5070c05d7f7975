/**
 * Keeps entries in a SQLite database: a file, memory, or a database that is open already.
 *
 * @module
 */

import type { Backend, EntryInfo, Report, StoredEntry } from "./backend.ts";
import { Cache } from "./cache.ts";
import {
  BackendError,
  CacheClosedError,
  optionMessage,
  refuseUnknownOptions,
} from "./errors.ts";
import { type CacheOptions, splitCacheOptions } from "./options.ts";
import { builtin } from "./runtime.ts";
import {
  isBusy,
  isDamage,
  isHandle,
  nextTurn,
  type Parameter,
  prepare,
  type Row,
  SQLITE,
  sqliteCode,
  type SQLiteHandle,
  type Statement,
  waitForLock,
} from "./sqlite_driver.ts";
import {
  advise,
  DatabaseFile,
  migrate,
  type OpenDatabase,
  rollBack,
  SAVEPOINT,
  transact,
  TRANSACTION,
  type TransactionWords,
} from "./sqlite_file.ts";
import {
  cull,
  prune,
  type Pruned,
  type PruneRule,
  type RunStep,
  shrink,
  sweep,
  sweepId,
  type SweepSession,
} from "./sqlite_sweep.ts";

export type { Backend, EntryInfo, Report, StoredEntry };
export type { Pruned, PruneRule, SQLiteHandle };
export type { Parameter, SQLiteHandleStatement } from "./sqlite_driver.ts";

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
/** How often a path is checked for another file, in milliseconds. */
const CHECK_MS = 250;
/** For how long a failed opening answers for the next ones, in milliseconds. */
const BACK_OFF_MS = 20;

const COLUMNS =
  "format, checksum, stored_at, expires_at, stale_until, duration_ms, e.value";

/** An open database and its prepared statements. */
class Session implements SweepSession {
  readonly #statements = new Map<string, Statement>();
  readonly database: OpenDatabase;
  readonly words: TransactionWords;
  readonly select: Statement;
  readonly selectMany: Statement;
  readonly insert: Statement;
  readonly remove: Statement;
  readonly begin: Statement;
  readonly commit: Statement;

  constructor(database: OpenDatabase, words: TransactionWords) {
    this.database = database;
    this.words = words;
    this.select = this.statement(
      `SELECT ${COLUMNS} FROM panza_entries e WHERE id = ? AND e.key = ?`,
    );
    // 3.3 µs a key with 100 keys, against 3.6 for `IN` and 4.3 one by one in a transaction.
    this.selectMany = this.statement(
      `SELECT ${COLUMNS}, j.key FROM json_each(?) j CROSS JOIN panza_entries e
       ON e.id = ? AND e.key = j.value`,
    );
    // A replaced entry gets a new rowid, so that rowids tell the order of storing: see the schema.
    this.insert = this.statement(
      `INSERT OR REPLACE INTO panza_entries (id, key, format, checksum, stored_at, expires_at,
       stale_until, duration_ms, size, value) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
    );
    this.remove = this.statement(
      "DELETE FROM panza_entries WHERE id = ? AND key = ?",
    );
    this.begin = this.statement(words.begin);
    this.commit = this.statement(words.commit);
  }

  statement(sql: string): Statement {
    const known = this.#statements.get(sql);
    if (known !== undefined) return known;
    const made = prepare(this.database.handle, sql);
    this.#statements.set(sql, made);
    return made;
  }

  transact<Result>(work: () => Result): Result {
    return transact(this.database.handle, this.words, work);
  }
}

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
  readonly #file: DatabaseFile | undefined;
  readonly #handle: SQLiteHandle | undefined;
  readonly #path: string;
  readonly #maxBytes: number;
  readonly #reports: Report[] = [];
  #session: Session | undefined;
  #opening: Promise<Session> | undefined;
  #failed: { readonly error: unknown; readonly until: number } | undefined;
  #checkAt = 0;
  #reads: Read[] = [];
  /** Whether there was a read in this turn. */
  #hasRead = false;
  /** Until when reads may follow each other without the event loop having a turn. */
  #turnEnds = 0;
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
  constructor(
    database: string | URL | SQLiteHandle,
    options: SQLiteBackendOptions = {},
  ) {
    const action = "open a SQLite database";
    refuseUnknownOptions(action, options, ["maxBytes"]);
    const { maxBytes = Infinity } = options;
    const isBound = Number.isSafeInteger(maxBytes) && maxBytes >= 1_048_576;
    if (maxBytes !== Infinity && !isBound) {
      throw new RangeError(
        optionMessage(
          action,
          "maxBytes",
          "an integer of at least 1048576, or Infinity",
          maxBytes,
        ),
      );
    }
    this.#maxBytes = maxBytes;
    if (isHandle(database)) {
      if (maxBytes !== Infinity) {
        throw new TypeError(
          `Cannot ${action}: maxBytes is for a path; use prune for an open database`,
        );
      }
      this.#handle = database;
      this.#path = "";
      this.description = "SQLite, an open database";
    } else {
      this.#path = pathOf(action, database);
      this.description = `SQLite ${this.#path}`;
      this.#file = new DatabaseFile(
        this.#path,
        this.description,
        (error) => this.#reports.forEach((report) => report(error)),
      );
    }
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
    const session = this.#session;
    const now = performance.now();
    if (
      !this.#hasRead && session !== undefined && now < this.#checkAt &&
      now < this.#turnEnds
    ) {
      // The first read of a turn goes the shortest way: it waits for nothing.
      try {
        const row = session.select.row(id, key);
        this.#expectReads();
        return Promise.resolve(row === undefined ? undefined : entryOf(row));
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
  getMany(
    id: string,
    keys: readonly string[],
  ): Promise<(StoredEntry | undefined)[]> {
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
    return this.#enqueueJob(() => sweepId(this.#step("delete"), id));
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
      await sweep(this.#step("delete"), "TRUE", []);
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
      const step = this.#step("delete");
      const pruned = await prune(step, rule);
      if (this.#session?.database.own === true) await shrink(step);
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
    const step = this.#step("list");
    for (;;) {
      if (this.#closing !== undefined) throw new CacheClosedError();
      // By key and not by rowid, because a replaced entry gets a new rowid and would come twice.
      // The last one is asked for again, and dropped: the first key may be the empty string.
      const rows = await this.#track(step((session) =>
        session.statement(
          `SELECT id, key, size, stored_at, expires_at, stale_until FROM panza_entries
           WHERE ${
            id === undefined ? "(id, key) >= (?, ?)" : "id = ? AND key >= ?"
          } ORDER BY id, key LIMIT ${CHUNK + 1}`,
        ).rows(last?.[0] ?? id ?? "", last?.[1] ?? "")
      ));
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
    return this.#closing ??= this.#close();
  }

  async #close(): Promise<void> {
    this.#flushReads();
    await this.#draining;
    // What runs may begin more, such as reads that wait for the next turn.
    while (this.#running.size > 0) await Promise.allSettled(this.#running);
    await this.#opening?.catch(() => {});
    const session = this.#session;
    this.#session = undefined;
    try {
      session?.database.close();
    } catch (error) {
      throw this.#failure("close", error);
    }
  }

  /** Makes `close` wait for something. */
  #track<Result>(promise: Promise<Result>): Promise<Result> {
    this.#running.add(promise);
    const settled = () => this.#running.delete(promise);
    promise.then(settled, settled);
    return promise;
  }

  // Opening

  /** The open database; opened once, however many ask. */
  #open(): Promise<Session> {
    const now = performance.now();
    if (now > this.#checkAt) {
      if (this.#file?.isReplaced()) this.#drop();
      this.#checkAt = now + CHECK_MS;
    }
    if (this.#session !== undefined) return Promise.resolve(this.#session);
    if (this.#opening !== undefined) return this.#opening;
    if (this.#failed !== undefined && now < this.#failed.until) {
      return Promise.reject(this.#failed.error);
    }
    return this.#reopen(async () => {});
  }

  /** Opens the database after something else was done. */
  #reopen(before: () => Promise<void>): Promise<Session> {
    this.#drop();
    const opening = (async () => {
      try {
        await before();
        this.#session = await this.#openDatabase();
        this.#failed = undefined;
        return this.#session;
      } catch (error) {
        const failure = this.#failure("open", error);
        const until = performance.now() + BACK_OFF_MS;
        this.#failed = { error: failure, until };
        throw failure;
      } finally {
        this.#opening = undefined;
      }
    })();
    return this.#opening = opening;
  }

  async #openDatabase(): Promise<Session> {
    const handle = this.#handle;
    if (handle !== undefined) {
      await migrate(handle, SAVEPOINT, this.description);
      return new Session({ handle, own: false, close: () => {} }, SAVEPOINT);
    }
    const database = await this.#file?.open();
    if (database === undefined) throw new TypeError("there is no database");
    if (!database.own && this.#maxBytes !== Infinity) {
      database.close();
      throw new BackendError(
        this.description,
        "open",
        "maxBytes is set and the file holds more than the cache",
        "give the cache a file of its own, or leave maxBytes out",
      );
    }
    return new Session(database, TRANSACTION);
  }

  /** Closes the database, to be opened again by the next use. */
  #drop(): void {
    const session = this.#session;
    this.#session = undefined;
    try {
      session?.database.close();
    } catch {
      // It is given up because it is damaged or gone; closing it can say nothing new.
    }
  }

  /**
   * Does something with the open database, as soon as no lock is in its way, and once more on a new
   * one when the file turns out to be damaged or gone.
   */
  async #run<Result>(
    operation: string,
    work: (session: Session) => Result,
  ): Promise<Result> {
    const start = performance.now();
    for (let attempt = 1;;) {
      const session = await this.#open();
      try {
        return work(session);
      } catch (error) {
        if (await waitForLock(error, start)) continue;
        if (attempt++ > 2 || !this.#recover(session, error, attempt)) {
          throw this.#failure(operation, error);
        }
      }
    }
  }

  /** Starts whatever may help after an error; false when nothing does. */
  #recover(session: Session, error: unknown, attempt: number): boolean {
    // Somebody else met the same error first.
    if (session !== this.#session) return true;
    const file = this.#file;
    if (file === undefined || this.#path === ":memory:") return false;
    if (file.isReplaced()) {
      this.#drop();
      return true;
    }
    const code = sqliteCode(error);
    const isMislabelled = code === SQLITE.readOnly && attempt > 2 &&
      file.isWritable();
    if (isDamage(error) || isMislabelled) {
      if (!session.database.own) return false;
      this.#reopen(() => file.moveAside(error)).catch(() => {});
      return true;
    }
    // The tables were dropped, the log was cut short, or the file was replaced in place.
    if (
      code === SQLITE.error || code === SQLITE.ioError ||
      code === SQLITE.readOnly || code === SQLITE.cannotOpen
    ) {
      this.#drop();
      return true;
    }
    return false;
  }

  #step(operation: string): RunStep {
    return (work) => this.#run(operation, work);
  }

  #failure(operation: string, error: unknown): Error {
    return error instanceof BackendError ? error : new BackendError(
      this.description,
      operation,
      error,
      this.#handle === undefined
        ? advise(error, this.#path)
        : "keep the database open and usable until the cache is closed",
    );
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
    if (this.#reads.length === 0) return;
    if (performance.now() > this.#turnEnds) {
      // Reads settle in microtasks: a loop of hits would keep timers and sockets waiting for ever.
      this.#hasRead = true;
      this.#track(
        nextTurn().then(() => {
          this.#turnEnds = performance.now() + SLICE_MS;
          this.#flushReads();
        }),
      );
      return;
    }
    const reads = this.#reads;
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
      const start = performance.now();
      const chunk = keys.slice(entries.length, entries.length + size);
      const read = await this.#run(
        "read",
        (session) => many(session, id, chunk),
      );
      for (const entry of read) {
        found?.(entries.length, entry);
        entries.push(entry);
      }
      if (entries.length === keys.length) break;
      if (performance.now() - start > SLICE_MS) size = Math.max(1, size >> 1);
      await nextTurn();
    }
    return entries;
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
    let done = 0;
    try {
      await this.#run("write", (session) => {
        done = 0;
        const start = performance.now();
        session.begin.run();
        try {
          for (const write of queue) {
            if (write.kind === "job") break;
            write.apply(session);
            done++;
            if (this.#singly > 0 || performance.now() - start > SLICE_MS) break;
          }
          session.commit.run();
        } catch (error) {
          rollBack(session.database.handle, session.words);
          throw error;
        }
      });
    } catch (error) {
      this.#fail(error, done);
      return;
    }
    this.#singly = Math.max(0, this.#singly - 1);
    for (const write of queue.splice(0, done)) {
      if (write.kind === "write") {
        this.#unchecked += write.bytes;
        write.resolve();
      }
    }
    await this.#cull();
  }

  /** Finds the write that is to blame for a failed transaction, so that its neighbours do not pay. */
  #fail(error: unknown, done: number): void {
    const queue = this.#queue;
    const cause = error instanceof BackendError ? error.cause : error;
    const isHopeless = this.#session === undefined || isBusy(cause);
    if (!isHopeless && done > 0) {
      this.#singly = done + 1;
      return;
    }
    const end = queue.findIndex((task) => task.kind === "job");
    const count = isHopeless ? (end < 0 ? queue.length : end) : 1;
    this.#singly = Math.max(0, this.#singly - 1);
    for (const write of queue.splice(0, count)) {
      if (write.kind !== "write") continue;
      write.reject(
        error instanceof BackendError && error.operation === "write"
          ? new BackendError(
            this.description,
            write.operation,
            error.cause,
            advise(error.cause, this.#path),
          )
          : error,
      );
    }
  }

  /** Keeps the file within its bound. */
  async #cull(): Promise<void> {
    const limit = this.#maxBytes;
    if (
      limit === Infinity ||
      this.#unchecked < Math.min(limit / 50, 4_194_304)
    ) return;
    this.#unchecked = 0;
    try {
      await cull(this.#step("delete"), limit);
    } catch (error) {
      // No call failed, so there is nobody else to tell.
      const failure = this.#failure("delete", error);
      for (const report of this.#reports) report(failure);
    }
  }
}

/** The path of a database, checked. */
function pathOf(action: string, database: unknown): string {
  const path = database instanceof URL && database.protocol === "file:"
    ? builtin("node:url")?.fileURLToPath(database) ?? database.pathname
    : database;
  // SQLite would take an empty path for a temporary database, and `file:` for a URI with options.
  if (
    typeof path !== "string" || path === "" || path.includes("\0") ||
    path.startsWith("file:")
  ) {
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

function utf8Length(text: string): number {
  return builtin("node:buffer")?.Buffer.byteLength(text) ??
    new TextEncoder().encode(text).byteLength;
}

function time(value: unknown): number | null {
  return value === null ? null : Number(value);
}

/** Reads entries of one id with one statement. */
function many(
  session: Session,
  id: string,
  keys: readonly string[],
): (StoredEntry | undefined)[] {
  const entries: (StoredEntry | undefined)[] = Array(keys.length).fill(
    undefined,
  );
  if (keys.length === 1) {
    const row = session.select.row(id, keys[0] ?? "");
    if (row !== undefined) entries[0] = entryOf(row);
    return entries;
  }
  for (const row of session.selectMany.rows(JSON.stringify(keys), id)) {
    entries[Number(row[7])] = entryOf(row);
  }
  return entries;
}

/** The entry of a row. */
function entryOf(row: Row): StoredEntry {
  const data = row[6];
  if (typeof data !== "string" && !(data instanceof Uint8Array)) {
    throw new TypeError("the stored value is neither text nor bytes");
  }
  return {
    data,
    format: String(row[0]),
    checksum: Number(row[1]) >>> 0,
    storedAt: Number(row[2]),
    expiresAt: time(row[3]),
    staleUntil: time(row[4]),
    durationMs: Number(row[5]),
  };
}

/** Options of {@linkcode SQLiteCache}. */
export interface SQLiteCacheOptions
  extends SQLiteBackendOptions, CacheOptions {}

/**
 * A cache in a SQLite database: for one machine, whose processes may share it.
 *
 * @example Results that outlive the process
 * ```ts
 * import { SQLiteCache } from "@panza/panza/sqlite";
 * import { assertEquals } from "@std/assert";
 *
 * await using cache = new SQLiteCache(".cache/example.db");
 * const double = cache.cache({ id: "double" })(
 *   async (n: number): Promise<number> => await Promise.resolve(2 * n),
 * );
 * assertEquals(await double(21), 42);
 * assertEquals((await double.readCache(21)).hit, true);
 * ```
 */
export class SQLiteCache extends Cache {
  /**
   * Opens nothing yet: the first call does.
   *
   * @param database A path, a `file:` URL, `":memory:"`, or an open database of `node:sqlite`,
   * `jsr:@db/sqlite` or `bun:sqlite`, which its owner closes.
   * @param options How large the file may become, and what every cache takes.
   * @throws {TypeError} If `database` is none of these, or an option is unknown or of the wrong
   * shape.
   * @throws {RangeError} If `maxBytes` is out of range.
   */
  constructor(
    database: string | URL | SQLiteHandle,
    options: SQLiteCacheOptions = {},
  ) {
    const [own, shared] = splitCacheOptions("open a cache", options, [
      "maxBytes",
    ]);
    super(new SQLiteBackend(database, own), shared);
  }
}
