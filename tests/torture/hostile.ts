/** Input made to break: keys, values, stored bytes, names. */

import { createHash } from "node:crypto";
import { setImmediate } from "node:timers/promises";
import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import type { Cache } from "../../src/core/cache.ts";
import { PanzaError } from "../../src/base/errors.ts";
import { MemoryCache } from "../../memory.ts";
import { SQLiteCache } from "../../sqlite.ts";
import { anything, argument } from "../support/anything.ts";
import { difference } from "../support/same_value.ts";
import { mutateEntries } from "./decoder.ts";
import type { Extent } from "./random.ts";

/** Tries to give two different calls one key, or equal calls two. */
export async function confuseKeys({ count, seed }: Extent): Promise<number> {
  let equal = 0;
  await using cache = new MemoryCache();
  const fn = cache.cache({ id: "work" })((...args: unknown[]) => Promise.resolve(args));
  await fc.assert(
    fc.asyncProperty(
      fc.oneof(fc.tuple(argument, argument), argument.map((one) => [one, one] as const)),
      async ([one, other]) => {
        const same = one.identity === other.identity;
        if (same) equal++;
        // An absent argument counts when another one follows.
        assertEquals((await fn.key(one.make(), 1)) === (await fn.key(other.make(), 1)), same);
      },
    ),
    { seed, numRuns: count },
  );
  return equal;
}

/** Tries to get a value back that differs from the stored one. */
export async function changeValues({ count, seed }: Extent): Promise<void> {
  await using cache = new SQLiteCache(":memory:");
  await fc.assert(
    fc.asyncProperty(anything, async (value) => {
      await cache.set("key", value);
      assertEquals(difference(value, await cache.get("key")), undefined);
    }),
    { seed, numRuns: count },
  );
}

/** One character of each class of Unicode, and names that stores may mix up. */
// deno-fmt-ignore
export const NAMES: readonly string[] = [
  "A",
  "a",
  "ǅ",
  "ʰ",
  "ª",
  "א",
  "\u0301",
  "\u0903",
  "\u20dd",
  "٣",
  "Ⅷ",
  "½",
  "‿",
  "—",
  "(",
  "”",
  "«",
  "»",
  "·",
  "+",
  "€",
  "^",
  "©",
  " ",
  "\u00a0",
  "\u2028",
  "\u2029",
  "\0",
  "\n",
  "\u00ad",
  "\u200b",
  "\ufeff",
  "\u202e",
  "\ud800",
  "\udfff",
  "\ud83d",
  "\ue000",
  "\uffff",
  "\u{10ffff}",
  "😀",
  "👩‍🚀",
  "é",
  "e\u0301",
  "K",
  "\u212a",
  "ß",
  "SS",
  "İ",
  "i\u0307",
  "a/b",
  "a//b",
  "/a",
  "a/",
  ".",
  "..",
  "../a",
  "a%b",
  "a_b",
  "a*b",
  "a?b",
  "a\\b",
  "\\",
  "\\0",
  "\\u0000",
  "a%2Fb",
  "%",
  "%00",
  "'",
  '"',
  "`",
  ";--",
  "a' OR '1'='1",
  "__proto__",
  "constructor",
  "toString",
  "null",
  "undefined",
  "NaN",
  "CON",
  "x".repeat(1000),
  "😀".repeat(300),
  "AUX.txt",
  "~",
  "#",
  "&",
  "=",
  "<a>",
  "${a}",
  "{{a}}",
  "\x7f",
  "\x1b[0m",
  "\r\n",
  "\t",
];

/** Tries to make two names reach each other's entries. */
export async function mixNames(cache: Cache): Promise<void> {
  const functions = NAMES.map((id) =>
    cache.cache({ id })((n: number) => Promise.resolve(`${id} ${n}`))
  );
  for (const [index, id] of NAMES.entries()) {
    await functions[index]?.(1);
    await cache.set(id, id);
  }
  for (const [index, id] of NAMES.entries()) {
    const found = await functions[index]?.readCache(1);
    assertEquals(found?.hit === true && found.value, `${id} 1`);
    assertEquals(await cache.get(id), id);
  }
  // A store may list a long name by its digest.
  const texts = new Map(
    NAMES.map((name) => [`sha256-${createHash("sha256").update(name).digest("hex")}`, name]),
  );
  const listed: string[] = [];
  const direct: string[] = [];
  for await (const { id, key } of cache.entries()) {
    if (id === "") direct.push(texts.get(key) ?? key);
    else listed.push(texts.get(id) ?? id);
  }
  assertEquals(listed.sort(), [...NAMES].sort());
  assertEquals(direct.sort(), [...NAMES].sort());
  // A bust of one id removes no entry of its neighbours.
  for (const [index, id] of NAMES.entries()) {
    await cache.bust(id);
    await cache.delete(id);
    const next = functions[index + 1];
    assertEquals((await functions[index]?.readCache(1))?.hit, false);
    if (next !== undefined) {
      assert((await next.readCache(1)).hit, JSON.stringify(id));
      assert((await cache.read(NAMES[index + 1] ?? "")).hit);
    }
  }
}

function nested(depth: number): unknown {
  let value: unknown = [];
  for (let level = 0; level < depth; level++) {
    value = level % 2 === 0 ? [value] : { a: value };
  }
  return value;
}

