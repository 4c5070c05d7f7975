import process from "node:process";
import { test } from "node:test";
import { assert, assertEquals, assertInstanceOf, assertLess, assertThrows } from "@std/assert";
import fc from "fast-check";
import { encode } from "../../src/encoding/codec.ts";
import { open, seal } from "../../src/encoding/entry.ts";
import { DamagedEntryError } from "../../src/base/errors.ts";
import { pack } from "../../src/encoding/pack.ts";
import { isDense } from "../../src/encoding/shape.ts";
import { randomNumbers } from "../../src/testing/random.ts";
import { unpack } from "../../src/encoding/unpack.ts";
import { timeOf } from "../support/event_loop.ts";
import { AWKWARD_VALUES } from "../support/awkward_values.ts";
import { difference } from "../support/same_value.ts";

const SEED = 20250103;

/** Bytes of the compact form around any skeleton, right or wrong. */
function frame(skeleton: string, segments: Uint8Array = new Uint8Array(0)) {
  const text = new TextEncoder().encode(skeleton);
  const start = Math.ceil((8 + text.length) / 8) * 8;
  const bytes = new Uint8Array(start + segments.length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, 0x0a315a50, true);
  view.setUint32(4, text.length, true);
  bytes.set(text, 8);
  bytes.set(segments, start);
  return bytes;
}

function skeletonOf(bytes: Uint8Array): string {
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  return new TextDecoder().decode(bytes.subarray(8, 8 + view.getUint32(4, true)));
}

/** A repeatable sequence of numbers: the seed of a case is enough to repeat it. */
function numbers(seed: number): (below: number) => number {
  const random = randomNumbers(seed);
  return (below) => (random() * 2 ** 32) % below;
}

function assertBuiltIn(error: unknown, what: string): void {
  assert(
    error instanceof SyntaxError || error instanceof RangeError || error instanceof TypeError,
    `${what}: ${error}`,
  );
}

/** Unpacks, and allows only a value or a built-in error. */
function tryUnpack(bytes: Uint8Array, what: string): boolean {
  try {
    unpack(bytes);
    return true;
  } catch (error) {
    assertBuiltIn(error, what);
    return false;
  }
}

function prototypes(): string {
  return [Object, Array, Error, Map, Set, Date, RegExp, Function]
    .map((maker) => Reflect.ownKeys(maker.prototype).map(String).join())
    .join(";");
}

test("unpack() reads what pack() wrote, plain JSON included", () => {
  for (const { name, make, value } of AWKWARD_VALUES) {
    if (!value) continue;
    const bytes = pack(make());
    assertEquals(difference(make(), unpack(bytes)), undefined, name);
    assertEquals(pack(unpack(bytes)), bytes, name);
  }
});

test("pack() pads the skeleton and each segment to a multiple of 8", () => {
  const bytes = pack([new Uint8Array(3).fill(1), new Uint8Array(9).fill(2)]);
  const skeleton = skeletonOf(bytes);
  assertEquals(skeleton, '[{"$":"Uint8Array","v":[0,3]},{"$":"Uint8Array","v":[8,9]}]');
  assertEquals(bytes.length % 8, 0);
  assertEquals(
    [...bytes.subarray(-24)],
    [...[1, 1, 1, 0, 0, 0, 0, 0], ...[2, 2, 2, 2, 2, 2, 2, 2], ...[2, 0, 0, 0, 0, 0, 0, 0]],
  );
});

test("pack() takes the narrowest array that keeps every number", () => {
  const kinds: readonly (readonly [string, number])[] = [
    ["u8", 255],
    ["i16", 256],
    ["i16", -1],
    ["i16", -32_768],
    ["i32", 32_768],
    ["i32", -(2 ** 31)],
    ["f32", 2 ** 31],
    ["f32", 0.5],
    ["f32", -0],
    ["f32", NaN],
    ["f32", -Infinity],
    ["f64", 0.1],
    ["f64", 2 ** 53 - 1],
    ["f64", 5e-324],
  ];
  for (const [kind, number] of kinds) {
    const value = [...Array(200).fill(7), number];
    const bytes = pack(value);
    assertEquals(skeletonOf(bytes), `{"$":"${kind}","v":[0,201]}`);
    assertEquals(difference(value, unpack(bytes)), undefined);
  }
  const mixed = [...Array(200).fill(-1), 40_000, 0.5];
  assertEquals(skeletonOf(pack(mixed)), '{"$":"f32","v":[0,202]}');
});

