/**
 * Assertions of the conformance kit about entries, beside those of `@std/assert`: bytes may be of
 * any subclass, long data stays out of messages, and a tier may report an earlier `expiresAt`.
 *
 * @module
 */

import { assert } from "@std/assert/assert";
import { equal } from "@std/assert/equal";
import { assertEquals } from "@std/assert/equals";
import type { EntryInfo } from "../backend/contract.ts";
import type { StoredEntry } from "../encoding/entry.ts";

/** An id and a key as one text. */
export function quoted(id: string, key: string): string {
  return JSON.stringify([id, key]);
}

/** Asserts that an entry is the expected one: the kind and content of its data, and every field. */
export function assertEntry(
  actual: StoredEntry | undefined,
  expected: StoredEntry | undefined,
  what: string,
): void {
  if (!actual || !expected) return assertEquals(actual, expected, what);
  assert(
    equal(comparable(actual.data), comparable(expected.data)),
    `data of ${what} must be ${outline(expected.data)}, received ${outline(actual.data)}`,
  );
  const { format, checksum, storedAt, staleUntil, durationMs } = actual;
  const expiresAt = expiryOf(actual, expected);
  assertEquals(
    { data: "", format, checksum, storedAt, expiresAt, staleUntil, durationMs },
    { ...expected, data: "" },
    what,
  );
}

/** Asserts that entries are the expected ones, in this order. */
export function assertEntries(
  actual: readonly (StoredEntry | undefined)[],
  expected: readonly (StoredEntry | undefined)[],
  what: string,
): void {
  assertEquals(actual.length, expected.length, `length of ${what}`);
  for (const [index, entry] of expected.entries()) {
    assertEntry(actual[index], entry, `${what}[${index}]`);
  }
}

/** Asserts that a listing has the expected entries, each once, in any order. */
export function assertListing(actual: readonly EntryInfo[], expected: readonly EntryInfo[]): void {
  const [listed, stored] = [actual, expected].map((infos) =>
    new Map(infos.map((info) => [quoted(info.id, info.key), info]))
  );
  for (const [name, info] of stored ?? []) {
    const found = listed?.get(name);
    assert(found, `${name} must be listed`);
    assertEquals({ ...found, expiresAt: expiryOf(found, info) }, info, `listing of ${name}`);
  }
  assertEquals(actual.length, expected.length, "number of entries that are listed");
}

/** Bytes without their class, which may be any subclass of `Uint8Array`. */
function comparable(data: unknown): unknown {
  return data instanceof Uint8Array ? new Uint8Array(data) : data;
}

/** The beginning of data, and its length. */
function outline(data: StoredEntry["data"]): string {
  return typeof data === "string"
    ? `text of ${data.length} units ${JSON.stringify(data.slice(0, 80))}`
    : `${data.length} bytes [${data.slice(0, 16)}]`;
}

/**
 * The time at which an entry expires. A time that is earlier than expected and still to come counts
 * as the expected one, because tiers report that of an inner copy (clause 1).
 */
function expiryOf(
  { expiresAt }: Pick<EntryInfo, "expiresAt">,
  expected: Pick<EntryInfo, "expiresAt">,
): number | null {
  if (expiresAt === null || expiresAt <= Date.now()) return expiresAt;
  return expiresAt < (expected.expiresAt ?? Infinity) ? expected.expiresAt : expiresAt;
}
