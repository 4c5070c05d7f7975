/**
 * The lines of limits that several processes share.
 *
 * @module
 */

import { CacheOnlyError, optionMessage } from "../base/errors.ts";
import type { Passage } from "../base/passage.ts";
import type { AsyncFunction } from "../base/wrap.ts";
import { isObject } from "../base/plain.ts";
import type { Maybe } from "../backend/contract.ts";
import { canonicalValue } from "../encoding/canonical.ts";
import { digest } from "../encoding/digest.ts";
import type { LimiterOptions, SharedOptions } from "../limits/limiter.ts";
import { type LimitState, Line } from "../limits/line.ts";
import { concurrencyLimit, type ConcurrencyLimiter, PermitLine } from "../limits/permits.ts";
import { STORE_RULE } from "../limits/shared.ts";
import {
  type LimitRateOptions,
  rateLimit,
  type RateLimiter,
  type RateWindow,
} from "../limits/window.ts";
import { keepsNotes } from "./sessions.ts";
import { type SharedLimit, SharedNote, type SharedParty, writePause } from "./shared_note.ts";
import { type Ask, book, CELLS, type Refund, takePermits, type Turns } from "./turns.ts";

/** The maximum number of calls that are granted a start at a time. */
const MOST = 64;

/** Permits that several processes share. */
export class SharedPermitLine extends PermitLine {
  readonly #note: SharedNote;
  readonly #limit: SharedLimit;
  /** The number of permits that were granted and not used yet. */
  #given = 0;
  /** The number of permits in the last answer, which may be made again before it is taken. */
  #answer = 0;
  #failure: { readonly error: unknown } | undefined;

  constructor(
    state: LimitState,
    key: unknown,
    capacity: number,
    limit: SharedLimit,
    name: Maybe<string>,
  ) {
    super(state, key, capacity);
    this.#limit = limit;
    this.#note = new SharedNote(limit, name, this.#party());
  }

  /** The line as its note sees it. */
  #party(): SharedParty {
    const held = (): number => this.active + this.#given;
    const waiting = (): number => Math.max(0, this.size - this.#given);
    return {
      ask: (turns: Turns, session: string, now: number): Turns => {
        const wants = Math.min(MOST, waiting());
        const ask: Ask = { session, held: held(), wants, costs: Array(wants).fill(1) };
        const { granted, turns: after } = takePermits(turns, ask, this.capacity, now);
        this.#answer = granted;
        return after;
      },
      take: (): void => {
        this.#given += this.#answer;
        this.#answer = 0;
        if (this.size > 0) this.pump();
        // The calls that the permits were granted for have left the line.
        if (this.size === 0 && this.#given > 0) {
          this.#given = 0;
          this.#note.ask();
        }
      },
      pause: (milliseconds: number) => this.pauseFor(milliseconds),
      refuse: (most, error) => this.refuse(most, error),
      end: (error: unknown): void => {
        this.#failure = { error };
        this.refuse(0, () => error);
      },
      waitMs: () => Infinity,
      isBusy: () => held() > 0 || waiting() > 0,
      isWaiting: () => waiting() > 0,
    };
  }

  /** Only the store's answer shows whether a call has to wait. */
  protected override mayWait(): boolean {
    return true;
  }

  override isIdle(): boolean {
    return this.size === 0 && this.active === 0 && this.#given === 0 && this.#note.isAtRest;
  }

  protected override take(): boolean {
    refuse(this.#limit, this.#failure);
    if (this.#given === 0) {
      this.#note.want();
      return false;
    }
    this.#given--;
    return super.take();
  }

  protected override delay(): number {
    return this.#given > 0 ? 0 : Infinity;
  }

  protected override release(): void {
    super.release();
    this.#note.ask();
  }

  /** Stays: its note may still be on its way. */
  protected override rest(): void {}
}

/** A booking that was not used yet. */
interface Booking {
  readonly cell: number;
  /** The time until which it may be used, by `performance.now()`. */
  readonly until: number;
  cost: number;
}

/** A window that several processes share. */
export class SharedWindowLine extends Line {
  readonly #note: SharedNote;
  readonly #limit: SharedLimit;
  readonly #window: RateWindow;
  #bookings: Booking[] = [];
  /** The cells of calls that were admitted and have not begun. */
  readonly #cells: number[] = [];
  #refunds: Refund[] = [];
  /** The last answer, which may be made again before it is taken. */
  #answer: { readonly booking: Booking | undefined; readonly refunds: number } | undefined;
  #waitMs = Infinity;
  #failure: { readonly error: unknown } | undefined;

  constructor(
    state: LimitState,
    key: unknown,
    window: RateWindow,
    limit: SharedLimit,
    name: Maybe<string>,
  ) {
    super(state, key);
    this.#window = window;
    this.#limit = limit;
    this.#note = new SharedNote(limit, name, this.#party());
  }

  protected override get capacity(): number {
    return this.#window.count;
  }

