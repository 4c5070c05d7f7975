/**
 * The target ratios of the library, each measured against its floor in the same run.
 *
 * `deno task bench:ratios [--rounds=31] [row …]` measures all rows or the named ones. Results
 * stay in `results/ratios.json`, row by row, and `results/ratios.md` is written from it.
 * Rows with a million entries run only with `PANZA_BENCH_MILLION=1`: they write 4 GB.
 *
 * Every row has its own process, and checks the values of both sides first. Rounds are interleaved.
 * The ratio is the median of the rounds' ratios, of processor time where nothing waits.
 *
 * @module
 */

import { readFileSync, writeFileSync } from "node:fs";
import { cpus, loadavg } from "node:os";
import process from "node:process";
import { canonicalArguments } from "../src/encoding/canonical.ts";
import { digest } from "../src/encoding/digest.ts";
import { MemoryCache } from "../memory.ts";
import { SQLiteCache } from "../sqlite.ts";
import { firstPieceMs, keptChats } from "./fetch_work.ts";
import { contenders as limiters } from "./limit_work.ts";
import { type Clock, type Contender, measure, median, ratio } from "./measure.ts";
import { firstHitMs, importMs, residentGrowth, runSelf } from "./processes.ts";
import { openS3 } from "./s3_work.ts";
import {
  type Arguments,
  argumentsOf,
  byHundreds,
  chat,
  check,
  embedding,
  freshPath,
  jsonKey,
  oneByOne,
  openCheckedFloor,
  openFloor,
  text,
} from "./work.ts";

interface Measured {
  /** The ratio, or the number of `unit`. */
  readonly value: number;
  /** The times of both sides, for the table. */
  readonly detail: string;
}

interface Row {
  readonly title: string;
  readonly target: number;
  /** The unit of the target, unless it is a ratio. */
  readonly unit?: string;
  readonly run: (rounds: number) => Promise<Measured>;
}

const micros = (time: number): string =>
  time < 100 ? `${time.toFixed(2)} µs` : `${Math.round(time)} µs`;

/** Measures the first contender against the second. */
async function against(
  ours: Contender,
  floor: Contender,
  rounds: number,
  clock: Clock = "processor",
): Promise<Measured> {
  const times = await measure([ours, floor], rounds);
  const [a, b] = [times.get(ours.name)!, times.get(floor.name)!];
  const other = clock === "wall" ? "processor" : "wall";
  return {
    value: ratio(a, b, clock),
    detail: `${ours.name} ${micros(median(a[clock]))}, ${floor.name} ${
      micros(
        median(b[clock]),
      )
    } (${clock}); ${ratio(a, b, other).toFixed(2)} × by ${other}`,
  };
}

type Cached = (argument: Arguments) => Promise<unknown>;

/** A cached function and a floor that hold the same value under the same arguments. */
async function withHits(
  value: unknown,
  entries: number,
  work: (
    cached: Cached & {
      map: ReturnType<typeof wrap>["map"];
    },
    floor: Cached,
    list: readonly Arguments[],
  ) => Promise<Measured>,
  open = openFloor,
): Promise<Measured> {
  await using cache = new SQLiteCache(freshPath("hits"));
  const cached = wrap(cache, value);
  const floor = open("floor");
  const list = Array.from({ length: entries }, (_, index) => argumentsOf(index));
  await byHundreds(list, cached);
  floor.store(list, value);
  for (const call of [cached, floor.hit]) {
    for (const argument of [list[0]!, list.at(-1)!]) {
      check("a hit", await call(argument), value);
    }
  }
  const misses = cache.stats().misses;
  const measured = await work(cached, floor.hit, list);
  if (cache.stats().misses !== misses) throw new Error("not all were hits");
  floor.close();
  return measured;
}

function wrap(cache: SQLiteCache, value: unknown) {
  return cache.cache({ id: "work" })(
    async (_argument: Arguments): Promise<unknown> => await Promise.resolve(value),
  );
}

function hitRow(
  title: string,
  target: number,
  value: unknown,
  entries: number,
  way: typeof oneByOne,
  open = openFloor,
): Row {
  return {
    title,
    target,
    run: (rounds) =>
      withHits(value, entries, (cached, floor, list) =>
        against(
          { name: "ours", calls: entries, run: () => way(list, cached) },
          { name: "floor", calls: entries, run: () => oneByOne(list, floor) },
          rounds,
        ), open),
  };
}

const ENTRIES = 1000;

