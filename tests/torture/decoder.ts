/** Stored bytes made to break their decoder. */

import process from "node:process";
import { assert, assertEquals, assertInstanceOf } from "@std/assert";
import { encode, type Encoded } from "../../src/encoding/codec.ts";
import { open, seal } from "../../src/encoding/entry.ts";
import { DamagedEntryError } from "../../src/base/errors.ts";
import { HEADER_BYTES, MAGIC, padded } from "../../src/encoding/packed.ts";
import { AWKWARD_VALUES } from "../support/awkward_values.ts";
import { timeOf } from "../support/event_loop.ts";
import { type Extent, Random } from "./random.ts";

/** The longest that decoding or refusing one entry may take, in milliseconds. */
const LONGEST_MS = 1000;

/** The bound that `unpack.ts` states: bytes of memory for each byte, and bytes beside that. */
const MULTIPLE = 100;
const SLACK = 256 << 10;

/** Only V8 counts its heap at once; elsewhere the process's memory counts, in large steps. */
const IS_COUNTED = process.versions["bun"] === undefined;
const COARSE = IS_COUNTED ? 0 : 64 << 20;

/** Bytes in use; garbage counts until it is collected. */
function held(): number {
  const { heapUsed, external, rss } = process.memoryUsage();
  return IS_COUNTED ? heapUsed + external : rss;
}

/** The result of decoding many entries. */
export interface Decoded {
  /** The number of decoded entries; the others were refused. */
  readonly values: number;
  /** The longest time for one entry, in milliseconds. */
  readonly slowest: number;
  /** The most memory for one entry, in bytes. */
  readonly largest: number;
  /** Bytes of memory for each byte of all entries. */
  readonly multiple: number;
}

/**
 * Tries to get anything but a value or the one error out of bytes with a checksum that fits, or to
 * make them take more time or memory than their length allows.
 */
export function mutateEntries({ count, seed }: Extent): Decoded {
  const random = new Random(seed);
  const times = {
    storedAt: 1,
    expiresAt: null,
    staleUntil: null,
    durationMs: 0,
  };
  const originals = AWKWARD_VALUES.filter(({ value }) => value)
    .map(({ make }) => encode(make()))
    .filter(({ data }) => data.length < 2000);
  const pristine = Object.getOwnPropertyNames(Object.prototype).join();
  let values = 0;
  let slowest = 0;
  let largest = 0;
  let given = 0;
  let taken = 0;
  for (let n = 0; n < count; n++) {
    const what = `seed ${seed}, case ${n}`;
    const { format, data } = n % 4 === 0
      ? { format: "packed-1", data: makeUp(random) }
      : mutate(random.of(originals), random);
    const entry = seal(
      "i",
      "k",
      {
        format: n % 50 === 0 ? random.of(["json-1", "packed-1", "x"]) : format,
        data,
      },
      times,
    );
    const bound = data.length * MULTIPLE + SLACK + COARSE;
    let error: unknown;
    let milliseconds = 0;
    let memory = Infinity;
    // An engine takes memory in steps and for other uses. What the entry needs, it needs in each
    // attempt, so the smallest figure counts.
    for (let attempt = 0; attempt < 3 && memory >= bound; attempt++) {
      const before = held();
      milliseconds = timeOf(() => {
        try {
          open("i", "k", entry);
          error = undefined;
        } catch (thrown) {
          error = thrown;
        }
      });
      memory = Math.min(memory, Math.max(0, held() - before));
    }
    if (error === undefined) values++;
    else assertInstanceOf(error, DamagedEntryError, what);
    given += data.length;
    taken += memory;
    assert(memory < bound, `${what}: ${memory} bytes for ${data.length}`);
    slowest = Math.max(slowest, milliseconds);
    largest = Math.max(largest, memory);
  }
  assert(slowest < LONGEST_MS, `seed ${seed}: ${slowest} ms`);
  assertEquals(Object.getOwnPropertyNames(Object.prototype).join(), pristine);
  const multiple = taken / given;
  assert(multiple < MULTIPLE, `seed ${seed}: ${multiple} for each byte`);
  return { values, slowest, largest, multiple };
}

function mutate({ format, data }: Encoded, random: Random): Encoded {
  return {
    format,
    data: typeof data === "string" ? mutateText(data, random) : mutateBytes(data, random),
  };
}

/** Numbers on either side of the limits at which a decoder or an engine changes its treatment. */
// deno-fmt-ignore
const NUMBERS: readonly number[] = [
  0,
  1,
  7,
  8,
  63,
  64,
  65,
  500,
  1020,
  1023,
  1024,
  2560,
  3300,
  4990,
  99_999,
  100_000,
  1_000_000,
  33_554_431,
  33_554_432,
  2 ** 31 - 1,
  2 ** 31,
  2 ** 32 - 2,
  2 ** 32 - 1,
  2 ** 32,
  2 ** 53,
  -1,
  0.5,
  1e300,
];

