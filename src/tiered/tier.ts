/**
 * One of several tiers: whether it can be asked at present, and what it must not answer.
 *
 * @module
 */

import type { Backend } from "../backend/contract.ts";
import { BackendError, DamagedEntryError, type PanzaError } from "../base/errors.ts";
import { Places } from "./order.ts";

/** For how long a tier that failed is not asked, in milliseconds; each failure doubles it. */
const FIRST_PAUSE_MS = 1_000;
/** The longest such pause. */
const LONGEST_PAUSE_MS = 30_000;

/** How many places a tier keeps in mind; a place takes some 150 bytes. */
const MAX_MARKS = 100_000;

/** What came of asking a tier. */
export type Answer<Value> =
  | { readonly state: "answered"; readonly value: Value }
  /** It answered, with an entry that it knows to be damaged. */
  | { readonly state: "damaged"; readonly error: DamagedEntryError }
  /** It failed now, or not long ago. */
  | { readonly state: "failed"; readonly error: PanzaError };

/** What a tier missed: a write that other tiers have, or a delete that its caller knows failed. */
type Missed = "write" | "delete";

/** A time in which a tier fails. */
interface Outage {
  error: PanzaError;
  pause: number;
  /** When it is asked again, as `performance.now()` tells time. */
  retryAt: number;
}

/** How to ask a tier. */
export interface Asking {
  /** Whether to ask also while it is to be left alone. */
  readonly forced?: boolean;
  /** When it aborts, the tier is not to blame. */
  readonly signal?: AbortSignal | undefined;
}

/** What a tier tells the backend that it is part of. */
export interface Listener {
  /** Trouble that failed no operation. */
  readonly report: (error: Error) => void;
  /** It answers again. */
  readonly recovered: (tier: Tier) => void;
}

/** A backend among others, with what is known of it. */
export class Tier {
  readonly backend: Backend;
  /** Whether another tier is behind it. */
  readonly inner: boolean;
  readonly #listener: Listener;
  #outage: Outage | undefined;
  #outages = 0;
  readonly #missed = new Places<Missed>();
  /** Ids whose deletion failed. */
  readonly #ids = new Set<string>();
  /** Whether nothing counts that it holds: clearing it failed, or it missed more than can be kept. */
  #blind = false;
  /** What was written since to places that it would not answer for. */
  readonly #renewed = new Places<true>();

  constructor(backend: Backend, inner: boolean, listener: Listener) {
    this.backend = backend;
    this.inner = inner;
    this.#listener = listener;
  }

  /** Whether it answered when it was last asked. */
  get up(): boolean {
    return this.#outage === undefined;
  }

  /** How often it began to fail. */
  get outages(): number {
    return this.#outages;
  }

  /** Asks it, unless it failed a short while ago; `work` is called at once. */
  async ask<Value>(
    operation: string,
    work: () => Promise<Value>,
    { forced = false, signal }: Asking = {},
  ): Promise<Answer<Value>> {
    const outage = this.#outage;
    if (outage !== undefined && !forced) {
      const now = performance.now();
      if (now < outage.retryAt) return { state: "failed", error: outage.error };
      // One call finds out; the others leave it alone meanwhile.
      outage.retryAt = now + outage.pause;
    }
    let answer: Answer<Value>;
    try {
      answer = { state: "answered", value: await work() };
    } catch (error) {
      if (signal?.aborted === true) throw error;
      if (!(error instanceof DamagedEntryError)) {
        return { state: "failed", error: this.#fail(operation, error, outage) };
      }
      answer = { state: "damaged", error };
    }
    // A call that began before the outage proves nothing about its end.
    if (outage !== undefined && outage === this.#outage) {
      this.#outage = undefined;
      this.#listener.recovered(this);
    }
    return answer;
  }

  #fail(operation: string, cause: unknown, during: Outage | undefined): PanzaError {
    const error = this.named(operation, cause);
    const now = performance.now();
    if (this.#outage === undefined) {
      const pause = FIRST_PAUSE_MS;
      this.#outage = { error, pause, retryAt: now + pause };
      this.#outages++;
      this.#listener.report(error);
    } else if (this.#outage === during) {
      const pause = Math.min(during.pause * 2, LONGEST_PAUSE_MS);
      Object.assign(during, { error, pause, retryAt: now + pause });
    }
    return error;
  }

  /** An error that names this tier. */
  named(operation: string, cause: unknown): PanzaError {
    return cause instanceof BackendError
      ? cause
      : new BackendError(this.backend.description, operation, cause);
  }

  /** Whether what it holds there may be outdated: then it must not answer. */
  distrusts(id: string, key: string): boolean {
    return (
      this.#missed.get(id, key) !== undefined ||
      (this.#isClosed(id) && this.#renewed.get(id, key) === undefined)
    );
  }

  /** Whether nothing of the id counts but what was written since. */
  #isClosed(id: string): boolean {
    return this.#blind || this.#ids.has(id);
  }

  /** A write or delete of the entry succeeded. */
  trust(id: string, key: string): void {
    this.#missed.delete(id, key);
    if (this.#isClosed(id) && this.#renewed.size < MAX_MARKS) {
      this.#renewed.set(id, key, true);
    }
  }

  /** The deletion of an id, or of everything, succeeded. */
  trustAll(id: string | undefined): void {
    this.#missed.deleteAll(id);
    if (id === undefined) {
      this.#ids.clear();
      this.#blind = false;
    } else this.#ids.delete(id);
    if (!this.#blind) this.#renewed.deleteAll(id);
  }

  /** A write or delete of the entry failed. */
  distrust(id: string, key: string, missed: Missed): void {
    this.#renewed.delete(id, key);
    if (this.#blind) return;
    this.#missed.set(id, key, missed);
    if (this.#missed.size > MAX_MARKS) this.#goBlind();
  }

  /** The deletion of an id, or of everything, failed. */
  distrustAll(id: string | undefined): void {
    // Whatever it missed before was to be deleted too.
    this.#missed.deleteAll(id);
    this.#renewed.deleteAll(id);
    if (id === undefined) this.#blind = true;
    else if (!this.#blind) this.#ids.add(id);
    if (this.#ids.size > MAX_MARKS) this.#goBlind();
  }

  #goBlind(): void {
    this.#blind = true;
    this.#missed.deleteAll(undefined);
    this.#ids.clear();
    const cause = new Error(`it missed more than ${MAX_MARKS} changes`);
    this.#listener.report(
      new BackendError(
        this.backend.description,
        "read",
        cause,
        "this process reads from it only what it stores from now on, until everything is busted",
      ),
    );
  }

  /** Whether a write of the entry was missed, and not made up for. */
  missedWrite(id: string, key: string): boolean {
    return this.#missed.get(id, key) === "write";
  }

  /** The entries whose writes were missed. */
  missedWrites(): [id: string, key: string][] {
    const found: [string, string][] = [];
    for (const [id, key, missed] of this.#missed.of(undefined)) {
      if (missed === "write") found.push([id, key]);
    }
    return found;
  }
}