/** Misses that take a lease among processes, against misses that are shared in one process. */
function leaseRow(title: string, target: number, way: typeof oneByOne): Row {
  return {
    title: `${title}, with a lease against without`,
    target,
    run: async (rounds) => {
      const list = Array.from({ length: ENTRIES }, (_, index) => argumentsOf(index));
      const sides = (["store", "process"] as const).map((singleFlight) => {
        const cache = new SQLiteCache(freshPath(singleFlight), { singleFlight });
        return { name: singleFlight, cache, cached: wrap(cache, chat) };
      });
      const [ours, floor] = sides.map(({ name, cache, cached }) => ({
        name,
        calls: ENTRIES,
        before: () => cache.bustAll(),
        run: () => way(list, cached),
      }));
      const measured = await against(ours!, floor!, rounds);
      for (const { cache, cached } of sides) {
        check("a store", (await cached.readCache(list[7]!)).hit, true);
        check("hits", cache.stats().hits, 0);
        await cache.close();
      }
      return measured;
    },
  };
}

/** Hits among a million entries against hits among a thousand. */
function millionRow(title: string, choose: (round: number) => readonly Arguments[]): Row {
  return {
    title,
    target: 1.6,
    run: async (rounds) => {
      const list = Array.from({ length: ENTRIES }, (_, index) => argumentsOf(index));
      await using small = new SQLiteCache(freshPath("thousand"));
      const near = wrap(small, chat);
      await byHundreds(list, near);
      await using large = new SQLiteCache(millionPath());
      await fillMillion(large);
      const far = wrap(large, chat);
      let round = 0;
      let chosen = choose(round);
      return await against(
        {
          name: "1,000,000 entries",
          calls: ENTRIES,
          before: () => {
            chosen = choose(round++);
          },
          run: () => oneByOne(chosen, far),
        },
        {
          name: "1,000 entries",
          calls: ENTRIES,
          run: () => oneByOne(list, near),
        },
        rounds,
      );
    },
  };
}

