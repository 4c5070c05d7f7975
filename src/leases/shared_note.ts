/**
 * The part of one process in a shared limit: keeps the note of the limit up to date.
 *
 * @module
 */

import { warn } from "../base/env.ts";
import { CacheClosedError, QueueFullError, reasonOf } from "../base/errors.ts";
import { PATIENCE, patiently } from "../base/patience.ts";
import { sleep, soon } from "../base/turn.ts";
import { type Maybe, type NoteChange, RESERVED } from "../backend/contract.ts";
import { type Noting, Sessions } from "./sessions.ts";
import { living, pause, readTurns, type Turns, writeTurns } from "./turns.ts";

/** The id of the notes of limits. */
const LIMITS = `${RESERVED}limit`;

/** The longest time a change goes unnoticed, in milliseconds. */
const UNNOTICED_MS = 50;
/** The delay before a store that failed is asked again, in milliseconds. */
const AGAIN_MS = 1_000;

/** A limit over a store. */
export interface SharedLimit {
  readonly store: Noting;
  /** Its name, for messages. */
  readonly id: string;
  /** The name of the note for pauses of all keys, in a limit with keys. */
  readonly allKeys: Maybe<string> | undefined;
  /** The maximum number of waiting calls, per key. */
  readonly maxQueue: number;
  /** Whether nothing may be written to the store. */
  readonly isReadOnly: () => boolean;
  /** Whether the store has failed since its last success, and the failure was reported. */
  hasFailed: boolean;
}

/** A line of calls, as its note sees it. */
export interface SharedParty {
  /** Whether it holds or wants something. */
  isBusy(): boolean;
  /** Whether calls wait. */
  isWaiting(): boolean;
  /** The delay before asking again without a change, in milliseconds; `Infinity` means never. */
  waitMs(): number;
  /** Asks for what it needs; it may be called again before the answer is taken. */
  ask(turns: Turns, session: string, now: number): Turns;
  /** Takes what the last answer granted, and lets calls start. */
  take(): void;
  /** Rejects the newest waiting calls until only so many are left. */
  refuse(most: number, error: () => unknown): void;
  /** Holds back new starts for this many milliseconds. */
  pause(milliseconds: number): void;
  /** Rejects waiting calls with the error: the store is closed. */
  end(error: unknown): void;
}

/** Keeps the note of one key of a limit up to date, one change at a time. */
export class SharedNote {
  readonly #limit: SharedLimit;
  readonly #sessions: Sessions;
  readonly #key: Maybe<string>;
  readonly #party: SharedParty;
  #isRunning = false;
  #running: Promise<void> | undefined;
  #isAsked = false;
  #isTaking = false;
  /** Ends the wait for a change. */
  #wake: () => void = () => {};
  #holds = false;
  #pausedUntil = 0;

  /** @param key The name of the note. */
  constructor(limit: SharedLimit, key: Maybe<string>, party: SharedParty) {
    this.#limit = limit;
    this.#sessions = Sessions.of(limit.store);
    this.#key = key;
    this.#party = party;
  }

  /** Whether the note holds nothing of this process, and no change is under way. */
  get isAtRest(): boolean {
    return !this.#isRunning && !this.#holds;
  }

