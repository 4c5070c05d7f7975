/**
 * Clauses 4 to 8 of the conformance kit: each id and key is found, and removed, alone.
 *
 * @module
 */

import { assertEquals } from "@std/assert/equals";
import type { Backend } from "../backend/contract.ts";
import type { StoredEntry } from "../encoding/entry.ts";
import { assertEntries, assertEntry, quoted } from "./compare.ts";
import { fill, type Kit, list, makeEntry, type Pair } from "./entries.ts";
import { ALL_BYTES, JOINS, NAMES } from "./samples.ts";

/** Registers the tests of clauses 4 to 8. */
export function testNames<Store>(
  { check, checkBoth, entryCount, openNeighbour }: Kit<Store>,
): void {
  check("clause 4: ids that look alike keep their own entries", async (backend) => {
    await keepsApart(
      backend,
      ["", ...NAMES].map((id) => [id, "key"]),
    );
  });

  check("clause 4: keys that look alike keep their own entries", async (backend) => {
    await keepsApart(
      backend,
      NAMES.map((key) => ["id", key]),
    );
    await keepsApart(
      backend,
      NAMES.map((key) => ["", key]),
    );
  });

  check(
    "clause 4: ids and keys that join to the same text keep their own entries",
    async (backend) => {
      await keepsApart(
        backend,
        JOINS.flatMap((join): Pair[] => [
          [`a${join}b`, "c"],
          ["a", `b${join}c`],
          [`a${join}b${join}`, "c"],
          [`a${join}`, `b${join}c`],
          ["", `a${join}b${join}c`],
          [join, `a${join}b`],
          [`${join}a`, "b"],
        ]),
      );
      await keepsApart(backend, [
        ["1", "1:a"],
        ["11", ":a"],
        ["1:1", "a"],
        ["", "1:1:a"],
        ["[", "]"],
        ['["a"', '"b"]'],
        ["a", 'b","c'],
        ['a","b', "c"],
      ]);
    },
  );

  check(
    "clause 5: getMany() answers in the order asked, duplicates and absent keys included",
    async (backend) => {
      const [a, b, c] = [makeEntry("a"), makeEntry(ALL_BYTES), makeEntry("c")];
      await backend.set("id", "a", a);
      await backend.set("id", "b", b);
      await backend.set("id", "c", c);
      await backend.set("other", "absent", a);
      const orders: Record<string, (StoredEntry | undefined)[]> = {
        "": [],
        a: [a],
        cab: [c, a, b],
        aa: [a, a],
        bcbab: [b, c, b, a, b],
        x: [undefined],
        xx: [undefined, undefined],
        xaxcx: [undefined, a, undefined, c, undefined],
      };
      for (const [order, expected] of Object.entries(orders)) {
        const keys = [...order].map((key) => (key === "x" ? "absent" : key));
        const answer = await backend.getMany("id", Object.freeze(keys));
        assertEntries(answer, expected, `getMany(${JSON.stringify(keys)})`);
      }
    },
  );

  check("clause 5: getMany() takes awkward keys", async (backend) => {
    for (const key of NAMES) await backend.set("id", key, makeEntry(key));
    const keys = NAMES.toReversed();
    assertEntries(
      await backend.getMany("id", keys),
      keys.map((key) => makeEntry(key)),
      "getMany() of awkward keys",
    );
  });

  check(`clause 5: getMany() takes ${entryCount} keys at once`, async (backend) => {
    const keys = await fill(backend, "id", entryCount);
    const asked = keys
      .flatMap((key, i) => (i % 10 === 0 ? [key, `absent ${i}`, key] : [key]))
      .reverse();
    assertEntries(
      await backend.getMany("id", asked),
      asked.map((key) => (key.startsWith("absent") ? undefined : makeEntry(key))),
      "getMany()",
    );
  });

  check("clause 6: delete() removes one entry and no other", async (backend) => {
    const pairs: Pair[] = [
      ["id", "a"],
      ["id", "b"],
      ["other", "a"],
      ["", "a"],
    ];
    for (const [id, key] of pairs) await backend.set(id, key, makeEntry(id));
    await backend.delete("id", "a");
    assertEquals(await backend.get("id", "a"), undefined, "get() after delete()");
    for (const [id, key] of pairs.slice(1)) {
      assertEntry(await backend.get(id, key), makeEntry(id), `get(${quoted(id, key)})`);
    }
  });

  check("clause 6: delete() of an absent entry succeeds", async (backend) => {
    await backend.delete("id", "key");
    await backend.delete("", "key");
    await backend.set("id", "other", makeEntry("value"));
    await backend.delete("id", "key");
    await backend.delete("id", "other");
    await backend.delete("id", "other");
    assertEquals((await list(backend)).length, 0, "entries left");
  });

  check("clause 6: deletes of one entry at the same time all succeed", async (backend) => {
    await backend.set("id", "key", makeEntry("value"));
    await Promise.all(Array.from({ length: 20 }, () => backend.delete("id", "key")));
    assertEquals(await backend.get("id", "key"), undefined, "get() after the deletes");
  });

  check("clause 6: delete() reaches no entry whose id or key looks alike", async (backend) => {
    await deletesApart(
      backend,
      NAMES.map((key) => ["id", key]),
      "delete",
    );
    await deletesApart(
      backend,
      ["", ...NAMES].map((id) => [id, "k"]),
      "delete",
    );
  });

  check(`clause 7: deleteId() removes all of ${entryCount} entries`, async (backend) => {
    const keys = await fill(backend, "id", entryCount);
    await backend.set("id2", "key", makeEntry("stays"));
    await backend.set("", "id", makeEntry("stays"));
    await backend.deleteId("id");
    const left = (await backend.getMany("id", keys)).filter(Boolean).length;
    assertEquals(left, 0, "entries of the id that are left");
    assertEntry(await backend.get("id2", "key"), makeEntry("stays"), "another id");
    assertEntry(await backend.get("", "id"), makeEntry("stays"), "a direct key");
  });

  check("clause 7: deleteId() reaches no id that looks alike", async (backend) => {
    await deletesApart(
      backend,
      ["", ...NAMES].map((id) => [id, "key"]),
      "deleteId",
    );
    const joined = new Set(JOINS.flatMap((join) => [`a${join}b`, `a${join}`, join]));
    await deletesApart(
      backend,
      [...joined].map((id) => [id, "key"]),
      "deleteId",
    );
  });

  check(
    "clause 7: deleteId() of an absent id succeeds, and of the empty id deletes direct keys only",
    async (backend) => {
      await backend.deleteId("absent");
      await backend.deleteId("");
      await backend.set("", "key", makeEntry("direct"));
      await backend.set("id", "key", makeEntry("stays"));
      await Promise.all([backend.deleteId(""), backend.deleteId("")]);
      assertEquals(await backend.get("", "key"), undefined, "the direct key");
      assertEntry(await backend.get("id", "key"), makeEntry("stays"), "the other id");
    },
  );

  check(
    `clause 8: clear() removes all of ${entryCount} entries, whatever their ids`,
    async (backend) => {
      await backend.clear();
      const keys = await fill(backend, "id", entryCount);
      for (const id of ["", ...NAMES]) {
        await backend.set(id, "k", makeEntry(id));
      }
      await backend.clear();
      assertEquals((await list(backend)).length, 0, "entries that are listed");
      const left = await backend.getMany("id", keys);
      assertEquals(left.filter(Boolean).length, 0, "entries that are read");
      for (const id of ["", ...NAMES]) {
        assertEquals(await backend.get(id, "k"), undefined, `get(${quoted(id, "k")})`);
      }
      await backend.set("id", "key", makeEntry("again"));
      assertEntry(await backend.get("id", "key"), makeEntry("again"), "set() after it");
    },
  );

  if (openNeighbour !== undefined) {
    checkBoth(
      "clause 4: entries of a neighbour in the same store are out of reach",
      openNeighbour,
      async (first, second) => {
        await first.set("id", "key", makeEntry("mine"));
        assertEquals(await second.get("id", "key"), undefined, "the neighbour's get()");
        await second.set("id", "key", makeEntry("theirs"));
        assertEntry(await first.get("id", "key"), makeEntry("mine"), "get()");
        assertEquals((await list(first)).length, 1, "entries that are listed");
        await second.deleteId("id");
        assertEntry(await first.get("id", "key"), makeEntry("mine"), "get()");
      },
    );

    checkBoth(
      "clause 8: clear() leaves everything else in the store",
      openNeighbour,
      async (first, second) => {
        for (
          const [cleared, kept] of [
            [first, second],
            [second, first],
          ] as const
        ) {
          await cleared.set("id", "key", makeEntry("goes"));
          await kept.set("id", "key", makeEntry("stays"));
          await cleared.clear();
          assertEquals(await cleared.get("id", "key"), undefined, "get() after clear()");
          assertEntry(await kept.get("id", "key"), makeEntry("stays"), "the neighbour's");
        }
      },
    );
  }
}

