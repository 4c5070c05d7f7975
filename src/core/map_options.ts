/**
 * What a batch takes and gives: types only.
 *
 * @module
 */

import type { BatchProgress } from "../base/batch_progress.ts";
import type { CallStatus } from "./events.ts";

/** Options of `fn.map(inputs, options)`. */
export interface MapOptions<Rest extends readonly unknown[] = readonly unknown[]> {
  /** How many calls run at once: a positive integer, or `Infinity`. */
  readonly concurrency: number;
  /**
   * Whether results come out in the order of the inputs, instead of as they are ready.
   *
   * @default {false}
   */
  readonly ordered?: boolean;
  /**
   * When it aborts, no new input is taken, and it counts as a signal of each call: calls that wait
   * leave, and functions see it where their arguments hold a signal.
   */
  readonly signal?: AbortSignal;
  /**
   * Is told at the start, after every result and at the end how far the batch is; what it throws is
   * reported to `onError`. `progressBar()` makes one.
   */
  readonly onProgress?: (progress: BatchProgress) => void;
  /** Arguments that follow the input in every call. */
  readonly args?: Rest;
  /** A number for each value, such as tokens or cents: the summary holds their sums. */
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
      /** What it returned, owned by the caller. */
      readonly value: Value;
      /** How the value came about. */
      readonly status: CallStatus;
    }
    | {
      /** The call failed. */
      readonly ok: false;
      /** What it threw. */
      readonly error: unknown;
      /** Always `"failed"`. */
      readonly status: "failed";
    }
  );
