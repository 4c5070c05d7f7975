// deno-lint-ignore-file no-sparse-arrays no-import-prefix
import { AsyncLocalStorage } from "node:async_hooks";
import { Buffer } from "node:buffer";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { inspect, isDeepStrictEqual } from "node:util";
import { runInNewContext, runInThisContext } from "node:vm";
import {
  assert,
  assertEquals,
  assertLess,
  assertNotEquals,
  assertStrictEquals,
  assertThrows,
} from "@std/assert";
import fc from "fast-check";
import { canonicalize as jcs } from "npm:deno-std@1.4.0/json/canonicalize.js";
import { UnhashableArgumentError } from "../../src/base/errors.ts";
import {
  canonicalArguments,
  canonicalize,
  canonicalValue,
  hashKey,
} from "../../src/encoding/canonical.ts";
import { copyArguments } from "../../src/encoding/copy.ts";
import { digest, webDigest } from "../../src/encoding/digest.ts";
import { keyText } from "../../src/encoding/key_text.ts";
import { argument } from "../support/anything.ts";
import { AWKWARD_VALUES } from "../support/awkward_values.ts";
import { timeOf } from "../support/event_loop.ts";

const copied = (...given: Parameters<typeof copyArguments>) => copyArguments(...given).args;

const SEED = 20250101;

const canonicalJson: (value: unknown) => string = jcs;

/** The text of one argument, without the brackets of the argument list. */
function textOf(value: unknown): string {
  return canonicalize([value]).slice(1, -1);
}

function refusal(args: readonly unknown[]): UnhashableArgumentError {
  return assertThrows(() => canonicalize(args), UnhashableArgumentError);
}

function deep(levels: number, wrap: (inner: unknown) => unknown): unknown {
  let value: unknown = 1;
  for (let level = 0; level < levels; level++) value = wrap(value);
  return value;
}

interface Vector {
  readonly name: string;
  readonly json?: readonly unknown[];
  readonly canonical: string;
  readonly sha256: string;
}

const VECTORS: readonly Vector[] = JSON.parse(
  readFileSync(new URL("../fixtures/keys.json", import.meta.url), "utf8"),
);

test("hashKey() gives the keys of the golden vectors", async () => {
  const made = new Map(AWKWARD_VALUES.map(({ name, make }) => [name, make]));
  let checked = 0;
  for (const { name, json, canonical, sha256 } of VECTORS) {
    const make = made.get(name);
    // The one class that a supported runtime may lack.
    if (name === "Float16Array" && make === undefined) continue;
    if (json === undefined) assert(make !== undefined, `no value ${name}`);
    const args = json ?? [make?.()];
    assertEquals(canonicalize(args), canonical, name);
    assertEquals(await hashKey(args), sha256, name);
    assertEquals(await webDigest(canonical), sha256, name);
    checked++;
  }
  assert(checked > 130, `${checked} vectors`);
});

test("canonicalize() writes the number samples of RFC 8785, appendix B", () => {
  const samples: readonly (readonly [string, string])[] = [
    ["0000000000000000", "0"],
    ["8000000000000000", "0"],
    ["0000000000000001", "5e-324"],
    ["8000000000000001", "-5e-324"],
    ["7fefffffffffffff", "1.7976931348623157e+308"],
    ["ffefffffffffffff", "-1.7976931348623157e+308"],
    ["4340000000000000", "9007199254740992"],
    ["c340000000000000", "-9007199254740992"],
    ["4430000000000000", "295147905179352830000"],
    ["44b52d02c7e14af5", "9.999999999999997e+22"],
    ["44b52d02c7e14af6", "1e+23"],
    ["44b52d02c7e14af7", "1.0000000000000001e+23"],
    ["444b1ae4d6e2ef4e", "999999999999999700000"],
    ["444b1ae4d6e2ef4f", "999999999999999900000"],
    ["444b1ae4d6e2ef50", "1e+21"],
    ["3eb0c6f7a0b5ed8c", "9.999999999999997e-7"],
    ["3eb0c6f7a0b5ed8d", "0.000001"],
    ["41b3de4355555553", "333333333.3333332"],
    ["41b3de4355555554", "333333333.33333325"],
    ["41b3de4355555555", "333333333.3333333"],
    ["41b3de4355555556", "333333333.3333334"],
    ["41b3de4355555557", "333333333.33333343"],
    ["becbf647612f3696", "-0.0000033333333333333333"],
    ["43143ff3c1cb0959", "1424953923781206.2"],
  ];
  const view = new DataView(new ArrayBuffer(8));
  for (const [bits, text] of samples) {
    view.setBigUint64(0, BigInt(`0x${bits}`));
    const value = view.getFloat64(0);
    assertEquals(textOf(value), text, bits);
    assertEquals(textOf([{ value }]), `[{"value":${text}}]`, bits);
  }
});

