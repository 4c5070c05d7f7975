/**
 * Runs: one call of the function that belongs to nobody. Callers are counted; it has its own
 * arguments and its own signal.
 *
 * @module
 */

import { whenAborted } from "../base/abort.ts";
import { CacheClosedError } from "../base/errors.ts";
import { Passage, type PassageOptions } from "../base/passage.ts";
import { Link, Ring } from "../base/ring.ts";
import type { Maybe } from "../backend/contract.ts";
import type { Place } from "../backend/order.ts";
import type { Lease } from "../leases/leases.ts";
import type { Unstored } from "./events.ts";
import type { Flow } from "./flow.ts";
import type { Found, Owned } from "./owned.ts";
import { toThousandths } from "./stats.ts";

/** The result of a run, or of a lookup, for all who share it. */
export interface Outcome {
  readonly owned: Owned;
  /** How the run got it. */
  readonly status: "hit" | "miss" | "shared" | "stale";
  /** When it was stored; `null` if it was not. */
  readonly storedAt: number | null;
  /** Why it was not stored. */
  readonly unstored?: Unstored | undefined;
  /** The work of the run that made it, in milliseconds. */
  readonly durationMs: number;
  /** The encoded value, where it could be encoded. */
  readonly data?: string | Uint8Array | undefined;
}

/** The error of a run. */
export interface Failure {
  readonly error: unknown;
}

/** A lookup; equal calls share one that takes time. */
export interface Lookup {
  /** When it began, by the order's clock. */
  readonly born: number;
  readonly found: Maybe<Found | undefined>;
}

/** A key with a lookup or a run under way. */
export class Flight {
  readonly place: Place;
  lookup: Lookup | undefined;
  run: Run | undefined;

  constructor(place: Place) {
    this.place = place;
  }

  /** That of a place, where there is one. */
  static of(place: Place | undefined): Flight | undefined {
    return place?.shared instanceof Flight ? place.shared : undefined;
  }
}

/** Is called when a run begins or ends to wait for its next attempt. */
export type Watch = (isBetweenAttempts: boolean) => void;

/** A running call. */
export class Run extends Link implements PassageOptions {
  readonly id: string;
  /** When it began, by the order's clock: a bust after that is not for its result. */
  readonly born: number;
  /** Whether it refreshes a stale result, which callers need not wait for. */
  readonly isRefresh: boolean;
  readonly passage: Passage;
  /** Its stream, if its function gives one. */
  flow: Flow | undefined;
  /** The right to run, where processes share work; until the result is exchanged for it. */
  lease: Lease | undefined;
  /** Whether somebody wants to wait for it, even if another process computes the result. */
  isAwaited = false;
  readonly #runs: Runs;
  #controller: AbortController | undefined;
  #callers = 0;
  #isAborted = false;
  #hasReturned = false;
  #ended: Promise<Outcome | Failure> | undefined;
  #begun: ((ended: Promise<Outcome | Failure>) => void) | undefined;
  #wasBetweenAttempts = false;
  /** Made by the first: most runs have none. */
  #watches: Set<Watch> | undefined;

  constructor(
    id: string,
    born: number,
    isRefresh: boolean,
    controller: AbortController | undefined,
    runs: Runs,
  ) {
    super();
    this.id = id;
    this.born = born;
    this.isRefresh = isRefresh;
    this.#controller = controller;
    this.#runs = runs;
    runs.add(this);
    this.passage = new Passage(undefined, this);
  }

  /** Aborts with the run. Made when somebody asks for it: most functions do not. */
  get signal(): AbortSignal {
    return (this.#controller ??= new AbortController()).signal;
  }

  /** Whether it was told to abort: nobody joins it any more. */
  get isAborted(): boolean {
    return this.#isAborted;
  }

  /** How many callers want the result. */
  get callers(): number {
    return this.#callers;
  }

  /** The work of the function, without its waits, in milliseconds. */
  get durationMs(): number {
    return toThousandths(this.passage.workedMs);
  }

  /** Resolves when it has ended, well or badly. */
  get ended(): Promise<Outcome | Failure> {
    // Calls in the synchronous part of another run may join this one before its work is known.
    return (this.#ended ??= new Promise((resolve) => (this.#begun = resolve)));
  }

  /** Sets the work that ends with the outcome. */
  begin(work: () => Promise<Outcome | Failure>): void {
    const ended = work();
    if (this.#begun === undefined) this.#ended = ended;
    else this.#begun(ended);
  }

  /** Lets somebody hear of it; `unwatch` ends that. */
  watch(watch: Watch): void {
    (this.#watches ??= new Set()).add(watch);
  }

  /** Ends it. */
  unwatch(watch: Watch): void {
    this.#watches?.delete(watch);
  }

  /** The function has returned: from now on no abort changes anything. */
  returned(hasSucceeded: boolean): void {
    this.#hasReturned = true;
    this.passage.end(hasSucceeded);
  }

  /**
   * Waits for the outcome.
   *
   * @param signals When one aborts, the caller leaves at once. The abort of the last caller is
   * passed to the run, and that caller gets what comes of it.
   */
  wait(signals: readonly AbortSignal[]): Promise<Outcome | Failure> {
    const { ended } = this;
    this.#callers++;
    if (signals.length === 0) return ended;
    return new Promise((resolve, reject) => {
      const stop = whenAborted(signals, (reason) => {
        if (this.#hasReturned) return;
        this.#callers--;
        if (this.#callers > 0 || this.isRefresh) reject(reason);
        else this.#abort(reason);
      });
      void ended.then((outcome) => {
        stop();
        resolve(outcome);
      });
    });
  }

  /** Ends it if its function is still held back by a limit, a rate or a retry. */
  endUnlessStarted(): void {
    if (!this.#hasReturned && !this.passage.hasStarted) this.#abort(new CacheClosedError());
  }

  #abort(reason: unknown): void {
    this.#isAborted = true;
    this.lease?.giveUp();
    (this.#controller ??= new AbortController()).abort(reason);
  }

  /** It may have begun or ended to wait. */
  onChange(): void {
    if (this.#runs.isClosing) this.endUnlessStarted();
    const { isBetweenAttempts } = this.passage;
    if (isBetweenAttempts === this.#wasBetweenAttempts) return;
    this.#wasBetweenAttempts = isBetweenAttempts;
    for (const watch of this.#watches ?? []) watch(isBetweenAttempts);
  }
}

/** The runs of a cache that have not ended; one that ends leaves. */
export class Runs extends Ring<Run> {
  #isClosing = false;

  /** Whether those that have not started are ended. */
  get isClosing(): boolean {
    return this.#isClosing;
  }

  /** Ends those that have not started, now and from now on. */
  close(): void {
    this.#isClosing = true;
    for (const run of this) run.endUnlessStarted();
  }
}
