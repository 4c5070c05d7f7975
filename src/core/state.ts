/**
 * The state that the functions of one cache share: its store, the order of its changes, its reports
 * and counters, and its end.
 *
 * @module
 */

import { warn } from "../base/env.ts";
import {
  BackendError,
  CacheClosedError,
  CacheOnlyError,
  DamagedEntryError,
  PanzaError,
} from "../base/errors.ts";
import { PATIENCE, patiently, waitedMs } from "../base/patience.ts";
import { Pause } from "../base/pause.ts";
import { Pacer } from "../base/turn.ts";
import type { Backend } from "../backend/contract.ts";
import { ChangeOrder, type Place, type Scope } from "../backend/order.ts";
import type { StoredEntry } from "../encoding/entry.ts";
import { type Lease, Leases } from "../leases/leases.ts";
import { keepsNotes } from "../leases/sessions.ts";
import { IdRegistry } from "./ids.ts";
import { escapeName, unescapeName } from "./names.ts";
import type { CacheOptions, ErrorKind } from "./options.ts";
import { Reporter } from "./report.ts";
import { Runs } from "./run.ts";
import { addCounters, type CacheStats, type Counters, newCounters } from "./stats.ts";
import { readSwitches, type Switches } from "./switches.ts";

/** The state of an id, however many functions were wrapped with it. */
export class FunctionState {
  /** The id as the user knows it. */
  readonly id: string;
  /** The id as backends know it. */
  readonly name: string;
  readonly scope: Scope;
  readonly counters: Counters = newCounters();
  /** While it is on, no refresh is tried. */
  readonly pause: Pause = new Pause();
  /** Whether entries count only if this process stored them: BUST_CACHE, or a bust that failed. */
  isDistrusted: boolean;
  /** The keys whose deletion failed: their entries count only if this process stored them. */
  readonly distrusted: Set<string> = new Set();
  /** The keys whose entries count despite distrust: they have been stored since. */
  readonly trusted: Set<string> = new Set();
  /** The keys whose entry must not be replaced: of a newer format, or encrypted. */
  readonly kept: Set<string> = new Set();

  constructor(id: string, scope: Scope, isDistrusted: boolean) {
    this.id = id;
    this.name = scope.name;
    this.scope = scope;
    this.isDistrusted = isDistrusted;
  }

  /** Whether the entry under a key counts. */
  trusts(key: string): boolean {
    if (!this.isDistrusted && this.distrusted.size === 0) return true;
    return this.trusted.has(key) || !(this.isDistrusted || this.distrusted.has(key));
  }
}

/** The target of a change: a key, an id, or (`undefined`) the store. */
export interface ChangeTarget {
  readonly state: FunctionState | undefined;
  readonly key?: string | undefined;
}

/** The error of storing a result whose lease was taken over or busted. */
export const LOST: Error = new Error("another process has busted it or taken it over");

/** Stores an entry in exchange for its lease. */
async function exchange(
  backend: Backend,
  id: string,
  key: string,
  lease: Lease,
  entry: StoredEntry,
): Promise<void> {
  if (await backend.exchange?.(id, key, lease.note, entry) !== true) throw LOST;
}

/** The shared part of a cache. */
export class CacheState {
  readonly backend: Backend;
  readonly order: ChangeOrder = new ChangeOrder();
  readonly ids: IdRegistry;
  /** Runs of functions under way. */
  readonly runs: Runs = new Runs();
  /** Called when the cache begins to close. */
  readonly closing: Set<() => void> = new Set();
  /** The numbers of batches that were made and not run yet, by id. */
  readonly unusedBatches: Map<string, number> = new Map();
  /** Lets changes go on beside a loop of synchronous hits. */
  readonly pacer: Pacer = new Pacer();
  /** While it is on, lookups are left out: the store did not answer. */
  readonly readPause: Pause = new Pause();
  /** The leases by which processes share work; absent where the store keeps no notes. */
  readonly leases: Leases | undefined;
  readonly #reporter: Reporter;
  readonly #states = new Map<string, FunctionState>();
  /** The number of pending stores that no caller waits for any more. */
  #lateWrites = 0;
  #switches: Switches | undefined;
  #closing: Promise<void> | undefined;
  readonly onCall: CacheOptions["onCall"];
  /** The counts of reports that belong to no function. */
  readonly #counters = newCounters();

