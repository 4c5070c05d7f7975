/**
 * Keeps entries in the memory of this process, bounded by bytes; evicts the least recently used.
 *
 * @module
 */

import {
  type Backend,
  type EntryInfo,
  type Maybe,
  type NoteChange,
  RESERVED,
} from "../backend/contract.ts";
import type { StoredEntry } from "../encoding/entry.ts";
import { check, count } from "../base/check.ts";
import { CacheClosedError } from "../base/errors.ts";
import { Link, Ring } from "../base/ring.ts";
import { sleep } from "../base/turn.ts";

/** Options of {@linkcode MemoryBackend}. */
export interface MemoryBackendOptions {
  /**
   * The most bytes that the entries may take, ids, keys and bookkeeping included: a positive
   * integer, or `Infinity` for no bound. Unset is 268,435,456 (256 MiB).
   */
  readonly maxBytes?: number;
}

const DEFAULT_MAX_BYTES = 256 * 1024 * 1024;

/**
 * The memory of an entry beyond its data, id and key: the stored object with its numbers, the slot,
 * a cell in a hash table, the header of a byte array. Measured as growth of the heap per entry
 * (Deno 2.9, 50,000 to 200,000 entries): 200 to 220 bytes for text, 420 for bytes. The table of an
 * id takes some 200 bytes more, which matter for an id with a single entry.
 */
const OVERHEAD_BYTES = 512;

/**
 * The place of an entry in the order of use.
 *
 * Not `lru-cache`: the first npm package that a process imports costs 13 ms of start-up on Deno,
 * and `@panza/panza` would be that for everybody.
 */
class Slot extends Link {
  readonly id: string;
  readonly key: string;
  /** `undefined` once the entry is deleted or evicted. */
  entry: StoredEntry | undefined;
  /** The bytes that the entry counts towards the bound. */
  bytes = 0;

  constructor(id: string, key: string) {
    super();
    this.id = id;
    this.key = key;
  }
}

/**
 * Keeps entries in the memory of this process.
 *
 * @category Backends
 * @example Keep at most 64 MiB
 * ```ts
 * import { MemoryBackend } from "@panza/panza/memory";
 * import { assertEquals } from "@std/assert";
 *
 * const backend = new MemoryBackend({ maxBytes: 64 * 1024 * 1024 });
 * assertEquals(await backend.get("summarize", "3f2a"), undefined);
 * await backend.close();
 * ```
 */
export class MemoryBackend implements Backend {
  /** The name of this backend in messages. */
  readonly description = "memory";
  readonly #maxBytes: number;
  /** All slots, the least recently used first. */
  readonly #used = new Ring<Slot>();
  readonly #slots = new Map<string, Map<string, Slot>>();
  readonly #notes = new Map<string, Map<string, string>>();
  /** Called at the next change. */
  readonly #waiting = new Set<() => void>();
  #bytes = 0;
  #closed = false;

  /**
   * Creates an empty backend.
   *
   * @param options The bound.
   * @throws {TypeError} If an option is unknown, or `maxBytes` is not a number.
   * @throws {RangeError} If `maxBytes` is neither a positive integer nor `Infinity`.
   */
  constructor(options: MemoryBackendOptions = {}) {
    const { maxBytes = DEFAULT_MAX_BYTES } = check("open a cache", options, {
      maxBytes: count({ infinity: true }),
    });
    this.#maxBytes = maxBytes;
  }

  /** Does nothing: memory never reports, because every failure rejects its own call. */
  connect(): void {}

  /**
   * Reads one entry and marks it as used.
   *
   * @param id The id of the function, `""` for a direct key.
   * @param key The key.
   * @returns The entry, at once; `undefined` if there is none.
   * @throws {CacheClosedError} After `close()`, at once.
   */
  get(id: string, key: string): Maybe<StoredEntry | undefined> {
    this.#refuseWhenClosed();
    return this.#read(this.#slots.get(id), key);
  }