/** Every tag that exists, and some that do not. */
// deno-fmt-ignore
const TAGS: readonly string[] = [
  "undefined",
  "number",
  "bigint",
  "ref",
  "Date",
  "URL",
  "RegExp",
  "Object",
  "Array",
  "Map",
  "Set",
  "Error",
  "ArrayBuffer",
  "u8",
  "i16",
  "i32",
  "f32",
  "f64",
  "Buffer",
  "DataView",
  "Uint8Array",
  "Float16Array",
  "BigInt64Array",
  "x",
  "constructor",
  "__proto__",
];

// deno-fmt-ignore
const TEXTS: readonly string[] = [
  "",
  "a",
  "NaN",
  "-0",
  "f",
  "Error",
  "TypeError",
  "AggregateError",
  "stack",
  "length",
  "__proto__",
  "a:b",
  "g",
  "v",
  "(a{1000}){1000}",
  "(?:(?:))",
  "\\ud800",
];

/** A skeleton of parts that are legal now and then, among neighbours that are not. */
function skeleton(random: Random, depth: number): unknown {
  switch (random.below(depth > 3 ? 3 : 8)) {
    case 0:
      return random.of(NUMBERS);
    case 1:
      return String(random.of(NUMBERS));
    case 2:
      return random.of(TEXTS);
    case 3:
      return list(random, depth);
    case 4:
      return Object.fromEntries(
        Array.from({ length: random.below(4) }, () => [
          String(skeleton(random, 4)),
          skeleton(random, depth + 1),
        ]),
      );
    default:
      return tagged(random, depth + 1);
  }
}

function list(random: Random, depth: number): unknown[] {
  return Array.from({ length: random.below(5) }, () => skeleton(random, depth + 1));
}

/** A tag and its members, most often in the shape that the tag requires. */
function tagged(random: Random, depth: number): unknown {
  const members = (): unknown[] =>
    Array.from({ length: random.below(4) }).flatMap(() => [
      String(random.of<string | number>([...NUMBERS, ...TEXTS])),
      random.below(3) === 0 ? skeleton(random, depth) : 0,
    ]);
  const tag = random.of(TAGS);
  switch (random.below(4) === 0 ? random.of(TAGS) : tag) {
    case "Object":
      return { $: tag, v: members() };
    case "Array":
      return { $: tag, v: [random.of(NUMBERS), ...members()] };
    case "Error":
      return { $: tag, v: [random.of(TEXTS), members(), members()] };
    case "Map":
    case "Set":
      return { $: tag, v: list(random, depth) };
    case "RegExp":
      return {
        $: tag,
        v: [random.of(TEXTS), random.of(TEXTS), random.of(NUMBERS)],
      };
    case "undefined":
    case "number":
    case "bigint":
    case "ref":
    case "Date":
    case "URL":
      return { $: tag, v: random.of<string | number>([...NUMBERS, ...TEXTS]) };
    default:
      return { $: tag, v: [0, random.of(NUMBERS)] };
  }
}

/** The compact form of a made-up skeleton; half of the time repeated in one list. */
function makeUp(random: Random): Uint8Array {
  const part = JSON.stringify(skeleton(random, 0));
  const times = random.below(2) === 0 ? 1 : 1 + random.below(100);
  return frame(
    times === 1 ? part : `[${Array(times).fill(part).join(",")}]`,
    random.bytes(random.below(10) * 8),
  );
}

function frame(skeleton: string, segments: Uint8Array): Uint8Array {
  const text = new TextEncoder().encode(skeleton);
  const start = padded(HEADER_BYTES + text.length);
  const bytes = new Uint8Array(start + segments.length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, MAGIC, true);
  view.setUint32(4, text.length, true);
  bytes.set(text, HEADER_BYTES);
  bytes.set(segments, start);
  return bytes;
}

function mutateBytes(original: Uint8Array, random: Random): Uint8Array {
  if (random.below(8) === 0) return random.bytes(random.below(100));
  const bytes = new Uint8Array(original);
  for (let left = random.below(4); left >= 0 && bytes.length > 0; left--) {
    bytes[random.below(bytes.length)] = random.below(256);
  }
  return random.below(4) === 0 ? bytes.subarray(0, random.below(bytes.length + 1)) : bytes;
}

function mutateText(original: string, random: Random): string {
  const at = random.below(original.length + 1);
  // deno-fmt-ignore
  const piece = random.of([
    "",
    "{",
    "}",
    "[",
    "]",
    '"',
    ",",
    ":",
    "e999",
    "-",
    "\\",
    "\\u",
    '"__proto__":',
    "null",
    "\ud800",
    "\0",
  ]);
  return original.slice(0, at) + piece + original.slice(at + random.below(4));
}
