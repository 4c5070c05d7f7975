/**
 * Stored entries: a value sealed with its times and a checksum, and opened again.
 *
 * @module
 */

import { DamagedEntryError } from "../base/errors.ts";
import { decode, type Encoded } from "./codec.ts";
import { crc32 } from "./crc32.ts";

/** The format of an encrypted entry. */
export const ENCRYPTED = "aes-gcm-1";

/** The form of a format name, with its version, in every version of this library. */
const FORMAT = /^[a-z][a-z0-9-]*-[0-9]+$/;

/**
 * The origin of an entry, by its format: this version, an encrypted cache, a newer version, or
 * damage. Plain entries must not replace encrypted or newer ones.
 */
export type EntryOrigin = "ours" | "encrypted" | "newer" | "damaged";

/** The origin of an entry, which ignores its checksum. */
export function originOf({ format }: StoredEntry): EntryOrigin {
  // The formats that `encode` writes and `decode` reads.
  if (format === "json-1" || format === "packed-1") return "ours";
  if (format === ENCRYPTED) return "encrypted";
  return FORMAT.test(format) ? "newer" : "damaged";
}

/** Whether an entry is encrypted or of a newer version: a plain one must not replace it. */
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
  /** The checksum of the entry, its id and its key, 0 to 2³² − 1. */
  readonly checksum: number;
  /** The time of the store, in whole milliseconds since the Unix epoch. */
  readonly storedAt: number;
  /** The end of its freshness, in milliseconds since the Unix epoch; `null` is never. */
  readonly expiresAt: number | null;
  /** The end of its use as a stale entry, in milliseconds since the Unix epoch; `null` is never. */
  readonly staleUntil: number | null;
  /** The duration of the call that made it, in milliseconds; 0 when unknown. */
  readonly durationMs: number;
}

export type EntryTimes = Pick<StoredEntry, "storedAt" | "expiresAt" | "staleUntil" | "durationMs">;

/** Makes an entry, with the checksum that binds it to its id and key. */
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

/** Whether an entry is whole and has the id and key under which it was stored. */
export function isIntact(id: string, key: string, entry: StoredEntry): boolean {
  return checksumOf(id, key, entry) === entry.checksum;
}

/**
 * Checks an entry and decodes its value, which the caller owns.
 *
 * @throws {DamagedEntryError} If the entry is damaged, has another id or key, is encrypted or of a
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

/** The length up to which a concatenation of texts costs less than a second sum. */
const SHORT = 4096;

/** The sum of the last id and format, because most successive entries have the same. */
let last = { id: "", format: "", sum: 0 };

/**
 * The checksum of an entry: the CRC-32 of id, format, key, times and value as text, or of the
 * bytes of a value that has no text.
 *
 * @param entry The entry; its own checksum is ignored.
 * @returns 0 to 2³² − 1.
 */
export function checksumOf(id: string, key: string, entry: StoredEntry): number {
  const { format, data, storedAt, durationMs, expiresAt, staleUntil } = entry;
  if (id !== last.id || format !== last.format) {
    // The lengths mark the end of each name.
    last = { id, format, sum: crc32(`${id.length} ${id} ${format} `, 0) };
  }
  const head = `${key.length} ${key} ${storedAt} ${durationMs} ${expiresAt} ${staleUntil} `;
  return typeof data === "string" && data.length < SHORT
    ? crc32(head + data, last.sum)
    : crc32(data, crc32(head, last.sum));
}
