/**
 * Stored entries: a value sealed with its times and a checksum, and opened again.
 *
 * @module
 */

import { DamagedEntryError, quote } from "../base/errors.ts";
import { decode, type Encoded } from "./codec.ts";
import { crc32 } from "./crc32.ts";

/** What `encode` writes and `decode` reads. */
const FORMATS: ReadonlySet<string> = new Set(["json-1", "packed-1"]);

/** The format of what `encryption.ts` made of an entry of one of those. */
export const ENCRYPTED = "aes-gcm-1";

/** Whether an entry is encrypted or of another version's format: nothing else may replace it. */
export function isForeign({ format }: StoredEntry): boolean {
  return !FORMATS.has(format);
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
  /** What the call cost that made it, in milliseconds; 0 when unknown. */
  readonly durationMs: number;
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

/** Room for the times of one entry, eight bytes each. */
const times = new Float64Array(4);
const timeWords = new Uint32Array(times.buffer);

/**
 * The checksum of an entry.
 *
 * The value goes through the CRC of the runtime. What stands around it is so short that calling the
 * runtime costs more than mixing it here; it is what the CRC starts from.
 *
 * @param id The id under which the entry stands.
 * @param key The key under which it stands.
 * @param entry The entry; its own checksum is not looked at.
 * @returns 0 to 2³² − 1.
 */
export function checksumOf(id: string, key: string, entry: StoredEntry): number {
  const { expiresAt, staleUntil } = entry;
  times[0] = entry.storedAt;
  times[1] = entry.durationMs;
  times[2] = expiresAt ?? 0;
  times[3] = staleUntil ?? 0;
  // No time stands for "never", so that none can turn into it unseen.
  let sum = (expiresAt === null ? 0 : 1) + (staleUntil === null ? 0 : 2);
  for (let index = 0; index < timeWords.length; index++) {
    sum = mix(sum, timeWords[index]!);
  }
  sum = mixText(mixText(mixText(sum, id), key), entry.format);
  return crc32(entry.data, sum >>> 0);
}

/** The length keeps apart what stands before from what comes after. */
function mixText(sum: number, text: string): number {
  const { length } = text;
  sum = mix(sum, length);
  let index = 0;
  for (; index + 1 < length; index += 2) {
    sum = mix(sum, text.charCodeAt(index) | (text.charCodeAt(index + 1) << 16));
  }
  return index < length ? mix(sum, text.charCodeAt(index)) : sum;
}

/**
 * One step of MurmurHash3 (x86, 32 bits, Austin Appleby, public domain): for each word it maps sums
 * one to one, and for each sum words, so a change of one word is never lost.
 */
function mix(sum: number, word: number): number {
  word = Math.imul(word, 0xcc9e2d51);
  word = Math.imul((word << 15) | (word >>> 17), 0x1b873593);
  sum ^= word;
  return (Math.imul((sum << 13) | (sum >>> 19), 5) + 0xe6546b64) | 0;
}
