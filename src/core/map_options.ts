/**
 * The options and results of a batch: types only.
 *
 * @module
 */

import type { BatchProgress } from "../base/batch_progress.ts";
import type { CallStatus } from "./events.ts";

/** Options of `fn.map(inputs, options)`. */
export interface MapOptions<Rest extends readonly unknown[] = readonly unknown[]> {
  /**
   * The number of calls that run at once: a positive integer, or `Infinity`. While a call waits for
   * its next attempt, another one runs in its place; so up to twice as many run when calls come back
   * from such waits. A `limitConcurrency` around the function inside `retry` bounds that too.
   */
  readonly concurrency: number;
  /**
   * Whether results come out in the order of the inputs, instead of as they are ready.
   *
   * @default {false}
   */
  readonly ordered?: boolean;
  /**
   * Ends the batch: after an abort, no new input is taken. It also counts as a signal of each call:
   * waiting calls leave, and functions see the abort where their arguments hold a signal.
   */
  readonly signal?: AbortSignal;
  /**
   * Receives the progress at the start, after every result and at the end. Its errors are reported
   * to `onError`. `progressBar()` makes one.
   */
  readonly onProgress?: (progress: BatchProgress) => void;
  /** Arguments that follow the input in every call. */
  readonly args?: Rest;
  /** Returns a number for each value, such as tokens or cents; the summary holds their sums. */
  readonly count?: (value: never) => number;
}

/** The result of one input. */
export type MapResult<Input, Value> =
  & {
    /** The position of the input, from 0. */
    readonly index: number;
    /** The input itself. */
    readonly input: Input;
  }
  & (
    | {
      /** The call returned. */
      readonly ok: true;
      /** The value, owned by the caller. */
      readonly value: Value;
      /** The way the call got its value. */
      readonly status: CallStatus;
    }
    | {
      /** The call failed. */
      readonly ok: false;
      /** The error that it threw. */
      readonly error: unknown;
      /** Always `"failed"`. */
      readonly status: "failed";
    }
  );