test("canonicalize() writes the sample document of RFC 8785, section 3.2", () => {
  const value: unknown = JSON.parse(
    '{"numbers":[333333333.33333329,1E30,4.50,2e-3,0.000000000000000000000000001],' +
      '"string":"\\u20ac$\\u000F\\u000aA\'\\u0042\\u0022\\u005c\\\\\\"\\/","literals":[null,true,false]}',
  );
  assertEquals(
    textOf(value),
    '{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],' +
      '"string":"€$\\u000f\\nA\'B\\"\\\\\\\\\\"/"}',
  );
});

test("canonicalize() sorts names as the sample of RFC 8785, section 3.2.3", () => {
  const value: unknown = JSON.parse(
    '{"\\u20ac":"Euro Sign","\\r":"Carriage Return","\\ufb33":"Hebrew Letter Dalet With Dagesh",' +
      '"1":"One","\\ud83d\\ude00":"Emoji: Grinning Face","\\u0080":"Control",' +
      '"\\u00f6":"Latin Small Letter O With Diaeresis"}',
  );
  assertEquals(
    [...textOf(value).matchAll(/:"([^"]+)"/g)].map((match) => match[1]),
    [
      "Carriage Return",
      "One",
      "Control",
      "Latin Small Letter O With Diaeresis",
      "Euro Sign",
      "Emoji: Grinning Face",
      "Hebrew Letter Dalet With Dagesh",
    ],
  );
});

/** JSON data whose text is well formed and that has no member `$`: the domain of RFC 8785. */
const jsonValue = fc
  .jsonValue({ maxDepth: 5, stringUnit: "binary" })
  .filter((value) => !JSON.stringify(value).includes('"$"'));

test("canonicalize() of JSON is what another implementation of RFC 8785 writes", () => {
  fc.assert(
    fc.property(
      fc.array(jsonValue, { maxLength: 4 }),
      (args) => assertEquals(canonicalize(args), canonicalJson(args)),
    ),
    { seed: SEED, numRuns: 2000 },
  );
});

/** The same data with the members of every object in the reverse order, never copied as JSON. */
function turned(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(turned);
  if (typeof value !== "object" || value === null) return value;
  const copy = Object.create(null);
  for (const [name, part] of Object.entries(value).reverse()) {
    Object.defineProperty(copy, name, {
      value: turned(part),
      enumerable: true,
    });
  }
  return copy;
}

test("canonicalize() does not depend on the order of members", () => {
  fc.assert(
    fc.property(
      fc.jsonValue({ maxDepth: 5, stringUnit: "binary" }),
      (value) => assertEquals(canonicalize([turned(value)]), canonicalize([value])),
    ),
    { seed: SEED, numRuns: 1000 },
  );
});

test("canonicalize() writes plain data beside other data as it writes it alone", () => {
  fc.assert(
    fc.property(
      fc.jsonValue({ maxDepth: 4, stringUnit: "binary" }),
      // The signal is absent, but keeps the whole argument from being written by the runtime.
      (value) =>
        assertEquals(
          canonicalize([{ value, signal: AbortSignal.abort() }]),
          `[{"value":${textOf(value)}}]`,
        ),
    ),
    { seed: SEED, numRuns: 1000 },
  );
});

