/**
 * Batches of hits through `map`, against the floor one by one. One iteration is 1,000 hits of 2 KB.
 */
import { SQLiteCache } from "../sqlite.ts";
import {
  type Arguments,
  argumentsOf,
  byHundreds,
  chat,
  check,
  freshPath,
  oneByOne,
  openFloor,
} from "./work.ts";

const list = Array.from({ length: 1000 }, (_, index) => argumentsOf(index));
const cached = new SQLiteCache(freshPath("map")).cache({ id: "work" })(
  async (_argument: Arguments): Promise<unknown> => await Promise.resolve(chat),
);
const floor = openFloor("map_floor");
await byHundreds(list, cached);
floor.store(list, chat);
check("ours", await cached(list[999]!), chat);
check("the floor", await floor.hit(list[999]!), chat);

const group = "1,000 hits of 2 KB";
Deno.bench({
  name: "floor, one by one",
  group,
  baseline: true,
  // An async function, because `deno bench` does not wait for other promises.
  fn: async () => {
    await oneByOne(list, floor.hit);
  },
});
Deno.bench({
  name: "ours, one by one",
  group,
  fn: async () => {
    await oneByOne(list, cached);
  },
});
for (const ordered of [false, true]) {
  Deno.bench({
    name: ordered ? "map, ordered" : "map",
    group,
    fn: async () => {
      const batch = cached.map(list, { concurrency: 10, ordered });
      for await (const { ok } of batch) if (!ok) throw new Error("failed");
      if (batch.summary.hits !== list.length) throw new Error("not all hits");
    },
  });
}
