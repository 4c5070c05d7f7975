/**
 * Leases, as notes beside entries: `<session>.<number>` for a run that is under way, with a `~` at
 * the end once the run has been aborted.
 *
 * @module
 */

import type { NoteChange } from "../backend/contract.ts";

const GIVEN_UP = "~";

/** The session that holds a lease. */
export function holderOf(note: string): string {
  return note.slice(0, note.indexOf("."));
}

/** Whether nobody holds the lease any more. */
export function isFree(note: string | undefined, isOver: (session: string) => boolean): boolean {
  return note === undefined || note.endsWith(GIVEN_UP) || isOver(holderOf(note));
}

/** Takes a lease if it is free. */
export function taken(mine: string, isOver: (session: string) => boolean): NoteChange {
  return (note) => isFree(note, isOver) ? mine : note;
}

/**
 * Gives a lease up: others may take it. Until one has, its result may still be stored in exchange
 * for `givenUpNote`.
 */
export function givenUp(mine: string): NoteChange {
  return (note) => note === mine ? givenUpNote(mine) : note;
}

/** The note of a lease that was given up. */
export function givenUpNote(mine: string): string {
  return mine + GIVEN_UP;
}

/** Removes one's own lease, given up or not, and no other. */
export function released(mine: string): NoteChange {
  return (note) => note === mine || note === givenUpNote(mine) ? undefined : note;
}
