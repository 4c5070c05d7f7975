/**
 * Clauses 16 to 20 of the conformance kit: notes, exchanges of notes for entries, changes,
 * sessions. A backend without `update` has nothing to test here.
 *
 * @module
 */

import { assert } from "@std/assert/assert";
import { assertEquals } from "@std/assert/equals";
import { assertRejects } from "@std/assert/rejects";
import { type Backend, type NoteChange, RESERVED } from "../backend/contract.ts";
import type { Sharing } from "../backend/shared.ts";
import { CacheClosedError } from "../base/errors.ts";
import { sleep } from "../base/turn.ts";
import { assertEntry } from "./compare.ts";
import { type Kit, list, makeEntry } from "./entries.ts";
import { NAMES } from "./samples.ts";

/** A backend that keeps notes. */
type Noting =
  & Backend
  & Pick<Sharing, "update" | "changed">
  & { readonly exchange: NonNullable<Backend["exchange"]> };

/** The number of changes of one note that overlap. */
const CROWD = 100;
/** The largest difference between the clocks of two backends, in milliseconds. */
const CLOCK_MS = 2_000;
/** The longest time until a change is noticed, in milliseconds. */
const NOTICED_MS = 1_500;

const same: NoteChange = (note) => note;
const one: NoteChange = (note) => String(Number(note ?? 0) + 1);

