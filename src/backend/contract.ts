/**
 * The contract between a cache and the place where it keeps its entries.
 *
 * A backend stores what it is given and understands none of it: keys are hashed, values encoded
 * and entries checked above it. `testBackend` of `@panza/panza/testing` runs one test for each
 * numbered clause against any implementation.
 *
 * 1. `get` returns the entry that `set` stored, with equal fields; `data` keeps its kind (text or
 *    bytes) and every code point and byte, from empty to at least 1 MiB. Text is well-formed and
 *    has no NUL.
 *    Only tiers may report an earlier `expiresAt`, still to come: that of an inner copy.
 * 2. `get` of an entry that was never stored, or was deleted, returns `undefined`.
 * 3. `set` replaces the whole entry; a reader sees the old one or the new one, never a mix.
 * 4. Ids and keys are any well-formed strings without NUL, up to 1,000 characters at least: two
 *    different pairs never reach each other's entry, whatever separators, wildcards or letter case
 *    they hold. The id may be empty, the key is not.
 * 5. `getMany` answers like `get` for each key, in the order asked, duplicates included. Its answer
 *    may be `undefined` for an entry that `get` rejects as damaged.
 * 6. `delete` removes one entry; deleting an absent one succeeds.
 * 7. `deleteId` removes every entry of one id, however many, and of no other id.
 * 8. `clear` removes every entry of this backend and nothing else that its store holds.
 * 9. `entries` yields each stored entry once, with its size, times and cost; with an id, those of
 *    that id only. An entry that is added or removed while the listing is read may be listed or
 *    not. Where id and key are longer than 500 bytes together, either may be listed as `sha256-`
 *    and the SHA-256 of its text in hex.
 * 10. A failed operation rejects; it never looks like a miss, and a failed delete never like a
 *     success. `get` and `getMany`, which may answer at once, may also throw at once.
 * 11. When the promise of `set` or of a delete resolves, every later read sees the change, through
 *     any backend that is open on the same store. The backend orders nothing else: changes that
 *     overlap, and reads during a change, may take effect in any order.
 * 12. `close` waits for writes that were accepted, and can be called twice; afterwards every
 *     operation rejects with `CacheClosedError`.
 * 13. The backend keeps no reference to bytes that it was given or has returned: changing them
 *     changes no entry, and no two results share bytes.
 * 14. `prune`, which a backend may leave out, deletes every entry that its rule names and no other,
 *     never holds up the event loop for more than 20 ms, and reports what it deleted. With an `id`,
 *     entries of other ids neither go nor count. A dry run reports the same and deletes nothing.
 *     Without `prune`, a cache does the same through `entries` and `delete`.
 * 15. `location`, which a backend may leave out, is the same for every backend on the same store,
 *     and differs for a backend with other entries.
 *
 * Processes share work through notes, which a backend may leave out as a whole. A note is a small
 * text under an id and a key, beside the entry of that name.
 *
 * 16. `update` replaces a note in one step, and resolves to the note that is stored then. `change`
 *     gets the stored note (`undefined` for none) and returns the new one: `undefined` removes it,
 *     an equal one writes nothing. No other change comes between. Without `change`, it only reads.
 *     `change` has no effects and may run again; when it throws, nothing changes and `update`
 *     rejects with that error. `now` is the store's clock in milliseconds since the Unix epoch, the
 *     same for every process.
 * 17. Notes are not entries: no read, listing or prune shows or deletes one. `delete`, `deleteId`
 *     and `clear` remove the notes under what they name, also where there is no entry. Only `clear`
 *     leaves those of ids that begin with `RESERVED`.
 * 18. `exchange` stores an entry like `set` if its note is the one given, removes that note in the
 *     same step, and resolves to `true`; otherwise it changes nothing and resolves to `false`.
 * 19. `changed` resolves when something may have changed since the call, whoever changed it, and at
 *     the latest after `ms` milliseconds.
 * 20. `endSession` removes every note that begins with the name of the session and a dot, whoever
 *     opened the session. `isOver` is true only for a session that nobody can hold any more: the
 *     process that opened it has ended, or has ended the session. A session that the store does not
 *     know is not over. Without these three methods, only its heartbeat shows that it lives.
 *
 * A bounded backend may drop entries to stay within its bounds.
 *
 * @module
 */

import type { StoredEntry } from "../encoding/entry.ts";
import type { ChangeOrder } from "./order.ts";

