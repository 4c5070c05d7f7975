/**
 * Bringing a tier the writes that it missed while it failed.
 *
 * @module
 */

import { isIntact, seal, type StoredEntry } from "../encoding/entry.ts";
import { Lookup, mustStay } from "./lookup.ts";
import type { MissedWrite } from "./marks.ts";
import type { TieredState } from "./copies.ts";
import type { Searcher } from "./search.ts";
import type { Tier } from "./tier.ts";

/** The number of entries that are brought at once. */
const BRING_AT_ONCE = 16;

/** Brings a tier the writes that it missed, until it fails again. Never rejects. */
export function bring(state: TieredState, searcher: Searcher, tier: Tier): Promise<void> {
  return tier.bringing ??= bringAll(state, searcher, tier)
    .catch(state.report)
    .finally(() => tier.bringing = undefined);
}

async function bringAll(state: TieredState, searcher: Searcher, tier: Tier): Promise<void> {
  const missed = tier.marks.missedWrites().values();
  let answers = true;
  const worker = async (): Promise<void> => {
    for (const write of missed) {
      if (answers) answers = await bringOne(state, searcher, tier, write);
      if (!answers) return;
    }
  };
  await Promise.all(Array.from({ length: BRING_AT_ONCE }, worker));
}

/**
 * Brings a tier one entry that it missed, as another tier has it now. This is a copy like any
 * other: a change wins over it, and nothing is deleted. Resolves to whether the tier answers.
 */
async function bringOne(
  { tiers, order }: TieredState,
  searcher: Searcher,
  tier: Tier,
  { id, key, storedAt, expiresAt }: MissedWrite,
): Promise<boolean> {
  const place = order.enter(order.scope(id), key);
  let answers = true;
  const work = async (): Promise<void> => {
    const lookup = new Lookup(id, key);
    const others = tiers.filter((each) => each !== tier);
    await searcher.ask({ id, lookups: [lookup], isMany: false }, others);
    if (lookup.best === undefined) return;
    // An inner copy expires earlier than the missed write.
    const entry = lookup.best.storedAt === storedAt
      ? seal(id, key, lookup.best, { ...lookup.best, expiresAt })
      : lookup.best;
    const [held] = await tier.read(id, [key], false, { isForced: true });
    if (held instanceof Error) answers = false;
    else if (held !== undefined && isIntact(id, key, held) && outlasts(held, entry)) {
      tier.marks.changed(id, key);
    } else answers = await tier.write(id, key, entry, { isForced: true }) === undefined;
  };
  await order.repair(place, order.now(), work).finally(() => order.leave(place));
  return answers;
}

/** Whether a tier keeps its entry: a newer one of another machine, or one that must stay. */
function outlasts(held: StoredEntry, entry: StoredEntry): boolean {
  if (mustStay(held, entry)) return true;
  // A time in the future shows that a clock was set back: then ours is the newer entry.
  return held.storedAt > entry.storedAt && held.storedAt <= Date.now();
}
