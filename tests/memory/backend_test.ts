import { memoryUsage } from "node:process";
import { test } from "node:test";
import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import fc from "fast-check";
import type { StoredEntry } from "../../src/encoding/entry.ts";
import { CacheClosedError } from "../../src/base/errors.ts";
import { MemoryBackend } from "../../memory.ts";
import { collector } from "../support/collected.ts";

/** The bytes that an entry counts beyond its data, id and key, as in `src/memory/backend.ts`. */
const OVERHEAD = 512;

function entryOf(data: string | Uint8Array): StoredEntry {
  return {
    data,
    format: "test.1",
    checksum: 1,
    storedAt: 2,
    expiresAt: null,
    staleUntil: null,
    durationMs: 3,
  };
}

async function keysOf(backend: MemoryBackend, id?: string): Promise<string[]> {
  const keys: string[] = [];
  for await (const { key } of backend.entries(id)) keys.push(key);
  return keys.sort();
}

/** A backend with room for a number of entries with empty data and one-letter id and key. */
function backendFor(entries: number): MemoryBackend {
  return new MemoryBackend({ maxBytes: entries * (OVERHEAD + 4) });
}

test("MemoryBackend drops the entry that was used least recently", async () => {
  const backend = backendFor(3);
  for (const key of "abc") await backend.set("i", key, entryOf(""));
  await backend.get("i", "a");
  await backend.set("i", "d", entryOf(""));
  assertEquals(await keysOf(backend), ["a", "c", "d"]);
  assertEquals(await backend.get("i", "b"), undefined);
  await backend.getMany("i", ["c", "absent"]);
  await backend.set("i", "e", entryOf(""));
  await backend.set("i", "f", entryOf(""));
  assertEquals(await keysOf(backend), ["c", "e", "f"]);
});

test("MemoryBackend.set() of a key that is stored counts as a use", async () => {
  const backend = backendFor(2);
  await backend.set("i", "a", entryOf(""));
  await backend.set("i", "b", entryOf(""));
  await backend.set("i", "a", entryOf(""));
  await backend.set("i", "c", entryOf(""));
  assertEquals(await keysOf(backend), ["a", "c"]);
});

test("MemoryBackend.entries() does not count as a use", async () => {
  const backend = backendFor(2);
  await backend.set("i", "a", entryOf(""));
  await backend.set("i", "b", entryOf(""));
  for await (const { key } of backend.entries()) if (key === "a") break;
  await keysOf(backend);
  await backend.set("i", "c", entryOf(""));
  assertEquals(await keysOf(backend), ["b", "c"]);
});

test("MemoryBackend counts two bytes for each UTF-16 unit and one for each byte", async () => {
  for (
    const [data, size] of [
      ["x".repeat(50), 100],
      ["😀".repeat(25), 100],
      [new Uint8Array(100), 100],
    ] as const
  ) {
    const exact = new MemoryBackend({ maxBytes: size + OVERHEAD + 4 });
    await exact.set("i", "a", entryOf(data));
    assertEquals(await keysOf(exact), ["a"]);
    const less = new MemoryBackend({ maxBytes: size + OVERHEAD + 3 });
    await less.set("i", "a", entryOf(data));
    assertEquals(await keysOf(less), []);
  }
});

test("MemoryBackend.set() of a value that is too large drops it and the older value", async () => {
  const backend = backendFor(3);
  for (const key of "ab") await backend.set("i", key, entryOf(""));
  await backend.set("i", "a", entryOf("x".repeat(10_000)));
  assertEquals(await backend.get("i", "a"), undefined);
  assertEquals(await keysOf(backend), ["b"]);
  await backend.set("i", "absent", entryOf(new Uint8Array(10_000)));
  assertEquals(await keysOf(backend), ["b"]);
  // The only entry of its id, which is also the only one of all.
  await backend.set("i", "b", entryOf("x".repeat(10_000)));
  assertEquals(await keysOf(backend), []);
  await backend.set("i", "b", entryOf("back"));
  assertEquals((await backend.get("i", "b"))?.data, "back");
});

test("MemoryBackend.set() of a larger value drops others, never itself", async () => {
  const backend = backendFor(4);
  for (const key of "abcd") await backend.set("i", key, entryOf(""));
  await backend.set("i", "a", entryOf("x".repeat(OVERHEAD)));
  assertEquals(await keysOf(backend), ["a", "d"]);
});

test("MemoryBackend keeps everything when maxBytes is Infinity", async () => {
  const backend = new MemoryBackend({ maxBytes: Infinity });
  const data = "x".repeat(1024 * 1024);
  for (let i = 0; i < 150; i++) await backend.set("i", `${i}`, entryOf(data));
  assertEquals((await keysOf(backend)).length, 150);
});

