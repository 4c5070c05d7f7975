// deno-lint-ignore-file no-sparse-arrays
import { Buffer } from "node:buffer";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { inspect, isDeepStrictEqual } from "node:util";
import { runInNewContext, runInThisContext } from "node:vm";
import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertNotEquals,
  assertStrictEquals,
  assertThrows,
} from "@std/assert";
import fc from "fast-check";
import type { StoredEntry } from "../../src/encoding/entry.ts";
import { decode, encode } from "../../src/encoding/codec.ts";
import {
  ENCRYPTED,
  type EntryTimes,
  isIntact,
  open,
  originOf,
  seal,
} from "../../src/encoding/entry.ts";
import { DamagedEntryError, UncacheableValueError } from "../../src/base/errors.ts";
import { anything } from "../support/anything.ts";
import { Amount, AWKWARD_VALUES, VIEW_CLASSES } from "../support/awkward_values.ts";
import { difference } from "../support/same_value.ts";

const SEED = 20250102;

const TIMES: EntryTimes = {
  storedAt: 1_700_000_000_000,
  expiresAt: 1_700_000_060_000,
  staleUntil: null,
  durationMs: 12.5,
};

function roundTrip(value: unknown): unknown {
  const { format, data } = encode(value);
  return decode({
    format,
    data: typeof data === "string" ? data : data.slice(),
  });
}

function assertKept(value: unknown, name: string = ""): void {
  assertEquals(difference(value, roundTrip(value)), undefined, name);
}

function formatOf(value: unknown): string {
  return encode(value).format;
}

function refusal(value: unknown): UncacheableValueError {
  return assertThrows(() => encode(value), UncacheableValueError);
}

interface Golden {
  readonly name: string;
  readonly format: string;
  readonly text?: string;
  readonly base64?: string;
}

const GOLDEN: readonly Golden[] = JSON.parse(
  readFileSync(new URL("../fixtures/values.json", import.meta.url), "utf8"),
);

test("encode() writes what it wrote when the golden encodings were made, and decode() reads it", () => {
  const made = new Map(AWKWARD_VALUES.map(({ name, make }) => [name, make]));
  let checked = 0;
  for (const { name, format, text, base64 } of GOLDEN) {
    const make = made.get(name);
    // The one class that a supported runtime may lack.
    if (name === "Float16Array" && make === undefined) continue;
    assert(make !== undefined, `no value ${name}`);
    const encoded = encode(make());
    assertEquals(encoded.format, format, name);
    const data = text ?? Buffer.from(base64 ?? "", "base64");
    const written = typeof encoded.data === "string"
      ? encoded.data
      : Buffer.from(encoded.data).toString("base64");
    assertEquals(written, text ?? base64, name);
    // Buffer here: its bytes lie in a pool, and its `slice` copies nothing.
    assertEquals(difference(make(), decode({ format, data })), undefined, name);
    checked++;
  }
  assert(checked > 130, `${checked} encodings`);
});

test("decode() gives back every awkward value, the same in all that counts", () => {
  for (const { name, make, value } of AWKWARD_VALUES) {
    if (!value) continue;
    assertKept(make(), name);
    assertKept([make()], name);
    assertKept({ a: make(), $: make() }, name);
    assertKept(new Map([[make(), make()]]), name);
    assertKept(new Set([make()]), name);
    const part = make();
    assertKept({ first: part, again: [part], more: new Map([[1, part]]) }, name);
  }
});

/** The values of which the codec keeps more than structured clone. */
const KEEPS_MORE: ReadonlySet<string> = new Set([
  // Structured clone resets lastIndex, refuses URLs, and makes a Buffer a Uint8Array.
  "a RegExp with lastIndex",
  "a URL",
  "a Buffer",
  "shared special parts",
  // Structured clone drops the rest of an error: code, a name that is not an error class.
  "an Error",
  "an AggregateError",
  "an Error without a message",
  "a cycle through an Error",
  // Bun's isDeepStrictEqual distinguishes the patterns "" and "(?:)", which have one source.
  "an empty RegExp",
  // isDeepStrictEqual looks at prototypes.
  "{} without prototype",
]);