/** Registers the tests of clauses 16 to 20. */
export function testNotes<Store>(
  { check, checkBoth, reopen, breakStore }: Kit<Store>,
): void {
  const checkNotes = (name: string, body: (backend: Noting, store: Store) => Promise<void>) =>
    check(name, async (backend, store) => {
      if (keepsNotes(backend)) await body(backend, store);
    });

  checkNotes("clause 16: update() replaces, keeps and removes a note", async (backend) => {
    assertEquals(await backend.update("id", "key", same), undefined);
    for (const text of ["a note", "", "é😀\n'\"\\", "x".repeat(5_000)]) {
      assertEquals(await backend.update("id", "key", () => text), text);
      assertEquals(await backend.update("id", "key", same), text);
      assertEquals(await backend.update("id", "key"), text);
    }
    assertEquals(await backend.update("id", "key", () => undefined), undefined);
    assertEquals(await backend.update("id", "key", same), undefined);
  });

  checkNotes("clause 16: notes of different names are different notes", async (backend) => {
    const pairs: [id: string, key: string][] = NAMES.slice(0, 80).flatMap((name) => [
      ["id", name],
      [name, "key"],
      [RESERVED + name, "key"],
    ]);
    await Promise.all(pairs.map(([id, key]) => backend.update(id, key, () => `${id}\n${key}`)));
    for (const [id, key] of pairs) {
      assertEquals(await backend.update(id, key, same), `${id}\n${key}`);
    }
  });

  checkNotes(`clause 16: ${CROWD} updates that overlap count to ${CROWD}`, async (backend) => {
    await Promise.all(Array.from({ length: CROWD }, () => backend.update("id", "key", one)));
    assertEquals(await backend.update("id", "key", same), String(CROWD));
  });

  checkNotes("clause 16: update() rejects with what its change throws", async (backend) => {
    const error = new Error("the change fails");
    const fail = (): never => {
      throw error;
    };
    await backend.update("id", "key", () => "before");
    const others = [backend.update("id", "other", one), backend.set("id", "key", makeEntry("e"))];
    const failed = await assertRejects(() => backend.update("id", "key", fail));
    assert(failed === error, "update() rejects with another error");
    await Promise.all(others);
    assertEquals(await backend.update("id", "key", same), "before");
  });

  checkNotes(
    "clause 16: now is the time, also for a change that writes nothing",
    async (backend) => {
      const times: number[] = [];
      for (const note of ["a", "a", undefined]) {
        await backend.update("id", "key", (_, now) => {
          times.push(now);
          return note;
        });
      }
      for (const time of times) {
        assert(Math.abs(time - Date.now()) < CLOCK_MS, `now is ${time}`);
      }
    },
  );

  checkNotes("clause 17: no read, listing or prune shows a note", async (backend) => {
    await backend.update("id", "key", () => "a note");
    assertEquals(await backend.get("id", "key"), undefined);
    assertEquals(await backend.getMany("id", ["key"]), [undefined]);
    assertEquals(await list(backend), []);
    await backend.prune?.({ maxEntries: 1, storedBefore: Date.now() + 1e6, maxBytes: 1 });
    assertEquals(await backend.update("id", "key", same), "a note");
  });

  checkNotes("clause 17: set() leaves the note beside its entry", async (backend) => {
    await backend.update("id", "key", () => "a note");
    await backend.set("id", "key", makeEntry("value"));
    assertEquals(await backend.update("id", "key", same), "a note");
  });

  for (const [name, remove, left] of DELETIONS) {
    checkNotes(`clause 17: ${name} removes the notes of what it deletes`, async (backend) => {
      await backend.set("id", "key", makeEntry("value"));
      for (const [id, key] of NOTED) await backend.update(id, key, () => "a note");
      await remove(backend);
      const found: boolean[] = [];
      for (const [id, key] of NOTED) {
        found.push(await backend.update(id, key, same) !== undefined);
      }
      assertEquals(found, left, `which of ${JSON.stringify(NOTED)} are left`);
    });
  }

  checkNotes("clause 18: exchange() stores while the note is the one given", async (backend) => {
    const [old, next] = [makeEntry("old"), makeEntry("new")];
    assertEquals(await backend.exchange("id", "key", "mine", next), false);
    assertEquals(await backend.get("id", "key"), undefined);
    await backend.set("id", "key", old);
    await backend.update("id", "key", () => "another");
    assertEquals(await backend.exchange("id", "key", "mine", next), false);
    assertEntry(await backend.get("id", "key"), old, "get()");
    assertEquals(await backend.update("id", "key", same), "another");
    await backend.update("id", "key", () => "mine");
    assertEquals(await backend.exchange("id", "key", "mine", next), true);
    assertEntry(await backend.get("id", "key"), next, "get()");
    assertEquals(await backend.update("id", "key", same), undefined);
  });

  checkNotes("clause 18: of many exchanges for one note one stores", async (backend) => {
    await backend.update("id", "key", () => "mine");
    const stored = await Promise.all(
      Array.from(
        { length: 20 },
        (_, n) => backend.exchange("id", "key", "mine", makeEntry(`${n}`)),
      ),
    );
    assertEquals(stored.filter((is) => is).length, 1);
    assertEntry(await backend.get("id", "key"), makeEntry(`${stored.indexOf(true)}`), "get()");
  });

  checkNotes("clause 19: changed() ends when its time is up", async (backend) => {
    await backend.update("id", "key", () => "a note");
    await backend.changed(1);
  });

  checkNotes("clause 19: changed() ends with a change", async (backend) => {
    await backend.update("id", "key", () => "a note");
    await notices(backend, backend);
  });

  checkNotes("clause 19: a change that writes nothing is no change", async (backend) => {
    await backend.update("id", "key", () => "a note");
    let hasEnded = false;
    const end = backend.changed(150).then(() => (hasEnded = true));
    await backend.update("id", "key", same);
    await sleep(20);
    assert(!hasEnded, "changed() resolves though nothing has changed");
    await end;
  });

  checkNotes("clause 20: endSession() removes the notes of that session", async (backend) => {
    const { openSession, isOver, endSession } = backend;
    if (openSession === undefined || isOver === undefined || endSession === undefined) return;
    await backend.openSession?.("a1");
    assertEquals([backend.isOver?.("a1"), backend.isOver?.("unknown")], [false, false]);
    const notes = ["a1.1", "a1.2~", "a1", "a12.1", "b.a1."];
    for (const note of notes) await backend.update("id", note, () => note);
    await backend.endSession?.("a1");
    await backend.endSession?.("a1");
    const left: string[] = [];
    for (const note of notes) left.push(await backend.update("id", note, same) ?? "");
    assertEquals(left, ["", "", "a1", "a12.1", "b.a1."]);
  });

  const operations: readonly (readonly [string, (backend: Noting) => Promise<unknown>])[] = [
    ["update()", (backend) => backend.update("id", "key", () => "new")],
    ["exchange()", (backend) => backend.exchange("id", "key", "a note", makeEntry("new"))],
  ];
  for (const [name, run] of [...operations, ["changed()", wait] as const]) {
    checkNotes(
      `clause 12: ${name} rejects with CacheClosedError after close()`,
      async (backend) => {
        await backend.update("id", "key", () => "a note");
        await backend.close();
        await assertRejects(() => run(backend), CacheClosedError);
      },
    );
  }
  if (breakStore !== undefined) {
    for (const [name, run] of operations) {
      checkNotes(`clause 10: ${name} rejects when the store fails`, async (backend, store) => {
        await backend.update("id", "key", () => "a note");
        await breakStore(store);
        await assertRejects(() => run(backend));
      });
    }
  }

  if (reopen === undefined) return;
  const checkTwo = (name: string, body: (first: Noting, second: Noting) => Promise<void>) =>
    checkBoth(name, reopen, async (first, second) => {
      if (keepsNotes(first) && keepsNotes(second)) await body(first, second);
    });

  checkTwo("clause 16: two backends count one note together", async (first, second) => {
    const work = [first, second].flatMap((backend) =>
      Array.from({ length: CROWD / 2 }, () => backend.update("id", "key", one))
    );
    await Promise.all(work);
    assertEquals(await first.update("id", "key", same), String(CROWD));
  });

  checkTwo("clause 17: a deletion removes the notes of another backend", async (first, second) => {
    await second.update("id", "key", () => "a note");
    for (const [, remove] of DELETIONS) {
      await first.update("id", "key", () => "a note");
      await remove(second);
      assertEquals(await first.update("id", "key", same), undefined);
      assertEquals(await first.exchange("id", "key", "a note", makeEntry("late")), false);
    }
  });

  checkTwo(
    "clause 19: changed() ends with the change of another backend",
    async (first, second) => {
      await first.update("id", "key", () => "a note");
      await notices(first, second);
      await notices(second, first);
    },
  );

  checkTwo(
    "clause 20: isOver() tells when the other has ended its session",
    async (first, second) => {
      if (first.openSession === undefined || second.isOver === undefined) return;
      await first.openSession("s1");
      assertEquals(second.isOver("s1"), false);
      await first.update("id", "key", () => "s1.1");
      await second.endSession?.("s1");
      assertEquals(await first.update("id", "key", same), undefined);
    },
  );
}

