/**
 * A progress bar for batches: an `onProgress` callback for `fn.map`.
 *
 * No library is used. cli-progress, the nearest, knows one count and one rate, so a burst of hits
 * makes it promise an end far too early; it needs a total, copies its samples on every update and
 * has no types of its own. ora and listr2 draw spinners and bring colours and character widths that
 * a line of ASCII does not need; the bar of `@std/cli` is not in its stable API and writes to a
 * stream of its own. What is left to write is one line.
 *
 * @module
 */

export type { BatchProgress } from "./src/base/batch_progress.ts";
export type { Duration } from "./src/base/duration.ts";
export type { Terminal } from "./src/base/env.ts";
export { progressBar, type ProgressBarOptions } from "./src/progress/bar.ts";
