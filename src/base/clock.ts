/**
 * The clock of what users ask to wait for: retries, rates and pauses.
 *
 * @module
 */

const { setTimeout: realTimeout } = globalThis;
const realNow = Date.now;
const realSteady = performance.now;

/** The function that the time was last read from. */
let source: () => number = realSteady;
/** The difference that keeps the time steady when the source changes, in milliseconds. */
let offset = 0;
let last = 0;

/**
 * The time now, in milliseconds since some moment. It moves with the fake timers of a test: those of
 * Deno and of `node:test` come with a fake `Date`, but leave `performance.now` as it is.
 */
export function clock(): number {
  const isWall = globalThis.setTimeout !== realTimeout && Date.now !== realNow &&
    performance.now === realSteady;
  const time = isWall ? Date.now() : performance.now();
  const from = isWall ? Date.now : performance.now;
  if (from !== source) {
    source = from;
    offset = last - time;
  }
  return (last = time + offset);
}
