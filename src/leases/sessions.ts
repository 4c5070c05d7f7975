/**
 * The session of a process in a store: one heartbeat, whatever it holds there.
 *
 * @module
 */

import { CacheClosedError } from "../base/errors.ts";
import { PATIENCE, patienceNow, patiently } from "../base/patience.ts";
import { inBackground } from "../base/turn.ts";
import { type Backend, type Maybe, type NoteChange, RESERVED } from "../backend/contract.ts";
import {
  buried,
  isAlive,
  isExpired,
  joined,
  LEASE,
  left,
  newName,
  readRegister,
  type Register,
  renewed,
} from "./register.ts";

/** The id of the register's note. */
const REGISTER = `${RESERVED}session`;

/** The shortest time between looks at a session of another process, in milliseconds. */
const LOOK_MS = 50;

/** A backend that keeps notes. */
export interface Noting extends Backend {
  update(id: string, key: string, change?: NoteChange): Promise<string | undefined>;
  exchange: NonNullable<Backend["exchange"]>;
  changed(ms: number): Promise<void>;
}

/** Whether a backend keeps notes, so that processes can share work through it. */
export function keepsNotes(backend: object): backend is Noting {
  const { update, exchange, changed }: Partial<Backend> = backend;
  return [update, exchange, changed].every((method) => typeof method === "function");
}

const all = new WeakMap<object, Sessions>();

/** The open sessions of this process, which are alive and need no look. */
const own = new Set<string>();

/** The session of this process in one store, and its knowledge of others. */
export class Sessions {
  readonly #backend: Noting;
  #name: string | undefined;
  #opening: Promise<string> | undefined;
  #beating: Promise<void> | undefined;
  /** The beginning of the last heartbeat that succeeded, by `patienceNow()`. */
  #beatAt = 0;
  #stopBeating: () => void = () => {};
  /** The number of holds, by leases and limits, that keep the session. */
  #held = 0;
  /** Sessions that are over: none of them ever comes back. */
  readonly #over = new Set<string>();
  readonly #lookedAt = new Map<string, number>();
  /** Burials under way; none rejects. */
  readonly #burying = new Set<Promise<void>>();
  /** Called when the session turns out to be over while something is held. */
  readonly listeners: Set<() => void> = new Set();
  /** Release what is held, before the session ends with its store; none rejects. */
  readonly closing: Set<() => Promise<void>> = new Set();
  #isClosed = false;
  #count = 0;

  /** The instance of a backend, shared by all caches and limits over it. */
  static of(backend: Noting): Sessions {
    let sessions = all.get(backend);
    if (sessions === undefined) all.set(backend, sessions = new Sessions(backend));
    return sessions;
  }

  private constructor(backend: Noting) {
    this.#backend = backend;
  }

  /** Whether a session is known to be over. */
  readonly isOver = (session: string): boolean => this.#over.has(session);

