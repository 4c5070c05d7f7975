/**
 * The results of calls, as reported to callers and `onCall`: types only.
 *
 * @module
 */

/** The way a call got its value. */
export type CallStatus = "hit" | "miss" | "shared" | "stale";

/**
 * The reason a result was not stored: a bust came in between, `shouldCache` refused it, it cannot
 * be encoded, the store failed, the arguments changed while the function ran, the store holds an
 * entry under this key that must not be replaced, a stream was longer than its bound, or another
 * process has busted it or taken it over (`"lease"`).
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

/** An ended call, as reported to `onCall`, without values and arguments. */
export interface CallEvent {
  /** The id of the function. */
  readonly id: string;
  /** The hex key of the call. */
  readonly key: string;
  /**
   * The way the call got its value; or `"failed"`, once for each failed run, however many calls
   * waited for it and whatever they got instead. `stats()` counts as many of each.
   */
  readonly status: CallStatus | "failed";
  /** The working time of the run that made the value, without its waits, in milliseconds. */
  readonly durationMs: number;
  /** The time of storage, in milliseconds since the Unix epoch; `null` if not stored. */
  readonly storedAt: number | null;
  /** Bytes of the encoded value; 0 where there is none. */
  readonly bytes: number;
  /** The reason the value was not stored; `undefined` when it was. */
  readonly unstored: Unstored | undefined;
}
