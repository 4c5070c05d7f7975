/** Every door refuses wrong options by name, with one wording, before anything runs. */
import { test } from "node:test";
import { assert, assertEquals } from "@std/assert";
import {
  Cache,
  limitConcurrency,
  limitRate,
  MemoryBackend,
  MemoryCache,
  retry,
  S3Backend,
  SQLiteCache,
  TieredCache,
} from "../mod.ts";
import { FolderCache } from "../folder.ts";
import { cachedFetch } from "../fetch.ts";
import { RedisBackend, RedisCache } from "../redis.ts";
import { progressBar } from "../progress.ts";
import { testBackend } from "../testing.ts";
import { reasonOf } from "./support/by_hand.ts";

const FORMULA = /^Cannot [a-z][^:]*: (\S+) must be [^\n]+, received [^\n]+$/;
const UNKNOWN = /^Cannot [a-z][^:]*: there is no option "([^"]+)", only [\w.]+(, [\w.]+)*$/;

/** Each option with a value of another kind, and one out of range where there is a range. */
type WrongValues = Readonly<
  Record<string, readonly [ofAnotherKind: unknown, outOfRange?: unknown]>
>;

const cache = new MemoryCache();
const fn = cache.cache({ id: "f" })((n: number) => Promise.resolve(n));

/** Calls a function with arguments that its types would refuse. */
function call(target: unknown, ...args: unknown[]): unknown {
  assert(typeof target === "function");
  return Reflect.apply(target, cache, args);
}

/** Each door that takes options: its use, its wrong values, and the options it requires. */
const DOORS: readonly [
  door: string,
  use: (options: unknown) => unknown,
  wrong: WrongValues,
  valid?: object,
][] = [
  ["new Cache()", (options) => Reflect.construct(Cache, [new MemoryBackend(), options]), {
    onError: ["log"],
    onCall: ["log"],
  }],
  ["new MemoryBackend()", (options) => Reflect.construct(MemoryBackend, [options]), {
    maxBytes: ["1", 0],
  }],
  ["new MemoryCache()", (options) => Reflect.construct(MemoryCache, [options]), {
    maxBytes: ["1", 0],
    onError: ["log"],
  }],
  ["new SQLiteCache()", (options) => Reflect.construct(SQLiteCache, [":memory:", options]), {
    create: [1],
    onError: ["log"],
  }],
  ["new FolderCache()", (options) => Reflect.construct(FolderCache, ["recordings", options]), {
    onError: ["log"],
  }],
  ["new TieredCache()", (options) => Reflect.construct(TieredCache, [[cache], options]), {
    innerTtl: ["x", 0],
    onError: ["log"],
  }],
  ["new S3Backend()", (options) => Reflect.construct(S3Backend, ["bucket", options]), {
    region: [1],
    endpoint: ["localhost:9000"],
    credentials: ["secret"],
    forcePathStyle: [1],
    autoCreateBucket: ["yes"],
    serverSideEncryption: ["aes"],
    kmsKeyId: [1],
    client: [{}],
  }],
  ["new RedisBackend()", (options) => Reflect.construct(RedisBackend, ["redis://a", options]), {
    prefix: ["{a}"],
  }],
  ["new RedisCache()", (options) => Reflect.construct(RedisCache, ["redis://a", options]), {
    prefix: [""],
    onError: ["log"],
  }],
  ["cache.cache()", (options) => call(cache.cache, options), {
    id: [1],
    hashFunc: ["a"],
    this: ["include"],
    version: [{}],
    ttl: ["soon", 0],
    shouldCache: [true],
    schema: [{ parse: () => 1 }],
    singleFlight: ["no"],
    debug: [1],
  }],
  ["cache.cache() with ttl", (options) => call(cache.cache, options), {
    staleWhileRevalidate: [null, -1],
    staleIfError: ["", NaN],
  }, { ttl: 1 }],
  ["cache.stream()", (options) => call(cache.stream, options), {
    id: [1],
    ttl: ["soon", 0],
    shouldCache: [true],
    codec: [{ encode: () => 1 }],
    maxItems: ["1", 0],
  }],
  ["cache.set()", (options) => call(cache.set, "k", 1, options), { ttl: [null, 0] }],
  ["cache.entries()", (options) => cache.entries(Object(options)).next(), { id: [1] }],
  ["cache.stats()", (options) => call(cache.stats, options), { id: [1] }],
  ["cache.prune()", (options) => call(cache.prune, options), {
    expired: [1],
    olderThan: ["1w", Infinity],
    maxBytes: ["1", 0],
    maxEntries: [null, 1.5],
    id: [1],
    dryRun: [1],
  }],
  ["cache.read()", (options) => call(cache.read, "k", options), { id: [1] }],
  ["fn.map()", (options) => call(fn.map, [1], options), {
    concurrency: ["2", 0],
    ordered: [1],
    signal: [{}],
    onProgress: [1],
    args: [1],
  }, { concurrency: 1 }],
  ["limitConcurrency()", (options) => call(limitConcurrency, 1, options), {
    maxQueue: ["1", -1],
    deriveKey: ["a"],
    signal: [{}],
  }],
  ["limitRate()", (options) => call(limitRate, 1, options), {
    per: ["soon", 0],
    maxQueue: ["1", -1],
    deriveKey: ["a"],
    signal: [1],
  }, { per: 1 }],
  ["retry()", (options) => call(retry, options), {
    attempts: ["3", 0],
    backoff: [null],
    signal: [{}],
  }],
  ["retry() with backoff", (backoff) => call(retry, { backoff }), {
    "backoff.min": ["soon", Infinity],
    "backoff.max": ["soon", -1],
    "backoff.multiplier": ["2", 0.5],
    "backoff.jitter": ["1", 1.1],
  }],
  ["cachedFetch()", (options) => call(cachedFetch, cache, options), {
    methods: ["POST", []],
    headers: [["a b"]],
    credentials: ["omit"],
    hashFunc: ["url"],
    shouldCache: [true],
    fetch: ["fetch"],
    limit: [5],
    retry: [3],
    maxBytes: ["1", 0],
  }, { methods: ["GET"] }],
  ["progressBar()", (options) => call(progressBar, options), {
    total: ["9", -1],
    plainInterval: ["soon", 0],
    output: [{}],
  }],
  ["testBackend()", (options) => call(testBackend, () => {}, () => ({}), options), {
    reopen: [1],
    openNeighbour: [1],
    breakStore: [true],
    cleanUp: ["all"],
    entryCount: ["9", 0],
    seed: [null, 2 ** 32],
  }],
];

