/**
 * Reads through the tiers, nearest first.
 *
 * @module
 */

import type { Maybe } from "../backend/contract.ts";
import type { Copies, TieredState } from "./copies.ts";
import type { Lookup } from "./lookup.ts";
import { after, type Tier } from "./tier.ts";

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
  readonly #copies: Copies;

  constructor(state: TieredState, copies: Copies) {
    this.#state = state;
    this.#copies = copies;
  }

  /** Looks entries up, at once where the tiers answer at once, and copies them inwards. */
  search(search: Search): Maybe<void> {
    const finish = (): void => {
      const { order, report } = this.#state;
      for (const lookup of search.lookups) {
        for (const error of lookup.damages()) report(error);
        if (lookup.place === undefined) continue;
        this.#copies.promote(lookup);
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
}
