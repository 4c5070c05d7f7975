/** The checker of options: each rule, and the one formula of every refusal. */
import { test } from "node:test";
import { assertEquals, assertThrows } from "@std/assert";
import {
  abortSignal,
  array,
  boolean,
  check,
  count,
  finite,
  fn,
  number,
  object,
  oneOf,
  required,
  type Rule,
  text,
} from "../../src/base/check.ts";
import { duration, finiteDuration } from "../../src/base/duration.ts";

const signal = new AbortController().signal;
const call = (): void => {};
const polyfill = { aborted: false, addEventListener: call, removeEventListener: call };

/** Each rule, the words of its message, and values: those it takes, of another kind, out of range. */
const RULES: readonly [
  rule: Rule<unknown>,
  must: string,
  taken: readonly unknown[],
  ofAnotherKind: readonly unknown[],
  outOfRange: readonly unknown[],
][] = [
  [count(), "a positive integer", [1, 2 ** 53 - 1], ["1", null, 1n, {}, [1], true], [
    0,
    -1,
    1.5,
    NaN,
    Infinity,
    2 ** 53,
  ]],
  [count({ min: 0 }), "a non-negative integer", [0, 1], ["0"], [-1, 0.5, -Infinity]],
  [
    count({ min: 2, infinity: true }),
    "an integer of at least 2 or Infinity",
    [2, Infinity],
    ["2"],
    [1, -Infinity, NaN],
  ],
  [count({ min: 0, max: 9 }), "an integer from 0 to 9", [0, 9], [false], [-1, 10, Infinity]],
  [number(0), "a number of at least 0", [0, 0.5, Infinity], ["0", null], [-0.5, NaN]],
  [number(0, 1), "a number from 0 to 1", [0, 1], ["1"], [1.5, NaN]],
  [boolean, "a boolean", [true, false], [0, "true", null], []],
  [text, "a non-empty string", ["a"], ["", 1, null, ["a"]], []],
  [oneOf<"a" | false>("a", false), '"a" or false', ["a", false], ["b", true, 0, null], []],
  [fn, "a function", [call, class {}], [{}, "call", null], []],
  [abortSignal, "an AbortSignal", [signal, polyfill], [{}, true, null], []],
  [finite(1), "a finite number of at least 1", [1, 1e300], ["1"], [0.9, Infinity, NaN]],
  [object, "an object", [{}], [[], null, "a"], []],
  [array, "an array", [[], [1]], [{ length: 0 }, "a", null], []],
  [
    duration,
    "a duration above zero",
    [1, 0.5, Infinity, "1s", "1.5d"],
    ["1", "s", " 1s", null, {}],
    [0, -1, NaN, "0s", "-1s", `${"9".repeat(400)}s`],
  ],
  [finiteDuration, "a finite duration above zero", [1, "7d"], ["week"], [0, Infinity]],
];

for (const [rule, must, taken, ofAnotherKind, outOfRange] of RULES) {
  test(`check() takes and refuses what must be ${must}`, () => {
    const use = (value: unknown) => () => check("try", { option: value }, { option: rule });
    for (const value of [...taken, undefined]) use(value)();
    for (const [values, type] of [[ofAnotherKind, TypeError], [outOfRange, RangeError]] as const) {
      for (const value of values) {
        const error = assertThrows(use(value), type, `Cannot try: option must be ${must}`);
        assertEquals(error.constructor, type);
        assertEquals(/, received [^\n]+$/.test(error.message), true, error.message);
      }
    }
  });
}

test("check() returns the values that the rules read, and undefined for an unset option", () => {
  const rules = { ttl: duration, n: required(count()), signal: abortSignal };
  assertEquals(check("try", { ttl: "2s", n: 1 }, rules), { ttl: 2000, n: 1, signal: undefined });
  assertEquals(check("try", Object.create({ ttl: "2s", n: 1 }), rules).ttl, 2000);
  assertThrows(() => check("try", {}, rules), TypeError, "n must be a positive integer");
  assertThrows(() => check("try", { n: undefined }, rules), TypeError, "received undefined");
});

test("check() refuses unknown options by name, with a prefix where there is one", () => {
  const refusal = (options: unknown, prefix?: string): string =>
    assertThrows(() => check("try", options, { a: boolean, b: boolean }, prefix), TypeError)
      .message;
  assertEquals(refusal({ a: true, B: 2 }), 'Cannot try: there is no option "B", only a, b');
  assertEquals(
    refusal({ c: undefined }, "backoff."),
    'Cannot try: there is no option "backoff.c", only backoff.a, backoff.b',
  );
  assertEquals(
    refusal({ a: 1 }, "backoff."),
    "Cannot try: backoff.a must be a boolean, received 1",
  );
  for (
    const [options, shown] of [[null, "null"], [[], "an array"], ["a", '"a"'], [call, "a function"]]
  ) {
    const hint = options === call
      ? "; the function goes into a second call: wrapper(options)(fn)"
      : "";
    const refused = `Cannot try: options must be an object, received ${shown}${hint}`;
    assertEquals(refusal(options), refused);
    assertEquals(
      refusal(options, "backoff."),
      `Cannot try: backoff must be an object, received ${shown}`,
    );
  }
});

test("check() does not repeat a string that may be a secret", () => {
  const rules = { key: { ...oneOf("a", "b"), isSecret: true } };
  const refusal = (key: unknown) =>
    assertThrows(() => check("try", { key }, rules), TypeError).message;
  assertEquals(refusal("hunter2"), 'Cannot try: key must be "a" or "b", received another string');
  assertEquals(refusal(1), 'Cannot try: key must be "a" or "b", received 1');
});
