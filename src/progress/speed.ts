/**
 * The recent rate of a batch.
 *
 * @module
 */

import type { Tally } from "./line.ts";

/** A rate covers this many milliseconds at least … */
const WINDOW_MS = 15_000;
/** … and this many inputs at least, so that slow calls have a rate too. */
const WINDOW_INPUTS = 10;
/** The least time between two samples, in milliseconds: some 70 of them are kept. */
const SAMPLE_MS = 250;

interface Sample {
  readonly at: number;
  readonly done: number;
}

const START: Sample = { at: 0, done: 0 };

/** The recent rate, from counts that are added over time. */
export class Speed {
  /** The rate is measured from the first sample. */
  #samples = [START];
  #latest = START;
  #now = 0;
  #onlyHits = true;

  /** @param at The time since the start, in milliseconds. */
  add(at: number, { done, hits, misses, failed }: Tally): void {
    this.#now = at;
    // The rest is timed from the end of the leading hits.
    if (this.#onlyHits) this.#samples = [{ at: this.#latest.at, done: hits }];
    this.#onlyHits = misses + failed === 0;
    if (done === this.#latest.done) return;
    this.#latest = { at, done };
    if (this.#onlyHits) return;
    const samples = this.#samples;
    if (at - (samples.at(-1)?.at ?? 0) >= SAMPLE_MS) samples.push(this.#latest);
    for (
      let next = samples[1];
      next !== undefined && at - next.at >= WINDOW_MS && done - next.done >= WINDOW_INPUTS;
      next = samples[1]
    ) {
      samples.shift();
    }
  }

  /** Inputs per second; `undefined` while unknown. */
  get perSecond(): number | undefined {
    const { at, done } = this.#onlyHits ? START : this.#samples[0] ?? START;
    const elapsed = this.#latest.at - at;
    const settled = this.#latest.done - done;
    if (elapsed <= 0 || settled <= 0) return undefined;
    // During long calls, the next input has not settled yet, which bounds the rate.
    return 1000 * Math.min(settled / elapsed, (settled + 1) / (this.#now - at));
  }
}
