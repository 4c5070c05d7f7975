/**
 * One of several tiers, with its outages and the marks of its entries.
 *
 * @module
 */

import { BackendError, type DamagedEntryError } from "../base/errors.ts";
import { NoProgressError, PATIENCE, patiently, type Progress } from "../base/patience.ts";
import { Pause } from "../base/pause.ts";
import type { Backend, Maybe } from "../backend/contract.ts";
import { isIntact, seal, type StoredEntry } from "../encoding/entry.ts";
import { Marks, MAX_MARKS } from "./marks.ts";

/** A tier's answer for one entry: an error when it failed, or reports the entry as damaged. */
export type Answer = StoredEntry | Error | undefined;

/** The listener for a tier's errors and its recovery. */
export interface TierListener {
  readonly report: (error: Error) => void;
  /** Called when the tier answers again. */
  readonly recovered: (tier: Tier) => void;
}

/** A period in which a tier fails to read, or to write. */
class Outage {
  /** The first error; `undefined` when there is no outage. */
  error: Error | undefined;
  readonly pause = new Pause();
  /** Whether an operation is testing if the outage is over. */
  isProbed = false;
}

/** Options of one operation on a tier. */
interface Asking {
  /** Whether to ask a tier that failed a moment ago. */
  readonly isForced?: boolean;
  /** A signal whose abort does not count as a failure of the tier. */
  readonly signal?: AbortSignal | undefined;
  /** The note that must be there for a write. */
  readonly note?: string | undefined;
  /** The longest time without progress, in milliseconds; 10 s when unset. */
  readonly limitMs?: number;
}

/** A backend among others. */
export class Tier implements Progress {
  readonly backend: Backend;
  /** Whether another tier is behind it. */
  readonly isInner: boolean;
  readonly marks: Marks;
  progressAt = 0;
  /** Settles when the tier has been brought the writes that it missed. */
  bringing: Promise<void> | undefined;
  readonly #innerTtl: number;
  readonly #listener: TierListener;
  readonly #outages = { read: new Outage(), write: new Outage() };
  #hasReportedKind = false;

  /**
   * @param backend The backend.
   * @param isInner Whether another tier is behind it.
   * @param innerTtl The time after which what an inner tier is given expires, in milliseconds.
   * @param listener Its listener.
   */
  constructor(backend: Backend, isInner: boolean, innerTtl: number, listener: TierListener) {
    this.backend = backend;
    this.isInner = isInner;
    this.#innerTtl = isInner ? innerTtl : Infinity;
    this.#listener = listener;
    this.marks = new Marks(() => {
      const cause = new Error(`it missed more than ${MAX_MARKS} changes`);
      const advice = "this process reads from it only what it stores from now on";
      listener.report(new BackendError(backend.description, "write", cause, advice));
    });
  }

  /** Whether it takes changes, as far as is known. */
  get takesWrites(): boolean {
    return this.#outages.write.error === undefined;
  }

