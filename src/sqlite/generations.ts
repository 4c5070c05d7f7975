/**
 * The files of one database: its path, and the numbered ones beside it that take over from a
 * damaged file. No file is ever renamed, moved or deleted; the highest number is the one in use.
 *
 * @module
 */

import { BackendError, DamagedDatabaseError, PanzaError } from "../base/errors.ts";
import { realPath } from "../base/path.ts";
import { sleep } from "../base/turn.ts";
import type { Report } from "../backend/contract.ts";
import { advise, DamageError } from "./errors.ts";
import { driver, isLogless, type OpenDatabase, openFile, statOf } from "./file.ts";

/** The highest number of a file. */
const LAST = 9;
/** The delay before a second report of damage counts, in milliseconds. */
const AGAIN_MS = 1000;
/** The time after which a first report of damage no longer counts, in milliseconds. */
const FORGET_MS = 60_000;

/** A file that SQLite reported as damaged. */
interface Damage {
  readonly cause: unknown;
  readonly since: number;
  /** Its device and inode: size and times change beside a busy writer, and show nothing. */
  readonly identity: string;
}

/** The files of one path. */
export class Generations {
  readonly #path: string;
  readonly #description: string;
  readonly #report: Report;
  readonly #mayCreate: boolean;
  readonly #damages = new Map<number, Damage>();
  /** The least number to use: the file before it is left. */
  #least = 1;
  /** The number and the state of the file that is open. */
  #open = { number: 0, isFrozen: false, identity: "", state: "" };

  /**
   * @param path The path of the first file, or of a link to it.
   * @param report Gets a `DamagedDatabaseError` for each file that is left.
   * @param mayCreate Whether a missing file is made.
   */
  constructor(path: string, description: string, report: Report, mayCreate: boolean) {
    this.#path = path;
    this.#description = description;
    this.#report = report;
    this.#mayCreate = mayCreate;
  }

  /** Whether the file to use is not the open one, or has changed while frozen. */
  isStale(): boolean {
    const { number, isFrozen, identity, state } = this.#open;
    const file = this.#file(number);
    if (this.#highest() !== number || identityOf(file) !== identity) return true;
    return isFrozen && !(stateOf(file) === state && isLogless(file));
  }

  /**
   * Opens the file with the highest number, and makes the next one where that file is left.
   *
   * @throws {DamageError} If SQLite calls a file of ours damaged.
   * @throws {BackendError} If it cannot be opened, or is somebody else's.
   */
  async open(): Promise<OpenDatabase> {
    // Where there is no SQLite there may be no files either.
    driver(this.#description);
    let number = this.#number();
    for (; number <= LAST && isOrphaned(this.#file(number)); number++) {
      this.#note(number, new Error("the database is gone or empty, and its log is left"));
    }
    const file = this.#file(number);
    try {
      if (number > LAST) throw new Error(`${this.#file(LAST)} is damaged too`);
      const { since = -AGAIN_MS } = this.#damages.get(number) ?? {};
      // At most AGAIN_MS, whatever the clock says.
      const rest = Math.min(AGAIN_MS, since + AGAIN_MS - performance.now());
      if (rest > 0) await sleep(rest);
      this.#open = { number, isFrozen: false, identity: identityOf(file), state: stateOf(file) };
      const database = await openFile(file, number > 1, this.#description, this.#mayCreate);
      this.#open.isFrozen = database.isFrozen;
      this.#open.identity ||= identityOf(file);
      this.#least = 1;
      this.#tell(number, file);
      return database;
    } catch (error) {
      if (error instanceof DamageError) this.meet(error, performance.now());
      const left = this.#damages.get(number - 1)?.cause;
      if (!this.#mayCreate && left !== undefined) {
        const advice = "repair it, or let a process that stores results continue beside it";
        throw new BackendError(this.#description, "open", left, advice);
      }
      if (error instanceof DamageError || error instanceof PanzaError) throw error;
      const advice = advise(error, file) ?? `use another path, or repair or remove ${file}`;
      throw new BackendError(this.#description, "open", error, advice);
    }
  }

  /**
   * Records that SQLite called the file in use damaged. The file is left at a second such report,
   * from a connection that was opened a second later.
   *
   * @param cause The error of SQLite.
   * @param openedAt The time at which the connection was opened, by `performance.now()`.
   */
  meet(cause: unknown, openedAt: number): void {
    const { number } = this.#open;
    const known = this.#damages.get(number);
    if (known === undefined || performance.now() - known.since > FORGET_MS) {
      this.#note(number, cause);
    } else if (openedAt >= known.since + AGAIN_MS) this.#least = number + 1;
  }

  /** The real path of the first file. */
  get location(): string {
    return realPath(this.#path);
  }

  /** A text that changes when another attempt to open may succeed, as far as visible. */
  get state(): string {
    return stateOf(this.#file(this.#highest()));
  }

  /** The file in use, for messages. */
  get file(): string {
    return this.#file(this.#open.number);
  }

  /** The number of the file to open: the highest there is, or the next one. */
  #number(): number {
    const highest = this.#highest();
    // A file that was put in the place of a damaged one counts again.
    const isSame = this.#damages.get(highest)?.identity === identityOf(this.#file(highest));
    if (this.#least > highest && !isSame) this.#least = 1;
    return Math.max(highest, this.#least);
  }

  #highest(): number {
    let number = LAST;
    while (number > 1 && statOf(this.#file(number)) === undefined) number--;
    return number;
  }

  #file(number: number): string {
    return number > 1 ? `${this.location}.panza-${number}` : this.location;
  }

  #note(number: number, cause: unknown): void {
    const identity = identityOf(this.#file(number));
    this.#damages.set(number, { cause, since: performance.now(), identity });
  }

  /** Reports each damaged file, once another one has taken over. */
  #tell(number: number, file: string): void {
    for (const [left, { cause }] of this.#damages) {
      if (left >= number) continue;
      this.#damages.delete(left);
      this.#report(new DamagedDatabaseError(this.#file(left), file, cause));
    }
  }
}

/**
 * Whether a log is left whose database is gone, or emptied: SQLite would delete the log, which a
 * process that still has the old database open goes on using.
 */
function isOrphaned(file: string): boolean {
  // In this order: whoever makes the database now makes it before its companions, and writes to it
  // before it has a log.
  if (statOf(`${file}-wal`)?.size) return !statOf(file)?.size;
  const hasCompanion = ["-wal", "-shm", "-journal"].some((suffix) => statOf(file + suffix));
  return hasCompanion && statOf(file) === undefined;
}

/** The device and inode of the file at a path; empty for none. */
function identityOf(file: string): string {
  const stat = statOf(file);
  return stat === undefined ? "" : `${stat.dev}:${stat.ino}`;
}

/** A text that changes with the bytes or the mode of a file. */
function stateOf(file: string): string {
  const stat = statOf(file);
  return stat === undefined ? file : `${file}:${stat.dev}:${stat.ino}:${stat.size}:${stat.ctimeNs}`;
}