test("canonicalize() of two arguments is equal exactly if the table says that they are", () => {
  let equal = 0;
  fc.assert(
    fc.property(
      fc.oneof(fc.tuple(argument, argument), argument.map((one) => [one, one] as const)),
      ([left, right]) => {
        const same = left.identity === right.identity;
        if (same) equal++;
        assertEquals(textOf(left.make()) === textOf(right.make()), same);
      },
    ),
    { seed: SEED, numRuns: 5000 },
  );
  assert(equal > 2000 && equal < 4500, `${equal} equal`);
});

test("canonicalize() of awkward values is equal exactly if their labels are", () => {
  const values = AWKWARD_VALUES.filter(({ key }) => key).map((value) => ({
    ...value,
    text: canonicalize([value.make()]),
    again: canonicalize([value.make()]),
  }));
  for (const left of values) {
    assertEquals(left.text, left.again, left.name);
    for (const right of values) {
      assertEquals(
        left.text === right.text,
        left.label === right.label,
        `${left.name} and ${right.name}`,
      );
    }
  }
});

/**
 * The names of the values on which §4 and `isDeepStrictEqual` differ: -0 is 0, absent members,
 * and what node:util compares and no key holds (the prototype of an object, a class of its own).
 */
const OTHERWISE: ReadonlySet<string> = new Set([
  "-0",
  "{} without prototype",
  "{} of a query parser",
  "{} with an undefined member",
  "an undefined $",
  "a signal in an array",
  "a signal as a member",
]);

test("the labels of the awkward values agree with node:util but for what §4 makes equal", () => {
  const values = AWKWARD_VALUES.filter(({ key }) => key);
  for (const left of values) {
    for (const right of values) {
      if (left === right) continue;
      if (OTHERWISE.has(left.name) || OTHERWISE.has(right.name)) continue;
      // Private members are invisible to node:util.
      if (/URLSearchParams|Headers|FormData/.test(left.name + right.name)) continue;
      if (/Amount$/.test(left.name) && /Amount$/.test(right.name)) continue;
      assertEquals(
        isDeepStrictEqual(left.make(), right.make()),
        left.label === right.label,
        `${left.name} and ${right.name}`,
      );
    }
  }
});

test("canonicalize() keeps type after type apart in any container", () => {
  const alike: readonly (readonly unknown[])[] = [
    [1, "1", 1n, [1], new Set([1]), new Map([[1, 1]]), { 0: 1 }],
    [true, "true", [true]],
    [null, "null", [null], [undefined], "undefined", {}],
    [new Date(0), new Date(0).toJSON(), 0, [0], { $: "Date", v: 0 }],
    [
      Uint8Array.of(1, 2),
      Buffer.from([1, 2]),
      [1, 2],
      Int8Array.of(1, 2),
      Uint8Array.of(1, 2).buffer,
      "AQI=",
    ],
    [{}, [], new Map(), new Set(), "", "{}", "[]"],
    [
      { $: "undefined" },
      { $: "Object", v: [["$", "undefined"]] },
      { $: { $: "undefined" } },
      '{"$":"undefined"}',
    ],
  ];
  const containers: readonly ((value: unknown) => unknown)[] = [
    (value) => value,
    (value) => [value],
    (value) => ({ a: value }),
    (value) => ({ $: value }),
    (value) => new Map([[value, 1]]),
    (value) => new Map([[1, value]]),
    (value) => new Set([value]),
  ];
  for (const values of alike) {
    for (const container of containers) {
      const texts = values.map((value) => canonicalize([container(value)]));
      assertEquals(new Set(texts).size, values.length, texts.join("\n"));
    }
  }
});

test("canonicalize() drops what is absent at the end and keeps its place elsewhere", () => {
  const { signal } = new AbortController();
  assertEquals(canonicalize([]), "[]");
  assertEquals(canonicalize([undefined, undefined]), "[]");
  assertEquals(canonicalize([1, undefined]), "[1]");
  assertEquals(canonicalize([1, signal]), "[1]");
  assertEquals(canonicalize([signal, 1]), '[{"$":"undefined"},1]');
  assertEquals(canonicalize([undefined, 1]), '[{"$":"undefined"},1]');
  assertEquals(canonicalize([1, { signal }]), "[1,{}]");
  assertNotEquals(canonicalize([1, null]), canonicalize([1]));
});

