/** Encryption at rest: what the store sees, which keys open it, and that it changes nothing else. */
import { Buffer } from "node:buffer";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertRejects,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import type { Backend, EntryInfo, Pruned, PruneRule } from "../../src/backend/contract.ts";
import type { StoredEntry } from "../../src/encoding/entry.ts";
import { Cache } from "../../src/core/cache.ts";
import { EncryptedBackend } from "../../src/backend/encrypted.ts";
import { CacheClosedError, DamagedEntryError } from "../../src/base/errors.ts";
import { MemoryBackend, MemoryCache } from "../../memory.ts";
import type { CacheOptions, ErrorContext } from "../../src/core/options.ts";
import { prune } from "../../src/backend/prune.ts";
import { FolderBackend } from "../../src/folder/backend.ts";
import { S3Backend, S3Cache } from "../../s3.ts";
import { SQLiteBackend, SQLiteCache } from "../../sqlite.ts";
import { testBackend } from "../../testing.ts";
import { FaultyBackend } from "../support/faulty.ts";
import { optionsFor, withBucket } from "../support/s3_server.ts";
import { temporaryFolder } from "../support/temp.ts";

const ALGORITHM = { name: "AES-GCM", length: 256 };

/** A key for AES-GCM; `length` is in bits. */
async function newKey(
  usages: KeyUsage[] = ["encrypt", "decrypt"],
  length = 256,
): Promise<CryptoKey> {
  return await crypto.subtle.generateKey({ ...ALGORITHM, length }, false, usages);
}

/** A report, with the kind and the id in its context. */
interface Reported {
  readonly error: Error;
  readonly context: ErrorContext;
}

/** A place that can be opened repeatedly. */
interface Place {
  readonly name: string;
  /** Calls back with functions that open the place, as a cache and as its bare backend. */
  run(
    work: (open: (options?: CacheOptions) => Cache, bare: () => Backend) => Promise<void>,
  ): Promise<void>;
}

let files = 0;

const PLACES: readonly Place[] = [
  {
    name: "MemoryCache",
    async run(work) {
      // Memory is lost when its cache closes, so all caches share one that is never closed.
      const memory = new MemoryBackend();
      const open = (): Backend => ({
        description: memory.description,
        connect: () => {},
        get: (id, key) => memory.get(id, key),
        getMany: (id, keys) => memory.getMany(id, keys),
        set: (id, key, entry) => memory.set(id, key, entry),
        delete: (id, key) => memory.delete(id, key),
        deleteId: (id) => memory.deleteId(id),
        clear: () => memory.clear(),
        entries: (id) => memory.entries(id),
        close: () => Promise.resolve(),
      });
      await work((options) => new Cache(open(), options), open);
    },
  },
  {
    name: "SQLiteCache",
    async run(work) {
      const path = join(temporaryFolder(), `${files++}.db`);
      await work(
        (options) => new SQLiteCache(path, options),
        () => new SQLiteBackend(path),
      );
    },
  },
  {
    name: "S3Cache",
    async run(work) {
      await withBucket(async (bucket, _client, server) => {
        const options = optionsFor(server);
        await work(
          (more) => new S3Cache(`${bucket}/p`, { ...options, ...more }),
          () => new S3Backend(`${bucket}/p`, options),
        );
      });
    },
  },
];

const VALUE = {
  text: "sechzehn Tonnen Geheimnis",
  list: [1, null, "€"],
  when: undefined,
};

/** Everything that is stored, as one text. */
async function stored(backend: Backend): Promise<string> {
  let all = "";
  for await (const { id, key } of backend.entries()) {
    const entry = await backend.get(id, key);
    assert(entry !== undefined);
    const { data } = entry;
    const text = typeof data === "string" ? data : Buffer.from(data).toString("latin1");
    all += `${entry.format} ${text}\n`;
  }
  await backend.close();
  return all;
}

function collect(): { reports: Reported[]; onError: CacheOptions["onError"] } {
  const reports: Reported[] = [];
  return {
    reports,
    onError: (error, context) => {
      reports.push({ error, context });
    },
  };
}

