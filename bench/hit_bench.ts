/**
 * Hits of a SQLite cache, against the floor: a prepared SELECT, a JSON key with SHA-256 and
 * JSON.parse, written by hand (`work.ts`).
 *
 * Values of four sizes, one at a time and 100 in flight, in files of 1,000 and 100,000 entries; of
 * 1,000,000 with `PANZA_BENCH_MILLION=1`. One iteration is one hit, 100 hits where 100 are in
 * flight. Stored values are compared before anything is measured.
 */
import process from "node:process";
import { SQLiteCache } from "../sqlite.ts";
import {
  type Arguments,
  argumentsOf,
  byHundreds,
  chat,
  check,
  freshPath,
  openFloor,
  values,
} from "./work.ts";

interface Hits {
  readonly next: () => Arguments;
  readonly ours: (argument: Arguments) => Promise<unknown>;
  readonly floor: (argument: Arguments) => Promise<unknown>;
}

async function prepare(name: string, value: unknown, entries: number): Promise<Hits> {
  const cache = new SQLiteCache(freshPath(`hit_${name}`));
  const ours = cache.cache({ id: "work" })(
    async (_argument: Arguments): Promise<unknown> => await Promise.resolve(value),
  );
  const floor = openFloor(`hit_${name}_floor`);
  // In pieces: a million arguments at once would fill the memory.
  for (let start = 0; start < entries; start += 1000) {
    const count = Math.min(1000, entries - start);
    const list = Array.from({ length: count }, (_, i) => argumentsOf(start + i));
    await byHundreds(list, ours);
    floor.store(list, value);
  }
  check(name, await ours(argumentsOf(entries - 1)), value);
  check(name, await floor.hit(argumentsOf(entries - 1)), value);
  const asked = Array.from(
    { length: 1000 },
    (_, index) => argumentsOf((index * 104_729) % entries),
  );
  let index = 0;
  return {
    next: () => asked[index++ % asked.length]!,
    ours,
    floor: floor.hit,
  };
}

function compare(group: string, hits: Promise<Hits>): void {
  const one = `${group}, one at a time`;
  const hundred = `${group}, 100 in flight`;
  for (
    const [name, baseline] of [
      ["floor", true],
      ["ours", false],
    ] as const
  ) {
    Deno.bench({
      name: `${name}: one hit`,
      group: one,
      baseline,
      fn: async () => {
        const { next, [name]: call } = await hits;
        if ((await call(next())) === undefined) throw new Error("no hit");
      },
    });
    Deno.bench({
      name: `${name}: 100 hits`,
      group: hundred,
      baseline,
      fn: async () => {
        const { next, [name]: call } = await hits;
        const found = await Promise.all(Array.from({ length: 100 }, () => call(next())));
        if (found.includes(undefined)) throw new Error("no hit");
      },
    });
  }
}

for (const [index, [name, value]] of Object.entries(values).entries()) {
  const entries = name === "text of 1 MB" ? 20 : 1000;
  const hits = await prepare(`${index}`, value, entries);
  compare(`${name}, ${entries} entries`, Promise.resolve(hits));
}
const sizes = process.env["PANZA_BENCH_MILLION"] === "1" ? [100_000, 1_000_000] : [100_000];
for (const entries of sizes) {
  const hits = await prepare(`${entries}`, chat, entries);
  compare(`chat of 2 KB, ${entries.toLocaleString("en")} entries`, Promise.resolve(hits));
}
