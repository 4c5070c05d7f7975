/**
 * Pauses after failures.
 *
 * @module
 */

const FIRST_MS = 1_000;
const LONGEST_MS = 30_000;

/** A pause after a failure: 1 s, doubled with each further failure, at most 30 s. */
export class Pause {
  #lengthMs = 0;
  #until = 0;

  get isOn(): boolean {
    return this.#lengthMs > 0 && performance.now() < this.#until;
  }

  /** Begins the first pause, or the next one. */
  begin(): void {
    // The failures of calls that began before the pause count as one.
    if (this.isOn) return;
    this.#lengthMs = Math.min(LONGEST_MS, this.#lengthMs === 0 ? FIRST_MS : 2 * this.#lengthMs);
    this.#until = performance.now() + this.#lengthMs;
  }

  /** Ends the pause after a success; the next one is 1 s again. */
  end(): void {
    this.#lengthMs = 0;
  }
}
