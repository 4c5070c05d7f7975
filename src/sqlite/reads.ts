/**
 * Reads: one at once, those of one turn with one statement, many in chunks.
 *
 * @module
 */

import type { Maybe } from "../backend/contract.ts";
import type { StoredEntry } from "../encoding/entry.ts";
import { nextTurn, soon } from "../base/turn.ts";
import type { Connection } from "./connection.ts";
import { readMany, readOne } from "./rows.ts";

/** The number of entries that one statement reads. */
export const CHUNK = 128;
/** The time for which reads may keep the event loop, and one chunk may take, in milliseconds. */
const SLICE_MS = 8;

/** A read that waits for the end of its turn. */
interface Read {
  readonly id: string;
  readonly key: string;
  readonly resolve: (entry: StoredEntry | undefined) => void;
  readonly reject: (error: unknown) => void;
}

/** The reads of a backend. */
export class Reads {
  readonly #connection: Connection;
  /** Makes `close` wait for a promise. */
  readonly #track: <Result>(promise: Promise<Result>) => Promise<Result>;
  #waiting: Read[] = [];
  /** Whether there was a read since the last microtask of {@linkcode flush}. */
  #hasRead = false;
  /**
   * The time at which this turn of the event loop answered its first read. Reads that are answered
   * at once end no turn, so a loop of them would keep timers and sockets waiting for ever.
   */
  #since: number | undefined;

  constructor(
    connection: Connection,
    track: <Result>(promise: Promise<Result>) => Promise<Result>,
  ) {
    this.#connection = connection;
    this.#track = track;
  }

  /** Reads one entry: at once when it is the first read of its turn, else with the others of it. */
  one(id: string, key: string): Maybe<StoredEntry | undefined> {
    const session = this.#hasRead ? undefined : this.#connection.ready();
    if (session !== undefined && !this.#owesTurn()) {
      try {
        const entry = readOne(session, id, key);
        this.#expectMore();
        return entry;
      } catch {
        // The long way meets the same error, and handles it.
      }
    }
    return new Promise((resolve, reject) => {
      this.#waiting.push({ id, key, resolve, reject });
      this.#expectMore();
    });
  }

  /** Reads many entries of one id: at once when they fit into one statement. */
  many(id: string, keys: readonly string[]): Maybe<(StoredEntry | undefined)[]> {
    const session = this.#connection.ready();
    if (session !== undefined && keys.length <= CHUNK && !this.#owesTurn()) {
      try {
        return readMany(session, id, keys);
      } catch {
        // As above.
      }
    }
    return this.#track(this.#inChunks(id, keys));
  }

  /** Lets the event loop turn where reads have kept it for a slice of time. */
  async pace(): Promise<void> {
    if (this.#owesTurn()) await nextTurn();
  }

  /** Whether the event loop must turn before another read is answered. */
  #owesTurn(): boolean {
    if (this.#since !== undefined) return performance.now() - this.#since > SLICE_MS;
    this.#since = performance.now();
    void nextTurn().then(() => (this.#since = undefined));
    return false;
  }

  #expectMore(): void {
    if (this.#hasRead) return;
    this.#hasRead = true;
    soon(this.flush);
  }

  /** Answers the waiting reads, those of one id together. */
  readonly flush = (): void => {
    this.#hasRead = false;
    const reads = this.#waiting;
    if (reads.length === 0) return;
    this.#waiting = [];
    const groups = new Map<string, Read[]>();
    for (const read of reads) {
      const group = groups.get(read.id);
      if (group === undefined) groups.set(read.id, [read]);
      else group.push(read);
    }
    for (const [id, group] of groups) this.#track(this.#answer(id, group));
  };

  /** Answers the reads of one turn; what fails together is read one by one. */
  async #answer(id: string, reads: readonly Read[]): Promise<void> {
    try {
      const keys = reads.map((read) => read.key);
      await this.#inChunks(id, keys, (index, entry) => {
        reads[index]?.resolve(entry);
      });
    } catch (error) {
      const [only] = reads;
      if (reads.length === 1) only?.reject(error);
      else for (const read of reads) await this.#answer(id, [read]);
    }
  }

  async #inChunks(
    id: string,
    keys: readonly string[],
    found?: (index: number, entry: StoredEntry | undefined) => void,
  ): Promise<(StoredEntry | undefined)[]> {
    const entries: (StoredEntry | undefined)[] = [];
    let size = CHUNK;
    while (entries.length < keys.length) {
      await this.pace();
      const start = performance.now();
      const chunk = keys.slice(entries.length, entries.length + size);
      const read = await this.#connection.run("read", (session) => readMany(session, id, chunk));
      for (const entry of read) {
        found?.(entries.length, entry);
        entries.push(entry);
      }
      if (performance.now() - start > SLICE_MS) size = Math.max(1, size >> 1);
    }
    return entries;
  }
}
