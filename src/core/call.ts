/**
 * One call: look up, then join a run or begin one, in one turn.
 *
 * Past 300 lines, because a call is one async function: each further one costs as much as a lookup
 * in memory.
 *
 * @module
 */

import { abortReason, unlessAborted } from "../base/abort.ts";
import { warn } from "../base/env.ts";
import { CacheClosedError, CacheOnlyError, ReentrantCallError } from "../base/errors.ts";
import { PATIENCE, patiently } from "../base/patience.ts";
import type { AnyFunction } from "../base/wrap.ts";
import type { Maybe } from "../backend/contract.ts";
import type { Place } from "../backend/order.ts";
import { printCall, reportCall } from "./call_report.ts";
import { type Claims, ElsewhereError } from "./claim.ts";
import type { CacheRead, CallDetail, Cost } from "./detail.ts";
import type { CallStatus, Unstored } from "./events.ts";
import type { Flow } from "./flow.ts";
import { type KeyedCall, Keys } from "./key.ts";
import type { CheckedOptions } from "./options.ts";
import type { Found, Owned } from "./owned.ts";
import { Reader } from "./read.ts";
import { type Failure, Flight, type Lookup, type Outcome, Run } from "./run.ts";
import type { CacheState, FunctionState } from "./state.ts";
import { countCall } from "./stats.ts";
import { finiteOrNull, Writer } from "./write.ts";

/** The calls of one wrapped function. */
export class Calls {
  readonly state: CacheState;
  readonly own: FunctionState;
  protected readonly fn: AnyFunction;
  readonly #options: CheckedOptions;
  readonly #isShared: boolean;
  readonly claims: Claims | undefined;
  readonly keys: Keys;
  readonly reader: Reader;
  readonly #writer: Writer;

  constructor(
    state: CacheState,
    own: FunctionState,
    fn: AnyFunction,
    options: CheckedOptions,
    isShared: boolean,
    claims: Claims | undefined,
  ) {
    this.claims = claims;
    this.state = state;
    this.own = own;
    this.fn = fn;
    this.#options = options;
    this.#isShared = isShared;
    this.keys = new Keys(own.id, options);
    this.reader = new Reader(state, own, options);
    this.#writer = new Writer(state, own, this.keys, this.reader, options);
  }

