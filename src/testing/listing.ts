/**
 * Clause 9 of the conformance kit: listings.
 *
 * @module
 */

import { assertEquals } from "@std/assert/equals";
import { digest } from "../encoding/digest.ts";
import { assertListing } from "./compare.ts";
import { fill, infoOf, type Kit, list, makeEntry, type Pair } from "./entries.ts";
import { BYTES, NAMES, TEXTS } from "./samples.ts";

/** Registers the tests of clause 9. */
export function testListing<Store>({ check, entryCount }: Kit<Store>): void {
  check(
    "clause 9: entries() reports id, key, times, cost, and the size in bytes",
    async (backend) => {
      assertEquals((await list(backend)).length, 0, "entries of an empty store");
      const entries = [...TEXTS, ...BYTES].map((data, index) =>
        makeEntry(data, {
          storedAt: 1_700_000_000_000 + index,
          expiresAt: index % 3 === 0 ? null : index % 3 === 1 ? 0 : index,
          staleUntil: index % 4 === 0 ? null : index % 4 === 1 ? 0 : index,
          durationMs: index / 4,
        })
      );
      for (const [index, entry] of entries.entries()) {
        await backend.set(index % 2 === 0 ? "id" : "", `key ${index}`, entry);
      }
      assertListing(
        await list(backend),
        entries.map((entry, index) => infoOf(index % 2 === 0 ? "id" : "", `key ${index}`, entry)),
      );
    },
  );

  check(
    "clause 9: entries() reports awkward ids and keys as they are, or by digest",
    async (backend) => {
      const pairs = NAMES.map((name, i): Pair => [name, NAMES.at(-i) ?? "key"]);
      for (const [id, key] of pairs) await backend.set(id, key, makeEntry(key));
      const long = NAMES.filter((name) => name.length > 80);
      const digests = await Promise.all(long.map((name) => digest(name)));
      const texts = new Map(digests.map((hex, index) => [`sha256-${hex}`, long[index]]));
      const textOf = (name: string) => texts.get(name) ?? name;
      assertListing(
        (await list(backend)).map((info) => ({
          ...info,
          id: textOf(info.id),
          key: textOf(info.key),
        })),
        pairs.map(([id, key]) => infoOf(id, key, makeEntry(key))),
      );
    },
  );

  check("clause 9: entries() with an id lists that id only", async (backend) => {
    const ids = ["", ...NAMES];
    for (const id of ids) await backend.set(id, "key", makeEntry(id));
    for (const id of ids) {
      assertListing(await list(backend, id), [infoOf(id, "key", makeEntry(id))]);
    }
    assertEquals((await list(backend, "absent")).length, 0, "entries of an absent id");
  });

  check(`clause 9: entries() lists each of ${entryCount} entries once`, async (backend) => {
    const keys = await fill(backend, "id", entryCount);
    const [first = "key"] = keys;
    await backend.set("id", first, makeEntry(first));
    await backend.set("other", "key", makeEntry("key"));
    const expected = keys.map((key) => infoOf("id", key, makeEntry(key)));
    assertListing(await list(backend, "id"), expected);
    assertListing(await list(backend), [...expected, infoOf("other", "key", makeEntry("key"))]);
  });

  check("clause 9: entries() tolerates changes while it is read", async (backend) => {
    const keys = await fill(backend, "id", 40);
    const deleted = keys.filter((_, index) => index % 4 === 0);
    const kept = keys.filter((_, index) => index % 4 !== 0);
    const seen: string[] = [];
    for await (const { key } of backend.entries("id")) {
      seen.push(key);
      // A listing that includes entries added meanwhile need not end by itself.
      if (seen.length === 200) break;
      if (!deleted.includes(key)) {
        await backend.set("id", key, makeEntry("new"));
      }
      await backend.set("id", `added ${seen.length}`, makeEntry("new"));
      const next = deleted[seen.length - 1];
      if (next !== undefined) await backend.delete("id", next);
    }
    assertEquals(new Set(seen).size, seen.length, "different entries that were listed");
    for (const key of kept) {
      assertEquals(seen.includes(key), true, `${key} is listed`);
    }
  });

  check("clause 9: leaving a listing early does no harm", async (backend) => {
    await fill(backend, "id", 20);
    for await (const info of backend.entries()) {
      assertEquals(info.id, "id", "the id");
      break;
    }
    await backend.set("id", "more", makeEntry("more"));
    const [one, two] = await Promise.all([list(backend), list(backend, "id")]);
    assertEquals(one.length, 21, "entries of one listing");
    assertEquals(two.length, 21, "entries of the other listing");
  });
}
