/**
 * Stored entries: a value sealed with its times and a checksum, and opened again.
 *
 * @module
 */

import { DamagedEntryError } from "../base/errors.ts";
import { decode, type Encoded } from "./codec.ts";
import { crc32 } from "./crc32.ts";

/** The format of an encrypted entry of one of those. */
export const ENCRYPTED = "aes-gcm-1";

/** A name with a version, as every version of this library writes it. */
const FORMAT = /^[a-z][a-z0-9-]*-[0-9]+$/;

/**
 * Whose an entry is, by its format: of this version, encrypted, of a version that this one does not
 * know, or damaged. Entries of the second and third kind are not to be replaced by plain ones.
 */
export type EntryOrigin = "ours" | "encrypted" | "newer" | "damaged";

/** Finds out whose an entry is, without looking at its checksum. */
export function originOf({ format }: StoredEntry): EntryOrigin {
  // Those that `encode` writes and `decode` reads.
  if (format === "json-1" || format === "packed-1") return "ours";
  if (format === ENCRYPTED) return "encrypted";
  return FORMAT.test(format) ? "newer" : "damaged";
}

/** Whether an entry is encrypted or of a newer version: nothing lesser may replace it. */
export function isForeign(entry: StoredEntry): boolean {
  const origin = originOf(entry);
  return origin === "encrypted" || origin === "newer";
}

/** One stored result, encoded; a backend keeps its fields as they are. */
export interface StoredEntry {
  /** The encoded value: text where JSON is exact, bytes otherwise. */
  readonly data: string | Uint8Array;
  /** The name of the encoding, version included: ASCII letters, digits, `-` and `.`. */
  readonly format: string;
  /** The checksum of the entry and of where it belongs, 0 to 2³² − 1. */
  readonly checksum: number;
  /** When it was stored, in whole milliseconds since the Unix epoch. */
  readonly storedAt: number;
  /** When it stops being fresh, in milliseconds since the Unix epoch; `null` is never. */
  readonly expiresAt: number | null;
  /** Until when it may still be served stale, in milliseconds; `null` is for ever. */
  readonly staleUntil: number | null;
  /** The duration of the call that made it, in milliseconds; 0 when unknown. */
  readonly durationMs: number;
}

/** The times of an entry. */
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
 * Checks an entry and decodes its value, each time anew: the caller owns the result.
 *
 * @throws {DamagedEntryError} If it is damaged, stands in a wrong place, is encrypted or of a
 * format that this version does not know.
 */
export function open(id: string, key: string, entry: StoredEntry): unknown {
  const origin = originOf(entry);
  if (origin !== "ours") throw new DamagedEntryError(UNREADABLE[origin], id, key);
  if (!isIntact(id, key, entry)) {
    throw new DamagedEntryError("its checksum does not match", id, key);
  }
  try {
    return decode(entry);
  } catch {
    // Without a cause: the parsers of the runtime quote the value.
    throw new DamagedEntryError("it cannot be decoded", id, key);
  }
}

const UNREADABLE: Readonly<Record<Exclude<EntryOrigin, "ours">, string>> = {
  encrypted: "it is encrypted, and the cache was opened without encrypt",
  newer: "its format belongs to a newer version of this library",
  damaged: "its format has no valid name",
};

/** Up to this length, putting text behind another costs less than a second sum. */
const SHORT = 4096;

/** The sum of the last id and format: most entries in a row have the same. */
let last = { id: "", format: "", sum: 0 };

/**
 * The checksum of an entry: the CRC-32 of id, format, key, times and value as text, or of the
 * bytes of a value that has no text.
 *
 * @param id The id under which the entry stands.
 * @param key The key under which it stands.
 * @param entry The entry; its own checksum is not looked at.
 * @returns 0 to 2³² − 1.
 */
export function checksumOf(id: string, key: string, entry: StoredEntry): number {
  const { format, data, storedAt, durationMs, expiresAt, staleUntil } = entry;
  if (id !== last.id || format !== last.format) {
    // The lengths tell where a name ends.
    last = { id, format, sum: crc32(`${id.length} ${id} ${format} `, 0) };
  }
  const head = `${key.length} ${key} ${storedAt} ${durationMs} ${expiresAt} ${staleUntil} `;
  return typeof data === "string" && data.length < SHORT
    ? crc32(head + data, last.sum)
    : crc32(data, crc32(head, last.sum));
}
