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

import type { BatchProgress } from "../base/batch_progress.ts";
import { type Duration, parseDuration } from "../base/duration.ts";
import { type Terminal, terminal } from "../base/env.ts";
import { optionMessage, refuseUnknownOptions } from "../base/errors.ts";

/** Options of {@linkcode progressBar}. */
export interface ProgressBarOptions {
  /**
   * How many inputs there are, a non-negative integer, where the batch cannot know: when they come
   * from a generator.
   *
   * @default {what the batch knows}
   */
  readonly total?: number;
  /**
   * The time between two lines where there is no terminal: more than 0; `Infinity` leaves the last
   * line alone.
   *
   * @default {"5s"}
   */
  readonly plainInterval?: Duration;
  /**
   * Where to draw.
   *
   * @default {stderr}
   */
  readonly output?: Terminal;
}

/** The least time between two drawings on a terminal, in milliseconds. */
const REDRAW_MS = 100;

/** Back to the first column, and clear to the end of the line (ECMA-48). */
const LINE_START = "\r";
const CLEAR_TO_END = "\x1b[K";

/**
 * Makes an `onProgress` callback that draws done, hits, failures, rate and time left: one line on a
 * terminal, redrawn at most 10 times a second; elsewhere, and where `TERM` is `dumb`, a plain line
 * every few seconds and a last one. There is no colour.
 *
 * The rate is that of the last 15 seconds, or of the last 10 inputs where that is longer. Hits that
 * come before the first miss do not count in it: they say nothing about how long the rest takes.
 * The time left is what remains at that rate.
 *
 * @param options The total where the batch does not know it, the interval of plain lines, and where
 * to draw.
 * @returns A callback for one batch.
 * @throws {TypeError} If an option is unknown or of the wrong shape.
 * @throws {RangeError} If `total` is not a non-negative integer, or `plainInterval` not above 0.
 *
 * @example Draw into a text
 * ```ts
 * import { progressBar } from "@panza/panza/progress";
 * import { assertStringIncludes } from "@std/assert";
 *
 * let drawn = "";
 * const onProgress = progressBar({
 *   output: { columns: undefined, write: (text) => void (drawn += text) },
 * });
 * onProgress({
 *   done: 3, total: 3, hits: 1, misses: 2, shared: 0, stale: 0, failed: 0,
 *   running: 0, durationMs: 2000, savedMs: 500, finished: true,
 * });
 * assertStringIncludes(drawn, "3/3");
 * ```
 */
export function progressBar(options: ProgressBarOptions = {}): (progress: BatchProgress) => void {
  const action = "draw progress";
  refuseUnknownOptions(action, options, ["total", "plainInterval", "output"]);
  const { total, plainInterval = "5s", output } = options;
  if (total !== undefined && !(Number.isSafeInteger(total) && total >= 0)) {
    const Refusal = typeof total === "number" ? RangeError : TypeError;
    throw new Refusal(optionMessage(action, "total", "a non-negative integer", total));
  }
  if (output !== undefined && typeof output?.write !== "function") {
    throw new TypeError(optionMessage(action, "output", "an object with write(text)", output));
  }
  const bar = new Bar(total, parseDuration(action, "plainInterval", plainInterval), output);
  return (progress) => bar.update(progress);
}

