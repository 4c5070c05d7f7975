/**
 * Entries in Redis, one string each, and one sorted set as their index.
 *
 * @module
 */

import {
  type Backend,
  type EntryInfo,
  type NoteChange,
  type Pruned,
  type PruneRule,
  RESERVED,
} from "../backend/contract.ts";
import { pruneListed } from "../backend/prune.ts";
import { untilNextLook } from "../backend/shared.ts";
import { CacheClosedError, DamagedEntryError } from "../base/errors.ts";
import { sleep } from "../base/turn.ts";
import type { StoredEntry } from "../encoding/entry.ts";
import { Commands, memberOf, PAGE, placeOf } from "./commands.ts";
import { Connection } from "./connection.ts";
import { infoOf, read, write } from "./entry.ts";
import { failure } from "./errors.ts";
import { checkOptions, type RedisClientLike, type RedisOptions } from "./options.ts";

/** The stores between two searches of twice as many members of the index for lost entries. */
const TIDY_AFTER = PAGE / 2;

/** The longest expiry in Redis, in milliseconds: Redis adds its clock to it. Longer is none. */
const LONGEST_MS = 1e14;

/**
 * A backend in Redis, or in a server that speaks its protocol with scripts. Tested with Redis 7.
 *
 * All names begin with `{prefix}:`, so that a cluster keeps a cache on one node. An entry counts
 * only while the index names it, so whatever the server evicts becomes a miss. An entry that can
 * no longer be served expires by itself. The client is loaded on first use.
 *
 * @example The password of a URL is in no message
 * ```ts
 * import { RedisBackend } from "@panza/panza/redis";
 * import { assertEquals } from "@std/assert";
 *
 * const backend = new RedisBackend("redis://user:password@localhost/2", { prefix: "team" });
 * assertEquals(backend.description, "Redis localhost:6379/2 team");
 * await backend.close();
 * ```
 */
export class RedisBackend implements Backend {
  /** Host, port, database and prefix, `Redis localhost:6379/0 panza`; the prefix for a client. */
  readonly description: string;
  /** The same place, shared by all backends with the same entries; `undefined` for a client. */
  readonly location: string | undefined;
  readonly #connection: Connection;
  readonly #commands: Commands;
  readonly #writes = new Set<Promise<unknown>>();
  /** The last of the running changes of each note. */
  readonly #changing = new Map<string, Promise<unknown>>();
  #stores = 0;
  #changedAt = 0;
  #closing: Promise<void> | undefined;

  /**
   * Checks everything and opens nothing: the first operation connects.
   *
   * @param server A URL, or a client, a pool or a cluster of the npm package `redis`, which its
   * owner connects and closes.
   * @param options The prefix of its names in Redis.
   * @throws {TypeError} If the server is neither, or an option is unknown or of the wrong kind.
   */
  constructor(server: string | RedisClientLike, options: RedisOptions = {}) {
    const checked = checkOptions("open a Redis backend", server, options);
    const { place, prefix } = checked;
    this.#connection = new Connection(checked.server);
    this.#commands = new Commands(this.#connection, prefix);
    this.location = place === undefined ? undefined : `${place} ${prefix}`;
    this.description = `Redis ${this.location ?? prefix}`;
  }

  /** Does nothing: every error rejects its own call. */
  connect(): void {}

  /**
   * Reads an entry: one command.
   *
   * @param id The id of the function, `""` for a direct key.
   * @param key The key.
   * @param signal Aborts the read before it begins.
   * @returns The entry, `undefined` when there is none.
   * @throws {DamagedEntryError} If something else is stored in its place.
   * @throws {BackendError} If Redis cannot be reached, or refuses.
   */
  async get(id: string, key: string, signal?: AbortSignal): Promise<StoredEntry | undefined> {
    signal?.throwIfAborted();
    const [bytes] = await this.#read("read", () => this.#commands.read([memberOf(id, key)]));
    if (bytes === undefined) return undefined;
    const entry = read(bytes);
    if (entry !== undefined) return entry;
    throw new DamagedEntryError("it was not written by this library, or was changed", id, key);
  }

  /**
   * Reads entries: one command for each 64. A damaged entry is `undefined`.
   *
   * @param id The id of the function, `""` for direct keys.
   * @param keys The keys, in any order, duplicates allowed.
   * @param signal Aborts the read between two commands.
   * @returns For each key the entry, `undefined` where there is none.
   * @throws {BackendError} If Redis cannot be reached, or refuses.
   */
  async getMany(
    id: string,
    keys: readonly string[],
    signal?: AbortSignal,
  ): Promise<(StoredEntry | undefined)[]> {
    const entries: (StoredEntry | undefined)[] = [];
    do {
      signal?.throwIfAborted();
      const page = keys.slice(entries.length, entries.length + PAGE);
      const members = page.map((key) => memberOf(id, key));
      const found = await this.#read("read", () => this.#commands.read(members));
      for (const bytes of found) entries.push(bytes === undefined ? undefined : read(bytes));
    } while (entries.length < keys.length);
    return entries;
  }

