/**
 * `panza get`.
 *
 * @module
 */

import { builtin } from "../base/runtime.ts";
import { backendKey, escapeName } from "../core/names.ts";
import { open } from "../encoding/entry.ts";
import { bytesOf } from "../encoding/size.ts";
import { formatId, visible } from "./format.ts";
import type { Session } from "./session.ts";
import { openStore } from "./stores.ts";

/** The format of values that JSON does not keep. */
const INSPECT = { depth: Infinity, maxArrayLength: 1000, maxStringLength: null, compact: 3 };

/** Prints one value. */
export async function get(session: Session): Promise<number> {
  const [name = "", given = "", beginning] = session.line.words;
  await using store = await openStore(name);
  let id = given;
  let key = await store.findKey(id, beginning);
  // A single word may also be a direct key.
  if (key === undefined && beginning === undefined) key = await store.findKey(id = "", given);
  const entry = key === undefined
    ? undefined
    : await store.backend.get(escapeName(id), backendKey(key));
  if (key === undefined || entry === undefined) {
    throw new Error(
      `there is no ${beginning === undefined ? "" : "such "}result of ${formatId(given)}`,
    );
  }
  const value = open(escapeName(id), backendKey(key), entry);
  const { data, storedAt, expiresAt, staleUntil, durationMs } = entry;
  // Text is JSON; bytes hold what JSON cannot.
  const inspect = () => builtin("node:util")?.inspect(value, INSPECT) ?? String(value);
  if (session.isJson) {
    const info = { id, key, size: bytesOf(data), storedAt, expiresAt, staleUntil, durationMs };
    await session.printJson({
      ...info,
      ...(typeof data === "string" ? { value } : { inspected: inspect() }),
    });
  } else if (session.isTerminal) {
    const text = typeof data === "string" ? JSON.stringify(value, null, 2) : inspect();
    await session.print(visible(text, "\n"));
  } else await session.print(typeof data === "string" ? data : inspect());
  return 0;
}
