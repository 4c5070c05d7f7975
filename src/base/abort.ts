/**
 * Waiting under abort signals, with one listener per signal however many calls wait under it:
 * runtimes compare each new listener with all earlier ones, which is quadratic for a batch.
 *
 * @module
 */

/** A wait that the first abort of its signals ends. */
export interface Waiter {
  readonly signals: readonly AbortSignal[];
  /** Called once, with the reason of the first signal that aborts. Must not throw. */
  leave(reason: unknown): void;
}

/** The waiting calls of a signal, and the one listener that all of them share. */
interface Watch {
  readonly waiters: Set<Waiter>;
  readonly listener: () => void;
}

const watches = new WeakMap<AbortSignal, Watch>();

const nothing = (): void => {};

/**
 * Calls a listener once: when the first of some signals aborts, or at once if one already has.
 *
 * Polyfilled signals work too: only `aborted`, `reason`, `addEventListener` and
 * `removeEventListener` are used.
 *
 * @param signals When several have already aborted, the first in this list counts.
 * @param leave Called with the reason. Must not throw.
 * @returns A function that stops listening. It may be called repeatedly, and by `leave`.
 */
export function whenAborted(
  signals: readonly AbortSignal[],
  leave: (reason: unknown) => void,
): () => void {
  const aborted = signals.find((signal) => signal.aborted);
  if (aborted !== undefined) leave(abortReason(aborted));
  if (aborted !== undefined || signals.length === 0) return nothing;
  const waiter: Waiter = { signals, leave };
  listen(waiter);
  return () => unlisten(waiter);
}

/** Makes a waiter leave when the first of its signals aborts. None may have aborted yet. */
export function listen(waiter: Waiter): void {
  for (const signal of waiter.signals) {
    (watches.get(signal) ?? watch(signal)).waiters.add(waiter);
  }
}

/** Stops listening for a waiter. May be called repeatedly. */
export function unlisten(waiter: Waiter): void {
  for (const signal of waiter.signals) {
    const watch = watches.get(signal);
    if (watch?.waiters.delete(waiter) !== true || watch.waiters.size > 0) continue;
    watches.delete(signal);
    signal.removeEventListener("abort", watch.listener);
  }
}

/**
 * Waits for a promise until the first of some signals aborts.
 *
 * @param promise Its outcome is ignored after an abort.
 * @returns The value or the error of the promise, or a rejection with the reason of the abort.
 */
export function unlessAborted<Value>(
  promise: Promise<Value>,
  signals: readonly AbortSignal[],
): Promise<Value> {
  if (signals.length === 0) return promise;
  return new Promise((resolve, reject) => {
    const end = whenAborted(signals, reject);
    promise.then(resolve, reject).finally(end);
  });
}

/** The reasons of signals that give none. */
const reasons = new WeakMap<AbortSignal, unknown>();

/** The reason of a signal that has aborted; always the same `AbortError` where a polyfill has none. */
export function abortReason(signal: AbortSignal): unknown {
  if (signal.reason !== undefined) return signal.reason;
  if (!reasons.has(signal)) {
    reasons.set(signal, new DOMException("The signal has been aborted", "AbortError"));
  }
  return reasons.get(signal);
}

function watch(signal: AbortSignal): Watch {
  const waiters = new Set<Waiter>();
  const listener = (): void => {
    const reason = abortReason(signal);
    for (const waiter of waiters) {
      unlisten(waiter);
      waiter.leave(reason);
    }
  };
  const created = { waiters, listener };
  watches.set(signal, created);
  signal.addEventListener("abort", listener);
  return created;
}
