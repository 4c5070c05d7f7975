/**
 * The value of a call, and how the call got it.
 *
 * @module
 */

import type { CallStatus, Unstored } from "./events.ts";
import type { Outcome } from "./run.ts";

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
