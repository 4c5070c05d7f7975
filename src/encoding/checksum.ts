/**
 * What tells a damaged entry, or one in a wrong place, from a whole one: 32 bits over the place, the
 * format, the times and the value. It finds every change of a single character, number or burst of
 * up to 32 bits, and misses other damage once in 2³²; it is no protection against somebody who means
 * to deceive.
 *
 * @module
 */

import type { StoredEntry } from "../backend/contract.ts";
import { crc32 } from "./crc32.ts";

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
