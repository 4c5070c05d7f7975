/** The short form of `torture/hostile.ts`. */
import { test } from "node:test";
import { assert } from "@std/assert";
import { MemoryCache } from "../../memory.ts";
import { S3Cache } from "../../s3.ts";
import { SQLiteCache } from "../../sqlite.ts";
import { optionsFor, withBucket } from "../support/s3_server.ts";
import { mutateEntries } from "./decoder.ts";
import { changeValues, confuseKeys, mixNames, spring } from "./hostile.ts";

const SEED = 7;

// Tries to give two different calls one key, or equal calls two.
test("CachedMethods.key() is the same exactly for equal arguments that look like others", async () => {
  const equal = await confuseKeys({ count: 5000, seed: SEED });
  assert(equal > 1000 && equal < 4500, `${equal} of 5000`);
});

// Tries to get a value back that differs from the stored one.
test("Cache.get() gives back anything that fast-check makes, from SQLite", async () => {
  await changeValues({ count: 1500, seed: SEED });
});

// Tries to get anything but a value or a DamagedEntryError out of an entry made by hand, or to make
// it take more time or memory than its length allows.
test("open() of changed data with a checksum that fits throws nothing but DamagedEntryError, and takes little memory", () => {
  const { values } = mutateEntries({ count: 12_000, seed: SEED });
  assert(values > 500 && values < 11_000, `${values}`);
});

// Tries to make two ids or keys reach each other's entries.
test("Cache keeps ids and keys of every class of Unicode apart", async () => {
  await using memory = new MemoryCache();
  await mixNames(memory);
  await using sqlite = new SQLiteCache(":memory:");
  await mixNames(sqlite);
});

// Tries to make two prefixes, ids or keys reach each other's objects in S3.
test("S3Cache keeps prefixes, ids and keys of every class of Unicode apart", async () => {
  await withBucket(async (bucket, _client, server) => {
    const prefixes = ["é", "e\u0301", "a%2Fb", "a b", "😀", "ß/א", "+", "a_b"];
    const caches = prefixes.map((prefix) => new S3Cache(`${bucket}/${prefix}`, optionsFor(server)));
    for (const [index, cache] of caches.entries()) {
      await cache.set("place", index);
    }
    await using cache = new S3Cache(`${bucket}/names`, optionsFor(server));
    await mixNames(cache);
    for (const [index, one] of caches.entries()) {
      assert((await one.get("place")) === index);
      await one.bustAll();
      assert(!(await one.read("place")).hit);
      await one.close();
    }
  });
});

// Tries to crash, hang or fool a cache with proxies, getters, cycles and nesting.
test("A cached function survives arguments, results and options that trap whoever looks at them", async () => {
  await using memory = new MemoryCache({ onError: () => {} });
  await spring(memory);
  await using sqlite = new SQLiteCache(":memory:", { onError: () => {} });
  await spring(sqlite);
});
