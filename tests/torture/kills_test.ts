/** The short form of `torture/kills.ts`. */
import { test } from "node:test";
import { assert } from "@std/assert";
import { killMakers } from "./births.ts";
import { killUploads, killWriters } from "./kills.ts";

// Tries to lose an acknowledged result, or to leave half of one, by killing its writer.
test("SQLiteCache has every acknowledged result, and no half of one, after kills at random moments", async () => {
  const { acknowledged } = await killWriters({ count: 12, seed: 7 });
  assert(acknowledged > 50, `only ${acknowledged} were acknowledged`);
});

// Tries to leave half an object in S3 by killing its writer between two parts.
test("S3Cache shows no half of an object whose writer was killed between two parts", async () => {
  await killUploads({ count: 3, seed: 7 });
});

// Tries to leave an unusable database by killing processes while they make it.
test("SQLiteCache opens and uses what processes left that were killed while they made its tables", async () => {
  const { early, unmade } = await killMakers({ count: 4, seed: 7 });
  assert(early >= 4 && unmade > 0, `${early} early, ${unmade} unmade`);
});
