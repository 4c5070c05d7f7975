/**
 * What a call came to, as its caller and `onCall` are told: types only.
 *
 * @module
 */

/** How a call got its value. */
export type CallStatus = "hit" | "miss" | "shared" | "stale";

/**
 * Why a result was not stored: a bust came in between, `shouldCache` refused it, it cannot be
 * encoded, the store failed, the arguments changed while the function ran, the store holds an entry
 * under this key that must not be replaced, a stream was longer than its bound, or another process
 * has busted it or taken it over (`"lease"`).
 */
export type Unstored =
  | "lease"
  | "busted"
  | "refused"
  | "encode"
  | "write"
  | "arguments"
  | "kept"
  | "length";

/** A call that has ended, as `onCall` is told of it. Values and arguments are not in it. */
export interface CallEvent {
  /** The id of the function. */
  readonly id: string;
  /** The hex key of the call. */
  readonly key: string;
  /**
   * How the call got its value; or `"failed"` for a run that failed, once, however many calls waited
   * for it and whatever they got instead. There are as many of each as `stats()` counts.
   */
  readonly status: CallStatus | "failed";
  /** The work of the run that made the value, without its waits, in milliseconds. */
  readonly durationMs: number;
  /** When the value was stored, in milliseconds since the Unix epoch; `null` if it was not. */
  readonly storedAt: number | null;
  /** Bytes of the encoded value; 0 where there is none. */
  readonly bytes: number;
  /** Why the value was not stored; `undefined` when it was. */
  readonly unstored: Unstored | undefined;
}
