/**
 * Clauses 10 to 13 of the conformance kit: failures, other readers, the end, and bytes that change.
 *
 * @module
 */

import { delay } from "@std/async/delay";
import type { Backend } from "../backend/contract.ts";
import { CacheClosedError } from "../base/errors.ts";
import { equal, fail, rejects, same } from "./assert.ts";
import { type Kit, list, makeEntry } from "./entries.ts";
import { answersLikeMap } from "./model.ts";
import { ALL_BYTES } from "./samples.ts";

/** Registers the tests of clause 10. */
export function testFailures<Store>(
  { check }: Kit<Store>,
  breakStore: ((store: Store) => void | Promise<void>) | undefined,
): void {
  if (breakStore !== undefined) {
    for (const [name, run] of OPERATIONS) {
      check(`clause 10: ${name} rejects when the store fails`, async (backend, store) => {
        for (const key of ["key", "other"]) {
          await backend.set("id", key, makeEntry("value"));
        }
        await breakStore(store);
        await rejects(() => run(backend), `${name} over a broken store`);
      });
    }
  }
}

/** Registers the tests of clause 11, and those against a model. */
export function testVisibility<Store>(
  { check, checkBoth }: Kit<Store>,
  again: ((store: Store) => Backend | Promise<Backend>) | undefined,
  seed: number,
): void {
  check("clause 11: a change can be read as soon as its promise resolves", async (backend) => {
    for (let round = 0; round < 20; round++) {
      await seesChanges(backend, backend);
    }
  });

  if (again !== undefined) {
    checkBoth(
      "clause 11: another backend on the same store sees each change",
      again,
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
      const later = await again(store);
      try {
        same(await later.get("id", "key"), makeEntry(ALL_BYTES), "get()");
        equal(await later.get("id", "deleted"), undefined, "what was deleted");
      } finally {
        await later.close();
      }
    });

    checkBoth(
      `clause 11: 200 random turns on two backends answer like one Map (seed ${seed})`,
      again,
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
    // A failed write is told below, by the count.
    void Promise.allSettled(writes);
    await backend.close();
    // Promises that settle together tell it in any order: one turn later all of them have.
    await delay(0);
    equal(done, writes.length, "number of writes done when close() resolves");
  });

  for (const [name, run] of OPERATIONS) {
    check(`clause 12: ${name} rejects with CacheClosedError after close()`, async (backend) => {
      await backend.set("id", "key", makeEntry("value"));
      await backend.close();
      for (let attempt = 0; attempt < 2; attempt++) {
        const error = await rejects(() => run(backend), `${name} after close()`);
        if (!(error instanceof CacheClosedError)) {
          fail(`${name} after close() rejects with CacheClosedError`, error);
        }
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
      same(await backend.get("id", "key"), makeEntry(ALL_BYTES), "get()");
      bytes.fill(8);
      same(await backend.get("id", "key"), makeEntry(ALL_BYTES), "get()");
    }
  });

  check("clause 13: changing bytes that were returned changes no entry", async (backend) => {
    const expected = makeEntry(ALL_BYTES);
    await backend.set("id", "key", makeEntry(new SharingBytes(ALL_BYTES.slice().buffer)));
    const reads = [
      () => backend.get("id", "key"),
      () => backend.getMany("id", ["key"]).then(([entry]) => entry),
    ];
    for (const read of [...reads, ...reads]) {
      const entry = await read();
      same(entry, expected, "what is read");
      if (entry?.data instanceof Uint8Array) entry.data.fill(9);
      for (const reread of reads) {
        same(await reread(), expected, "a later read");
      }
    }
  });
}

/** Every operation by its name, on an entry that exists. */
const OPERATIONS: readonly (readonly [string, (backend: Backend) => Promise<unknown>])[] = [
  ["get()", (backend) => backend.get("id", "key")],
  ["getMany()", (backend) => backend.getMany("id", ["key", "other"])],
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

/** Each kind of change through one backend, read at once through the other. */
async function seesChanges(writer: Backend, reader: Backend): Promise<void> {
  const removals = [
    () => writer.delete("id", "key"),
    () => writer.deleteId("id"),
    () => writer.clear(),
  ];
  for (const remove of removals) {
    for (const data of ["old", "new", ALL_BYTES]) {
      await writer.set("id", "key", makeEntry(data));
      same(await reader.get("id", "key"), makeEntry(data), "get() after set()");
      const [entry] = await reader.getMany("id", ["key"]);
      same(entry, makeEntry(data), "getMany() after set()");
      equal((await list(reader)).length, 1, "entries listed after set()");
    }
    await remove();
    equal(await reader.get("id", "key"), undefined, "get() after a delete");
    const [entry] = await reader.getMany("id", ["key"]);
    equal(entry, undefined, "getMany() after a delete");
    equal((await list(reader)).length, 0, "entries listed after a delete");
  }
}
