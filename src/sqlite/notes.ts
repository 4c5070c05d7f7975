/**
 * Notes: texts that processes sharing a database write for each other, in their own table.
 *
 * @module
 */

import { type NoteChange, RESERVED } from "../backend/contract.ts";
import { untilNextLook } from "../backend/shared.ts";
import { sleep } from "../base/turn.ts";
import type { Connection } from "./connection.ts";
import type { Session } from "./rows.ts";
import type { SweepSession } from "./sweep.ts";
import type { Writes } from "./writes.ts";

/** The result of a change of a note. */
interface Outcome {
  readonly note: string | undefined;
  /** Whether there is something to write. */
  readonly isChange: boolean;
}

/**
 * The clock of the machine, the same for every process, and the note. `REAL`, because `@db/sqlite`
 * cuts integers to 32 bits.
 */
const READ = `SELECT (julianday('now') - 2440587.5) * 86400000.0 AS now, n.note
  FROM (SELECT 1) LEFT JOIN panza_notes n ON n.id = ? AND n.key = ?`;

/** The stored note, and the time. */
function read(session: Session, id: string, key: string): [note: string | undefined, now: number] {
  const [now, note] = session.statement(READ).row(id, key) ?? [];
  return [typeof note === "string" ? note : undefined, Number(now)];
}

/**
 * Replaces a note, or reads it.
 *
 * @param ready The open database, where it is certainly the one to use.
 * @returns The note, and whether it was written.
 */
export async function update(
  writes: Writes,
  ready: Session | undefined,
  id: string,
  key: string,
  given: NoteChange | undefined,
): Promise<Outcome> {
  const change: NoteChange = given ?? ((note) => note);
  try {
    // A reader must not wait for the lock of writers. Leases are mostly free, and limits are mostly
    // read.
    if ((given === undefined || id.startsWith(RESERVED)) && ready?.hasNotes(false)) {
      const [before, now] = read(ready, id, key);
      if (change(before, now) === before) return { note: before, isChange: false };
    }
  } catch {
    // The long way meets the same error, and handles it.
  }
  let outcome: Outcome = { note: undefined, isChange: false };
  let failure: { readonly error: unknown } | undefined;
  await writes.change("write", 0, (session) => {
    session.hasNotes(true);
    const [before, now] = read(session, id, key);
    try {
      const note = change(before, now);
      outcome = { note, isChange: note !== before };
      failure = undefined;
    } catch (error) {
      // Not thrown here: the error must not undo the other changes of the transaction.
      failure = { error };
      return;
    }
    const { note, isChange } = outcome;
    if (!isChange) return;
    if (note === undefined) removeNote(session, id, key);
    else {
      session.statement("INSERT OR REPLACE INTO panza_notes (id, key, note) VALUES (?, ?, ?)")
        .run(id, key, note);
    }
  });
  if (failure !== undefined) throw failure.error;
  return outcome;
}

/** Removes a note if it has this text; returns whether it had. */
export function takeNote(session: Session, id: string, key: string, note: string): boolean {
  return session.hasNotes(false) && session.statement(
        "DELETE FROM panza_notes WHERE id = ? AND key = ? AND note = ? RETURNING 1 AS taken",
      ).rows(id, key, note).length > 0;
}

export function removeNote(session: Session, id: string, key: string): void {
  if (!session.hasNotes(false)) return;
  session.statement("DELETE FROM panza_notes WHERE id = ? AND key = ?").run(id, key);
}

/**
 * Removes the notes of one id, or of all ids that are not reserved. The notes go before the
 * entries: calls that began before a deletion must not store during it.
 */
export function removeNotes(session: SweepSession, id: string | undefined): void {
  session.transact(() => {
    if (!session.hasNotes(false)) return;
    const [where, value] = id === undefined ? ["substr(id, 1, 2) <> ?", RESERVED] : ["id = ?", id];
    session.statement(`DELETE FROM panza_notes WHERE ${where}`).run(value);
  });
}

/** Removes the notes that a session has written. */
export async function removeNotesOf(writes: Writes, name: string): Promise<void> {
  await writes.change("delete", 0, (session) => {
    if (!session.hasNotes(false)) return;
    session.statement("DELETE FROM panza_notes WHERE substr(note, 1, length(?)) = ?")
      .run(`${name}.`, `${name}.`);
  });
}

/** Waits for changes, those of other processes too: one loop, however many wait. */
export class Changes {
  readonly #connection: Connection;
  readonly #waiting = new Set<{ readonly until: number; readonly resolve: () => void }>();
  #isLooking = false;

  constructor(connection: Connection) {
    this.#connection = connection;
  }

  /** Resolves after the next change, at the latest after `ms` milliseconds. */
  wait(ms: number): Promise<void> {
    return new Promise((resolve) => {
      this.#waiting.add({ until: performance.now() + ms, resolve });
      if (!this.#isLooking) void this.#look();
    });
  }

  /** Ends the waits after a change by this process, which SQLite shows only to others. */
  tell(): void {
    for (const { resolve } of this.#waiting) resolve();
    this.#waiting.clear();
  }

  async #look(): Promise<void> {
    this.#isLooking = true;
    let seen = this.#version();
    let since = performance.now();
    while (this.#waiting.size > 0) {
      await sleep(untilNextLook(performance.now() - since));
      const version = this.#version();
      const now = performance.now();
      if (version !== seen) {
        seen = version;
        since = now;
        this.tell();
      }
      for (const wait of this.#waiting) {
        if (wait.until > now) continue;
        wait.resolve();
        this.#waiting.delete(wait);
      }
    }
    this.#isLooking = false;
  }

  /** A value that changes with each commit of others, and with the connection. */
  #version(): unknown {
    const { session } = this.#connection;
    try {
      return session?.statement("PRAGMA data_version").row()?.[0];
    } catch {
      return session;
    }
  }
}
