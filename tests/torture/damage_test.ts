/** The short form of `torture/damage.ts`. */
import { test } from "node:test";
import { assert } from "@std/assert";
import { damageS3 } from "./damage_s3.ts";
import { damageSQLite } from "./damage_sqlite.ts";
import { race } from "./races.ts";

// Tries to get a wrong value, an error, a cache that stays broken, a changed file, or not one
// report of each damage. An entry that SQLite does not find is a silent miss.
test("SQLiteCache gives right values, reports each damage once and changes no damaged file, whatever was done to it", async () => {
  const { cases, left, uncached, told, silent } = await damageSQLite({ count: 40, seed: 7 });
  const line = `${left} left, ${uncached} uncached, ${told} told, ${silent} silent of ${cases}`;
  assert(left > 3 && uncached > 5 && told > left + uncached && silent > 10, line);
});

// Tries to lose results in the database that follows a damaged one, by letting four processes find
// the damage at the same moment.
test("SQLiteCache has every result that four processes stored, whoever of them left a damaged file first", async () => {
  const { left } = await race({ count: 14, seed: 7 });
  assert(left >= 8, `${left}`);
});

// Tries to pass changed, swapped and foreign objects off as entries.
test("S3Cache gives right values and tells of each object that was changed, once", async () => {
  const { told } = await damageS3({ count: 3, seed: 7 });
  assert(told > 8, `only ${told}`);
});