for (const { name, run } of PLACES) {
  // Tries to find a value in the store, and to lose one behind the encryption.
  test(`${name} with encrypt keeps every value to itself and gives it back`, () =>
    run(async (open, bare) => {
      const encrypt = await newKey();
      const { reports, onError } = collect();
      let runs = 0;
      const work = async (n: number) => {
        runs++;
        return await Promise.resolve(n % 2 === 0 ? { ...VALUE, n } : { text: VALUE.text, n });
      };
      for (let round = 0; round < 2; round++) {
        await using cache = open({ encrypt, onError: onError! });
        const fn = cache.cache({ id: "work" })(work);
        assertEquals(await fn(0), { ...VALUE, n: 0 });
        const batch = fn.map([0, 1, 2, 3], { concurrency: 2 });
        assertEquals(
          (await batch.values()).map(({ n }) => n),
          [0, 1, 2, 3],
        );
        if (round === 0) await cache.set("direct", VALUE);
        assertEquals(await cache.get("direct"), VALUE);
        assertEquals((await cache.read("direct")).hit, true);
      }
      assertEquals([runs, reports], [4, []]);
      const text = await stored(bare());
      assert(!text.includes("Geheimnis"), text);
      assertEquals(text.match(/^aes-gcm-1 /gm)?.length, 5);
    }));

  // Tries to read with a wrong key, with none, and to get an exception out of it.
  test(`${name} counts what it has no key for as a reported miss`, () =>
    run(async (open) => {
      {
        await using cache = open({ encrypt: await newKey() });
        await cache.cache({ id: "work" })((n: number) => Promise.resolve(n))(1);
        await cache.set("direct", 1);
      }
      for (const options of [{}, { encrypt: await newKey() }]) {
        const { reports, onError } = collect();
        await using cache = open({ ...options, onError: onError! });
        const fn = cache.cache({ id: "work", shouldCache: () => false })((n: number) =>
          Promise.resolve(-n)
        );
        assertEquals(await fn.readCache(1), { hit: false });
        assertEquals(await fn(1), -1);
        assertEquals(await fn.map([1], { concurrency: 1 }).values(), [-1]);
        assertEquals(await cache.read("direct"), { hit: false });
        assert(reports.length >= 4);
        for (const { error, context } of reports) {
          assertInstanceOf(error, DamagedEntryError);
          assertEquals(context.kind, "damaged");
          assertStringIncludes(
            error.message,
            "encrypt" in options ? "none of the given keys" : "is encrypted",
          );
        }
      }
    }));

  // Tries to pass a plain value off as an encrypted one.
  test(`${name} with encrypt takes no plain entry`, () =>
    run(async (open) => {
      {
        await using cache = open();
        await cache.cache({ id: "work" })((n: number) => Promise.resolve(n))(1);
        await cache.set("direct", 1);
      }
      const { reports, onError } = collect();
      await using cache = open({ encrypt: await newKey(), onError: onError! });
      const fn = cache.cache({ id: "work" })((n: number) => Promise.resolve(-n));
      assertEquals(await cache.read("direct"), { hit: false });
      assertEquals(await fn(1), -1);
      assertEquals(
        reports.map(({ context }) => [context.kind, context.id]),
        [
          ["damaged", ""],
          ["damaged", "work"],
        ],
      );
      assertStringIncludes(reports[0]!.error.message, "not encrypted");
      // The new result took its place.
      assertEquals((await fn.detail(1)).status, "hit");
    }));

  // Tries to serve one entry in the place of another, or with other times.
  test(`${name} with encrypt opens no entry that was moved or given other times`, () =>
    run(async (open, bare) => {
      const encrypt = await newKey();
      {
        await using cache = open({ encrypt });
        await cache.set("a", "of a", { ttl: "1h" });
      }
      const { seal } = await import("../../src/encoding/entry.ts");
      const backend = bare();
      const entry = await backend.get("", "a");
      assert(entry !== undefined);
      const { format, data, storedAt, expiresAt, staleUntil, durationMs } = entry;
      const times = { storedAt, expiresAt, staleUntil, durationMs };
      // With a valid checksum, which anyone can compute.
      const forged = (key: string, more: Partial<StoredEntry>): StoredEntry =>
        seal("", key, { format, data }, { ...times, ...more });
      await backend.set("", "b", forged("b", {}));
      await backend.set("", "c", forged("c", {}));
      await backend.set("", "a", forged("a", { expiresAt: null }));
      await backend.set("f", "a", seal("f", "a", { format, data }, times));
      await backend.close();
      const { reports, onError } = collect();
      await using cache = open({ encrypt, onError: onError! });
      for (const key of ["a", "b", "c"]) {
        assertEquals(await cache.read(key), { hit: false });
      }
      assertEquals(reports.length, 3);
      await assertRejects(async () => await cache.backend.get("f", "a"), DamagedEntryError);
    }));

  // Tries to lose values by changing the key.
  test(`${name} with several keys writes with the first and reads with all`, () =>
    run(async (open) => {
      const [old, next] = [await newKey(), await newKey(undefined, 128)];
      {
        await using cache = open({ encrypt: old });
        await cache.set("old", 1);
      }
      {
        await using cache = open({ encrypt: [next, old] });
        assertEquals(await cache.get("old"), 1);
        await cache.set("new", 2);
      }
      const { onError } = collect();
      await using cache = open({ encrypt: next, onError: onError! });
      assertEquals(await cache.get("new"), 2);
      assertEquals(await cache.read("old"), { hit: false });
    }));
}