test("canonicalArguments() reports every AbortSignal once, of other classes too", () => {
  const signals: AbortSignal[] = [];
  const first = new AbortController().signal;
  const second = AbortSignal.timeout(1_000_000);
  const polyfill = new (class extends EventTarget {
    readonly aborted = false;
  })();
  const plain = { aborted: false, addEventListener() {}, removeEventListener() {} };
  const parts = [{ $: 1, "!": [first, , 1], list: [{ second }], polyfill }, { plain }];
  assertEquals(
    canonicalArguments([parts], signals),
    canonicalize([[{ $: 1, "!": [undefined, , 1], list: [{}] }, {}]]),
  );
  assertEquals(signals.length, 4);
  assertStrictEquals(signals[0], first);
  assertStrictEquals(signals[1], second);
});

test("canonicalize() takes objects of another realm for what they are", () => {
  for (
    const code of [
      "[{ b: [1, , 2], a: {} }, []]",
      "({ b: [1, 'x', null], a: true })",
      "Object.assign(Object.create(null), { b: 1 })",
      "new Date(5)",
      "new Date(NaN)",
      "/a+/gi",
      "new Map([[{ a: 1 }, new Set([1n])], [new Date(1), 2]])",
      "new Set([[1], new Map()])",
      "Uint8Array.of(1, 2, 3)",
      "new Float64Array([0.5, NaN]).subarray(1)",
      "new BigUint64Array(2)",
      "new DataView(Uint8Array.of(1, 2, 3).buffer, 1)",
      "Uint8Array.of(1, 2, 3).buffer",
    ]
  ) {
    const foreign: unknown = runInNewContext(code);
    assertEquals(textOf(foreign), textOf(runInThisContext(code)), code);
    assertEquals(textOf(copied([foreign], undefined)[0]), textOf(foreign), code);
  }
  for (const code of ["new Error('x')", "Promise.resolve()", "new (class extends Map {})()"]) {
    refusal([runInNewContext(code)]);
  }
});

test("canonicalize() takes the objects that parsers of queries and cookies make", () => {
  const Query = function (): void {};
  Query.prototype = Object.freeze(Object.create(null));
  for (const made of [Object.create(null), Reflect.construct(Query, [])]) {
    assertEquals(
      textOf(Object.assign(made, { b: "1", a: [made === null] })),
      '{"a":[false],"b":"1"}',
    );
  }
  refusal([Object.create({ inherited: 1 })]);
  refusal([Object.create(Object.assign(Object.create(null), { inherited: 1 }))]);
});

test("canonicalize() refuses texts past 256 MiB, and writes shared parts once", () => {
  let part: unknown = { leaf: 1 };
  for (let level = 0; level < 16; level++) part = { left: part, right: part };
  assertEquals(canonicalize([part]).length, 1_834_992);
  for (let level = 0; level < 60; level++) part = { left: part, right: [part] };
  const long = "x".repeat(2 ** 27);
  const big = { toJSON: () => `${long}${long}x` };
  for (const value of [part, [part, undefined], new Map([[part, 1]]), [long, long], big]) {
    const milliseconds = timeOf(() => {
      assert(refusal([value]).message.includes("longer than 256 MiB"));
    });
    assertLess(milliseconds, 5000);
  }
});

test("canonicalize() distinguishes classes with equal toJSON(), and names the anonymous", () => {
  class Money {
    toJSON(): unknown {
      return { a: 1 };
    }
  }
  class Salary extends Money {}
  class Named {
    static name = 5;
    toJSON(): unknown {
      return { a: 1 };
    }
  }
  assertEquals(textOf(new Money()), '{"$":"toJSON","v":["Money",{"a":1}]}');
  assertEquals(textOf(new Salary()), '{"$":"toJSON","v":["Salary",{"a":1}]}');
  assertEquals(textOf(new Named()), '{"$":"toJSON","v":["anonymous",{"a":1}]}');
  assertEquals(
    textOf({ b: 1, toJSON: () => undefined }),
    '{"$":"toJSON","v":["Object",{"$":"undefined"}]}',
  );
});

