/**
 * A turn of the event loop, for loops that would keep everything else waiting.
 *
 * @module
 */

/** Lets everything else that is due have its turn. */
export function nextTurn(): Promise<void> {
  return new Promise((resolve) => {
    // A timer takes at least a millisecond, an immediate less than 10 µs.
    if (typeof setImmediate === "function") setImmediate(() => resolve());
    else setTimeout(resolve, 0);
  });
}
