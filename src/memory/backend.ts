/**
 * A cache in the memory of this process, bounded by bytes: the least recently used goes first.
 *
 * @module
 */

import type { Backend, EntryInfo } from "../backend/contract.ts";
import type { StoredEntry } from "../encoding/entry.ts";
import { CacheClosedError, optionMessage, refuseUnknownOptions } from "../base/errors.ts";

/** Options of {@linkcode MemoryBackend}. */
export interface MemoryOptions {
  /**
   * How many bytes the entries may take, ids, keys and bookkeeping included: a positive integer,
   * or `Infinity` for no bound. Unset is 268,435,456 (256 MiB).
   */
  readonly maxBytes?: number;
}

const DEFAULT_MAX_BYTES = 256 * 1024 * 1024;

/**
 * What an entry takes beyond its data, id and key: the stored object with its numbers, the slot, a
 * cell in a hash table, the header of a byte array. Measured as growth of the heap per entry (Deno
 * 2.9, 50,000 to 200,000 entries): 200 to 220 bytes for text, 420 for bytes; an id with a single
 * entry has a table of its own, some 200 bytes more.
 */
const OVERHEAD_BYTES = 512;

/**
 * An entry in its place, and its neighbours in the order of use. They make a ring, closed by a slot
 * that holds nothing: after it comes what was used least recently, before it what was used last.
 *
 * Not `lru-cache`: the first npm package that a process imports costs 13 ms of start-up on Deno,
 * and `@panza/panza` would be that for everybody.
 */
class Slot {
  readonly id: string;
  readonly key: string;
  /** `undefined` once it is dropped. */
  entry: StoredEntry | undefined;
  /** How many bytes it counts for. */
  bytes = 0;
  older: Slot = this;
  newer: Slot = this;

  constructor(id: string, key: string) {
    this.id = id;
    this.key = key;
  }

  /** Leaves the ring, which closes behind it. */
  leave(): void {
    this.older.newer = this.newer;
    this.newer.older = this.older;
  }
}

