/** A cache over a store that fails, hangs, lies or is damaged: the function's outcome stays. */
import { test } from "node:test";
import { inspect } from "node:util";
import { assert, assertEquals, assertRejects, assertStrictEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import type { Backend } from "../../src/backend/contract.ts";
import type { StoredEntry } from "../../src/encoding/entry.ts";
import { Cache } from "../../src/core/cache.ts";
import {
  BackendError,
  CacheClosedError,
  CacheMissError,
  DamagedEntryError,
  PanzaError,
  SchemaError,
  UncacheableValueError,
  UnhashableArgumentError,
} from "../../src/base/errors.ts";
import { MemoryBackend } from "../../memory.ts";
import type { ErrorContext, SingleFlight } from "../../src/core/options.ts";
import { FaultyBackend, type Operation } from "../support/faulty.ts";
import {
  ByHand,
  countListeners,
  HandBackend,
  quiet,
  reasonOf,
  stateOf,
  Warnings,
} from "../support/by_hand.ts";

interface Told extends ErrorContext {
  readonly error: Error;
}

/** A cache over a store with faults, a function that counts its runs, and the reports. */
function faulty(inner: Backend = new MemoryBackend()) {
  const backend = new FaultyBackend(inner);
  const told: Told[] = [];
  const cache = new Cache(backend, {
    onError: (error, context) => told.push({ error, ...context }),
  });
  const runs: string[] = [];
  const fn = cache.cache({ id: "f" })((
    key: string,
    _options?: { signal: AbortSignal },
  ): Promise<string> => {
    runs.push(key);
    return Promise.resolve(`${key}${runs.length}`);
  });
  return { inner, backend, cache, fn, runs, told };
}

/** Replaces the stored entry of a call. */
async function tamper(
  backend: Backend,
  id: string,
  key: string,
  change: (entry: StoredEntry) => StoredEntry,
): Promise<void> {
  const entry = await backend.get(id, key);
  assert(entry !== undefined);
  await backend.set(id, key, change(entry));
}

test("A cached function computes when the store cannot be read, and reports it", async () => {
  const { backend, fn, told, runs } = faulty();
  const cause = new Error("connection lost");
  backend.fail("get", { error: cause, times: 1 });
  const detail = await fn.detail("a");
  assertEquals([detail.value, detail.status], ["a1", "miss"]);
  const [first] = told;
  assert(first?.error instanceof BackendError);
  assertEquals(
    [first.error.operation, first.error.cause, first.error.backend],
    ["read", cause, backend.description],
  );
  assertEquals([first.kind, first.id, first.key, told.length], ["read", "f", await fn.key("a"), 1]);
  // The computed value is stored.
  assertEquals((await fn.detail("a")).status, "hit");
  assertEquals(runs, ["a"]);
});

test("CachedMethods.readCache() that cannot read finds nothing, reports it and never runs", async () => {
  const { backend, fn, told, runs } = faulty();
  await fn("a");
  backend.fail("get", { times: 1 });
  assertEquals(await fn.readCache("a"), { hit: false });
  assertEquals([told[0]?.kind, runs.length], ["read", 1]);
  assertEquals((await fn.readCache("a")).hit, true);
});

test("A read that fails deletes nothing", async () => {
  const { backend, fn } = faulty();
  await fn("a");
  for (const when of ["before", "after"] as const) {
    backend.fail("get", { times: 1, when });
    await fn.readCache("a");
    assertEquals((await fn.detail("a")).value, "a1");
  }
  for (const operation of ["delete", "deleteId", "clear"] as const) {
    assertEquals(backend.calls(operation), 0);
  }
});

test("A cached function returns its result when the store cannot be written, and reports it", async () => {
  const { backend, fn, told, runs } = faulty();
  const cause = new Error("disk full");
  backend.fail("set", { error: cause, times: 1 });
  const calls = await Promise.all([fn.detail("a"), fn.detail("a")]);
  assertEquals(
    calls.map(({ value, status, storedAt }) => [value, status, storedAt]),
    [
      ["a1", "miss", null],
      ["a1", "shared", null],
    ],
  );
  const [first] = told;
  assert(first?.error instanceof BackendError);
  assertEquals([first.error.operation, first.error.cause], ["write", cause]);
  assertEquals(
    [first.kind, first.id, first.key, told.length],
    ["write", "f", await fn.key("a"), 1],
  );
  await fn("a");
  assertEquals(runs.length, 2);
});

test("A cached function over a store that is all broken is the function itself", async () => {
  const { backend, fn, told, cache } = faulty();
  backend.fail("get");
  backend.fail("set");
  assertEquals(await fn("a"), "a1");
  assertEquals(await fn("a"), "a2");
  assertEquals(
    told.map(({ kind }) => kind),
    ["read", "write", "read", "write"],
  );
  assertEquals(cache.stats().errors, { read: 2, write: 2 });
  const thrower = cache.cache({ id: "thrower" })((): Promise<never> =>
    Promise.reject(new RangeError("mine"))
  );
  await assertRejects(() => thrower(), RangeError, "mine");
});

test("A caller whose signal aborts during the lookup leaves at once, and nothing runs", async () => {
  const { backend, fn, told, runs } = faulty();
  backend.hold("get");
  const controller = new AbortController();
  const listeners = countListeners(controller.signal);
  const call = fn("a", { signal: controller.signal });
  const look = fn.readCache("b", { signal: controller.signal });
  await quiet();
  assertEquals(backend.waiting("get"), 2);
  const reason = new Error("enough");
  controller.abort(reason);
  for (const left of [call, look]) {
    assertStrictEquals(await left.catch((error: unknown) => error), reason);
  }
  assertEquals([told.length, runs.length, listeners.left], [0, 0, 0]);
  backend.heal();
});

test("A read that comes late is still a hit", async () => {
  const { backend, fn, runs } = faulty();
  await fn("a");
  backend.hold("get");
  const calls = [fn("a"), fn("a")];
  assertEquals(await stateOf(calls[0] as Promise<unknown>), "pending");
  backend.release("get");
  assertEquals(await Promise.all(calls), ["a1", "a1"]);
  assertEquals(runs.length, 1);
});

test("A damaged entry is a reported miss, whichever field was changed, and is replaced", async () => {
  const changes: Record<string, (entry: StoredEntry) => StoredEntry> = {
    "data, one letter": (entry) => ({ ...entry, data: '"A1"' }),
    "data, cut off": (entry) => ({ ...entry, data: '"a' }),
    "data, empty": (entry) => ({ ...entry, data: "" }),
    "data, longer": (entry) => ({ ...entry, data: `${entry.data} ` }),
    "data, as bytes": (entry) => ({
      ...entry,
      data: new TextEncoder().encode(String(entry.data)),
    }),
    "format, not a name": (entry) => ({ ...entry, format: "json 2" }),
    "format, the other one": (entry) => ({ ...entry, format: "packed-1" }),
    "format, empty": (entry) => ({ ...entry, format: "" }),
    checksum: (entry) => ({ ...entry, checksum: entry.checksum ^ 1 }),
    storedAt: (entry) => ({ ...entry, storedAt: entry.storedAt + 1 }),
    expiresAt: (entry) => ({ ...entry, expiresAt: 2 ** 52 }),
    staleUntil: (entry) => ({ ...entry, staleUntil: 2 ** 52 }),
    durationMs: (entry) => ({ ...entry, durationMs: entry.durationMs + 1 }),
  };
  for (const [name, change] of Object.entries(changes)) {
    const { inner, fn, told, runs, backend } = faulty();
    await fn("a");
    const key = await fn.key("a");
    await tamper(inner, "f", key, change);
    assertEquals(await fn.readCache("a"), { hit: false }, name);
    assertEquals((await fn.detail("a")).value, "a2", name);
    const [first] = told;
    assert(first?.error instanceof DamagedEntryError, name);
    assertEquals([first.error.id, first.error.key], ["f", key]);
    assertEquals([first.kind, first.id, first.key, told.length], ["damaged", "f", key, 2]);
    assertEquals((await fn.detail("a")).status, "hit", name);
    assertEquals(runs.length, 2);
    assertEquals(backend.calls("delete"), 0);
  }
});

test("An entry of a newer format, or an encrypted one, is a reported miss and never replaced", async () => {
  for (const format of ["json-2", "packed-2", "aes-gcm-1"]) {
    const { inner, fn, told, runs, cache } = faulty();
    await fn("a");
    const key = await fn.key("a");
    await tamper(inner, "f", key, (entry) => ({ ...entry, format }));
    assertEquals((await fn.detail("a")).unstored, "kept");
    assertEquals(await fn.map(["a"], { concurrency: 1 }).values(), ["a3"]);
    assertEquals((await inner.get("f", key))?.format, format);
    assertEquals([told.length, told[0]?.kind, runs.length], [2, "damaged", 3]);
    assertEquals(cache.stats().unstored, 2);
    // Only an explicit bust removes it.
    await fn.bustCache("a");
    await fn("a");
    assertEquals((await fn.detail("a")).status, "hit");
  }
});

test("A direct key of a newer format, or an encrypted one, is not replaced before it is deleted", async () => {
  for (const format of ["json-2", "packed-2", "aes-gcm-1"]) {
    const { inner, cache } = faulty();
    await cache.set("k", 1);
    await tamper(inner, "", "k", (entry) => ({ ...entry, format }));
    await assertRejects(() => cache.set("k", 2), BackendError, "delete the key first");
    assertEquals((await inner.get("", "k"))?.format, format);
    await cache.delete("k");
    await cache.set("k", 2);
    assertEquals(await cache.get("k"), 2);
    // What is merely damaged is replaced.
    await tamper(inner, "", "k", (entry) => ({ ...entry, format: "json" }));
    await cache.set("k", 3);
    assertEquals(await cache.get("k"), 3);
  }
});

test("An async hashFunc or this whose promise rejects fails its call, and not the process", async () => {
  const { cache } = faulty();
  const late = () => Promise.reject(new Error("late")) as never;
  for (const options of [{ id: "h", hashFunc: late }, { id: "t", this: late }]) {
    const fn = cache.cache(options)(function (this: object, n: number) {
      return Promise.resolve(n);
    });
    await assertRejects(() => fn.call({}, 1), UnhashableArgumentError, "a Promise");
  }
  await quiet();
});

test("An entry that stands in another's place is a reported miss", async () => {
  const { inner, fn, told, cache } = faulty();
  await fn("a");
  const entry = await inner.get("f", await fn.key("a"));
  assert(entry !== undefined);
  await inner.set("f", await fn.key("b"), entry);
  await inner.set("g", await fn.key("a"), entry);
  await inner.set("", "a", entry);
  const g = cache.cache({ id: "g" })((_: string) => Promise.resolve("g"));
  assertEquals(await fn.readCache("b"), { hit: false });
  assertEquals(await g.readCache("a"), { hit: false });
  assertEquals(await cache.read("a"), { hit: false });
  assertEquals(
    told.map(({ kind, id }) => [kind, id]),
    [
      ["damaged", "f"],
      ["damaged", "g"],
      ["damaged", ""],
    ],
  );
});

test("A damaged direct key is a reported miss", async () => {
  const { inner, cache, told } = faulty();
  await cache.set("my_key", "value");
  await tamper(inner, "", "my_key", (entry) => ({ ...entry, data: '"other"' }));
  await assertRejects(() => cache.get("my_key"), CacheMissError);
  assert(told[0]?.error instanceof DamagedEntryError);
  assertEquals([told[0].kind, told[0].id, told[0].key], ["damaged", "", "my_key"]);
  await cache.set("my_key", "new");
  assertEquals(await cache.get("my_key"), "new");
});

test("A backend that answers with rubbish gives no value and breaks no call", async () => {
  const rubbish: unknown[] = [
    null,
    0,
    "",
    "text",
    true,
    [],
    {},
    () => {},
    { data: "1" },
    { data: null, format: "json-1", checksum: 0, storedAt: 0 },
    { data: "1", format: null, checksum: 0, storedAt: 0, expiresAt: null },
    { data: 1, format: "json-1", checksum: 0, storedAt: 1n, expiresAt: null },
    new Proxy(
      {},
      {
        get: (_, name) => {
          if (name === "then") return undefined;
          throw new Error("no field for you");
        },
      },
    ),
  ];
  for (const answer of rubbish) {
    const inner = new MemoryBackend();
    inner.get = (): Promise<StoredEntry | undefined> => Promise.resolve(answer as StoredEntry);
    const { fn, told, cache } = faulty(inner);
    assertEquals(await fn.readCache("a"), { hit: false });
    assertEquals(await fn("a"), "a1");
    assertEquals(
      told.map(({ kind }) => kind),
      ["damaged", "damaged"],
    );
    assert(told.every(({ error }) => error instanceof PanzaError));
    await cache.read("k").then(
      (found) => assertEquals(found, { hit: false }),
      (error) => assert(error instanceof PanzaError),
    );
  }
});

test("A backend that throws at once, or throws what is not an error, changes no outcome", async () => {
  const reasons: unknown[] = [
    new Error("at once"),
    undefined,
    null,
    "text",
    Symbol("s"),
    Object.create(null),
    { toString: () => 1 / 0 },
  ];
  for (const reason of reasons) {
    for (const late of [false, true]) {
      const inner = new MemoryBackend();
      const fail = (): Promise<never> => {
        if (late) return Promise.reject(reason);
        throw reason;
      };
      const told: Told[] = [];
      const cache = new Cache(
        Object.assign(inner, {
          get: fail,
          set: fail,
          delete: fail,
          deleteId: fail,
          clear: fail,
          close: fail,
        }),
        { onError: (error, context) => told.push({ error, ...context }) },
      );
      const fn = cache.cache({ id: "f" })((n: number) => Promise.resolve(n));
      assertEquals(await fn(1), 1);
      assertEquals(
        told.map(({ kind }) => kind),
        ["read", "write"],
      );
      assert(told.every(({ error }) => error instanceof BackendError));
      for (
        const [operation, use] of [
          ["delete", () => fn.bustCache(1)],
          ["delete", () => fn.bustCache()],
          ["delete", () => cache.bust("f")],
          ["delete", () => cache.bustAll()],
          ["delete", () => cache.delete("k")],
          ["read", () => cache.get("k")],
          ["write", () => cache.set("k", 1)],
          ["close", () => cache.close()],
        ] as [string, () => Promise<unknown>][]
      ) {
        const error = await reasonOf(use());
        assert(error instanceof BackendError, operation);
        assertEquals(error.operation, operation);
        assertStrictEquals(error.cause, reason);
      }
    }
  }
});

for (
  const [name, operation, use] of [
    ["bustCache(args)", "delete", ({ fn }) => fn.bustCache("a")],
    ["bustCache()", "deleteId", ({ fn }) => fn.bustCache()],
    ["Cache.bust()", "deleteId", ({ cache }) => cache.bust("f")],
    ["Cache.bustAll()", "clear", ({ cache }) => cache.bustAll()],
    ["Cache.delete()", "delete", ({ cache }) => cache.delete("k")],
  ] as [string, Operation, (made: ReturnType<typeof faulty>) => Promise<void>][]
) {
  test(`${name} that fails rejects with the cause, and again until it succeeds`, async () => {
    const made = faulty();
    const { backend, told } = made;
    const cause = new Error("access denied");
    for (const when of ["before", "after"] as const) {
      backend.fail(operation, { error: cause, times: 1, when });
      const error = await assertRejects(() => use(made), BackendError);
      assertStrictEquals(error.cause, cause);
      assertEquals(error.operation, "delete");
      assert(error.message.includes("access denied"));
    }
    await use(made);
    // It is thrown, so it is not reported as well.
    assertEquals(told, []);
  });
}

test("Cache.get() and set() of a store that fails reject with the cause", async () => {
  const { backend, cache } = faulty();
  backend.fail("get", { times: 1 });
  const read = await assertRejects(() => cache.get("k"), BackendError);
  assertEquals(read.operation, "read");
  backend.fail("set", { times: 1 });
  const write = await assertRejects(() => cache.set("k", 1), BackendError);
  assertEquals(write.operation, "write");
  backend.fail("entries", { times: 1 });
  const list = await assertRejects(async () => {
    for await (const _ of cache.entries());
  }, BackendError);
  assertEquals(list.operation, "list");
});

test("An error of this library passes through unwrapped", async () => {
  const { backend, cache, told, fn } = faulty();
  const error = new CacheClosedError();
  backend.fail("deleteId", { error, times: 1 });
  assertStrictEquals(await reasonOf(cache.bust("f")), error);
  backend.fail("get", { error, times: 1 });
  await fn("a");
  assertStrictEquals(told[0]?.error, error);
});

test("A signal that cannot be listened to fails its own call and nobody else's", async () => {
  await using cache = new Cache(new MemoryBackend());
  const fn = cache.cache({ id: "f" })(
    async (n: number, _signal?: AbortSignal): Promise<number> => await Promise.resolve(n + 1),
  );
  const deaf: AbortSignal = Object.create(AbortSignal.prototype, {
    aborted: { value: false },
    addEventListener: {
      value: () => {
        throw new Error("not listening");
      },
    },
    removeEventListener: { value: () => {} },
  });
  await assertRejects(async () => await fn(1, deaf), Error, "not listening");
  // The same key: a flight that was left open would keep this call waiting forever.
  assertEquals(await fn(1), 2);
});

test("A result that cannot be encoded is returned and reported with its path", async () => {
  const { cache, told } = faulty();
  const value = { list: [1, { callback: () => {} }] };
  const fn = cache.cache({ id: "g" })((_: string) => Promise.resolve(value));
  assertStrictEquals(await fn("a"), value);
  assert(told[0]?.error instanceof UncacheableValueError);
  assertEquals(told[0].error.path, "value.list[1].callback");
  assertEquals([told[0].kind, told[0].id, told[0].key], ["encode", "g", await fn.key("a")]);
});

test("A shouldCache that throws or rejects is reported; the result is returned and not stored", async () => {
  const { cache, told } = faulty();
  const failure = new RangeError("shouldCache failed");
  const shouldCaches = [
    (): never => {
      throw failure;
    },
    (): Promise<never> => Promise.reject(failure),
  ];
  for (const shouldCache of shouldCaches) {
    told.length = 0;
    const fn = cache.cache({ id: "g", shouldCache })((n: number) => Promise.resolve(n));
    assertEquals(await Promise.all([fn(1), fn(1)]), [1, 1]);
    assertEquals(told.map(({ kind, error }) => [kind, error]), [["refused", failure]]);
    assertEquals((await fn.readCache(1)).hit, false);
    assertEquals((await fn.detail(1)).unstored, "refused");
  }
});

test("An onError that throws or rejects changes no outcome", async () => {
  using warnings = new Warnings();
  for (
    const onError of [
      (): never => {
        throw new Error("onError itself");
      },
      (): never => {
        throw Object.create(null);
      },
      // The type of onError accepts a function that returns a promise.
      (): Promise<never> => Promise.reject(new Error("onError itself")),
    ]
  ) {
    warnings.lines.length = 0;
    const backend = new FaultyBackend(new MemoryBackend());
    const cache = new Cache(backend, { onError });
    backend.fail("get");
    backend.fail("set");
    const fn = cache.cache({ id: "f" })((n: number) => Promise.resolve(n));
    assertEquals(await fn(1), 1);
    await quiet();
    assert(warnings.lines.some((line) => line.includes("onError failed")));
  }
});

test("Without onError, failures are one console.warn for each id and kind", async () => {
  using warnings = new Warnings();
  const backend = new FaultyBackend(new MemoryBackend());
  const cache = new Cache(backend);
  const f = cache.cache({ id: "f" })((n: number) => Promise.resolve(n));
  const g = cache.cache({ id: "g" })((n: number) => Promise.resolve(n));
  backend.fail("get");
  backend.fail("set");
  for (const n of [1, 2, 3]) {
    await f(n);
    await g(n);
  }
  assertEquals(warnings.lines.length, 4);
  for (const id of ["f", "g"]) {
    for (const operation of ["get", "set"]) {
      assertEquals(
        warnings.lines.filter(
          (line) => line.startsWith(`panza: ${id}: `) && line.includes(operation),
        ).length,
        1,
      );
    }
  }
  assertEquals(cache.stats().errors, { read: 6, write: 6 });
});

test("No argument, value or error text of the function is in a warning, unless debug asks for it", async () => {
  const secret = "s3cr3t";
  const backend = new FaultyBackend(new MemoryBackend());
  const cache = new Cache(backend);
  class Secret extends Error {
    override name = "Secret";
  }
  const refuse = (): never => {
    throw new Secret(`${secret} in the message`);
  };
  const schema = (validate: () => { issues: { message: string }[] }) => ({
    "~standard": { version: 1 as const, vendor: "test", validate },
  });
  const issues = [{ message: secret, path: [secret], value: secret }];
  {
    using warnings = new Warnings();
    const use = async (options: Parameters<Cache["cache"]>[0], value: unknown): Promise<void> => {
      const fn = cache.cache(options)((..._: unknown[]) => Promise.resolve(value));
      await fn(secret, { [secret]: secret });
    };
    await use({ id: "encode" }, { list: [secret, () => secret] });
    await use({ id: "should", shouldCache: refuse }, secret);
    // The caller gets the error of the schema, which no warning repeats.
    await assertRejects(() => use({ id: "schema", schema: schema(refuse) }, secret), Secret);
    const failed = () => use({ id: "issues", schema: schema(() => ({ issues })) }, secret);
    const error = await assertRejects(failed, SchemaError);
    assert(!inspect(error).includes(secret));
    backend.fail("get");
    backend.fail("set");
    await use({ id: "store" }, secret);
    backend.heal();
    // A damaged entry.
    const damaged = cache.cache({ id: "damaged" })((_: string) => Promise.resolve(secret));
    await damaged(secret);
    await tamper(backend, "damaged", await damaged.key(secret), (entry) => ({
      ...entry,
      data: `${entry.data} ${secret}`,
    }));
    await damaged(secret);
    // A refresh that fails.
    const stale = cache.cache({
      id: "stale",
      ttl: 1,
      staleIfError: Infinity,
      hashFunc: () => "k",
    })((text: string) => (text === secret ? refuse() : Promise.resolve("old")));
    await stale("good");
    const { now } = Date;
    Date.now = (): number => now() + 10;
    try {
      assertEquals(await stale(secret), "old");
    } finally {
      Date.now = now;
    }
    // A progress callback that fails.
    await damaged.map(["a"], { concurrency: 1, onProgress: refuse }).values();
    assertEquals(warnings.lines.length, 7);
    for (const line of warnings.lines) {
      assert(!line.includes(secret), line);
      assert(line.startsWith("panza: "), line);
    }
    // The name of the error is reported all the same.
    assertEquals(warnings.lines.filter((line) => line.includes("Secret")).length, 3);
  }
  using warnings = new Warnings();
  const loud = cache.cache({ id: "loud", debug: true })((_: string) => Promise.resolve(1));
  await loud(secret);
  assert(warnings.lines[0]?.includes(secret));
});

test("Errors of the cache hold no argument or value either", async () => {
  const secret = "s3cr3t";
  const { cache, told, backend } = faulty();
  const fn = cache.cache({ id: "g" })((_: unknown) =>
    Promise.resolve({ a: secret, f: () => secret })
  );
  await fn(secret);
  const unhashable = await reasonOf(fn([secret, () => secret]));
  const cycle: unknown[] = [secret];
  cycle.push(cycle);
  const cyclic = await reasonOf(fn(cycle));
  backend.fail("get");
  await fn(secret);
  for (const error of [unhashable, cyclic, ...told.map(({ error }) => error)]) {
    assert(error instanceof Error);
    assert(!error.message.includes(secret), error.message);
  }
});

test("A call that begins while a delete hangs waits for it, and others do not", async () => {
  const backend = new HandBackend();
  const cache = new Cache(backend);
  const hand = new ByHand<[string], string>();
  const f = cache.cache({ id: "f" })(hand.fn);
  const g = cache.cache({ id: "g" })(hand.fn);
  backend.holding.add("deleteId");
  const busting = f.bustCache();
  const waiting = f("a");
  const batch = f.map(["b"], { concurrency: 1 }).values();
  const free = g("a");
  await quiet();
  assertEquals(hand.runs.length, 1);
  hand.run(0).resolve("G");
  assertEquals(await free, "G");
  backend.next().go();
  await busting;
  await quiet();
  assertEquals(hand.runs.length, 3);
  for (const { resolve } of hand.runs) resolve("F");
  assertEquals(await waiting, "F");
  assertEquals(await batch, ["F"]);
});

test("new Cache() refuses what is not a backend, naming what is missing", () => {
  for (const backend of [undefined, null, {}, "cache.db", () => {}]) {
    assertThrows(() => new Cache(backend as never), TypeError, "backend");
  }
  const partial = { get: () => {}, getMany: () => {} };
  const error = assertThrows(() => new Cache(partial as never), TypeError);
  assert(error.message.includes("a Backend"));
});

/** The steps that a random history is made of. */
type Step =
  | { readonly do: "call"; readonly key: number; readonly abortable: boolean }
  | { readonly do: "return" | "throw"; readonly which: number }
  | { readonly do: "abort"; readonly which: number }
  | { readonly do: "bust"; readonly how: number; readonly key: number }
  | {
    readonly do: "fail";
    readonly operation: Operation;
    readonly times: number;
    readonly when: "before" | "after";
  }
  | { readonly do: "hold" | "release"; readonly operation: Operation }
  | { readonly do: "damage"; readonly key: number }
  | { readonly do: "look"; readonly key: number }
  | { readonly do: "quiet" };

const KEYS = 3;
const key = fc.nat({ max: KEYS - 1 });
const which = fc.nat({ max: 9 });
const disturbed = fc.constantFrom<Operation>("get", "set", "delete", "deleteId", "clear");
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constant("call" as const),
      key,
      abortable: fc.boolean(),
    }),
  },
  {
    weight: 5,
    arbitrary: fc.record({
      do: fc.constantFrom("return" as const, "return" as const, "throw" as const),
      which,
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({ do: fc.constant("abort" as const), which }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constant("bust" as const),
      how: fc.nat({ max: 3 }),
      key,
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant("fail" as const),
      operation: disturbed,
      times: fc.integer({ min: 1, max: 2 }),
      when: fc.constantFrom("before" as const, "after" as const),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constantFrom("hold" as const, "release" as const),
      operation: disturbed,
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ do: fc.constant("damage" as const), key }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ do: fc.constant("look" as const), key }),
  },
  { weight: 4, arbitrary: fc.record({ do: fc.constant("quiet" as const) }) },
);

