/**
 * The parts that the groups of clauses of the conformance kit share: registration and entries.
 *
 * @module
 */

import type { Backend, EntryInfo } from "../backend/contract.ts";
import type { StoredEntry } from "../encoding/entry.ts";

/** The kit as its groups of clauses see it; `TestOptions` documents each option. */
export interface Kit<Store> {
  /** Registers a test on a fresh store, which is closed and cleaned up after it. */
  readonly check: (name: string, body: (backend: Backend, store: Store) => Promise<void>) => void;
  /** Like `check`, with a second backend, which is closed too. */
  readonly checkBoth: (
    name: string,
    openSecond: (store: Store) => Backend | Promise<Backend>,
    body: (first: Backend, second: Backend) => Promise<void>,
  ) => void;
  readonly reopen: ((store: Store) => Backend | Promise<Backend>) | undefined;
  readonly openNeighbour: ((store: Store) => Backend | Promise<Backend>) | undefined;
  readonly breakStore: ((store: Store) => void | Promise<void>) | undefined;
  readonly entryCount: number;
  readonly seed: number;
}

/** The id and the key of an entry. */
export type Pair = readonly [id: string, key: string];

/** An entry with this data, and fields that matter only where a test gives them. */
export function makeEntry(
  data: StoredEntry["data"],
  fields: Partial<Omit<StoredEntry, "data">> = {},
): StoredEntry {
  return {
    data,
    format: "test.1",
    checksum: 3_735_928_559,
    storedAt: 1_700_000_000_000,
    expiresAt: null,
    staleUntil: null,
    durationMs: 12.5,
    ...fields,
  };
}

/** Stores entries under one id, 100 at a time, and returns their keys. */
export async function fill(backend: Backend, id: string, count: number): Promise<string[]> {
  const keys = Array.from({ length: count }, (_, index) => `entry ${index}`);
  for (let from = 0; from < count; from += 100) {
    await Promise.all(
      keys.slice(from, from + 100).map((key) => backend.set(id, key, makeEntry(key))),
    );
  }
  return keys;
}

/** Reads a listing to its end. */
export async function list(backend: Backend, id?: string): Promise<EntryInfo[]> {
  const infos: EntryInfo[] = [];
  const entries = id === undefined ? backend.entries() : backend.entries(id);
  for await (const info of entries) infos.push(info);
  return infos;
}

/** The information that `entries()` must give about an entry. */
export function infoOf(id: string, key: string, entry: StoredEntry): EntryInfo {
  const { data, storedAt, expiresAt, staleUntil, durationMs } = entry;
  const bytes = typeof data === "string" ? new TextEncoder().encode(data) : data;
  return { id, key, size: bytes.byteLength, storedAt, expiresAt, staleUntil, durationMs };
}
