/**
 * Clauses 1 to 3 of the conformance kit: values come back as they were stored last.
 *
 * @module
 */

import { assert } from "@std/assert/assert";
import { assertEquals } from "@std/assert/equals";
import type { Backend } from "../backend/contract.ts";
import { nextTurn } from "../base/turn.ts";
import type { StoredEntry } from "../encoding/entry.ts";
import { assertEntries, assertEntry } from "./compare.ts";
import { type Kit, list, makeEntry } from "./entries.ts";
import { ALL_BYTES, BYTES, TEXTS } from "./samples.ts";

/** Registers the tests of clauses 1 to 3. */
export function testValues<Store>({ check }: Kit<Store>): void {
  check("clause 1: get() returns the text that set() stored", async (backend) => {
    await keepsEach(backend, TEXTS);
  });

  check("clause 1: get() returns the bytes that set() stored", async (backend) => {
    await keepsEach(backend, BYTES);
  });

  check("clause 1: bytes that are part of a larger buffer stay a part", async (backend) => {
    const whole = Uint8Array.from({ length: 64 }, (_, i) => i);
    await keepsEach(backend, [whole.subarray(3, 9), whole.subarray(60), whole.subarray(5, 5)]);
  });

  check("clause 1: text and bytes of 64 KiB and of 1 MiB come back whole", async (backend) => {
    for (const length of [65_535, 65_536, 65_537, MEBIBYTE]) {
      const bytes = Uint8Array.from({ length }, (_, i) => i * 31 + (i >> 8));
      await keepsEach(backend, [
        bytes,
        "é".repeat(length / 2),
        `${"0123456789abcde\n".repeat(length / 16)}end`,
      ]);
    }
  });

  check("clause 1: every field comes back as it was stored", async (backend) => {
    const past = 8.64e15;
    const entries = [
      {
        storedAt: 0,
        expiresAt: 0,
        staleUntil: 0,
        durationMs: 0,
        checksum: 0,
      },
      { storedAt: 1, expiresAt: null, staleUntil: 0, checksum: 2 ** 31 },
      { expiresAt: 0, staleUntil: null, checksum: 2 ** 31 - 1 },
      { storedAt: past, expiresAt: past, staleUntil: past },
      { expiresAt: 1_700_000_000_001, staleUntil: 1_700_000_000_002 },
      { durationMs: 0.1 + 0.2, checksum: 2 ** 32 - 1 },
      { durationMs: 1e-7, format: "Z" },
      { durationMs: 123_456_789.123, format: "a-B.9-x.0" },
      { durationMs: 1e12, format: "0" },
    ].map((fields, index) => makeEntry(`value ${index}`, fields));
    await keepsEntries(backend, entries);
    await keepsEntries(
      backend,
      entries.map((entry) => ({ ...entry, data: Uint8Array.of(1) })),
    );
  });

  check("clause 2: get() of an entry that was never stored is undefined", async (backend) => {
    assertEquals(await backend.get("id", "key"), undefined, "get() on an empty store");
    await backend.set("id", "key", makeEntry("value"));
    for (
      const [id, key] of [
        ["id", "other"],
        ["other", "key"],
        ["", "key"],
      ]
    ) {
      assertEquals(await backend.get(id ?? "", key ?? ""), undefined, "get()");
    }
  });

  check(
    "clause 2: get() of a deleted entry is undefined, until it is stored again",
    async (backend) => {
      const entry = makeEntry("value");
      const removals = [
        () => backend.delete("id", "key"),
        () => backend.deleteId("id"),
        () => backend.clear(),
      ];
      for (const remove of removals) {
        await backend.set("id", "key", entry);
        assertEntry(await backend.get("id", "key"), entry, "get() before the deletion");
        await remove();
        assertEquals(await backend.get("id", "key"), undefined, "get() after it");
      }
    },
  );

  check("clause 3: set() replaces data, kind and every field", async (backend) => {
    const versions = [
      makeEntry("first", { expiresAt: 5, staleUntil: 6, durationMs: 7.5 }),
      makeEntry("", { expiresAt: null, staleUntil: null, durationMs: 0 }),
      makeEntry("x".repeat(100_000), { format: "longer.1", checksum: 1 }),
      makeEntry("short", { storedAt: 2, expiresAt: 0 }),
      makeEntry(ALL_BYTES, { format: "bytes.1", staleUntil: 0 }),
      makeEntry(new Uint8Array(), { storedAt: 1 }),
      makeEntry("text again"),
    ];
    for (const [index, version] of versions.entries()) {
      await backend.set("id", "key", version);
      assertEntry(await backend.get("id", "key"), version, `version ${index}`);
      assertEntry(
        (await backend.getMany("id", ["key"]))[0],
        version,
        `version ${index} through getMany()`,
      );
    }
    assertEquals((await list(backend)).length, 1, "entries after the overwrites");
  });

  check(
    "clause 3: readers during an overwrite see the old entry or the new one",
    async (backend) => {
      await backend.set("id", "key", versioned(0));
      for (let version = 1; version <= 60; version++) {
        let writing = true;
        const readUntilWritten = async (): Promise<(StoredEntry | undefined)[]> => {
          const seen: (StoredEntry | undefined)[] = [];
          while (writing) {
            for (let read = 0; read < 10; read++) seen.push(await backend.get("id", "key"));
            // Reads that answer at once would never let the write go on.
            await nextTurn();
          }
          return seen;
        };
        const early = readUntilWritten();
        const write = backend.set("id", "key", versioned(version)).finally(() => {
          writing = false;
        });
        const late = backend.getMany("id", ["key", "key"]);
        const [, ...seen] = await Promise.all([write, early, late, readUntilWritten()]);
        for (const entry of seen.flat()) isVersion(entry, version - 1, version);
        isVersion(await backend.get("id", "key"), version, version);
      }
    },
  );

  check("clause 3: of many overwrites at once, one wins whole", async (backend) => {
    await backend.set("id", "key", versioned(0));
    const writes = Array.from(
      { length: 30 },
      (_, index) => backend.set("id", "key", versioned(index + 1)),
    );
    const reads = Array.from({ length: 30 }, () => backend.get("id", "key"));
    const [seen] = await Promise.all([Promise.all(reads), ...writes]);
    for (const entry of seen) isVersion(entry, 0, 30);
    isVersion(await backend.get("id", "key"), 1, 30);
    assertEquals((await list(backend)).length, 1, "entries after the overwrites");
  });
}