/** Stores a different entry under each pair, then reads each one. */
async function keepsApart(backend: Backend, pairs: readonly Pair[]): Promise<void> {
  const distinct = new Map(pairs.map((pair) => [quoted(...pair), pair]));
  for (const [name, [id, key]] of distinct) {
    assertEquals(await backend.get(id, key), undefined, `get(${name}) before set()`);
    await backend.set(id, key, makeEntry(name));
  }
  for (const [name, [id, key]] of distinct) {
    assertEntry(await backend.get(id, key), makeEntry(name), `get(${name})`);
    const [entry] = await backend.getMany(id, [key]);
    assertEntry(entry, makeEntry(name), `getMany(${name})`);
  }
  await backend.clear();
}

/**
 * Deletes pair after pair, once from the first to the last and once back: if one deletion reached
 * another pair, in either direction, that pair would be missing when its turn comes.
 */
async function deletesApart(
  backend: Backend,
  pairs: readonly Pair[],
  operation: "delete" | "deleteId",
): Promise<void> {
  for (const order of [pairs, pairs.toReversed()]) {
    for (const [id, key] of order) {
      await backend.set(id, key, makeEntry(quoted(id, key)));
    }
    for (const [id, key] of order) {
      const name = quoted(id, key);
      assertEntry(await backend.get(id, key), makeEntry(name), `get(${name})`);
      await (operation === "delete" ? backend.delete(id, key) : backend.deleteId(id));
      assertEquals(await backend.get(id, key), undefined, `get(${name}) afterwards`);
    }
  }
}
