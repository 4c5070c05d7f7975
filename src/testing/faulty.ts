/**
 * A backend that fails, hangs or is slow on demand, for tests.
 *
 * @module
 */

import { abortable } from "@std/async/abortable";
import { delay } from "@std/async/delay";
import type { Backend, EntryInfo, Pruned, PruneRule } from "../backend/contract.ts";
import type { StoredEntry } from "../encoding/entry.ts";
import { optionMessage, refuseUnknownOptions } from "../base/errors.ts";
import { requireInteger } from "../base/integer.ts";
import { randomNumbers } from "./random.ts";

/** The operations of a backend that {@linkcode FaultyBackend} can disturb. */
export type Operation =
  | "get"
  | "getMany"
  | "set"
  | "delete"
  | "deleteId"
  | "clear"
  | "entries"
  | "prune"
  | "close";

/** All of them. */
export const OPERATION_NAMES: readonly Operation[] = [
  "get",
  "getMany",
  "set",
  "delete",
  "deleteId",
  "clear",
  "entries",
  "prune",
  "close",
];

/** Options of {@linkcode FaultyBackend}: faults at random. */
export interface FaultyOptions {
  /** Which share of the calls fails at random, 0 (none, also when unset) to 1 (all). */
  readonly failureRate?: number;
  /** Which operations fail at random; all but `close` when unset. */
  readonly operations?: readonly Operation[];
  /** Seed of the random faults, an integer from 0 to 2³² − 1; 1 when unset. */
  readonly seed?: number;
}

/** How {@linkcode FaultyBackend.fail} makes an operation fail. */
export interface FailOptions {
  /** What the operation rejects with; an `Error` that names the operation when unset. */
  readonly error?: Error;
  /** How many calls fail, a positive integer; `Infinity` (also when unset) is until `heal()`. */
  readonly times?: number;
  /**
   * When it fails: `"before"` the wrapped backend is asked (also when unset), or `"after"`, as
   * when the answer of a store that did its work is lost.
   */
  readonly when?: "before" | "after";
}

/** Calls of one operation that wait until they are let go. */
interface Gate {
  readonly opened: Promise<void>;
  readonly open: () => void;
  waiting: number;
}

/**
 * A backend over another one that rejects, hangs or is slow when a test says so: for tests of
 * what a cache does over a store that fails.
 *
 * Nothing is disturbed until `fail`, `hold` or `delay` is called, or `failureRate` is given. A
 * call is counted, delayed, held and then failed, in this order.
 *
 * @example A read that fails once
 * ```ts
 * import { MemoryBackend } from "@panza/panza/memory";
 * import { FaultyBackend } from "@panza/panza/testing";
 * import { assertEquals, assertRejects } from "@std/assert";
 *
 * const backend = new FaultyBackend(new MemoryBackend());
 * backend.fail("get", { error: new Error("connection lost"), times: 1 });
 * await assertRejects(() => backend.get("id", "key"), Error, "connection lost");
 * assertEquals(await backend.get("id", "key"), undefined);
 * assertEquals(backend.calls("get"), 2);
 * ```
 */
export class FaultyBackend implements Backend {
  /** What it is, for messages. */
  readonly description: string;
  /** See {@linkcode Backend.prune}; where the wrapped backend has none, there is none. */
  readonly prune?: (rule: PruneRule) => Promise<Pruned>;
  readonly #inner: Backend;
  readonly #calls = new Map<Operation, number>();
  readonly #failures = new Map<Operation, { error: Error; left: number; after: boolean }>();
  readonly #gates = new Map<Operation, Gate>();
  readonly #delays = new Map<Operation, number>();
  readonly #random: () => number;
  readonly #failureRate: number;
  readonly #randomly: ReadonlySet<Operation>;