const rows: Record<string, Row> = {
  hit: hitRow("hit, 2 KB, one at a time", 1.25, chat, ENTRIES, oneByOne),
  "hit-checked": hitRow(
    "hit, 2 KB, one at a time, against a floor with the same guarantees",
    1.15,
    chat,
    ENTRIES,
    oneByOne,
    openCheckedFloor,
  ),
  "hit-in-flight": hitRow("hit, 2 KB, 100 in flight", 0.9, chat, ENTRIES, byHundreds),
  map: {
    title: "hit through `map`, 2 KB",
    target: 0.8,
    run: (rounds) =>
      withHits(chat, ENTRIES, (cached, floor, list) =>
        against(
          {
            name: "ours",
            calls: ENTRIES,
            run: async () => {
              let hits = 0;
              for await (const { status } of cached.map(list, { concurrency: 10 })) {
                if (status === "hit") hits++;
              }
              if (hits !== ENTRIES) throw new Error("not all were hits");
            },
          },
          { name: "floor", calls: ENTRIES, run: () => oneByOne(list, floor) },
          rounds,
        )),
  },
  million: millionRow(
    "hit, 2 KB, 1,000,000 entries against 1,000: the same thousand again and again",
    () => spread(0),
  ),
  "million-far": millionRow(
    "hit, 2 KB, 1,000,000 entries against 1,000: far from each other, none read before",
    (round) => spread((round + 1) * 7_919),
  ),
  embedding: hitRow("hit, 30 KB embedding, against JSON", 0.6, embedding, 200, oneByOne),
  text: hitRow("hit, 1 MB text", 1.15, text, 10, oneByOne),
  miss: {
    title: "miss + store, 2 KB, 100 in flight",
    target: 1.2,
    run: async (rounds) => {
      await using cache = new SQLiteCache(freshPath("misses"), { singleFlight: "process" });
      const cached = wrap(cache, chat);
      const floor = openFloor("inserts");
      const list = Array.from({ length: 500 }, (_, index) => argumentsOf(index));
      const measured = await against(
        {
          name: "ours",
          calls: list.length,
          before: () => cache.bustAll(),
          run: () => byHundreds(list, cached),
        },
        {
          name: "floor",
          calls: list.length,
          before: () => floor.clear(),
          run: () => {
            for (let start = 0; start < list.length; start += 100) {
              floor.store(list.slice(start, start + 100), chat);
            }
          },
        },
        rounds,
      );
      check("a store", (await cached.readCache(list[7]!)).hit, true);
      check("the floor", await floor.hit(list[7]!), chat);
      floor.close();
      return measured;
    },
  },
  lease: leaseRow("miss of a function that does nothing, one at a time", 1.9, oneByOne),
  "lease-many": leaseRow("miss of a function that does nothing, 100 in flight", 1.7, byHundreds),
  key: {
    title: "key of 1 KB arguments, against JSON.stringify + SHA-256",
    target: 1.6,
    run: (rounds) => {
      const list = Array.from({ length: ENTRIES }, (_, index) => argumentsOf(index));
      return against(
        {
          name: "ours",
          calls: ENTRIES,
          run: () => {
            for (const argument of list) {
              digest(canonicalArguments([argument], []));
            }
          },
        },
        {
          name: "floor",
          calls: ENTRIES,
          run: () => {
            for (const argument of list) jsonKey(argument);
          },
        },
        rounds,
      );
    },
  },
  memory: {
    title: "memory tier hit, 2 KB, against JSON key + JSON.parse",
    target: 1.5,
    run: async (rounds) => {
      await using cache = new MemoryCache();
      const cached = cache.cache({ id: "work" })(
        async (_argument: Arguments): Promise<unknown> => await Promise.resolve(chat),
      );
      const list = Array.from({ length: ENTRIES }, (_, index) => argumentsOf(index));
      const byKey = new Map(
        list.map((argument) => [JSON.stringify([argument]), JSON.stringify(chat)]),
      );
      // deno-lint-ignore require-await
      const floor = async (argument: Arguments): Promise<unknown> =>
        JSON.parse(byKey.get(JSON.stringify([argument])) ?? "");
      await byHundreds(list, cached);
      check("a hit", await cached(list[7]!), chat);
      check("the floor", await floor(list[7]!), chat);
      const measured = await against(
        { name: "ours", calls: ENTRIES, run: () => oneByOne(list, cached) },
        { name: "floor", calls: ENTRIES, run: () => oneByOne(list, floor) },
        rounds,
      );
      check("misses", cache.stats().misses, ENTRIES);
      return measured;
    },
  },
  limit: {
    title: "`limitConcurrency`, 1,000,000 tasks at once, limit 10, against the fastest peer",
    target: 1,
    run: (rounds) => limits(rounds, 1_000_000),
  },
  "limit-one": {
    title: "`limitConcurrency`, 200,000 tasks one at a time, limit 10, against the fastest peer",
    target: 1,
    run: (rounds) => limits(rounds, 1),
  },
  "limit-keys": {
    title: "`limitConcurrency`, 1,000 keys, 1,000,000 tasks, against no keys",
    target: 1.5,
    run: (rounds) => {
      const all = limiters(1_000_000);
      const find = (name: string) => all.find((each) => each.name === name)!;
      return against(
        find("limitConcurrency, 1,000 keys"),
        find("limitConcurrency"),
        Math.min(rounds, LIMIT_ROUNDS),
      );
    },
  },
  s3: {
    title: "S3 hit, against GetObject of the SDK",
    target: 1.1,
    run: async (rounds) => {
      await using s3 = await openS3();
      const list = s3.list;
      s3.requests = 0;
      await oneByOne(list, s3.cached);
      const requests = s3.requests / list.length;
      const measured = await against(
        {
          name: "ours",
          calls: list.length,
          run: () => oneByOne(list, s3.cached),
        },
        { name: "SDK", calls: list.length, run: () => oneByOne(list, s3.raw) },
        rounds,
        "wall",
      );
      return {
        ...measured,
        detail: `${measured.detail}; ${requests} requests per hit`,
      };
    },
  },
  "s3-map": {
    title: "`map` over S3 hits, 32 at a time, against GetObject of the SDK",
    target: 1.2,
    run: async (rounds) => {
      await using s3 = await openS3();
      const calls = s3.list.length;
      return await against(
        { name: "ours", calls, run: s3.map },
        { name: "SDK", calls, run: s3.rawMap },
        rounds,
        "wall",
      );
    },
  },
  fetch: {
    title: "hit through `cachedFetch`, 2 KB, against a plain hit",
    target: 5,
    run: (rounds) =>
      withHits(chat, ENTRIES, async (cached, _floor, list) => {
        await using kept = await keptChats(list);
        const measured = await against(
          { name: "cachedFetch", calls: ENTRIES, run: () => oneByOne(list, kept.ask) },
          { name: "plain", calls: ENTRIES, run: () => oneByOne(list, cached) },
          rounds,
        );
        check("exchanges", kept.exchanges(), ENTRIES);
        return measured;
      }),
  },
  "first-piece": {
    title: "first piece of a stream through `cachedFetch`, after the server's own `fetch`",
    target: 5,
    unit: "ms",
    run: (rounds) => firstPieceMs(rounds),
  },
  import: {
    title: 'import "@panza/panza" in a fresh process, over an empty module',
    target: 15,
    unit: "ms",
    run: (rounds) => importMs(Math.min(rounds, 15)),
  },
  "first-hit": {
    title: "first hit on an existing file, after the import",
    target: 10,
    unit: "ms",
    run: (rounds) => firstHitMs(Math.min(rounds, 15)),
  },
  resident: {
    title: "memory, 1,000,000 entries in the file: resident growth after 20,000 hits",
    target: 64,
    unit: "MB",
    run: async () => {
      {
        await using cache = new SQLiteCache(millionPath());
        await fillMillion(cache);
      }
      return await residentGrowth(millionPath());
    },
  },
};

