/**
 * The progress bar: one line for all batches that run at the same time.
 *
 * No library is used: the nearest ones need a total, mistake a burst of hits for the rate of the
 * rest, or bring colours and character widths that a line of ASCII does not need.
 *
 * @module
 */

import type { BatchProgress, ProgressListener } from "../base/batch_progress.ts";
import { check, count, type Rule } from "../base/check.ts";
import { type Duration, duration } from "../base/duration.ts";
import { type Terminal, terminal } from "../base/env.ts";
import { describe, fit, Tally, WORDS, type Words } from "./line.ts";
import { Speed } from "./speed.ts";

/** Options of {@linkcode progressBar}. */
export interface ProgressBarOptions {
  /**
   * The number of inputs, a non-negative integer, for batches that cannot know it before they end
   * because their inputs come from a generator.
   *
   * @default {what the batch knows}
   */
  readonly total?: number;
  /**
   * The time between two plain lines, above 0 and in steps of 0.1 s; `Infinity` writes only the
   * last line.
   *
   * @default {"5s"}
   */
  readonly plainInterval?: Duration;
  /**
   * The output to draw on.
   *
   * @default {stderr}
   */
  readonly output?: Terminal;
}

/** An `onProgress` callback that draws the batches it is given to. */
export interface ProgressBar {
  /**
   * Takes a report; the batch calls it.
   *
   * @param progress The progress of the batch.
   */
  (progress: BatchProgress): void;
  /**
   * Writes a text on lines of its own where the bar is drawn, at any time.
   *
   * @param text The text, without its last line break.
   */
  log(text: string): void;
}

/** The time between two drawings, in milliseconds. */
const REDRAW_MS = 100;
/** The least time between two drawings in a stream of results, in milliseconds. */
const LEAST_REDRAW_MS = 1;
/** Back to the first column, and clear to the end of the line (ECMA-48). */
const LINE_START = "\r";
const CLEAR_TO_END = "\x1b[K";

const TERMINAL: Rule<Terminal> = {
  must: "an object with write(text)",
  read: (value) => typeof Object(value).write === "function" ? value as Terminal : undefined,
};

/**
 * Makes an `onProgress` callback that draws the progress of batches: counts, time, rate, and the
 * sums of `count`. On a terminal it redraws one line ten times a second; elsewhere, and where
 * `TERM` is `dumb`, it writes a plain line every few seconds. The last line stays. No colour.
 *
 * The line is cleared before a result is handed out and stays away until the next one is asked for,
 * so that the output of a loop stands alone. A slow loop gets plain lines meanwhile. Print with
 * {@linkcode ProgressBar.log} at other times. (Give the bar itself as `onProgress`: a function that
 * only forwards reports hides these moments from the bar.)
 *
 * One bar serves batches one after another; concurrent batches are drawn as their sum.
 *
 * The rate is that of the last 15 seconds, or of the last 10 inputs where that is longer. Hits
 * before the first miss do not count in the rate: they do not show how long the rest takes.
 *
 * @param options The total where the batch does not know it, the interval of plain lines, and the
 * output.
 * @returns The bar.
 * @throws {TypeError} If an option is unknown or of the wrong kind.
 * @throws {RangeError} If `total` is not a non-negative integer, or `plainInterval` not above 0.
 *
 * @category Batches
 * @example Draw into a text
 * ```ts
 * import { MemoryCache } from "@panza/panza";
 * import { progressBar } from "@panza/panza/progress";
 * import { assertMatch } from "@std/assert";
 *
 * await using cache = new MemoryCache();
 * const double = cache.cache({ id: "double" })(async (n: number) => await Promise.resolve(2 * n));
 * let drawn = "";
 * const output = { columns: undefined, write: (text: string) => void (drawn += text) };
 * const bar = progressBar({ output });
 * bar.log("doubling");
 * await double.map([1, 2, 3], { concurrency: 2, onProgress: bar }).values();
 * assertMatch(drawn, /^doubling\n3\/3 100% in/);
 * ```
 */
export function progressBar(options: ProgressBarOptions = {}): ProgressBar {
  return barOf(WORDS, options);
}

