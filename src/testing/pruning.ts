/**
 * Clause 14 of the conformance kit: the entries that a prune deletes, and its result.
 *
 * @module
 */

import { assertEquals } from "@std/assert/equals";
import { assertRejects } from "@std/assert/rejects";
import type { Backend, EntryInfo, Pruned, PruneRule } from "../backend/contract.ts";
import { CacheClosedError } from "../base/errors.ts";
import { prune } from "../backend/prune.ts";
import { randomNumbers } from "./random.ts";
import { assertListing } from "./compare.ts";
import { fill, type Kit, list, makeEntry } from "./entries.ts";

/** The time of a test's first entry, in milliseconds since the Unix epoch. */
const START = 1_700_000_000_000;
const ENTRIES = 16;

/** Each bound alone, from rules that name nothing to rules that name everything. */
const RULES: readonly PruneRule[] = [
  { storedBefore: START + 5 },
  { storedBefore: START },
  { storedBefore: START + ENTRIES },
  { expiredBefore: START + 50 },
  { maxEntries: 1 },
  { maxEntries: 7 },
  { maxEntries: ENTRIES },
  { maxBytes: 1 },
  { maxBytes: 150 },
  { maxBytes: 1_000_000 },
  { id: "a", maxEntries: 1 },
  { id: "", storedBefore: START + ENTRIES },
  { id: "absent", maxBytes: 1 },
  { storedBefore: START + 5, maxEntries: 2, dryRun: true },
];
const RANDOM_RULES = 40;
/** One of them is the beginning of another. */
const IDS = ["", "a", "a/b"];

/** Registers the tests of clause 14, and those of clauses 10 and 12 for a prune. */
export function testPruning<Store>(
  { check, entryCount, breakStore, seed }: Kit<Store>,
): void {
  check(
    `clause 14: prune() deletes and reports the entries that its rule names, no others (seed ${seed})`,
    async (backend) => {
      const random = randomNumbers(seed);
      const rules = [...RULES, ...Array.from({ length: RANDOM_RULES }, () => randomRule(random))];
      for (const rule of rules) {
        await backend.clear();
        await store(backend, random);
        await prunesLikeModel(backend, rule);
      }
      // The bytes of the newest three entries, and one byte less.
      for (const less of [0, 1]) {
        await backend.clear();
        await store(backend, random);
        const newest = (await list(backend)).sort((a, b) => b.storedAt - a.storedAt).slice(0, 3);
        const maxBytes = newest.reduce((sum, { size }) => sum + size, 0) - less;
        await prunesLikeModel(backend, { maxBytes: Math.max(1, maxBytes) });
      }
    },
  );

  check(
    `clause 14: prune() of ${entryCount} entries keeps as many as its rule says`,
    async (backend) => {
      await fill(backend, "id", entryCount);
      const kept = Math.ceil(entryCount / 100);
      const { entries } = await pruneBackend(backend, { maxEntries: kept });
      assertEquals(entries, entryCount - kept, "entries deleted");
      assertEquals((await list(backend)).length, kept, "entries left");
    },
  );

  if (breakStore !== undefined) {
    check("clause 10: prune() rejects when the store fails", async (backend, store) => {
      await fill(backend, "id", 2);
      await breakStore(store);
      await assertRejects(() => pruneBackend(backend, { maxEntries: 1 }));
    });
  }

  check("clause 12: prune() rejects with CacheClosedError after close()", async (backend) => {
    await backend.set("id", "key", makeEntry("value"));
    await backend.close();
    await assertRejects(() => pruneBackend(backend, { maxEntries: 1 }), CacheClosedError);
  });
}

/** Prunes as a cache does: by the backend's own `prune`, or by the rest of the contract. */
async function pruneBackend(backend: Backend, rule: PruneRule): Promise<Pruned> {
  return await (backend.prune?.(rule) ?? prune(backend, rule));
}

/** Stores entries one after the other, of several ids, ages and sizes; some never expire. */
async function store(backend: Backend, random: () => number): Promise<void> {
  for (let index = 0; index < ENTRIES; index++) {
    const text = "x".repeat(1 + Math.floor(random() * 40));
    const staleUntil = random() < 0.3 ? null : START + Math.floor(random() * 100);
    await backend.set(
      IDS[Math.floor(random() * IDS.length)] ?? "",
      `key ${index}`,
      makeEntry(random() < 0.5 ? text : new TextEncoder().encode(text), {
        storedAt: START + index,
        expiresAt: staleUntil,
        staleUntil,
      }),
    );
  }
}

/** A rule of random bounds, each in a range where it matters. */
function randomRule(random: () => number): PruneRule {
  const bound = (from: number, to: number): number => from + Math.floor(random() * (to - from));
  const bounds = {
    storedBefore: bound(START, START + ENTRIES),
    expiredBefore: bound(START, START + 100),
    maxBytes: bound(1, 40 * ENTRIES),
    maxEntries: bound(1, ENTRIES),
  };
  const chosen = Object.entries(bounds).filter(() => random() < 0.5);
  return {
    ...(chosen.length === 0 ? bounds : Object.fromEntries(chosen)),
    ...(random() < 0.3 && { id: IDS[Math.floor(random() * IDS.length)] ?? "" }),
    ...(random() < 0.3 && { dryRun: true }),
  };
}

async function prunesLikeModel(backend: Backend, rule: PruneRule): Promise<void> {
  const before = await list(backend);
  const kept = keptBy(rule, before);
  const deleted = before.filter((entry) => !kept.includes(entry) && isNamed(rule, entry));
  const reported = await pruneBackend(backend, rule);
  const by = `by prune(${JSON.stringify(rule)})`;
  assertEquals(reported.entries, deleted.length, `number of entries reported ${by}`);
  assertEquals(
    reported.bytes,
    deleted.reduce((sum, { size }) => sum + size, 0),
    `number of bytes reported ${by}`,
  );
  const left = before.filter((entry) => rule.dryRun === true || !deleted.includes(entry));
  assertListing(await list(backend), left);
  if (rule.dryRun === true) return;
  for (const { id, key } of deleted) {
    assertEquals(await backend.get(id, key), undefined, `an entry deleted ${by}`);
  }
}

/** Whether a rule concerns an entry at all. */
function isNamed({ id }: PruneRule, entry: EntryInfo): boolean {
  return id === undefined || entry.id === id;
}

/** The entries that are neither too old nor expired, the newest first, up to a bound. */
function keptBy(rule: PruneRule, entries: readonly EntryInfo[]): EntryInfo[] {
  const { storedBefore = -Infinity, expiredBefore = -Infinity } = rule;
  const { maxBytes = Infinity, maxEntries = Infinity } = rule;
  const kept: EntryInfo[] = [];
  let bytes = 0;
  for (const entry of entries.toSorted((a, b) => b.storedAt - a.storedAt)) {
    if (!isNamed(rule, entry)) continue;
    if (entry.storedAt < storedBefore) continue;
    if ((entry.staleUntil ?? Infinity) < expiredBefore) continue;
    bytes += entry.size;
    if (bytes > maxBytes || kept.length === maxEntries) break;
    kept.push(entry);
  }
  return kept;
}
