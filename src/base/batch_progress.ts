/**
 * What a batch tells of itself while it runs: types only, shared with what draws it.
 *
 * @module
 */

/** How far a batch is. The object is a live view: copy what you want to keep. */
export interface BatchProgress {
  /** Inputs that have come out, whatever came of them. */
  readonly done: number;
  /** Inputs in all; `undefined` where nobody knows, as for a generator. */
  readonly total: number | undefined;
  /** Inputs that were answered from the store. */
  readonly hits: number;
  /** Inputs for which the function ran. */
  readonly misses: number;
  /** Inputs that waited for the run of an equal one. */
  readonly shared: number;
  /** Inputs that were answered with a stale result. */
  readonly stale: number;
  /** Inputs that failed. */
  readonly failed: number;
  /** Inputs that are being computed at this moment. */
  readonly running: number;
  /** How long the batch has been going, in milliseconds. */
  readonly durationMs: number;
  /** What the runs had cost whose results were not computed again, in milliseconds. */
  readonly savedMs: number;
  /** Whether this is the last report. */
  readonly finished: boolean;
}
