/**
 * Waiting under abort signals, with one listener per signal however many calls wait under it:
 * runtimes compare each new listener with all earlier ones, which is quadratic for a batch.
 *
 * @module
 */

/** What waits under some signals. */
export interface Waiter {
  /** The signals. */
  readonly signals: readonly AbortSignal[];
  /** Is called once, with the reason of the first that aborts. It must not throw. */
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
 * Calls a listener once, as soon as the first of some signals aborts: at once if one has.
 *
 * Polyfilled signals work too: only `aborted`, `reason`, `addEventListener` and
 * `removeEventListener` are used.
 *
 * @param signals The signals; the earlier one counts when several have aborted already.
 * @param leave Is called with the reason. It must not throw.
 * @returns Stops listening; may be called again, and by `leave`.
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

/** Lets a waiter leave when the first of its signals aborts, of which none has. */
export function listen(waiter: Waiter): void {
  for (const signal of waiter.signals) {
    (watches.get(signal) ?? watch(signal)).waiters.add(waiter);
  }
}

/** Stops listening for a waiter; may be called again. */
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
 * @param promise The promise; it is left to itself after an abort.
 * @param signals The signals.
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

/**
 * The reason of a signal that has aborted.
 *
 * @param signal The signal.
 * @returns Its reason; an `AbortError` where a polyfill gives none.
 */
export function abortReason(signal: AbortSignal): unknown {
  const reason: unknown = signal.reason;
  return reason === undefined
    ? new DOMException("The signal has been aborted", "AbortError")
    : reason;
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
