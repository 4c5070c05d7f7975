/**
 * An entry as one string of Redis: a line of its fields, then the encoded value.
 *
 * @module
 */

import { builtin } from "../base/runtime.ts";
import type { EntryInfo } from "../backend/contract.ts";
import type { StoredEntry } from "../encoding/entry.ts";
import { bytesOf } from "../encoding/size.ts";

/** The bytes that hold the first line of any entry of this library. */
export const LINE_BYTES = 256;

const MARK = "panza-1";
const LINE_END = 10;

/** The fields in the first line of an entry. */
type Line = Omit<StoredEntry, "data"> & { readonly isText: boolean; readonly size: number };

/** Writes an entry: text where the value is text, otherwise a copy of its bytes. */
export function write(entry: StoredEntry): string | Uint8Array {
  const { data, format, checksum, storedAt, expiresAt, staleUntil, durationMs } = entry;
  const fields = [format, checksum, storedAt, expiresAt, staleUntil, durationMs].map(String);
  const kind = typeof data === "string" ? "text" : "bytes";
  const line = [MARK, kind, bytesOf(data), ...fields].join(" ") + "\n";
  if (typeof data === "string") return line + data;
  const buffers = builtin("node:buffer");
  if (buffers === undefined) throw new TypeError("this runtime has no node:buffer");
  // The client takes bytes as a Buffer only.
  return buffers.Buffer.concat([new TextEncoder().encode(line), data]);
}

/** Reads an entry, which owns its bytes; `undefined` if it is not an entry. */
export function read(bytes: Uint8Array): StoredEntry | undefined {
  const line = lineOf(bytes);
  if (line === undefined) return undefined;
  const { isText, size, ...fields } = line;
  const value = bytes.subarray(bytes.indexOf(LINE_END) + 1);
  if (value.byteLength !== size) return undefined;
  if (!isText) return { ...fields, data: new Uint8Array(value) };
  try {
    const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
    return { ...fields, data: decoder.decode(value) };
  } catch {
    return undefined;
  }
}

/** The listed fields of an entry, from its first bytes; a damaged one has the time 0. */
export function infoOf(id: string, key: string, bytes: Uint8Array): EntryInfo {
  const { size = 0, storedAt = 0, expiresAt = null, staleUntil = null, durationMs = 0 } =
    lineOf(bytes) ?? {};
  return { id, key, size, storedAt, expiresAt, staleUntil, durationMs };
}

function lineOf(bytes: Uint8Array): Line | undefined {
  const end = bytes.indexOf(LINE_END);
  if (end < 0) return undefined;
  const [mark, kind, ...fields] = new TextDecoder().decode(bytes.subarray(0, end)).split(" ");
  const [size, format, checksum, storedAt, expiresAt, staleUntil, durationMs] = fields;
  if (mark !== MARK || (kind !== "text" && kind !== "bytes") || fields.length !== 7) {
    return undefined;
  }
  const line = {
    isText: kind === "text",
    size: Number(size),
    format: format ?? "",
    checksum: Number(checksum),
    storedAt: Number(storedAt),
    expiresAt: momentOf(expiresAt),
    staleUntil: momentOf(staleUntil),
    durationMs: Number(durationMs),
  };
  const { size: bytesOfValue, expiresAt: expiry, staleUntil: stale } = line;
  const numbers = [bytesOfValue, line.checksum, line.storedAt, line.durationMs, expiry, stale];
  return numbers.some(Number.isNaN) ? undefined : line;
}

function momentOf(text: string | undefined): number | null {
  return text === "null" ? null : Number(text);
}
