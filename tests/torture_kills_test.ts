/** The short form of `torture/kills.ts`. */
import { test } from "node:test";
import { assert } from "@std/assert";
import { killUploads, killWriters } from "./torture/kills.ts";

// Tries to lose an acknowledged result, or to leave half of one, by killing its writer.
test("SQLiteCache has every acknowledged result, and no half of one, after kills at random moments", async () => {
  const { acknowledged } = await killWriters({ count: 12, seed: 7 });
  assert(acknowledged > 50, `only ${acknowledged} were acknowledged`);
});

// Tries to leave half an object in S3 by killing its writer between two parts.
test("S3Cache shows no half of an object whose writer was killed between two parts", async () => {
  await killUploads({ count: 3, seed: 7 });
});