test("canonicalize() reads a RegExp with whatever stands in its lastIndex", () => {
  const texts = [0, 1, "1", undefined, NaN].map((lastIndex) =>
    textOf(Object.assign(/a/g, { lastIndex }))
  );
  assertEquals(new Set(texts).size, texts.length);
  const forged = Object.defineProperty(/a/, "flags", { value: '",0]},"x' });
  JSON.parse(textOf(forged));
});

class Client {
  readonly #secret = 1;
  get secret(): number {
    return this.#secret;
  }
}

test("canonicalize() refuses what has no identity, and names the place", () => {
  const refused: readonly (readonly [unknown, RegExp])[] = [
    [() => {}, /a function/],
    [class {}, /a function/],
    [Symbol("x"), /a symbol/],
    [Symbol.iterator, /a symbol/],
    [Promise.resolve(), /a Promise/],
    [new Blob(["x"]), /a Blob/],
    [new File(["x"], "x"), /a (File|Blob)/],
    [new Request("https://example.com"), /a Request/],
    [new Response("x"), /a Response/],
    [new ReadableStream(), /a ReadableStream/],
    [new WritableStream(), /a WritableStream/],
    [new TransformStream(), /a TransformStream/],
    [new SharedArrayBuffer(1), /a SharedArrayBuffer/],
    [new WeakMap(), /a WeakMap/],
    [new WeakSet(), /a WeakSet/],
    [new WeakRef({}), /a WeakRef/],
    [new Client(), /an instance of Client without toJSON/],
    [new (class {})(), /an instance of anonymous without toJSON/],
    [new (class Ranked extends Map {})(), /an instance of Ranked, a class derived from/],
    [new (class Later extends Date {})(0), /an instance of Later, a class derived from/],
    [new (class Vector extends Array {})(), /an instance of Vector, a class derived from/],
    [new (class Bytes extends Uint8Array {})(1), /an instance of Bytes, a class derived from/],
    [new (class Mine extends ArrayBuffer {})(1), /an instance of Mine, a class derived from/],
    [{ "~standard": {}, toJSON: () => 1, __proto__: { a: 1 } }, /a schema/],
    [Reflect.get(JSON, "rawJSON")?.("1") ?? Symbol(), /raw JSON|a symbol/],
    [Object.create({ inherited: 1 }), /an instance of Object without/],
    [new Error("x"), /an instance of Error without/],
    [Object(1), /an instance of Number without/],
    [new AsyncLocalStorage(), /an instance of/],
  ];
  for (const [value, message] of refused) {
    const error = refusal(["a", { client: value }]);
    assertEquals(error.path, "args[1].client", error.message);
    assert(message.test(error.message), error.message);
    assert(error.message.includes("hashFunc"), error.message);
  }
});

test("canonicalize() names the place of a refusal in every container", () => {
  const bad = (): void => {};
  const paths: readonly (readonly [readonly unknown[], string])[] = [
    [[bad], "args[0]"],
    [[1, bad], "args[1]"],
    [[{ client: bad }], "args[0].client"],
    [[1, { b: 1, "odd name": bad, a: 1 }], "args[1][member 2]"],
    [[{ "": bad }], "args[0][member 1]"],
    [[{ [`a${"b".repeat(40)}`]: [bad] }], "args[0][member 1][0]"],
    [[{ [`a${"b".repeat(39)}`]: bad }], `args[0].a${"b".repeat(39)}`],
    [[{ naïve: { $x: bad } }], "args[0].naïve.$x"],
    [[{ $: 1, a: { b: bad } }], "args[0].a.b"],
    [[[1, [2, bad]]], "args[0][1][1]"],
    [[[1, , bad]], "args[0][2]"],
    [
      [
        new Map<unknown, unknown>([
          [1, 1],
          ["k", bad],
        ]),
      ],
      "args[0][1]",
    ],
    [
      [
        new Map<unknown, unknown>([
          [1, 1],
          [{ k: bad }, 1],
        ]),
      ],
      "args[0][1].k",
    ],
    [[new Set([1, [bad]])], "args[0][1][0]"],
    [[{ a: { toJSON: () => ({ b: bad }) } }], "args[0].a.toJSON().b"],
    [[{ a: [1, { b: 1 }], z: bad }], "args[0].z"],
  ];
  for (const [args, path] of paths) {
    const error = refusal(args);
    assertEquals(error.path, path);
    assert(error.message.includes(`${path} is a function`), error.message);
  }
});