function revoked(target: object): object {
  const { proxy, revoke } = Proxy.revocable(target, {});
  revoke();
  return proxy;
}

function sparse(length: number): unknown[] {
  const array: unknown[] = [];
  array.length = length;
  array[length - 1] = 1;
  return array;
}

const thrown = new Error("a getter of the caller");

/** Values made to break a program that looks at them. */
export const TRAPS: Readonly<Record<string, () => unknown>> = {
  "an own __proto__": () => JSON.parse('{"__proto__":{"polluted":true}}'),
  "a constructor": () => JSON.parse('{"constructor":{"prototype":{"a":1}}}'),
  "a getter that throws": () => ({
    get a(): never {
      throw thrown;
    },
  }),
  "a getter that changes": () => {
    let n = 0;
    return {
      get a(): number {
        return n++;
      },
    };
  },
  "a toJSON that throws": () => ({
    toJSON: () => {
      throw thrown;
    },
  }),
  "a revoked proxy": () => revoked({}),
  "a revoked proxy of an array": () => revoked([]),
  "a revoked proxy of a function": () => revoked(() => {}),
  "an object with a revoked proxy": () => ({ a: [revoked({})] }),
  "a proxy that throws": () =>
    new Proxy(
      {},
      {
        get: () => {
          throw thrown;
        },
        ownKeys: () => {
          throw thrown;
        },
        getPrototypeOf: () => {
          throw thrown;
        },
      },
    ),
  "a proxy without end": () => {
    const proxy: unknown = new Proxy(
      {},
      {
        get: () => proxy,
        ownKeys: () => ["a"],
        getOwnPropertyDescriptor: () => ({
          value: proxy,
          enumerable: true,
          configurable: true,
          writable: true,
        }),
      },
    );
    return proxy;
  },
  "a sparse array": () => sparse(2 ** 32 - 1),
  "a long sparse array": () => sparse(5_000_000),
  "a cycle": () => {
    const cycle: unknown[] = [];
    cycle.push({ cycle });
    return cycle;
  },
  "100,000 levels": () => nested(100_000),
  "a Map of 100,000 levels": () => new Map([[nested(100_000), nested(100_000)]]),
  "an array whose length lies": () =>
    new Proxy([], {
      get: (target, name) => (name === "length" ? 2 ** 53 : Reflect.get(target, name)),
    }),
  "a Date that is none": () => Object.create(Date.prototype),
  "a Map that is none": () => Object.create(Map.prototype),
  "a typed array that is none": () => Object.create(Uint8Array.prototype),
  "a promise that is none": () => ({ a: { then: 1 } }),
  "a detached buffer": () => {
    const bytes = new Uint8Array(8);
    structuredClone(bytes.buffer, { transfer: [bytes.buffer] });
    return bytes;
  },
  "a symbol": () => Symbol("a"),
};

/** Tries to crash, hang or fool a cache with these values. */
export async function spring(cache: Cache): Promise<void> {
  for (const [name, make] of Object.entries(TRAPS)) {
    const what = (error: unknown) => `${name}: ${error}`;
    const start = performance.now();
    // As an argument: a key, or an error that names the fault.
    let runs = 0;
    const asked = cache.cache({ id: "asked" })((_: unknown) => {
      runs++;
      return Promise.resolve(1);
    });
    try {
      assertEquals(await asked(make()), 1);
    } catch (error) {
      assertEquals(runs, 0, what("it ran and failed"));
      assert(error instanceof PanzaError || error === thrown, what(error));
    }
    // As an input of a batch: it fails alone.
    const results = [];
    for await (const result of asked.map([make(), 5], { concurrency: 2 })) {
      results.push(result.ok || result.error instanceof PanzaError || result.error === thrown);
    }
    assertEquals(results, [true, true], what("a batch"));
    // As a result: the caller gets it, whether or not it can be stored.
    const value = make();
    const given = cache.cache({ id: `given ${name}` })(() =>
      // Wrapped, because a promise would look for `then` in it.
      Promise.resolve([value])
    );
    assert((await given())[0] === value, what("another value"));
    assertEquals((await given()).length, 1, what("the second time"));
    // As a direct value.
    try {
      await cache.set("direct", value);
      await cache.get("direct");
    } catch (error) {
      assert(error instanceof PanzaError, what(error));
    }
    // As options and as an id.
    for (const options of [value, { id: value }, { hashFunc: value }]) {
      try {
        // The types forbid it.
        cache.cache(options as Record<string, never>);
      } catch (error) {
        assert(error instanceof TypeError || error === thrown, what(error));
      }
    }
    assertEquals(Reflect.get({}, "polluted"), undefined, name);
    assert(performance.now() - start < 5000, what("it took too long"));
  }
  await setImmediate();
}

export async function hostile(extent: Extent): Promise<unknown> {
  const equal = await confuseKeys(extent);
  await changeValues(extent);
  const mutated = mutateEntries(extent);
  for (const make of [() => new MemoryCache(), () => new SQLiteCache(":memory:")]) {
    await using cache = make();
    await mixNames(cache);
  }
  await using cache = new MemoryCache({ onError: () => {} });
  await spring(cache);
  return { equal, ...mutated };
}
