/** The file of an entry: readable, stable, and exact. */
import { test } from "node:test";
import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { encode } from "../../src/encoding/codec.ts";
import { isOurs, readFile, writeFile } from "../../src/folder/file.ts";
import { BYTES, TEXTS } from "../../src/testing/samples.ts";
import { entry } from "../support/entry.ts";

test("writeFile() shows JSON as JSON, indented, in the value's own order", () => {
  const data = '{"b":[1,"é\\n"],"a":{"__proto__":null}}';
  assertEquals(
    writeFile("ask", "3f2a", entry(data, { expiresAt: 5, staleUntil: 6 })),
    `{
  "panza": 1,
  "id": "ask",
  "key": "3f2a",
  "storedAt": 1700000000000,
  "expiresAt": 5,
  "staleUntil": 6,
  "durationMs": 1.5,
  "format": "json-1",
  "checksum": 4000000000,
  "json": {
    "b": [
      1,
      "é\\n"
    ],
    "a": {
      "__proto__": null
    }
  }
}
`,
  );
});

/** The member that holds the data. */
function shownAs(data: string | Uint8Array): string | undefined {
  return Object.keys(JSON.parse(writeFile("id", "key", entry(data)))).at(-1);
}

test("writeFile() shows other text as text, and bytes as base64", () => {
  for (const data of ["", "a: b\n", '{ "a": 1 }', "1e400", "-0", '{"a":1,"a":2}']) {
    assertEquals(shownAs(data), "text", data);
  }
  for (const data of ["null", '"text"', "[1.5]"]) assertEquals(shownAs(data), "json", data);
  assertEquals(shownAs(Uint8Array.of(255)), "base64");
});

test("readFile() gives back every text, byte and field", () => {
  const deep = "[".repeat(5_000) + "]".repeat(5_000);
  for (const data of [...TEXTS, ...BYTES, deep]) {
    const stored = entry(data, { expiresAt: 0, staleUntil: 2 ** 52, durationMs: 0.1 });
    const text = writeFile("a/B", "é", stored);
    assert(isOurs(text));
    assertEquals(readFile(text), { id: "a/B", key: "é", entry: stored });
  }
});

test("readFile() gives back every JSON value (seed 1)", () => {
  fc.assert(
    fc.property(fc.json(), fc.jsonValue(), (text, value) => {
      for (const data of [text, encode(value).data]) {
        assertEquals(readFile(writeFile("id", "key", entry(data)))?.entry.data, data);
      }
    }),
    { seed: 1 },
  );
});

test("readFile() does not mind formatters, byte order marks and line ends of Windows", () => {
  const stored = entry('{"a":[1,2],"text":"a\\nb"}');
  const text = writeFile("id", "key", stored);
  const flat = JSON.stringify(JSON.parse(text));
  const forms = [`\ufeff${text}`, text.replaceAll("\n", "\r\n"), flat, text.replaceAll("  ", "\t")];
  for (const form of forms) {
    assert(isOurs(form), form);
    assertEquals(readFile(form)?.entry, stored);
  }
});

test("readFile() takes no damaged text", () => {
  const text = writeFile("id", "key", entry("[1]"));
  const cut = Array.from({ length: text.length - 1 }, (_, length) => text.slice(0, length));
  const edited = [
    text.replace(/"id": "id"/, '"id": 1'),
    text.replace(/"storedAt": \d+/, '"storedAt": "today"'),
    text.replace(/"expiresAt": null,/, ""),
    text.replace(/"json": [^]*\]/, '"base64": "?"'),
    text.replace(/"json": [^]*\]/, '"text": 1'),
    text.replace(/"json"/, '"value"'),
    `<<<<<<< HEAD\n${text}`,
    "[]",
    "null",
  ];
  for (const damaged of [...cut, ...edited]) assertEquals(readFile(damaged), undefined, damaged);
});

test("isOurs() distinguishes files of this library from others", () => {
  for (const text of ["{}", "1", " ", '{"panza":2,', '{"name":"panza"}', '{"panza": "1"}', "\0"]) {
    assertEquals(isOurs(text), false, text);
  }
});
