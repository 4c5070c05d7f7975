/** Common parts of the tests of tiers: intact entries, and stores that count their calls. */

import type { Backend, EntryInfo } from "../../src/backend/contract.ts";
import type { StoredEntry } from "../../src/encoding/entry.ts";
import { encode } from "../../src/encoding/codec.ts";
import { open, seal } from "../../src/encoding/entry.ts";
import { FaultyBackend, OPERATION_NAMES } from "./faulty.ts";
import { MemoryBackend } from "../../memory.ts";
import { TieredBackend, type TieredOptions } from "../../tiered.ts";

/** An intact entry under the id `i`. */
export function entryOf(
  key: string,
  value: unknown,
  times: { storedAt?: number; expiresAt?: number | null; id?: string } = {},
): StoredEntry {
  const { storedAt = Date.now(), expiresAt = null, id = "i" } = times;
  return seal(id, key, encode(value), {
    storedAt,
    expiresAt,
    staleUntil: expiresAt,
    durationMs: 1,
  });
}

/** The same entry with another value under the old checksum. */
export function damagedOf(entry: StoredEntry): StoredEntry {
  return { ...entry, data: `${entry.data} ` };
}

/** The value that a backend holds under the id `i`, checked; `undefined` where there is none. */
export async function valueIn(backend: Backend, key: string): Promise<unknown> {
  const entry = await backend.get("i", key);
  return entry === undefined ? undefined : open("i", key, entry);
}

/** The listing of a backend, as `id/key`, sorted. */
export async function listOf(backend: Backend, id?: string): Promise<string[]> {
  const names: string[] = [];
  const infos: AsyncIterable<EntryInfo> = backend.entries(id);
  for await (const { id, key } of infos) names.push(`${id}/${key}`);
  return names.sort();
}

/** Tiers in memory, their stores, and their reports. */
export interface Bench {
  readonly tiers: TieredBackend;
  /** Each tier with its faults, nearest first. */
  readonly faulty: readonly FaultyBackend[];
  /** The stores below the faults. */
  readonly stores: readonly MemoryBackend[];
  readonly reports: Error[];
}

export function bench(count: number, options: TieredOptions = {}): Bench {
  const stores = Array.from({ length: count }, () => new MemoryBackend());
  const faulty = stores.map((store) => new FaultyBackend(store));
  const tiers = new TieredBackend(faulty, options);
  const reports: Error[] = [];
  tiers.connect((error) => reports.push(error));
  return { tiers, faulty, stores, reports };
}

/** Makes every operation of a store fail but `close`. */
export function breakDown(store: FaultyBackend | undefined): void {
  for (const operation of OPERATION_NAMES) {
    if (operation !== "close") store?.fail(operation);
  }
}
