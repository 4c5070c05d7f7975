/**
 * A progress bar for batches: an `onProgress` callback for `fn.map`.
 *
 * @module
 */

export type { BatchProgress } from "./src/base/batch_progress.ts";
export type { Duration } from "./src/base/duration.ts";
export type { Terminal } from "./src/base/env.ts";
export { type ProgressBar, progressBar, type ProgressBarOptions } from "./src/progress/bar.ts";
