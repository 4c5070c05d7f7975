/** A backend that fails, waits or is slow on request. */

import { abortable } from "@std/async/abortable";
import { delay } from "@std/async/delay";
import type { Backend, EntryInfo, Maybe } from "../../src/backend/contract.ts";
import { BackendAround, type Operation } from "./around.ts";

export { type Operation, OPERATION_NAMES } from "./around.ts";

/** The kind of failure for {@linkcode FaultyBackend.fail}. */
export interface FailOptions {
  /** The reason; when unset, an `Error` that names the operation. */
  readonly error?: Error;
  /** The number of calls that fail; when unset, all until `heal()`. */
  readonly times?: number;
  /** `before` the wrapped backend works (the default), or `after`, as if the answer was lost. */
  readonly when?: "before" | "after";
}

/** Calls of one operation that wait for `release()`. */
interface Gate {
  readonly opened: Promise<void>;
  readonly open: () => void;
  waiting: number;
}

/**
 * A backend around another one. A call is counted, delayed, held and then failed, in this order,
 * as far as the test asked for it.
 */
export class FaultyBackend extends BackendAround {
  readonly #calls = new Map<Operation, number>();
  readonly #failures = new Map<Operation, { error: Error; left: number; after: boolean }>();
  readonly #gates = new Map<Operation, Gate>();
  readonly #delays = new Map<Operation, number>();

  constructor(inner: Backend) {
    super(inner, "faulty");
  }

  /** Makes the next calls of an operation reject. */
  fail(operation: Operation, options: FailOptions = {}): void {
    const {
      error = new Error(`${operation} of the store failed on purpose`),
      times = Infinity,
      when = "before",
    } = options;
    this.#failures.set(operation, { error, left: times, after: when === "after" });
  }

  /** Makes an operation wait for `release()` or `heal()`; an abort ends the wait of a read. */
  hold(operation: Operation): void {
    if (this.#gates.has(operation)) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#gates.set(operation, { opened: promise, open: resolve, waiting: 0 });
  }

  /** Lets go the calls that `hold()` made wait, and holds no more. */
  release(operation: Operation): void {
    this.#gates.get(operation)?.open();
    this.#gates.delete(operation);
  }

  /** Delays every call of an operation until `heal()`; 0 is one turn of the event loop. */
  delay(operation: Operation, milliseconds: number): void {
    this.#delays.set(operation, milliseconds);
  }

  /** Ends every fault and lets waiting calls go. */
  heal(): void {
    this.#failures.clear();
    this.#delays.clear();
    for (const gate of this.#gates.values()) gate.open();
    this.#gates.clear();
  }

  /** The number of calls of an operation, failed ones included. */
  calls(operation: Operation): number {
    return this.#calls.get(operation) ?? 0;
  }

  /** The number of calls of an operation that `hold()` makes wait. */
  waiting(operation: Operation): number {
    return this.#gates.get(operation)?.waiting ?? 0;
  }

  /** A fault shows at the first entry, or after the last one. */
  override async *entries(id?: string): AsyncGenerator<EntryInfo, void, void> {
    const finish = await this.#begin("entries");
    yield* super.entries(id);
    finish();
  }

  override async run<Result>(
    operation: Operation,
    work: () => Maybe<Result>,
    signal?: AbortSignal,
  ): Promise<Result> {
    const finish = await this.#begin(operation, signal);
    const result = await work();
    finish();
    return result;
  }

  /** Counts, delays, holds and fails a call; the returned function fails it after its work. */
  async #begin(operation: Operation, signal?: AbortSignal): Promise<() => void> {
    this.#calls.set(operation, this.calls(operation) + 1);
    const late = this.#delays.get(operation);
    if (late !== undefined) await delay(late, signal === undefined ? {} : { signal });
    const gate = this.#gates.get(operation);
    if (gate !== undefined) {
      gate.waiting++;
      try {
        await (signal === undefined ? gate.opened : abortable(gate.opened, signal));
      } finally {
        gate.waiting--;
      }
    }
    const failure = this.#failures.get(operation);
    if (failure === undefined) return () => {};
    if (--failure.left === 0) this.#failures.delete(operation);
    if (!failure.after) throw failure.error;
    return () => {
      throw failure.error;
    };
  }
}
