/**
 * The counts of a batch, and its reports to `onProgress`.
 *
 * @module
 */

import type { BatchProgress, ProgressListener } from "../base/batch_progress.ts";
import { unawaited } from "../base/check.ts";
import type { CallDetail } from "./detail.ts";
import type { MapOptions, MapResult } from "./map_options.ts";
import { countCall, NO_CALLS, toThousandths } from "./stats.ts";

/** The counts of a batch; the object stands for the batch in calls of the listener. */
export class BatchReport {
  readonly progress: { -readonly [Name in keyof BatchProgress]: BatchProgress[Name] };
  readonly #counted = { spent: 0, saved: 0 };
  readonly #listener: ProgressListener | undefined;
  readonly #count: MapOptions["count"];
  readonly #guarded: (call: () => unknown) => void;
  #start: number | undefined;

  /**
   * @param total The number of inputs, where it is known.
   * @param options The options of the batch.
   * @param guarded Calls the user's code; its errors are reported, and the batch goes on.
   */
  constructor(
    total: number | undefined,
    { onProgress, count }: MapOptions,
    guarded: (call: () => unknown) => void,
  ) {
    this.#listener = onProgress;
    this.#count = count;
    this.#guarded = guarded;
    this.progress = {
      done: 0,
      total,
      ...NO_CALLS,
      running: 0,
      durationMs: 0,
      savedMs: 0,
      ...(count !== undefined && { counted: this.#counted }),
      finished: false,
    };
  }

  /** The progress so far. */
  get summary(): BatchProgress {
    this.#time();
    const { counted } = this.progress;
    return { ...this.progress, ...(counted !== undefined && { counted: { ...counted } }) };
  }

  /** Starts the clock. */
  begin(): void {
    this.#start = performance.now();
  }

  /** Counts a result as it is handed out, so that the counts agree with what the consumer sees. */
  add(result: MapResult<unknown, unknown>, detail: CallDetail<unknown> | undefined): void {
    const { progress } = this;
    progress.done++;
    if (detail === undefined || !result.ok) progress.failed++;
    else {
      const { status, durationMs, unstored } = detail;
      countCall(progress, status, durationMs);
      if (status === "miss" && unstored !== undefined) progress.unstored++;
      if (this.#count !== undefined) this.#countValue(this.#count, result.value, status === "miss");
    }
    this.notify(false);
  }

  notify(isFinished: boolean): void {
    const listener = this.#listener;
    if (isFinished || listener !== undefined) this.#time();
    this.progress.finished = isFinished;
    if (listener !== undefined) this.#guarded(() => listener(this.progress, this));
  }

  /** Calls a method of the listener, where it has that. */
  moment(name: "beforeResult" | "beforeWait"): void {
    const listener = this.#listener;
    if (listener?.[name] !== undefined) this.#guarded(() => listener[name]?.(this));
  }

  #countValue(count: (value: never) => number, value: unknown, isSpent: boolean): void {
    this.#guarded(() => {
      const counted: unknown = unawaited(Reflect.apply(count, undefined, [value]));
      if (typeof counted !== "number" || Number.isNaN(counted)) {
        throw new TypeError("Cannot count a value: count(value) must be a number");
      }
      const name = isSpent ? "spent" : "saved";
      this.#counted[name] = withoutNoise(this.#counted[name] + counted);
    });
  }

  /** Not per result without a listener: reading the clock costs as much as a step of a hit. */
  #time(): void {
    if (this.#start === undefined || this.progress.finished) return;
    this.progress.durationMs = toThousandths(performance.now() - this.#start);
  }
}

/** Rounds a fraction to the digits that a double keeps: sums print without noise. */
function withoutNoise(sum: number): number {
  return Number.isInteger(sum) ? sum : Number(sum.toPrecision(15));
}
