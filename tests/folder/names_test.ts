/** Names of files: safe on every file system, and one for each text. */
import { test } from "node:test";
import { assert, assertEquals, assertMatch, assertNotEquals } from "@std/assert";
import fc from "fast-check";
import { isName, nameOf } from "../../src/folder/names.ts";
import { JOINS, NAMES } from "../../src/testing/samples.ts";

/** The names that Linux, macOS and Windows all keep, case and Unicode forms included. */
const SAFE = /^(?![.-])[a-z0-9_.=+-]{1,80}(?<!\.)$/;
const DEVICE = /^(con|prn|aux|nul|com\d|lpt\d)(\.|$)/;

const ODD = [
  ...["", "-rf", ".git", "..", "a.", "con", "CON", "con.txt", "nul.", "com1", "LPT9.log", "cons"],
  ...["=direct", "=sha256-", "+a", "=41", "A", "a", "é", "e\u0301", "a+b", "x".repeat(80)],
];

test("nameOf() gives names that every file system keeps, a different one for each text", async () => {
  const texts = [...new Set([...NAMES, ...JOINS, ...ODD])];
  const names = await Promise.all(texts.map(nameOf));
  for (const name of names) {
    assertMatch(name, SAFE);
    assert(!DEVICE.test(name) && isName(name), name);
  }
  assertEquals(new Set(names.map((name) => name.toLowerCase())).size, texts.length);
});

test("nameOf() keeps random texts apart (seed 1)", async () => {
  const text = fc.string({ unit: "grapheme", maxLength: 30 });
  await fc.assert(
    fc.asyncProperty(text, text, async (one, other) => {
      const [a, b] = [await nameOf(one), await nameOf(other)];
      assertMatch(a, SAFE);
      assert(isName(a));
      if (one === other) assertEquals(a, b);
      else assertNotEquals(a, b);
    }),
    { seed: 1 },
  );
});

test("nameOf() leaves ordinary ids readable", async () => {
  const names = { summarize: "summarize", "ask-llm_2.0": "ask-llm_2.0", askDoc: "ask+doc" };
  for (const [text, name] of Object.entries(names)) assertEquals(await nameOf(text), name);
  assertEquals(await nameOf("a b/é"), "a=20b=2f=c3=a9");
  assertEquals(await nameOf(""), "=direct");
  assertMatch(await nameOf("x".repeat(81)), /^=sha256-[0-9a-f]{64}$/);
});

test("isName() refuses what no text is named", () => {
  const names = [
    "",
    "A",
    "+",
    "+1",
    "=4",
    "=41",
    "=ff",
    "=2E",
    "a b",
    "é",
    ".a",
    "con",
    "=sha256-1",
  ];
  for (const name of [...names, "x".repeat(81)]) assertEquals(isName(name), false, name);
});