  /**
   * Makes a call as its caller sees it.
   *
   * @param give Picks what the caller gets. Passed in, because one more async function would cost
   * as much as the rest of a hit.
   */
  async call<Given>(
    self: unknown,
    args: readonly unknown[],
    give: (detail: CallDetail<unknown>) => Given,
  ): Promise<Given> {
    this.state.assertOpen();
    const asked = this.keys.ask(self, args);
    const call = asked instanceof Promise ? await asked : asked;
    const { order } = this.state;
    let looked: Lookup | undefined;
    if (order.isQuiet(this.own.scope, call.key)) {
      const born = order.now();
      const found = this.reader.find(call.key, born);
      if (!(found instanceof Promise) && found && this.reader.statusOf(found) === "hit") {
        const detail = this.detail(call, "hit", found.entry, found.owned.take());
        // A loop of synchronous hits would starve the store's changes.
        if (order.isChanging) await this.state.pacer.pace();
        return give(detail);
      }
      looked = { born, found };
    }
    this.keys.own(call);
    return give(await this.#settle(call, looked, true));
  }

  /** Looks up a result without running the function. */
  async read(self: unknown, args: readonly unknown[]): Promise<CacheRead<unknown>> {
    this.state.assertOpen();
    const call = await this.keys.ask(self, args);
    const flight = this.#enter(call.key);
    try {
      const lookup = this.#look(flight, undefined);
      const found = await unlessAborted(Promise.resolve(lookup.found), call.signals);
      const isCounted = found !== undefined && this.#end(flight, lookup);
      if (!isCounted || this.reader.statusOf(found) !== "hit") return { hit: false };
      const expiresAt = finiteOrNull(this.reader.freshUntil(found.entry));
      const value = await found.owned.take();
      return { hit: true, value, storedAt: found.entry.storedAt, expiresAt };
    } finally {
      this.#leave(flight);
    }
  }

  /** Deletes the result of one call; without arguments, all results. */
  async bust(self: unknown, args: readonly unknown[]): Promise<void> {
    const { backend } = this.state;
    const { own } = this;
    if (args.length === 0) {
      await this.state.change({ state: own }, "delete", () => backend.deleteId(own.name));
      return;
    }
    // Synchronous where possible: a call right after this one must see the bust under way.
    const asked = this.keys.ask(self, args);
    const { key } = asked instanceof Promise ? await asked : asked;
    await this.state.change({ state: own, key }, "delete", () => backend.delete(own.name, key));
  }

  /** Gets the value of a call, running the function if needed. */
  fly(call: KeyedCall): Promise<CallDetail<unknown>> {
    this.keys.own(call);
    return this.#settle(call, undefined, true);
  }

  /**
   * Gets the value of a call without beginning a run.
   *
   * @returns `undefined` if the call needs a run of its own.
   */
  join(call: KeyedCall): Promise<CallDetail<unknown> | undefined> {
    return this.#settle(call, undefined, false);
  }

  /** Whether an equal call is running that others can join. */
  isRunning(key: string): boolean {
    const flight = Flight.of(this.own.scope.places.get(key));
    return flight !== undefined && this.#joinable(flight) !== undefined;
  }

  /**
   * Gets the value of a call in one async function: each further one costs as much as a lookup in
   * memory.
   *
   * @param looked A lookup that began in this turn.
   * @param mayRun Whether the call may begin a run.
   * @returns `undefined` if the call needs a run of its own and may not begin one.
   */
  #settle(
    call: KeyedCall,
    looked: Lookup | undefined,
    mayRun: true,
  ): Promise<CallDetail<unknown>>;
  #settle(
    call: KeyedCall,
    looked: Lookup | undefined,
    mayRun: false,
  ): Promise<CallDetail<unknown> | undefined>;
  async #settle(
    call: KeyedCall,
    looked: Lookup | undefined,
    mayRun: boolean,
  ): Promise<CallDetail<unknown> | undefined> {
    const { order, switches } = this.state;
    // Equal inputs of a batch run once, whatever other calls do.
    const isShared = this.#isShared || !mayRun;
    const flight = this.#enter(call.key);
    let run: Run | undefined;
    let flow: Flow | undefined;
    try {
      let found: Found | undefined;
      // A miss counts only if nothing changed since the lookup began. Two rounds at most: a key
      // that changes all the time must not hold a call for ever.
      for (let round = 0; round < 2 && !call.renews; round++) {
        run = this.#joinable(flight, isShared);
        if (run !== undefined && !run.isRefresh) break;
        const lookup = this.#look(flight, looked);
        looked = undefined;
        found = lookup.found instanceof Promise
          ? await unlessAborted(lookup.found, call.signals)
          : lookup.found;
        if (!this.#end(flight, lookup)) found = undefined;
        const status = found && this.reader.statusOf(found);
        if (found !== undefined && status !== undefined) {
          if (status === "stale") void this.refresh(call);
          return await this.#take(call, status, found.entry, found.owned);
        }
        run = this.#joinable(flight, isShared);
        if (order.isUnchanged(flight.place, lookup.born)) break;
      }
      if (switches.cacheOnly) throw new CacheOnlyError(this.own.id, call.key);
      if (run === undefined && found && this.own.pause.isOn && this.reader.isFallback(found)) {
        return await this.#take(call, "stale", found.entry, found.owned);
      }
      for (let how: "shared" | "miss" = "shared";; run = undefined) {
        if (run === undefined) {
          if (!mayRun) return undefined;
          run = this.#lead(call, flight, found);
          how = "miss";
          found = undefined;
        }
        flow = run.flow;
        flow?.enter(call.reader, how);
        const outcome = await this.#outcome(call, run);
        if ("error" in outcome) {
          if (outcome.error instanceof ElsewhereError && !call.mayLeave) continue;
          throw outcome.error;
        }
        // A reader of the flow has its items already.
        const isRead = call.reader !== undefined && outcome.status === "miss";
        if (isRead) return this.detail(call, how, outcome, undefined, outcome.unstored);
        // A value that cannot be copied, and that another caller has taken, is computed again.
        if (!outcome.owned.isLeft) continue;
        const status = outcome.status === "miss" ? how : outcome.status;
        return await this.#take(call, status, outcome, outcome.owned, outcome.unstored);
      }
    } finally {
      flow?.exit(call.reader);
      if (call.watch !== undefined) run?.unwatch(call.watch);
      this.#leave(flight);
    }
  }

  /** The run of a flight that a call may join. */
  #joinable(flight: Flight, isShared: boolean = this.#isShared): Run | undefined {
    const { run } = flight;
    if (run === undefined || run.isAborted || run.flow?.isOverlong || !isShared) return undefined;
    return this.state.order.isCurrent(flight.place, run.born) ? run : undefined;
  }

  /** The lookup that equal calls share, or that of this turn, or a new one. */
  #look(flight: Flight, looked: Lookup | undefined): Lookup {
    const { order } = this.state;
    const { lookup } = flight;
    if (lookup !== undefined && order.isUnchanged(flight.place, lookup.born)) return lookup;
    const own = looked ?? { born: order.now(), found: this.#lookAfterChanges(flight) };
    if (own.found instanceof Promise) flight.lookup = own;
    return own;
  }

  /** Ends a lookup; true if its result counts: no bust has reached the key since. */
  #end(flight: Flight, lookup: Lookup): boolean {
    if (flight.lookup === lookup) flight.lookup = undefined;
    return this.state.order.isCurrent(flight.place, lookup.born);
  }

  /** Looks up once all earlier changes are done. */
  async #lookAfterChanges({ place }: Flight): Promise<Found | undefined> {
    const { order } = this.state;
    const born = order.now();
    const before = order.before(this.own.scope, place);
    if (before !== undefined) {
      try {
        await patiently(before, PATIENCE.callMs, place);
      } catch {
        // No call waits longer for a change; the entry that it replaces does not count.
        return undefined;
      }
    }
    return await this.reader.find(place.key, born, place);
  }

  /** Waits for a run. */
  #outcome(call: KeyedCall, run: Run): Promise<Outcome | Failure> {
    if (run.passage.isCurrent) throw new ReentrantCallError(this.own.id, call.key);
    assertNotAborted(call);
    if (call.watch !== undefined) run.watch(call.watch);
    if (!call.mayLeave) run.isAwaited = true;
    return run.wait(call);
  }

  /** Begins a run for a call that waits for it. */
  #lead(call: KeyedCall, flight: Flight, fallback: Found | undefined): Run {
    if (this.state.isClosed) throw new CacheClosedError();
    assertNotAborted(call);
    if (this.state.switches.printMisses) warn(`panza: miss ${this.own.id} ${call.key}`);
    return this.#begin(call, flight, false, fallback);
  }

  /**
   * Refreshes a stale result while its callers go on with the old one: one run for each key.
   *
   * @returns Resolves when the refresh has ended; at once when there is none.
   */
  refresh(call: KeyedCall): Promise<unknown> {
    const { isClosed, switches, order } = this.state;
    const flight = this.#enter(call.key);
    try {
      let { run } = flight;
      if (run === undefined || run.isAborted || !order.isCurrent(flight.place, run.born)) {
        if (isClosed || switches.cacheOnly || this.own.pause.isOn) return Promise.resolve();
        run = this.#begin(call, flight, true, undefined);
      }
      return run.ended;
    } finally {
      this.#leave(flight);
    }
  }

  #begin(call: KeyedCall, flight: Flight, isRefresh: boolean, fallback: Found | undefined): Run {
    const { runs, order } = this.state;
    const run = new Run(this.own.id, order.now(), isRefresh, call.controller, runs);
    // One signal per run: if this call leads another run, that run gets a signal of its own.
    call.controller = undefined;
    run.flow = this.flow(isRefresh);
    flight.place.users++;
    // A run that others can still join stays in the flight.
    if (this.#joinable(flight) === undefined) flight.run = run;
    run.begin(() => this.#run(call, run, flight, fallback));
    return run;
  }

  /** The flow of a run, where the function gives a stream. */
  protected flow(_isRefresh: boolean): Flow | undefined {
    return undefined;
  }

  protected invoke({ self, args }: KeyedCall, run: Run): unknown {
    return run.passage.enter(() => Reflect.apply(this.fn, self, args));
  }

  /** Stores a result, if it is to be stored. */
  protected keep(call: KeyedCall, run: Run, place: Place, result: unknown): Promise<Outcome> {
    return this.#writer.keep(call, run, place, result);
  }

  /** Calls the function and stores its result. Never rejects: a refresh may have no caller. */
  async #run(
    call: KeyedCall,
    run: Run,
    flight: Flight,
    fallback: Found | undefined,
  ): Promise<Outcome | Failure> {
    try {
      if (this.claims !== undefined) {
        const outcome = await this.claims.take(this.own, this.reader, call, run, flight.place);
        if (outcome !== undefined) return outcome;
      }
      const result: unknown = await this.invoke(call, run);
      run.returned(true);
      const outcome = await this.keep(call, run, flight.place, result);
      this.own.pause.end();
      return outcome;
    } catch (error) {
      if (error instanceof ElsewhereError) return { error };
      run.returned(false);
      this.own.counters.failed++;
      const cost = { storedAt: null, durationMs: run.durationMs };
      reportCall(this.state, this.own, call.key, "failed", cost);
      const isStandIn = fallback !== undefined && !run.isAborted &&
        this.state.order.isCurrent(flight.place, fallback.born) && this.reader.isFallback(fallback);
      if (run.isRefresh || isStandIn) {
        this.own.pause.begin();
        this.state.report(error, "refresh", this.own, call.key);
      }
      if (!isStandIn) return { error };
      const { storedAt, durationMs, data } = fallback.entry;
      return { owned: fallback.owned, status: "stale", storedAt, durationMs, data };
    } finally {
      run.lease?.release();
      run.leave();
      if (flight.run === run) flight.run = undefined;
      this.#leave(flight);
    }
  }

  /** Acquires the flight of a key; `#leave` releases it. */
  #enter(key: string): Flight {
    const place = this.state.order.enter(this.own.scope, key);
    const flight = Flight.of(place) ?? new Flight(place);
    place.shared = flight;
    return flight;
  }

  #leave(flight: Flight): void {
    this.state.order.leave(flight.place);
  }

  /** Takes the value of a call, asynchronously where a schema has to make it. */
  #take(
    call: KeyedCall,
    status: CallStatus,
    cost: Cost,
    owned: Owned,
    unstored?: Unstored,
  ): Maybe<CallDetail<unknown>> {
    const taken = owned.take();
    return taken instanceof Promise
      ? taken.then((value) => this.detail(call, status, cost, value, unstored))
      : this.detail(call, status, cost, taken, unstored);
  }

  /** Counts a call, reports it to `onCall`, prints it under `debug`, and builds its detail. */
  detail(
    call: KeyedCall,
    status: CallStatus,
    cost: Cost,
    value: unknown,
    unstored?: Unstored,
  ): CallDetail<unknown> {
    if (call.hasLeft && status === "hit") status = "shared";
    const { storedAt, durationMs } = cost;
    countCall(this.own.counters, status, durationMs);
    const { key } = call;
    reportCall(this.state, this.own, key, status, cost, unstored);
    if (this.#options.debug === true) printCall(this.own.id, status, call);
    const detail = { value, status, key, storedAt, durationMs };
    return unstored === undefined ? detail : { ...detail, unstored };
  }
}

function assertNotAborted({ signals }: KeyedCall): void {
  const aborted = signals.find((signal) => signal.aborted);
  if (aborted !== undefined) throw abortReason(aborted);
}
