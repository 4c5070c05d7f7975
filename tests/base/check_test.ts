import { test } from "node:test";
import { assertEquals, assertStrictEquals, assertThrows } from "@std/assert";
import {
  abortSignal,
  array,
  boolean,
  check,
  checkValue,
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

/** What is not of a kind, and what is out of range. */
const RULES: Record<string, {
  rule: Rule<unknown>;
  good: unknown[];
  wrongKind: unknown[];
  outOfRange?: unknown[];
  must: string;
}> = {
  count: {
    rule: count(),
    good: [1, Number.MAX_SAFE_INTEGER],
    wrongKind: ["1", 1n, null],
    outOfRange: [0, -1, 1.5, NaN, Infinity, 2 ** 53],
    must: "a positive integer",
  },
  "count from 0": {
    rule: count({ min: 0, infinity: true }),
    good: [0, Infinity],
    wrongKind: [true],
    outOfRange: [-1, 0.5, -Infinity],
    must: "a non-negative integer or Infinity",
  },
  "count up to 10": {
    rule: count({ max: 10 }),
    good: [1, 10],
    wrongKind: [],
    outOfRange: [11],
    must: "an integer from 1 to 10",
  },
  "count from 5": {
    rule: count({ min: 5 }),
    good: [5],
    wrongKind: [],
    outOfRange: [4],
    must: "an integer of at least 5",
  },
  number: {
    rule: number(0, 1),
    good: [0, 0.5, 1],
    wrongKind: ["0"],
    outOfRange: [-0.1, 1.1, NaN],
    must: "a number from 0 to 1",
  },
  finite: {
    rule: finite(1),
    good: [1, 1e300],
    wrongKind: [{}],
    outOfRange: [0.9, Infinity, NaN],
    must: "a finite number of at least 1",
  },
  boolean: { rule: boolean, good: [true, false], wrongKind: [1, "true"], must: "a boolean" },
  text: { rule: text, good: ["a"], wrongKind: ["", 1], must: "a non-empty string" },
  oneOf: {
    rule: oneOf("ignore", false),
    good: ["ignore", false],
    wrongKind: ["other", true],
    must: '"ignore" or false',
  },
  fn: { rule: fn, good: [() => {}, class {}], wrongKind: [{}, "f"], must: "a function" },
  abortSignal: {
    rule: abortSignal,
    good: [
      new AbortController().signal,
      { aborted: false, addEventListener() {}, removeEventListener() {} },
    ],
    wrongKind: [{}, new AbortController()],
    must: "an AbortSignal",
  },
  object: { rule: object, good: [{}], wrongKind: [[], null, 1], must: "an object" },
  array: { rule: array, good: [[]], wrongKind: [{}, "ab"], must: "an array" },
};

for (const [name, { rule, good, wrongKind, outOfRange = [], must }] of Object.entries(RULES)) {
  test(`The rule ${name} says what it must be, a TypeError for the kind and a RangeError for the range`, () => {
    for (const value of good) assertStrictEquals(checkValue("open it", "size", value, rule), value);
    const message = `Cannot open it: size must be ${must}, received `;
    for (const value of wrongKind) {
      assertThrows(() => checkValue("open it", "size", value, rule), TypeError, message);
    }
    for (const value of outOfRange) {
      assertThrows(() => checkValue("open it", "size", value, rule), RangeError, message);
    }
  });
}

test("check() gives what the rules read, and undefined for what is unset", () => {
  const rules = { size: required(count()), name: text };
  assertEquals(check("open it", { size: 3 }, rules), { size: 3, name: undefined });
  assertEquals(check("open it", { size: 3, name: undefined }, rules).name, undefined);
  assertThrows(
    () => check("open it", {}, rules),
    TypeError,
    "Cannot open it: size must be a positive integer, received undefined",
  );
});

test("check() refuses options that have no rule, by name", () => {
  assertThrows(
    () => check("open it", { sise: 3 }, { size: count(), name: text }),
    TypeError,
    'Cannot open it: there is no option "sise", only size, name',
  );
  assertThrows(
    () => check("open it", { maxx: 3 }, { min: count(), max: count() }, "backoff."),
    TypeError,
    'Cannot open it: there is no option "backoff.maxx", only backoff.min, backoff.max',
  );
});

test("check() refuses options that are not an object", () => {
  for (const options of [null, undefined, 1, "size", []]) {
    assertThrows(
      () => check("open it", options, {}),
      TypeError,
      "Cannot open it: options must be an object, received",
    );
  }
  assertThrows(
    () => check("open it", 3, {}, "backoff."),
    TypeError,
    "Cannot open it: backoff must be an object, received 3",
  );
});
