/**
 * Counters of calls, for one id and for a whole cache.
 *
 * @module
 */

import type { CallStatus } from "./events.ts";
import type { ErrorKind } from "./options.ts";

/** Counts of the calls of one function, or of a whole cache, since the cache was opened. */
export interface CacheStats {
  /** Calls that were answered from the store. */
  readonly hits: number;
  /** Calls for which the function ran. */
  readonly misses: number;
  /** Calls that shared the run of an equal call. */
  readonly shared: number;
  /** Calls that were answered with a stale result. */
  readonly stale: number;
  /** Runs that failed, refreshes included. */
  readonly failed: number;
  /** Results that were not stored. */
  readonly unstored: number;
  /** Reports to `onError`, by kind; a kind without any is absent. */
  readonly errors: Readonly<{ [Kind in ErrorKind]?: number }>;
  /** Bytes of encoded values that were read. */
  readonly bytesRead: number;
  /** Bytes of encoded values that were written. */
  readonly bytesWritten: number;
  /** Work that was not done again, in milliseconds: the original cost of the reused results. */
  readonly savedMs: number;
}

/** The counts of a whole cache, and of each of its functions. */
export interface AllStats extends CacheStats {
  /** The counts of each function, by its id; those of direct keys are in the sums alone. */
  readonly byId: Readonly<Record<string, CacheStats>>;
}

/** Mutable counters. */
export type Counters = { -readonly [Name in keyof CacheStats]: CacheStats[Name] } & {
  errors: { [Kind in ErrorKind]?: number };
};

/** The counts of calls before the first one. */
export const NO_CALLS = { hits: 0, misses: 0, shared: 0, stale: 0, failed: 0, unstored: 0 };

export function newCounters(): Counters {
  return {
    ...NO_CALLS,
    errors: {},
    bytesRead: 0,
    bytesWritten: 0,
    savedMs: 0,
  };
}

/** Adds `more` to `sum`. */
export function addCounters(sum: Counters, more: Counters): void {
  sum.hits += more.hits;
  sum.misses += more.misses;
  sum.shared += more.shared;
  sum.stale += more.stale;
  sum.failed += more.failed;
  sum.unstored += more.unstored;
  sum.bytesRead += more.bytesRead;
  sum.bytesWritten += more.bytesWritten;
  sum.savedMs = toThousandths(sum.savedMs + more.savedMs);
  for (const [kind, count] of Object.entries(more.errors)) {
    const known = kind as ErrorKind;
    sum.errors[known] = (sum.errors[known] ?? 0) + count;
  }
}

/** Counts a call by its status. */
export function countCall(
  counters: Pick<Counters, "hits" | "misses" | "shared" | "stale" | "savedMs">,
  status: CallStatus,
  durationMs: number,
): void {
  if (status === "miss") {
    counters.misses++;
    return;
  }
  if (status === "hit") counters.hits++;
  else if (status === "shared") counters.shared++;
  else counters.stale++;
  counters.savedMs = toThousandths(counters.savedMs + durationMs);
}

/** Rounds milliseconds to thousandths: clocks are no finer, and sums print without noise. */
export function toThousandths(milliseconds: number): number {
  return Math.round(milliseconds * 1000) / 1000;
}