  /**
   * Stores an entry: one command. The entry expires when it can no longer be served.
   *
   * @param id The id of the function, `""` for a direct key.
   * @param key The key.
   * @param entry What to store.
   * @throws {BackendError} If Redis cannot be reached, or refuses.
   */
  async set(id: string, key: string, entry: StoredEntry): Promise<void> {
    await this.#store(id, key, entry);
  }

  /**
   * Removes an entry and its note: one command.
   *
   * @param id The id of the function, `""` for a direct key.
   * @param key The key.
   * @throws {BackendError} If Redis cannot be reached, or refuses.
   */
  async delete(id: string, key: string): Promise<void> {
    await this.#write("delete", () => this.#commands.remove([memberOf(id, key)], true));
  }

  /**
   * Removes every entry and note of an id: two commands for each 64 entries.
   *
   * @param id The id of the function, `""` for direct keys.
   * @throws {BackendError} If Redis cannot be reached, or refuses.
   */
  async deleteId(id: string): Promise<void> {
    const isIts = (member: string) => member.startsWith(memberOf(id, ""));
    await this.#write("delete", () => this.#sweep(id, isIts));
  }

  /**
   * Removes every entry of this prefix, and every note but those of reserved ids.
   *
   * @throws {BackendError} If Redis cannot be reached, or refuses.
   */
  async clear(): Promise<void> {
    const isOurs = (member: string) => !member.startsWith(RESERVED);
    await this.#write("delete", () => this.#sweep(undefined, isOurs));
  }

  /**
   * Lists entries, in the order of ids and keys: 65 commands for each 64, in two packets.
   *
   * @param id The id whose entries are listed; unset, all are.
   * @returns The entries; the index loses those that have expired or were evicted.
   * @throws {BackendError} If Redis cannot be reached, or refuses.
   */
  async *entries(id?: string): AsyncGenerator<EntryInfo, void, undefined> {
    let last: string | undefined;
    for (;;) {
      const members = await this.#read("list", () => this.#commands.membersAfter(last, id));
      if (members.length === 0) return;
      const lines = await this.#read("list", () => this.#commands.lines(members));
      for (const [index, line] of lines.entries()) {
        if (line !== undefined) yield infoOf(...placeOf(members[index] ?? ""), line);
      }
      const gone = members.filter((_, index) => lines[index] === undefined);
      if (gone.length > 0) await this.#write("list", () => this.#commands.tidy(gone));
      last = members.at(-1);
    }
  }

  /**
   * Removes the entries that a rule names: the commands of `entries`, and one for each 64.
   *
   * @param rule The rule.
   * @returns The count and bytes of the deleted entries.
   * @throws {BackendError} If Redis cannot be reached, or refuses.
   */
  async prune(rule: PruneRule): Promise<Pruned> {
    return await pruneListed({
      entries: (id) => this.entries(id),
      atOnce: PAGE,
      remove: async (entries) => {
        const members = entries.map(({ id, key }) => memberOf(id, key));
        await this.#write("delete", () => this.#commands.remove(members, false));
      },
    }, rule);
  }

