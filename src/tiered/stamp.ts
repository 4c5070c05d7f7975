/**
 * When an entry came into an inner tier, written into its format: it survives restarts, needs no
 * room of its own in any store, and leaves the value readable.
 *
 * @module
 */

import type { StoredEntry } from "../encoding/entry.ts";
import { seal } from "../encoding/entry.ts";

const STAMPED = /^(.+)\.seen-(\d{1,16})$/;

/**
 * Writes down when the outermost tier was known to hold the entry.
 *
 * @param entry An intact entry without a stamp.
 * @param seenAt When, in whole milliseconds since the Unix epoch.
 */
export function stamp(id: string, key: string, entry: StoredEntry, seenAt: number): StoredEntry {
  const { data, format } = entry;
  return seal(id, key, { data, format: `${format}.seen-${seenAt}` }, entry);
}

/** An entry as it was before `stamp`, and the time; an entry without a stamp as it is. */
export function unstamp(
  id: string,
  key: string,
  entry: StoredEntry,
): { readonly entry: StoredEntry; readonly seenAt: number | undefined } {
  const [, format, seenAt] = STAMPED.exec(entry.format) ?? [];
  if (format === undefined) return { entry, seenAt: undefined };
  const { data } = entry;
  return {
    entry: seal(id, key, { data, format }, entry),
    seenAt: Number(seenAt),
  };
}
