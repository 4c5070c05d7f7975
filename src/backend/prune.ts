/**
 * Prunes old and excess entries over any backend, without holding up the event loop.
 *
 * @module
 */

import type { Backend, EntryInfo, Pruned, PruneRule } from "./contract.ts";
import { boolean, check, count, string } from "../base/check.ts";
import { type Duration, finiteDuration } from "../base/duration.ts";
import { Pacer } from "../base/turn.ts";

/** Options of `cache.prune`: at least one rule. Entries that any rule names are deleted. */
export interface PruneOptions {
  /** The age past which entries are deleted: more than 0, and finite. */
  readonly olderThan?: Duration;
  /**
   * The bytes of values that may stay: a positive integer. The newest entries stay, up to the first
   * that does not fit.
   */
  readonly maxBytes?: number;
  /** The number of entries that may stay: a positive integer. The newest stay. */
  readonly maxEntries?: number;
  /** Whether to delete entries past their `ttl` and past the times they may be served stale. */
  readonly expired?: boolean;
  /**
   * The id of the only function whose entries are deleted or counted, `""` for the direct keys.
   *
   * @default {all of them}
   */
  readonly id?: string;
  /**
   * Whether the prune only reports what it would delete.
   *
   * @default {false}
   */
  readonly dryRun?: boolean;
}

// 0 would delete everything, which is the work of `bustAll`.
const BOUND = { ...count(), must: "a positive integer; bustAll() forgets everything" };

const RULES = {
  olderThan: {
    ...finiteDuration,
    must: `${finiteDuration.must}; leave it out for no limit`,
  },
  maxBytes: BOUND,
  maxEntries: BOUND,
  expired: boolean,
  id: string,
  dryRun: boolean,
};

/**
 * Checks the options and turns durations into times.
 *
 * @param now The time, in milliseconds since the Unix epoch.
 * @returns The rule for a backend.
 * @throws {TypeError} If there is no rule, or an option is unknown or of the wrong shape.
 * @throws {RangeError} If a number is out of range.
 */
export function pruneRule(options: PruneOptions, now: number): PruneRule {
  const action = "prune the cache";
  const { olderThan, expired, id, dryRun, ...bounds } = check(action, options, RULES);
  const rule = {
    ...(olderThan !== undefined && { storedBefore: now - olderThan }),
    ...(expired === true && { expiredBefore: now }),
    ...(bounds.maxBytes !== undefined && { maxBytes: bounds.maxBytes }),
    ...(bounds.maxEntries !== undefined && { maxEntries: bounds.maxEntries }),
  };
  if (Object.keys(rule).length === 0) {
    throw new TypeError(`Cannot ${action}: pass olderThan, maxBytes, maxEntries or expired: true`);
  }
  return {
    ...rule,
    ...(id !== undefined && { id }),
    ...(dryRun === true && { dryRun }),
  };
}

/** The number of deletions under way at a time: over a network, each takes a round trip. */
const AT_ONCE = 16;

/** A source of entries that a prune lists and deletes. */
export interface Prunable<Info extends EntryInfo> {
  /** Lists all entries, or those of one id. */
  entries(id?: string): AsyncIterable<Info>;
  /** Deletes listed entries, at most `atOnce` of them. */
  remove(entries: readonly Info[]): Promise<void>;
  /** The number of entries to delete together. */
  readonly atOnce: number;
}

/** Prunes any backend: one listing, and one deletion for each entry that the rule names. */
export async function prune(backend: Backend, rule: PruneRule): Promise<Pruned> {
  return await pruneListed({
    entries: (id) => backend.entries(id),
    atOnce: AT_ONCE,
    async remove(entries) {
      const deletions = await Promise.allSettled(
        entries.map(({ id, key }) => backend.delete(id, key)),
      );
      const failed = deletions.find((deletion) => deletion.status === "rejected");
      if (failed !== undefined) throw failed.reason;
    },
  }, rule);
}

/**
 * Prunes a source that lists entries and deletes several together.
 *
 * With a bound on bytes or entries, the entries that stay are kept in memory until the listing
 * ends: some 200 bytes each, so 200 MB for a million. Without a bound, none are.
 *
 * @throws {unknown} The error of the listing or a deletion; earlier deletions stay done.
 */
export async function pruneListed<Info extends EntryInfo>(
  source: Prunable<Info>,
  rule: PruneRule,
): Promise<Pruned> {
  const { storedBefore = -Infinity, expiredBefore = -Infinity } = rule;
  const { maxBytes = Infinity, maxEntries = Infinity } = rule;
  const isBounded = maxBytes !== Infinity || maxEntries !== Infinity;
  const freed = { entries: 0, bytes: 0 };
  const kept = new OldestFirst<Info>();
  let keptBytes = 0;
  /** The newest entry that did not fit: older ones do not fit either. */
  let cut: Info | undefined;
  const doomed: Info[] = [];
  const pacer = new Pacer();

  async function remove(): Promise<void> {
    const entries = doomed.splice(0, source.atOnce);
    if (rule.dryRun !== true) await source.remove(entries);
    for (const { size } of entries) {
      freed.entries++;
      freed.bytes += size;
    }
  }

  for await (const entry of source.entries(rule.id)) {
    const { storedAt, staleUntil, size } = entry;
    if (
      storedAt < storedBefore ||
      (staleUntil !== null && staleUntil < expiredBefore) ||
      (cut !== undefined && isOlder(entry, cut))
    ) {
      doomed.push(entry);
    } else if (isBounded) {
      kept.push(entry);
      keptBytes += size;
      while (keptBytes > maxBytes || kept.size > maxEntries) {
        cut = kept.pop()!;
        keptBytes -= cut.size;
        doomed.push(cut);
      }
    }
    // One large entry may push out thousands.
    while (doomed.length >= source.atOnce) {
      await remove();
      await pacer.pace();
    }
    await pacer.pace();
  }
  if (doomed.length > 0) await remove();
  return freed;
}

/** Whether `a` goes before `b`: a total order, so that every run keeps the same entries. */
function isOlder(a: EntryInfo, b: EntryInfo): boolean {
  if (a.storedAt !== b.storedAt) return a.storedAt < b.storedAt;
  return a.id === b.id ? a.key < b.key : a.id < b.id;
}

/** A binary heap of entries, the oldest on top: no step takes as long as sorting all would. */
class OldestFirst<Info extends EntryInfo> {
  readonly #heap: Info[] = [];

  get size(): number {
    return this.#heap.length;
  }

  push(entry: Info): void {
    const heap = this.#heap;
    let at = heap.length;
    while (at > 0) {
      const above = (at - 1) >> 1;
      if (!isOlder(entry, heap[above]!)) break;
      heap[at] = heap[above]!;
      at = above;
    }
    heap[at] = entry;
  }

  /** Takes the oldest out. */
  pop(): Info | undefined {
    const heap = this.#heap;
    const oldest = heap[0];
    const last = heap.pop();
    if (last === undefined || heap.length === 0) return oldest;
    let at = 0;
    while (true) {
      let below = 2 * at + 1;
      if (below >= heap.length) break;
      const other = below + 1;
      if (other < heap.length && isOlder(heap[other]!, heap[below]!)) {
        below = other;
      }
      if (!isOlder(heap[below]!, last)) break;
      heap[at] = heap[below]!;
      at = below;
    }
    heap[at] = last;
    return oldest;
  }
}
