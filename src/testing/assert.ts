/**
 * The assertions of the conformance kit, which no test runner has to bring.
 *
 * @module
 */

import type { EntryInfo } from "../backend/contract.ts";
import type { StoredEntry } from "../encoding/entry.ts";

/** An id and a key as one text. */
export function quoted(id: string, key: string): string {
  return JSON.stringify([id, key]);
}

/** What a value looks like in a message: short. */
function show(value: unknown): string {
  if (value instanceof Error) return `${value.name}: ${value.message}`;
  if (value instanceof Uint8Array) {
    return `${value.length} bytes [${value.subarray(0, 16)} ...]`;
  }
  if (typeof value === "object" && value !== null) {
    const members = Object.entries(value).map(([name, member]) => `${name}: ${show(member)}`);
    return `{ ${members.join(", ")} }`;
  }
  const text = typeof value === "string" ? JSON.stringify(value) : String(value);
  return text.length > 100 ? `${text.slice(0, 80)}... (${text.length} characters)` : text;
}

/** Throws what a clause expects and what it got. */
export function fail(expectation: string, actual: unknown): never {
  const message = `Expected that ${expectation}, but got ${show(actual)}`;
  // Names and texts that differ only in Unicode forms or invisible characters look different.
  throw new Error(
    message.replaceAll(
      /[^\x20-\x7e]/gu,
      (character) => `\\u{${character.codePointAt(0)?.toString(16)}}`,
    ),
  );
}

/** The same value, as `Object.is` says. */
export function equal(actual: unknown, expected: unknown, what: string): void {
  if (!Object.is(actual, expected)) {
    fail(`${what} is ${show(expected)}`, actual);
  }
}

/** The same entry, or none at all: the data and every field. */
export function same(
  actual: StoredEntry | undefined,
  expected: StoredEntry | undefined,
  what: string,
): void {
  if (actual === undefined || expected === undefined) {
    return equal(actual, expected, what);
  }
  if (!sameData(actual.data, expected.data)) {
    fail(`data of ${what} is ${show(expected.data)}`, actual.data);
  }
  equal(actual.format, expected.format, `format of ${what}`);
  equal(actual.checksum, expected.checksum, `checksum of ${what}`);
  equal(actual.storedAt, expected.storedAt, `storedAt of ${what}`);
  equal(actual.expiresAt, expected.expiresAt, `expiresAt of ${what}`);
  equal(actual.staleUntil, expected.staleUntil, `staleUntil of ${what}`);
  equal(actual.durationMs, expected.durationMs, `durationMs of ${what}`);
}

function sameData(actual: StoredEntry["data"], expected: StoredEntry["data"]): boolean {
  if (typeof actual === "string" || typeof expected === "string") {
    return actual === expected;
  }
  return (
    actual instanceof Uint8Array &&
    actual.length === expected.length &&
    actual.every((byte, index) => byte === expected[index])
  );
}

/** The same entries, or none at all, in the same order. */
export function sameList(
  actual: readonly (StoredEntry | undefined)[],
  expected: readonly (StoredEntry | undefined)[],
  what: string,
): void {
  equal(actual.length, expected.length, `length of ${what}`);
  for (const [index, entry] of expected.entries()) {
    same(actual[index], entry, `${what}[${index}]`);
  }
}

/** The same entries, in any order. */
export function sameInfos(actual: readonly EntryInfo[], expected: readonly EntryInfo[]): void {
  const left = new Map(expected.map((info) => [quoted(info.id, info.key), info]));
  for (const info of actual) {
    const name = quoted(info.id, info.key);
    const wanted = left.get(name);
    if (wanted === undefined) {
      fail(`entries() lists what is stored, each once`, info);
    }
    left.delete(name);
    equal(info.size, wanted.size, `size of ${name}`);
    equal(info.storedAt, wanted.storedAt, `storedAt of ${name}`);
    equal(info.expiresAt, wanted.expiresAt, `expiresAt of ${name}`);
    equal(info.staleUntil, wanted.staleUntil, `staleUntil of ${name}`);
  }
  for (const name of left.keys()) {
    fail(`entries() lists ${name}`, `${actual.length} others`);
  }
}

/** Returns why a call rejects; throwing at once instead is a fault of its own. */
export async function rejects(call: () => Promise<unknown>, what: string): Promise<unknown> {
  let promise: Promise<unknown>;
  try {
    promise = call();
  } catch (error) {
    return fail(`${what} returns a promise that rejects`, error);
  }
  const outcome = await promise.then(
    (value) => ({ rejected: false, value }),
    (error: unknown) => ({ rejected: true, value: error }),
  );
  return outcome.rejected ? outcome.value : fail(`${what} rejects`, outcome.value);
}
