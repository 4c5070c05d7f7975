/**
 * Time under control: timers and clocks that move only when a test says so.
 *
 * @module
 */

import { setImmediate } from "node:timers";

/** The delay above which a real `setTimeout` fires at once: always a mistake, so it throws here. */
const LONGEST_DELAY = 2 ** 31 - 1;

interface Timer {
  readonly id: number;
  due: number;
  /** Milliseconds between two calls; `undefined` calls once. */
  readonly every: number | undefined;
  readonly run: () => void;
}

/** The differences of a {@linkcode FakeTime} from an ideal clock. */
export interface FakeTimeOptions {
  /** The milliseconds by which every timer fires too early, as real ones do; 0 unless set. */
  readonly early?: number;
}

/**
 * Replaces `setTimeout`, `setInterval`, their clearing, `performance.now` and `Date.now`, but not
 * `new Date()`, until it is disposed. Promises keep settling by themselves; only code that reads
 * the clock or waits for a timer stands still.
 */
export class FakeTime implements Disposable {
  readonly #timers = new Map<number, Timer>();
  readonly #restore: (() => void)[] = [];
  readonly #early: number;
  #elapsed = 0;
  #lastId = 0;
  #monotonicStart = Math.ceil(performance.now());
  #wallStart = Date.now();

  constructor(options: FakeTimeOptions = {}) {
    this.#early = options.early ?? 0;
    const clear = (handle: unknown): void => {
      this.#timers.delete(Number(handle));
    };
    this.#patch(globalThis, "setTimeout", this.#setter(false));
    this.#patch(globalThis, "setInterval", this.#setter(true));
    this.#patch(globalThis, "clearTimeout", clear);
    this.#patch(globalThis, "clearInterval", clear);
    this.#patch(performance, "now", () => this.#monotonicStart + this.#elapsed);
    this.#patch(Date, "now", () => this.#wallStart + this.#elapsed);
  }

  /** The time that has passed, in milliseconds. */
  get elapsed(): number {
    return this.#elapsed;
  }

  /** The number of timers that are set. */
  get timers(): number {
    return this.#timers.size;
  }

  /**
   * Moves time on and fires due timers in order; promises settle before each timer and at the end.
   *
   * @param milliseconds 0 or more; 0 only lets promises settle and fires due timers.
   */
  async tick(milliseconds: number = 0): Promise<void> {
    const end = this.#elapsed + milliseconds;
    await settle();
    while (true) {
      const timer = this.#next(end);
      if (timer === undefined) break;
      this.#elapsed = Math.max(this.#elapsed, timer.due);
      if (timer.every === undefined) this.#timers.delete(timer.id);
      else timer.due += Math.max(1, timer.every);
      timer.run();
      await settle();
    }
    // A callback may have blocked the thread past the end.
    this.#elapsed = Math.max(this.#elapsed, end);
  }

  /**
   * Fires one timer, due or not, as no clock should: early, late, or before an earlier one.
   *
   * @param choose Returns the place of the timer, from 0 to below their number.
   */
  fire(choose: (timers: number) => number): void {
    const timer = [...this.#timers.values()][choose(this.#timers.size)];
    if (timer === undefined) return;
    if (timer.every === undefined) this.#timers.delete(timer.id);
    timer.run();
  }

  /** Moves time on by 0 milliseconds or more without firing a timer, as a busy thread does. */
  block(milliseconds: number): void {
    this.#elapsed += milliseconds;
  }

  /** Moves the wall clock (`Date.now`) forward or back, not timers or `performance.now`. */
  step(milliseconds: number): void {
    this.#wallStart += milliseconds;
  }

  /** Puts the real clocks and timers back; timers that are still set never fire. */
  [Symbol.dispose](): void {
    for (const restore of this.#restore.splice(0).reverse()) restore();
    this.#timers.clear();
  }

  #setter(repeats: boolean) {
    return (
      callback: (...args: unknown[]) => void,
      delay: unknown = 0,
      ...args: unknown[]
    ): object => {
      const wait = Math.max(0, Number(delay) || 0);
      if (wait > LONGEST_DELAY) {
        throw new RangeError(`A timer of ${wait} ms would fire at once`);
      }
      const id = ++this.#lastId;
      this.#timers.set(id, {
        id,
        due: this.#elapsed + Math.max(0, wait - this.#early),
        every: repeats ? wait : undefined,
        run: () => callback(...args),
      });
      // Node hands out objects and Deno numbers: this handle serves as both.
      const handle = {
        ref: () => handle,
        unref: () => handle,
        hasRef: () => true,
        [Symbol.toPrimitive]: () => id,
      };
      return handle;
    };
  }

  #next(end: number): Timer | undefined {
    let next: Timer | undefined;
    for (const timer of this.#timers.values()) {
      if (timer.due <= end && (next === undefined || timer.due < next.due)) {
        next = timer;
      }
    }
    return next;
  }

  #patch(target: object, name: string, value: unknown): void {
    const before = Object.getOwnPropertyDescriptor(target, name);
    Object.defineProperty(target, name, {
      value,
      writable: true,
      configurable: true,
    });
    this.#restore.push(() => {
      if (before === undefined) Reflect.deleteProperty(target, name);
      else Object.defineProperty(target, name, before);
    });
  }
}

/** Resolves when every promise chain that waits for nothing outside has settled. */
export function settle(): Promise<void> {
  // A turn of the event loop begins only when the microtask queue is empty.
  return new Promise((resolve) => setImmediate(resolve));
}