  /**
   * Wraps a backend; nothing is disturbed yet, unless at random.
   *
   * @param inner The backend that does the work; its entries are this one's.
   * @param options Faults at random.
   * @throws {TypeError} If an option or an operation does not exist.
   * @throws {RangeError} If `failureRate` or `seed` is out of range.
   */
  constructor(inner: Backend, options: FaultyOptions = {}) {
    const action = "create the faulty backend";
    refuseUnknownOptions(action, options, ["failureRate", "operations", "seed"]);
    const { failureRate = 0, operations, seed = 1 } = options;
    if (typeof failureRate !== "number") {
      throw new TypeError(
        optionMessage(action, "failureRate", "a number from 0 to 1", failureRate),
      );
    }
    if (!(failureRate >= 0 && failureRate <= 1)) {
      throw new RangeError(
        optionMessage(action, "failureRate", "a number from 0 to 1", failureRate),
      );
    }
    requireInteger(action, "seed", seed, 0, 2 ** 32 - 1);
    for (const operation of operations ?? []) {
      requireOperation(action, operation);
    }
    this.#inner = inner;
    this.description = `faulty ${inner.description}`;
    this.#failureRate = failureRate;
    this.#randomly = new Set(operations ?? OPERATION_NAMES.filter((name) => name !== "close"));
    this.#random = randomNumbers(seed);
    const prune = inner.prune?.bind(inner);
    if (prune !== undefined) {
      this.prune = (rule) => this.#run("prune", () => prune(rule));
    }
  }