test("isDense() is false for holes and for named properties", () => {
  assert(isDense([]) && isDense([undefined]) && isDense([1, 2]));
  const sparse: unknown[] = [];
  sparse.length = 2;
  assert(!isDense(sparse));
  sparse[1] = 1;
  assert(!isDense(sparse));
  assert(!isDense(Object.assign([1], { name: 1 })));
  assert(!isDense(Object.assign(sparse, { name: 1 })));
});

test("unpack() refuses skeletons that pack() never writes", () => {
  const bad: readonly string[] = [
    "",
    "undefined",
    "{",
    "[1,]",
    '{"$":1}',
    '{"$":null}',
    '{"$":"constructor","v":[0,0]}',
    '{"$":"__proto__","v":[0,0]}',
    '{"$":"Function","v":["return 1"]}',
    '{"$":"SharedArrayBuffer","v":[0,0]}',
    '{"$":"Promise"}',
    '{"$":"number","v":"1"}',
    '{"$":"number","v":1}',
    '{"$":"bigint","v":""}',
    '{"$":"bigint","v":"0x1"}',
    '{"$":"bigint","v":"--1"}',
    '{"$":"bigint","v":1}',
    '{"$":"ref","v":0}',
    '[{"$":"ref","v":1}]',
    '[{"$":"ref","v":-1}]',
    '[{"$":"ref","v":0.5}]',
    '[{"$":"ref","v":"0"}]',
    '[{"$":"ref","v":"length"}]',
    '[{"$":"ref"}]',
    '{"$":"Date","v":"0"}',
    '{"$":"Date"}',
    '{"$":"URL","v":"no url"}',
    '{"$":"URL","v":1}',
    '{"$":"RegExp","v":["(","",0]}',
    '{"$":"RegExp","v":["a","gg",0]}',
    '{"$":"RegExp","v":["a","g"]}',
    '{"$":"RegExp","v":["a","g","0"]}',
    '{"$":"RegExp","v":["a",1,0]}',
    '{"$":"Object","v":["a"]}',
    '{"$":"Object","v":[1,1]}',
    '{"$":"Object","v":{}}',
    '{"$":"Object"}',
    '{"$":"Array","v":[]}',
    '{"$":"Array","v":[-1]}',
    '{"$":"Array","v":[0.5]}',
    '{"$":"Array","v":[4294967296]}',
    '{"$":"Array","v":[1e300]}',
    '{"$":"Array","v":["1"]}',
    '{"$":"Array","v":[1,"0"]}',
    '{"$":"Array","v":[1,"1",1]}',
    '{"$":"Array","v":[1,"4294967294",1]}',
    '{"$":"Array","v":[1,"length",5]}',
    '{"$":"Array","v":[1,"length",0]}',
    '{"$":"Map","v":[1]}',
    '{"$":"Map","v":1}',
    '{"$":"Set","v":{"length":1}}',
    '{"$":"Error","v":["Function",[],[]]}',
    '{"$":"Error","v":["toString",[],[]]}',
    '{"$":"Error","v":["__proto__",[],[]]}',
    '{"$":"Error","v":["Error",["message"],[]]}',
    '{"$":"Error","v":["Error",[]]}',
    '{"$":"Error","v":["Error"]}',
    '{"$":"Error","v":[]}',
    '{"$":"Uint8Array","v":[0,1]}',
    '{"$":"Uint8Array","v":[0,-1]}',
    '{"$":"Uint8Array","v":[0,0.5]}',
    '{"$":"Uint8Array","v":[8,0]}',
    '{"$":"Uint8Array","v":[-8,8]}',
    '{"$":"Uint8Array","v":[null,0]}',
    '{"$":"Uint8Array","v":[0,1e308]}',
    '{"$":"Uint8Array","v":0}',
    '{"$":"f64","v":[0,1]}',
    '{"$":"f64","v":[0,9007199254740992]}',
    '{"$":"u8","v":[0]}',
  ];
  for (const skeleton of bad) {
    const error = assertThrows(() => unpack(frame(skeleton)), Error);
    assertBuiltIn(error, skeleton);
  }
  assertThrows(() => unpack(frame("null", new Uint8Array(8))), SyntaxError);
});

