/** The short form of `torture/damage.ts`. */
import { test } from "node:test";
import { assert } from "@std/assert";
import { damageS3 } from "./damage_s3.ts";
import { damageSQLite } from "./damage_sqlite.ts";
import { race } from "./races.ts";

// Tries to get a wrong value, an error, a cache that stays broken, or anything but one report of each
// damage, out of a damaged file or log: what SQLite does not find is a silent miss.
test("SQLiteCache gives right values, tells of each damage once and works again, whatever was done to its file", async () => {
  const { cases, moved, told, silent } = await damageSQLite({
    count: 40,
    seed: 7,
  });
  assert(
    moved > 10 && told > moved && silent > 10,
    `${moved} moved, ${told} told and ${silent} silent of ${cases}`,
  );
});

// Tries to lose what is stored in the database that comes in place of a damaged one, by letting four
// processes find the damage in the same moment.
test("SQLiteCache has every result that four processes stored, whoever of them moved a damaged file", async () => {
  const { damaged, orphaned } = await race({ count: 32, seed: 7 });
  assert(damaged >= 12 && orphaned === 8, `${damaged}, ${orphaned}`);
});

// Tries to pass changed, swapped and foreign objects off as entries.
test("S3Cache gives right values and tells of each object that was changed, once", async () => {
  const { told } = await damageS3({ count: 3, seed: 7 });
  assert(told > 8, `only ${told}`);
});
