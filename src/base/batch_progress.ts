/**
 * The progress reports of a batch: types only, shared with the code that draws them.
 *
 * @module
 */

/** The progress of a batch. The object is a live view: copy what you want to keep. */
export interface BatchProgress {
  /** Inputs whose results were handed out, failures included. */
  readonly done: number;
  /** Inputs in total; `undefined` until known, which for a generator is when it has ended. */
  readonly total: number | undefined;
  /** Inputs that were answered from the store. */
  readonly hits: number;
  /** Inputs for which the function ran. */
  readonly misses: number;
  /** Inputs that shared the run of an equal call. */
  readonly shared: number;
  /** Inputs that were answered with a stale result. */
  readonly stale: number;
  /** Inputs that failed. */
  readonly failed: number;
  /** Results that were handed out but could not be stored. */
  readonly unstored: number;
  /** Inputs that are being computed at this moment. */
  readonly running: number;
  /** Time since the batch began, in milliseconds. */
  readonly durationMs: number;
  /** Work that the runs behind the served results took, in milliseconds. */
  readonly savedMs: number;
  /** Sums of `count(value)`: over computed results and over served ones; unset without `count`. */
  readonly counted?: { readonly spent: number; readonly saved: number };
  /** Whether this is the last report. */
  readonly finished: boolean;
}

/**
 * An `onProgress` function, which may have methods for other moments of a batch. Each receives the
 * batch, so that a listener of several batches can distinguish them.
 */
export interface ProgressListener {
  /** Called when the batch starts, after each change, and as `finished` however it ends. */
  (progress: BatchProgress, batch: object): void;
  /** Called right before a result is handed to the consumer, which may print until `beforeWait`. */
  beforeResult?(batch: object): void;
  /** Called when the consumer is back and waits for a result that is not ready yet. */
  beforeWait?(batch: object): void;
}
