/** Entries for tests of stores. */

import type { StoredEntry } from "../../src/encoding/entry.ts";

/** An entry as a backend gets it. */
export function entry(data: string | Uint8Array, fields: Partial<StoredEntry> = {}): StoredEntry {
  return {
    data,
    format: "json-1",
    checksum: 4_000_000_000,
    storedAt: 1_700_000_000_000,
    expiresAt: null,
    staleUntil: null,
    durationMs: 1.5,
    ...fields,
  };
}