class Bar {
  readonly #total: number | undefined;
  readonly #plainMs: number;
  readonly #speed = new Speed();
  #output: Terminal | undefined;
  #progress: BatchProgress | undefined;
  #drawnAt: number | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(total: number | undefined, plainMs: number, output: Terminal | undefined) {
    this.#total = total;
    this.#plainMs = plainMs;
    this.#output = output;
  }

  update(progress: BatchProgress): void {
    this.#progress = progress;
    this.#speed.add(progress);
    const output = (this.#output ??= terminal());
    const live = output.columns !== undefined;
    // The first line of a terminal comes at once, that of a log when there is something to tell.
    const since = progress.durationMs - (this.#drawnAt ?? (live ? -Infinity : 0));
    if (progress.finished || since >= (live ? REDRAW_MS : this.#plainMs)) {
      this.#draw(output);
    } else if (live) {
      // A burst of hits before a long miss would leave a line that tells too little.
      this.#timer ??= setTimeout(() => this.#draw(output), REDRAW_MS - since);
    }
  }

  #draw(output: Terminal): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const progress = this.#progress;
    if (progress === undefined) return;
    this.#drawnAt = progress.durationMs;
    const total = progress.total ?? this.#total;
    const text = describe(progress, total, this.#speed.perSecond());
    const { columns } = output;
    if (columns === undefined) {
      output.write(`${text}\n`);
      return;
    }
    // One column less: some terminals go to the next line when the last column is filled.
    const room = columns - 1;
    const drawn = withBar(text, progress.done, total, room).slice(0, room);
    output.write(`${LINE_START}${drawn}${CLEAR_TO_END}${progress.finished ? "\n" : ""}`);
  }
}

/** A rate tells of this many milliseconds at least … */
const WINDOW_MS = 15_000;
/** … and of this many inputs at least, so that slow calls have one too. */
const WINDOW_INPUTS = 10;
/** The least time between two points in time that are remembered, in milliseconds. */
const SAMPLE_MS = 250;

interface Sample {
  readonly at: number;
  readonly done: number;
}

/** The rate of late; it holds at most about 70 points in time. */
class Speed {
  /** The oldest one is where the rate is measured from. */
  readonly #samples: Sample[] = [{ at: 0, done: 0 }];
  #latest: Sample = { at: 0, done: 0 };
  #onlyHits = true;

  add(progress: BatchProgress): void {
    const { done, durationMs: at } = progress;
    const cheap = progress.misses + progress.failed === 0;
    const samples = this.#samples;
    // The way of the rest is timed from the last of the leading hits on.
    if (this.#onlyHits && !cheap) samples[0] = this.#latest;
    this.#onlyHits = cheap;
    if (done === this.#latest.done) return;
    this.#latest = { at, done };
    if (cheap) return;
    const last = samples.at(-1);
    if (last === undefined || at - last.at >= SAMPLE_MS) {
      samples.push(this.#latest);
    }
    for (
      let next = samples[1];
      next !== undefined && at - next.at >= WINDOW_MS && done - next.done >= WINDOW_INPUTS;
      next = samples[1]
    ) {
      samples.shift();
    }
  }

  /** Inputs in a second; `undefined` while it cannot be known. */
  perSecond(): number | undefined {
    const { at, done } = this.#samples[0] ?? this.#latest;
    const elapsed = this.#latest.at - at;
    const settled = this.#latest.done - done;
    return elapsed > 0 && settled > 0 ? (settled / elapsed) * 1000 : undefined;
  }
}

/** The numbers of a batch on one line. */
function describe(
  progress: BatchProgress,
  total: number | undefined,
  perSecond: number | undefined,
): string {
  const { done, finished, failed, stale, shared } = progress;
  const parts = [
    total === undefined
      ? `${done} done`
      : `${done}/${total} ${Math.floor((done / Math.max(total, 1)) * 100)}%`,
    `hits ${progress.hits}`,
    `misses ${progress.misses}`,
  ];
  if (shared > 0) parts.push(`shared ${shared}`);
  if (stale > 0) parts.push(`stale ${stale}`);
  if (failed > 0) parts.push(`failed ${failed}`);
  if (finished) {
    parts.push(`in ${formatTime(progress.durationMs)}`);
  } else if (perSecond !== undefined) {
    parts.push(`${formatRate(perSecond)}/s`);
    if (total !== undefined && done < total) {
      parts.push(`${formatTime(((total - done) / perSecond) * 1000)} left`);
    }
  }
  return parts.join(", ");
}

/** The columns of a bar: fewer tell nothing, more say no more. */
const LEAST_BAR = 10;
const MOST_BAR = 30;

/** The line with a bar before it, where both have room. */
function withBar(text: string, done: number, total: number | undefined, room: number): string {
  const width = Math.min(MOST_BAR, room - text.length - "[] ".length);
  if (total === undefined || width < LEAST_BAR) return text;
  const full = Math.round(width * Math.min(done / Math.max(total, 1), 1));
  return `[${"#".repeat(full)}${"-".repeat(width - full)}] ${text}`;
}

function formatRate(perSecond: number): string {
  return perSecond >= 100 ? perSecond.toFixed(0) : perSecond.toPrecision(2);
}

function formatTime(milliseconds: number): string {
  const seconds = Math.round(milliseconds / 1000);
  if (milliseconds < 9_950) return `${(milliseconds / 1000).toFixed(1)}s`;
  if (seconds < 60) return `${seconds}s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes}m${two(seconds % 60)}s`;
  return `${Math.floor(minutes / 60)}h${two(minutes % 60)}m`;
}

function two(count: number): string {
  return String(count).padStart(2, "0");
}