test("unpack() refuses segments that overlap, stand out of order or are left over", () => {
  const segments = new Uint8Array(16).fill(1);
  const good = '[{"$":"u8","v":[0,8]},{"$":"u8","v":[8,8]}]';
  assertEquals(unpack(frame(good, segments)), [Array(8).fill(1), Array(8).fill(1)]);
  const bad = [
    '[{"$":"u8","v":[0,8]},{"$":"u8","v":[0,8]}]',
    '[{"$":"u8","v":[0,16]},{"$":"u8","v":[8,8]}]',
    '[{"$":"u8","v":[8,8]},{"$":"u8","v":[0,8]}]',
    '[{"$":"u8","v":[0,8]}]',
    '[{"$":"Float64Array","v":[0,9]},{"$":"u8","v":[16,0]}]',
  ];
  for (const skeleton of bad) {
    const error = assertThrows(() => unpack(frame(skeleton, segments)), Error);
    assertBuiltIn(error, skeleton);
  }
});

test("unpack() refuses every other beginning and every cut", () => {
  const bytes = pack([1n, Uint8Array.of(1, 2, 3), { a: undefined }]);
  for (let length = 0; length < bytes.length; length++) {
    assertThrows(() => unpack(bytes.slice(0, length)), SyntaxError);
  }
  for (let index = 0; index < 8; index++) {
    const other = bytes.slice();
    other[index]! ^= 0x80;
    assertThrows(() => unpack(other), Error);
  }
  const broken = frame('"aa"');
  broken.set([0xff, 0xfe], 9);
  assertThrows(() => unpack(broken), TypeError);
});

test("unpack() refuses deep nesting in a moment", () => {
  const milliseconds = timeOf(() => {
    for (
      const [before, after] of [
        ["[", "]"],
        ['{"a":', "}"],
        ['{"$":"Set","v":[', "]}"],
        ['{"$":"Map","v":[1,', "]}"],
        ['{"$":"Object","v":["a",', "]}"],
        ['{"$":"Array","v":[1,"0",', "]}"],
        ['{"$":"Error","v":["Error",[],["a",', "]]}"],
      ] as const
    ) {
      const skeleton = (levels: number) => `${before.repeat(levels)}0${after.repeat(levels)}`;
      assert(tryUnpack(frame(skeleton(1000)), before));
      assert(!tryUnpack(frame(skeleton(1100)), before));
      assert(!tryUnpack(frame(skeleton(100_000)), before));
    }
  });
  assertLess(milliseconds, 5000);
});

/** Only V8 counts its heap at once; elsewhere the memory of the process stands in for it. */
const COUNTED = process.versions["bun"] === undefined;

/** The memory that `unpack()` promises to stay within, as a multiple, and the slack of engines. */
const MULTIPLE = 100;
const SLACK = COUNTED ? 1 << 20 : 64 << 20;

function held(): number {
  const { heapUsed, external, rss } = process.memoryUsage();
  return COUNTED ? heapUsed + external : rss;
}

test("unpack() never takes more than a bounded multiple of its input, however deep stacks are", () => {
  const { stackTraceLimit } = Error;
  Error.stackTraceLimit = Infinity;
  try {
    assertBounded();
    assertEquals(Error.stackTraceLimit, Infinity);
  } finally {
    Error.stackTraceLimit = stackTraceLimit;
  }
});

function assertBounded(): void {
  const list = (part: string, count: number) => `[${Array(count).fill(part).join(",")}]`;
  const million = new Uint8Array(1 << 20);
  const hostile: readonly Uint8Array[] = [
    // Lengths that ask for slots.
    ...[64, 65, 1000, 20_000, 99_999, 1_000_000, 33_554_432, 4_294_967_295].map((length) =>
      frame(list(`{"$":"Array","v":[${length}]}`, 400))
    ),
    ...[1000, 99_999, 33_554_432].map((length) =>
      frame(list(`{"$":"Array","v":[${length},"${length - 1}",1]}`, 400))
    ),
    // Indices that ask for slots: engines leave a thousand free, and then as many again.
    ...['"1020",0', '"1020",0,"2560",0,"3300",0'].flatMap((members) => [
      frame(list(`{"$":"Object","v":[${members}]}`, 5000)),
      frame(list(`{"$":"Error","v":["Error",[],[${members}]]}`, 5000)),
      frame(list(`{"$":"Array","v":[99999,${members}]}`, 5000)),
    ]),
    // One segment for many views.
    frame(list('{"$":"u8","v":[0,1048576]}', 2000), million),
    frame(list('{"$":"ArrayBuffer","v":[0,1048576]}', 2000), million),
    frame('{"$":"u8","v":[0,1048576]}', million),
    frame('{"$":"u8","v":[0,4294967295]}', million),
    // Many small objects.
    frame(list("[]", 200_000)),
    frame(list("{}", 200_000)),
    frame(list('{"$":"Set","v":[]}', 50_000)),
    frame(list('{"$":"Map","v":[]}', 50_000)),
    frame(list('{"$":"Error","v":["Error",[],[]]}', 20_000)),
    frame("[".repeat(900) + list('{"$":"Error","v":["Error",[],[]]}', 20_000) + "]".repeat(900)),
    frame("[".repeat(1_000_000)),
  ];
  for (const [index, bytes] of hostile.entries()) {
    const before = held();
    let value: unknown;
    const milliseconds = timeOf(() => {
      try {
        value = unpack(bytes);
      } catch (error) {
        assertBuiltIn(error, `case ${index}`);
      }
    });
    const growth = held() - before;
    assertLess(
      growth,
      bytes.length * MULTIPLE + SLACK,
      `case ${index}: ${growth} bytes for ${bytes.length}`,
    );
    assertLess(milliseconds, 3000, `case ${index}`);
    assert(value !== null);
  }
}

