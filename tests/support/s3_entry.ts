/** An entry for tests of S3. */

import type { StoredEntry } from "../../src/encoding/entry.ts";

export const ENTRY: StoredEntry = {
  data: '{"answer":42}',
  format: "json-1",
  checksum: 4_294_967_295,
  storedAt: 1_700_000_000_123,
  expiresAt: 1_700_000_060_000,
  staleUntil: null,
  durationMs: 12.5,
};
