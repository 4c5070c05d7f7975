/**
 * The register of sessions: a note of their last heartbeats. A session is written into it once,
 * before its name is used anywhere. A session that is missing is over and never comes back.
 *
 * @module
 */

import type { NoteChange } from "../backend/contract.ts";

/** The life of a session without heartbeats, and their interval, in ms. An object, for tests. */
export const LEASE = { ms: 30_000, beatMs: 10_000 };

/** The last heartbeat of each session, by the clock of the store. */
export type Register = Map<string, number>;

/** The form of a name: files of any other name are not those of a session, and are not removed. */
const NAME = /^\d+-\d+$/;

/** A name for a session, which no other has. */
export function newName(): string {
  return crypto.getRandomValues(new Uint32Array(2)).join("-");
}

/** Reads the register; other lines than its own are left out, so that the note heals. */
export function readRegister(note: string | undefined): Register {
  const register: Register = new Map();
  for (const line of note?.split("\n") ?? []) {
    const [session = "", at] = line.split(" ");
    if (NAME.test(session) && Number.isFinite(Number(at))) register.set(session, Number(at));
  }
  return register;
}

function write(register: Register): string | undefined {
  const lines = [...register].map(([session, at]) => `${session} ${at}`);
  return lines.length === 0 ? undefined : lines.join("\n");
}

/** Makes a change of the register; one that returns `false` leaves the note as it is. */
function changing(change: (register: Register, now: number) => unknown): NoteChange {
  return (note, now) => {
    const register = readRegister(note);
    return change(register, now) === false ? note : write(register);
  };
}

/** The value in place of a heartbeat once a session is over, until the session is removed. */
const BURIED = 0;

/** Adds a new session. The session lives from its first heartbeat on, which is later. */
export function joined(session: string): NoteChange {
  return changing((register, now) => register.set(session, Math.round(now) - 1));
}

/** Writes a heartbeat of a session, unless the session is over. */
export function renewed(session: string): NoteChange {
  return changing((register, now) =>
    isAlive(register, session) && register.set(session, Math.round(now))
  );
}

/**
 * Declares a session over if its heartbeat has expired.
 *
 * @param isOver Whether the session is over in any case. Called in the step that changes the
 * register: a session that is being opened is locked first, and then writes its first heartbeat.
 */
export function buried(session: string, isOver: () => boolean): NoteChange {
  return changing((register, now) => {
    const at = register.get(session);
    if (at === undefined || at === BURIED) return false;
    return (isExpired(at, now) || isOver()) && register.set(session, BURIED);
  });
}

/** Removes a session of which nothing is left. */
export function left(session: string): NoteChange {
  return changing((register) => register.delete(session));
}

/** Whether a session is not over, as far as the register knows. */
export function isAlive(register: Register, session: string): boolean {
  return (register.get(session) ?? BURIED) !== BURIED;
}

/** Whether a heartbeat has expired; one far in the future is from before a clock was set back. */
export function isExpired(at: number, now: number): boolean {
  return now - at > LEASE.ms || at - now > 10 * LEASE.ms;
}
