/**
 * Leases of runs: one run of a key at a time among all processes that share a store.
 *
 * @module
 */

import { PATIENCE, patienceNow, patiently } from "../base/patience.ts";
import { Pacer, sleep } from "../base/turn.ts";
import type { NoteChange } from "../backend/contract.ts";
import { givenUp, givenUpNote, holderOf, isFree, released, taken } from "./lease.ts";
import { type Noting, Sessions } from "./sessions.ts";

/** How long a change may go unnoticed, in milliseconds: a killed process changes nothing. */
const UNNOTICED_MS = 50;
/** How often leases are looked at when many are waited for, in milliseconds: each, and at the most. */
const LOOK_MS = 0.1;
const SELDOM_MS = 1_000;
/** How many leases are looked at together. */
const CHUNK = 128;

/** A lease that this process holds: the right to run one key. */
export class Lease {
  readonly #leases: Leases;
  readonly #mine: string;
  readonly #id: string;
  readonly #key: string;
  /** What the result is stored in exchange for. */
  note: string;
  #isHeld = true;

  constructor(leases: Leases, id: string, key: string, mine: string) {
    this.#leases = leases;
    this.#id = id;
    this.#key = key;
    this.#mine = this.note = mine;
  }

  /** Lets others run; the result counts only if none does, and nothing was busted. */
  giveUp(): void {
    if (!this.#isHeld) return;
    this.note = givenUpNote(this.#mine);
    this.#leases.change(this.#id, this.#key, givenUp(this.#mine));
  }

  /** Gives the lease back without a result. */
  release(): void {
    if (!this.#isHeld) return;
    this.end();
    this.#leases.change(this.#id, this.#key, released(this.#mine));
  }

  /** The lease is gone: exchanged for a result. */
  end(): void {
    if (!this.#isHeld) return;
    this.#isHeld = false;
    this.#leases.sessions.release();
  }
}

/** A wait for a lease that somebody else holds. */
export interface LeaseWait {
  /** Resolves when it may be free, or the store cannot tell. */
  readonly free: Promise<void>;
  /** Ends the wait, which never resolves then. */
  leave(): void;
}

interface Waiting extends LeaseWait {
  readonly id: string;
  readonly key: string;
  readonly note: string;
  readonly resolve: () => void;
}

/** The leases of one store. */
export class Leases {
  readonly sessions: Sessions;
  readonly #backend: Noting;
  readonly #waiting = new Set<Waiting>();
  /** Notes that are being given up or removed; none rejects. */
  readonly #changing = new Set<Promise<unknown>>();
  #isWatching = false;

  /** @param backend Where the notes are. */
  constructor(backend: Noting) {
    this.#backend = backend;
    this.sessions = Sessions.of(backend);
  }

  /**
   * Takes the lease of a key if it is free.
   *
   * @returns The lease, or the note of whoever holds it.
   * @throws {unknown} What the store threw, or that it makes no progress.
   */
  async take(id: string, key: string): Promise<Lease | string> {
    const { sessions } = this;
    let lease: Lease | undefined;
    // Before it has a name: a session that holds nothing may end in between.
    sessions.hold();
    try {
      const name = sessions.name();
      const session = typeof name === "string" ? name : await name;
      const mine = `${session}.${sessions.count().toString(36)}`;
      const taking = this.#backend.update(id, key, taken(mine, sessions.isOver));
      try {
        const note = await patiently(taking, PATIENCE.callMs);
        if (note !== mine) return note ?? "";
        return lease = new Lease(this, id, key, mine);
      } catch (error) {
        // It may still arrive.
        taking.then(() => this.change(id, key, released(mine)), () => {});
        throw error;
      }
    } finally {
      if (lease === undefined) sessions.release();
    }
  }

  /** Waits until the lease with a note may be free. */
  wait(id: string, key: string, note: string): LeaseWait {
    const { promise, resolve } = Promise.withResolvers<void>();
    const waiting: Waiting = {
      id,
      key,
      note,
      free: promise,
      resolve,
      leave: () => void this.#waiting.delete(waiting),
    };
    this.#waiting.add(waiting);
    if (!this.#isWatching) void this.#watch();
    return waiting;
  }

  /** Changes a note in the background. A store that fails leaves it to the end of the session. */
  change(id: string, key: string, change: NoteChange): void {
    const done = patiently(this.#backend.update(id, key, change), PATIENCE.changeMs)
      .catch(() => {}).finally(() => this.#changing.delete(done));
    this.#changing.add(done);
  }

  /** Waits for notes that are being removed, and ends the session. */
  async close(): Promise<void> {
    await Promise.all(this.#changing);
    await this.sessions.close();
  }

  /** Looks at the leases that are waited for: after each change, and often enough to notice deaths. */
  async #watch(): Promise<void> {
    this.#isWatching = true;
    while (this.#waiting.size > 0) {
      const start = patienceNow();
      // Begun before the look: what changes during it is not missed.
      const changed = this.#backend.changed(UNNOTICED_MS).catch(() => sleep(UNNOTICED_MS));
      await this.#look();
      await changed;
      const rest = Math.min(SELDOM_MS, this.#waiting.size * LOOK_MS) - (patienceNow() - start);
      if (rest > 0) await sleep(rest);
    }
    this.#isWatching = false;
  }

  async #look(): Promise<void> {
    const { isOver } = this.sessions;
    const all = [...this.#waiting];
    const pacer = new Pacer();
    try {
      await this.sessions.look(new Set(all.map(({ note }) => holderOf(note))));
      for (let from = 0; from < all.length; from += CHUNK) {
        await Promise.all(
          all.slice(from, from + CHUNK).map(async (waiting) => {
            const { id, key, note } = waiting;
            const now = isOver(holderOf(note)) ? undefined : await patiently(
              this.#backend.update(id, key),
              PATIENCE.callMs,
            );
            if (now !== note || isFree(now, isOver)) this.#end(waiting);
          }),
        );
        await pacer.pace();
      }
    } catch {
      // Whoever takes a lease meets the same error, and runs without one.
      for (const waiting of all) this.#end(waiting);
    }
  }

  #end(waiting: Waiting): void {
    if (this.#waiting.delete(waiting)) waiting.resolve();
  }
}