  /** The line as its note sees it. */
  #party(): SharedParty {
    return {
      ask: (turns: Turns, session: string, now: number): Turns => {
        const asked = performance.now();
        const costs = this.costs(MOST);
        const refunds = [...this.#refunds];
        const ask: Ask = { session, held: 0, wants: costs.length, costs };
        const answer = book(turns, ask, refunds, this.#window, now);
        const cost = costs.slice(0, answer.granted).reduce((sum, each) => sum + each, 0);
        const until = asked + this.#window.per / CELLS;
        const booking = answer.granted > 0 ? { cell: answer.cell, until, cost } : undefined;
        this.#answer = { booking, refunds: refunds.length };
        this.#waitMs = answer.waitMs;
        return answer.turns;
      },
      take: (): void => {
        const { booking, refunds = 0 } = this.#answer ?? {};
        this.#answer = undefined;
        this.#refunds.splice(0, refunds);
        if (booking !== undefined) this.#bookings.push(booking);
        if (this.size > 0) this.pump();
        this.#giveBack();
      },
      pause: (milliseconds: number) => this.pauseFor(milliseconds),
      refuse: (most, error) => this.refuse(most, error),
      end: (error: unknown): void => {
        this.#failure = { error };
        this.refuse(0, () => error);
      },
      waitMs: () => this.#waitMs,
      isBusy: () => this.size > 0,
      isWaiting: () => this.size > 0,
    };
  }

  /** Gives back bookings that no call needs any more. */
  #giveBack(): void {
    if (this.size > 0 || this.#bookings.length === 0) return;
    for (const { cell, cost } of this.#bookings) if (cost > 0) this.#refund({ cell, cost });
    this.#bookings = [];
  }

  #refund(refund: Refund): void {
    this.#refunds.push(refund);
    this.#note.ask();
  }

  /** Only the store's answer shows whether a call has to wait. */
  protected override mayWait(): boolean {
    return true;
  }

  override isIdle(): boolean {
    return this.size === 0 && this.#cells.length === 0 && this.#note.isAtRest;
  }

  protected override take(cost: number): boolean {
    refuse(this.#limit, this.#failure);
    const now = performance.now();
    // A booking that was not used in time is lost: its cell would leave the window too early.
    this.#bookings = this.#bookings.filter(({ until, cost }) => until > now && cost >= 0);
    const booking = this.#bookings.find((each) => each.cost >= cost - 1e-9);
    if (booking === undefined) {
      this.#note.want();
      return false;
    }
    booking.cost -= cost;
    if (booking.cost <= 1e-9 && cost > 0) {
      this.#bookings = this.#bookings.filter((each) => each !== booking);
    }
    this.#cells.push(booking.cell);
    return true;
  }

  protected override delay(): number {
    return Infinity;
  }

  protected override run(
    fn: AsyncFunction,
    self: unknown,
    args: unknown[],
    cost: number,
    passage: Passage | undefined,
  ): Promise<unknown> {
    const cell = this.#cells.shift() ?? 0;
    return this.#settled(this.invoke(fn, self, args, passage), cell, cost);
  }

  /** Returns a result, and books the difference from the reserved cost. */
  async #settled(result: Promise<unknown>, cell: number, reserved: number): Promise<unknown> {
    const value = await result;
    const cost = this.#window.costOf?.(value);
    if (cost !== undefined && cost !== reserved) this.#refund({ cell, cost: reserved - cost });
    return value;
  }
}

/** Throws where the store may not be written or is closed: nothing starts there. */
function refuse({ id, isReadOnly }: SharedLimit, failure: { readonly error: unknown } | undefined) {
  if (isReadOnly()) throw new CacheOnlyError(id, "");
  if (failure !== undefined) throw failure.error;
}

/** The shortest window of a shared rate, in milliseconds: a booking lasts for a 64th of it. */
const SHORTEST_WINDOW = 1_000;

/**
 * Limits how many calls run at once in all processes that share a store.
 *
 * @param isReadOnly Whether nothing may be written, so that nothing starts.
 */
export function sharedConcurrency(
  n: number,
  options: LimiterOptions & SharedOptions,
  isReadOnly: () => boolean,
): ConcurrencyLimiter {
  const { limit, nameOf, onPause } = sharedLimit(
    "limit concurrency",
    options,
    ["permits"],
    isReadOnly,
  );
  return concurrencyLimit(
    n,
    options,
    (state, key) => new SharedPermitLine(state, key, n, limit, nameOf(key)),
    onPause,
  );
}

/** Limits how many calls start in a window in all processes that share a store. */
export function sharedRate(
  count: number,
  options: LimitRateOptions,
  isReadOnly: () => boolean,
): RateLimiter {
  const action = "limit the rate";
  const { per } = options;
  const { limit, nameOf, onPause } = sharedLimit(action, options, ["rate", per], isReadOnly);
  return rateLimit(
    count,
    options,
    (state, key, window) => {
      return new SharedWindowLine(state, key, window, limit, nameOf(key));
    },
    onPause,
    SHORTEST_WINDOW,
  );
}

function sharedLimit(
  action: string,
  options: SharedOptions & Pick<LimiterOptions, "deriveKey" | "maxQueue">,
  kind: readonly unknown[],
  isReadOnly: () => boolean,
) {
  const { store, id, deriveKey, maxQueue = Infinity } = options;
  if (typeof id !== "string" || id === "") {
    const rule = "a non-empty string: processes that give the same one share the limit";
    throw new TypeError(optionMessage(action, "id", rule, id));
  }
  const backend: unknown = store !== undefined && "backend" in store ? store.backend : store;
  if (!isObject(backend) || !keepsNotes(backend)) {
    throw new TypeError(optionMessage(action, "store", STORE_RULE, store));
  }
  // A key may be a secret: only its digest is written to the store.
  const nameOf = (key: unknown): Maybe<string> =>
    digest(canonicalValue([...kind, id, key], "deriveKey(…)"));
  const all = digest(canonicalValue([...kind, id, "all", "keys"], "id"));
  const allKeys = deriveKey === undefined ? undefined : all;
  const limit: SharedLimit = {
    store: backend,
    id,
    allKeys,
    maxQueue,
    isReadOnly,
    hasFailed: false,
  };
  const onPause = (milliseconds: number, key: unknown, isOfAll: boolean): void => {
    const name = isOfAll && allKeys !== undefined ? allKeys : nameOf(isOfAll ? undefined : key);
    void writePause(limit, name, milliseconds);
  };
  return { limit, nameOf, onPause };
}