/** The names that a message refuses, or the whole message if it has another wording. */
async function refusal(use: () => unknown, type: ErrorConstructor, formula: RegExp) {
  const error = await reasonOf((async () => await use())());
  assert(error instanceof Error);
  assertEquals(error.constructor, type, error.message);
  return formula.exec(error.message)?.[1] ?? error.message;
}

for (const [door, use, wrong, valid] of DOORS) {
  test(`${door} refuses each wrong option by name`, async () => {
    const unknown = await refusal(() => use({ ...valid, tttl: 1 }), TypeError, UNKNOWN);
    // Inside another option, the path to it stands before the name.
    assertEquals(unknown.replace(/^backoff\./, ""), "tttl");
    for (const [name, values] of Object.entries(wrong)) {
      for (const [index, value] of values.entries()) {
        const options = { ...valid, [name.replace("backoff.", "")]: value };
        const type = index === 0 ? TypeError : RangeError;
        assertEquals(await refusal(() => use(options), type, FORMULA), name);
      }
    }
  });
}

/** Wrong parameters, by name. */
const PARAMETERS: readonly [use: () => unknown, name: string, type?: ErrorConstructor][] = [
  [() => Reflect.construct(Cache, [undefined]), "backend"],
  [() => Reflect.construct(Cache, [{ get: () => {} }]), "backend"],
  [() => Reflect.construct(Cache, [new MemoryBackend(), null]), "options"],
  [() => Reflect.construct(SQLiteCache, [1]), "database"],
  [() => Reflect.construct(RedisCache, [{ isOpen: true }]), "server"],
  [() => Reflect.construct(FolderCache, [1]), "folder"],
  [() => call(cache.cache, null), "options"],
  [() => call(cache.cache, { id: "" }), "id"],
  [() => call(cache.cache, { version: NaN }), "version"],
  [() => call(cache.get, 1), "key"],
  [() => call(cache.set, null, 1), "key"],
  [() => call(cache.read, {}), "key"],
  [() => call(cache.delete, undefined), "key"],
  [() => cache.bust(""), "id"],
  [() => call(cache.bust, undefined), "id"],
  [() => call(fn.map, 5, { concurrency: 1 }), "inputs"],
  [() => call(fn.map, [1], {}), "concurrency"],
  [() => call(limitConcurrency, "5"), "n"],
  [() => limitConcurrency(0), "n", RangeError],
  [() => call(limitRate, "1", { per: 1 }), "count"],
  [() => limitRate(0, { per: 1 }), "count", RangeError],
  [() => call(limitRate, 1), "options"],
  [() => call(retry, null), "options"],
];

test("Every door refuses wrong parameters by name", async () => {
  for (const [use, name, type = TypeError] of PARAMETERS) {
    assertEquals(await refusal(use, type, FORMULA), name);
  }
});

test("Stale options without ttl are refused", async () => {
  for (const name of ["staleWhileRevalidate", "staleIfError"]) {
    const reason = await refusal(() => call(cache.cache, { [name]: 1 }), TypeError, FORMULA);
    assert(reason.includes(name) && reason.includes("ttl"), reason);
  }
});
