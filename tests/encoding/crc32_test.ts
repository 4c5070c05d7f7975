import { test } from "node:test";
import * as zlib from "node:zlib";
import { assertEquals, assertNotEquals } from "@std/assert";
import fc from "fast-check";
import { crc32, portableCrc32 } from "../../src/encoding/crc32.ts";

const SEED = 20250104;

test("crc32() and portableCrc32() give the known check values", () => {
  const vectors: readonly (readonly [string, number])[] = [
    ["", 0],
    ["a", 0xe8b7be43],
    ["abc", 0x352441c2],
    ["123456789", 0xcbf43926],
    ["The quick brown fox jumps over the lazy dog", 0x414fa339],
  ];
  for (const [text, sum] of vectors) {
    const bytes = new TextEncoder().encode(text);
    assertEquals(crc32(text, 0), sum);
    assertEquals(crc32(bytes, 0), sum);
    assertEquals(portableCrc32(text, 0), sum);
    assertEquals(portableCrc32(bytes, 0), sum);
  }
  assertEquals(crc32(new Uint8Array(32), 0), 0x190a55ad);
  assertEquals(portableCrc32(new Uint8Array(32).fill(0xff), 0), 0xff6cab0b);
});

const data = fc.oneof(
  fc.uint8Array({ maxLength: 300 }),
  // Any code units: text with lone surrogates is summed up as the UTF-8 that it becomes.
  fc.string({
    unit: fc.integer({ min: 0, max: 0xffff }).map((unit) => String.fromCharCode(unit)),
  }),
);
const seed = fc.integer({ min: 0, max: 2 ** 32 - 1 });

test("crc32() of zlib and portableCrc32() agree on any data and seed", () => {
  assertEquals(typeof zlib.crc32, "function");
  fc.assert(
    fc.property(data, seed, (data, seed) => {
      const sum = portableCrc32(data, seed);
      assertEquals(crc32(data, seed), sum);
      assertEquals(sum >>> 0, sum);
    }),
    { seed: SEED, numRuns: 1000 },
  );
});

test("crc32() goes on where a seed stands", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 100 }), fc.nat(100), seed, (bytes, cut, seed) => {
      for (const sum of [crc32, portableCrc32]) {
        const first = sum(bytes.subarray(0, cut), seed);
        assertEquals(sum(bytes.subarray(cut), first), sum(bytes, seed));
      }
    }),
    { seed: SEED, numRuns: 500 },
  );
});

test("crc32() changes with every burst of up to 32 bits", () => {
  fc.assert(
    fc.property(
      fc.uint8Array({ minLength: 8, maxLength: 64 }),
      fc.nat(),
      fc.integer({ min: 1, max: 2 ** 32 - 1 }),
      (bytes, place, burst) => {
        const changed = bytes.slice();
        const view = new DataView(changed.buffer);
        const at = place % (bytes.length - 3);
        view.setUint32(at, view.getUint32(at) ^ burst);
        assertNotEquals(crc32(changed, 0), crc32(bytes, 0));
      },
    ),
    { seed: SEED, numRuns: 1000 },
  );
});
