/**
 * Stored entries as results: looked up, checked, decoded, guarded; one or many.
 *
 * @module
 */

import { BackendError, DamagedEntryError } from "../base/errors.ts";
import {
  NoProgressError,
  PATIENCE,
  patiently,
  type Progress,
  waitPatiently,
} from "../base/patience.ts";
import type { StandardSchema } from "../base/schema.ts";
import type { Backend, Maybe } from "../backend/contract.ts";
import { decode, type Encoded } from "../encoding/codec.ts";
import { isForeign, open, type StoredEntry } from "../encoding/entry.ts";
import { bytesOf } from "../encoding/size.ts";
import type { CheckedOptions } from "./options.ts";
import { type Found, Owned } from "./owned.ts";
import type { CacheState, FunctionState } from "./state.ts";

/** Reads the results of one function. */
export class Reader {
  readonly #state: CacheState;
  readonly #own: FunctionState;
  readonly #options: CheckedOptions;
  /** Makes a new value for a caller from an encoded result. */
  readonly restore: (encoded: Encoded) => Maybe<unknown>;

  constructor(state: CacheState, own: FunctionState, options: CheckedOptions) {
    this.#state = state;
    this.#own = own;
    this.#options = options;
    this.restore = (encoded) => this.#guard(this.#decode(decode(encoded)));
  }

  /** Looks up one key; an error is reported and is a miss. */
  find(key: string, born: number, progress?: Progress): Maybe<Found | undefined> {
    const { backend, readPause } = this.#state;
    if (readPause.isOn) return undefined;
    try {
      const entry = backend.get(this.#own.name, key);
      return entry instanceof Promise
        ? this.#findLater(key, born, entry, progress)
        : this.accept(key, entry, born);
    } catch (error) {
      return this.#missed(key, error);
    }
  }

  #findLater(
    key: string,
    born: number,
    pending: Promise<StoredEntry | undefined>,
    progress: Progress | undefined,
  ): Promise<Found | undefined> {
    return new Promise((resolve) => {
      const answered = (entry: StoredEntry | undefined): void => {
        this.#state.readPause.end();
        resolve(this.accept(key, entry, born));
      };
      const failed = (error: unknown): void => resolve(this.#missed(key, error));
      waitPatiently(pending, PATIENCE.callMs, progress, answered, failed);
    });
  }

  /** Looks up many keys at once; after an error, all of them are misses. */
  findMany(
    keys: readonly string[],
    born: number,
    signal: AbortSignal | undefined,
  ): Maybe<readonly Maybe<Found | undefined>[]> {
    if (keys.length === 0 || this.#state.readPause.isOn) return [];
    const accept = (entries: readonly (StoredEntry | undefined)[]) =>
      keys.map((key, index) => this.accept(key, entries[index], born, true));
    // Reports errors of the store. An abort is none; damage belongs to one entry, and the call that
    // looks again reports it.
    const fail = (error: unknown): readonly undefined[] => {
      const isReported = signal?.aborted !== true && !(error instanceof DamagedEntryError);
      if (isReported) this.#missed(undefined, error);
      return [];
    };
    try {
      const entries = this.#state.backend.getMany(this.#own.name, keys, signal);
      if (!(entries instanceof Promise)) return accept(entries);
      return patiently(entries, PATIENCE.callMs, this.#own.scope).then(accept).catch(fail);
    } catch (error) {
      return fail(error);
    }
  }

  #missed(key: string | undefined, error: unknown): undefined {
    if (error instanceof NoProgressError) this.#state.readPause.begin();
    if (this.#state.isClosed) return;
    const isDamage = error instanceof DamagedEntryError;
    const known = this.#state.wrap("read", error);
    this.#state.report(known, isDamage ? "damaged" : "read", this.#own, key);
  }

  /**
   * Checks and decodes an entry; `undefined` when it does not count.
   *
   * @param isSilent Whether reporting damage is left to a call that looks again.
   */
  accept(
    key: string,
    entry: StoredEntry | undefined,
    born: number,
    isSilent = false,
  ): Maybe<Found | undefined> {
    if (entry === undefined) return undefined;
    const own = this.#own;
    let value: unknown;
    try {
      value = this.#decode(open(own.name, key, entry));
    } catch (cause) {
      const error = cause instanceof DamagedEntryError
        ? cause
        : new DamagedEntryError("it is not an entry", own.id, key, { cause });
      if (mustStay(entry)) own.kept.add(key);
      if (!isSilent) this.#state.report(error, "damaged", own, key);
      return undefined;
    }
    if (own.kept.size > 0) own.kept.delete(key);
    if (!own.trusts(key)) return undefined;
    own.counters.bytesRead += bytesOf(entry.data);
    if (this.#options.schema === undefined) {
      return { entry, owned: new Owned(value, entry, this.restore), born };
    }
    return this.#acceptGuarded(key, entry, value, born);
  }

  async #acceptGuarded(
    key: string,
    entry: StoredEntry,
    value: unknown,
    born: number,
  ): Promise<Found | undefined> {
    try {
      const result = await this.#options.schema!["~standard"].validate(value);
      if (result.issues !== undefined) return undefined;
      return { entry, owned: new Owned(result.value, entry, this.restore), born };
    } catch (error) {
      this.#state.report(error, "refused", this.#own, key);
      return undefined;
    }
  }

  #decode(stored: unknown): unknown {
    const { codec } = this.#options;
    return codec === undefined ? stored : codec.decode(stored);
  }

  #guard(value: unknown): Maybe<unknown> {
    const { schema } = this.#options;
    return schema === undefined ? value : guarded(schema, value);
  }

  /** The end of freshness: the entry's own, or that by the function's current `ttl` if earlier. */
  freshUntil({ storedAt, expiresAt }: StoredEntry): number {
    return Math.min(expiresAt ?? Infinity, storedAt + this.#options.ttl);
  }

  /** The status to serve a found result with; `undefined` when the function has to run. */
  statusOf(found: Found): "hit" | "stale" | undefined {
    const end = this.freshUntil(found.entry);
    // Without reading the clock, which costs as much as a step of a hit.
    if (end === Infinity || this.#state.switches.cacheOnly) return "hit";
    const now = Date.now();
    if (now < end) return "hit";
    return now < end + this.#options.staleWhileRevalidate ? "stale" : undefined;
  }

  /** Whether a result may stand in for a run that failed. */
  isFallback(found: Found): boolean {
    return Date.now() < this.freshUntil(found.entry) + this.#options.staleIfError;
  }
}

/** The schema's output for a value that it has accepted before. */
async function guarded(schema: StandardSchema, value: unknown): Promise<unknown> {
  const result = await schema["~standard"].validate(value);
  return result.issues === undefined ? result.value : value;
}

/** Whether an entry must not be replaced: a newer format, or encrypted. */
function mustStay(entry: StoredEntry): boolean {
  try {
    return isForeign(entry);
  } catch {
    // The backend returned something other than an entry.
    return false;
  }
}

/**
 * Refuses to replace what must stay by a plain value.
 *
 * @throws {BackendError} If the entry under the key must stay, or cannot be looked up.
 */
export async function assertReplaceable(backend: Backend, id: string, key: string): Promise<void> {
  let entry: StoredEntry | undefined;
  try {
    entry = await backend.get(id, key);
  } catch (error) {
    if (!(error instanceof DamagedEntryError)) throw error;
  }
  if (entry === undefined || !mustStay(entry)) return;
  throw new BackendError(
    backend.description,
    "write",
    new Error("the key holds a value that is encrypted or of a newer version"),
    "open the cache with encrypt, or with that version, or delete the key first",
  );
}
