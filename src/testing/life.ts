/**
 * Clauses 10 to 13 and 15 of the conformance kit: failures, visibility, the end, bytes that change,
 * and the location.
 *
 * @module
 */

import { assert } from "@std/assert/assert";
import { assertEquals } from "@std/assert/equals";
import { assertRejects } from "@std/assert/rejects";
import type { Backend } from "../backend/contract.ts";
import { CacheClosedError } from "../base/errors.ts";
import { nextTurn } from "../base/turn.ts";
import { assertEntry } from "./compare.ts";
import { type Kit, list, makeEntry } from "./entries.ts";
import { answersLikeMap } from "./model.ts";
import { ALL_BYTES } from "./samples.ts";

/** Registers the tests of clause 10. */
export function testFailures<Store>({ check, breakStore }: Kit<Store>): void {
  if (breakStore === undefined) return;
  for (const [name, run] of OPERATIONS) {
    check(`clause 10: ${name} rejects when the store fails`, async (backend, store) => {
      for (const key of ["key", "other"]) await backend.set("id", key, makeEntry("value"));
      await breakStore(store);
      await assertRejects(() => run(backend));
    });
  }
}

/** Registers the tests of clause 11, and those against a model. */
export function testVisibility<Store>(
  { check, checkBoth, reopen, seed }: Kit<Store>,
): void {
  check("clause 11: a change can be read as soon as its promise resolves", async (backend) => {
    for (let round = 0; round < 20; round++) {
      await seesChanges(backend, backend);
    }
  });

  if (reopen !== undefined) {
    checkBoth(
      "clause 11: another backend on the same store sees each change",
      reopen,
      async (first, second) => {
        for (let round = 0; round < 5; round++) {
          await seesChanges(first, second);
          await seesChanges(second, first);
        }
      },
    );

    check("clause 11: entries outlive the backend that stored them", async (backend, store) => {
      await backend.set("id", "deleted", makeEntry("deleted"));
      await backend.delete("id", "deleted");
      // Accepted before close(), so close() waits for it.
      const write = backend.set("id", "key", makeEntry(ALL_BYTES));
      await Promise.all([write, backend.close()]);
      const later = await reopen(store);
      try {
        assertEntry(await later.get("id", "key"), makeEntry(ALL_BYTES), "get()");
        assertEquals(await later.get("id", "deleted"), undefined, "a deleted entry");
      } finally {
        await later.close();
      }
    });

    checkBoth(
      `clause 11: 200 random turns on two backends answer like one Map (seed ${seed})`,
      reopen,
      async (first, second) => {
        await answersLikeMap([first, second], seed, 200);
      },
    );
  }

  check(`clauses 1 to 9: 400 random turns answer like a Map (seed ${seed})`, async (backend) => {
    await answersLikeMap([backend], seed, 400);
  });
}

/** Registers the tests of clause 12. */
export function testEnd<Store>({ check }: Kit<Store>): void {
  check(
    "clause 12: close() can be called twice, one after the other and at once",
    async (backend) => {
      await backend.set("id", "key", makeEntry("value"));
      await Promise.all([backend.close(), backend.close()]);
      await backend.close();
    },
  );

  check("clause 12: close() succeeds on a backend that was never used", async (backend) => {
    await backend.close();
    await backend.close();
  });

  check("clause 12: close() waits for writes that were accepted", async (backend) => {
    let done = 0;
    const writes = Array.from(
      { length: 10 },
      (_, index) => backend.set("id", `key ${index}`, makeEntry("value")).then(() => done++),
    );
    // The count below shows a failed write.
    void Promise.allSettled(writes);
    await backend.close();
    // Promises that settle together run their listeners in any order, all within one turn.
    await nextTurn();
    assertEquals(done, writes.length, "number of writes done when close() resolves");
  });

  for (const [name, run] of OPERATIONS) {
    check(`clause 12: ${name} rejects with CacheClosedError after close()`, async (backend) => {
      await backend.set("id", "key", makeEntry("value"));
      await backend.close();
      for (let attempt = 0; attempt < 2; attempt++) {
        await assertRejects(() => run(backend), CacheClosedError);
      }
    });
  }
}

