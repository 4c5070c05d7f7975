/** Values that keys and entries get wrong most easily, made anew at each call of `make`. */
import { Buffer } from "node:buffer";

export interface AwkwardValue {
  readonly name: string;
  /** Values with one label are the same argument by §4 of the design; all others differ. */
  readonly label: string;
  readonly make: () => unknown;
  /** Whether it can be an argument. */
  readonly key: boolean;
  /** Whether it can be a stored value. */
  readonly value: boolean;
}

/** Keeps its number in a private field, and gives it on request. */
export class Amount {
  readonly #cents: number;
  constructor(cents: number) {
    this.#cents = cents;
  }
  toJSON(): { cents: number } {
    return { cents: this.#cents };
  }
}

/** Gives the same number as `Amount`, and is another class. */
export class Weight {
  readonly #grams: number;
  constructor(grams: number) {
    this.#grams = grams;
  }
  toJSON(): { cents: number } {
    return { cents: this.#grams };
  }
}

interface Options {
  readonly label?: string;
  readonly key?: boolean;
  readonly value?: boolean;
}

function awkward(
  name: string,
  make: () => unknown,
  { label = name, key = true, value = true }: Options = {},
): AwkwardValue {
  return { name, label, make, key, value };
}

function holes(length: number, members: Readonly<Record<number, unknown>>) {
  const array: unknown[] = [];
  array.length = length;
  return Object.assign(array, members);
}

function ownProto(value: unknown): object {
  return Object.defineProperty({}, "__proto__", {
    value,
    enumerable: true,
    writable: true,
    configurable: true,
  });
}

function withLastIndex(pattern: RegExp, lastIndex: number): RegExp {
  pattern.lastIndex = lastIndex;
  return pattern;
}

function form(pairs: readonly (readonly [string, string])[]): FormData {
  const data = new FormData();
  for (const [name, value] of pairs) data.append(name, value);
  return data;
}

const BYTES = [0, 1, 127, 128, 200, 255, 10, 13];

function buffer(): ArrayBuffer {
  return Uint8Array.from(BYTES).buffer;
}

type ViewClass = new (buffer: ArrayBuffer, byteOffset?: number, length?: number) => ArrayBufferView;

/** Every class of views that the runtime has; `Float16Array` is younger than the rest. */
export const VIEW_CLASSES: readonly (readonly [string, ViewClass])[] = [
  ["Int8Array", Int8Array],
  ["Uint8Array", Uint8Array],
  ["Uint8ClampedArray", Uint8ClampedArray],
  ["Int16Array", Int16Array],
  ["Uint16Array", Uint16Array],
  ["Int32Array", Int32Array],
  ["Uint32Array", Uint32Array],
  ["Float32Array", Float32Array],
  ["Float64Array", Float64Array],
  ["BigInt64Array", BigInt64Array],
  ["BigUint64Array", BigUint64Array],
  ["DataView", DataView],
  ...(typeof Float16Array === "function" ? [["Float16Array", Float16Array] as const] : []),
];

function cycle(): object {
  const loop: Record<string, unknown> = { name: "loop" };
  loop["self"] = loop;
  return loop;
}

function shared(): object {
  const part = { part: 1 };
  return { left: part, right: part };
}

export const AWKWARD_VALUES: readonly AwkwardValue[] = [
  // Scalars that look alike.
  awkward("undefined in an array", () => [undefined]),
  awkward("null", () => null),
  awkward("the text null", () => "null"),
  awkward("the text undefined", () => "undefined"),
  awkward("true", () => true),
  awkward("false", () => false),
  awkward("the text true", () => "true"),
  awkward("0", () => 0),
  awkward("-0", () => -0, { label: "0" }),
  awkward("the text 0", () => "0"),
  awkward("the text -0", () => "-0"),
  awkward("1", () => 1),
  awkward("1.0", () => 1.0, { label: "1" }),
  awkward("the text 1", () => "1"),
  awkward("bigint 1", () => 1n),
  awkward("bigint 0", () => 0n),
  awkward("bigint -1", () => -1n),
  awkward("bigint of 200 bits", () => -(2n ** 200n) + 1n),
  awkward("the text 1n", () => "1n"),
  awkward("NaN", () => NaN),
  awkward("the text NaN", () => "NaN"),
  awkward("Infinity", () => Infinity),
  awkward("-Infinity", () => -Infinity),
  awkward("the least double", () => 5e-324),
  awkward("the greatest double", () => 1.7976931348623157e308),
  awkward("2^53", () => 2 ** 53),
  awkward("2^53 - 1", () => 2 ** 53 - 1),
  awkward("0.1 + 0.2", () => 0.1 + 0.2),
  awkward("0.3", () => 0.3),
  awkward("1e21", () => 1e21),
  awkward("the text 1e+21", () => "1e+21"),
  // Text.
  awkward("empty text", () => ""),
  awkward("a space", () => " "),
  awkward("NUL", () => "\0"),
  awkward("controls", () => "\u0001\b\t\n\f\r\u001f\u007f"),
  awkward("quotes", () => "\"\\/'"),
  awkward("line separators", () => "\u2028\u2029"),
  awkward("composed é", () => "\u00e9"),
  awkward("decomposed é", () => "e\u0301"),
  awkward("an emoji", () => "😀"),
  awkward("its high surrogate", () => "\ud83d"),
  awkward("its low surrogate", () => "\ude00"),
  awkward("its surrogates turned", () => "\ude00\ud83d"),
  awkward("the replacement character", () => "\ufffd"),
  awkward("the escape of a surrogate", () => "\\ud83d"),
  awkward("a long text", () => "long text ".repeat(50)),
  awkward("a long text with an escape", () => `${"x".repeat(100)}\n`),
  // Containers that look alike.
  awkward("{}", () => ({})),
  awkward("{} without prototype", () => Object.create(null), { label: "{}" }),
  awkward("{} of a query parser", () => Object.create(Object.create(null)), { label: "{}" }),
  awkward("{} with an undefined member", () => ({ a: undefined }), {
    label: "{}",
  }),
  awkward("[]", () => []),
  awkward("[[]]", () => [[]]),
  awkward("[null]", () => [null]),
  awkward("one hole", () => holes(1, {})),
  awkward("two holes", () => holes(2, {})),
  awkward("two undefined", () => [undefined, undefined]),
  awkward("a hole, then undefined", () => holes(2, { 1: undefined })),
  awkward("undefined, then a hole", () => holes(2, { 0: undefined })),
  awkward("holes around 1", () => holes(5, { 2: 1 })),
  awkward("a million holes", () => holes(1_000_000, { 500_000: "middle" })),
  awkward("[1]", () => [1]),
  awkward("[the text 1]", () => ["1"]),
  awkward("{0: 1}", () => ({ 0: 1 })),
  awkward("new Set()", () => new Set()),
  awkward("new Map()", () => new Map()),
  awkward("new Set([1])", () => new Set([1])),
  awkward("new Set([the text 1])", () => new Set(["1"])),
  awkward("new Set([1, 2])", () => new Set([1, 2])),
  awkward("new Set([2, 1])", () => new Set([2, 1]), {
    label: "new Set([1, 2])",
  }),
  awkward("[1, 2]", () => [1, 2]),
  awkward("[2, 1]", () => [2, 1]),
  awkward("new Map([[1, 2]])", () => new Map([[1, 2]])),
  awkward("new Map([[2, 1]])", () => new Map([[2, 1]])),
  awkward("[[1, 2]]", () => [[1, 2]]),
  awkward("new Set([[1, 2]])", () => new Set([[1, 2]])),
  awkward(
    "a map of a and b",
    () =>
      new Map([
        ["a", 1],
        ["b", 2],
      ]),
  ),
  awkward(
    "a map of b and a",
    () =>
      new Map([
        ["b", 2],
        ["a", 1],
      ]),
    {
      label: "a map of a and b",
    },
  ),
  awkward("{a: 1, b: 2}", () => ({ a: 1, b: 2 })),
  awkward("{b: 2, a: 1}", () => ({ b: 2, a: 1 }), { label: "{a: 1, b: 2}" }),
  awkward("{a: 2, b: 1}", () => ({ a: 2, b: 1 })),
  awkward(
    "a map of collections",
    () =>
      new Map<unknown, unknown>([
        [new Set([1n]), [NaN]],
        [{ k: 1 }, -1],
      ]),
  ),
  awkward("a set of equal objects", () => new Set([{ a: 1 }, { a: 1 }])),
  awkward("a set of one object", () => new Set([{ a: 1 }])),
  awkward("index names", () => ({ 10: "ten", 9: "nine", "01": "one", a: 0 })),
  awkward("own __proto__", () => ownProto(1)),
  awkward("own __proto__ with an object", () => ownProto({ a: 1 })),
  awkward("constructor and prototype", () => ({
    constructor: 1,
    prototype: 2,
    hasOwnProperty: 3,
  })),
  awkward("a member length", () => ({ length: 1, 0: 1 })),
  awkward("a member toJSON", () => ({ toJSON: "text" })),
  awkward("an empty name", () => ({ "": 1 })),
  awkward("names with a lone surrogate", () => ({ "\ud800": 1, a: 2 })),
  awkward("another lone surrogate", () => ({ "\ud801": 1, a: 2 })),
  awkward("nested 40 deep", () => {
    let value: unknown = 1;
    for (let level = 0; level < 40; level++) value = [{ level: value }];
    return value;
  }),
  awkward("nested 100 deep", () => {
    let value: unknown = 1;
    for (let level = 0; level < 100; level++) value = { level: value };
    return value;
  }),
  // Imitations of a tag.
  awkward("an imitated Date", () => ({ $: "Date", v: 0 })),
  awkward("an imitated undefined", () => ({ $: "undefined" })),
  awkward("an imitated bigint", () => ({ $: "bigint", v: "1" })),
  awkward("an imitated Object", () => ({
    $: "Object",
    v: [
      ["$", "Date"],
      ["v", 0],
    ],
  })),
  awkward("an imitated flat Object", () => ({
    $: "Object",
    v: ["$", "Date", "v", 0],
  })),
  awkward("a nested imitation", () => ({
    $: { $: "Date", v: { $: "Date", v: 0 } },
    v: [{ $: "ref", v: 0 }],
  })),
  awkward("an undefined $", () => ({ $: undefined, a: 1 })),
  awkward("{a: 1}", () => ({ a: 1 }), { label: "an undefined $" }),
  awkward("a name before $", () => ({ $: 1, "!": { $: 2 } })),
  awkward("the text of a tag", () => '{"$":"undefined"}'),
  // Dates and the like.
  awkward("a Date", () => new Date(0)),
  awkward("its ISO text", () => new Date(0).toJSON()),
  awkward("its milliseconds in an array", () => [0]),
  awkward("a Date before the epoch", () => new Date(-1)),
  awkward("an invalid Date", () => new Date(NaN)),
  awkward("a RegExp", () => /a/),
  awkward("a RegExp with a flag", () => /a/g),
  awkward("a RegExp with flags", () => /[\u{1f600}/"]+/giu),
  awkward("a RegExp with lastIndex", () => withLastIndex(/a/g, 3)),
  awkward("the text of a RegExp", () => "/a/"),
  awkward("an empty RegExp", () => new RegExp("")),
  awkward("a URL", () => new URL("https://example.com/a?b=c#d")),
  awkward("its text", () => "https://example.com/a?b=c#d"),
  // Types that browsers and servers exchange.
  awkward("URLSearchParams", () => new URLSearchParams("b=1&a=%20&b="), { value: false }),
  awkward("URLSearchParams in another order", () => new URLSearchParams("a=%20&b=1&b="), {
    value: false,
  }),
  awkward("empty URLSearchParams", () => new URLSearchParams(), { value: false }),
  awkward("Headers", () => new Headers([["B", "1"], ["a", "2"], ["a", "3"]]), { value: false }),
  awkward("Headers in another order", () => new Headers([["a", "2"], ["b", "1"], ["a", "3"]]), {
    label: "Headers",
    value: false,
  }),
  awkward("Headers with an empty value", () => new Headers([["a", ""], ["a", "3"]]), {
    value: false,
  }),
  awkward("Headers with one value", () => new Headers([["a", "3"]]), { value: false }),
  awkward("empty Headers", () => new Headers(), { value: false }),
  awkward("a FormData", () => form([["b", "1"], ["a", ""], ["b", "\n"]]), { value: false }),
  awkward("an empty FormData", () => form([]), { value: false }),
  awkward("its pairs", () => [["b", "1"], ["a", ""], ["b", "\n"]]),
  // Bytes.
  ...VIEW_CLASSES.map(([name, View]) => awkward(name, () => new View(buffer()))),
  awkward(
    "Uint8Array with an offset",
    () => {
      const bytes = new Uint8Array(BYTES.length + 5);
      bytes.set(BYTES, 3);
      return bytes.subarray(3, 3 + BYTES.length);
    },
    { label: "Uint8Array" },
  ),
  awkward("a Buffer", () => Buffer.from(BYTES)),
  awkward("an ArrayBuffer", () => buffer()),
  awkward("an array of its bytes", () => [...BYTES]),
  awkward("an object of its bytes", () => ({ ...BYTES })),
  awkward("an empty Uint8Array", () => new Uint8Array(0)),
  awkward("an empty ArrayBuffer", () => new ArrayBuffer(0)),
  awkward("an empty Float64Array", () => new Float64Array(0)),
  // Long arrays of numbers.
  awkward("127 numbers", () => Array.from({ length: 127 }, (_, i) => i)),
  awkward("128 bytes", () => Array.from({ length: 128 }, (_, i) => i)),
  awkward("128 int16", () => Array.from({ length: 128 }, (_, i) => i * -256)),
  awkward("128 int32", () => Array.from({ length: 128 }, (_, i) => i * 16_000_000)),
  awkward("128 singles", () => Array.from({ length: 128 }, (_, i) => i / 4)),
  awkward("128 doubles", () => Array.from({ length: 128 }, (_, i) => i / 10)),
  awkward(
    "128 NaN",
    () => Array.from({ length: 128 }, (_, i) => (i % 2 === 0 ? NaN : -0)),
    // Differs from the other arrays; the -0 in it counts as 0.
  ),
  awkward("128 numbers and a text", () => [...Array.from({ length: 128 }, (_, i) => i), "end"]),
  // Classes that identify themselves.
  awkward("an Amount", () => new Amount(5), { value: false }),
  awkward("another Amount", () => new Amount(6), { value: false }),
  awkward("a Weight", () => new Weight(5), { value: false }),
  awkward("the JSON of an Amount", () => ({ cents: 5 })),
  awkward("an object with toJSON", () => ({ toJSON: () => 1 }), {
    value: false,
  }),
  // Values that count as absent.
  awkward("a signal in an array", () => [new AbortController().signal], {
    label: "undefined in an array",
    value: false,
  }),
  awkward("a signal as a member", () => ({ a: AbortSignal.abort() }), {
    label: "{}",
    value: false,
  }),
  // Shared parts: two equal ones are the same argument.
  awkward("a shared part", shared),
  awkward("two equal parts", () => ({ left: { part: 1 }, right: { part: 1 } }), {
    label: "a shared part",
  }),
  // Values that cannot be arguments.
  awkward("a cycle", cycle, { key: false }),
  awkward(
    "a cycle through an array",
    () => {
      const loop: unknown[] = [];
      loop.push(loop, [loop]);
      return loop;
    },
    { key: false },
  ),
  awkward(
    "a cycle through a Map",
    () => {
      const loop = new Map<unknown, unknown>();
      return loop.set(loop, { loop }).set("k", loop);
    },
    { key: false },
  ),
  awkward(
    "a cycle through a Set",
    () => {
      const loop = new Set<unknown>();
      return loop.add([loop]).add(loop);
    },
    { key: false },
  ),
  awkward(
    "a cycle through holes",
    () => {
      const loop = holes(3, {});
      loop[1] = loop;
      return loop;
    },
    { key: false },
  ),
  awkward(
    "a cycle through $",
    () => {
      const loop: Record<string, unknown> = { $: 1 };
      loop["self"] = loop;
      return loop;
    },
    { key: false },
  ),
  awkward(
    "a cycle through an Error",
    () => {
      const loop = new Error("loop");
      loop.stack = "Error: loop\n    at nowhere";
      loop.cause = { loop };
      return loop;
    },
    { key: false },
  ),
  awkward(
    "shared special parts",
    () => {
      const parts = [
        new Date(1),
        /a/,
        new URL("https://example.com/"),
        Uint8Array.from([1]),
        new Set([1]),
        Array.from({ length: 200 }, (_, i) => i),
      ];
      return { first: parts, second: [...parts], third: new Map([[1, parts]]) };
    },
    { key: false },
  ),
  awkward(
    "an Error",
    () => {
      const error = new RangeError("out of range", {
        cause: new TypeError("deeper", { cause: "text" }),
      });
      error.stack = "RangeError: out of range\n    at somewhere";
      if (error.cause instanceof Error) error.cause.stack = "TypeError: deeper";
      return Object.assign(error, { code: "E_RANGE", details: { at: [1] } });
    },
    { key: false },
  ),
  awkward(
    "an AggregateError",
    () => {
      const first = new Error("first");
      first.stack = "Error: first";
      const error = new AggregateError([first, undefined, 3n], "many");
      error.stack = "AggregateError: many";
      return error;
    },
    { key: false },
  ),
  awkward(
    "an Error without a message",
    () => {
      const error = new SyntaxError();
      error.stack = "SyntaxError";
      error.name = "Custom";
      return error;
    },
    { key: false },
  ),
  awkward("undefined", () => undefined, { key: false }),
];
