// The peers are measured, not used: pinned here, they stay out of the dependencies of the package.
// deno-lint-ignore-file no-import-prefix
/**
 * The same work through other caches: hits of 2 KB with automatic and with hand-written keys,
 * misses that are stored, and hits in memory.
 *
 * `deno task bench:peers [--rounds=21] [--out=bench/results/peers] [group]`, and on Node and Bun,
 * with the built package, `deno task bench:npm`. Rounds are interleaved and the ratio is the median
 * of the rounds' ratios. Every hit is compared with the stored value before anything is measured.
 *
 * All peers stand on one store (`store.ts`), because their own SQLite drivers are native addons:
 * `@keyv/sqlite` 4 needs `sqlite3`, whose build script Deno does not run, and the database drivers
 * of bentocache need `better-sqlite3` or `sqlite3`. Unstorage has a driver over `node:sqlite`
 * (db0), and both are measured. Peers without automatic keys get those of ohash.
 *
 * @module
 */

import { readFileSync, writeFileSync } from "node:fs";
import { cpus, loadavg } from "node:os";
import process from "node:process";
import { parseArgs } from "node:util";
import { type Cache as CachifiedCache, cachified } from "npm:@epic-web/cachified@5.6.3";
import { BentoCache, bentostore } from "npm:bentocache@1.6.1";
import { memoryDriver } from "npm:bentocache@1.6.1/drivers/memory";
import { Cacheable, CacheableMemory, Keyv as CacheableKeyv } from "npm:cacheable@2.5.0";
import { createDatabase } from "npm:db0@0.3.4";
import nodeSqlite from "npm:db0@0.3.4/connectors/node-sqlite";
import { Keyv } from "npm:keyv@6.1.0";
import { LRUCache } from "npm:lru-cache@11.5.3";
import { hash } from "npm:ohash@2.0.12";
import pMemoize from "npm:p-memoize@9.0.0";
import { createStorage, type Driver, type Storage } from "npm:unstorage@1.17.6";
import db0Driver from "npm:unstorage@1.17.6/drivers/db0";
import type { Cache } from "../../src/core/cache.ts";
import { MemoryCache } from "../../memory.ts";
import { SQLiteCache } from "../../sqlite.ts";
import { contenders as limiters, SIZES } from "../limit_work.ts";
import { measure, median, ratio } from "../measure.ts";
import { runSelf } from "../processes.ts";
import {
  type Arguments,
  argumentsOf,
  byHundreds,
  chat,
  check,
  freshPath,
  oneByOne,
  openFloor,
} from "../work.ts";
import { openTextStore, type TextStore } from "./store.ts";

type KeyOf = (argument: Arguments) => string;
type Cached = (argument: Arguments) => Promise<unknown>;

interface Peer {
  readonly call: Cached;
  readonly clear: () => unknown;
}

let runs = 0;
const compute = async (_argument: Arguments): Promise<unknown> => {
  runs++;
  return await Promise.resolve(chat);
};

const byHand: KeyOf = (argument) => `work:${argument.seed}`;
const automatic: KeyOf = (argument) => hash(argument);

/** Reads, and on a miss computes and stores, for stores that do not wrap functions. */
function aside(
  keyOf: KeyOf,
  store: {
    get: (key: string) => unknown;
    set: (key: string, value: unknown) => unknown;
  },
): Cached {
  return async (argument) => {
    const key = keyOf(argument);
    const found = await store.get(key);
    if (found !== undefined && found !== null) return found;
    const value = await compute(argument);
    await store.set(key, value);
    return value;
  };
}

function throughPanza(cache: Cache, keyOf: KeyOf): Peer {
  const options = keyOf === byHand ? { id: "work", hashFunc: byHand } : { id: "work" };
  return {
    call: cache.cache(options)(compute),
    clear: () => cache.bustAll(),
  };
}

function throughCachified(cache: CachifiedCache, keyOf: KeyOf): Cached {
  return (argument) =>
    cachified({
      key: keyOf(argument),
      cache,
      getFreshValue: () => compute(argument),
    });
}

