/**
 * Pauses after failures.
 *
 * @module
 */

const FIRST_MS = 1_000;
const LONGEST_MS = 30_000;

/** A pause that begins with a failure: 1 s, twice as long with each further one, at most 30 s. */
export class Pause {
  #lengthMs = 0;
  #until = 0;

  /** Whether it is on. */
  get isOn(): boolean {
    return this.#lengthMs > 0 && performance.now() < this.#until;
  }

  /** Begins it, or the next one. */
  begin(): void {
    // Failures of calls that began before the pause are one failure.
    if (this.isOn) return;
    this.#lengthMs = Math.min(LONGEST_MS, this.#lengthMs === 0 ? FIRST_MS : 2 * this.#lengthMs);
    this.#until = performance.now() + this.#lengthMs;
  }

  /** Ends it: something has worked. */
  end(): void {
    this.#lengthMs = 0;
  }
}