  /** The name of the session, which is opened at the first call. */
  name(): Maybe<string> {
    const name = this.#name;
    if (this.#isClosed) return Promise.reject(new CacheClosedError());
    if (name === undefined) return this.#opening ??= this.#open();
    // A process that was blocked for long may have lost its session.
    if (patienceNow() - this.#beatAt <= LEASE.ms / 2) return name;
    this.#beating ??= this.#beat().finally(() => (this.#beating = undefined));
    return this.#beating.then(() => this.#name ?? this.name());
  }

  /** A number that no other lease of the session has, in any cache. */
  count(): number {
    return ++this.#count;
  }

  /** Keeps the session from ending while it is not used, until `release`. */
  hold(): void {
    this.#held++;
  }

  release(): void {
    this.#held--;
  }

  /** Checks whether sessions of others are over, and ends those that are. */
  async look(sessions: Iterable<string>): Promise<void> {
    const now = patienceNow();
    const due = [...sessions].filter((session) =>
      session !== this.#name && !this.#over.has(session) &&
      now - (this.#lookedAt.get(session) ?? -Infinity) >= LOOK_MS
    );
    if (due.length === 0) return;
    for (const session of due) this.#lookedAt.set(session, now);
    await this.#examine(due);
  }

  /** Ends the session. What it still holds is free from then on. */
  async close(): Promise<void> {
    await this.#opening?.catch(() => {});
    await Promise.all([...this.closing].map((close) => close()));
    this.#isClosed = true;
    await Promise.all(this.#burying);
    await this.#leave();
  }

  async #open(): Promise<string> {
    try {
      for (;;) {
        const name = newName();
        const at = patienceNow();
        await this.#change(joined(name));
        await this.#backend.openSession?.(name);
        // Another process may have looked before the session was open, and found it over.
        const { register } = await this.#change(renewed(name));
        if (!isAlive(register, name)) {
          await this.#backend.endSession?.(name);
          continue;
        }
        this.#name = name;
        own.add(name);
        this.#beatAt = at;
        this.#beatLater();
        this.#bury(this.#examine([...register.keys()].filter((each) => !own.has(each))));
        return name;
      }
    } finally {
      this.#opening = undefined;
    }
  }

  #beatLater(): void {
    this.#stopBeating();
    this.#stopBeating = inBackground(() => {
      // A process that holds nothing leaves nothing behind, and costs the others nothing.
      const work = this.#held > 0 ? this.#beat() : this.#leave();
      this.#bury(work);
    }, LEASE.beatMs);
  }

  /** Writes a heartbeat of this process, and ends sessions whose heartbeat has expired. */
  async #beat(): Promise<void> {
    const name = this.#name;
    if (name === undefined) return;
    this.#beatLater();
    const at = patienceNow();
    const { register, now } = await this.#change(renewed(name));
    if (name !== this.#name) return;
    if (isAlive(register, name)) {
      this.#beatAt = at;
      const expired = [...register].filter(([, at]) => isExpired(at, now));
      if (expired.length > 0) await this.#examine(expired.map(([session]) => session));
      return;
    }
    this.#name = undefined;
    own.delete(name);
    this.#stopBeating();
    this.#over.add(name);
    for (const listener of this.listeners) listener();
    await this.#backend.endSession?.(name);
  }

  async #leave(): Promise<void> {
    const name = this.#name;
    if (name === undefined) return;
    this.#name = undefined;
    own.delete(name);
    this.#stopBeating();
    try {
      await this.#backend.endSession?.(name);
      await this.#change(left(name));
    } catch {
      // Its lock is free, and its heartbeat expires.
    }
  }

  /** Finds out which sessions are over, and removes what they left behind. */
  async #examine(sessions: readonly string[]): Promise<void> {
    const { register, now } = await this.#read();
    for (const session of sessions) {
      const at = register.get(session);
      if (at !== undefined) {
        const isOver = (): boolean => this.#backend.isOver?.(session) === true;
        if (!isExpired(at, now) && !isOver()) continue;
        // Declared over in the register first, because the process may only sleep. Removed from the
        // register last, so that another process continues if this one dies.
        const { register } = await this.#change(buried(session, isOver));
        if (isAlive(register, session)) continue;
        await this.#backend.endSession?.(session);
        await this.#change(left(session));
      }
      this.#over.add(session);
      this.#lookedAt.delete(session);
    }
  }

  /** Makes `close` wait for work. Its errors are ignored: the next such work meets them again. */
  #bury(work: Promise<void>): void {
    const done: Promise<void> = work.catch(() => {}).finally(() => this.#burying.delete(done));
    this.#burying.add(done);
  }

  #read(): Promise<{ register: Register; now: number }> {
    return this.#change((note) => note);
  }

  async #change(change: NoteChange): Promise<{ register: Register; now: number }> {
    let time = 0;
    const note = await patiently(
      this.#backend.update(REGISTER, "all", (note, now) => change(note, time = now)),
      PATIENCE.callMs,
    );
    return { register: readRegister(note), now: time };
  }
}