function throughBento(bento: Pick<BentoCache<never>, "getOrSetForever">, keyOf: KeyOf): Cached {
  return (argument) =>
    bento.getOrSetForever({
      key: keyOf(argument),
      factory: () => compute(argument),
    });
}

type Make = (name: string, keyOf: KeyOf) => Peer;

const onSQLite: Record<string, Make> = {
  panza: (name, keyOf) => throughPanza(new SQLiteCache(freshPath(name)), keyOf),
  // Like the peers: processes do not share runs.
  'panza, singleFlight: "process"': (name, keyOf) =>
    throughPanza(new SQLiteCache(freshPath(name), { singleFlight: "process" }), keyOf),
  keyv: (name, keyOf) => {
    const store = openTextStore(name);
    const keyv = new Keyv({ store: asMap(store) });
    return {
      call: aside(keyOf, keyv),
      clear: () => store.clear(),
    };
  },
  "p-memoize over keyv": (name, keyOf) => {
    const store = openTextStore(name);
    const keyv = new Keyv({ store: asMap(store) });
    return {
      call: pMemoize(compute, {
        cacheKey: ([argument]) => keyOf(argument),
        cache: {
          has: (key) => keyv.has(key),
          get: (key) => keyv.get(key),
          set: (key, value) => keyv.set(key, value),
          delete: (key) => keyv.delete(key),
        },
      }),
      clear: () => store.clear(),
    };
  },
  cachified: (name, keyOf) => {
    const store = openTextStore(name);
    const cache = {
      get: (key: string) => {
        const text = store.get(key);
        return text === undefined ? undefined : JSON.parse(text);
      },
      set: (key: string, value: unknown) => store.set(key, JSON.stringify(value)),
      delete: (key: string) => store.delete(key),
    };
    return {
      call: throughCachified(cache, keyOf),
      clear: () => store.clear(),
    };
  },
  bentocache: (name, keyOf) => {
    const store = openTextStore(name);
    const driver = {
      type: "l2" as const,
      namespace: () => driver,
      get: (key: string) => Promise.resolve(store.get(key)),
      pull: (key: string) => Promise.resolve(store.get(key)),
      set: (key: string, value: string) => {
        store.set(key, value);
        return Promise.resolve(true);
      },
      clear: () => Promise.resolve(store.clear()),
      delete: (key: string) => Promise.resolve(store.delete(key)),
      deleteMany: (keys: string[]) => {
        for (const key of keys) store.delete(key);
        return Promise.resolve(true);
      },
      disconnect: () => Promise.resolve(),
    };
    const bento = new BentoCache({
      default: "main",
      stores: {
        main: bentostore().useL2Layer({ options: {}, factory: () => driver }),
      },
    });
    return {
      call: throughBento(bento, keyOf),
      clear: () => store.clear(),
    };
  },
  cacheable: (name, keyOf) => {
    const store = openTextStore(name);
    // Its first level is memory; the second one is measured.
    const cacheable = new Cacheable({
      primary: new CacheableKeyv({ store: asTextMap(store) }),
    });
    return {
      call: aside(keyOf, cacheable),
      clear: () => store.clear(),
    };
  },
  unstorage: (name, keyOf) => {
    const store = openTextStore(name);
    const driver: Driver = {
      hasItem: (key) => store.get(key) !== undefined,
      getItem: (key) => store.get(key) ?? null,
      setItem: (key, value) => store.set(key, value),
      removeItem: (key) => void store.delete(key),
      getKeys: () => [],
      clear: () => store.clear(),
    };
    const storage = createStorage({ driver });
    return {
      call: aside(keyOf, asStore(storage)),
      clear: () => store.clear(),
    };
  },
  "unstorage, its driver db0": (name, keyOf) => {
    const database = createDatabase(nodeSqlite({ path: `../${freshPath(name)}` }));
    const storage = createStorage({ driver: db0Driver({ database }) });
    return {
      call: aside(keyOf, asStore(storage)),
      clear: () => database.exec("DELETE FROM unstorage").catch(() => {}),
    };
  },
};