test("canonicalValue() names where a value comes from and the way out that works there", () => {
  for (
    const [value, root, path, wayOut] of [
      [{ a: () => {} }, "hashFunc(…)", "hashFunc(…).a", "return a string from hashFunc"],
      [Promise.resolve(1), "hashFunc(…)", "hashFunc(…)", "return a string from hashFunc"],
      [undefined, "hashFunc(…)", "hashFunc(…)", "return a string from hashFunc"],
      [undefined, "this(…)", "this(…)", "from the option this"],
      [AbortSignal.abort(), "this(…)", "this(…)", "from the option this"],
      [Symbol(), "version", "version", "a string or a number as version"],
    ] as const
  ) {
    const error = assertThrows(() => canonicalValue(value, root), UnhashableArgumentError);
    assertEquals(error.path, path);
    assert(error.message.includes(wayOut), error.message);
  }
});

test("canonicalize() refuses cycles through every container", () => {
  const object: Record<string, unknown> = { a: 1 };
  object["self"] = { object };
  const array: unknown[] = [1];
  array.push([array]);
  const map = new Map<unknown, unknown>();
  map.set("k", map);
  const keyed = new Map<unknown, unknown>();
  keyed.set(keyed, 1);
  const set = new Set<unknown>();
  set.add([set]);
  const speaking: { toJSON: () => unknown } = { toJSON: () => ({ speaking }) };
  const cycles: readonly (readonly [unknown, string])[] = [
    [object, "args[0].self.object"],
    [array, "args[0][1][0]"],
    [map, "args[0][0]"],
    [keyed, "args[0][0]"],
    [set, "args[0][0][0]"],
    [speaking, "args[0].toJSON().speaking"],
  ];
  for (const [value, path] of cycles) {
    const error = refusal([value]);
    assertEquals(error.path, path);
    assert(error.message.includes("a cycle"), error.message);
  }
  const args: unknown[] = [];
  args.push(args);
  assert(refusal(args).message.includes("a cycle"));
});

test("canonicalize() takes 999 objects inside each other and refuses the next", () => {
  const wraps: readonly ((inner: unknown) => unknown)[] = [
    (inner) => ({ inner }),
    (inner) => [inner],
    (inner) => [inner, , 1],
    (inner) => ({ inner, $: 1 }),
    (inner) => new Map([[inner, 1]]),
    (inner) => new Set([inner]),
    (inner) => ({ toJSON: () => inner }),
  ];
  for (const wrap of wraps) {
    canonicalize([deep(999, wrap)]);
    const error = refusal([deep(1000, wrap)]);
    assert(error.message.includes("more than 1000 objects"), error.message);
    assertLess(error.path.length, 400);
  }
  const endless = (): unknown => ({ toJSON: endless });
  assert(refusal([endless()]).message.includes("more than 1000 objects"));
});

test("canonicalize() refuses 100,000 levels in a moment", () => {
  const milliseconds = timeOf(() => {
    refusal([deep(100_000, (inner) => ({ inner }))]);
    refusal([deep(100_000, (inner) => [inner])]);
    refusal([deep(100_000, (inner) => new Map([[1, inner]]))]);
  });
  assertLess(milliseconds, 2000);
});

test("canonicalize() takes time in proportion to the data, however it is nested", () => {
  const milliseconds = timeOf(() => {
    // Each level once wrote the next one twice: 2⁵⁰ times in all.
    canonicalize([deep(50, (inner) => [inner, ,])]);
    canonicalize([deep(50, (inner) => ({ "!": inner, $: 1 }))]);
    canonicalize([deep(50, (inner) => ({ a: inner, "\ud800": 1 }))]);
    canonicalize([deep(50, (inner) => ({ a: [inner, undefined], b: 1n }))]);
  });
  assertLess(milliseconds, 2000);
});