test("decode() gives back what structured clone gives, and node:util agrees", () => {
  let compared = 0;
  for (const { name, make, value } of AWKWARD_VALUES) {
    if (!value || KEEPS_MORE.has(name)) continue;
    // Bun's isDeepStrictEqual never ends on them.
    if (name.startsWith("a cycle")) continue;
    const original = make();
    // Node 22.13 holds no invalid Date equal to another one.
    if (!isDeepStrictEqual(original, make())) continue;
    const read = roundTrip(original);
    assert(isDeepStrictEqual(read, original), name);
    assert(isDeepStrictEqual(read, structuredClone(original)), name);
    compared++;
  }
  assert(compared > 100);
});

test("encode() chooses JSON text exactly where JSON is exact", () => {
  const json: readonly unknown[] = [
    null,
    true,
    0,
    1.5,
    5e-324,
    "",
    "\ud800",
    [],
    {},
    { a: [{ b: null }] },
    { $: 1 },
    { __proto__: null, a: 1 },
    JSON.parse('{"__proto__":{"a":1}}'),
    { toJSON: 1 },
    Array.from({ length: 127 }, (_, index) => index),
    [...Array.from({ length: 500 }, (_, index) => index), "x"],
    Array.from({ length: 500 }, () => [1]),
    Array.from({ length: 500 }, () => "x"),
  ];
  for (const value of json) {
    const encoded = encode(value);
    assertEquals(encoded.format, "json-1");
    assertEquals(encoded.data, JSON.stringify(value));
  }
  const part = {};
  const packed: readonly unknown[] = [
    undefined,
    -0,
    NaN,
    Infinity,
    1n,
    [-0],
    [1, , 2],
    [undefined],
    { a: undefined },
    [1, [2, { a: NaN }]],
    Object.assign([1], { name: 1 }),
    new Date(0),
    /a/,
    new URL("https://example.com"),
    new Map(),
    new Set(),
    new Uint8Array(0),
    new ArrayBuffer(0),
    new Error("x"),
    [part, part],
    Array.from({ length: 128 }, (_, index) => index),
    { embedding: Array.from({ length: 128 }, () => 0.1) },
    [Array.from({ length: 1536 }, Math.random)],
    Object.defineProperty({ a: 1 }, "toJSON", { value: () => 2 }),
    Object.defineProperty([1], "toJSON", { value: () => 2 }),
  ];
  for (const value of packed) {
    const encoded = encode(value);
    assertEquals(encoded.format, "packed-1");
    assertInstanceOf(encoded.data, Uint8Array);
  }
});

test("encode() packs 128 numbers and keeps 127 as text", () => {
  for (const number of [0, 1.5, 1e300, -70_000]) {
    assertEquals(formatOf(Array(127).fill(number)), "json-1");
    assertEquals(formatOf(Array(128).fill(number)), "packed-1");
    assertEquals(formatOf([...Array(128).fill(number), null]), "json-1");
  }
});

test("encode() never stores what a hidden toJSON says", () => {
  const value = Object.defineProperty({ a: 1 }, "toJSON", { value: () => 2 });
  assertEquals(roundTrip(value), { a: 1 });
  const list = Object.defineProperty([1], "toJSON", { value: () => 2 });
  assertEquals(roundTrip([list]), [[1]]);
});

test("encode() keeps the class and every byte of a view, and nothing else of its buffer", () => {
  for (const [name, View] of VIEW_CLASSES) {
    const bytes = new Uint8Array(64).map((_, index) => index * 37 + 1);
    const view = Reflect.construct(View, [bytes.buffer, 16, 2]);
    const encoded = encode({ view });
    assertInstanceOf(encoded.data, Uint8Array);
    assert(encoded.data.length < 80, name);
    const read = decode(encoded);
    assertEquals(difference({ view }, read), undefined, name);
    assert(read instanceof Object && "view" in read && read.view instanceof View);
    assertEquals(read.view.byteLength, view.byteLength);
    assertEquals(read.view.buffer.byteLength, view.byteLength);
  }
  const pooled = Buffer.from("in a pool");
  const read = roundTrip(pooled);
  assert(Buffer.isBuffer(read));
  assertEquals(read.toString(), "in a pool");
});

