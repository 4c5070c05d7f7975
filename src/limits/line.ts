/**
 * The line in which the calls of one key wait: first come, first served.
 *
 * @module
 */

import { abortReason, listen, unlisten, type Waiter } from "../base/abort.ts";
import { clock } from "../base/clock.ts";
import { QueueFullError } from "../base/errors.ts";
import { currentPassage, Passage, type Pausable } from "../base/passage.ts";
import { findSignals } from "../base/signals.ts";
import { soon } from "../base/turn.ts";
import type { AsyncFunction } from "../base/wrap.ts";
import { reasonOfEnd } from "./end.ts";
import { COME_BACK_MS, type Pauses } from "./pauses.ts";

/** The state that the lines of one limit share. */
export interface LimitState {
  /** The number of waiting calls, over all keys. */
  pendingCount: number;
  /** Whether a pause, or the time in which starts resume after it, may be under way. */
  isPaused: boolean;
  readonly pauses: Pauses;
  /** The lines of all keys that are in use; empty in a limit without keys. */
  readonly lines: Map<unknown, Line>;
  /** Forgotten lines, reused for new keys: making one costs more than a call. */
  readonly spares: Line[];
  /** The maximum number of waiting calls, per key. */
  readonly maxQueue: number;
  /** Ends the limit. */
  readonly signal: AbortSignal | undefined;
  /** The limit for a retry around a call to pause; `undefined` where it must not. */
  readonly pausable: Pausable | undefined;
}

/** A call that waits for its turn. Made as a literal: as a class, a million took 1.1 × the time. */
interface WaitingCall extends Waiter {
  readonly line: Line;
  readonly fn: AsyncFunction;
  readonly self: unknown;
  readonly args: unknown[];
  readonly cost: number;
  readonly passage: Passage | undefined;
  readonly admit: (call: WaitingCall) => void;
  readonly refuse: (reason: unknown) => void;
  /** Ends the wait in the passage. */
  readonly ended: (() => void) | undefined;
  previous: WaitingCall | undefined;
  next: WaitingCall | undefined;
}

function leave(this: WaitingCall, reason: unknown): void {
  this.line.abandon(this, reason);
}

// One executor for all promises saves a closure per waiting call: it runs synchronously, and its
// caller takes both functions at once.
let admit: (call: WaitingCall) => void;
let refuse: (reason: unknown) => void;
function capture(resolve: (call: WaitingCall) => void, reject: (reason: unknown) => void): void {
  admit = resolve;
  refuse = reject;
}

function begin(call: WaitingCall): Promise<unknown> {
  return call.line.begin(call);
}

/** The longest delay that `setTimeout` supports, in milliseconds; a longer one fires at once. */
const LONGEST_DELAY = 2_147_483_647;

/**
 * The calls of one key. Each kind of limit decides when the next call may start, and runs it.
 *
 * The line is a linked list, so that a call can leave it from anywhere in constant time.
 */
export abstract class Line {
  /** The number of waiting calls. */
  size = 0;
  /** The number of calls that hold a permit; 0 in a limit without permits. */
  active = 0;
  #first: WaitingCall | undefined;
  #last: WaitingCall | undefined;
  #timer: { readonly at: number; readonly id: ReturnType<typeof setTimeout> } | undefined;
  /** The end of the last pause, and the cost of the calls that have started since. */
  #comeBack: { readonly from: number; started: number } | undefined;

  /** @param key The key; `undefined` in a limit without keys. */
  constructor(protected readonly state: LimitState, public key: unknown) {}

  /** The maximum that may run at once, or start in a window. */
  protected abstract get capacity(): number;

  /** Takes what a call needs to start, if it is free, whether or not other calls wait. */
  protected abstract take(cost: number): boolean;

  /**
   * The delay until what the next call needs is free, in milliseconds; `Infinity` means until
   * another call has begun or ended.
   */
  protected abstract delay(cost: number): number;

  /** Runs a call that has what it needs to start. Never throws. */
  protected abstract run(
    fn: AsyncFunction,
    self: unknown,
    args: unknown[],
    cost: number,
    passage: Passage | undefined,
  ): Promise<unknown>;

  /** Throws for a call that would wait for ever. */
  protected checkWait?(fn: AsyncFunction): void;

  /** Whether one more call may wait. */
  protected mayWait(): boolean {
    return this.size < this.state.maxQueue;
  }

  /** Called when no call waits and none holds a permit. */
  protected rest(): void {}

  /** Rests if the line is idle: after a call that has ended, or left without a start. */
  restIfIdle(): void {
    if (this.size === 0 && this.active === 0) this.rest();
  }

  /** Whether a new line would be the same; lines without this method remove themselves. */
  isIdle?(): boolean;

  /**
   * Runs a call now or when its turn comes.
   *
   * @throws {QueueFullError} If too many calls wait.
   */
  call(fn: AsyncFunction, self: unknown, args: unknown[], cost: number): Promise<unknown> {
    const passage = currentPassage();
    return this.size === 0 && this.#mayStart(cost)
      ? this.run(fn, self, args, cost, passage)
      : this.#wait(fn, self, args, cost, passage);
  }

  /** The costs of the first waiting calls, in order. */
  protected costs(most: number): number[] {
    const costs: number[] = [];
    for (let call = this.#first; call !== undefined && costs.length < most; call = call.next) {
      costs.push(call.cost);
    }
    return costs;
  }

  /** Holds back new starts of this key for a while. */
  protected pauseFor(milliseconds: number): void {
    this.state.pauses.pauseKey(this.key, milliseconds);
    this.state.isPaused = true;
  }

