/**
 * Reads through the tiers, nearest first, and the copies that they send inwards.
 *
 * @module
 */

import type { Maybe, StoreLink } from "../backend/contract.ts";
import type { ChangeOrder } from "../backend/order.ts";
import type { Lookup } from "./lookup.ts";
import { after, ownBytes, type Tier } from "./tier.ts";

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

/** The lookups of one read. */
export interface Search {
  readonly id: string;
  readonly lookups: readonly Lookup[];
  readonly isMany: boolean;
  readonly signal?: AbortSignal | undefined;
}

/** The reading part of a tiered store. */
export class Searcher {
  readonly #state: TieredState;
  /** Copies on their way; none rejects. */
  readonly #copies = new Set<Promise<void>>();
  #pauses = 0;
  /** The end of the last pause, by the order's clock. */
  #pausedAt = 0;

  constructor(state: TieredState) {
    this.#state = state;
  }

  /** Looks entries up, at once where the tiers answer at once, and copies them inwards. */
  search(search: Search): Maybe<void> {
    const finish = (): void => {
      const { order, report } = this.#state;
      for (const lookup of search.lookups) {
        for (const error of lookup.damages()) report(error);
        if (lookup.place === undefined) continue;
        this.#promote(lookup);
        order.leave(lookup.place);
      }
    };
    const done = this.ask(search, this.#state.tiers);
    return done instanceof Promise ? done.finally(finish) : finish();
  }

  /** Asks one tier after the other until everything is found. */
  ask(search: Search, tiers: readonly Tier[], index = 0): Maybe<void> {
    const { id, isMany, signal } = search;
    const tier = tiers[index];
    const open = index === 0 ? search.lookups : search.lookups.filter(({ isFresh }) => !isFresh);
    if (tier === undefined || open.length === 0) return;
    if (index > 0 && tiers === this.#state.tiers) this.#enter(open);
    const asked = open.filter((lookup) => lookup.asks(tier));
    if (asked.length === 0) return this.ask(search, tiers, index + 1);
    const decides = !tier.isInner && this.#state.isBounded;
    const answers = tier.read(id, asked.map(({ key }) => key), isMany, { signal });
    return after(answers, (answers) => {
      for (const [at, lookup] of asked.entries()) lookup.accept(tier, answers[at], decides);
      return this.ask(search, tiers, index + 1);
    });
  }

  /** Does work during which nothing is copied: a copy would bring back what the work deletes. */
  async withoutCopies<Result>(work: () => Promise<Result>): Promise<Result> {
    this.#pauses++;
    try {
      await Promise.all(this.#copies);
      return await work();
    } finally {
      this.#pausedAt = this.#state.order.now();
      this.#pauses--;
    }
  }

  /** Takes the places of entries that may be copied: a change from here on wins over the copy. */
  #enter(lookups: readonly Lookup[]): void {
    const { order } = this.#state;
    for (const lookup of lookups) {
      if (lookup.place !== undefined) continue;
      const scope = order.scope(lookup.id);
      lookup.place = order.enter(scope, lookup.key);
      const isChanging = order.before(scope, lookup.place) !== undefined;
      if (!isChanging) lookup.born = order.now();
    }
  }

  /** Copies a fresh entry to the tiers before it, unless it was changed since its lookup. */
  #promote(lookup: Lookup): void {
    const { order, link, isClosing, report } = this.#state;
    const { id, key, place, born, best } = lookup;
    const lacking = lookup.lacking();
    if (
      place === undefined || best === undefined || lacking.length === 0 || isClosing ||
      link?.isReadOnly?.() === true || this.#pauses > 0 || born <= this.#pausedAt ||
      this.#copies.size >= MAX_COPIES
    ) return;
    // The caller may change the bytes that it gets.
    const entry = ownBytes(best);
    const work = () => Promise.all(lacking.map((tier) => tier.write(id, key, entry)));
    const copy: Promise<void> = order.repair(place, born, work)
      .catch(report)
      .finally(() => this.#copies.delete(copy));
    this.#copies.add(copy);
  }
}