test("unpack() takes a bounded time for keys that have one hash in an engine", () => {
  // V8 hashes the lowest 64 bits of a bigint: the comparisons grow with the square.
  const keys = Array.from(
    { length: 60_000 },
    (_, n) => `{"$":"bigint","v":"${n.toString(16)}${"0".repeat(16)}"}`,
  );
  for (const skeleton of [`{"$":"Set","v":[${keys}]}`, `{"$":"Map","v":[${keys.slice(1)},0]}`]) {
    assertLess(timeOf(() => tryUnpack(frame(skeleton), "colliding keys")), 6000);
  }
});

test("unpack() makes members of the oddest names and never reaches a prototype", () => {
  const before = prototypes();
  const names = [
    "__proto__",
    "constructor",
    "prototype",
    "toString",
    "hasOwnProperty",
    "__defineGetter__",
    "length",
    "stack",
    "message",
  ];
  for (const name of names) {
    for (
      const skeleton of [
        `{"${name}":{"polluted":[{"$":"number","v":"-0"}]}}`,
        `{"$":"Object","v":["${name}",{"polluted":1}]}`,
        `{"$":"Error","v":["Error",[],["${name}",{"polluted":1}]]}`,
        `{"$":"Error","v":["Error",["${name}",{"polluted":1}],[]]}`,
      ]
    ) {
      const value = unpack(frame(skeleton));
      assertInstanceOf(value, Object);
      assert(Object.hasOwn(value, name), skeleton);
      const kind = skeleton.includes("Error") ? Error : Object;
      assertEquals(Object.getPrototypeOf(value), kind.prototype);
    }
    if (name === "length") continue;
    const array = unpack(frame(`{"$":"Array","v":[1,"${name}",{"polluted":1}]}`));
    assert(Array.isArray(array) && Object.hasOwn(array, name));
    assertEquals(Object.getPrototypeOf(array), Array.prototype);
  }
  assert(!("polluted" in {}));
  assertEquals(prototypes(), before);
});

/** Pieces of skeletons, right and wrong, that a random one is put together from. */
const PIECES: readonly string[] = [
  ..."[]{},:",
  '"$"',
  '"v"',
  '"$":',
  '{"$":"',
  '","v":',
  '{"$":"ref","v":0}',
  '{"$":"undefined"}',
  "0",
  "1",
  "-1",
  "0.5",
  "8",
  "128",
  "4294967295",
  "1e308",
  "null",
  "true",
  '"a"',
  '"length"',
  '"__proto__"',
  '"constructor"',
  ...[
    "Array",
    "Object",
    "Map",
    "Set",
    "Error",
    "AggregateError",
    "Date",
    "RegExp",
    "URL",
    "bigint",
    "number",
    "ref",
    "u8",
    "f64",
    "ArrayBuffer",
    "Buffer",
    "DataView",
    "Float16Array",
    "BigInt64Array",
  ].flatMap((tag) => [`"${tag}"`, `{"$":"${tag}","v":[`]),
];

const CASES = 20_000;