/** A round of a million tasks takes seconds for each limiter. */
const LIMIT_ROUNDS = 7;

/** Rows that write gigabytes. */
const LARGE = ["million", "million-far", "resident"];

function millionPath(): string {
  freshPath("nothing");
  return ".cache/bench/million.db";
}

/** Puts a million chats into a file, unless they are there. */
async function fillMillion(cache: SQLiteCache): Promise<void> {
  const cached = wrap(cache, chat);
  if ((await cached.readCache(argumentsOf(999_999))).hit) return;
  function* inputs(): Generator<Arguments> {
    for (let index = 0; index < 1_000_000; index++) yield argumentsOf(index);
  }
  for await (const { ok } of cached.map(inputs(), { concurrency: 200 })) {
    if (!ok) throw new Error("a store failed");
  }
}

/** A thousand of a million arguments, far from each other. */
function spread(start: number): Arguments[] {
  return Array.from(
    { length: ENTRIES },
    (_, index) => argumentsOf((start + index * 104_729) % 1_000_000),
  );
}

/** Our limiter against the best of the peers. */
async function limits(rounds: number, atOnce: number): Promise<Measured> {
  const all = limiters(atOnce).filter(({ name }) => !name.includes("keys"));
  const times = await measure(all, Math.min(rounds, LIMIT_ROUNDS));
  const [ours, ...peers] = all.map(({ name }) => ({
    name,
    ...times.get(name)!,
  }));
  const best = peers.toSorted((a, b) => median(a.processor) - median(b.processor))[0]!;
  return {
    value: ratio(ours!, best),
    detail: `ours ${micros(median(ours!.processor))}, ${best.name} ${
      micros(
        median(best.processor),
      )
    }`,
  };
}

// Running and writing

interface Stored extends Measured {
  readonly title: string;
  readonly target: number;
  readonly unit: string;
  readonly met: boolean;
  readonly rounds: number;
  readonly load: number;
  readonly machine: string;
}

const RESULTS = "bench/results/ratios.json";

function readResults(): Record<string, Stored> {
  try {
    return JSON.parse(readFileSync(RESULTS, "utf8"));
  } catch {
    return {};
  }
}

function table(results: Readonly<Record<string, Stored>>): string {
  const lines = Object.keys(rows).flatMap((name) => {
    const row = results[name];
    if (row === undefined) return [];
    const { title, target, value, unit, met, detail, load } = row;
    return `| \`${name}\` | ${title} | ≤ ${target} ${unit} | ${
      value.toFixed(
        2,
      )
    } ${unit} | ${met ? "yes" : "**no**"} | ${detail} | ${load} |`;
  });
  const { machine } = Object.values(results)[0] ?? { machine: "" };
  return (
    `# Ratios\n\n${machine}. Medians of interleaved rounds, each row in a process of its own. Written by \`bench/ratios.ts\`.\n\n` +
    "| row | what | target | measured | met | times per call | load |\n|---|---|---|---|---|---|---|\n" +
    `${lines.join("\n")}\n`
  );
}

const options = process.argv.slice(2);
const rounds = Number(options.find((option) => option.startsWith("--rounds="))?.slice(9) ?? 31);
const named = options.filter((option) => !option.startsWith("--"));
for (const name of named) {
  if (!(name in rows)) {
    throw new Error(`no row ${name}; there are ${Object.keys(rows).join(", ")}`);
  }
}
const large = process.env["PANZA_BENCH_MILLION"] === "1";
const chosen = named.length > 0
  ? named
  : Object.keys(rows).filter((name) => large || !LARGE.includes(name));

async function measureRow(name: string): Promise<void> {
  const row = rows[name]!;
  const measured = await row.run(rounds);
  const stored: Stored = {
    title: row.title,
    target: row.target,
    unit: row.unit ?? "×",
    ...measured,
    met: measured.value <= row.target,
    rounds,
    load: Math.round(loadavg()[0]! * 10) / 10,
    machine: `${cpus().length} cores, ${process.platform} ${process.arch}, Deno ${
      process.versions["deno"] ?? "–"
    }`,
  };
  const results = { ...readResults(), [name]: stored };
  writeFileSync(RESULTS, JSON.stringify(results, undefined, 2) + "\n");
  writeFileSync("bench/results/ratios.md", table(results));
  // deno-lint-ignore no-console
  console.log(
    `${stored.met ? "met   " : "missed"} ${name.padEnd(14)} ${
      stored.value.toFixed(
        2,
      )
    } ${stored.unit} (≤ ${row.target}): ${stored.detail}`,
  );
}

const [only, ...others] = chosen;
if (only !== undefined && others.length === 0) await measureRow(only);
// A process for each row, because code compiled for one row would change the time of another.
else for (const name of chosen) runSelf([`--rounds=${rounds}`, name]);
