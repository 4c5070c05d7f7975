/** The common part of wrappers: their application, and the function that shows through. */
import { test } from "node:test";
import { assert, assertEquals, assertStrictEquals, assertThrows } from "@std/assert";
import { limitConcurrency } from "../../concurrency.ts";
import { MemoryCache } from "../../memory.ts";
import { impersonate, methodContext } from "../../src/base/wrap.ts";

function wrapper(..._: unknown[]): Promise<unknown> {
  return Promise.resolve("wrapper");
}

test("impersonate() gives name, length, own properties and source of the function", () => {
  const symbol = Symbol("mark");
  const fn = Object.assign(
    async function summarize(_a: unknown, _b: unknown): Promise<number> {
      return await Promise.resolve(1);
    },
    { docs: "text", [symbol]: 1 },
  );
  let reads = 0;
  Object.defineProperty(fn, "running", {
    get: () => ++reads,
    enumerable: false,
    configurable: false,
  });
  const outer = (..._: unknown[]): void => {};
  assertStrictEquals(impersonate(outer, fn), outer);
  assertEquals([outer.name, outer.length], ["summarize", 2]);
  assertEquals(Reflect.get(outer, "docs"), "text");
  assertEquals(Reflect.get(outer, symbol), 1);
  // A getter stays a getter: it is not read when it is copied.
  assertEquals(reads, 0);
  assertEquals([Reflect.get(outer, "running"), reads], [1, 1]);
  assertEquals(String(outer), String(fn));
  assertEquals(Object.keys(outer), ["docs"]);
});

test("impersonate() takes functions of every kind", () => {
  const bound = wrapper.bind(null);
  const kinds: Record<string, object> = {
    arrow: (): number => 1,
    async: async (): Promise<number> => await Promise.resolve(1),
    class: class Named {},
    bound,
    native: Math.max,
    generator: function* (): Generator<number> {
      yield 1;
    },
    proxy: new Proxy(wrapper, {}),
    frozen: Object.freeze(() => 1),
    bare: Object.setPrototypeOf(() => 1, null),
  };
  for (const [kind, fn] of Object.entries(kinds)) {
    if (kind === "bare") {
      assertThrows(() => fn.toString(), TypeError);
      Object.defineProperty(fn, "toString", { value: () => "bare" });
    }
    const outer = impersonate((..._: unknown[]): void => {}, fn);
    assertEquals(outer.name, Reflect.get(fn, "name"), kind);
    assertEquals(outer.toString(), fn.toString(), kind);
    // Twice, as two wrappers around one function do.
    assertEquals(impersonate(outer, outer).name, outer.name, kind);
  }
});

test("impersonate() keeps the innermost source through any number of wrappers", () => {
  async function inner(): Promise<number> {
    return await Promise.resolve(1);
  }
  const cache = new MemoryCache();
  const many = limitConcurrency(1)(
    cache.cache({ id: "a" })(limitConcurrency(2)(cache.cache({ id: "b" })(inner))),
  );
  assertEquals(String(many), String(inner));
  assertEquals([many.name, many.id], ["inner", "a"]);
});

test("Functions of one name behind limits are distinguished by their source", () => {
  const cache = new MemoryCache();
  const limit = limitConcurrency(1);
  const one = limit(async function job(): Promise<number> {
    return await Promise.resolve(1);
  });
  const two = limit(async function job(): Promise<number> {
    return await Promise.resolve(2);
  });
  assertEquals(cache.cache()(one).id, "job");
  assertThrows(() => cache.cache()(two), TypeError, '"job"');
});

test("A limit inside of a cached function changes no key", async () => {
  const cache = new MemoryCache();
  const fn = (n: number): Promise<number> => Promise.resolve(n);
  const outside = limitConcurrency(1)(cache.cache({ id: "outside" })(fn));
  const inside = cache.cache({ id: "inside" })(limitConcurrency(1)(fn));
  assertEquals(await outside.key(1), await inside.key(1));
});

test("methodContext() takes functions and methods, and refuses everything else", () => {
  const context = { kind: "method", name: "ask", static: false };
  assertEquals(methodContext("try", wrapper, undefined), undefined);
  assertStrictEquals<unknown>(methodContext("try", wrapper, context), context);
  for (const fn of [undefined, null, {}, "f", 1]) {
    const error = assertThrows(() => methodContext("try", fn, undefined), TypeError);
    assert(error.message.startsWith("Cannot try: fn must be a function"));
  }
  for (
    const [fn, wrong] of [
      [wrapper, null],
      [wrapper, "ask"],
      [wrapper, 0],
      [wrapper, {}],
      [wrapper, { kind: "method" }],
      [wrapper, { kind: "field", name: "x" }],
      [undefined, context],
    ] as [unknown, unknown][]
  ) {
    assertThrows(() => methodContext("try", fn, wrong), TypeError, "it decorates methods");
  }
});