test("decode() reads views and long arrays at any place in memory", () => {
  const value = {
    doubles: Float64Array.of(0.1, -0, NaN),
    numbers: Array.from({ length: 300 }, (_, index) => index / 3),
    shorts: Array.from({ length: 129 }, (_, index) => -index),
    raw: Uint8Array.of(1, 2, 3).buffer,
  };
  const { format, data } = encode(value);
  assertInstanceOf(data, Uint8Array);
  for (let offset = 0; offset < 9; offset++) {
    const memory = new Uint8Array(data.length + offset + 3).fill(0xee);
    memory.set(data, offset);
    const inside = memory.subarray(offset, offset + data.length);
    assertEquals(difference(value, decode({ format, data: inside })), undefined);
    const buffer = Buffer.from(memory.buffer, offset, data.length);
    assertEquals(difference(value, decode({ format, data: buffer })), undefined);
    const sharedMemory = new Uint8Array(new SharedArrayBuffer(data.length));
    sharedMemory.set(data);
    assertEquals(difference(value, decode({ format, data: sharedMemory })), undefined);
  }
});

test("encode() keeps errors as they are: class, cause, own members, what is hidden", () => {
  const classes = [Error, EvalError, RangeError, ReferenceError, SyntaxError, TypeError, URIError];
  for (const Class of classes) {
    const error = new Class("message", { cause: { deep: new Class("cause") } });
    assertKept(error, Class.name);
    const read = roundTrip(error);
    assertInstanceOf(read, Class);
    assertStrictEquals(Object.getPrototypeOf(read), Class.prototype);
    assertEquals(read.stack, error.stack);
    assertEquals(Object.keys(read), []);
    assertEquals(Object.getOwnPropertyDescriptor(read, "cause")?.enumerable, false);
  }
  const bare = roundTrip(new Error());
  assertInstanceOf(bare, Error);
  assertEquals(Object.hasOwn(bare, "message"), false);
  assertEquals(Object.hasOwn(bare, "cause"), false);
  const undefinedCause = roundTrip(new Error("x", { cause: undefined }));
  assertInstanceOf(undefinedCause, Error);
  assert(Object.hasOwn(undefinedCause, "cause"));
  const visible = new Error("x");
  Object.defineProperty(visible, "message", { enumerable: true });
  assertKept(Object.assign(visible, { code: "ENOENT", errno: -2n }));
  const many = roundTrip(new AggregateError([new TypeError("a"), 1], "many"));
  assertInstanceOf(many, AggregateError);
  assertInstanceOf(many.errors[0], TypeError);
});

/** Graphs with shared parts and cycles: every node may hold every other. */
const graph = fc
  .tuple(
    fc.array(fc.nat(7), { minLength: 1, maxLength: 12 }),
    fc.array(fc.tuple(fc.nat(), fc.nat(), fc.nat(3)), { maxLength: 30 }),
  )
  .map(([kinds, edges]) => {
    const nodes: object[] = kinds.map((kind) => {
      switch (kind) {
        case 0:
          return [];
        case 1:
          return new Map();
        case 2:
          return new Set();
        case 3:
          return Object.assign(new Error("node"), { stack: "Error: node" });
        case 4:
          return { $: "imitation" };
        case 5:
          return Object.assign([, 1, ,], { 4: 1 });
        case 6:
          return [new Date(kind), /x/g, Uint8Array.of(1), Array(150).fill(0.5)];
        default:
          return {};
      }
    });
    for (const [from, to, name] of edges) {
      const target = nodes[to % nodes.length]!;
      const node = nodes[from % nodes.length]!;
      if (Array.isArray(node)) node.push(target);
      else if (node instanceof Map) node.set(name === 0 ? target : name, target);
      else if (node instanceof Set) node.add(target);
      else Reflect.set(node, ["a", "$", "cause", "0"][name] ?? "b", target);
    }
    return nodes[0];
  });