  /**
   * @param backend The store of the entries.
   * @param given The backend as the user gave it, which identifies the store.
   * @param options The options of every cache.
   */
  constructor(backend: Backend, given: Backend, options: CacheOptions) {
    this.backend = backend;
    this.leases = keepsNotes(backend) ? new Leases(backend) : undefined;
    this.ids = new IdRegistry(given.location, given);
    this.#reporter = new Reporter(options.onError);
    this.onCall = options.onCall;
    backend.connect((error) => {
      if (error instanceof DamagedEntryError) {
        this.report(error, "damaged", this.of(unescapeName(error.id)), error.key);
      } else this.report(error, "backend");
    }, {
      order: this.order,
      isReadOnly: () => this.switches.cacheOnly,
      progress: (id, key) => {
        const scope = this.order.scope(id);
        const place = scope.places.get(key);
        scope.progressAt = waitedMs();
        if (place !== undefined) place.progressAt = scope.progressAt;
      },
    });
  }

  /** The switches in the environment, read on first use. */
  get switches(): Switches {
    return (this.#switches ??= readSwitches());
  }

  /** Whether `close` was called. */
  get isClosed(): boolean {
    return this.#closing !== undefined;
  }

  /** Throws after `close`. */
  assertOpen(): void {
    if (this.#closing !== undefined) throw new CacheClosedError();
  }

  /** The state of an id, made on first use. */
  of(id: string): FunctionState {
    let state = this.#states.get(id);
    if (state === undefined) {
      const scope = this.order.scope(escapeName(id));
      state = new FunctionState(id, scope, id !== "" && this.switches.isBusted(id));
      this.#states.set(id, state);
    }
    return state;
  }

  /** Reports an error that no caller sees, and counts it. */
  report(error: unknown, kind: ErrorKind, state?: FunctionState, key?: string): void {
    const { errors } = state?.counters ?? this.#counters;
    errors[kind] = (errors[kind] ?? 0) + 1;
    this.#reporter.report(error, kind, state?.id, key);
  }

  /** An error of a backend as a `PanzaError`. */
  wrap(operation: string, error: unknown): PanzaError {
    return error instanceof PanzaError
      ? error
      : new BackendError(this.backend.description, operation, error);
  }

  /** Calls the user's code; its error is reported and changes no outcome. */
  guarded(call: () => unknown, own: FunctionState, key?: string): void {
    const report = (error: unknown): void => this.report(error, "progress", own, key);
    try {
      const done = call();
      // An async function passes as one that returns nothing.
      if (done instanceof Promise) done.catch(report);
    } catch (error) {
      report(error);
    }
  }

  /** The counts of one id, or the sum of all. */
  stats(id?: string): CacheStats {
    const sum = newCounters();
    if (id === undefined) addCounters(sum, this.#counters);
    const counted = id === undefined ? this.#states.values() : [this.#states.get(id)];
    for (const state of counted) if (state !== undefined) addCounters(sum, state.counters);
    return sum;
  }

  /** The counts of each function. */
  statsById(): Record<string, CacheStats> {
    const functions = [...this.#states.keys()].filter((id) => id !== "");
    return Object.fromEntries(functions.map((id) => [id, this.stats(id)]));
  }

  /**
   * The entry under a key, whether it counts or not.
   *
   * @throws {Error} The error of the store, or a `NoProgressError`.
   */
  async entry(
    state: FunctionState,
    key: string,
    progress: Place | undefined,
  ): Promise<StoredEntry | undefined> {
    const found = this.backend.get(state.name, key);
    return found instanceof Promise ? await patiently(found, PATIENCE.callMs, progress) : found;
  }

  /**
   * Stores an entry, in its order; the caller waits no longer than for a lookup.
   *
   * @param lease The lease to exchange for the entry, where processes share work.
   * @param settled Called once it is known whether the store has the entry; with `LOST` if the
   * lease was taken over or busted by then.
   * @returns Whether the store has the entry; `undefined` when the caller no longer waits.
   */
  store(
    state: FunctionState,
    place: Place,
    entry: StoredEntry,
    lease: Lease | undefined,
    settled: (error?: unknown) => void,
  ): Promise<boolean | "lost" | undefined> {
    return new Promise((resolve) => {
      let isLate = false;
      const late = (): void => {
        if (isLate) return;
        isLate = true;
        this.#lateWrites++;
        resolve(undefined);
      };
      const end = (error?: unknown): void => {
        if (isLate) this.#lateWrites--;
        if (error === undefined && (state.isDistrusted || state.distrusted.size > 0)) {
          state.trusted.add(place.key);
        }
        if (error === undefined) lease?.end();
        else lease?.release();
        const isLost = error === LOST;
        settled(error === undefined || isLost ? error : this.wrap("write", error));
        resolve(isLost ? "lost" : error === undefined);
      };
      // While one store is late, no caller waits for later ones: the backend does not answer.
      const isFirst = this.#lateWrites === 0;
      const isBehind = !this.order.isFree(place);
      const work = () =>
        patiently(
          lease === undefined
            ? this.backend.set(state.name, place.key, entry)
            : exchange(this.backend, state.name, place.key, lease, entry),
          PATIENCE.changeMs,
          place,
          late,
        );
      const storing = this.order.change(place, work, end);
      if (!isFirst) late();
      // The wait for earlier changes counts too.
      else if (isBehind) patiently(storing, Infinity, place, late).catch(() => {});
    });
  }

  /**
   * Makes an explicit change; rejects if it fails. After a failed deletion, the entries that it
   * named count only if this process stores them from now on.
   */
  async change(
    target: ChangeTarget,
    operation: "write" | "delete",
    work: () => Promise<void>,
  ): Promise<void> {
    this.assertOpen();
    if (this.switches.cacheOnly) throw new CacheOnlyError(target.state?.id ?? "", target.key ?? "");
    const { state, key } = target;
    const { order } = this;
    const place = state !== undefined && key !== undefined
      ? order.enter(state.scope, key)
      : undefined;
    const bounded = () => this.#bounded(operation, work(), place ?? state?.scope);
    try {
      if (place === undefined) await order.sweep(state?.scope, bounded);
      else if (operation === "write") await order.change(place, bounded);
      else await order.bust(place, bounded);
      if (operation === "delete") this.#forget(target);
      else if (key !== undefined) state?.trusted.add(key);
    } catch (error) {
      if (operation === "delete") this.#distrust(target);
      throw this.wrap(operation, error);
    } finally {
      if (place !== undefined) order.leave(place);
    }
  }

  /** Waits for a change as long as it makes progress. */
  #bounded<T>(operation: string, work: Promise<T>, progress: Place | Scope | undefined) {
    return patiently(work, PATIENCE.changeMs, progress).catch((error) => {
      throw this.wrap(operation, error);
    });
  }

  /** Removes the `kept` marks of deleted entries. */
  #forget({ state, key }: ChangeTarget): void {
    for (const each of state === undefined ? this.#states.values() : [state]) {
      if (key === undefined) each.kept.clear();
      else each.kept.delete(key);
    }
  }

  #distrust({ state, key }: ChangeTarget): void {
    for (const each of state === undefined ? this.#states.values() : [state]) {
      if (key === undefined) {
        each.isDistrusted = true;
        each.trusted.clear();
      } else {
        each.distrusted.add(key);
        each.trusted.delete(key);
      }
    }
  }

  /**
   * Refuses calls, ends runs that have not started, waits for the others and for their stores, and
   * closes the backend. The second call waits for the first.
   */
  close(): Promise<void> {
    return (this.#closing ??= this.#close());
  }

  async #close(): Promise<void> {
    // In the next microtask, when `#closing` is set and runs can see it.
    await undefined;
    this.#reportUnused();
    for (const stop of this.closing) stop();
    this.runs.close();
    await this.#runsEnded();
    await this.order.settled();
    this.ids.release();
    await this.leases?.close();
    try {
      await this.backend.close();
    } catch (error) {
      throw this.wrap("close", error);
    }
  }

  /** Waits for the runs, and warns of slow ones: a run that awaits `close` never ends. */
  async #runsEnded(): Promise<void> {
    while (this.runs.first !== undefined) {
      const running = [...this.runs];
      const ended = Promise.all(running.map((run) => run.ended));
      try {
        await patiently(ended, PATIENCE.callMs);
      } catch {
        const ids = [...new Set(running.map((run) => run.id))].join(", ");
        warn(`panza: close() waits for running calls of ${ids}`);
        await ended;
      }
    }
  }

  #reportUnused(): void {
    for (const [id, count] of this.unusedBatches) {
      const what = count === 1 ? "a batch was" : `${count} batches were`;
      const error = new Error(`${what} made and never run: iterate it, or call run() or values()`);
      this.report(error, "progress", this.of(id));
    }
    const unknown = [...(this.#switches?.bustedIds ?? [])].filter((id) => !this.ids.has(id));
    if (unknown.length > 0 && this.ids.hasAny) {
      warn(`panza: BUST_CACHE names ids that no function of this cache had: ${unknown.join(", ")}`);
    }
  }
}
