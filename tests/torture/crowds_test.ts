/** The short form of `torture/crowds.ts`. */
import { test } from "node:test";
import { assert } from "@std/assert";
import { crowdHeld, crowdS3, holdLock } from "./crowds.ts";

// Tries to make a lock fail a call or hold up an event loop: eight processes create and use one
// file, and a ninth holds its lock most of the time.
test("SQLiteCache tells nobody of a lock, and sleeps for none, with eight processes on a new file", async () => {
  const { hits } = await crowdHeld({ count: 300, seed: 7 });
  assert(hits > 0);
});

// Tries to stop the event loop of a process by a lock that another one holds for most of a second.
test("SQLiteCache lets the event loop turn while another process keeps the lock", async () => {
  await holdLock({ count: 100, seed: 7 }, 800);
});

// Tries to make processes read each other's half-written or wrong objects.
test("S3Cache gives eight processes on one prefix right values and no trouble", async () => {
  const { hits } = await crowdS3({ count: 40, seed: 7 });
  assert(hits > 0);
});