test("decode() gives back values of another realm as this realm's own", () => {
  for (
    const code of [
      "({ a: [1, , -0], b: Object.assign(Object.create(null), { c: 1n }) })",
      "[new Date(5), /a/gy, new Map([[new Set([1]), undefined]])]",
      "[Uint8Array.of(1, 2), new Float32Array([NaN]), Uint8Array.of(3).buffer]",
      "Object.assign(new TypeError('bad', { cause: new Error('deep') }), { code: 'E' })",
      "new AggregateError([new RangeError('one'), 1], 'all')",
    ]
  ) {
    const read = roundTrip(runInNewContext(`const value = ${code}; ${FIX_STACKS} fix(value)`));
    assertEquals(
      difference(runInThisContext(`{ const value = ${code}; ${FIX_STACKS} fix(value) }`), read),
      undefined,
      code,
    );
  }
  refusal(runInNewContext("new (class TypeError extends Error {})()"));
  refusal(runInNewContext("new (class extends Map {})()"));
});

/** Makes all stacks equal, because a stack shows where the error was made. */
const FIX_STACKS = `
  function fix(value) {
    if (!String(Object.prototype.toString.call(value)).includes("Error")) return value;
    value.stack = "fixed";
    fix(value.cause);
    (value.errors ?? []).forEach(fix);
    return value;
  }
`;

test("decode() gives back graphs with shared parts and cycles", () => {
  fc.assert(
    fc.property(graph, (value) => assertKept(value)),
    { seed: SEED, numRuns: 1000 },
  );
});

test("decode() gives back anything that fast-check makes of plain types", () => {
  let packed = 0;
  fc.assert(
    fc.property(anything, (value) => {
      if (formatOf(value) === "packed-1") packed++;
      assertKept(value);
    }),
    { seed: SEED, numRuns: 3000 },
  );
  assert(packed > 1000 && packed < 2900, `${packed} packed`);
});

test("decode() gives back strings of any code units, as members too", () => {
  const units = fc.string({
    unit: fc.integer({ min: 0, max: 0xffff }).map((unit) => String.fromCharCode(unit)),
  });
  fc.assert(
    fc.property(units, units, (name, text) => {
      const value = Object.defineProperty({}, name, {
        value: text,
        enumerable: true,
      });
      assertKept(value);
      assertKept([value, undefined]);
      assertKept([value, { $: text, [name]: -0 }]);
    }),
    { seed: SEED, numRuns: 500 },
  );
});

test("decode() gives back long arrays of every kind of numbers", () => {
  const number = fc.oneof(
    fc.integer(),
    fc.integer({ min: 0, max: 255 }),
    fc.integer({ min: -32_768, max: 32_767 }),
    fc.float(),
    fc.double(),
    fc.constantFrom(-0, NaN, 2 ** 31, -(2 ** 31), 2 ** 53, 255, 256, 65_535),
  );
  const kinds = [
    fc.integer({ min: 0, max: 255 }),
    fc.integer({ min: -32_768, max: 32_767 }),
    fc.integer(),
    fc.float(),
    fc.double(),
    number,
  ].map((kind) => fc.array(kind, { minLength: 120, maxLength: 140 }));
  fc.assert(
    fc.property(fc.oneof(...kinds), (value) => assertKept(value)),
    { seed: SEED, numRuns: 600 },
  );
});

test("decode() gives each caller a copy of its own", () => {
  const value = {
    list: [1, { a: 1 }],
    map: new Map([["k", [1]]]),
    bytes: Uint8Array.of(1, 2),
    numbers: Array(200).fill(1),
    date: new Date(0),
  };
  const encoded = encode(value);
  const first = decode(encoded);
  assert(isDeepStrictEqual(first, value));
  const spoiled = decode(encoded) as typeof value;
  spoiled.list.push(2);
  spoiled.map.get("k")?.push(2);
  spoiled.bytes[0] = 9;
  spoiled.numbers[0] = 9;
  spoiled.date.setTime(5);
  assert(isDeepStrictEqual(decode(encoded), value));
  // The encoded data is a copy, too.
  value.bytes[0] = 7;
  assert(isDeepStrictEqual(decode(encoded), first));
});