/** A bar with other words for hits and misses. */
export function barOf(words: Words, options: ProgressBarOptions = {}): ProgressBar {
  const { total, plainInterval = 5_000, output = terminal() } = check("draw progress", options, {
    total: count({ min: 0 }),
    plainInterval: duration,
    output: TERMINAL,
  });
  let round: Round | undefined;
  /** Stands for the batch where another function forwards only its reports. */
  const unnamed = {};
  const bar = (progress: BatchProgress, batch: object = unnamed): void => {
    round ??= new Round(output, plainInterval, total, words);
    round.update(progress, batch);
    if (progress.finished && round.end(batch)) round = undefined;
  };
  bar.beforeResult = (batch: object): void => round?.hold(batch);
  bar.beforeWait = (batch: object): void => round?.release(batch);
  bar.log = (text: string): void => {
    if (round === undefined) output.write(`${text}\n`);
    else round.log(text);
  };
  return bar satisfies ProgressListener;
}

/** The drawing of batches that overlap in time, from the first report to the last end. */
class Round {
  readonly #output: Terminal;
  readonly #plainMs: number;
  readonly #total: number | undefined;
  readonly #words: Words;
  readonly #startedAt = performance.now();
  readonly #speed = new Speed();
  readonly #timer: ReturnType<typeof setInterval>;
  /** The batches that run, with their reports. */
  readonly #running = new Map<object, BatchProgress>();
  /** The batches whose consumer has a result in hand and may print. */
  readonly #held = new Set<object>();
  /** The sum of the batches that have ended. */
  readonly #ended = new Tally();
  #shownAt = this.#startedAt;
  /** Whether the line is on the terminal now. */
  #isDrawn = false;

  constructor(output: Terminal, plainMs: number, total: number | undefined, words: Words) {
    this.#output = output;
    this.#plainMs = plainMs;
    this.#total = total;
    this.#words = words;
    this.#timer = setInterval(() => {
      try {
        this.#show();
      } catch {
        // The next report meets the same failure, and its batch reports it.
      }
    }, REDRAW_MS);
    // The timer of a browser is a number, and keeps no process alive.
    this.#timer.unref?.();
  }

  update(progress: BatchProgress, batch: object): void {
    const isFirst = !this.#running.has(batch);
    this.#running.set(batch, progress);
    if (isFirst && !progress.finished) this.#show();
  }

  hold(batch: object): void {
    this.#held.add(batch);
    this.#clear();
  }

  release(batch: object): void {
    if (!this.#held.delete(batch) || this.#isDrawn) return;
    if (performance.now() - this.#shownAt >= LEAST_REDRAW_MS) this.#show();
  }

  log(text: string): void {
    this.#clear();
    this.#output.write(`${text}\n`);
    this.#show();
  }

  /** Ends a batch; true if it was the last one, which writes the last line. */
  end(batch: object): boolean {
    const progress = this.#running.get(batch);
    if (progress !== undefined) this.#ended.add(progress, this.#total);
    this.#running.delete(batch);
    this.#held.delete(batch);
    if (this.#running.size > 0) return false;
    clearInterval(this.#timer);
    this.#clear();
    const parts = describe(
      this.#ended,
      performance.now() - this.#startedAt,
      undefined,
      this.#words,
    );
    this.#output.write(`${parts.join(", ")}\n`);
    return true;
  }

  /** Draws the line while no consumer may print; otherwise writes a plain line when one is due. */
  #show(): void {
    const now = performance.now();
    const elapsedMs = now - this.#startedAt;
    const tally = Object.assign(new Tally(), this.#ended);
    for (const progress of this.#running.values()) tally.add(progress, this.#total);
    this.#speed.add(elapsedMs, tally);
    const parts = describe(tally, elapsedMs, this.#speed, this.#words);
    const { columns } = this.#output;
    if (columns !== undefined && this.#held.size === 0) {
      // Some terminals go to the next line when the last column is filled.
      this.#output.write(`${LINE_START}${fit(parts, tally, columns - 1)}${CLEAR_TO_END}`);
      this.#isDrawn = true;
    } else if (now - this.#shownAt >= this.#plainMs) {
      this.#output.write(`${parts.join(", ")}\n`);
    } else return;
    this.#shownAt = now;
  }

  #clear(): void {
    if (this.#isDrawn) this.#output.write(LINE_START + CLEAR_TO_END);
    this.#isDrawn = false;
  }
}
