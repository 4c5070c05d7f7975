/**
 * The size of encoded data.
 *
 * @module
 */

import { builtin } from "../base/runtime.ts";

let byteLength: ((text: string) => number) | undefined;

/** The size of encoded data, in bytes of UTF-8 for text. */
export function bytesOf(data: string | Uint8Array): number {
  if (typeof data !== "string") return data.byteLength;
  if (byteLength === undefined) {
    const buffer = builtin("node:buffer");
    const encoder = new TextEncoder();
    byteLength = buffer === undefined
      ? (text) => encoder.encode(text).length
      : (text) => buffer.Buffer.byteLength(text);
  }
  return byteLength(data);
}