  /** Rejects the newest waiting calls until only so many are left. */
  protected refuse(most: number, error: () => unknown): void {
    for (let last = this.#last; last !== undefined && this.size > most; last = this.#last) {
      this.#leave(last);
      last.ended?.();
      last.refuse(error());
    }
  }

  /** Starts waiting calls as long as they may start, and sets the timer for the next one. */
  pump(): void {
    for (let first = this.#first; first !== undefined; first = this.#first) {
      if (!this.#mayStart(first.cost)) return this.#arm(first.cost);
      this.#leave(first);
      first.admit(first);
    }
  }

  #mayStart(cost: number): boolean {
    if (!this.state.isPaused) return this.take(cost);
    if (this.#pauseDelay() > 0 || !this.take(cost)) return false;
    if (this.#comeBack !== undefined) this.#comeBack.started += cost;
    return true;
  }

  /** Calls the wrapped function, in the passage of its caller where there is one. Never throws. */
  protected invoke(
    fn: AsyncFunction,
    self: unknown,
    args: unknown[],
    passage: Passage | undefined,
  ): Promise<unknown> {
    try {
      if (passage === undefined) return Promise.resolve(Reflect.apply(fn, self, args));
      if (this.state.pausable !== undefined) passage.pass(this.state.pausable, this.key);
      return new Passage(passage).run(() => Reflect.apply(fn, self, args));
    } catch (error) {
      return Promise.reject(error);
    }
  }

  #wait(
    fn: AsyncFunction,
    self: unknown,
    args: unknown[],
    cost: number,
    passage: Passage | undefined,
  ): Promise<unknown> {
    const { state } = this;
    const signals = this.#signalsOf(args, passage);
    for (const signal of signals) if (signal.aborted) throw abortReason(signal);
    this.checkWait?.(fn);
    if (!this.mayWait()) throw new QueueFullError(state.maxQueue);
    const turn = new Promise<WaitingCall>(capture);
    const ended = passage?.wait("turn");
    const call: WaitingCall = {
      line: this,
      fn,
      self,
      args,
      cost,
      passage,
      signals,
      admit,
      refuse,
      leave,
      ended,
      previous: this.#last,
      next: undefined,
    };
    if (this.#last === undefined) this.#first = call;
    else this.#last.next = call;
    this.#last = call;
    this.size++;
    state.pendingCount++;
    listen(call);
    if (this.size === 1) this.pump();
    // `then` keeps the async context of this caller: whoever admits the call only settles `turn`.
    return turn.then(begin);
  }

  /** Runs a call whose turn has come. */
  begin({ fn, self, args, cost, passage, ended }: WaitingCall): Promise<unknown> {
    const result = this.run(fn, self, args, cost, passage);
    // Not earlier, or the caller would seem to work between its wait and the function.
    ended?.();
    return result;
  }

  /** Removes a call whose signal has aborted. */
  abandon(call: WaitingCall, reason: unknown): void {
    const { signal } = this.state;
    const isFirst = this.#first === call;
    this.#leave(call);
    call.ended?.();
    call.refuse(signal?.aborted ? reasonOfEnd(signal) : reason);
    // Later, because the next call may leave with the same signal.
    if (isFirst && this.size > 0) soon(() => this.pump());
    this.restIfIdle();
  }

  #signalsOf(args: unknown[], passage: Passage | undefined): readonly AbortSignal[] {
    const found = findSignals(args);
    const { signal } = this.state;
    if (signal === undefined && passage === undefined) return found;
    return [...(signal === undefined ? [] : [signal]), ...passage?.signals ?? [], ...found];
  }

  #leave(call: WaitingCall): void {
    if (call.previous === undefined) this.#first = call.next;
    else call.previous.next = call.next;
    if (call.next === undefined) this.#last = call.previous;
    else call.next.previous = call.previous;
    // A call that has left must not keep its neighbours from garbage collection.
    call.previous = call.next = undefined;
    unlisten(call);
    this.state.pendingCount--;
    if (--this.size === 0 && this.#timer !== undefined) {
      clearTimeout(this.#timer.id);
      this.#timer = undefined;
    }
  }

  /**
   * The time for which a pause holds back the next start, in milliseconds. In the second after its
   * end, the started cost stays below the part of the capacity that corresponds to the time passed.
   */
  #pauseDelay(): number {
    const { pauses } = this.state;
    const now = clock();
    this.state.isPaused = pauses.mayHold(now);
    const end = pauses.endOf(this.key, now);
    if (end === -Infinity) return 0;
    if (end !== this.#comeBack?.from) {
      // Keys that were paused together resume at different times.
      const ahead = this.key !== undefined && pauses.isOfAll(end) ? Math.random() : 0;
      this.#comeBack = { from: end, started: ahead };
    }
    const { started } = this.#comeBack;
    const whole = this.capacity === Infinity ? started + Math.max(1, this.size) : this.capacity;
    return Math.max(0, end + started / whole * COME_BACK_MS - now);
  }

  #arm(cost: number): void {
    const delay = Math.max(this.delay(cost), this.state.isPaused ? this.#pauseDelay() : 0);
    if (delay === Infinity) return;
    const at = clock() + delay;
    if (this.#timer !== undefined) {
      if (this.#timer.at <= at) return;
      clearTimeout(this.#timer.id);
    }
    // Timers are late rather than early, by up to 1.3 ms: asking for a little less keeps a window
    // of 5 ms within 10 % of its rate.
    const asked = Math.max(1, Math.ceil(delay) - 1);
    const id = setTimeout(() => {
      this.#timer = undefined;
      this.pump();
    }, Math.min(asked, LONGEST_DELAY));
    this.#timer = { at, id };
  }
}
