/** The short form of `torture/crowds.ts`. */
import { test } from "node:test";
import { assert } from "@std/assert";
import { crowdS3, crowdSQLite, HELD_MS } from "./torture/crowds.ts";

// Tries to make a lock reach a caller, and to make it hold up an event loop, with eight processes
// that create and use one file at the same time.
test("SQLiteCache tells nobody of a lock, and blocks no event loop by it, with eight processes on a new file", async () => {
  const { shared, apart } = await crowdSQLite({ count: 400, seed: 7 });
  assert(shared.hits > 0);
  assert(
    shared.blocked < apart.blocked + HELD_MS / 2,
    `the lock takes ${shared.blocked} ms against ${apart.blocked} ms without it`,
  );
});

// Tries to make processes read each other's half-written or wrong objects.
test("S3Cache gives eight processes on one prefix right values and no trouble", async () => {
  const { hits } = await crowdS3({ count: 40, seed: 7 });
  assert(hits > 0);
});
