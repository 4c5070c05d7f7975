/**
 * The file of one entry: indented JSON that is read, compared and reviewed like source code.
 *
 * @module
 */

import { fromBase64, toBase64 } from "../base/base64.ts";
import { isObject, isPlain } from "../base/plain.ts";
import type { StoredEntry } from "../encoding/entry.ts";

/** An entry with the names under which it is stored. */
export interface EntryFile {
  readonly id: string;
  readonly key: string;
  readonly entry: StoredEntry;
}

/** The beginning of every file of this format; formatters and Windows line ends may change it. */
const OURS = /^\ufeff?\s*\{\s*"panza":\s*1\s*,/;

/** Whether this library wrote a text; an empty one is what a power cut leaves of a write. */
export function isOurs(text: string): boolean {
  return text === "" || OURS.test(text);
}

/** Writes the file of an entry: the value last, and as JSON where that keeps every character. */
export function writeFile(id: string, key: string, entry: StoredEntry): string {
  const { data, format, checksum, storedAt, expiresAt, staleUntil, durationMs } = entry;
  const times = { storedAt, expiresAt, staleUntil, durationMs };
  const write = (value: object): string =>
    `${JSON.stringify({ panza: 1, id, key, ...times, format, checksum, ...value }, null, 2)}\n`;
  if (typeof data !== "string") return write({ base64: toBase64(data) });
  try {
    const json: unknown = JSON.parse(data);
    if (JSON.stringify(json) === data) return write({ json });
  } catch {
    // It is not JSON, or too deep to be indented.
  }
  return write({ text: data });
}

/** Reads what `writeFile` wrote; `undefined` for a text that is damaged. */
export function readFile(text: string): EntryFile | undefined {
  try {
    const file: unknown = JSON.parse(text.replace(/^\ufeff/, ""));
    if (!isObject(file) || !isPlain(file)) return undefined;
    const string = (name: string): string => {
      const value = file[name];
      if (typeof value === "string") return value;
      throw new TypeError("text is missing");
    };
    const number = (name: string): number => {
      const value = file[name];
      if (typeof value === "number") return value;
      throw new TypeError("a number is missing");
    };
    const time = (name: string): number | null => file[name] === null ? null : number(name);
    const data = "json" in file
      ? JSON.stringify(file["json"])
      : "text" in file
      ? string("text")
      : fromBase64(string("base64"));
    return {
      id: string("id"),
      key: string("key"),
      entry: {
        data,
        format: string("format"),
        checksum: number("checksum"),
        storedAt: number("storedAt"),
        expiresAt: time("expiresAt"),
        staleUntil: time("staleUntil"),
        durationMs: number("durationMs"),
      },
    };
  } catch {
    return undefined;
  }
}