test("encode() refuses what cannot come back, and names the place", () => {
  class Model {
    name = "x";
  }
  const refused: readonly (readonly [unknown, string, RegExp])[] = [
    [() => {}, "value", /a function/],
    [Symbol("s"), "value", /a symbol/],
    [{ callback: () => {} }, "value.callback", /a function/],
    [[1, { a: 1, "odd name": Symbol() }], "value[1][member 2]", /a symbol/],
    [{ a: Promise.resolve(1) }, "value.a", /a promise/],
    [{ a: [new Model()] }, "value.a[0]", /an instance of Model/],
    [new Amount(1), "value", /an instance of Amount/],
    [new (class extends Map {})(), "value", /an instance of/],
    [new (class extends Array {})(), "value", /an instance of/],
    [new (class extends Uint8Array {})(1), "value", /an instance of/],
    [new (class HttpError extends Error {})(), "value", /HttpError/],
    [new Response("x"), "value", /an instance of Response/],
    [new Blob(["x"]), "value", /an instance of Blob/],
    [new WeakMap(), "value", /an instance of WeakMap/],
    [new SharedArrayBuffer(1), "value", /SharedArrayBuffer/],
    [Object.create({ inherited: 1 }), "value", /an instance of Object/],
    [Object(1), "value", /an instance of Number/],
    [new Map([["k", [() => {}]]]), "value[0][0]", /a function/],
    [
      new Map([
        [1, 1],
        [Symbol(), 1],
      ] as [unknown, 1][]),
      "value[1]",
      /symbol/,
    ],
    [new Set([1, Symbol()]), "value[1]", /a symbol/],
    [new Error("x", { cause: () => {} }), "value.cause", /a function/],
    [new AggregateError([() => {}]), "value.errors[0]", /a function/],
    [Object.assign(new Error(), { f() {} }), "value.f", /a function/],
    [{ $: () => {} }, "value.$", /a function/],
    [[, Symbol()], "value[1]", /a symbol/],
    [Object.assign(/a/, { lastIndex: NaN }), "value", /lastIndex is not a whole number/],
    [{ toJSON: () => 1 }, "value.toJSON", /a function/],
    [[Reflect.get(JSON, "rawJSON")?.("1") ?? Symbol()], "value[0]", /raw JSON|a symbol/],
  ];
  for (const [value, path, what] of refused) {
    const error = refusal(value);
    assertEquals(error.path, path, error.message);
    assert(what.test(error.message), error.message);
    assert(error.message.includes("return the parts that you need, convert it with codec"));
  }
});

test("encode() names the place of code that throws, and nothing of what it says", () => {
  const secret = new Error("secret-4711");
  const throwing = {
    other: "content-4711",
    get broken(): unknown {
      throw secret;
    },
  };
  const error = refusal([{ throwing }]);
  assertEquals(error.path, "value[0].throwing.broken");
  assert(!inspect(error).includes("4711"));
  const { proxy, revoke } = Proxy.revocable<object>({}, {});
  revoke();
  assertEquals(refusal({ a: proxy }).path, "value.a");
  assertEquals(refusal(Object.create(Date.prototype)).path, "value");
});

test("encode() takes 1,000 objects inside each other, and refuses the next", () => {
  const wraps: readonly ((inner: unknown) => unknown)[] = [
    (inner) => ({ inner }),
    (inner) => [inner],
    (inner) => [inner, ,],
    (inner) => ({ $: inner }),
    (inner) => new Map([[1, inner]]),
    (inner) => new Set([inner]),
    (inner) => new Error("", { cause: inner }),
  ];
  for (const wrap of wraps) {
    let value: unknown = -0;
    for (let level = 0; level < 1000; level++) value = wrap(value);
    const read = roundTrip(value);
    assertEquals(encode(read), encode(value));
    const error = refusal(wrap(value));
    assert(error.message.includes("more than 1000 objects"), error.message);
  }
  let plain: unknown = 1;
  for (let level = 0; level < 1000; level++) plain = [plain];
  assertEquals(formatOf(plain), "json-1");
  refusal([plain]);
  let endless: unknown = 1;
  for (let level = 0; level < 100_000; level++) endless = { endless };
  refusal(endless);
});

