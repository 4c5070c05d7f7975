/**
 * The copies that reads send inwards: what an outer tier has, the nearer ones get.
 *
 * @module
 */

import type { StoreLink } from "../backend/contract.ts";
import type { ChangeOrder } from "../backend/order.ts";
import type { Lookup } from "./lookup.ts";
import { ownBytes, type Tier } from "./tier.ts";

/** The limit of copies under way to inner tiers; entries found beyond it are not copied. */
const MAX_COPIES = 1_000;

/** The state that the parts of a tiered store share. */
export interface TieredState {
  /** Nearest first. */
  readonly tiers: readonly Tier[];
  /** Whether the last tier has to be asked again after a time. */
  readonly isBounded: boolean;
  /** The order of changes: its own until a cache connects, which orders changes from then on. */
  order: ChangeOrder;
  link: StoreLink | undefined;
  isClosing: boolean;
  readonly report: (error: Error) => void;
}

/** The copies of a tiered store that are under way. */
export class Copies {
  readonly #state: TieredState;
  /** Copies on their way; none rejects. */
  readonly #underWay = new Set<Promise<void>>();
  #pauses = 0;
  /** The end of the last pause, by the order's clock. */
  #pausedAt = 0;

  constructor(state: TieredState) {
    this.#state = state;
  }

  /** Copies a fresh entry to the tiers before it, unless it was changed since its lookup. */
  promote(lookup: Lookup): void {
    const { order, link, isClosing, report } = this.#state;
    const { id, key, place, born, best } = lookup;
    const lacking = lookup.lacking();
    if (
      place === undefined || best === undefined || lacking.length === 0 || isClosing ||
      link?.isReadOnly?.() === true || this.#pauses > 0 || born <= this.#pausedAt ||
      this.#underWay.size >= MAX_COPIES
    ) return;
    // The caller may change the bytes that it gets.
    const entry = ownBytes(best);
    const work = () => Promise.all(lacking.map((tier) => tier.write(id, key, entry)));
    const copy: Promise<void> = order.repair(place, born, work)
      .catch(report)
      .finally(() => this.#underWay.delete(copy));
    this.#underWay.add(copy);
  }

  /** Does work during which nothing is copied: a copy would bring back what the work deletes. */
  async without<Result>(work: () => Promise<Result>): Promise<Result> {
    this.#pauses++;
    try {
      await Promise.all(this.#underWay);
      return await work();
    } finally {
      this.#pausedAt = this.#state.order.now();
      this.#pauses--;
    }
  }
}