/** Registers the tests of clause 13. */
export function testOwnership<Store>({ check }: Kit<Store>): void {
  check("clause 13: changing bytes that were given changes no entry", async (backend) => {
    for (const bytes of [ALL_BYTES.slice(), new SharingBytes(ALL_BYTES.slice().buffer)]) {
      const write = backend.set("id", "key", makeEntry(bytes));
      bytes.fill(7);
      await write;
      assertEntry(await backend.get("id", "key"), makeEntry(ALL_BYTES), "get()");
      bytes.fill(8);
      assertEntry(await backend.get("id", "key"), makeEntry(ALL_BYTES), "get()");
    }
  });

  check("clause 13: changing bytes that were returned changes no entry", async (backend) => {
    const expected = makeEntry(ALL_BYTES);
    await backend.set("id", "key", makeEntry(new SharingBytes(ALL_BYTES.slice().buffer)));
    const reads = [
      () => backend.get("id", "key"),
      async () => (await backend.getMany("id", ["key"]))[0],
    ];
    for (const read of [...reads, ...reads]) {
      const entry = await read();
      assertEntry(entry, expected, "a read");
      if (entry?.data instanceof Uint8Array) entry.data.fill(9);
      for (const reread of reads) {
        assertEntry(await reread(), expected, "a later read");
      }
    }
  });
}

/** Registers the tests of clause 15. */
export function testLocation<Store>({ checkBoth, reopen, openNeighbour }: Kit<Store>): void {
  if (reopen !== undefined) {
    checkBoth("clause 15: location is the same on the same store", reopen, (first, second) => {
      assertEquals(second.location, first.location, "location");
      return Promise.resolve();
    });
  }
  if (openNeighbour !== undefined) {
    checkBoth("clause 15: a neighbour has another location", openNeighbour, (first, second) => {
      const isOwn = first.location === undefined || first.location !== second.location;
      assert(isOwn, `a neighbour has the same location, ${first.location}`);
      return Promise.resolve();
    });
  }
}

/**
 * Every operation by its name, on an entry that exists. Reads may throw at once, because they may
 * answer at once; changes must reject.
 */
const OPERATIONS: readonly (readonly [string, (backend: Backend) => Promise<unknown>])[] = [
  ["get()", async (backend) => await backend.get("id", "key")],
  ["getMany()", async (backend) => await backend.getMany("id", ["key", "other"])],
  ["set()", (backend) => backend.set("id", "key", makeEntry("new"))],
  ["delete()", (backend) => backend.delete("id", "key")],
  ["deleteId()", (backend) => backend.deleteId("id")],
  ["clear()", (backend) => backend.clear()],
  ["entries()", (backend) => list(backend)],
];

/** Bytes whose `slice` shares memory, as in the `Buffer` of Node, where a copy is easily missed. */
class SharingBytes extends Uint8Array<ArrayBuffer> {
  override slice(start?: number, end?: number): Uint8Array<ArrayBuffer> {
    return this.subarray(start, end);
  }
}

/** Asserts that each kind of change through one backend is seen at once through the other. */
async function seesChanges(writer: Backend, reader: Backend): Promise<void> {
  const removals = [
    () => writer.delete("id", "key"),
    () => writer.deleteId("id"),
    () => writer.clear(),
  ];
  for (const remove of removals) {
    for (const data of ["old", "new", ALL_BYTES]) {
      await writer.set("id", "key", makeEntry(data));
      assertEntry(await reader.get("id", "key"), makeEntry(data), "get() after set()");
      const [entry] = await reader.getMany("id", ["key"]);
      assertEntry(entry, makeEntry(data), "getMany() after set()");
      assertEquals((await list(reader)).length, 1, "entries listed after set()");
    }
    await remove();
    assertEquals(await reader.get("id", "key"), undefined, "get() after a delete");
    const [entry] = await reader.getMany("id", ["key"]);
    assertEquals(entry, undefined, "getMany() after a delete");
    assertEquals((await list(reader)).length, 0, "entries listed after a delete");
  }
}