const inMemory: Record<string, Make> = {
  panza: (_name, keyOf) => {
    const cache = new MemoryCache();
    return throughPanza(cache, keyOf);
  },
  keyv: (_name, keyOf) => {
    const keyv = new Keyv();
    return {
      call: aside(keyOf, keyv),
      clear: () => keyv.clear(),
    };
  },
  bentocache: (_name, keyOf) => {
    const bento = new BentoCache({
      default: "main",
      stores: {
        main: bentostore().useL1Layer(memoryDriver({ maxItems: 10_000 })),
      },
    });
    return {
      call: throughBento(bento, keyOf),
      clear: () => bento.clear(),
    };
  },
  cacheable: (_name, keyOf) => {
    const memory = new CacheableMemory();
    return {
      call: aside(keyOf, memory),
      clear: () => memory.clear(),
    };
  },
  "cachified over lru-cache": (_name, keyOf) => {
    // deno-lint-ignore no-explicit-any
    const cache = new LRUCache<string, any>({ max: 10_000 });
    return {
      call: throughCachified(cache, keyOf),
      clear: () => cache.clear(),
    };
  },
  "p-memoize": (_name, keyOf) => {
    const cache = new Map<string, unknown>();
    return {
      call: pMemoize(compute, {
        cacheKey: ([argument]) => keyOf(argument),
        cache,
      }),
      clear: () => cache.clear(),
    };
  },
};

/** Unstorage parses JSON by itself; writing text is its fastest way. */
function asStore(storage: Storage) {
  return {
    get: (key: string) => storage.getItem(key),
    set: (key: string, value: unknown) => storage.setItem(key, JSON.stringify(value)),
  };
}

/** The part of a Map that keyv needs of a store; keyv 6 leaves the writing of text to it. */
function asMap(store: TextStore): Map<string, unknown> {
  const map = new Map<string, unknown>();
  map.get = (key) => {
    const text = store.get(key);
    return text === undefined ? undefined : JSON.parse(text);
  };
  map.has = (key) => store.get(key) !== undefined;
  map.set = (key, value) => {
    store.set(key, JSON.stringify(value));
    return map;
  };
  map.delete = (key) => store.delete(key);
  map.clear = () => store.clear();
  return map;
}

/** The same for the keyv of cacheable, which hands over text. */
function asTextMap(store: TextStore): Map<string, unknown> {
  const map = asMap(store);
  map.get = (key) => store.get(key);
  map.set = (key, value) => {
    store.set(key, String(value));
    return map;
  };
  return map;
}

/** A round of a million tasks takes seconds for each limiter. */
const LIMIT_ROUNDS = 7;

interface Line {
  readonly name: string;
  /** Microseconds per call. */
  readonly median: number;
  /** The time as a multiple of ours. */
  readonly ratio: number;
  /** Whether every caller gets its own copy. */
  readonly owns?: boolean;
}

const list = Array.from({ length: 1000 }, (_, index) => argumentsOf(index));
const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    rounds: { type: "string", default: "21" },
    out: { type: "string", default: "bench/results/peers" },
  },
});
const rounds = Number(values.rounds);
const { deno, bun, node } = process.versions;
const runtime = deno !== undefined
  ? `Deno ${deno}`
  : bun !== undefined
  ? `Bun ${bun}`
  : `Node ${node}`;