test("decode() refuses data of another kind and unknown formats with a built-in error", () => {
  const bad: readonly { format: string; data: string | Uint8Array }[] = [
    { format: "json-1", data: new Uint8Array([49]) },
    { format: "json-1", data: "" },
    { format: "json-1", data: "undefined" },
    { format: "packed-1", data: "1" },
    { format: "packed-1", data: new Uint8Array(0) },
    { format: "json-2", data: "1" },
    { format: "", data: "1" },
    { format: "__proto__", data: "1" },
  ];
  for (const encoded of bad) assertThrows(() => decode(encoded), SyntaxError);
});

test("decode() of a member __proto__ makes a member and no prototype", () => {
  for (
    const value of [
      JSON.parse('{"__proto__":{"polluted":1}}'),
      [JSON.parse('{"__proto__":{"polluted":1},"$":1}'), undefined],
      [JSON.parse('{"__proto__":{"polluted":1}}'), undefined],
      [JSON.parse('{"__proto__":null}'), -0],
    ]
  ) {
    assertKept(value);
    const read = roundTrip(value);
    const object: unknown = Array.isArray(read) ? read[0] : read;
    assertInstanceOf(object, Object);
    assertStrictEquals(Object.getPrototypeOf(object), Object.prototype);
    assert(Object.hasOwn(object, "__proto__"));
    assert(!("polluted" in {}));
  }
});

const SEALED: readonly unknown[] = [
  "text",
  { a: [1, "ü", null] },
  [new Date(0), 1n, Uint8Array.of(1, 2, 3)],
  Array.from({ length: 200 }, (_, index) => index / 3),
];

test("open() gives back what seal() put together", () => {
  for (const value of SEALED) {
    const entry = seal("id", "key", encode(value), TIMES);
    assert(isIntact("id", "key", entry));
    assert(Number.isInteger(entry.checksum) && entry.checksum >= 0);
    assertEquals({ ...TIMES, ...encode(value), checksum: entry.checksum }, entry);
    assertEquals(difference(value, open("id", "key", entry)), undefined);
  }
});

test("open() finds every flipped bit", () => {
  for (const value of SEALED.slice(0, 3)) {
    const entry = seal("id", "key", encode(value), TIMES);
    const bytes = typeof entry.data === "string"
      ? new TextEncoder().encode(entry.data)
      : entry.data;
    for (let bit = 0; bit < bytes.length * 8; bit++) {
      const flipped = bytes.slice();
      flipped[bit >> 3]! ^= 1 << (bit & 7);
      const data = typeof entry.data === "string" ? new TextDecoder().decode(flipped) : flipped;
      assertThrows(() => open("id", "key", { ...entry, data }), DamagedEntryError);
    }
    for (let bit = 0; bit < 32; bit++) {
      const checksum = (entry.checksum ^ (1 << bit)) >>> 0;
      assertThrows(() => open("id", "key", { ...entry, checksum }), DamagedEntryError);
    }
    for (let length = 0; length < bytes.length; length++) {
      const data = typeof entry.data === "string"
        ? entry.data.slice(0, Math.min(length, entry.data.length - 1))
        : bytes.slice(0, length);
      assertThrows(() => open("id", "key", { ...entry, data }), DamagedEntryError);
    }
  }
});

