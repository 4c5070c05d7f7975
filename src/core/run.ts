/**
 * Runs: calls of the function that no single caller owns. A run counts its callers, and has its own
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

/** The result of a run, or of a lookup, for all callers that share it. */
export interface Outcome {
  readonly owned: Owned;
  readonly status: "hit" | "miss" | "shared" | "stale";
  /** The time of storage; `null` if not stored. */
  readonly storedAt: number | null;
  readonly unstored?: Unstored | undefined;
  /** The working time of the run that made it, in milliseconds. */
  readonly durationMs: number;
  /** The encoded value, where it could be encoded. */
  readonly data?: string | Uint8Array | undefined;
}

/** The error of a run. */
export interface Failure {
  readonly error: unknown;
}

/** A lookup; equal calls share an asynchronous one. */
export interface Lookup {
  /** The start, on the order's clock. */
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

  /** The flight of a place, if there is one. */
  static of(place: Place | undefined): Flight | undefined {
    return place?.shared instanceof Flight ? place.shared : undefined;
  }
}

/** Called when a run may have started, or started or stopped waiting. */
export type Watch = (run: Run) => void;

/** A call that waits for a run. */
export interface Caller {
  /** Each of them ends the wait. */
  readonly signals: readonly AbortSignal[];
  readonly watch: Watch | undefined;
  /** Ends the wait, unless the function has started. Set while a call with a watch waits. */
  leave: ((reason: unknown) => void) | undefined;
}

/** A running call. */
export class Run extends Link implements PassageOptions {
  readonly id: string;
  /** The start, on the order's clock: a later bust voids the result. */
  readonly born: number;
  /** Whether it refreshes a stale result: no caller has to wait for it. */
  readonly isRefresh: boolean;
  readonly passage: Passage;
  /** The stream, if the function gives one. */
  flow: Flow | undefined;
  /** The lease, where processes share work, until it is exchanged for the result. */
  lease: Lease | undefined;
  /** Whether a caller waits even if another process computes the result. */
  isAwaited = false;
  readonly #runs: Runs;
  #controller: AbortController | undefined;
  #callers = 0;
  #isAborted = false;
  #hasReturned = false;
  #ended: Promise<Outcome | Failure> | undefined;
  #begun: ((ended: Promise<Outcome | Failure>) => void) | undefined;
  /** Created on first use: most runs have none. */
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

  /** The signal that aborts with the run, created on first use: most functions take none. */
  get signal(): AbortSignal {
    return (this.#controller ??= new AbortController()).signal;
  }

  /** Whether the run was aborted: no further call joins it. */
  get isAborted(): boolean {
    return this.#isAborted;
  }

  /** The number of callers that want the result. */
  get callers(): number {
    return this.#callers;
  }

  /** The working time of the function, without its waits, in milliseconds. */
  get durationMs(): number {
    return toThousandths(this.passage.workedMs);
  }

  /** Resolves when the run has ended, with its outcome or its failure. */
  get ended(): Promise<Outcome | Failure> {
    // Calls in the synchronous part of another run may join this one before its work is known.
    return (this.#ended ??= new Promise((resolve) => (this.#begun = resolve)));
  }

  /** Starts the work, which resolves to the outcome. */
  begin(work: () => Promise<Outcome | Failure>): void {
    const ended = work();
    if (this.#begun === undefined) this.#ended = ended;
    else this.#begun(ended);
  }

  watch(watch: Watch): void {
    (this.#watches ??= new Set()).add(watch);
  }

  unwatch(watch: Watch): void {
    this.#watches?.delete(watch);
  }

  /** Marks the function as returned: from now on no abort changes anything. */
  returned(hasSucceeded: boolean): void {
    this.#hasReturned = true;
    this.passage.end(hasSucceeded);
  }

  /**
   * Waits for the outcome. A caller that leaves does so at once. The last one instead aborts the
   * run and gets its outcome; a refresh goes on.
   */
  wait(caller: Caller): Promise<Outcome | Failure> {
    const { ended } = this;
    const { signals, watch } = caller;
    this.#callers++;
    if (signals.length === 0 && watch === undefined) return ended;
    return new Promise((resolve, reject) => {
      const leave = (reason: unknown): void => {
        caller.leave = undefined;
        if (this.#hasReturned) return;
        this.#callers--;
        if (this.#callers > 0 || this.isRefresh) reject(reason);
        else this.#abort(reason);
      };
      const stop = whenAborted(signals, leave);
      if (watch !== undefined) {
        caller.leave = (reason) => {
          if (this.passage.hasStarted) return;
          stop();
          leave(reason);
        };
      }
      void ended.then((outcome) => {
        caller.leave = undefined;
        stop();
        resolve(outcome);
      });
      watch?.(this);
    });
  }

  /** Aborts the run if a limit, a rate or a retry still holds its function back. */
  endUnlessStarted(): void {
    if (!this.#hasReturned && !this.passage.hasStarted) this.#abort(new CacheClosedError());
  }

  #abort(reason: unknown): void {
    this.#isAborted = true;
    this.lease?.giveUp();
    (this.#controller ??= new AbortController()).abort(reason);
  }

  /** Called when the run may have started or stopped waiting. */
  onChange(): void {
    if (this.#runs.isClosing) this.endUnlessStarted();
    for (const watch of this.#watches ?? []) watch(this);
  }
}

/** The runs of a cache that have not ended. */
export class Runs extends Ring<Run> {
  #isClosing = false;

  /** Whether runs that have not started are aborted. */
  get isClosing(): boolean {
    return this.#isClosing;
  }

  /** Aborts runs that have not started, now and from now on. */
  close(): void {
    this.#isClosing = true;
    for (const run of this) run.endUnlessStarted();
  }
}
