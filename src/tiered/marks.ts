/**
 * Marks of the entries of a tier that do not count, because the tier missed a change of them.
 *
 * @module
 */

import type { StoredEntry } from "../encoding/entry.ts";

/** The number of marks that are kept for each tier, at some 200 bytes each. */
export const MAX_MARKS = 100_000;

/** A write that a tier missed. */
export interface MissedWrite {
  readonly id: string;
  readonly key: string;
  /** The entry's own times: the copy in a nearer tier may expire earlier. */
  readonly storedAt: number;
  readonly expiresAt: number | null;
}

/** The mark of one entry. */
interface Mark {
  readonly id: string;
  /** Whether it counts although its id does not. */
  readonly counts: boolean;
  readonly missed?: MissedWrite;
}

/** The changes that a tier missed in this process, and those that it got since. */
export class Marks {
  readonly #marks = new Map<string, Mark>();
  /** Ids whose deletion failed: only entries that were stored since count. */
  readonly #oldIds = new Set<string>();
  /** Whether that holds for all ids. */
  #isAllOld = false;
  readonly #overflow: () => void;

  /** @param overflow Called when the tier missed more than `MAX_MARKS` changes. */
  constructor(overflow: () => void) {
    this.#overflow = overflow;
  }

  /** Whether the tier's entry counts. */
  counts(id: string, key: string): boolean {
    if (this.#marks.size === 0 && this.#oldIds.size === 0 && !this.#isAllOld) return true;
    return this.#marks.get(nameOf(id, key))?.counts ?? !this.#isOld(id);
  }

  /** Records that the tier has stored or deleted an entry. */
  changed(id: string, key: string): void {
    if (this.#isOld(id)) this.#set(id, key, { id, counts: true });
    else this.#marks.delete(nameOf(id, key));
  }

  /** Records that the tier has deleted an id, or everything. */
  swept(id: string | undefined): void {
    this.#forget(id);
    if (id === undefined) {
      this.#isAllOld = false;
      this.#oldIds.clear();
    } else this.#oldIds.delete(id);
  }

  /** Records that the tier missed a write. */
  missedWrite(id: string, key: string, { storedAt, expiresAt }: StoredEntry): void {
    this.#set(id, key, { id, counts: false, missed: { id, key, storedAt, expiresAt } });
  }

  /** Records that the tier missed the deletion of an entry. */
  missedDelete(id: string, key: string): void {
    this.#set(id, key, { id, counts: false });
  }

  /** Records that the tier missed the deletion of an id, or of everything. */
  missedSweep(id: string | undefined): void {
    this.#forget(id);
    if (id === undefined) this.#isAllOld = true;
    else this.#oldIds.add(id);
  }

  /** The missed writes that were not made up for. */
  missedWrites(): MissedWrite[] {
    return [...this.#marks.values()].flatMap(({ missed }) => missed ?? []);
  }

  #isOld(id: string): boolean {
    return this.#isAllOld || this.#oldIds.has(id);
  }

  #set(id: string, key: string, mark: Mark): void {
    this.#marks.set(nameOf(id, key), mark);
    if (this.#marks.size <= MAX_MARKS) return;
    this.#marks.clear();
    if (!this.#isAllOld) this.#overflow();
    this.#isAllOld = true;
  }

  #forget(id: string | undefined): void {
    if (id === undefined) this.#marks.clear();
    for (const [name, mark] of this.#marks) if (mark.id === id) this.#marks.delete(name);
  }
}

/** Id and key as one text; the length of the id keeps different pairs apart. */
export function nameOf(id: string, key: string): string {
  return `${id.length} ${id}${key}`;
}
