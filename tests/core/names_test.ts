import { test } from "node:test";
import { assert, assertEquals, assertNotEquals } from "@std/assert";
import fc from "fast-check";
import { escapeName, unescapeName } from "../../src/core/names.ts";

const SEED = 20250105;

/** Names of any code units, with many of those that need care. */
const name = fc.string({
  unit: fc.oneof(
    fc.constantFrom(..."\\0u\0d8", "\ud800", "\udc00", "\\ud800", "\\0", "😀"),
    fc.integer({ min: 0, max: 0xffff }).map((unit) => String.fromCharCode(unit)),
  ),
  maxLength: 12,
});

test("escapeName() leaves ordinary names as they are", () => {
  const ordinary = [
    "",
    "summarize",
    "a/b",
    "../a",
    "a%b_c*d?",
    "Zoë 😀 \u2028",
    "tab\tline\n\u0001",
    "__proto__",
    "\ufffd",
  ];
  for (const name of ordinary) assertEquals(escapeName(name), name);
});

test("escapeName() writes what no store can keep", () => {
  assertEquals(escapeName("a\\b"), "a\\\\b");
  assertEquals(escapeName("a\0b"), "a\\0b");
  assertEquals(escapeName("\ud83dx\ude00"), "\\ud83dx\\ude00");
  assertEquals(escapeName("\ude00\ud83d"), "\\ude00\\ud83d");
  assertEquals(escapeName("\\0"), "\\\\0");
  assertEquals(escapeName("\ud800\\😀\0"), "\\ud800\\\\😀\\0");
});

test("unescapeName() gives back every name, and what is stored is well-formed without NUL", () => {
  fc.assert(
    fc.property(name, (name) => {
      const text = escapeName(name);
      assert(text.isWellFormed() && !text.includes("\0"), text);
      assertEquals(unescapeName(text), name);
    }),
    { seed: SEED, numRuns: 3000 },
  );
});

test("escapeName() keeps different names different", () => {
  fc.assert(
    fc.property(name, name, (left, right) => {
      fc.pre(left !== right);
      assertNotEquals(escapeName(left), escapeName(right));
    }),
    { seed: SEED, numRuns: 3000 },
  );
});
