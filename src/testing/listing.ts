/**
 * Clause 9 of the conformance kit: listings.
 *
 * @module
 */

import { equal, sameInfos } from "./assert.ts";
import { fill, infoOf, type Kit, list, makeEntry, type Pair } from "./entries.ts";
import { BYTES, NAMES, TEXTS } from "./samples.ts";

/** Registers the tests of clause 9. */
export function testListing<Store>({ check }: Kit<Store>, entryCount: number): void {
  check("clause 9: entries() tells id, key, times, and the size in bytes", async (backend) => {
    equal((await list(backend)).length, 0, "entries of an empty store");
    const entries = [...TEXTS, ...BYTES].map((data, index) =>
      makeEntry(data, {
        storedAt: 1_700_000_000_000 + index,
        expiresAt: index % 3 === 0 ? null : index % 3 === 1 ? 0 : index,
        staleUntil: index % 4 === 0 ? null : index % 4 === 1 ? 0 : index,
      })
    );
    for (const [index, entry] of entries.entries()) {
      await backend.set(index % 2 === 0 ? "id" : "", `key ${index}`, entry);
    }
    sameInfos(
      await list(backend),
      entries.map((entry, index) => infoOf(index % 2 === 0 ? "id" : "", `key ${index}`, entry)),
    );
  });

  check("clause 9: entries() tells awkward ids and keys as they are", async (backend) => {
    const pairs = NAMES.map((name, i): Pair => [name, NAMES.at(-i) ?? "key"]);
    for (const [id, key] of pairs) await backend.set(id, key, makeEntry(key));
    sameInfos(
      await list(backend),
      pairs.map(([id, key]) => infoOf(id, key, makeEntry(key))),
    );
  });

  check("clause 9: entries() with an id lists that id only", async (backend) => {
    const ids = ["", ...NAMES];
    for (const id of ids) await backend.set(id, "key", makeEntry(id));
    for (const id of ids) {
      sameInfos(await list(backend, id), [infoOf(id, "key", makeEntry(id))]);
    }
    equal((await list(backend, "absent")).length, 0, "entries of an absent id");
  });

  check(`clause 9: entries() lists each of ${entryCount} entries once`, async (backend) => {
    const keys = await fill(backend, "id", entryCount);
    const [first = "key"] = keys;
    await backend.set("id", first, makeEntry(first));
    await backend.set("other", "key", makeEntry("key"));
    const expected = keys.map((key) => infoOf("id", key, makeEntry(key)));
    sameInfos(await list(backend, "id"), expected);
    sameInfos(await list(backend), [...expected, infoOf("other", "key", makeEntry("key"))]);
  });

  check("clause 9: entries() tolerates changes while it is read", async (backend) => {
    const keys = await fill(backend, "id", 40);
    const deleted = keys.filter((_, index) => index % 4 === 0);
    const kept = keys.filter((_, index) => index % 4 !== 0);
    const seen: string[] = [];
    for await (const { key } of backend.entries("id")) {
      seen.push(key);
      // A listing that also tells what is added meanwhile need not end by itself.
      if (seen.length === 200) break;
      if (!deleted.includes(key)) {
        await backend.set("id", key, makeEntry("new"));
      }
      await backend.set("id", `added ${seen.length}`, makeEntry("new"));
      const next = deleted[seen.length - 1];
      if (next !== undefined) await backend.delete("id", next);
    }
    equal(new Set(seen).size, seen.length, "different entries that were listed");
    for (const key of kept) {
      equal(seen.includes(key), true, `${key} is listed`);
    }
  });

  check("clause 9: a listing that is left early harms nothing", async (backend) => {
    await fill(backend, "id", 20);
    for await (const info of backend.entries()) {
      equal(info.id, "id", "the id");
      break;
    }
    await backend.set("id", "more", makeEntry("more"));
    const [one, two] = await Promise.all([list(backend), list(backend, "id")]);
    equal(one.length, 21, "entries that one listing tells");
    equal(two.length, 21, "entries that the other tells");
  });
}
