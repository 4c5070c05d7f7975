/**
 * What all functions of one cache share: the backend, the reports of trouble, the environment's
 * switches, and the state that belongs to an id.
 *
 * @module
 */

import type { Backend } from "../backend/contract.ts";
import { readSwitches, type Switches, warn } from "../base/env.ts";
import {
  BackendError,
  CacheClosedError,
  DamagedEntryError,
  PanzaError,
  quote,
} from "../base/errors.ts";
import { type Flight, Flights } from "./flight.ts";
import { escapeName, unescapeName } from "./names.ts";
import type { CacheOptions, ErrorKind } from "./options.ts";
import type { Encoded } from "../encoding/codec.ts";

/** What is told of trouble in the caller's own code: what that says itself may hold arguments. */
const OWN_CODE: { readonly [Kind in ErrorKind]?: string } = {
  refused: "a result was not stored: shouldCache or schema refused it",
  refresh: "the function failed, and a stale result was served",
  progress: "onProgress failed",
};

/** What the calls of one function, or of a whole cache, came to since it was opened. */
export interface Stats {
  /** Calls that were answered from the store. */
  readonly hits: number;
  /** Calls that ran the function. */
  readonly misses: number;
  /** Calls that waited for the run of an equal call. */
  readonly shared: number;
  /** Calls that were answered with a stale result. */
  readonly stale: number;
  /** Troubles that were reported to `onError`. */
  readonly errors: number;
  /** Bytes of encoded values that were read. */
  readonly bytesRead: number;
  /** Bytes of encoded values that were written. */
  readonly bytesWritten: number;
  /** What the runs had cost whose results were not computed again, in milliseconds. */
  readonly savedMs: number;
}

/** Stats while they are counted. */
export type Counters = { -readonly [Name in keyof Stats]: number };

function newCounters(): Counters {
  return {
    hits: 0,
    misses: 0,
    shared: 0,
    stale: 0,
    errors: 0,
    bytesRead: 0,
    bytesWritten: 0,
    savedMs: 0,
  };
}

/** What a call came to, as far as those that waited for it need it. */
export interface Outcome {
  /** How the leader got it. */
  readonly status: "hit" | "miss" | "shared" | "stale";
  /** The value, from which every waiter decodes its own; `undefined` when it cannot be copied. */
  readonly encoded: Encoded | undefined;
  /** When it was stored; `null` when it was not. */
  readonly storedAt: number | null;
  /** What the run took that made it, in milliseconds. */
  readonly durationMs: number;
}

/** A run that renews a stale result. */
export interface Renewal {
  readonly flight: Flight<Outcome>;
  /** Resolves when it has ended, well or badly. */
  readonly ended: Promise<void>;
}

/** What belongs to an id, however many functions were wrapped with it. */
export class FunctionState {
  /** The id as the user knows it. */
  readonly id: string;
  /** The id as backends know it. */
  readonly name: string;
  readonly flights: Flights<Outcome> = new Flights();
  /** The runs that renew a stale result, by key. */
  readonly renewals: Map<string, Renewal> = new Map();
  /** Are told each key that was stored or is busted; `undefined` is all of them. */
  readonly watchers: Set<(key: string | undefined) => void> = new Set();
  readonly counters: Counters = newCounters();
  /** Settles when no bust of this id is under way; calls wait for it before they read. */
  barrier: Promise<void> | undefined;

  constructor(id: string) {
    this.id = id;
    this.name = escapeName(id);
  }

  /** Tells that a key was stored or is busted; `undefined` is all of them. */
  changed(key: string | undefined): void {
    for (const tell of this.watchers) tell(key);
  }
}

/** The shared part of a cache. */
export class Store {
  readonly backend: Backend;
  readonly #onError: CacheOptions["onError"];
  readonly #states = new Map<string, FunctionState>();
  readonly #names = new Map<string, { source: string; fn: object }>();
  readonly #told = new Set<string>();
  readonly #background = new Set<Promise<void>>();
  #switches: Switches | undefined;
  #closing: Promise<void> | undefined;
  /** Reports that belong to no function. */
  #errors = 0;

  constructor(backend: Backend, options: CacheOptions) {
    this.backend = backend;
    this.#onError = options.onError;
    backend.connect((error) => {
      if (error instanceof DamagedEntryError) {
        const state = this.state(unescapeName(error.id));
        this.report(error, "damaged", state, error.key);
      } else this.report(error, "backend");
    });
  }