  /** Writes the state of the line to the note soon. */
  readonly ask = (): void => {
    this.#isAsked = true;
    this.#wake();
    if (this.#isRunning) return;
    this.#isRunning = true;
    // At the end of the turn, so that further calls in this turn join the same change.
    soon(() => (this.#running = this.#run()));
  };

  /** Asks for the start of a call; not while an answer is taken, which reported what is free. */
  want(): void {
    if (!this.#isTaking) this.ask();
  }

  /** Gives everything back: the store is closed. */
  readonly #close = async (): Promise<void> => {
    const error = new CacheClosedError();
    this.#party.end(error);
    try {
      await this.#running;
      const mine = await this.#sessions.name();
      await this.#update(await this.#key, (turns) => living(turns, (session) => session === mine));
    } catch {
      // The end of its session gives it back.
    }
    this.#hold(false);
  };

  async #run(): Promise<void> {
    const { store } = this.#limit;
    const party = this.#party;
    do {
      this.#isAsked = false;
      try {
        // Begun before the note is read, so that no change afterwards is missed.
        const changed = party.isWaiting()
          ? store.changed(Math.min(UNNOTICED_MS, Math.max(1, party.waitMs())))
          : undefined;
        changed?.catch(() => {});
        await this.#write();
        if (party.isWaiting() && !this.#isAsked) {
          await Promise.race([changed, new Promise<void>((resolve) => (this.#wake = resolve))]);
        }
      } catch (error) {
        if (this.#fail(error)) await sleep(AGAIN_MS);
      }
    } while (this.#isAsked || party.isWaiting());
    this.#isRunning = false;
  }

  async #write(): Promise<void> {
    const { allKeys, maxQueue } = this.#limit;
    const sessions = this.#sessions;
    const party = this.#party;
    this.#hold(true);
    const session = await sessions.name();
    if (allKeys !== undefined) {
      await this.#update(await allKeys, (turns) => turns);
    }
    const turns = await this.#update(
      await this.#key,
      (turns, now) => party.ask(living(turns, sessions.isOver), session, now),
    );
    this.#limit.hasFailed = false;
    this.#isTaking = true;
    party.take();
    this.#isTaking = false;
    if (turns.parties.some((each) => each.session === session && each.wants > 0)) {
      party.refuse(maxQueue, () => new QueueFullError(maxQueue));
    }
    this.#hold(party.isBusy());
    if (party.isWaiting()) await sessions.look(turns.parties.map(({ session }) => session));
  }

  /** Changes a note, and pauses the line if the note says so. */
  async #update(key: string, ask: (turns: Turns, now: number) => Turns): Promise<Turns> {
    let pausedMs = 0;
    let turns = readTurns(undefined);
    const change: NoteChange = (note, now) => {
      turns = ask(readTurns(note), now);
      pausedMs = turns.pausedUntil - now;
      return writeTurns(turns, now);
    };
    await patiently(this.#limit.store.update(LIMITS, key, change), PATIENCE.changeMs);
    if (pausedMs > 0 && turns.pausedUntil > this.#pausedUntil) {
      this.#pausedUntil = turns.pausedUntil;
      this.#party.pause(pausedMs);
    }
    return turns;
  }

  /** Keeps the session while something is held or wanted. */
  #hold(holds: boolean): void {
    if (holds === this.#holds) return;
    this.#holds = holds;
    if (holds) {
      this.#sessions.hold();
      this.#sessions.listeners.add(this.ask);
      this.#sessions.closing.add(this.#close);
    } else {
      this.#sessions.release();
      this.#sessions.listeners.delete(this.ask);
      this.#sessions.closing.delete(this.#close);
    }
  }

  /** Reports an outage once; returns whether to try again. */
  #fail(error: unknown): boolean {
    const limit = this.#limit;
    if (error instanceof CacheClosedError) {
      this.#hold(false);
      this.#party.end(error);
      return false;
    }
    if (!limit.hasFailed) {
      limit.hasFailed = true;
      warn(`panza: calls under the limit ${limit.id} wait for its store: ${reasonOf(error)}`);
    }
    // Waiting calls try again; what was to be given back is given back with the next change.
    this.#isAsked = this.#party.isWaiting();
    return this.#isAsked;
  }
}

/**
 * Holds back new starts of every process for a while.
 *
 * @param key The name of the note of one key, or of all keys.
 */
export async function writePause(
  { store, id, isReadOnly }: SharedLimit,
  key: Maybe<string>,
  milliseconds: number,
): Promise<void> {
  if (isReadOnly()) return;
  try {
    await store.update(
      LIMITS,
      await key,
      (note, now) => writeTurns(pause(readTurns(note), now + milliseconds), now),
    );
  } catch (error) {
    warn(`panza: a pause of the limit ${id} holds for this process only: ${reasonOf(error)}`);
  }
}
