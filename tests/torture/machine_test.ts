/** The short form of `torture/machine.ts`. */
import { test } from "node:test";
import { assert } from "@std/assert";
import { MemoryCache } from "../../memory.ts";
import { S3Cache } from "../../s3.ts";
import { SQLiteCache } from "../../sqlite.ts";
import { optionsFor, withBucket } from "../support/s3_server.ts";
import { deny } from "./denials.ts";
import { fillDatabase, openMany, refuseWrites, removeFiles, turnClock } from "./machine.ts";
import { disorder } from "./timers.ts";

// Tries to make a full database fail a call, or spoil what it holds.
test("SQLiteCache computes what does not fit into a full database, and stores it once there is room", async () => {
  await fillDatabase();
});

// Tries to make a read-only database, or a path that is not a file, fail a call.
test("SQLiteCache reads what it can and computes the rest where it may not write", async () => {
  await refuseWrites();
});

// Tries to break a cache by taking its files or its folder away.
test("SQLiteCache goes on when its files vanish while it works", async () => {
  await removeFiles();
});

// Tries to leave a file open, or to exhaust the limits of the system, with many caches.
test("SQLiteCache can be opened 100 times on one file and leaves nothing open", async () => {
  await openMany({ count: 100, seed: 7 });
});

// Tries to lose, keep or break entries wrongly by a clock that jumps by a year.
test("A cache bears a clock that is set back and forward by a year", async () => {
  await turnClock((options) => new MemoryCache(options));
  await turnClock((options) => new SQLiteCache(":memory:", options));
  await withBucket(async (bucket, _client, server) => {
    await turnClock((options) => new S3Cache(bucket, { ...optionsFor(server), ...options }));
  });
});

// Tries to make a call fail, or a good file look damaged, by taking rights away while it is used.
test("SQLiteCache bears that files, folders and permissions are taken away, and works with them again", async () => {
  await deny();
});

// Tries to make timers that fire early, late and in any order hang a call, break a rate, or serve a
// value past its windows.
test("A cached function with retries and a rate bears timers that fire in any order", async () => {
  const { fresh, stale } = await disorder({ count: 250, seed: 7 });
  assert(fresh > 100 && stale > 50, `${fresh} fresh, ${stale} stale`);
});
