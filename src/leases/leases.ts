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

/** The longest time a change goes unnoticed, in milliseconds: a killed process changes nothing. */
const UNNOTICED_MS = 50;
/** The time between looks when many leases are awaited, in ms: per lease, and at most. */
const LOOK_MS = 0.1;
const SELDOM_MS = 1_000;
/** The number of leases looked at together. */
const CHUNK = 128;

/** A lease that this process holds: the right to run one key. */
export class Lease {
  readonly #leases: Leases;
  readonly #mine: string;
  readonly #id: string;
  readonly #key: string;
  /** The note in exchange for which the result is stored. */
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

  /** Releases the lease without a result. */
  release(): void {
    if (!this.#isHeld) return;
    this.end();
    this.#leases.change(this.#id, this.#key, released(this.#mine));
  }

  /** Marks the lease as gone: exchanged for a result, or released. */
  end(): void {
    if (!this.#isHeld) return;
    this.#isHeld = false;
    this.#leases.sessions.release();
  }
}

/** A wait for a lease that somebody else holds. */
export interface LeaseWait {
  /** Resolves when the lease may be free, or the store fails. */
  readonly free: Promise<void>;
  /** Ends the wait; `free` never resolves then. */
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

  constructor(backend: Noting) {
    this.#backend = backend;
    this.sessions = Sessions.of(backend);
  }

  /**
   * Takes the lease of a key if it is free.
   *
   * @returns The lease, or the note of whoever holds it.
   * @throws {unknown} The error of the store, or a `NoProgressError`.
   */
  async take(id: string, key: string): Promise<Lease | string> {
    const { sessions } = this;
    let lease: Lease | undefined;
    // Before the session has a name: a session that holds nothing may end in between.
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
        // The change may still arrive.
        taking.then(() => this.change(id, key, released(mine)), () => {});
        throw error;
      }
    } finally {
      if (lease === undefined) sessions.release();
    }
  }

  /** Waits until the lease with this note may be free. */
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

  /** Changes a note in the background. If the store fails, the end of the session frees it. */
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

  /** Looks at the awaited leases after each change, and often enough to notice killed processes. */
  async #watch(): Promise<void> {
    this.#isWatching = true;
    while (this.#waiting.size > 0) {
      const start = patienceNow();
      // Begun before the look, so that no change during the look is missed.
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
