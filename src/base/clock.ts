/**
 * The clock of what users ask to wait for: retries, rates and pauses.
 *
 * @module
 */

const { setTimeout: realTimeout } = globalThis;
const realDate = Date.now;
const realSteady = performance.now;

let wasFake = false;
/** The last time of a fake `Date`. */
let last = 0;
/** The difference that keeps the time steady when its source changes, in milliseconds. */
let offset = 0;

/**
 * The time now, in milliseconds since some moment. It moves with the fake timers of a test: those of
 * Deno and of `node:test` come with a fake `Date`, but leave `performance.now` as it is.
 */
export function clock(): number {
  // This first: the other two cost as much as the clock.
  const isFake = Date.now !== realDate && globalThis.setTimeout !== realTimeout &&
    performance.now === realSteady;
  if (isFake !== wasFake) {
    wasFake = isFake;
    offset = isFake ? performance.now() + offset - Date.now() : last - performance.now();
  }
  return isFake ? last = Date.now() + offset : performance.now() + offset;
}
