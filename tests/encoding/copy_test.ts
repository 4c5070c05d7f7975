// deno-lint-ignore-file no-sparse-arrays
import { Buffer } from "node:buffer";
import { test } from "node:test";
import { runInNewContext } from "node:vm";
import { assert, assertEquals, assertNotStrictEquals, assertStrictEquals } from "@std/assert";
import fc from "fast-check";
import { canonicalize } from "../../src/encoding/canonical.ts";
import { copyArguments } from "../../src/encoding/copy.ts";
import { argument } from "../support/anything.ts";

const copied = (...given: Parameters<typeof copyArguments>) => copyArguments(...given).args;

function copyOf<Value>(value: Value): Value {
  const [copy] = copied([value], undefined);
  return copy as Value;
}

const KINDS: Readonly<Record<string, () => object>> = {
  "a plain object": () => ({ a: 1, u: undefined, nested: { list: [1, , undefined] } }),
  "an object without a prototype": () => Object.assign(Object.create(null), { q: 1 }),
  "an object of a query parser": () =>
    Object.assign(Object.create(Object.freeze(Object.create(null))), { q: "1" }),
  "an object with a member __proto__": () => JSON.parse('{"__proto__":{"a":1},"b":2}'),
  "an object of another realm": () => runInNewContext("({ a: [1] })"),
  "an array of another realm": () => runInNewContext("[1, [2]]"),
  "a sparse array": () => [, 1, , { a: 1 }, ,],
  "a Date": () => new Date(5),
  "an invalid Date": () => new Date(NaN),
  "a Date of another realm": () => runInNewContext("new Date(5)"),
  "a RegExp": () => Object.assign(/a+/gy, { lastIndex: 3 }),
  "a URL": () => new URL("http://localhost/a?b=c#d"),
  "URLSearchParams": () => new URLSearchParams("b=1&a=2&b=3"),
  "Headers": () => new Headers([["b", "1"], ["A", "2"], ["set-cookie", "x"], ["set-cookie", "y"]]),
  "a Map": () => new Map<unknown, unknown>([[{ key: 1 }, new Set([1])], ["a", [1]]]),
  "a Map of another realm": () => runInNewContext("new Map([[1, new Set([2])]])"),
  "an ArrayBuffer": () => Uint8Array.of(1, 2, 3).buffer,
  "a Uint8Array": () => Uint8Array.of(1, 2, 3),
  "a part of a Float64Array": () => Float64Array.of(1, 2, 3).subarray(1),
  "a Uint16Array of another realm": () => runInNewContext("Uint16Array.of(1, 2)"),
  "a DataView": () => new DataView(Uint8Array.of(1, 2, 3, 4).buffer, 1, 2),
  "a Buffer": () => Buffer.from("bytes"),
};

for (const [name, make] of Object.entries(KINDS)) {
  test(`copyArguments() copies ${name}, in its class`, () => {
    const value = make();
    const copy = copyOf(value);
    assertNotStrictEquals(copy, value);
    assertStrictEquals(Object.getPrototypeOf(copy), Object.getPrototypeOf(value));
    assertEquals(Object.keys(copy), Object.keys(value));
    assertEquals(canonicalize([copy]), canonicalize([value]));
  });
}

test("copyArguments() copies a FormData", () => {
  const form = new FormData();
  form.append("b", "1");
  form.append("a", "2");
  assertEquals([...copyOf(form)], [["b", "1"], ["a", "2"]]);
  assertNotStrictEquals(copyOf(form), form);
});

test("copyArguments() keeps all that the key holds, whatever the caller changes afterwards", () => {
  let copied = 0;
  fc.assert(
    fc.property(argument, ({ make }) => {
      const value = make();
      const before = canonicalize([value]);
      const copy = copyOf(value);
      assertEquals(canonicalize([copy]), before);
      if (copyArguments([value], undefined).goesByIdentity) return;
      copied++;
      spoil(value);
      assertEquals(canonicalize([copy]), before);
    }),
    { seed: 20250101, numRuns: 3000 },
  );
  assert(copied > 1500, `${copied} copied`);
});

/** Changes whatever can be changed. */
function spoil(value: unknown): void {
  if (typeof value !== "object" || value === null) return;
  if (value instanceof Map) {
    for (const pair of value) pair.forEach(spoil);
    value.clear();
  } else if (value instanceof Set) {
    value.forEach(spoil);
    value.clear();
  } else if (value instanceof Date) value.setTime(12345);
  else if (value instanceof RegExp) value.lastIndex = 99;
  else if (value instanceof URL) value.pathname = "/spoiled";
  else if (value instanceof Headers || value instanceof FormData) value.set("spoiled", "1");
  else if (value instanceof URLSearchParams) value.append("spoiled", "1");
  else if (value instanceof ArrayBuffer) new Uint8Array(value).fill(77);
  else if (ArrayBuffer.isView(value)) new Uint8Array(value.buffer).fill(77);
  else {
    for (const name of Object.keys(value)) {
      spoil(Reflect.get(value, name));
      Reflect.set(value, name, "spoiled");
    }
  }
}

test("copyArguments() keeps what stands in two places one object", () => {
  const nodes = Array.from({ length: 50 }, (_, id) => ({ id }));
  const graph = { nodes, edges: nodes.map((from) => ({ from })) };
  const [copy, again] = copied([graph, nodes], undefined) as [typeof graph, typeof nodes];
  assertStrictEquals(copy.nodes, again);
  for (const [index, { from }] of copy.edges.entries()) assertStrictEquals(from, again[index]);
});

test("copyArguments() keeps views that overlap on the same bytes, and no others", () => {
  const buffer = new ArrayBuffer(1 << 20);
  const views = {
    bytes: new Uint8Array(buffer, 13, 40),
    doubles: new Float64Array(buffer, 24, 2),
    far: new Uint8Array(buffer, 1 << 19, 1),
  };
  const copy = copyOf(views);
  copy.bytes.fill(255);
  assert(copy.doubles.every((value) => Number.isNaN(value)));
  assertEquals(views.bytes[0], 0);
  assertEquals(copy.far.buffer.byteLength, 1);
  assert(copy.bytes.buffer.byteLength < 64);
  const whole = copyOf({ buffer, view: views.far });
  assertStrictEquals(whole.view.buffer, whole.buffer);
  assertNotStrictEquals(whole.buffer, buffer);
});

test("copyArguments() gives another signal in the place of each, however it stands", () => {
  const given = new AbortController().signal;
  const { signal } = new AbortController();
  const polyfill = { aborted: false, addEventListener() {}, removeEventListener() {} };
  assertEquals(
    copied([signal, { signal }, [polyfill], new Map([[1, { signal }]])], given),
    [given, { signal: given }, [given], new Map([[1, { signal: given }]])],
  );
  const [endless] = copied([AbortSignal.abort()], undefined);
  assert(endless instanceof AbortSignal && !endless.aborted);
});

test("goesByIdentity() distinguishes objects with toJSON from data, and copyArguments() passes them", () => {
  const client = new (class Client {
    toJSON(): string {
      return "client";
    }
  })();
  const plain = { secret: 1, toJSON: () => "plain" };
  for (const value of [client, plain]) {
    assertEquals(copyArguments([1, { parts: [value] }], undefined).goesByIdentity, true);
    assertStrictEquals(copyOf({ value }).value, value);
  }
  assertEquals(copyArguments([1, "a", undefined], undefined).goesByIdentity, false);
});
