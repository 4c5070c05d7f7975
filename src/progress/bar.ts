/**
 * The progress bar: one line for all batches that run at the same time.
 *
 * @module
 */

import type { BatchProgress, ProgressListener } from "../base/batch_progress.ts";
import { check, count, type Rule } from "../base/check.ts";
import { type Duration, duration } from "../base/duration.ts";
import { type Terminal, terminal } from "../base/env.ts";
import { add, describe, fit, NOTHING, withBar } from "./line.ts";
import { Speed } from "./speed.ts";

/** Options of {@linkcode progressBar}. */
export interface ProgressBarOptions {
  /**
   * The number of inputs, a non-negative integer, for a batch that does not know it yet because
   * they come from a generator.
   *
   * @default {what the batch knows}
   */
  readonly total?: number;
  /**
   * The time between two plain lines: more than 0, and at least 100 ms in effect; `Infinity` writes
   * the last line only.
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

/** An `onProgress` function that draws the batches it is given to, one by one or at once. */
export interface ProgressBar {
  /**
   * Takes a report; the batch calls it.
   *
   * @param progress How far the batch is.
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

/** Back to the first column (ECMA-48) … */
const LINE_START = "\r";
/** … and clear to the end of the line. */
const CLEAR_TO_END = "\x1b[K";

const TERMINAL: Rule<Terminal> = {
  must: "an object with write(text)",
  read: (value) => isTerminal(value) ? value : undefined,
};

function isTerminal(value: unknown): value is Terminal {
  return typeof value === "object" && value !== null && "write" in value &&
    typeof value.write === "function";
}

/**
 * Makes an `onProgress` callback that draws how far batches are: counts, time, rate, and what
 * `count` counts. On a terminal it redraws one line ten times a second; elsewhere, and where `TERM`
 * is `dumb`, it writes a plain line every few seconds and a last one. It uses no colour.
 *
 * The line is cleared before a result is handed out and stays away until the loop asks for the next
 * one, so that what the loop prints stands alone; a loop that takes long gets plain lines. Use
 * {@linkcode ProgressBar.log} to print at other times.
 *
 * One bar serves several batches: one after another, each with a last line of its own, or at the
 * same time, as their sum.
 *
 * The rate is that of the last 15 seconds, or of the last 10 inputs where that is longer. Hits
 * before the first miss do not count in it, because they do not show how long the rest takes.
 *
 * @param options The total where the batch does not know it, the interval of plain lines, and where
 * to draw.
 * @returns The bar.
 * @throws {TypeError} If an option is unknown or of the wrong kind.
 * @throws {RangeError} If `total` is not a non-negative integer, or `plainInterval` not above 0.
 *
 * @example Draw into a text
 * ```ts
 * import { MemoryCache } from "@panza/panza";
 * import { progressBar } from "@panza/panza/progress";
 * import { assertStringIncludes } from "@std/assert";
 *
 * await using cache = new MemoryCache();
 * const double = cache.cache({ id: "double" })(async (n: number) => await Promise.resolve(2 * n));
 * let drawn = "";
 * const bar = progressBar({
 *   output: { columns: undefined, write: (text) => void (drawn += text) },
 * });
 * bar.log("doubling");
 * await double.map([1, 2, 3], { concurrency: 2, onProgress: bar }).values();
 * assertStringIncludes(drawn, "doubling\n3/3 100%");
 * ```
 */
export function progressBar(options: ProgressBarOptions = {}): ProgressBar {
  const { total, plainInterval = 5_000, output = terminal() } = check("draw progress", options, {
    total: count({ min: 0 }),
    plainInterval: duration,
    output: TERMINAL,
  });
  let round: Round | undefined;
  /** Stands for the batch where another function passes its reports on, and nothing else. */
  const unnamed = {};
  const bar = (progress: BatchProgress, batch: object = unnamed): void => {
    if (round?.has(batch) !== true) bar.begin(batch);
    round?.update(progress, batch);
    if (batch === unnamed && progress.finished) bar.end(batch);
  };
  bar.begin = (batch: object): void => {
    round ??= new Round(output, plainInterval, total);
    round.begin(batch);
  };
  bar.beforeResult = (batch: object): void => round?.hold(batch);
  bar.beforeWait = (batch: object): void => round?.release(batch);
  bar.end = (batch: object): void => {
    if (round?.end(batch) === true) round = undefined;
  };
  bar.log = (text: string): void => {
    if (round === undefined) output.write(`${text}\n`);
    else round.log(text);
  };
  return bar satisfies ProgressListener;
}

/** The drawing of batches that overlap in time, from the first begin to the last end. */
class Round {
  readonly #output: Terminal;
  readonly #plainMs: number;
  readonly #total: number | undefined;
  readonly #startedAt = performance.now();
  readonly #speed = new Speed();
  readonly #timer: ReturnType<typeof setInterval>;
  /** The batches that run, each with its latest report. */
  readonly #running = new Map<object, BatchProgress | undefined>();
  /** The batches whose consumer has a result in hand and may print. */
  readonly #held = new Set<object>();
  /** The sum of the batches that have ended. */
  #ended = NOTHING;
  #shownAt = this.#startedAt;
  /** Whether the line is on the terminal now. */
  #isDrawn = false;

  constructor(output: Terminal, plainMs: number, total: number | undefined) {
    this.#output = output;
    this.#plainMs = plainMs;
    this.#total = total;
    this.#timer = setInterval(() => {
      try {
        this.#show();
      } catch {
        // The next call by the batch meets the same failure, and the batch reports it.
      }
    }, REDRAW_MS);
    // A browser's timer is a number, and keeps no process alive.
    this.#timer.unref?.();
  }

  has(batch: object): boolean {
    return this.#running.has(batch);
  }

  begin(batch: object): void {
    this.#running.set(batch, undefined);
  }

  update(progress: BatchProgress, batch: object): void {
    const isFirst = this.#running.get(batch) === undefined;
    this.#running.set(batch, progress);
    if (isFirst) this.#show();
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

  /** Takes leave of a batch; true if it was the last one, whose end writes the last line. */
  end(batch: object): boolean {
    const progress = this.#running.get(batch);
    if (progress !== undefined) this.#ended = add(this.#ended, progress, this.#total);
    this.#held.delete(batch);
    if (!this.#running.delete(batch) || this.#running.size > 0) return false;
    clearInterval(this.#timer);
    this.#clear();
    const text = describe(this.#ended, performance.now() - this.#startedAt).join(", ");
    const room = (this.#output.columns ?? 0) - 1;
    this.#output.write(`${withBar(text, this.#ended, room)}\n`);
    return true;
  }

  /** Draws the line if nobody else may print now; else writes a plain line when it is time. */
  #show(): void {
    const now = performance.now();
    const elapsedMs = now - this.#startedAt;
    let tally = this.#ended;
    for (const progress of this.#running.values()) {
      if (progress !== undefined) tally = add(tally, progress, this.#total);
    }
    this.#speed.add(elapsedMs, tally);
    const parts = describe(tally, elapsedMs, this.#speed);
    const { columns } = this.#output;
    if (columns !== undefined && this.#held.size === 0) {
      // Some terminals go to the next line when the last column is filled.
      const line = fit(parts, tally, columns - 1);
      this.#output.write(`${LINE_START}${line}${CLEAR_TO_END}`);
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
