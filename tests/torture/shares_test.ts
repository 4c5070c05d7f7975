/** The short form of `torture/shares.ts`. */
import { test } from "node:test";
import { assert } from "@std/assert";
import { holdUp, killSharers, shareWithoutSideFiles, shareWork } from "./shares.ts";

// Tries to make one of eight processes compute an input that another one computes or has computed.
test("SQLiteCache lets eight processes compute each input once, in batches", async () => {
  await shareWork(400, 20, 8);
});

// Tries to make ordered results, or waiting calls, compute an input twice.
test("SQLiteCache lets processes compute each input once, in order and in ordinary calls", async () => {
  await shareWork(60, 10, 3, { way: "ordered" });
  await shareWork(30, 5, 3, { way: "calls" });
});

// Tries to make two runs of a key overlap by killing the processes that compute it.
test("SQLiteCache lets no runs of a key overlap, and leaves nothing, when processes are killed", async () => {
  const { kills } = await killSharers({ count: 7, seed: 7 });
  assert(kills === 7);
});

// Tries to make a stopped process replace a result that another one has computed meanwhile.
test("SQLiteCache stores no result of a process that was stopped past its session", async () => {
  await holdUp("stopped");
});

// The same with a process that never reaches its heartbeat.
test("SQLiteCache stores no result of a process whose event loop was blocked past its session", async () => {
  await holdUp("blocked");
});

// Tries to end sessions by clocks that differ.
test("SQLiteCache lets processes share work whose clocks are hours apart", async () => {
  await shareWork(60, 10, 4, { clockMs: 3_600_000 });
});

// Tries to make a process ask for a permission, or to make the others wait for ever.
test("SQLiteCache shares work without permission for a side file, by heartbeats alone", async () => {
  await shareWithoutSideFiles();
});