test("MemoryBackend keeps 256 MiB where maxBytes is unset", async () => {
  const backend = new MemoryBackend();
  // Counted as a little more than 1 MiB each; the engine holds the text once.
  const data = "x".repeat(512 * 1024);
  for (let i = 0; i < 300; i++) await backend.set("i", `${i}`, entryOf(data));
  assertEquals((await keysOf(backend)).length, 255);
});

test("MemoryBackend forgets the keys of entries that it dropped or did not keep", async () => {
  const backend = new MemoryBackend({ maxBytes: 20_000 });
  const tooLarge = entryOf("x".repeat(20_000));
  const before = memoryUsage().heapUsed;
  for (let i = 0; i < 40_000; i++) {
    const key = `${i}`.padStart(6, "0").repeat(1000);
    await backend.set("i", key.slice(3), entryOf(""));
    if (i % 2 === 0) await backend.set("i", key.slice(3), tooLarge);
  }
  collector()();
  const grown = (memoryUsage().heapUsed - before) / 1024 / 1024;
  // All keys together hold 230 MiB, half of them dropped and half not kept.
  assert(grown < 50, `the heap has grown by ${grown} MiB`);
  // Still in use here, so that it was not collected as a whole.
  assert((await keysOf(backend)).length > 0);
});

test("MemoryBackend.get() of text returns an entry that nobody can change", async () => {
  const backend = new MemoryBackend();
  const given = entryOf("text");
  await backend.set("i", "a", given);
  Reflect.set(given, "data", "changed");
  const found = await backend.get("i", "a");
  assert(found !== undefined);
  assertEquals(Reflect.set(found, "data", "changed"), false);
  assertEquals(await backend.get("i", "a"), entryOf("text"));
});

test("MemoryBackend answers and throws at once", async () => {
  const backend = new MemoryBackend();
  await backend.set("i", "a", entryOf("text"));
  assertEquals(backend.get("i", "a"), entryOf("text"));
  assertEquals(backend.getMany("i", ["a", "b"]), [entryOf("text"), undefined]);
  await backend.close();
  assertThrows(() => backend.get("i", "a"), CacheClosedError);
  assertThrows(() => backend.getMany("i", []), CacheClosedError);
});

test("MemoryBackend.close() ends a listing that is being read", async () => {
  const backend = new MemoryBackend();
  for (const key of "ab") await backend.set("i", key, entryOf(""));
  const listing = backend.entries()[Symbol.asyncIterator]();
  assertEquals((await listing.next()).done, false);
  await backend.close();
  await assertRejects(() => listing.next(), CacheClosedError);
});

/** The bounded backend in its plainest form. */
class Model {
  readonly entries = new Map<string, [id: string, key: string, size: number]>();
  readonly maxBytes: number;
  constructor(maxBytes: number) {
    this.maxBytes = maxBytes;
  }
  use(name: string): void {
    const entry = this.entries.get(name);
    if (entry === undefined) return;
    this.entries.delete(name);
    this.entries.set(name, entry);
  }
  set(id: string, key: string, units: number): void {
    const size = units * 2 + (id.length + key.length) * 2 + OVERHEAD;
    this.entries.delete(`${id}/${key}`);
    if (size > this.maxBytes) return;
    this.entries.set(`${id}/${key}`, [id, key, size]);
    for (const oldest of this.entries.keys()) {
      let total = 0;
      for (const [, , size] of this.entries.values()) total += size;
      if (total <= this.maxBytes) break;
      this.entries.delete(oldest);
    }
  }
  list(): string[] {
    return [...this.entries.keys()].sort();
  }
}

test("MemoryBackend keeps and drops the same entries as a plain model of it", async () => {
  const name = fc.constantFrom("a", "b", "c", "d");
  const step = fc.oneof(
    ...([["set", 6], ["get", 3], ["delete", 1], ["deleteId", 1], ["clear", 1]] as const).map(
      ([operation, weight]) => ({
        weight,
        arbitrary: fc.tuple(fc.constant(operation), name, name, fc.nat(700)),
      }),
    ),
  );
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 60 }), async (steps) => {
      const backend = new MemoryBackend({ maxBytes: 1800 });
      const model = new Model(1800);
      for (const [operation, id, key, units] of steps) {
        switch (operation) {
          case "set":
            await backend.set(id, key, entryOf("x".repeat(units)));
            model.set(id, key, units);
            break;
          case "get":
            await backend.get(id, key);
            model.use(`${id}/${key}`);
            break;
          case "delete":
            await backend.delete(id, key);
            model.entries.delete(`${id}/${key}`);
            break;
          case "deleteId":
            await backend.deleteId(id);
            for (const [name, [stored]] of model.entries) {
              if (stored === id) model.entries.delete(name);
            }
            break;
          default:
            await backend.clear();
            model.entries.clear();
        }
        const listed: string[] = [];
        for await (const { id, key } of backend.entries()) {
          listed.push(`${id}/${key}`);
        }
        assertEquals(listed.sort(), model.list());
      }
    }),
    { seed: 20260, numRuns: 200 },
  );
});
