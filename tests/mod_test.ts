/** The exports of the root module: a list that changes on purpose only. */
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { assert, assertEquals } from "@std/assert";
import * as exported from "../mod.ts";

const VALUES: readonly string[] = [
  "BackendError",
  "Batch",
  "BatchError",
  "BucketNotFoundError",
  "Cache",
  "CacheClosedError",
  "CacheMissError",
  "CacheOnlyError",
  "DamagedDatabaseError",
  "DamagedEntryError",
  "MemoryBackend",
  "MemoryCache",
  "PanzaError",
  "QueueFullError",
  "ReentrantCallError",
  "S3Backend",
  "S3Cache",
  "SQLiteBackend",
  "SQLiteCache",
  "SchemaError",
  "TieredBackend",
  "TieredCache",
  "UncacheableValueError",
  "UnhashableArgumentError",
  "canonicalize",
  "hashKey",
  "limitAdaptive",
  "limitConcurrency",
  "limitRate",
  "methodsOf",
  "readRetryAfter",
  "retry",
];

test("mod.ts exports these values, and no others", () => {
  assertEquals(Object.keys(exported).sort(), VALUES);
});

test("mod.ts is an explicit list: it re-exports no module as a whole", () => {
  const source = readFileSync(new URL("../mod.ts", import.meta.url), "utf8");
  assert(!/export\s+\*/.test(source));
  assert(!/export\s+default/.test(source));
});

test("Every cache of the package is a Cache with a backend chosen", async () => {
  const { Cache, MemoryBackend, MemoryCache, SQLiteBackend, SQLiteCache } = exported;
  await using memory = new MemoryCache();
  await using sqlite = new SQLiteCache(":memory:");
  assert(memory instanceof Cache && memory.backend instanceof MemoryBackend);
  assert(sqlite instanceof Cache && sqlite.backend instanceof SQLiteBackend);
  const backend = new MemoryBackend();
  assertEquals(new Cache(backend).backend, backend);
});
