/**
 * An entry as an object: the body is the encoded value itself, everything else is metadata.
 *
 * @module
 */

import type { EntryInfo } from "../backend/contract.ts";
import type { StoredEntry } from "../encoding/entry.ts";

/** Metadata of an object: ASCII names and values. */
export type Metadata = Readonly<Record<string, string>>;

type Times = Pick<EntryInfo, "storedAt" | "expiresAt" | "staleUntil" | "durationMs">;

/** The text of `null`, a moment that never comes. */
const NEVER = "never";

/** A copy of the bytes of an encoded value, because the caller may change its own meanwhile. */
export function bodyOf(data: string | Uint8Array): Uint8Array {
  return typeof data === "string" ? new TextEncoder().encode(data) : new Uint8Array(data);
}

/** The content type of an encoded value, for other tools; `entryOf` reads the metadata instead. */
export function contentTypeOf(data: string | Uint8Array): string {
  return typeof data === "string" ? "application/json; charset=utf-8" : "application/octet-stream";
}

/** All of an entry except the value. */
export function metadataOf(entry: StoredEntry): Metadata {
  return {
    "panza-kind": typeof entry.data === "string" ? "text" : "bytes",
    "panza-format": entry.format,
    "panza-checksum": String(entry.checksum),
    "panza-stored-at": String(entry.storedAt),
    "panza-expires-at": String(entry.expiresAt ?? NEVER),
    "panza-stale-until": String(entry.staleUntil ?? NEVER),
    "panza-duration-ms": String(entry.durationMs),
  };
}

/** The times in the metadata, `undefined` when it is not the metadata of an entry. */
export function timesOf(metadata: Metadata): Times | undefined {
  const storedAt = numberOf(metadata["panza-stored-at"]);
  const expiresAt = momentOf(metadata["panza-expires-at"]);
  const staleUntil = momentOf(metadata["panza-stale-until"]);
  const durationMs = numberOf(metadata["panza-duration-ms"]);
  return storedAt === undefined || expiresAt === undefined || staleUntil === undefined ||
      durationMs === undefined
    ? undefined
    : { storedAt, expiresAt, staleUntil, durationMs };
}

/** The entry of an object, `undefined` when `S3Backend` did not write the object. */
export function entryOf(metadata: Metadata, body: Uint8Array): StoredEntry | undefined {
  const times = timesOf(metadata);
  const format = metadata["panza-format"];
  const checksum = numberOf(metadata["panza-checksum"]);
  const data = dataOf(metadata["panza-kind"], body);
  return times === undefined ||
      format === undefined ||
      checksum === undefined ||
      data === undefined
    ? undefined
    : { ...times, data, format, checksum };
}

function dataOf(kind: string | undefined, body: Uint8Array): string | Uint8Array | undefined {
  if (kind === "bytes") return body;
  if (kind !== "text") return undefined;
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(body);
  } catch {
    return undefined;
  }
}

function numberOf(text: string | undefined): number | undefined {
  return text !== undefined && /^-?\d+(\.\d+)?(e[+-]?\d+)?$/.test(text) ? Number(text) : undefined;
}

function momentOf(text: string | undefined): number | null | undefined {
  return text === NEVER ? null : numberOf(text);
}
