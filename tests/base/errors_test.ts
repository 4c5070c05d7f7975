/** Every error of the library: its class, name, fields and cause; and the one formula for bad options. */
import { test } from "node:test";
import { assert, assertEquals, assertStrictEquals, assertThrows } from "@std/assert";
import * as exported from "../../mod.ts";
import { optionMessage, quote, refuseUnknownOptions } from "../../src/base/errors.ts";
import { reasonOf } from "../support/by_hand.ts";

const {
  BackendError,
  BucketNotFoundError,
  CacheClosedError,
  CacheMissError,
  CacheOnlyError,
  DamagedEntryError,
  DamagedDatabaseError,
  EnvironmentVariableError,
  MemoryBackend,
  MemoryCache,
  PanzaError,
  QueueFullError,
  ReentrantCallError,
  SQLiteCache,
  UncacheableValueError,
  UnhashableArgumentError,
} = exported;

const cause = new Error("because");

/** One of each, with the fields that it must have. */
const ERRORS: Readonly<Record<string, readonly [error: Error, fields: Record<string, unknown>]>> = {
  BackendError: [
    new BackendError("SQLite x.db", "write", cause, "make room"),
    { backend: "SQLite x.db", operation: "write", cause },
  ],
  BucketNotFoundError: [
    new BucketNotFoundError("S3 b/p", "read", "b"),
    { backend: "S3 b/p", operation: "read", bucket: "b" },
  ],
  CacheClosedError: [new CacheClosedError(), {}],
  CacheMissError: [new CacheMissError("k"), { key: "k" }],
  CacheOnlyError: [new CacheOnlyError("f", "3f"), { id: "f", key: "3f" }],
  DamagedEntryError: [
    new DamagedEntryError("it is cut off", "f", "3f", { cause }),
    { id: "f", key: "3f", cause },
  ],
  DamagedDatabaseError: [
    new DamagedDatabaseError("x.db", "x.db.panza-2", cause),
    { path: "x.db", continuedIn: "x.db.panza-2", cause },
  ],
  EnvironmentVariableError: [
    new EnvironmentVariableError("CACHE_ONLY", "maybe"),
    { variable: "CACHE_ONLY" },
  ],
  QueueFullError: [new QueueFullError(3), { maxQueue: 3 }],
  ReentrantCallError: [new ReentrantCallError("f", "3f"), { id: "f", key: "3f" }],
  UncacheableValueError: [
    new UncacheableValueError("value.f", "a function", { cause }),
    { path: "value.f", cause },
  ],
  UnhashableArgumentError: [
    new UnhashableArgumentError("args[0]", "a function", { cause }),
    { path: "args[0]", cause },
  ],
};

test("Every exported error is a PanzaError with a literal name, its fields and its cause", () => {
  const classes = Object.entries(exported).filter(
    ([, value]) => typeof value === "function" && value.prototype instanceof Error,
  );
  assertEquals(
    classes
      .map(([name]) => name)
      .filter((name) => name !== "PanzaError")
      .sort(),
    Object.keys(ERRORS).sort(),
  );
  for (const [name, [error, fields]] of Object.entries(ERRORS)) {
    assert(error instanceof PanzaError && error instanceof Error, name);
    assertStrictEquals(error.constructor, Reflect.get(exported, name));
    // The name is a field of its own: what a minifier does to the class is not seen.
    assertEquals(Object.getOwnPropertyDescriptor(error, "name")?.value, name);
    assertEquals(String(error).startsWith(`${name}: Cannot `), true, name);
    for (const [field, value] of Object.entries(fields)) {
      assertStrictEquals(Reflect.get(error, field), value, `${name}.${field}`);
    }
    assert(error.stack?.includes("errors_test"), name);
  }
});

test("Every message says what failed, names it, and tells the way out", () => {
  const parts: Record<string, readonly string[]> = {
    BackendError: ["write", "SQLite x.db", "because", "; make room"],
    BucketNotFoundError: ["read", "S3 b/p", '"b"', "; create it"],
    CacheClosedError: ["closed", "; open a new one"],
    CacheMissError: ['"k"', "; use cache.read"],
    CacheOnlyError: ['"f"', "3f", "CACHE_ONLY", "; run once without"],
    DamagedEntryError: ['"f"', "3f", "cut off", "; it counts as a miss"],
    DamagedDatabaseError: ["x.db", "because", "; it is left as it is", "delete x.db.panza-2"],
    EnvironmentVariableError: ["CACHE_ONLY", '"maybe"', "must be 1, true"],
    QueueFullError: ["3", "; raise maxQueue"],
    ReentrantCallError: ['"f"', "3f", "; call the plain function"],
    UncacheableValueError: ["value.f", "a function", "; return plain data"],
    UnhashableArgumentError: ["args[0]", "a function", "; pass hashFunc"],
  };
  assertEquals(Object.keys(parts), Object.keys(ERRORS));
  for (const [name, expected] of Object.entries(parts)) {
    const message = ERRORS[name]?.[0].message ?? "";
    for (const part of expected) assert(message.includes(part), message);
  }
});