  /**
   * Replaces a note: one command to read it, and one to write it if it is still the same.
   *
   * @param id The id that it belongs to.
   * @param key The key.
   * @param change Returns the new note for the current one; without it the note is only read.
   * @returns The note that is then stored.
   * @throws {BackendError} If Redis cannot be reached, or refuses.
   */
  async update(id: string, key: string, change?: NoteChange): Promise<string | undefined> {
    const member = memberOf(id, key);
    if (change === undefined) {
      return (await this.#read("read", () => this.#commands.look(member)))[0];
    }
    let thrown: { readonly error: unknown } | undefined;
    const work = async (): Promise<string | undefined> => {
      for (;;) {
        const [note, now] = await this.#commands.look(member);
        let after: string | undefined;
        try {
          after = change(note, now);
        } catch (error) {
          thrown = { error };
          return undefined;
        }
        if (after === note || await this.#commands.replace(member, note, after)) return after;
      }
    };
    // The changes of one process take turns: together they would only make each other fail.
    const before = this.#changing.get(member);
    const note = await this.#write("write", () => {
      const done = before === undefined ? work() : before.then(work, work);
      this.#changing.set(member, done);
      const end = (): void => {
        if (this.#changing.get(member) === done) this.#changing.delete(member);
      };
      done.then(end, end);
      return done;
    });
    if (thrown !== undefined) throw thrown.error;
    return note;
  }

  /**
   * Stores an entry in exchange for its note: one command.
   *
   * @param id The id that both belong to.
   * @param key The key.
   * @param note The note that must be there, and is removed.
   * @param entry What to store.
   * @returns Whether the note was there; otherwise nothing is stored.
   * @throws {BackendError} If Redis cannot be reached, or refuses.
   */
  async exchange(id: string, key: string, note: string, entry: StoredEntry): Promise<boolean> {
    return await this.#store(id, key, entry, note);
  }

  /**
   * Waits for a change: one command each 1 to 50 ms, rarer as the last change gets older.
   *
   * @param ms The longest wait, in milliseconds.
   * @throws {CacheClosedError} After `close()`.
   * @throws {BackendError} If Redis cannot be reached, or refuses.
   */
  async changed(ms: number): Promise<void> {
    const end = performance.now() + ms;
    const seen = await this.#read("read", () => this.#commands.changes());
    for (let now = performance.now(); now < end; now = performance.now()) {
      await sleep(Math.min(untilNextLook(now - this.#changedAt), end - now));
      if (await this.#read("read", () => this.#commands.changes()) === seen) continue;
      this.#changedAt = performance.now();
      return;
    }
  }

  /** Does nothing: Redis does not report the end of a process, only its heartbeat does. */
  async openSession(): Promise<void> {}

  /**
   * Whether a session is known to be over.
   *
   * @returns `false`: only its heartbeat shows that.
   */
  isOver(): boolean {
    return false;
  }

  /**
   * Removes the notes that a session has written.
   *
   * @param session Its name.
   * @throws {BackendError} If Redis cannot be reached, or refuses.
   */
  async endSession(session: string): Promise<void> {
    await this.#write("delete", async () => {
      for await (const notes of this.#commands.notes()) {
        const its = notes.filter(([, note]) => note.startsWith(`${session}.`));
        // Another session may have taken it over by now.
        await Promise.all(
          its.map(([member, note]) => this.#commands.replace(member, note, undefined)),
        );
      }
    });
  }

  /** Waits for accepted writes, and closes the connection unless it is the user's. */
  async close(): Promise<void> {
    this.#closing ??= Promise.allSettled(this.#writes).then(() => this.#connection.close());
    await this.#closing;
  }

  #refuseWhenClosed(): void {
    if (this.#closing !== undefined) throw new CacheClosedError();
  }

  async #read<Out>(operation: string, work: () => Promise<Out>): Promise<Out> {
    this.#refuseWhenClosed();
    try {
      return await work();
    } catch (error) {
      this.#refuseWhenClosed();
      throw failure(error, this.description, operation);
    }
  }

  /** Runs a write, which `close` waits for. */
  async #write<Out>(operation: string, work: () => Promise<Out>): Promise<Out> {
    this.#refuseWhenClosed();
    const done = work();
    this.#writes.add(done);
    try {
      return await done;
    } catch (error) {
      throw failure(error, this.description, operation);
    } finally {
      this.#writes.delete(done);
    }
  }

  /** Stores an entry; its bytes are copied in this turn, because their owner may change them. */
  async #store(id: string, key: string, entry: StoredEntry, note?: string): Promise<boolean> {
    const member = memberOf(id, key);
    const { staleUntil } = entry;
    // By the clock of this process: that of the server may differ.
    const left = staleUntil === null ? Infinity : Math.ceil(staleUntil - Date.now());
    const ttl = left > 0 && left < LONGEST_MS ? left : undefined;
    const whole = this.#closing === undefined ? write(entry) : "";
    return await this.#write("write", async () => {
      const isStored = await this.#commands.store(member, whole, ttl, note);
      if (++this.#stores % TIDY_AFTER === 0) this.#tidyAfter(member);
      return isStored;
    });
  }

  /** Tidies the neighbours of an entry in the background: a random page, as keys are digests. */
  #tidyAfter(member: string): void {
    const done: Promise<void> = this.#commands.membersAfter(member)
      .then((members) => members.length === 0 ? undefined : this.#commands.tidy(members))
      // A name that stays in the index is not an entry, and is found the next time.
      .catch(() => {}).finally(() => this.#writes.delete(done));
    this.#writes.add(done);
  }

  /** Removes the notes that `isMeant` accepts, then the entries of an id or all, page by page. */
  async #sweep(id: string | undefined, isMeant: (member: string) => boolean): Promise<void> {
    // Notes first: a call that began before must not store its result during the sweep.
    for await (const notes of this.#commands.notes()) {
      const members = notes.map(([member]) => member).filter(isMeant);
      if (members.length > 0) await this.#commands.removeNotes(members);
    }
    let last: string | undefined;
    for (;;) {
      const members = await this.#commands.membersAfter(last, id);
      if (members.length === 0) return;
      await this.#commands.remove(members, false);
      last = members.at(-1);
    }
  }
}