test("canonicalize() of a billion holes is written in a moment", () => {
  const milliseconds = timeOf(() => {
    const sparse: unknown[] = [1, 2];
    sparse.length = 1_000_000_000;
    sparse[999_999_998] = "end";
    assertEquals(textOf(sparse), '[1,2,{"$":"hole","v":999999996},"end",{"$":"hole","v":1}]');
  });
  assertLess(milliseconds, 500);
});

test("canonicalize() refuses members that no key holds, and takes hidden ones as absent", () => {
  const symbol = Symbol("gt");
  const bytes = (): object[] => [new Uint8Array(3), new Float64Array(200), Buffer.alloc(9999)];
  const builtIn = (): object[] => [new Map(), new Set([1]), new Date(0), /a/, new ArrayBuffer(1)];
  for (
    const make of [
      () => [[1, 2], [1, , 3], []],
      bytes,
      builtIn,
      () => [new DataView(new ArrayBuffer(1))],
    ]
  ) {
    for (let index = 0; index < make().length; index++) {
      const made = (): object => make()[index] ?? {};
      const named = refusal([Object.assign(made(), { tz: "UTC" })]);
      assertEquals(named.path, "args[0].tz");
      assert(named.message.includes("a named member of a"), named.message);
      const marked = refusal([Object.assign(made(), { [symbol]: 1 })]);
      assertEquals(marked.path, "args[0]");
      assert(marked.message.includes("a symbol for a name"), marked.message);
      for (const name of ["tz", symbol]) {
        assertEquals(textOf(Object.defineProperty(made(), name, { value: 1 })), textOf(made()));
      }
    }
  }
  for (const value of [{ [symbol]: 65 }, { a: 1, [symbol]: 65 }, [{ a: 1n, [symbol]: 65 }]]) {
    assert(refusal([{ age: value }]).message.includes("a symbol for a name"));
  }
  assertEquals(refusal([/b/.exec("abc")]).path, "args[0].index");
  const endless = new Proxy([], {
    get: (list, name) => name === "length" ? 2 ** 53 : Reflect.get(list, name),
  });
  assert(refusal([endless]).message.includes("an impossible length"));
  for (
    const value of [new URL("http://a/"), new URLSearchParams(), new Headers(), new FormData()]
  ) {
    assertEquals(refusal([Object.assign(value, { extra: 1 })]).path, "args[0].extra");
  }
  const hidden = Object.defineProperty({ a: 1 }, "b", { value: 2 });
  assertEquals(textOf(Object.defineProperty(hidden, symbol, { value: 2 })), '{"a":1}');
});

test("canonicalize() names the place of code that throws, and nothing of what it says", () => {
  const secret = new Error("secret-4711");
  const throwing = {
    a: 1,
    get b(): unknown {
      throw secret;
    },
  };
  const { proxy, revoke } = Proxy.revocable<object>({}, {});
  revoke();
  const list = Proxy.revocable<object>([], {});
  list.revoke();
  const failing: readonly (readonly [unknown, string])[] = [
    [{ deep: [throwing] }, "args[1].deep[0].b"],
    [{ proxy }, "args[1].proxy"],
    [{ list: [list.proxy] }, "args[1].list[0]"],
    [
      {
        toJSON: () => {
          throw secret;
        },
      },
      "args[1].toJSON()",
    ],
    [
      new Proxy(
        {},
        {
          ownKeys: () => {
            throw secret;
          },
        },
      ),
      "args[1]",
    ],
    [{ date: Object.create(Date.prototype) }, "args[1].date.toJSON()"],
    [{ map: Object.create(Map.prototype) }, "args[1].map"],
  ];
  for (const [value, path] of failing) {
    const error = refusal(["argument-content", value]);
    assertEquals(error.path, path);
    assert(!/secret-4711|argument-content/.test(inspect(error)), error.message);
  }
});