/** The places where the tests of deletions write notes. */
const NOTED: readonly (readonly [id: string, key: string])[] = [
  ["id", "key"],
  ["id", "other"],
  ["id2", "key"],
  [`${RESERVED}id`, "key"],
];

/** Each deletion, and which of the notes it leaves. */
const DELETIONS: readonly (readonly [
  name: string,
  remove: (backend: Backend) => Promise<void>,
  left: readonly boolean[],
])[] = [
  ["delete()", (backend) => backend.delete("id", "key"), [false, true, true, true]],
  ["deleteId()", (backend) => backend.deleteId("id"), [false, false, true, true]],
  ["clear()", (backend) => backend.clear(), [false, false, false, true]],
];

function keepsNotes(backend: Backend): backend is Noting {
  if (backend.update === undefined) return false;
  assert(backend.exchange !== undefined && backend.changed !== undefined, "clauses 16, 18 and 19");
  return true;
}

const wait = (backend: Noting): Promise<void> => backend.changed(1);

/** Asserts that one backend notices a change of the other one. */
async function notices(waiting: Noting, changing: Noting): Promise<void> {
  const start = performance.now();
  const noticed = waiting.changed(2 * NOTICED_MS);
  await changing.update("id", "changed", one);
  await noticed;
  assert(performance.now() - start < NOTICED_MS, "the change was not noticed");
}
