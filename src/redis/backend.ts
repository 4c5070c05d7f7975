/**
 * Entries in Redis, one string each, with one sorted set that says which of them count.
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

/** After so many stores the index is looked through for twice as many entries that are gone. */
const TIDY_AFTER = PAGE / 2;

/** Past this many milliseconds an entry has no expiry in Redis, which adds its own clock. */
const LONGEST_MS = 1e14;

/**
 * A backend in Redis, or in a server that speaks its protocol with scripts. Tested with Redis 7.
 *
 * All names begin with `{prefix}:`, so that a cluster keeps a cache on one node. An entry counts
 * only while the index names it, so whatever the server evicts becomes a miss. An entry that can
 * be served no more expires by itself. The client is loaded on first use.
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
  /** Host, port, database and prefix: `Redis localhost:6379/0 panza`; of a client the prefix alone. */
  readonly description: string;
  /** The same, for a backend with a URL: that of every backend with the same entries. */
  readonly location: string | undefined;
  readonly #connection: Connection;
  readonly #commands: Commands;
  readonly #writes = new Set<Promise<unknown>>();
  /** The last change of each note that is being changed here. */
  readonly #changing = new Map<string, Promise<unknown>>();
  #stores = 0;
  #changedAt = 0;
  #closing: Promise<void> | undefined;

  /**
   * Checks everything and opens nothing: the first operation connects.
   *
   * @param server A URL, or a client, a pool or a cluster of the npm package `redis`, which its
   * owner connects and closes.
   * @param options What its names in Redis begin with.
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

  /** Does nothing: every failure rejects its own call. */
  connect(): void {}

  /**
   * Reads an entry: one command.
   *
   * @param id The id of the function, `""` for a direct key.
   * @param key The key.
   * @param signal Ends the read before it begins.
   * @returns The entry, `undefined` when there is none.
   * @throws {DamagedEntryError} If something else stands in its place.
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
   * Reads entries: one command for each 64. One that is damaged is `undefined`.
   *
   * @param id The id of the function, `""` for direct keys.
   * @param keys The keys, in any order, duplicates allowed.
   * @param signal Ends the read between two commands.
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
   * Stores an entry: one command. It expires when it can no more be served.
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
   * @param id Only those of this id.
   * @returns What is stored; what has expired or was evicted leaves the index.
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
   * Removes the entries that a rule names: what `entries` costs, and one command for each 64.
   *
   * @param rule Which entries go.
   * @returns What was deleted.
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
   * Replaces a note: one command to look, and one to write if it is still the same.
   *
   * @param id The id that it belongs to.
   * @param key The key.
   * @param change Makes the new note of the one that is there; without it the note is only read.
   * @returns The note that is stored then.
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
    // One after the other here: they would only get in each other's way.
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
   * @returns Whether it was; otherwise nothing is stored.
   * @throws {BackendError} If Redis cannot be reached, or refuses.
   */
  async exchange(id: string, key: string, note: string, entry: StoredEntry): Promise<boolean> {
    return await this.#store(id, key, entry, note);
  }

  /**
   * Waits for a change: one command each 1 to 50 ms, the seldomer the longer there was none.
   *
   * @param ms For how long at most, in milliseconds.
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

  /** Does nothing: Redis does not tell of a process that has ended, its heartbeat does. */
  async openSession(): Promise<void> {}

  /**
   * Whether nobody can hold a session any more.
   *
   * @returns `false`: only its heartbeat tells.
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
        // Somebody may have taken it over by now.
        await Promise.all(
          its.map(([member, note]) => this.#commands.replace(member, note, undefined)),
        );
      }
    });
  }

  /** Waits for writes that were accepted, and closes the connection unless it is the user's. */
  async close(): Promise<void> {
    this.#closing ??= Promise.allSettled(this.#writes).then(() => this.#connection.close());
    await this.#closing;
  }

  #refuseWhenClosed(): void {
    if (this.#closing !== undefined) throw new CacheClosedError();
  }

  /** Runs a read, which fails in the words of this library. */
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

  /** Stores an entry; its bytes are copied in this turn, for their owner may change them. */
  async #store(id: string, key: string, entry: StoredEntry, note?: string): Promise<boolean> {
    const member = memberOf(id, key);
    const { staleUntil } = entry;
    // By this process's own clock: that of the server may be another.
    const left = staleUntil === null ? Infinity : Math.ceil(staleUntil - Date.now());
    const ttl = left > 0 && left < LONGEST_MS ? left : undefined;
    const whole = this.#closing === undefined ? write(entry) : "";
    return await this.#write("write", async () => {
      const isStored = await this.#commands.store(member, whole, ttl, note);
      if (++this.#stores % TIDY_AFTER === 0) this.#tidyAfter(member);
      return isStored;
    });
  }

  /** Looks in the background at the neighbours of an entry: its key is a digest, so at any. */
  #tidyAfter(member: string): void {
    const done: Promise<void> = this.#commands.membersAfter(member)
      .then((members) => members.length === 0 ? undefined : this.#commands.tidy(members))
      // What is left over is no entry, and found the next time.
      .catch(() => {}).finally(() => this.#writes.delete(done));
    this.#writes.add(done);
  }

  /** Removes the notes that are meant, then the entries of an id or all: a page at a time. */
  async #sweep(id: string | undefined, isMeant: (member: string) => boolean): Promise<void> {
    // Notes first: what began before must not be stored while this goes on.
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