/** The bytes that encryption adds to each value: 32 of its own, the nonce and the tag. */
const OVERHEAD_BYTES = 32 + 12 + 16;

/** Reports the sizes of the values, as the kit expects of a backend, and prunes by them. */
class Sized extends EncryptedBackend {
  override readonly prune = (rule: PruneRule): Promise<Pruned> => prune(this, rule);
  override async *entries(id?: string): AsyncIterable<EntryInfo> {
    for await (const info of super.entries(id)) {
      yield { ...info, size: info.size - OVERHEAD_BYTES };
    }
  }
}

const kitKey = await newKey();
testBackend(
  (clause, fn) => test(`EncryptedBackend, ${clause}`, fn),
  () => ({ backend: new Sized(new MemoryBackend(), [kitKey]) }),
);
testBackend(
  (clause, fn) => test(`EncryptedBackend over SQLite, ${clause}`, fn),
  () => ({ backend: new Sized(new SQLiteBackend(":memory:"), [kitKey]) }),
);
testBackend(
  (clause, fn) => test(`EncryptedBackend over a folder, ${clause}`, fn),
  () => ({ backend: new Sized(new FolderBackend(join(temporaryFolder(), "new")), [kitKey]) }),
  { entryCount: 100 },
);

test("An encrypted cache prunes through its backend", async () => {
  const inner = new FaultyBackend(new SQLiteBackend(":memory:"));
  await using cache = new Cache(inner, { encrypt: await newKey() });
  for (const key of ["a", "b", "c"]) await cache.set(key, key);
  const { entries } = await cache.prune({ maxEntries: 1 });
  assertEquals([entries, inner.calls("prune")], [2, 1]);
  assertEquals(await cache.get("c"), "c");
});

// Tries to make one bad entry cost a whole batch.
test("fn.map() over an encrypted cache misses the damaged entry alone", async () => {
  const memory = new MemoryBackend();
  const { reports, onError } = collect();
  await using cache = new Cache(memory, {
    encrypt: await newKey(),
    onError: onError!,
  });
  let runs = 0;
  const fn = cache.cache({ id: "work" })((n: number) => {
    runs++;
    return Promise.resolve(n);
  });
  const inputs = Array.from({ length: 20 }, (_, n) => n);
  await fn.map(inputs, { concurrency: 5 }).values();
  const key = await fn.key(7);
  const entry = await memory.get("work", key);
  assert(entry !== undefined);
  await memory.set("work", key, { ...entry, format: "json-1", data: "7" });
  runs = 0;
  assertEquals(await fn.map(inputs, { concurrency: 5 }).values(), inputs);
  assertEquals(runs, 1);
  assertEquals(
    reports.map(({ context }) => context),
    [{ kind: "damaged", id: "work", key }],
  );
});

