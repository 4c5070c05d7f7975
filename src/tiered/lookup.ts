/**
 * The lookup of one entry, tier by tier, and the choice among the tiers' answers.
 *
 * @module
 */

import { DamagedEntryError } from "../base/errors.ts";
import type { Place } from "../backend/order.ts";
import { isForeign, isIntact, type StoredEntry } from "../encoding/entry.ts";
import { type Answer, isDamage, type Tier } from "./tier.ts";

/** The lookup of one entry. */
export class Lookup {
  readonly id: string;
  readonly key: string;
  /** The entry that counts so far: a fresh one, else the one that expires last. */
  best: StoredEntry | undefined;
  /** Whether it is fresh: no further tier is asked. */
  isFresh = false;
  /** Its place in the order, once a tier is asked from which it can be copied. */
  place: Place | undefined;
  /** The number of the order's clock when the place was taken; 0 during a change. */
  born = 0;
  readonly errors: Error[] = [];
  /** Damaged entries, as they are or as their tier reported them. */
  readonly #damaged: (StoredEntry | Error)[] = [];
  /** The tiers without an entry that counts, and what they hold instead. */
  readonly #lacking: [tier: Tier, held: StoredEntry | undefined][] = [];
  #isAnswered = false;

  constructor(id: string, key: string) {
    this.id = id;
    this.key = key;
  }

  /** Whether a tier is worth asking; one whose entry does not count is as good as empty. */
  asks(tier: Tier): boolean {
    if (tier.marks.counts(this.id, this.key)) return true;
    this.#lacking.push([tier, undefined]);
    return false;
  }

  /**
   * Takes a tier's answer.
   *
   * @param decides Whether the answer overrules an expired entry of the tiers before.
   */
  accept(tier: Tier, answer: Answer, decides: boolean): void {
    if (answer instanceof Error && !isDamage(answer)) {
      this.errors.push(answer);
      return;
    }
    this.#isAnswered = true;
    if (decides && this.best !== undefined && !isForeign(this.best)) this.best = undefined;
    if (answer === undefined) {
      this.#lacking.push([tier, undefined]);
    } else if (answer instanceof Error || !isIntact(this.id, this.key, answer)) {
      this.#damaged.push(answer);
      this.#lacking.push([tier, undefined]);
    } else if (answer.expiresAt === null || Date.now() < answer.expiresAt) {
      this.best = answer;
      this.isFresh = true;
    } else {
      this.best = this.best === undefined ? answer : later(this.best, answer);
      this.#lacking.push([tier, answer]);
    }
  }

  /** The tiers that a fresh entry is to be copied to. */
  lacking(): Tier[] {
    const { best } = this;
    if (!this.isFresh || best === undefined) return [];
    return this.#lacking.flatMap(([tier, held]) => mustStay(held, best) ? [] : tier);
  }

  /** Whether no tier could answer. */
  get hasFailed(): boolean {
    return !this.#isAnswered && this.errors.length > 0;
  }

  /** The nearest damaged entry, for a caller that gets no other. */
  get damaged(): StoredEntry | Error | undefined {
    return this.#damaged[0];
  }

  /** The errors of damaged entries that another tier made up for. */
  damages(): Error[] {
    if (this.best === undefined) return [];
    return this.#damaged.map((damaged) =>
      damaged instanceof Error ? damaged : new DamagedEntryError(
        "its checksum does not match in one tier, and another tier was asked",
        this.id,
        this.key,
      )
    );
  }
}

/** Whether a tier's entry is of a kind that the other cannot replace, such as an encrypted one. */
export function mustStay(held: StoredEntry | undefined, other: StoredEntry): boolean {
  return held !== undefined && isForeign(held) && held.format !== other.format;
}

/** The entry that must stay, else the one that expires later, else the first. */
function later(first: StoredEntry, second: StoredEntry): StoredEntry {
  if (isForeign(first) !== isForeign(second)) return isForeign(first) ? first : second;
  const expiry = ({ expiresAt }: StoredEntry): number => expiresAt ?? Infinity;
  return expiry(second) > expiry(first) ? second : first;
}
