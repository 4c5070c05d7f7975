/**
 * What a read has found of one entry so far, tier by tier, and which of it counts.
 *
 * @module
 */

import type { StoredEntry } from "../encoding/entry.ts";
import { isIntact } from "../encoding/entry.ts";
import { DamagedEntryError, type PanzaError } from "../base/errors.ts";
import type { Tier } from "./tier.ts";
import type { Search } from "./order.ts";
import { unstamp } from "./stamp.ts";

/** An intact entry, as it was stored first. */
export interface Found {
  readonly entry: StoredEntry;
  /** When the outermost tier was last known to hold it; `undefined` where that was not kept. */
  readonly seenAt: number | undefined;
}

/** One entry that is looked for. */
export class Lookup {
  readonly id: string;
  readonly key: string;
  readonly #innerTtl: number;
  /** A fresh entry that counts: no further tier is asked. */
  fresh: Found | undefined;
  /** Set as soon as a tier was asked from which an entry can be copied. */
  search: Search | undefined;
  /** The tiers that hold nothing that counts, nearest first. */
  readonly lacking: Tier[] = [];
  /** Why tiers gave no answer. */
  readonly errors: PanzaError[] = [];
  /** Damaged entries: as they are, or as their tier told of them. */
  readonly #damaged: (StoredEntry | DamagedEntryError)[] = [];
  #stale: Found | undefined;
  #overdue: Found | undefined;
  #answered = false;
  /** Whether the outermost tier told what it has. */
  #settled = false;

  constructor(id: string, key: string, innerTtl: number) {
    this.id = id;
    this.key = key;
    this.#innerTtl = innerTtl;
  }

  /**
   * Takes note of what a tier holds.
   *
   * @param askedAt When it was asked, in milliseconds since the Unix epoch.
   */
  accept(tier: Tier, stored: StoredEntry | undefined, askedAt: number): void {
    this.#answered = true;
    if (stored !== undefined && !isIntact(this.id, this.key, stored)) {
      this.damage(tier, stored);
      return;
    }
    if (!tier.inner) this.#settled = true;
    if (stored === undefined) {
      this.lacking.push(tier);
      return;
    }
    const { entry, seenAt } = unstamp(this.id, this.key, stored);
    const found = { entry, seenAt: tier.inner ? seenAt : askedAt };
    if (tier.inner && this.#isOverdue(seenAt, askedAt)) {
      this.#overdue = later(this.#overdue, found);
    } else if (entry.expiresAt !== null && askedAt >= entry.expiresAt) {
      this.#stale = later(this.#stale, found);
    } else {
      this.fresh = found;
      return;
    }
    this.lacking.push(tier);
  }

  /** Takes note of a damaged entry. */
  damage(tier: Tier, damaged: StoredEntry | DamagedEntryError): void {
    this.#answered = true;
    this.#damaged.push(damaged);
    this.lacking.push(tier);
  }

  #isOverdue(seenAt: number | undefined, now: number): boolean {
    if (this.#innerTtl === Infinity) return false;
    // A clock that was set back must not make an entry last.
    return seenAt === undefined || now < seenAt || now >= seenAt + this.#innerTtl;
  }

  /** The entry that counts: a fresh one, else the least stale. */
  get found(): Found | undefined {
    // What the outermost tier could not be asked about is better than nothing.
    return this.fresh ?? later(this.#stale, this.#settled ? undefined : this.#overdue);
  }

  /** Whether tiers failed and none answered. */
  get failed(): boolean {
    return !this.#answered && this.errors.length > 0;
  }

  /** The nearest damaged entry. */
  get damaged(): StoredEntry | DamagedEntryError | undefined {
    return this.#damaged[0];
  }

  /** The damaged entries as errors. */
  damages(): DamagedEntryError[] {
    return this.#damaged.map((damaged) =>
      damaged instanceof DamagedEntryError ? damaged : new DamagedEntryError(
        "its checksum does not match in one tier, and another tier was asked",
        this.id,
        this.key,
      )
    );
  }
}

/** The one that expires later; the first where they are equal. */
function later(first: Found | undefined, second: Found | undefined): Found | undefined {
  if (first === undefined || second === undefined) return first ?? second;
  const expiry = ({ entry }: Found): number => entry.expiresAt ?? Infinity;
  return expiry(second) > expiry(first) ? second : first;
}