// Tries to find a bit whose change goes unseen.
test("EncryptedBackend.get() finds every flipped bit, whatever the checksum says", async () => {
  const { seal } = await import("../../src/encoding/entry.ts");
  const inner = new MemoryBackend();
  const backend = new EncryptedBackend(inner, [await newKey()]);
  const times = {
    storedAt: 5,
    expiresAt: null,
    staleUntil: null,
    durationMs: 1.5,
  };
  const plain = seal("i", "k", { format: "json-1", data: '"é"' }, times);
  await backend.set("i", "k", plain);
  assertEquals(await backend.get("i", "k"), plain);
  const entry = await inner.get("i", "k");
  assert(entry !== undefined && typeof entry.data !== "string");
  const { format } = entry;
  for (let bit = 0; bit < entry.data.length * 8; bit++) {
    const data = new Uint8Array(entry.data);
    data[bit >> 3]! ^= 1 << (bit & 7);
    await inner.set("i", "k", seal("i", "k", { format, data }, times));
    await assertRejects(() => backend.get("i", "k"), DamagedEntryError);
  }
  for (let length = 0; length < entry.data.length; length++) {
    const data = entry.data.slice(0, length);
    await inner.set("i", "k", seal("i", "k", { format, data }, times));
    await assertRejects(() => backend.get("i", "k"), DamagedEntryError);
  }
});

// Tries to store an old value over a new one: the old one is large and takes longer to encrypt.
test("An encrypted cache makes changes in the order in which they came, however long each takes to encrypt", async () => {
  await using cache = new MemoryCache({ encrypt: await newKey() });
  const bytes = new Uint8Array([1, 2, 3]);
  await Promise.all([
    cache.set("k", "x".repeat(4_000_000)),
    cache.set("k", "new"),
    cache.set("gone", "x".repeat(4_000_000)),
    cache.delete("gone"),
    cache.set("bytes", bytes),
    Promise.resolve(bytes.fill(9)),
  ]);
  assertEquals(await cache.get("k"), "new");
  assertEquals((await cache.read("gone")).hit, false);
  assertEquals(await cache.get("bytes"), new Uint8Array([1, 2, 3]));
});

test("EncryptedBackend keeps the bytes it was given, and close() waits for what is being encrypted", async () => {
  const inner = new MemoryBackend();
  const kept: string[] = [];
  const set = inner.set.bind(inner);
  inner.set = async (id, key, entry) => {
    await set(id, key, entry);
    kept.push(key);
  };
  const backend = new EncryptedBackend(inner, [await newKey()]);
  const bytes = new Uint8Array([1, 2, 3]);
  const entry = { format: "packed-1", checksum: 0, storedAt: 1, durationMs: 0 };
  const times = { expiresAt: null, staleUntil: null };
  const stored = backend.set("i", "bytes", { ...entry, ...times, data: bytes });
  bytes.fill(9);
  await stored;
  assertEquals((await backend.get("i", "bytes"))?.data, new Uint8Array([1, 2, 3]));
  void backend.set("i", "late", { ...entry, ...times, data: "x".repeat(1_000_000) });
  await backend.close();
  assertEquals(kept, ["bytes", "late"]);
  await assertRejects(
    () => backend.set("i", "k", { ...entry, ...times, data: "" }),
    CacheClosedError,
  );
});