const MEBIBYTE = 1024 * 1024;

/** An entry with its version in every field, so that a mix of two shows. */
function versioned(version: number): StoredEntry {
  const text = `${version};`.repeat(1 + (version % 7) * 3000);
  return {
    data: version % 2 === 0 ? text : new TextEncoder().encode(text),
    format: `version.${version}`,
    checksum: version,
    storedAt: version,
    expiresAt: version % 3 === 0 ? null : version,
    staleUntil: version % 5 === 0 ? null : version,
    durationMs: version + 0.5,
  };
}

function isVersion(entry: StoredEntry | undefined, from: number, to: number): void {
  const version = entry?.storedAt ?? -1;
  assert(
    version >= from && version <= to,
    `a read must see one of the versions ${from} to ${to}, not ${version}`,
  );
  assertEntry(entry, versioned(version), `version ${version}`);
}

async function keepsEach(backend: Backend, values: readonly StoredEntry["data"][]): Promise<void> {
  await keepsEntries(
    backend,
    values.map((value) => makeEntry(value)),
  );
}

async function keepsEntries(backend: Backend, entries: readonly StoredEntry[]): Promise<void> {
  const keys = entries.map((_, index) => `key ${index}`);
  for (const [index, entry] of entries.entries()) {
    await backend.set("id", `key ${index}`, entry);
  }
  for (const [index, entry] of entries.entries()) {
    assertEntry(await backend.get("id", `key ${index}`), entry, `get() ${index}`);
  }
  assertEntries(await backend.getMany("id", keys), entries, "getMany()");
}
