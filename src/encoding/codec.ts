/**
 * Values to stored entries and back: JSON text where JSON is exact, the compact form elsewhere, and
 * a checksum over all of it.
 *
 * @module
 */

import type { StoredEntry } from "../backend/contract.ts";
import { checksumOf } from "./checksum.ts";
import { DamagedEntryError, quote } from "../base/errors.ts";
import { isDense, LONG, numberKind, pack } from "./pack.ts";
import { isPlain, isPlainArray, MAX_DEPTH } from "./shape.ts";
import { unpack } from "./unpack.ts";

/** What `encode` writes and `decode` reads. */
const FORMATS: ReadonlySet<string> = new Set(["json-1", "packed-1"]);

/** The format of what `encryption.ts` made of an entry of one of those. */
export const ENCRYPTED = "aes-gcm-1";

/** A value as it is stored: JSON text under `json-1`, the compact form under `packed-1`. */
export interface Encoded {
  /** The name of the encoding, version included. */
  readonly format: string;
  /** The encoded value. */
  readonly data: string | Uint8Array;
}

/**
 * Encodes a value.
 *
 * @param value Anything that structured clone keeps; see `packed.ts` for what JSON text does not.
 * @returns The text or bytes and the name of their format.
 * @throws {UncacheableValueError} If a part is a function, a symbol, a promise, an instance of a
 * class, or nested deeper than 1,000 objects.
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
    // A getter or a proxy that throws: packing meets it again, and tells where.
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
    // Asked first, because naming every index of a long array costs more than all the rest.
    if (value.length >= LONG && numberKind(value) !== undefined) return false;
    if (!isDense(value) || Reflect.has(value, "toJSON")) return false;
    for (const item of value) {
      if (!isExactJson(item, seen, depth + 1)) return false;
    }
    return true;
  }
  // JSON.stringify would call a toJSON, even one that is no member.
  if (!isPlain(value) || typeof value["toJSON"] === "function") return false;
  for (const name of Object.keys(value)) {
    if (!isExactJson(value[name], seen, depth + 1)) return false;
  }
  return true;
}

/** Decodes what `encode` made; throws a built-in error where it cannot. */
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

/** What an entry tells beside its value. */
export type EntryTimes = Pick<StoredEntry, "storedAt" | "expiresAt" | "staleUntil" | "durationMs">;

/** Puts an entry together, with the checksum that binds it to its place. */
export function seal(id: string, key: string, encoded: Encoded, times: EntryTimes): StoredEntry {
  const { storedAt, expiresAt, staleUntil, durationMs } = times;
  // Written out: spreading costs three times as much.
  const entry = {
    data: encoded.data,
    format: encoded.format,
    checksum: 0,
    storedAt,
    expiresAt,
    staleUntil,
    durationMs,
  };
  entry.checksum = checksumOf(id, key, entry);
  return entry;
}

/** Whether an entry is whole and stands where it was stored. */
export function isIntact(id: string, key: string, entry: StoredEntry): boolean {
  return checksumOf(id, key, entry) === entry.checksum;
}

/**
 * Checks an entry and decodes its value, each time anew: the caller owns what it gets.
 *
 * @throws {DamagedEntryError} If it is damaged, stands in a wrong place or has an unknown format.
 */
export function open(id: string, key: string, entry: StoredEntry): unknown {
  if (!isIntact(id, key, entry)) {
    throw new DamagedEntryError("its checksum does not match", id, key);
  }
  if (!FORMATS.has(entry.format)) {
    throw new DamagedEntryError(
      entry.format === ENCRYPTED
        ? "it is encrypted, and the cache was opened without encrypt"
        : `its format ${quote(entry.format)} is unknown`,
      id,
      key,
    );
  }
  try {
    return decode(entry);
  } catch (cause) {
    // What the parsers of the runtime say quotes the value, and no message may.
    throw new DamagedEntryError("it cannot be decoded", id, key, { cause });
  }
}
