/**
 * SHA-256 in hex: the one digest of the library.
 *
 * @module
 */

import { builtin } from "../base/runtime.ts";

let synchronous: ((data: string | Uint8Array) => string) | null | undefined;

/** The synchronous SHA-256 of the runtime, looked up once; null where it has none. */
function synchronousDigest(): ((data: string | Uint8Array) => string) | null {
  if (synchronous === undefined) {
    const crypto = builtin("node:crypto");
    synchronous = crypto === undefined
      ? null
      : typeof crypto.hash === "function"
      ? (data) => crypto.hash("sha256", data, "hex")
      : (data) => crypto.createHash("sha256").update(data).digest("hex");
  }
  return synchronous;
}

/**
 * SHA-256 of a text or of bytes in hex: synchronous where the runtime can, otherwise by WebCrypto.
 *
 * One `crypto.subtle.digest` costs 25 to 80 µs on Deno, Node and Bun, the synchronous one 1 to
 * 2 µs: see `bench/hash_bench.ts`.
 */
export function digest(data: string | Uint8Array): string | Promise<string> {
  return synchronousDigest()?.(data) ?? webDigest(data);
}

/** The same by WebCrypto. */
export async function webDigest(data: string | Uint8Array): Promise<string> {
  // A copy, because the memory of a view may be shared, which WebCrypto refuses.
  const bytes = typeof data === "string" ? new TextEncoder().encode(data) : data.slice();
  const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return Array.from(hash, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