// Tries to lose a write that was accepted before close().
test("EncryptedBackend.close() waits for what was accepted and refuses what comes later", async () => {
  const path = join(temporaryFolder(), "close.db");
  const encrypt = await newKey();
  const backend = new EncryptedBackend(new SQLiteBackend(path), [encrypt]);
  const entry: StoredEntry = {
    data: "x".repeat(1_000_000),
    format: "json-1",
    checksum: 0,
    storedAt: 1,
    expiresAt: null,
    staleUntil: null,
    durationMs: 0,
  };
  const writing = backend.set("i", "k", entry);
  const closing = backend.close();
  for (
    const late of [
      () => backend.get("i", "k"),
      () => backend.getMany("i", ["k"]),
      () => backend.set("i", "k", entry),
      () => backend.delete("i", "k"),
      () => backend.deleteId("i"),
      () => backend.clear(),
      async () => {
        for await (const _ of backend.entries());
      },
    ]
  ) {
    await assertRejects(late, CacheClosedError);
  }
  await Promise.all([writing, closing, backend.close()]);
  const again = new EncryptedBackend(new SQLiteBackend(path), [encrypt]);
  assertEquals(await again.get("i", "k"), entry);
  await again.close();
  assert(!readFileSync(path).includes("xxxxxxxx"));
});

// Tries to make a bust delay a call, or fail a write, while values are encrypted.
test("A bust of an encrypted cache wins over a write that is under way", async () => {
  await using cache = new MemoryCache({ encrypt: await newKey() });
  const fn = cache.cache({ id: "work" })((n: number) => Promise.resolve("x".repeat(1_000_000) + n));
  const running = fn(1);
  await Promise.resolve();
  await fn.bustCache(1);
  await running;
  await fn.bustCache(1);
  assertEquals(await fn.readCache(1), { hit: false });
});

// Tries to open a cache with something that cannot encrypt, and so to store plain values.
test("new MemoryCache() refuses keys that cannot encrypt, and never shows one", async () => {
  const bytes = new Uint8Array(32).fill(77);
  const cbc = await crypto.subtle.generateKey({ name: "AES-CBC", length: 256 }, false, [
    "encrypt",
    "decrypt",
  ]);
  const reader = await newKey(["decrypt"]);
  const writer = await newKey(["encrypt"]);
  const key = await newKey();
  const refused: readonly (readonly [unknown, string])[] = [
    [bytes, "encrypt must be a CryptoKey"],
    ["secret words", "received something else"],
    [undefined, "received something else"],
    [null, "received something else"],
    [{ algorithm: { name: "AES-GCM" }, usages: ["encrypt"] }, "something else"],
    [[], "an empty list"],
    [cbc, "a key of AES-CBC for encrypt and decrypt"],
    [reader, "a key of AES-GCM for decrypt"],
    [writer, "a key of AES-GCM for encrypt"],
    [[key, writer], "encrypt[1] must be"],
    [[key, bytes], "encrypt[1] must be"],
  ];
  for (const [encrypt, words] of refused) {
    for (
      const open of [
        (options: CacheOptions) => new MemoryCache(options),
        (options: CacheOptions) => new Cache(new MemoryBackend(), options),
        (options: CacheOptions) => new SQLiteCache(":memory:", options),
        (options: CacheOptions) => new S3Cache("bucket", options),
      ]
    ) {
      // The types forbid these, but plain JavaScript may pass them.
      const options = { encrypt } as unknown as CacheOptions;
      const { message } = assertThrows(() => open(options), TypeError);
      assertStringIncludes(message, words);
      assert(!/77|secret/.test(message), message);
    }
  }
  // A key that only decrypts is enough for reading.
  await using cache = new MemoryCache({ encrypt: [key, reader] });
  await cache.set("a", 1);
  assertEquals(await cache.get("a"), 1);
});

// Tries to change what a cache without the option does.
test("A cache without encrypt uses its backend itself", async () => {
  const backend = new MemoryBackend();
  await using plain = new Cache(backend);
  assert(plain.backend === backend);
  await using encrypted = new Cache(new MemoryBackend(), {
    encrypt: await newKey(),
  });
  assert(encrypted.backend instanceof EncryptedBackend);
});
