/**
 * One running call per key: who comes while it runs waits for it instead of running again.
 *
 * - A flight is removed only by its owner: by identity, never by key.
 * - An abort is its caller's alone: a waiter leaves by itself, and when the leader's signal aborts
 *   the others are told to go on without it.
 * - A call that would wait for itself is refused: flights know which flights they wait for.
 *
 * It knows nothing of caches.
 *
 * @module
 */

import type { AsyncLocalStorage } from "node:async_hooks";
import { builtin } from "../base/runtime.ts";

/** What a waiter learns: the outcome, or that it has to go on by itself. */
export type Landing<T> =
  | { readonly landed: true; readonly outcome: T }
  | {
    readonly landed: false;
  };

const ALONE = { landed: false } as const;

interface Waiter<T> {
  resolve(landing: Landing<T>): void;
  reject(reason: unknown): void;
}

/** One running call. */
export class Flight<T> {
  /** Set by a bust: what comes of this flight is returned and not stored. */
  outdated = false;
  /** The write of its result, while it is under way. */
  storing: Promise<void> | undefined;
  /** The flights that this one waits for, and how many of its calls do. */
  #waitsFor: Map<Flight<unknown>, number> | undefined;
  // Both are made when they are needed: most flights are over before anybody comes.
  #waiters: Waiter<T>[] | undefined;

  /** Whether somebody waits for the outcome. */
  get shared(): boolean {
    return this.#waiters !== undefined && this.#waiters.length > 0;
  }

  /** Waits for the outcome, or until a signal of the waiter aborts. */
  wait(signals: readonly AbortSignal[]): Promise<Landing<T>> {
    const { promise, resolve, reject } = Promise.withResolvers<Landing<T>>();
    const waiter: Waiter<T> = { resolve, reject };
    (this.#waiters ??= []).push(waiter);
    if (signals.length === 0) return promise;
    const leave = (event: Event): void => {
      const index = this.#waiters?.indexOf(waiter) ?? -1;
      if (index >= 0) this.#waiters?.splice(index, 1);
      reject((event.target as AbortSignal).reason);
    };
    for (const signal of signals) signal.addEventListener("abort", leave);
    return promise.finally(() => {
      for (const signal of signals) signal.removeEventListener("abort", leave);
    });
  }

  /** The flights that this one waits for. */
  get waitsFor(): Iterable<Flight<unknown>> {
    return this.#waitsFor?.keys() ?? [];
  }

  /** Notes that a call of this flight waits for another one. */
  waitFor(other: Flight<unknown>): void {
    this.#waitsFor ??= new Map();
    this.#waitsFor.set(other, (this.#waitsFor.get(other) ?? 0) + 1);
  }

  /** Notes that one call waits no more; others of this flight may. */
  waitNoMore(other: Flight<unknown>): void {
    const left = (this.#waitsFor?.get(other) ?? 0) - 1;
    if (left > 0) this.#waitsFor?.set(other, left);
    else this.#waitsFor?.delete(other);
  }

  /** Gives every waiter the outcome. */
  land(outcome: T): void {
    for (const waiter of this.#leave()) {
      waiter.resolve({ landed: true, outcome });
    }
  }

  /** Gives every waiter the error. */
  crash(error: unknown): void {
    for (const waiter of this.#leave()) waiter.reject(error);
  }

  /** Tells every waiter to go on by itself. */
  disband(): void {
    for (const waiter of this.#leave()) waiter.resolve(ALONE);
  }

  #leave(): Waiter<T>[] {
    const waiters = this.#waiters ?? [];
    this.#waiters = undefined;
    return waiters;
  }
}

/** Which flight the running code belongs to. Made on first use: it is not free everywhere. */
let context: AsyncLocalStorage<Flight<unknown>> | null | undefined;

/** The flight that the running code belongs to, if any. */
export function currentFlight(): Flight<unknown> | undefined {
  return context?.getStore();
}

/** Runs a function as part of a flight; its callees find it as `currentFlight`. */
export function runInFlight<R>(flight: Flight<unknown>, run: () => R): R {
  if (context === undefined) {
    const hooks = builtin("node:async_hooks");
    // Without it (a browser) everything works but the refusal of calls that wait for themselves.
    context = hooks === undefined ? null : new hooks.AsyncLocalStorage();
  }
  return context === null ? run() : context.run(flight, run);
}

/** Whether waiting for `flight` would be waiting for `self`. */
export function waitsForItself(
  self: Flight<unknown>,
  flight: Flight<unknown>,
  seen: Set<Flight<unknown>> = new Set(),
): boolean {
  if (flight === self) return true;
  seen.add(flight);
  for (const next of flight.waitsFor) {
    if (!seen.has(next) && waitsForItself(self, next, seen)) return true;
  }
  return false;
}

/** The running calls of one function, by key. */
export class Flights<T> {
  /**
   * The flight that began while there was no other, mostly the only one. A Map that empties makes
   * itself a new table each time, which costs more than all else that a flight does.
   */
  #first: { readonly key: string; readonly flight: Flight<T> } | undefined;
  readonly #byKey = new Map<string, Flight<T>>();
  /** Flights that nobody can join any more, or never could, and that a bust still has to reach. */
  readonly #alone = new Map<Flight<T>, string>();

  /** The flight that a call with this key can join. */
  get(key: string): Flight<T> | undefined {
    if (this.#first?.key === key) return this.#first.flight;
    return this.#byKey.size === 0 ? undefined : this.#byKey.get(key);
  }

  /** Begins a flight; `joinable` is whether others may wait for it. */
  begin(key: string, joinable: boolean): Flight<T> {
    const flight = new Flight<T>();
    if (!joinable) this.#alone.set(flight, key);
    else if (this.#first === undefined) this.#first = { key, flight };
    else this.#byKey.set(key, flight);
    return flight;
  }

  /** Ends a flight, whoever holds its key now. */
  end(key: string, flight: Flight<T>): void {
    if (!this.#remove(key, flight)) this.#alone.delete(flight);
  }

  /** Lets a flight go on alone: its waiters go their own way and nobody joins it any more. */
  detach(key: string, flight: Flight<T>): void {
    if (!this.#remove(key, flight)) return;
    this.#alone.set(flight, key);
    flight.disband();
  }

  /** Takes a flight away from those that can be joined; false when it is none of them. */
  #remove(key: string, flight: Flight<T>): boolean {
    if (this.#first?.flight === flight) {
      this.#first = undefined;
      return true;
    }
    return this.#byKey.get(key) === flight && this.#byKey.delete(key);
  }

  /**
   * Makes the flights of a key, or all of them, outdated: later calls do not join them.
   *
   * @returns The writes that are under way.
   */
  outdate(key?: string): Promise<void>[] {
    const outdate = (name: string, flight: Flight<T> | undefined): void => {
      if (flight === undefined) return;
      this.#remove(name, flight);
      this.#alone.set(flight, name);
    };
    if (key !== undefined) outdate(key, this.get(key));
    else {
      if (this.#first !== undefined) {
        outdate(this.#first.key, this.#first.flight);
      }
      for (const [name, flight] of [...this.#byKey]) outdate(name, flight);
    }
    const writes: Promise<void>[] = [];
    for (const [flight, name] of this.#alone) {
      if (key !== undefined && name !== key) continue;
      flight.outdated = true;
      if (flight.storing !== undefined) writes.push(flight.storing);
    }
    return writes;
  }
}