  /**
   * Makes the next calls of an operation reject, until they were as many as asked for or `heal()`.
   *
   * @param operation Which one.
   * @param options How and how often; without them always, before the wrapped backend is asked.
   * @throws {TypeError} If the operation or an option does not exist, or has the wrong shape.
   * @throws {RangeError} If `times` is neither a positive integer nor `Infinity`.
   */
  fail(operation: Operation, options: FailOptions = {}): void {
    const action = "fail an operation";
    requireOperation(action, operation);
    refuseUnknownOptions(action, options, ["error", "times", "when"]);
    const {
      error = new Error(`${operation} of the store failed on purpose`),
      times = Infinity,
      when = "before",
    } = options;
    if (times !== Infinity) requireInteger(action, "times", times, 1);
    if (when !== "before" && when !== "after") {
      throw new TypeError(optionMessage(action, "when", '"before" or "after"', when));
    }
    this.#failures.set(operation, {
      error,
      left: times,
      after: when === "after",
    });
  }

  /**
   * Makes every call of an operation wait until `release` or `heal()`; a signal that aborts ends
   * the wait of a read.
   *
   * @param operation Which one.
   * @throws {TypeError} If the operation does not exist.
   */
  hold(operation: Operation): void {
    requireOperation("hold an operation", operation);
    if (this.#gates.has(operation)) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#gates.set(operation, { opened: promise, open: resolve, waiting: 0 });
  }

  /**
   * Lets the calls go that `hold` made wait, and holds no more.
   *
   * @param operation Which one.
   * @throws {TypeError} If the operation does not exist.
   */
  release(operation: Operation): void {
    requireOperation("release an operation", operation);
    this.#gates.get(operation)?.open();
    this.#gates.delete(operation);
  }

  /**
   * Makes every call of an operation late, until `heal()`.
   *
   * @param operation Which one.
   * @param milliseconds How late, 0 or more; 0 is a turn of the event loop.
   * @throws {TypeError} If the operation does not exist or the time is not a number.
   * @throws {RangeError} If the time is negative or not finite.
   */
  delay(operation: Operation, milliseconds: number): void {
    const action = "delay an operation";
    requireOperation(action, operation);
    const rule = "a finite number of at least 0 (milliseconds)";
    if (typeof milliseconds !== "number") {
      throw new TypeError(optionMessage(action, "milliseconds", rule, milliseconds));
    }
    if (!(milliseconds >= 0 && milliseconds < Infinity)) {
      throw new RangeError(optionMessage(action, "milliseconds", rule, milliseconds));
    }
    this.#delays.set(operation, milliseconds);
  }

  /** Ends every fault that was asked for by hand, and lets waiting calls go. */
  heal(): void {
    this.#failures.clear();
    this.#delays.clear();
    for (const gate of this.#gates.values()) gate.open();
    this.#gates.clear();
  }

  /**
   * How often an operation was called, calls that failed included.
   *
   * @param operation Which one.
   * @returns The number of calls.
   * @throws {TypeError} If the operation does not exist.
   */
  calls(operation: Operation): number {
    requireOperation("count calls", operation);
    return this.#calls.get(operation) ?? 0;
  }

  /**
   * How many calls of an operation wait because of `hold`.
   *
   * @param operation Which one.
   * @returns The number of calls.
   * @throws {TypeError} If the operation does not exist.
   */
  waiting(operation: Operation): number {
    requireOperation("count waiting calls", operation);
    return this.#gates.get(operation)?.waiting ?? 0;
  }

  /** Passes the listener on. */
  connect(report: (error: Error) => void): void {
    this.#inner.connect(report);
  }

  /** See {@linkcode Backend.get}. */
  get(id: string, key: string, signal?: AbortSignal): Promise<StoredEntry | undefined> {
    return this.#run("get", () => this.#inner.get(id, key, signal), signal);
  }

  /** See {@linkcode Backend.getMany}. */
  getMany(
    id: string,
    keys: readonly string[],
    signal?: AbortSignal,
  ): Promise<(StoredEntry | undefined)[]> {
    const copied = [...keys];
    return this.#run("getMany", () => this.#inner.getMany(id, copied, signal), signal);
  }

  /** See {@linkcode Backend.set}. */
  set(id: string, key: string, entry: StoredEntry): Promise<void> {
    const { data } = entry;
    // The wrapped backend may be asked later, when the caller may have changed its bytes.
    const copied = typeof data === "string" ? entry : { ...entry, data: new Uint8Array(data) };
    return this.#run("set", () => this.#inner.set(id, key, copied));
  }

  /** See {@linkcode Backend.delete}. */
  delete(id: string, key: string): Promise<void> {
    return this.#run("delete", () => this.#inner.delete(id, key));
  }

  /** See {@linkcode Backend.deleteId}. */
  deleteId(id: string): Promise<void> {
    return this.#run("deleteId", () => this.#inner.deleteId(id));
  }

  /** See {@linkcode Backend.clear}. */
  clear(): Promise<void> {
    return this.#run("clear", () => this.#inner.clear());
  }

  /** See {@linkcode Backend.entries}; a fault shows at the first entry, or after the last one. */
  async *entries(id?: string): AsyncGenerator<EntryInfo, void, void> {
    const finish = await this.#begin("entries");
    yield* id === undefined ? this.#inner.entries() : this.#inner.entries(id);
    finish();
  }

  /** See {@linkcode Backend.close}. */
  close(): Promise<void> {
    return this.#run("close", () => this.#inner.close());
  }

  async #run<Result>(
    operation: Operation,
    call: () => Promise<Result>,
    signal?: AbortSignal,
  ): Promise<Result> {
    const finish = await this.#begin(operation, signal);
    const result = await call();
    finish();
    return result;
  }

  /** Counts, delays, holds and fails a call; returns what fails it when its work is done. */
  async #begin(operation: Operation, signal?: AbortSignal): Promise<() => void> {
    this.#calls.set(operation, this.calls(operation) + 1);
    const late = this.#delays.get(operation);
    if (late !== undefined) {
      await delay(late, signal === undefined ? {} : { signal });
    }
    const gate = this.#gates.get(operation);
    if (gate !== undefined) {
      gate.waiting++;
      try {
        await (signal === undefined ? gate.opened : abortable(gate.opened, signal));
      } finally {
        gate.waiting--;
      }
    }
    if (this.#randomly.has(operation) && this.#random() < this.#failureRate) {
      throw new Error(`${operation} of the store failed at random`);
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

function requireOperation(action: string, operation: Operation): void {
  if (!OPERATION_NAMES.includes(operation)) {
    throw new TypeError(optionMessage(action, "operation", OPERATION_NAMES.join(", "), operation));
  }
}