/** An entry in a listing, without its data. */
export interface EntryInfo {
  /** The id of the function, `""` for a direct key. */
  readonly id: string;
  /** The key: 64 hex digits for a call, the user's own for a direct key. */
  readonly key: string;
  /** Bytes of the encoded value, UTF-8 for text. */
  readonly size: number;
  /** The time of storing, in milliseconds since the Unix epoch. */
  readonly storedAt: number;
  /** The end of its freshness, in milliseconds since the Unix epoch; `null` is never. */
  readonly expiresAt: number | null;
  /** The end of stale serving, in milliseconds since the Unix epoch; `null` is never. */
  readonly staleUntil: number | null;
  /** The work of the run that made it, in milliseconds: the cost of losing it. */
  readonly durationMs: number;
}

/** The entries that a prune deletes: those that any of these names. */
export interface PruneRule {
  /** Entries stored before this time, in milliseconds since the Unix epoch. */
  readonly storedBefore?: number;
  /** Entries whose `staleUntil` is before this time, in milliseconds since the Unix epoch. */
  readonly expiredBefore?: number;
  /** Entries past this many bytes of values, counted from the newest entry back. */
  readonly maxBytes?: number;
  /** Entries past this many, counted from the newest back. */
  readonly maxEntries?: number;
  /** The only id whose entries are deleted or counted; unset is all of them. */
  readonly id?: string;
  /** Whether the prune only reports what it would delete. */
  readonly dryRun?: boolean;
}

/** The counts of what a prune deleted, or would delete. */
export interface Pruned {
  /** The number of entries. */
  readonly entries: number;
  /** The sum of their sizes, in bytes. */
  readonly bytes: number;
}

/** A value, or the promise of one. */
export type Maybe<Value> = Value | Promise<Value>;

/** Takes an error that made no operation fail, such as that of a skipped tier. */
export type Report = (error: Error) => void;

/** The part of a cache that its backend may use. */
export interface StoreLink {
  /** The order of all changes, for a backend that copies entries on its own. */
  readonly order: ChangeOrder;
  /**
   * Reports that a transfer of an entry has moved. Without a report, the limit on the wait for an
   * answer counts from the call.
   */
  progress(id: string, key: string): void;
  /** Whether nothing may be written to the store, not even a copy between tiers. */
  isReadOnly?(): boolean;
}

/** Makes the new note from the stored one and the time of the store; see clause 16. */
export type NoteChange = (note: string | undefined, now: number) => string | undefined;

/** The prefix of ids that no function has: `clear` leaves their notes. */
export const RESERVED = "\\:";

/** A place where entries are kept; see the numbered clauses at the top of this module. */
export interface Backend {
  /** Its kind and place, for messages: `SQLite cache.db`. No secrets. */
  readonly description: string;
  /**
   * The place of the entries, the same for every backend of this kind over the same store: a real
   * path, a bucket with its prefix. Absent where the store belongs to this object alone.
   */
  readonly location?: string | undefined;
  /**
   * Adds a listener for errors that make no operation fail. A cache calls it once, before anything
   * else. It opens nothing.
   */
  connect(report: Report, link?: StoreLink): void;
  /**
   * Clauses 1 to 4.
   *
   * @param signal Aborts a read that crosses a network; local backends may ignore it.
   */
  get(id: string, key: string, signal?: AbortSignal): Maybe<StoredEntry | undefined>;
  /** Clause 5. */
  getMany(
    id: string,
    keys: readonly string[],
    signal?: AbortSignal,
  ): Maybe<readonly (StoredEntry | undefined)[]>;
  /** Clauses 1, 3 and 11. */
  set(id: string, key: string, entry: StoredEntry): Promise<void>;
  /** Clause 6. */
  delete(id: string, key: string): Promise<void>;
  /** Clause 7. */
  deleteId(id: string): Promise<void>;
  /** Clause 8. */
  clear(): Promise<void>;
  /** Clause 9. */
  entries(id?: string): AsyncIterable<EntryInfo>;
  /** Clause 14. */
  prune?(rule: PruneRule): Promise<Pruned>;
  /** Clause 16. */
  update?(id: string, key: string, change?: NoteChange): Promise<string | undefined>;
  /** Clause 18. */
  exchange?(id: string, key: string, note: string, entry: StoredEntry): Promise<boolean>;
  /** Clause 19. */
  changed?(ms: number): Promise<void>;
  /** Clause 20: makes whatever shows others that this process lives. */
  openSession?(session: string): Promise<void>;
  /** Clause 20, asked without a wait. */
  isOver?(session: string): boolean;
  /** Clause 20. */
  endSession?(session: string): Promise<void>;
  /** Clause 12: waits for writes that were accepted, then releases everything. */
  close(): Promise<void>;
}

/** The methods that make an object a backend; the others may be left out. */
export const BACKEND_METHODS: readonly (keyof Backend)[] = [
  "connect",
  "get",
  "getMany",
  "set",
  "delete",
  "deleteId",
  "clear",
  "entries",
  "close",
];