/** The result of a run: the call that it answers, and the time when it began. */
interface Answer {
  readonly key: number;
  readonly began: number;
  readonly items: number[];
}

interface ModelCall {
  readonly key: number;
  readonly began: number;
  readonly controller: AbortController | undefined;
  readonly result: Promise<
    | { readonly ok: true; readonly value: Answer }
    | {
      readonly ok: false;
      readonly error: unknown;
    }
  >;
}

/** Plays a history against the rules: no call may hang, lie, or see what a bust was to remove. */
async function play(steps: readonly Step[], singleFlight: SingleFlight) {
  let clock = 0;
  const inner = new MemoryBackend();
  const backend = new FaultyBackend(inner);
  const cache = new Cache(backend, { onError: () => {} });
  interface ModelRun {
    readonly key: number;
    readonly began: number;
    readonly end: (how: "return" | "throw") => void;
  }
  const open: ModelRun[] = [];
  const thrown = new Set<unknown>();
  const reasons = new Set<unknown>();
  const fn = cache.cache({ id: "f", singleFlight })((
    key: number,
    _: { signal: AbortSignal | undefined },
  ): Promise<Answer> => {
    const { promise, resolve, reject } = Promise.withResolvers<Answer>();
    const began = ++clock;
    open.push({
      key,
      began,
      end: (how) => {
        if (how === "return") return resolve({ key, began, items: [key] });
        const error = new Error(`run ${began} of ${key}`);
        thrown.add(error);
        reject(error);
      },
    });
    return promise;
  });
  const calls: ModelCall[] = [];
  const busts: {
    readonly key: number | undefined;
    readonly began: number;
    readonly done: Promise<boolean>;
  }[] = [];
  const looks: Promise<void>[] = [];
  for (const step of steps) {
    switch (step.do) {
      case "call": {
        const controller = step.abortable ? new AbortController() : undefined;
        calls.push({
          key: step.key,
          began: ++clock,
          controller,
          result: fn(step.key, { signal: controller?.signal }).then(
            (value) => {
              assertEquals(value.items, [value.key]);
              // A caller may change the result that it owns.
              const copy = { ...value };
              value.items.push(-1);
              return { ok: true, value: copy };
            },
            (error: unknown) => ({ ok: false, error }),
          ),
        });
        break;
      }
      case "return":
      case "throw":
        if (open.length > 0) {
          open.splice(step.which % open.length, 1)[0]?.end(step.do);
        }
        break;
      case "abort": {
        const { controller } = calls[step.which % (calls.length || 1)] ?? {};
        if (controller === undefined) break;
        const reason = new Error("aborted");
        reasons.add(reason);
        controller.abort(reason);
        break;
      }
      case "bust": {
        const bust = [
          () => fn.bustCache(step.key, { signal: undefined }),
          () => fn.bustCache(),
          () => cache.bust("f"),
          () => cache.bustAll(),
        ][step.how];
        busts.push({
          key: step.how === 0 ? step.key : undefined,
          began: ++clock,
          done: bust?.().then(
            () => true,
            () => false,
          ) ?? Promise.resolve(false),
        });
        break;
      }
      case "fail":
        backend.fail(step.operation, { times: step.times, when: step.when });
        break;
      case "hold":
        backend.hold(step.operation);
        break;
      case "release":
        backend.release(step.operation);
        break;
      case "damage": {
        const name = await fn.key(step.key, { signal: undefined });
        const entry = await inner.get("f", name);
        if (entry !== undefined) {
          await inner.set("f", name, { ...entry, data: '{"key":-1}' });
        }
        break;
      }
      case "look":
        looks.push(
          fn.readCache(step.key, { signal: undefined }).then((found) => {
            if (found.hit) {
              assertEquals(found.value.key, step.key);
              assertEquals(found.value.items, [step.key]);
            }
          }),
        );
        break;
      default:
        await quiet();
    }
  }
  // Every call settles once the store answers and the runs return.
  backend.heal();
  await quiet();
  for (let round = 0; open.length > 0 && round < 100; round++) {
    open.shift()?.end("return");
    await quiet();
  }
  assertEquals(open.length, 0);
  await Promise.all(looks);
  for (const call of calls) {
    assertEquals(await stateOf(call.result), "fulfilled");
    const result = await call.result;
    if (!result.ok) {
      assert(
        thrown.has(result.error) ||
          (call.controller?.signal.reason === result.error && reasons.has(result.error)),
        `it rejects with what nobody threw: ${result.error}`,
      );
      continue;
    }
    assertEquals(result.value.key, call.key);
    for (const bust of busts) {
      if (bust.key !== undefined && bust.key !== call.key) continue;
      if (bust.began > call.began || !(await bust.done)) continue;
      assert(
        result.value.began > bust.began,
        `call ${call.began} got what began at ${result.value.began}, before the bust at ${bust.began}`,
      );
    }
  }
  // Every stored value was returned by a run.
  for (let key = 0; key < KEYS; key++) {
    const found = await fn.readCache(key, { signal: undefined });
    if (!found.hit) continue;
    assertEquals(found.value.key, key);
    assertEquals(found.value.items, [key]);
  }
  await cache.close();
}

for (const singleFlight of ["process", false] as const) {
  test(`A cached function keeps every rule through random histories of a failing store${singleFlight ? "" : ", also without single flight"}`, async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(step, { minLength: 5, maxLength: 40 }),
        (steps) => play(steps, singleFlight),
      ),
      { seed: 20260801, numRuns: 300, interruptAfterTimeLimit: 60_000 },
    );
  });
}