test("unpack() of random and mutated bytes gives a value or a built-in error, in time", () => {
  const before = prototypes();
  const originals = AWKWARD_VALUES.filter(({ value }) => value)
    .map(({ make }) => pack(make()))
    .filter((bytes) => bytes.length < 2000);
  let values = 0;
  let slowest = 0;
  for (let seed = 0; seed < CASES; seed++) {
    const random = numbers(SEED + seed);
    let bytes: Uint8Array;
    switch (seed % 4) {
      case 0: // Anything at all.
        bytes = Uint8Array.from({ length: random(64) }, () => random(256));
        break;
      case 1: {
        // A right form with wrong bytes.
        bytes = originals[random(originals.length)]!.slice();
        for (let count = random(4); count >= 0; count--) {
          bytes[random(bytes.length)] = random(256);
        }
        break;
      }
      case 2: {
        // A right skeleton with one part replaced.
        const original = originals[random(originals.length)]!;
        const skeleton = skeletonOf(original);
        const at = random(skeleton.length);
        const piece = PIECES[random(PIECES.length)]!;
        bytes = frame(
          skeleton.slice(0, at) + piece + skeleton.slice(at + random(8)),
          original.slice(Math.ceil((8 + skeleton.length) / 8) * 8),
        );
        break;
      }
      default: {
        // Pieces of skeletons in any order.
        const parts = Array.from({ length: 1 + random(12) }, () => PIECES[random(PIECES.length)]!);
        bytes = frame(parts.join(""), new Uint8Array(random(3) * 8));
      }
    }
    const milliseconds = timeOf(() => {
      if (tryUnpack(bytes, `seed ${SEED + seed}`)) values++;
    });
    slowest = Math.max(slowest, milliseconds);
  }
  assert(values > CASES / 50 && values < CASES / 2, `${values} values`);
  assertLess(slowest, 1000);
  assertEquals(prototypes(), before);
});

/** Skeletons of right grammar and arbitrary content. */
const skeleton = fc.letrec<{ any: unknown }>((tie) => ({
  any: fc.oneof(
    { maxDepth: 5, withCrossShrink: true },
    fc.constantFrom<unknown>(null, true, 0, 1, -1, 0.5, 8, 200, "a", "length"),
    fc.array(tie("any"), { maxLength: 4 }),
    fc.dictionary(fc.constantFrom("a", "v", "__proto__"), tie("any")),
    fc.record({
      $: fc.constantFrom(
        ..."Array Object Map Set Error AggregateError Date RegExp URL bigint".split(" "),
        ..."number ref undefined u8 i16 f32 ArrayBuffer Buffer DataView".split(" "),
      ),
      v: tie("any"),
    }),
    fc.record({
      $: fc.constantFrom("Array", "Map", "Set", "Object"),
      v: fc.tuple(fc.nat(3), fc.constantFrom("0", "a", "length"), tie("any")),
    }),
    fc.record({ $: fc.constant("ref"), v: fc.nat(5) }),
  ),
}));

test("unpack() of any JSON gives a value that packs again, or a built-in error", () => {
  let values = 0;
  fc.assert(
    fc.property(skeleton.any, fc.nat(2), (json, words) => {
      const bytes = frame(JSON.stringify(json), new Uint8Array(words * 8));
      let value: unknown;
      try {
        value = unpack(bytes);
      } catch (error) {
        assertBuiltIn(error, JSON.stringify(json));
        return;
      }
      values++;
      assertEquals(difference(value, unpack(pack(value))), undefined);
    }),
    { seed: SEED, numRuns: 5000 },
  );
  assert(values > 300, `${values} values`);
});

test("open() of mutated entries throws nothing but DamagedEntryError", () => {
  const times = {
    storedAt: 1,
    expiresAt: null,
    staleUntil: null,
    durationMs: 0,
  };
  const entries = AWKWARD_VALUES.filter(({ value }) => value)
    .map(({ make }) => encode(make()))
    .filter(({ data }) => data.length < 2000);
  for (let seed = 0; seed < 5000; seed++) {
    const random = numbers(SEED + seed);
    const { format, data } = entries[random(entries.length)]!;
    const bytes = typeof data === "string" ? new TextEncoder().encode(data) : data.slice();
    bytes[random(bytes.length)]! ^= 1 + random(255);
    const mutated = typeof data === "string" ? new TextDecoder().decode(bytes) : bytes;
    // Sealed anew, so that the checksum is right and the decoder itself is tested.
    const entry = seal("id", "key", { format, data: mutated }, times);
    try {
      open("id", "key", entry);
    } catch (error) {
      assertInstanceOf(error, DamagedEntryError, `seed ${SEED + seed}`);
    }
  }
});

test("unpack() gives an error nothing but what was packed, on every runtime", () => {
  for (const error of [new RangeError("bad"), new AggregateError([1], "all")]) {
    const packed = pack(error);
    assertInstanceOf(packed, Uint8Array);
    const copy = unpack(packed);
    assertInstanceOf(copy, Error);
    const stored = ["message", "stack", "errors"];
    assertEquals(
      Object.getOwnPropertyNames(copy).sort(),
      stored.filter((name) => Object.hasOwn(error, name)).sort(),
    );
  }
});
