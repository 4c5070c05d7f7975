/**
 * Random turns of the conformance kit against a `Map`.
 *
 * @module
 */

import type { Backend } from "../backend/contract.ts";
import { reasonOf } from "../base/errors.ts";
import type { StoredEntry } from "../encoding/entry.ts";
import { randomNumbers } from "./random.ts";
import { assertEntries, assertEntry, assertListing, quoted } from "./compare.ts";
import { infoOf, list, makeEntry, type Pair } from "./entries.ts";

/**
 * Compares random turns with a model. The operations of one turn run at the same time, each on
 * another pair, so that their order does not matter.
 */
export async function answersLikeMap(
  backends: readonly [Backend, ...Backend[]],
  seed: number,
  turns: number,
): Promise<void> {
  const random = randomNumbers(seed);
  const below = (limit: number): number => Math.floor(random() * limit);
  const one = <T>(list: readonly [T, ...T[]]): T => list[below(list.length)] ?? list[0];
  const ids = ["", "a", "a/b", "A"] as const;
  const keys = ["k", "k/", "K", "k%", "😀"] as const;
  const pairs = ids.flatMap((id) => keys.map((key): Pair => [id, key]));
  const model = new Map<string, { pair: Pair; entry: StoredEntry }>();
  const stored = (id: string, key: string): StoredEntry | undefined =>
    model.get(quoted(id, key))?.entry;

  async function touch(backend: Backend, [id, key]: Pair): Promise<void> {
    const before = stored(id, key);
    switch (below(5)) {
      case 0:
        model.delete(quoted(id, key));
        return await backend.delete(id, key);
      case 1:
        return assertEntry(await backend.get(id, key), before, quoted(id, key));
      case 2:
        return assertEntries(
          await backend.getMany(id, [key, "absent", key]),
          [before, undefined, before],
          quoted(id, key),
        );
      default: {
        const text = one(["", "text", "é😀", "x".repeat(below(5000))]);
        const entry = makeEntry(random() < 0.5 ? text : new TextEncoder().encode(text), {
          checksum: below(2 ** 32),
          storedAt: below(2 ** 41),
          expiresAt: random() < 0.5 ? null : below(2 ** 41),
          durationMs: random() * 1000,
        });
        model.set(quoted(id, key), { pair: [id, key], entry });
        return await backend.set(id, key, entry);
      }
    }
  }

  for (let turn = 0; turn < turns; turn++) {
    try {
      const backend = one(backends);
      const kind = random();
      if (kind < 0.03) {
        model.clear();
        await backend.clear();
      } else if (kind < 0.1) {
        const id = one(ids);
        for (const key of keys) model.delete(quoted(id, key));
        await backend.deleteId(id);
      } else if (kind < 0.2) {
        const id = random() < 0.5 ? undefined : one(ids);
        const expected = [...model.values()]
          .filter(({ pair }) => id === undefined || pair[0] === id)
          .map(({ pair, entry }) => infoOf(...pair, entry));
        assertListing(await list(backend, id), expected);
      } else {
        const chosen = pairs
          .map((pair) => ({ pair, rank: random() }))
          .sort((x, y) => x.rank - y.rank)
          .slice(0, 1 + below(8));
        await Promise.all(chosen.map(({ pair }) => touch(backend, pair)));
      }
    } catch (cause) {
      throw new Error(`seed ${seed}, turn ${turn}: ${reasonOf(cause)}`, { cause });
    }
  }
}