  /** Whether it failed to write, and long enough ago for another attempt. */
  get #mayTakeWrites(): boolean {
    const { error, pause } = this.#outages.write;
    return error !== undefined && !pause.isOn;
  }

  /** Reads entries of one id: one answer for each key, in their order. Rejects after an abort. */
  read(
    id: string,
    keys: readonly string[],
    isMany: boolean,
    asking: Asking = {},
  ): Maybe<readonly Answer[]> {
    const { backend } = this;
    const { signal } = asking;
    const work = () =>
      isMany
        ? after(
          backend.getMany(id, keys, signal),
          (found) => keys.map((_, index) => this.#checked(found[index])),
        )
        : after(backend.get(id, keys[0]!, signal), (found) => [this.#checked(found)]);
    const finish = (answers: readonly Answer[] | Error): Maybe<readonly Answer[]> => {
      if (!(answers instanceof Error)) return answers;
      if (!isMany || !isDamage(answers)) return keys.map(() => answers);
      // Damage concerns one entry, and the others count.
      const each = keys.map(async (key) => await this.read(id, [key], false, asking));
      return Promise.all(each).then((answers) => answers.flat());
    };
    return after(this.#ask("read", "read", work, asking), finish);
  }

  /** Stores an entry; returns the error of a failure, `false` if the note is another one. */
  async write(
    id: string,
    key: string,
    entry: StoredEntry,
    asking: Asking = {},
  ): Promise<Error | false | undefined> {
    const { note } = asking;
    const { backend } = this;
    const copy = this.#copyOf(id, key, entry);
    let storing: Promise<void | boolean> | undefined;
    const work = (): Promise<void | boolean> =>
      storing = note === undefined
        ? backend.set(id, key, copy)
        : backend.exchange?.(id, key, note, copy) ?? Promise.resolve(false);
    const result = await this.#ask("write", "write", work, asking);
    if (result === false) return false;
    const error = result instanceof Error ? result : undefined;
    if (error === undefined) this.marks.changed(id, key);
    else if (error.cause instanceof NoProgressError) {
      // The write may still arrive, on top of a later change.
      storing?.then(() => this.marks.missedWrite(id, key, entry), () => {});
    }
    return error;
  }

  /** The entry as this tier keeps it: in an inner tier it expires after `innerTtl` at the latest. */
  #copyOf(id: string, key: string, entry: StoredEntry): StoredEntry {
    if (this.#innerTtl === Infinity) return entry;
    const expiresAt = Date.now() + this.#innerTtl;
    // A new checksum would hide damage.
    const isEarlier = expiresAt < (entry.expiresAt ?? Infinity) && isIntact(id, key, entry);
    return isEarlier ? seal(id, key, entry, { ...entry, expiresAt }) : entry;
  }

  /** Deletes entries, even a moment after a failure; returns the error of a failure. */
  async delete(work: (backend: Backend) => Promise<void>): Promise<Error | undefined> {
    const asking = { isForced: true, limitMs: PATIENCE.changeMs };
    return await this.#ask("write", "delete", () => work(this.backend), asking) ?? undefined;
  }

  /** An error that names this tier. */
  named(operation: string, cause: unknown): BackendError {
    return cause instanceof BackendError
      ? cause
      : new BackendError(this.backend.description, operation, cause);
  }

  /** Takes an answer that is neither an entry nor `undefined` for a miss; the first is reported. */
  #checked(answer: StoredEntry | undefined): StoredEntry | undefined {
    if (answer === undefined || (typeof answer === "object" && answer !== null)) return answer;
    if (!this.#hasReportedKind) {
      this.#hasReportedKind = true;
      const cause = new TypeError(`it must answer an entry or undefined, not ${String(answer)}`);
      this.#listener.report(this.named("read", cause));
    }
    return undefined;
  }

  /** Asks the backend, unless it failed a moment ago; returns the error of a failure. */
  #ask<Value>(
    direction: "read" | "write",
    operation: string,
    work: () => Maybe<Value>,
    { isForced = false, signal, limitMs = PATIENCE.callMs }: Asking,
  ): Maybe<Value | Error> {
    const outage = this.#outages[direction];
    const during = outage.error;
    if (during !== undefined && !isForced) {
      // One operation tests whether the outage is over; the others are spared the wait.
      if (outage.pause.isOn || outage.isProbed) return during;
      outage.isProbed = true;
    }
    const succeed = (value: Value): Value => {
      if (during !== undefined) this.#end(outage, during);
      else if (direction === "read" && this.#mayTakeWrites) this.#listener.recovered(this);
      return value;
    };
    const fail = (cause: unknown): Maybe<Error> => {
      if (isDamage(cause)) {
        if (during !== undefined) this.#end(outage, during);
        return cause;
      }
      if (during !== undefined) outage.isProbed = false;
      if (signal?.aborted === true) return Promise.reject(cause);
      const error = this.named(operation, cause);
      if (outage.error === undefined) {
        outage.error = error;
        this.#listener.report(error);
      }
      outage.pause.begin();
      return error;
    };
    try {
      const answer = work();
      if (!(answer instanceof Promise)) return succeed(answer);
      return patiently(answer, limitMs, this).then(succeed, fail);
    } catch (cause) {
      return fail(cause);
    }
  }

  /** Ends an outage; an operation that began before it proves nothing. */
  #end(outage: Outage, during: Error): void {
    outage.isProbed = false;
    if (outage.error !== during) return;
    outage.error = undefined;
    outage.pause.end();
    this.#listener.recovered(this);
  }
}

/** Goes on with a value at once, and with a promise when it resolves. */
export function after<Value, Result>(
  value: Maybe<Value>,
  goOn: (value: Value) => Maybe<Result>,
): Maybe<Result> {
  return value instanceof Promise ? value.then(goOn) : goOn(value);
}

/** Whether an error, perhaps from another copy of the library, reports a damaged entry. */
export function isDamage(error: unknown): error is DamagedEntryError {
  return error instanceof Error && error.name === "DamagedEntryError";
}

/** An entry whose bytes nobody else changes. */
export function ownBytes(entry: StoredEntry): StoredEntry {
  const { data } = entry;
  return typeof data === "string" ? entry : { ...entry, data: new Uint8Array(data) };
}
