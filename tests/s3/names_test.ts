import { test } from "node:test";
import { assert, assertEquals, assertMatch, assertThrows } from "@std/assert";
import fc from "fast-check";
import { S3Backend } from "../../s3.ts";
import { entryName, parseName, parsePlace } from "../../src/s3/names.ts";

test("entryName() is one name for one pair, and parseName() gives the pair back", async () => {
  const place = parsePlace("test", "bucket/some/prefix");
  const text = fc.string({ unit: "grapheme", maxLength: 30 });
  await fc.assert(
    fc.asyncProperty(text, text, async (id, key) => {
      const { object } = await entryName(place, id, key);
      assertMatch(object, /^some\/prefix\/panza-v1\/[^/.][^/]*\/[^/.][^/]*$/);
      const parsed = parseName(place, object);
      assert(parsed !== undefined);
      // Metadata holds the text of a digest; the name itself holds everything else.
      if (!object.includes("!sha256-")) assertEquals(parsed, { id, key, isDigest: false });
    }),
    { seed: 20, numRuns: 500 },
  );
  assertEquals(parseName(place, "some/prefix/panza-v1/a/b/c"), undefined);
  assertEquals(parseName(place, "some/prefix/panza-v1/a/!2f"), undefined);
  assertEquals(parseName(place, "some/prefix/panza-v1//b"), undefined);
  assertEquals(parseName(place, "other/prefix/panza-v1/a/b"), undefined);
});

test("S3Backend refuses a malformed location when it is constructed", () => {
  for (
    const location of [
      "",
      "ab",
      "Bucket",
      "my_bucket",
      "a..b",
      "-abc",
      "192.168.0.1",
      "https://bucket/prefix",
      "s3:/bucket",
      "bucket//p",
      "bucket/p//q",
      "bucket//",
      "bucket/./p",
      "bucket/..",
      "bucket/p\n",
      "bucket/\uD800",
      "bucket/panza-v1",
      "bucket/p/panza-v2/q",
      `bucket/${"é".repeat(257)}`,
    ]
  ) {
    assertThrows(
      () => new S3Backend(location),
      TypeError,
      "Cannot open an S3 backend: location must be",
      location,
    );
  }
  for (
    const [location, label] of [
      ["bucket", "bucket"],
      ["bucket/", "bucket"],
      ["s3://bucket/p/q/", "bucket/p/q"],
      ["bucket/Grüße & co", "bucket/Grüße & co"],
    ] as const
  ) {
    assertEquals(new S3Backend(location).description, `S3 ${label}`);
  }
});

test("parsePlace() repeats nothing of a location that may hold a password", () => {
  const error = assertThrows(() => parsePlace("try", "s3://key:hunter2@bucket"), TypeError);
  assert(!error.message.includes("hunter2"), error.message);
});
