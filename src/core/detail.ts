/**
 * The details of a call, and their reports to `onCall` and `debug`.
 *
 * @module
 */

import { warn } from "../base/env.ts";
import { canonicalArguments } from "../encoding/canonical.ts";
import { bytesOf } from "../encoding/size.ts";
import type { CallEvent, CallStatus, Unstored } from "./events.ts";
import type { KeyedCall } from "./key.ts";
import type { Outcome } from "./run.ts";
import type { CacheState, FunctionState } from "./state.ts";

/** A value and how a call got it. */
export interface CallDetail<Value> {
  /** The value, owned by the caller. */
  readonly value: Value;
  /**
   * `"hit"`: from the store. `"miss"`: the function ran. `"shared"`: an equal call was running, and
   * this one waited for it. `"stale"`: from the store, past its `ttl`.
   */
  readonly status: CallStatus;
  /** The hex key of the call. */
  readonly key: string;
  /** The time of storage, in milliseconds since the Unix epoch; `null` if not stored. */
  readonly storedAt: number | null;
  /** The working time of the run that made the value, without its waits, in milliseconds. */
  readonly durationMs: number;
  /** The reason the value was not stored; absent when it was. */
  readonly unstored?: Unstored;
}

/** The result of a lookup that never runs the function. */
export type CacheRead<Value> =
  | {
    /** A usable value is stored. */
    readonly hit: true;
    /** The value, owned by the caller. */
    readonly value: Value;
    /** The time of storage, in milliseconds since the Unix epoch. */
    readonly storedAt: number;
    /** The end of its freshness, in milliseconds since the Unix epoch; `null` is never. */
    readonly expiresAt: number | null;
  }
  | {
    /** No usable value is stored. */
    readonly hit: false;
  };

/** The storage time of a result, its cost, and its encoded value where there is one. */
export type Cost = Pick<Outcome, "storedAt" | "durationMs" | "data">;

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