async function compare(
  group: string,
  makes: Record<string, Make>,
  keyOf: KeyOf,
  way: "hits" | "misses",
): Promise<Line[]> {
  const contenders = [];
  const owns = new Map<string, boolean>();
  const calls = way === "hits" ? list : list.slice(0, 500);
  for (const [name, make] of Object.entries(makes)) {
    try {
      const peer = make(`${group} ${name}`.replaceAll(/\W+/g, "_"), keyOf);
      await byHundreds(calls, peer.call);
      const before = runs;
      const [one, two] = [await peer.call(list[7]!), await peer.call(list[7]!)];
      check(name, one, chat);
      check(name, two, chat);
      if (runs !== before) throw new Error("a second call ran the function");
      owns.set(name, one !== two);
      contenders.push({
        name,
        calls: calls.length,
        ...(way === "misses" ? { before: () => peer.clear() } : {}),
        run: async () => {
          const begun = runs;
          if (way === "hits") await oneByOne(calls, peer.call);
          else await byHundreds(calls, peer.call);
          const ran = runs - begun;
          if (ran !== (way === "hits" ? 0 : calls.length)) {
            throw new Error(`${name}: ${ran} runs among ${calls.length} calls`);
          }
        },
      });
    } catch (error) {
      // deno-lint-ignore no-console
      console.error(`left out of ${group}: ${name}: ${error}`);
    }
  }
  if (group === "hit, automatic keys") {
    const floor = openFloor("peers_floor");
    floor.store(list, chat);
    contenders.push({
      name: "the floor, by hand",
      calls: list.length,
      run: () => oneByOne(list, floor.hit),
    });
  }
  const times = await measure(contenders, rounds);
  const ours = times.get("panza")!;
  return [...times].map(([name, timing]) => ({
    name,
    median: Math.round(median(timing.processor) * 100) / 100,
    ratio: Math.round(ratio(timing, ours) * 100) / 100,
    owns: owns.get(name) ?? true,
  }));
}

async function compareLimits(atOnce: number): Promise<Line[]> {
  const times = await measure(limiters(atOnce), Math.min(rounds, LIMIT_ROUNDS));
  const ours = times.get("limitConcurrency")!;
  return [...times].map(([name, timing]) => ({
    name,
    median: Math.round(median(timing.processor) * 1000) / 1000,
    ratio: Math.round(ratio(timing, ours) * 100) / 100,
  }));
}

/** Adds a group to the earlier results. */
function write(group: string, lines: readonly Line[]): void {
  const machine = `${cpus().length} cores, ${process.platform} ${process.arch}, ${runtime}, load ${
    loadavg()[0]!.toFixed(
      1,
    )
  }`;
  const groups: Record<string, readonly Line[]> = {
    ...readGroups(),
    [group]: lines,
  };
  writeFileSync(
    `${values.out}.json`,
    JSON.stringify({ machine, rounds, groups }, undefined, 2) + "\n",
  );
  let text =
    `# Peers\n\n${machine}. Medians of ${rounds} interleaved rounds (${LIMIT_ROUNDS} for limits), processor time; × is the time of each over ours. Written by \`bench/peers/peers.ts\`.\n`;
  for (const [group, lines] of Object.entries(groups)) {
    text +=
      `\n## ${group}\n\n| | µs per call | × ours | own copy for each caller |\n|---|---|---|---|\n`;
    for (const { name, median, ratio, owns } of lines) {
      text += `| ${name} | ${median} | ${ratio.toFixed(2)} | ${
        owns === undefined ? "–" : owns ? "yes" : "no"
      } |\n`;
    }
  }
  writeFileSync(`${values.out}.md`, text);
}

function readGroups(): Record<string, readonly Line[]> {
  try {
    return JSON.parse(readFileSync(`${values.out}.json`, "utf8")).groups;
  } catch {
    return {};
  }
}

/** The groups of measurements, by title. */
const groups: Record<string, () => Promise<Line[]>> = {};
for (
  const [title, makes, keyOf, way] of [
    ["hit, automatic keys", onSQLite, automatic, "hits"],
    ["hit, hand-written keys", onSQLite, byHand, "hits"],
    ["miss + store, 100 in flight, hand-written keys", onSQLite, byHand, "misses"],
    ["hit in memory, automatic keys", inMemory, automatic, "hits"],
    ["hit in memory, hand-written keys", inMemory, byHand, "hits"],
  ] as const
) {
  groups[title] = () => compare(title, makes, keyOf, way);
}
for (const atOnce of SIZES) {
  groups[`limit of 10, ${atOnce.toLocaleString("en")} at once`] = () => compareLimits(atOnce);
}

const [chosen] = positionals;
if (chosen === undefined) {
  // A process for each group, because code compiled for one would change the time of another.
  for (const title of Object.keys(groups)) {
    runSelf([`--rounds=${rounds}`, `--out=${values.out}`, title]);
  }
} else {
  const run = groups[chosen];
  if (run === undefined) {
    throw new Error(`there is only ${Object.keys(groups).join("; ")}`);
  }
  write(chosen, await run());
}
process.exit(0);
