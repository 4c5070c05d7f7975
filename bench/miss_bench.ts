/**
 * Stored misses, against an INSERT of the same rows by hand in one transaction, and misses of a
 * cache that stores nothing, which cost a failed lookup.
 *
 * One iteration is 100 misses in flight, of arguments that were never asked for.
 */
import { SQLiteCache } from "../sqlite.ts";
import { type Arguments, argumentsOf, chat, freshPath, openFloor } from "./work.ts";

let seed = 0;
const hundred = (): Arguments[] => Array.from({ length: 100 }, () => argumentsOf(seed++));

let runs = 0;
const work = async (_argument: Arguments): Promise<unknown> => {
  runs++;
  return await Promise.resolve(chat);
};
const group = "100 misses of 2 KB";
const floor = openFloor("miss_floor");
const storing = new SQLiteCache(freshPath("miss")).cache({ id: "work" })(work);
const looking = new SQLiteCache(freshPath("miss_unstored")).cache({
  id: "work",
  shouldCache: () => false,
})(work);

Deno.bench({
  name: "floor: INSERT in one transaction",
  group,
  baseline: true,
  fn: () => floor.store(hundred(), chat),
});
for (
  const [name, call] of [
    ["ours: look, run, store", storing],
    ["ours: look, run, store nothing", looking],
  ] as const
) {
  Deno.bench({
    name,
    group,
    fn: async () => {
      const before = runs;
      await Promise.all(hundred().map((argument) => call(argument)));
      if (runs - before !== 100) throw new Error("not all were misses");
    },
  });
}