  /**
   * Reads several entries of one id and marks them as used.
   *
   * @param id The id of the function, `""` for direct keys.
   * @param keys The keys, in any order; duplicates are answered each.
   * @returns The entries, at once, in the order of the keys; `undefined` where there is none.
   * @throws {CacheClosedError} After `close()`, at once.
   */
  getMany(id: string, keys: readonly string[]): Maybe<(StoredEntry | undefined)[]> {
    this.#refuseWhenClosed();
    const slots = this.#slots.get(id);
    return keys.map((key) => this.#read(slots, key));
  }

  /**
   * Stores an entry. An entry that alone is larger than `maxBytes` is not kept, and the older entry
   * of its key is deleted.
   *
   * @param id The id of the function, `""` for a direct key.
   * @param key The key.
   * @param entry The entry; its bytes are copied.
   * @throws {CacheClosedError} After `close()`.
   */
  set(id: string, key: string, entry: StoredEntry): Promise<void> {
    return this.#change(() => {
      const bytes = sizeInMemory(id, key, entry.data);
      if (bytes > this.#maxBytes) return this.#drop(this.#slots.get(id)?.get(key));
      const slot = this.#slots.get(id)?.get(key) ?? this.#add(id, key);
      // Frozen, so that a hit can return the stored object itself.
      slot.entry = Object.freeze(copy(entry));
      this.#bytes += bytes - slot.bytes;
      slot.bytes = bytes;
      this.#used.add(slot);
      while (this.#bytes > this.#maxBytes) this.#drop(this.#used.first);
    });
  }

  /**
   * Deletes one entry, if it is there.
   *
   * @param id The id of the function, `""` for a direct key.
   * @param key The key.
   * @throws {CacheClosedError} After `close()`.
   */
  delete(id: string, key: string): Promise<void> {
    return this.#change(() => {
      this.#note(id, key, undefined);
      this.#drop(this.#slots.get(id)?.get(key));
    });
  }

  /**
   * Deletes every entry of one id.
   *
   * @param id The id of the function, `""` for direct keys.
   * @throws {CacheClosedError} After `close()`.
   */
  deleteId(id: string): Promise<void> {
    return this.#change(() => {
      this.#notes.delete(id);
      for (const slot of this.#slots.get(id)?.values() ?? []) this.#drop(slot);
    });
  }

  /**
   * Deletes every entry.
   *
   * @throws {CacheClosedError} After `close()`.
   */
  clear(): Promise<void> {
    return this.#change(() => {
      for (const id of this.#notes.keys()) if (!id.startsWith(RESERVED)) this.#notes.delete(id);
      this.#dropAll();
    });
  }

  /**
   * Replaces a note; its clock is that of this process.
   *
   * @param id The id that it belongs to.
   * @param key The key.
   * @param change Makes the new note from the current one; without it, the note is only read.
   * @returns The note that is stored afterwards.
   * @throws {CacheClosedError} After `close()`.
   */
  async update(id: string, key: string, change?: NoteChange): Promise<string | undefined> {
    this.#refuseWhenClosed();
    const before = this.#notes.get(id)?.get(key);
    const note = change === undefined ? before : change(before, Date.now());
    return note === before ? note : await this.#change(() => this.#note(id, key, note));
  }

  /**
   * Stores an entry in exchange for its note.
   *
   * @param id The id that both belong to.
   * @param key The key.
   * @param note The note that must be there, and is deleted.
   * @param entry The entry; its bytes are copied.
   * @returns Whether the note was there; otherwise nothing is stored.
   * @throws {CacheClosedError} After `close()`.
   */
  async exchange(id: string, key: string, note: string, entry: StoredEntry): Promise<boolean> {
    if (this.#notes.get(id)?.get(key) !== note) {
      this.#refuseWhenClosed();
      return false;
    }
    this.#note(id, key, undefined);
    await this.set(id, key, entry);
    return true;
  }

  /**
   * Waits for the next change.
   *
   * @param ms The longest wait, in milliseconds.
   * @throws {CacheClosedError} After `close()`.
   */
  async changed(ms: number): Promise<void> {
    this.#refuseWhenClosed();
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#waiting.add(resolve);
    await Promise.race([promise, sleep(ms)]);
    this.#waiting.delete(resolve);
  }

  /**
   * Lists the entries that are stored when the listing begins and still there when it reaches
   * them; it marks none as used.
   *
   * @param id The id whose entries to list; all when it is left out.
   * @returns The entries, in no particular order.
   * @throws {CacheClosedError} After `close()`, at the first or next entry.
   */
  async *entries(id?: string): AsyncGenerator<EntryInfo, void, void> {
    this.#refuseWhenClosed();
    const groups = id === undefined
      ? [...this.#slots.values()]
      : [this.#slots.get(id) ?? new Map<string, Slot>()];
    // A listing of the live maps would never end for a caller who adds entries while reading it.
    for (const slot of groups.flatMap((group) => [...group.values()])) {
      this.#refuseWhenClosed();
      if (slot.entry === undefined) continue;
      const { data, storedAt, expiresAt, staleUntil, durationMs } = slot.entry;
      const size = typeof data === "string"
        ? new TextEncoder().encode(data).byteLength
        : data.byteLength;
      yield { id: slot.id, key: slot.key, size, storedAt, expiresAt, staleUntil, durationMs };
    }
  }

  /** Deletes everything; can be called again. */
  close(): Promise<void> {
    this.#closed = true;
    this.#notes.clear();
    this.#dropAll();
    this.#wake();
    return Promise.resolve();
  }

  #refuseWhenClosed(): void {
    if (this.#closed) throw new CacheClosedError();
  }

  /** Makes a change at once; returns a promise, as the contract asks. */
  #change<Result>(make: () => Result): Promise<Result> {
    if (this.#closed) return Promise.reject(new CacheClosedError());
    const result = make();
    if (this.#waiting.size > 0) this.#wake();
    return Promise.resolve(result);
  }

  #wake(): void {
    for (const resolve of this.#waiting) resolve();
    this.#waiting.clear();
  }

  #note(id: string, key: string, note: string | undefined): string | undefined {
    const notes = this.#notes.get(id);
    if (note === undefined) {
      if (notes?.delete(key) && notes.size === 0) this.#notes.delete(id);
    } else if (notes === undefined) this.#notes.set(id, new Map([[key, note]]));
    else notes.set(key, note);
    return note;
  }

  #read(slots: Map<string, Slot> | undefined, key: string): StoredEntry | undefined {
    const slot = slots?.get(key);
    if (slot === undefined) return undefined;
    this.#used.add(slot);
    const { entry } = slot;
    return entry === undefined || typeof entry.data === "string" ? entry : copy(entry);
  }

  #add(id: string, key: string): Slot {
    const slot = new Slot(id, key);
    const slots = this.#slots.get(id);
    if (slots === undefined) this.#slots.set(id, new Map([[key, slot]]));
    else slots.set(key, slot);
    return slot;
  }

  #drop(slot: Slot | undefined): void {
    if (slot === undefined) return;
    slot.leave();
    slot.entry = undefined;
    this.#bytes -= slot.bytes;
    const slots = this.#slots.get(slot.id);
    slots?.delete(slot.key);
    if (slots?.size === 0) this.#slots.delete(slot.id);
  }

  #dropAll(): void {
    // A listing that is being read may hold these slots.
    for (const slot of this.#used) {
      slot.entry = undefined;
      slot.leave();
    }
    this.#slots.clear();
    this.#bytes = 0;
  }
}

/** A copy of an entry and its bytes; not by `slice`, which shares memory in Node's `Buffer`. */
function copy(entry: StoredEntry): StoredEntry {
  const { data, format, checksum, storedAt, expiresAt, staleUntil } = entry;
  return {
    data: typeof data === "string" ? data : new Uint8Array(data),
    format,
    checksum,
    storedAt,
    expiresAt,
    staleUntil,
    durationMs: entry.durationMs,
  };
}

/** The bytes that an entry takes at most: engines keep a UTF-16 unit in one byte or in two. */
function sizeInMemory(id: string, key: string, data: string | Uint8Array): number {
  const dataBytes = typeof data === "string" ? data.length * 2 : data.byteLength;
  return dataBytes + (id.length + key.length) * 2 + OVERHEAD_BYTES;
}
