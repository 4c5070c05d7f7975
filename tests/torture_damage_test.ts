/** The short form of `torture/damage.ts`. */
import { test } from "node:test";
import { assert } from "@std/assert";
import { damageS3, damageSQLite } from "./torture/damage.ts";

// Tries to get a wrong value, an error or a cache that stays broken out of a damaged file or log.
test("SQLiteCache gives right values and works again, whatever was done to its file", async () => {
  const { cases, missed, told } = await damageSQLite({ count: 40, seed: 7 });
  assert(missed > 10 && told > 10, `${missed} and ${told} of ${cases}`);
});

// Tries to pass changed, swapped and foreign objects off as entries.
test("S3Cache gives right values and tells of each object that was changed, once", async () => {
  const { told } = await damageS3({ count: 3, seed: 7 });
  assert(told > 8, `only ${told}`);
});
