/**
 * Hits in memory, against the least work of a hit that gives each caller its own copy: a JSON key,
 * a lookup in a Map, JSON.parse; and the same with SHA-256, which a key of bounded length needs.
 */
import { MemoryCache } from "../memory.ts";
import { type Arguments, argumentsOf, byHundreds, chat, check, jsonKey } from "./work.ts";

const list = Array.from({ length: 1000 }, (_, index) => argumentsOf(index));
let index = 0;
const next = (): Arguments => list[index++ % list.length]!;

const stored = JSON.stringify(chat);
const byText = new Map(list.map((argument) => [JSON.stringify([argument]), stored]));
const byHash = new Map(list.map((argument) => [jsonKey(argument), stored]));
const cached = new MemoryCache().cache({ id: "work" })(
  async (_argument: Arguments): Promise<unknown> => await Promise.resolve(chat),
);
await byHundreds(list, cached);

// Async like every cache, although nothing in them waits.
const ways: Record<string, (argument: Arguments) => Promise<unknown>> = {
  // deno-lint-ignore require-await
  "floor: JSON key, Map, JSON.parse": async (argument) =>
    JSON.parse(byText.get(JSON.stringify([argument])) ?? ""),
  // deno-lint-ignore require-await
  "floor with SHA-256": async (argument) => JSON.parse(byHash.get(jsonKey(argument)) ?? ""),
  ours: cached,
};
for (const [place, [name, call]] of Object.entries(ways).entries()) {
  check(name, await call(list[7]!), chat);
  Deno.bench({
    name,
    group: "hit in memory, 2 KB",
    baseline: place === 0,
    fn: async () => {
      if ((await call(next())) === undefined) throw new Error("no hit");
    },
  });
}
