/**
 * The connection of a SQLite backend: opened on first use, and again when that helps.
 *
 * @module
 */

import { BackendError, PanzaError } from "../base/errors.ts";
import type { SQLiteHandle } from "./driver.ts";
import { advise, DamageError, isDamage, SQLITE, sqliteCode } from "./errors.ts";
import { type OpenDatabase, openMemory } from "./file.ts";
import type { Generations } from "./generations.ts";
import { Session } from "./rows.ts";
import { migrate } from "./schema.ts";
import type { RunStep } from "./sweep.ts";
import { SAVEPOINT, TRANSACTION, waitForLock } from "./transaction.ts";

/** The interval between looks at the files, in milliseconds. */
const CHECK_MS = 250;
/** The shortest time for which a failed opening answers for the next ones, in milliseconds. */
const BACK_OFF_MS = 20;
/** The same as a multiple of the opening's duration, so that waiting for nothing is rare. */
const BACK_OFF_FACTOR = 30;
/** The most attempts at one operation; each damaged file takes two. */
const MOST_ATTEMPTS = 5;

/** A database that is opened on first use, and opened again when that helps. */
export class Connection {
  readonly #description: string;
  readonly #files: Generations | undefined;
  readonly #handle: SQLiteHandle | undefined;
  readonly #isBounded: boolean;
  /** The database, while it is open. */
  session: Session | undefined;
  #opening: Promise<Session> | undefined;
  #failed: { readonly error: unknown; readonly until: number; readonly state: unknown } | undefined;
  #checkAt = 0;

  /**
   * @param files The files, for a database at a path.
   * @param handle The open database, for one that was given; memory where neither is given.
   * @param isBounded Whether the file has a bound, and so must hold nothing else.
   */
  constructor(
    files: Generations | undefined,
    handle: SQLiteHandle | undefined,
    description: string,
    isBounded: boolean,
  ) {
    this.#files = files;
    this.#handle = handle;
    this.#description = description;
    this.#isBounded = isBounded;
  }

  /** The open database, unless its files must be looked at before it is used. */
  ready(): Session | undefined {
    return this.#files === undefined || performance.now() <= this.#checkAt
      ? this.session
      : undefined;
  }

  /** The open database; opened once, however many ask. */
  #open(): Promise<Session> {
    if (performance.now() > this.#checkAt) {
      if (this.session !== undefined && this.#files?.isStale()) this.#drop();
      this.#checkAt = performance.now() + CHECK_MS;
    }
    if (this.session !== undefined) return Promise.resolve(this.session);
    const failed = this.#failed;
    if (
      failed !== undefined && performance.now() < failed.until &&
      failed.state === this.#files?.state
    ) return Promise.reject(failed.error);
    return (this.#opening ??= this.#openOnce().finally(() => (this.#opening = undefined)));
  }

  async #openOnce(): Promise<Session> {
    const start = performance.now();
    try {
      this.session = await this.#openDatabase();
      this.#failed = undefined;
      return this.session;
    } catch (error) {
      const now = performance.now();
      const until = now + Math.max(BACK_OFF_MS, BACK_OFF_FACTOR * (now - start));
      this.#failed = { error, until, state: this.#files?.state };
      throw error;
    }
  }

  async #openDatabase(): Promise<Session> {
    const handle = this.#handle;
    if (handle !== undefined) {
      await migrate(handle, SAVEPOINT, this.#description);
      return new Session(
        { handle, isOurs: false, isFrozen: false, close: () => {} },
        SAVEPOINT,
      );
    }
    const database: OpenDatabase = await (this.#files?.open() ?? openMemory(this.#description));
    if (!database.isOurs && this.#isBounded) {
      database.close();
      throw new BackendError(
        this.#description,
        "open",
        "maxBytes is set and the file holds more than the cache",
        "give the cache a file of its own, or leave maxBytes out",
      );
    }
    return new Session(database, TRANSACTION);
  }

  /** Closes the database, to be opened again by the next use. */
  #drop(): void {
    const session = this.session;
    this.session = undefined;
    try {
      session?.database.close();
    } catch {
      // The database is damaged or gone; an error of closing it says nothing new.
    }
  }

  /**
   * Does work on the open database, as soon as no lock is in its way, and again on a new connection
   * when the file turns out to be damaged or gone.
   */
  async run<Result>(operation: string, work: (session: Session) => Result): Promise<Result> {
    const start = performance.now();
    // A delete must reach the file that others use since the last look.
    if (operation === "delete") this.#checkAt = 0;
    for (let attempt = 1;;) {
      let session: Session | undefined;
      try {
        session = await this.#open();
        return work(session);
      } catch (error) {
        if (session !== undefined && (await waitForLock(error, start))) continue;
        if (!this.#recover(session, error, attempt++)) throw this.failure(operation, error);
      }
    }
  }

  /** Starts a recovery from an error; false when nothing can help. */
  #recover(session: Session | undefined, error: unknown, attempt: number): boolean {
    const isDamaged = session === undefined
      ? error instanceof DamageError
      : session.isOurs && isDamage(error);
    if (this.#files !== undefined && isDamaged) {
      // Otherwise another operation has met the damage first.
      if (session !== undefined && session === this.session) {
        this.#files.meet(error, session.openedAt);
        this.#drop();
      }
      this.#failed = undefined;
      return attempt < MOST_ATTEMPTS;
    }
    if (session === undefined || attempt > 2) return false;
    if (session !== this.session) return true;
    const code = sqliteCode(error);
    // The tables were dropped or rolled back, the log was cut short, or the file was replaced in
    // place. A database in memory would be lost.
    const mayHelp = code === SQLITE.error ||
      code === SQLITE.ioError ||
      code === SQLITE.readOnly ||
      code === SQLITE.cannotOpen;
    if (!mayHelp || (this.#files ?? this.#handle) === undefined) return false;
    this.#drop();
    return true;
  }

  /** {@linkcode run} for the steps of a sweep. */
  step(operation: string): RunStep {
    return (work) => this.run(operation, work);
  }

  /** The error that a caller gets. */
  failure(operation: string, error: unknown): Error {
    return error instanceof PanzaError ? error : new BackendError(
      this.#description,
      operation,
      error,
      this.#handle === undefined
        ? advise(error, this.#files?.file ?? "")
        : "keep the database open and usable until the cache is closed",
    );
  }

  /** Closes the database once it is open or has failed to open. */
  async close(): Promise<void> {
    await this.#opening?.catch(() => {});
    const session = this.session;
    this.session = undefined;
    try {
      session?.database.close();
    } catch (error) {
      throw this.failure("close", error);
    }
  }
}