/**
 * Keeps entries in the memory of this process.
 *
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
  /** What it is, for messages. */
  readonly description = "memory";
  readonly #maxBytes: number;
  /** Closes the ring of the slots. */
  readonly #end = new Slot("", "");
  readonly #slots = new Map<string, Map<string, Slot>>();
  #bytes = 0;
  #closed = false;

  /**
   * Creates an empty one.
   *
   * @param options How much to keep.
   * @throws {TypeError} If an option does not exist, or `maxBytes` is not a number.
   * @throws {RangeError} If `maxBytes` is neither a positive integer nor `Infinity`.
   */
  constructor(options: MemoryOptions = {}) {
    const action = "create the memory backend";
    refuseUnknownOptions(action, options, ["maxBytes"]);
    const { maxBytes = DEFAULT_MAX_BYTES } = options;
    const rule = "a positive integer (bytes) or Infinity";
    if (typeof maxBytes !== "number") {
      throw new TypeError(optionMessage(action, "maxBytes", rule, maxBytes));
    }
    if (maxBytes !== Infinity && !(Number.isSafeInteger(maxBytes) && maxBytes > 0)) {
      throw new RangeError(optionMessage(action, "maxBytes", rule, maxBytes));
    }
    this.#maxBytes = maxBytes;
  }

  /** Nothing ever goes wrong here that fails no operation: there is nothing to report. */
  connect(): void {}

  /**
   * Reads one entry and marks it as used.
   *
   * @param id The id of the function, `""` for a direct key.
   * @param key The key.
   * @returns The entry, `undefined` if there is none.
   * @throws {CacheClosedError} After `close()`.
   */
  get(id: string, key: string): Promise<StoredEntry | undefined> {
    if (this.#closed) return Promise.reject(new CacheClosedError());
    return Promise.resolve(this.#read(this.#slots.get(id), key));
  }

  /**
   * Reads several entries of one id and marks them as used.
   *
   * @param id The id of the function, `""` for direct keys.
   * @param keys The keys, in any order; duplicates are answered each.
   * @returns The entries in the order of the keys, `undefined` where there is none.
   * @throws {CacheClosedError} After `close()`.
   */
  getMany(id: string, keys: readonly string[]): Promise<(StoredEntry | undefined)[]> {
    if (this.#closed) return Promise.reject(new CacheClosedError());
    const slots = this.#slots.get(id);
    return Promise.resolve(keys.map((key) => this.#read(slots, key)));
  }

  /**
   * Stores an entry. One that is larger than `maxBytes` alone is not kept, and what was stored
   * under its key goes.
   *
   * @param id The id of the function, `""` for a direct key.
   * @param key The key.
   * @param entry The entry; its bytes are copied.
   * @throws {CacheClosedError} After `close()`.
   */
  set(id: string, key: string, entry: StoredEntry): Promise<void> {
    if (this.#closed) return Promise.reject(new CacheClosedError());
    const bytes = sizeInMemory(id, key, entry.data);
    if (bytes > this.#maxBytes) return this.delete(id, key);
    const slot = this.#slots.get(id)?.get(key) ?? this.#add(id, key);
    // Frozen, so that a hit can return the stored object itself.
    slot.entry = Object.freeze(copy(entry));
    this.#bytes += bytes - slot.bytes;
    slot.bytes = bytes;
    this.#use(slot);
    while (this.#bytes > this.#maxBytes) this.#drop(this.#end.newer);
    return Promise.resolve();
  }

  /**
   * Removes one entry, if it is there.
   *
   * @param id The id of the function, `""` for a direct key.
   * @param key The key.
   * @throws {CacheClosedError} After `close()`.
   */
  delete(id: string, key: string): Promise<void> {
    if (this.#closed) return Promise.reject(new CacheClosedError());
    const slot = this.#slots.get(id)?.get(key);
    if (slot !== undefined) this.#drop(slot);
    return Promise.resolve();
  }

  /**
   * Removes every entry of one id.
   *
   * @param id The id of the function, `""` for direct keys.
   * @throws {CacheClosedError} After `close()`.
   */
  deleteId(id: string): Promise<void> {
    if (this.#closed) return Promise.reject(new CacheClosedError());
    for (const slot of this.#slots.get(id)?.values() ?? []) {
      this.#drop(slot);
    }
    return Promise.resolve();
  }

  /**
   * Removes every entry.
   *
   * @throws {CacheClosedError} After `close()`.
   */
  clear(): Promise<void> {
    if (this.#closed) return Promise.reject(new CacheClosedError());
    this.#dropAll();
    return Promise.resolve();
  }

  /**
   * Lists the entries that are stored when the listing begins and still there when it reaches
   * them; it marks none as used.
   *
   * @param id The id whose entries to list; all when it is left out.
   * @returns What is stored, in no particular order.
   * @throws {CacheClosedError} After `close()`, at the first or next entry.
   */
  async *entries(id?: string): AsyncGenerator<EntryInfo, void, void> {
    if (this.#closed) throw new CacheClosedError();
    const groups = id === undefined
      ? [...this.#slots.values()]
      : [this.#slots.get(id) ?? new Map<string, Slot>()];
    // A listing of the live maps would never end for a caller who adds entries while reading it.
    for (const slot of groups.flatMap((group) => [...group.values()])) {
      if (this.#closed) throw new CacheClosedError();
      if (slot.entry === undefined) continue;
      const { data, storedAt, expiresAt, staleUntil } = slot.entry;
      const size = typeof data === "string"
        ? new TextEncoder().encode(data).byteLength
        : data.byteLength;
      yield {
        id: slot.id,
        key: slot.key,
        size,
        storedAt,
        expiresAt,
        staleUntil,
      };
    }
  }

  /** Forgets everything; can be called again. */
  close(): Promise<void> {
    this.#closed = true;
    this.#dropAll();
    return Promise.resolve();
  }

  #read(slots: Map<string, Slot> | undefined, key: string): StoredEntry | undefined {
    const slot = slots?.get(key);
    if (slot === undefined) return undefined;
    this.#use(slot);
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

  /** Makes a slot the one that was used last. */
  #use(slot: Slot): void {
    slot.leave();
    slot.older = this.#end.older;
    slot.newer = this.#end;
    slot.older.newer = this.#end.older = slot;
  }

  #drop(slot: Slot): void {
    slot.leave();
    slot.entry = undefined;
    this.#bytes -= slot.bytes;
    const slots = this.#slots.get(slot.id);
    slots?.delete(slot.key);
    if (slots?.size === 0) this.#slots.delete(slot.id);
  }

  #dropAll(): void {
    // A listing may be on its way through them.
    for (let slot = this.#end.newer; slot !== this.#end; slot = slot.newer) {
      slot.entry = undefined;
    }
    this.#slots.clear();
    this.#end.older = this.#end.newer = this.#end;
    this.#bytes = 0;
  }
}

/** An entry with bytes of its own; not `slice`, which shares memory in Node's `Buffer`. */
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

/** Bytes that an entry takes at most: engines hold a UTF-16 unit in one byte or in two. */
function sizeInMemory(id: string, key: string, data: string | Uint8Array): number {
  const dataBytes = typeof data === "string" ? data.length * 2 : data.byteLength;
  return dataBytes + (id.length + key.length) * 2 + OVERHEAD_BYTES;
}
