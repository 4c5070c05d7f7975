/**
 * CRC-32 of ISO 3309 and zlib (polynomial 0xEDB88320, reflected), which shows whether an entry is
 * damaged. It finds every burst of up to 32 bits and misses other damage once in 2³². It does not
 * protect against deliberate changes.
 *
 * @module
 */

import { builtin } from "../base/runtime.ts";

type Checksum = (data: string | Uint8Array, seed: number) => number;

let native: Checksum | undefined;

/**
 * The CRC-32 of text (as UTF-8) or bytes.
 *
 * @param seed The CRC of the data before, 0 for none.
 * @returns 0 to 2³² − 1.
 */
export function crc32(data: string | Uint8Array, seed: number): number {
  // The CRC of zlib runs at tens of gigabytes a second; browsers have none.
  native ??= builtin("node:zlib")?.crc32 ?? portableCrc32;
  return native(data, seed);
}

let table: Uint32Array | undefined;

/** The same without zlib. */
export function portableCrc32(data: string | Uint8Array, seed: number): number {
  table ??= Uint32Array.from({ length: 256 }, (_, byte) => {
    let value = byte;
    for (let bit = 0; bit < 8; bit++) {
      value = (value & 1) === 1 ? (value >>> 1) ^ 0xedb88320 : value >>> 1;
    }
    return value;
  });
  const bytes = typeof data === "string" ? new TextEncoder().encode(data) : data;
  let crc = ~seed;
  for (let index = 0; index < bytes.length; index++) {
    crc = table[(crc ^ bytes[index]!) & 0xff]! ^ (crc >>> 8);
  }
  return ~crc >>> 0;
}