test("canonicalize() reads a plain proxy like its target, and each member once", () => {
  const target = { b: [1, { c: "x" }], a: null };
  assertEquals(textOf(new Proxy(target, {})), textOf(target));
  let reads = 0;
  const counting = {
    get a(): number {
      return ++reads;
    },
  };
  assertEquals(textOf(counting), '{"a":1}');
  assertEquals(reads, 1);
});

test("canonicalize() neither calls a changed prototype's toJSON unseen nor imitates it", () => {
  const hidden = Object.defineProperty({ a: 1 }, "toJSON", { value: () => 7 });
  assertEquals(textOf(hidden), '{"$":"toJSON","v":["Object",7]}');
  const list = Object.defineProperty([1], "toJSON", { value: () => 7 });
  assertEquals(textOf([list]), "[[1]]");
});

test("canonicalize() changes nothing that it is given", () => {
  const frozen = Object.freeze({
    b: Object.freeze([2, Object.freeze({ z: 1, a: 2 })]),
    a: 1,
  });
  assertEquals(textOf(frozen), '{"a":1,"b":[2,{"a":2,"z":1}]}');
  assertEquals(Object.keys(frozen), ["b", "a"]);
});

test("canonicalize() keeps writing right when it has seen thousands of shapes", () => {
  for (let index = 0; index < 5000; index++) {
    const names = [`n${index % 700}`, `b${index}`, "a", "$".repeat(index % 3)];
    const value = Object.fromEntries(names.map((name) => [name, index]));
    assertEquals(textOf({ value, signal: AbortSignal.abort() }), `{"value":${textOf(value)}}`);
  }
});

test("digest() and webDigest() agree on every canonical text", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.string({
        unit: fc.integer({ min: 0, max: 0xffff }).map((unit) => String.fromCharCode(unit)),
      }),
      async (text) => {
        const canonical = canonicalize([text]);
        assert(canonical.isWellFormed());
        assertEquals(await digest(canonical), await webDigest(canonical));
      },
    ),
    { seed: SEED, numRuns: 300 },
  );
  assertEquals(await webDigest("abc"), await digest("abc"));
  assertEquals(
    await webDigest("abc"),
    "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
  );
});

test("keyText() of two different compositions is never the same", () => {
  const text = fc.oneof(
    fc.constantFrom(
      "1",
      '"a"',
      '{"args":[1]}',
      '{"$":"Object","v":[["this",1]]}',
      '"\\",\\"version\\":1"',
      "[]",
      "{}",
    ),
    fc.jsonValue({ maxDepth: 2 }).map((value) => textOf(value)),
  );
  const parts = fc.record({
    text: fc.oneof(
      text,
      text.map((part) => `[${part}]`),
    ),
    custom: fc.boolean(),
    self: fc.option(text, { nil: undefined }),
    version: fc.option(text, { nil: undefined }),
  });
  fc.assert(
    fc.property(parts, parts, (left, right) => {
      // A text alone does not show whether hashFunc made it: a function has one or has none.
      const alone = left.self === undefined &&
        left.version === undefined &&
        right.self === undefined &&
        right.version === undefined;
      fc.pre(!alone);
      // An object from hashFunc that spells out a composition has the key of that composition.
      fc.pre(!left.custom || left.self !== undefined || left.version !== undefined);
      fc.pre(!right.custom || right.self !== undefined || right.version !== undefined);
      const plain = (part: typeof left): boolean =>
        part.self !== undefined || part.version !== undefined || part.text.startsWith("[");
      fc.pre(plain(left) && plain(right));
      assertEquals(keyText(left) === keyText(right), isDeepStrictEqual({ ...left }, { ...right }));
    }),
    { seed: SEED, numRuns: 2000 },
  );
  const whole = keyText({
    text: "[1]",
    custom: false,
    self: '"s"',
    version: "2",
  });
  assertEquals(whole, '{"args":[1],"this":"s","version":2}');
});

test("canonicalize() takes the derived Date that fake timers put in the place of the real one", () => {
  const Real = globalThis.Date;
  const text = textOf(new Real(0));
  Reflect.set(globalThis, "Date", class ClockDate extends Real {});
  try {
    assertEquals(textOf(new Date(0)), text);
  } finally {
    globalThis.Date = Real;
  }
});
