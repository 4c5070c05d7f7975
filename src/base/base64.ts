/**
 * Bytes as base64 text and back.
 *
 * @module
 */

import { builtin } from "./runtime.ts";

/** Encodes bytes as base64. */
export function toBase64(bytes: Uint8Array): string {
  const buffer = builtin("node:buffer");
  if (buffer !== undefined) {
    return buffer.Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("base64");
  }
  let binary = "";
  // In chunks, because the number of arguments of a call is bounded.
  for (let start = 0; start < bytes.length; start += 8192) {
    binary += String.fromCharCode(...bytes.subarray(start, start + 8192));
  }
  return btoa(binary);
}

/**
 * Decodes base64.
 *
 * @throws {DOMException} If the text is not base64.
 */
export function fromBase64(text: string): Uint8Array<ArrayBuffer> {
  const binary = atob(text);
  const bytes = new Uint8Array(binary.length);
  for (let index = 0; index < bytes.length; index++) bytes[index] = binary.charCodeAt(index);
  return bytes;
}