test("BackendError tells what was thrown, also when that was no error", () => {
  for (
    const [thrown, text] of [
      ["full", "full"],
      [undefined, "undefined"],
      [null, "null"],
      [Symbol("s"), "Symbol(s)"],
      [{ secret: 1 }, "an object"],
      [Object.create(null), "an object"],
    ] as const
  ) {
    const error = new BackendError("store", "read", thrown);
    assertEquals(error.message, `Cannot read in store: ${text}`);
    assertStrictEquals(error.cause, thrown);
  }
});

test("quote() writes a value short, and never what an object holds", () => {
  for (
    const [value, text] of [
      ["a", '"a"'],
      ["a\nb", '"a\\nb"'],
      ["x".repeat(81), `"${"x".repeat(80)}…"`],
      [1.5, "1.5"],
      [-0, "0"],
      [NaN, "NaN"],
      [10n, "10n"],
      [true, "true"],
      [undefined, "undefined"],
      [null, "null"],
      [Symbol("s"), "Symbol(s)"],
      [() => 1, "a function"],
      [class A {}, "a function"],
      [["secret"], "an array"],
      [{ secret: 1 }, "an object"],
      [new Date(), "an object"],
    ] as [unknown, string][]
  ) {
    assertEquals(quote(value), text);
  }
});

test("refuseUnknownOptions() names what does not exist, and takes objects only", () => {
  refuseUnknownOptions("try", {}, ["a"]);
  refuseUnknownOptions("try", { a: undefined }, ["a"]);
  const error = assertThrows(
    () => refuseUnknownOptions("try", { a: 1, B: 2 }, ["a", "b"]),
    TypeError,
  );
  assertEquals(error.message, 'Cannot try: there is no option "B", only a, b');
  for (const options of [null, undefined, 1, "a", [], () => 1]) {
    const error = assertThrows(() => refuseUnknownOptions("try", options, []), TypeError);
    assertEquals(error.message, optionMessage("try", "options", "an object", options));
  }
});

const FORMULA = /^Cannot [a-z][^:]*: \S+ must be [^\n]+, received [^\n]+$/;
const UNKNOWN = /^Cannot [a-z][^:]*: there is no option "[^"]+", only \w+(, \w+)*$/;

/** Options that are wrong, and the error that each gets. */
function misuses(): Record<
  string,
  readonly [use: () => unknown, type: ErrorConstructor, name: string]