test("originOf() distinguishes newer and encrypted entries from damaged ones, and open() refuses all", () => {
  for (
    const [format, origin, message] of [
      ["json-1", "ours", "checksum"],
      ["packed-1", "ours", "checksum"],
      [ENCRYPTED, "encrypted", "encrypt"],
      ["json-2", "newer", "newer version"],
      ["packed-12", "newer", "newer version"],
      ["aes-gcm-siv-1", "newer", "newer version"],
      ["", "damaged", "no valid name"],
      ["json", "damaged", "no valid name"],
      ["json-1\0", "damaged", "no valid name"],
      ["JSON-1", "damaged", "no valid name"],
    ] as const
  ) {
    const entry = { ...seal("id", "key", encode(1), TIMES), format, checksum: 1 };
    assertEquals(originOf(entry), origin, format);
    const error = assertThrows(() => open("id", "key", entry), DamagedEntryError);
    assert(error.message.includes(message), error.message);
  }
});

test("open() finds every changed field, and an entry that was moved", () => {
  const never: EntryTimes = {
    storedAt: 0,
    expiresAt: null,
    staleUntil: null,
    durationMs: 0,
  };
  for (const times of [TIMES, never]) {
    const entry = seal("id", "key", encode("text"), times);
    const changes: readonly Partial<StoredEntry>[] = [
      { storedAt: entry.storedAt + 1 },
      { storedAt: NaN },
      { expiresAt: (entry.expiresAt ?? 0) + 1 },
      { expiresAt: entry.expiresAt === null ? -1 : null },
      { expiresAt: entry.expiresAt === null ? 0 : Infinity },
      { staleUntil: 0 },
      { staleUntil: -1 },
      { staleUntil: entry.expiresAt ?? 5, expiresAt: entry.staleUntil },
      { durationMs: entry.durationMs + 0.001 },
      { durationMs: entry.storedAt + 1, storedAt: entry.durationMs },
      { format: "json-2" },
      { format: "packed-1" },
      { data: "Text" },
      { data: '"text" ' },
      { data: new TextEncoder().encode('"text"').map((byte) => byte ^ 1) },
      { data: new TextEncoder().encode('"text"') },
      { checksum: NaN },
      { checksum: -1 },
    ];
    for (const change of changes) {
      const error = assertThrows(
        () => open("id", "key", { ...entry, ...change }),
        DamagedEntryError,
        undefined,
        JSON.stringify(change),
      );
      assertEquals([error.id, error.key], ["id", "key"]);
    }
    const places = [
      ["id", "key2"],
      ["id2", "key"],
      ["i", "dkey"],
      ["idk", "ey"],
      ["", "idkey"],
      ["idkey", ""],
      ["ID", "key"],
      ["key", "id"],
    ] as const;
    for (const [id, key] of places) {
      assertThrows(() => open(id, key, entry), DamagedEntryError);
      assertEquals(isIntact(id, key, entry), false);
    }
  }
});

test("seal() of two different places gives two checksums, whatever separators they hold", () => {
  const name = fc.string({
    unit: fc.constantFrom(":", "1", "2", "j", "a", "/"),
    maxLength: 6,
  });
  fc.assert(
    fc.property(name, name, name, name, (id, key, otherId, otherKey) => {
      fc.pre(id !== otherId || key !== otherKey);
      const entry = seal(id, key, encode(1), TIMES);
      assertEquals(isIntact(otherId, otherKey, entry), false);
    }),
    { seed: SEED, numRuns: 2000 },
  );
});

test("open() says nothing of the value that it cannot decode, in its error and the causes", () => {
  const secrets: readonly { format: string; data: string | Uint8Array }[] = [
    { format: "json-1", data: "secret-4711" },
    { format: "json-1", data: '{"a": secret-4711' },
    { format: "packed-1", data: "secret-4711" },
    { format: "packed-1", data: new TextEncoder().encode("secret-4711") },
    { format: "json-9", data: "secret-4711" },
  ];
  for (const encoded of secrets) {
    const entry = seal("id", "key", encoded, TIMES);
    const error = assertThrows(() => open("id", "key", entry), DamagedEntryError);
    assert(!inspect(error).includes("4711"), error.message);
    assertNotEquals(error.message, "");
  }
});