  /** What the environment asks for, read on first use. */
  get switches(): Switches {
    return (this.#switches ??= readSwitches());
  }

  /** Whether `close` was called. */
  get isClosed(): boolean {
    return this.#closing !== undefined;
  }

  /** Refuses whatever comes after `close`. */
  assertOpen(): void {
    if (this.isClosed) throw new CacheClosedError();
  }

  /** The state of an id, made on first use. */
  state(id: string): FunctionState {
    let state = this.#states.get(id);
    if (state === undefined) {
      state = new FunctionState(id);
      this.#states.set(id, state);
    }
    return state;
  }

  /** Every state, or the one of an id. */
  states(id?: string): FunctionState[] {
    return id === undefined ? [...this.#states.values()] : [this.state(id)];
  }

  /**
   * Takes a function's own name as its id, unless another function has it.
   *
   * @throws {TypeError} If there is no name, or a function with another source has it.
   */
  claim(name: string, fn: object): string {
    if (name === "") {
      throw new TypeError(
        "Cannot cache a function: it has no name to serve as its id; pass { id: … }",
      );
    }
    const source = fn.toString();
    const other = this.#names.get(name);
    if (other === undefined) {
      this.#names.set(name, { source, fn });
    } else if (other.fn !== fn && (other.source !== source || NATIVE.test(source))) {
      throw new TypeError(
        `Cannot cache a function: another function is cached as ${quote(name)} already, ` +
          "and they would serve each other's results; pass each its own { id: … }",
      );
    }
    return name;
  }

  /** Tells of trouble that its caller does not see. */
  report(error: unknown, kind: ErrorKind, state?: FunctionState, key?: string): void {
    if (state === undefined) this.#errors++;
    else state.counters.errors++;
    const known = error instanceof Error ? error : new Error(quote(error), { cause: error });
    const tell = (): void => {
      const where = state === undefined || state.id === "" ? "" : `${state.id}: `;
      const own = OWN_CODE[kind];
      const what = own === undefined ? known.message : `${own} (${known.name})`;
      this.#tell(`${kind}:${state?.id ?? ""}`, `${where}${what}`);
    };
    // Trouble in onError is told like any other, and changes no outcome either.
    const fail = (failure: unknown): void => {
      const name = failure instanceof Error ? failure.name : quote(failure);
      this.#tell("onError", `onError failed (${name})`);
      tell();
    };
    if (this.#onError === undefined) {
      tell();
      return;
    }
    try {
      const done: unknown = this.#onError(known, { kind, id: state?.id, key });
      // An async function passes as one that returns nothing.
      if (done instanceof Promise) done.catch(fail);
    } catch (failure) {
      fail(failure);
    }
  }

  #tell(once: string, message: string): void {
    if (this.#told.has(once)) return;
    this.#told.add(once);
    warn(`panza: ${message} (told once; pass onError to learn of each)`);
  }

  /** Remembers work that nobody waits for, so that `close` does. */
  inBackground(work: Promise<void>): void {
    this.#background.add(work);
    work.finally(() => this.#background.delete(work));
  }

  /**
   * Deletes, in such a way that the bust wins: calls that began before store nothing afterwards,
   * and calls that begin now wait until it is done.
   *
   * @throws {PanzaError} If the deletion failed.
   */
  async bust(
    states: readonly FunctionState[],
    key: string | undefined,
    deletion: () => Promise<void>,
  ): Promise<void> {
    this.assertOpen();
    const writes = states.flatMap((state) => state.flights.outdate(key));
    for (const state of states) state.changed(key);
    const done = Promise.allSettled(writes).then(deletion);
    for (const state of states) {
      const barrier: Promise<void> = Promise.allSettled([state.barrier, done]).then(() => {
        if (state.barrier === barrier) state.barrier = undefined;
      });
      state.barrier = barrier;
    }
    await this.guard("delete", () => done);
  }

  /** Waits for a backend; what it throws reaches the caller as one of the library's errors. */
  async guard<T>(operation: string, work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      throw this.wrap(operation, error);
    }
  }

  /** An error of a backend as one of the library's. */
  wrap(operation: string, error: unknown): PanzaError {
    return error instanceof PanzaError
      ? error
      : new BackendError(this.backend.description, operation, error);
  }

  /** The counts of one id, or the sum of all. */
  stats(id?: string): Stats {
    const sum = newCounters();
    if (id === undefined) sum.errors = this.#errors;
    for (const state of this.#states.values()) {
      if (id !== undefined && state.id !== id) continue;
      for (const name of Object.keys(sum) as (keyof Counters)[]) {
        sum[name] += state.counters[name];
      }
    }
    return sum;
  }

  /** Waits for what was begun and closes the backend; the second call waits for the first. */
  close(): Promise<void> {
    return (this.#closing ??= (async () => {
      // A refresh may begin another: until none is left.
      while (this.#background.size > 0) {
        await Promise.allSettled(this.#background);
      }
      await this.guard("close", () => this.backend.close());
    })());
  }
}

/** The source of a function whose source cannot be seen: a bound one, or one of the runtime. */
const NATIVE = /\{\s*\[native code\]\s*\}\s*$/;
