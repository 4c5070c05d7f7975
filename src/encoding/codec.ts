/**
 * Values to text or bytes and back: JSON text where JSON is exact, otherwise the compact form.
 *
 * @module
 */

import { quote } from "../base/errors.ts";
import { isRawJson } from "./kinds.ts";
import { LONG, numberKind, pack } from "./pack.ts";
import { isPlain, isPlainArray } from "../base/plain.ts";
import { isDense, MAX_DEPTH } from "./shape.ts";
import { unpack } from "./unpack.ts";

/** An encoded value: JSON text under `json-1`, the compact form under `packed-1`. */
export interface Encoded {
  /** The name of the encoding, version included. */
  readonly format: string;
  readonly data: string | Uint8Array;
}

/**
 * Encodes a value.
 *
 * Kept, equal and in the same class: JSON, `undefined`, `NaN`, `Infinity`, `-0`, `bigint`, `Date`,
 * `RegExp`, `URL`, `Map`, `Set`, the errors of the language with `cause` and further members, typed
 * arrays, `DataView`, `Buffer`, `ArrayBuffer`, sparse arrays and their named members, cycles and
 * parts that stand in many places. Values of another realm come back as values of this one.
 *
 * Lost, as in structured clone: prototypes of plain objects; members that have a symbol for a name,
 * are not enumerable, or were added to a `Date`, `RegExp`, `Map`, `Set` or to bytes; the sharing of
 * a buffer by two views. A getter comes back as its value.
 *
 * @returns The text or bytes and the name of their format.
 * @throws {UncacheableValueError} If a part is a function, a symbol, a promise, raw JSON, an
 * instance of another class, or nested deeper than 1,000 objects.
 */
export function encode(value: unknown): Encoded {
  const text = jsonText(value);
  return text === undefined
    ? { format: "packed-1", data: pack(value) }
    : { format: "json-1", data: text };
}

/** JSON text, where it keeps the value exactly. */
function jsonText(value: unknown): string | undefined {
  try {
    return isExactJson(value, new Set(), 0) ? JSON.stringify(value) : undefined;
  } catch {
    // A getter or a proxy that throws: packing meets it again, and names its place.
    return undefined;
  }
}

/**
 * Whether JSON text keeps the value exactly, in a form that is worth keeping: no member is dropped
 * or changed, no object stands in two places, and no array of numbers is long.
 */
function isExactJson(value: unknown, seen: Set<object>, depth: number): boolean {
  switch (typeof value) {
    case "string":
    case "boolean":
      return true;
    case "number":
      return Number.isFinite(value) && !Object.is(value, -0);
    case "object":
      break;
    default:
      return false;
  }
  if (value === null) return true;
  if (seen.has(value) || depth >= MAX_DEPTH) return false;
  seen.add(value);
  if (Array.isArray(value)) {
    if (!isPlainArray(value)) return false;
    // First, because naming every index of a long array costs more than all the rest.
    if (value.length >= LONG && numberKind(value) !== undefined) return false;
    if (!isDense(value) || Reflect.has(value, "toJSON")) return false;
    for (const item of value) {
      if (!isExactJson(item, seen, depth + 1)) return false;
    }
    return true;
  }
  // JSON.stringify would call a toJSON, even an inherited one, and write raw JSON as it is.
  if (!isPlain(value) || typeof value["toJSON"] === "function" || isRawJson(value)) return false;
  for (const name of Object.keys(value)) {
    if (!isExactJson(value[name], seen, depth + 1)) return false;
  }
  return true;
}

/** Decodes a result of `encode`; throws a built-in error for anything else. */
export function decode({ format, data }: Encoded): unknown {
  switch (format) {
    case "json-1":
      if (typeof data !== "string") {
        throw new SyntaxError("bytes where text belongs");
      }
      return JSON.parse(data);
    case "packed-1":
      if (typeof data === "string") {
        throw new SyntaxError("text where bytes belong");
      }
      return unpack(data);
    default:
      throw new SyntaxError(`format ${quote(format)} is unknown`);
  }
}