> {
  const cache = new MemoryCache();
  const fn = cache.cache({ id: "f" })((n: number) => Promise.resolve(n));
  const wrong = (value: unknown): never => value as never;
  const options = (
    name: string,
    value: unknown,
    type: ErrorConstructor = TypeError,
    more: object = {},
  ): readonly [() => unknown, ErrorConstructor, string] => [
    () => cache.cache(wrong({ [name]: value, ...more })),
    type,
    name,
  ];
  return {
    "no backend": [() => new exported.Cache(wrong(undefined)), TypeError, "backend"],
    "half a backend": [() => new exported.Cache(wrong({ get: () => {} })), TypeError, "backend"],
    onError: [() => new MemoryCache({ onError: wrong("log") }), TypeError, "onError"],
    "options that are null": [
      () => new exported.Cache(new MemoryBackend(), wrong(null)),
      TypeError,
      "options",
    ],
    "function options that are null": [() => cache.cache(wrong(null)), TypeError, "options"],
    maxBytes: [() => new MemoryCache({ maxBytes: 0 }), RangeError, "maxBytes"],
    "maxBytes, text": [() => new MemoryCache({ maxBytes: wrong("1") }), TypeError, "maxBytes"],
    path: [() => new SQLiteCache(wrong(1)), TypeError, "database"],
    id: options("id", ""),
    "id, number": options("id", 1),
    hashFunc: options("hashFunc", "a"),
    this: options("this", "include"),
    version: options("version", NaN),
    "version, object": options("version", {}),
    ttl: options("ttl", 0, RangeError),
    "ttl, negative": options("ttl", -1, RangeError),
    "ttl, NaN": options("ttl", NaN, RangeError),
    "ttl, text": options("ttl", "soon"),
    "ttl, zero text": options("ttl", "0s", RangeError),
    "ttl, null": options("ttl", null),
    staleWhileRevalidate: options("staleWhileRevalidate", -1, RangeError, {
      ttl: 1,
    }),
    "staleWhileRevalidate without ttl": options("staleWhileRevalidate", "1m"),
    "staleIfError without ttl": options("staleIfError", "1m"),
    shouldCache: options("shouldCache", true),
    schema: options("schema", { parse: () => 1 }),
    singleFlight: options("singleFlight", "no"),
    debug: options("debug", 1),
    "get, key": [() => cache.get(wrong(1)), TypeError, "key"],
    "set, key": [() => cache.set(wrong(null), 1), TypeError, "key"],
    "read, key": [() => cache.read(wrong({})), TypeError, "key"],
    "delete, key": [() => cache.delete(wrong(undefined)), TypeError, "key"],
    "set, ttl": [() => cache.set("k", 1, { ttl: 0 }), RangeError, "ttl"],
    "bust, id": [() => cache.bust(""), TypeError, "id"],
    "bust, no id": [() => cache.bust(wrong(undefined)), TypeError, "id"],
    "entries, id": [() => cache.entries({ id: wrong(1) }).next(), TypeError, "id"],
    "entries, null": [() => cache.entries(wrong(null)).next(), TypeError, "options"],
    "stats, id": [() => cache.stats({ id: wrong(1) }), TypeError, "id"],
    "map, inputs": [() => fn.map(wrong(5), { concurrency: 1 }), TypeError, "inputs"],
    "map, concurrency": [() => fn.map([1], { concurrency: 0 }), RangeError, "concurrency"],
    "map, no concurrency": [() => fn.map([1], wrong({})), TypeError, "concurrency"],
    "limitConcurrency, n": [() => exported.limitConcurrency(0), RangeError, "n"],
    "limitConcurrency, NaN": [() => exported.limitConcurrency(NaN), RangeError, "n"],
    "limitConcurrency, text": [() => exported.limitConcurrency(wrong("5")), TypeError, "n"],
    "limitConcurrency, maxQueue": [
      () => exported.limitConcurrency(1, { maxQueue: -1 }),
      RangeError,
      "maxQueue",
    ],
    "limitConcurrency, deriveKey": [
      () => exported.limitConcurrency(1, { deriveKey: wrong("a") }),
      TypeError,
      "deriveKey",
    ],
  };
}

/** What a use throws or rejects with. */
async function failureOf(use: () => unknown): Promise<unknown> {
  return await reasonOf((async () => await use())());
}

test("Every bad option is refused by name, with one formula, before anything runs", async () => {
  for (const [name, [use, type, option]] of Object.entries(misuses())) {
    const error = await failureOf(use);
    assert(error instanceof Error, name);
    assertStrictEquals(error.constructor, type, `${name}: ${error}`);
    assert(FORMULA.test(error.message), `${name}: ${error.message}`);
    assert(error.message.includes(`: ${option} must be `), error.message);
  }
});

test("Every unknown option is refused by name, wherever options are taken", async () => {
  const cache = new MemoryCache();
  const fn = cache.cache({ id: "f" })((n: number) => Promise.resolve(n));
  const unknown = { tttl: 1 } as never;
  for (
    const use of [
      () => new exported.Cache(new MemoryBackend(), unknown),
      () => new MemoryCache(unknown),
      () => new MemoryBackend(unknown),
      () => new SQLiteCache(":memory:", unknown),
      () => cache.cache(unknown),
      () => cache.set("k", 1, unknown),
      () => cache.entries(unknown).next(),
      () => cache.stats(unknown),
      () => fn.map([1], { concurrency: 1, ...(unknown as object) }),
      () => exported.limitConcurrency(1, unknown),
    ]
  ) {
    const error = await failureOf(use);
    assert(error instanceof TypeError, String(use));
    assert(UNKNOWN.test(error.message), error.message);
    assert(error.message.includes('"tttl"'));
  }
});
