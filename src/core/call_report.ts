/**
 * Reports of calls: to `onCall`, and under `debug`.
 *
 * @module
 */

import { warn } from "../base/env.ts";
import { canonicalArguments } from "../encoding/canonical.ts";
import { bytesOf } from "../encoding/size.ts";
import type { Cost } from "./detail.ts";
import type { CallEvent, CallStatus, Unstored } from "./events.ts";
import type { KeyedCall } from "./key.ts";
import type { CacheState, FunctionState } from "./state.ts";

/** The most characters of arguments in a debug line, which stays one line. */
const MAX_SHOWN = 500;

/** Reports a call to `onCall`. */
export function reportCall(
  state: CacheState,
  own: FunctionState,
  key: string,
  status: CallEvent["status"],
  { storedAt, durationMs, data }: Cost,
  unstored?: Unstored,
): void {
  const { onCall } = state;
  if (onCall === undefined) return;
  const bytes = data === undefined ? 0 : bytesOf(data);
  const event = { id: own.id, key, status, durationMs, storedAt, bytes, unstored };
  state.guarded(() => onCall(event), own, key);
}

/** Prints the debug line of a call. */
export function printCall(id: string, status: CallStatus, { key, given }: KeyedCall): void {
  let text: string;
  try {
    text = canonicalArguments(given, []);
  } catch {
    text = "arguments that cannot be shown";
  }
  const shown = text.length > MAX_SHOWN ? `${text.slice(0, MAX_SHOWN)}…` : text;
  warn(`panza: ${status} ${id} ${key} ${shown}`);
}
