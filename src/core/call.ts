/**
 * The way of one call: key, read, fly, run, write. The only place where this order is written.
 *
 * @module
 */

import type { StoredEntry } from "../encoding/entry.ts";
import { decode, encode, type Encoded } from "../encoding/codec.ts";
import { open, seal } from "../encoding/entry.ts";
import { processStart } from "../base/runtime.ts";
import { warn } from "../base/env.ts";
import {
  CacheOnlyError,
  DamagedEntryError,
  optionMessage,
  ReentrantCallError,
} from "../base/errors.ts";
import { currentFlight, type Flight, runInFlight, waitsForItself } from "./flight.ts";
import { canonicalArguments, canonicalValue } from "../encoding/canonical.ts";
import { digest } from "../encoding/digest.ts";
import { keyText } from "../encoding/key_text.ts";
import type { Freshness, FunctionOptions } from "./options.ts";
import { callerSignals } from "../base/signals.ts";
import type { FunctionState, Outcome, Store } from "./store.ts";
import type { AsyncFunction } from "../base/wrap.ts";

/** How a call came to its value. */
export type CallStatus = "hit" | "miss" | "shared" | "stale";

/** What `detail` tells of a call. */
export interface CallDetail<Value> {
  /** The value, owned by the caller. */
  readonly value: Value;
  /**
   * `"hit"`: from the store. `"miss"`: the function ran. `"shared"`: an equal call was running, and
   * this one waited for it. `"stale"`: from the store, past its `ttl`.
   */
  readonly status: CallStatus;
  /** The hex key of the call. */
  readonly key: string;
  /** When the value was stored, in milliseconds since the Unix epoch; `null` if it was not. */
  readonly storedAt: number | null;
  /** What the run took that made the value, in milliseconds. */
  readonly durationMs: number;
}

/** What a look into the cache finds. */
export type CacheRead<Value> =
  | {
    /** Something is stored. */
    readonly hit: true;
    /** The value, owned by the caller. */
    readonly value: Value;
    /** When it was stored, in milliseconds since the Unix epoch. */
    readonly storedAt: number;
    /** When it stops being fresh, in milliseconds since the Unix epoch; `null` is never. */
    readonly expiresAt: number | null;
  }
  | {
    /** Nothing is stored, or nothing that still counts. */
    readonly hit: false;
  };

/** What was asked for, once it is known which call it is. */
export interface Asked {
  readonly key: string;
  readonly self: unknown;
  readonly args: readonly unknown[];
  /** Every AbortSignal among the arguments. */
  readonly signals: readonly AbortSignal[];
}

/** A stored entry, checked and decoded. */
export interface Found {
  readonly entry: StoredEntry;
  readonly value: unknown;
}

/** What was found before a call: an entry, nothing (`undefined`), or nobody looked (`null`). */
export type Known = Found | undefined | null;

/** The calls of one wrapped function. */
export class Calls {
  readonly #store: Store;
  readonly #state: FunctionState;
  readonly #fn: AsyncFunction;
  readonly #options: FunctionOptions;
  readonly #freshness: Freshness;
  readonly #version: string | undefined;
  readonly #singleFlight: boolean;

  constructor(
    store: Store,
    state: FunctionState,
    fn: AsyncFunction,
    options: FunctionOptions,
    freshness: Freshness,
  ) {
    this.#store = store;
    this.#state = state;
    this.#fn = fn;
    this.#options = options;
    this.#freshness = freshness;
    this.#singleFlight = options.singleFlight !== false;
    this.#version = options.version === undefined
      ? undefined
      : canonicalValue(options.version, "version");
  }

  /** The key of a call; `signals` receives every AbortSignal among the arguments. */
  keyOf(self: unknown, args: readonly unknown[], signals: AbortSignal[]): string | Promise<string> {
    const { hashFunc } = this.#options;
    let text: string;
    if (hashFunc === undefined) {
      text = canonicalArguments(args, signals);
    } else {
      const identity: unknown = Reflect.apply(hashFunc, self, args);
      const bare = this.#version === undefined && typeof this.#options.this !== "function";
      if (typeof identity === "string" && bare && isUnmistakable(identity)) {
        text = identity;
      } else {
        const json = canonicalValue(identity, "hashFunc(…)");
        // A string is hashed as it is, so whatever else must look like no such string: 1 is not "1".
        text = bare ? `${HASHED}${json}}` : json;
      }
      signals.push(...callerSignals(args));
    }
    return digest(
      keyText({
        text,
        custom: hashFunc !== undefined,
        self: this.#selfText(self),
        version: this.#version,
      }),
    );
  }

  #selfText(self: unknown): string | undefined {
    const identify = this.#options.this;
    if (typeof identify !== "function") return undefined;
    if (self === undefined) {
      throw new TypeError(
        optionMessage(
          `find the key of ${this.#state.id}`,
          "this",
          "an instance: use fn.readCache.call(instance, …)",
          self,
        ),
      );
    }
    return canonicalValue(identify(self), "this(…)");
  }

  /** Finds out which call it is. */
  ask(self: unknown, args: readonly unknown[]): Asked | Promise<Asked> {
    const signals: AbortSignal[] = [];
    const key = this.keyOf(self, args, signals);
    return typeof key === "string"
      ? { key, self, args, signals }
      : key.then((key) => ({ key, self, args, signals }));
  }

  /**
   * Runs a call as its caller sees it.
   *
   * @param give What the caller gets of it; here, because one more async function would cost as
   * much as the rest of the way.
   */
  async call<Given>(
    self: unknown,
    args: readonly unknown[],
    give: (detail: CallDetail<unknown>) => Given,
  ): Promise<Given> {
    this.#store.assertOpen();
    const pending = this.ask(self, args);
    const asked = pending instanceof Promise ? await pending : pending;
    const { key, signals } = asked;
    const { flights, barrier } = this.#state;
    if (
      !this.#singleFlight ||
      signals.length > 0 ||
      barrier !== undefined ||
      flights.get(key) !== undefined
    ) {
      return give(await this.fly(asked, null));
    }
    // The way of most calls, in as few steps as it takes: nobody else asks, and the store has it.
    const flight = flights.begin(key, true);
    let found: Found | undefined;
    try {
      // What `#look` does: an async function more costs 4 % of a hit with many in flight.
      let entry: StoredEntry | undefined;
      try {
        entry = await this.#store.backend.get(this.#state.name, key);
      } catch (error) {
        this.#missed(error, key, undefined);
      }
      if (entry !== undefined) {
        const accepted = this.accept(key, entry);
        found = accepted instanceof Promise ? await accepted : accepted;
      }
      if (found !== undefined && this.statusOf(found) === "hit") {
        const { storedAt, durationMs } = found.entry;
        if (flight.shared) flight.land(resultOf(found, "hit").outcome);
        flights.end(key, flight);
        this.count("hit", durationMs, asked);
        const { value } = found;
        return give({ value, status: "hit", key, storedAt, durationMs });
      }
    } catch (error) {
      flight.crash(error);
      flights.end(key, flight);
      throw error;
    }
    const detail = await this.#lead(asked, flight, found);
    this.count(detail.status, detail.durationMs, asked);
    return give(detail);
  }

  /** Looks without running. */
  async read(self: unknown, args: readonly unknown[]): Promise<CacheRead<unknown>> {
    this.#store.assertOpen();
    const { key, signals } = await this.ask(self, args);
    while (this.#state.barrier !== undefined) await this.#state.barrier;
    const found = await this.#look(key, signals[0]);
    if (found === undefined || isPast(found.entry.expiresAt, 0)) {
      return { hit: false };
    }
    const { storedAt, expiresAt } = found.entry;
    return { hit: true, value: found.value, storedAt, expiresAt };
  }

  /** Forgets one call, or all of them. */
  async bust(self: unknown, args: readonly unknown[]): Promise<void> {
    const { backend } = this.#store;
    const { name } = this.#state;
    if (args.length === 0) {
      await this.#store.bust([this.#state], undefined, () => backend.deleteId(name));
    } else {
      // At once where it can be: a call right after this one must find the bust under way.
      const asked = this.ask(self, args);
      const { key } = asked instanceof Promise ? await asked : asked;
      await this.#store.bust([this.#state], key, () => backend.delete(name, key));
    }
  }

  /**
   * Brings a call to its value.
   *
   * @param asked Which call it is.
   * @param found What the caller has found already.
   */
  async fly(asked: Asked, found: Known): Promise<CallDetail<unknown>> {
    this.#store.assertOpen();
    const detail = await this.#join(asked, found);
    this.count(detail.status, detail.durationMs, asked);
    return detail;
  }

  /** Joins the flight of an equal call, or leads one. */
  async #join(asked: Asked, found: Known): Promise<CallDetail<unknown>> {
    const { flights } = this.#state;
    while (true) {
      // Not only the first one: what a flight finds during a bust, later calls must not share.
      while (this.#state.barrier !== undefined) await this.#state.barrier;
      const aborted = asked.signals.some((signal) => signal.aborted);
      const flight = this.#singleFlight ? flights.get(asked.key) : undefined;
      if (flight === undefined) {
        // A call that is aborted already is no leader for others.
        const joinable = this.#singleFlight && !aborted;
        return await this.#lead(asked, flights.begin(asked.key, joinable), found);
      }
      for (const signal of asked.signals) signal.throwIfAborted();
      const landing = await this.#follow(asked, flight);
      if (!landing.landed) {
        // What was read before may have been replaced since.
        found = null;
        continue;
      }
      const { encoded, status, storedAt, durationMs } = landing.outcome;
      // What cannot be copied cannot be shared: each caller owns its result.
      if (encoded === undefined) {
        return await this.#lead(asked, flights.begin(asked.key, false), undefined);
      }
      return {
        value: decode(encoded),
        status: status === "miss" ? "shared" : status,
        key: asked.key,
        storedAt,
        durationMs,
      };
    }
  }

  async #follow(asked: Asked, flight: Flight<Outcome>): ReturnType<Flight<Outcome>["wait"]> {
    const self = currentFlight();
    if (self === undefined) return await flight.wait(asked.signals);
    if (waitsForItself(self, flight)) {
      throw new ReentrantCallError(this.#state.id, asked.key);
    }
    self.waitFor(flight);
    try {
      return await flight.wait(asked.signals);
    } finally {
      self.waitNoMore(flight);
    }
  }

  async #lead(asked: Asked, flight: Flight<Outcome>, found: Known): Promise<CallDetail<unknown>> {
    const { key, signals } = asked;
    const { flights } = this.#state;
    const detach = (): void => flights.detach(key, flight);
    const outer = currentFlight();
    outer?.waitFor(flight);
    try {
      for (const signal of signals) signal.addEventListener("abort", detach);
      const result = await this.#result(asked, flight, found);
      // The copies are taken before the leader's caller can change the value.
      if (flight.shared) flight.land(shareable(result));
      const { status, storedAt, durationMs } = result.outcome;
      return { value: result.value, status, key, storedAt, durationMs };
    } catch (error) {
      flight.crash(error);
      throw error;
    } finally {
      flights.end(key, flight);
      outer?.waitNoMore(flight);
      for (const signal of signals) signal.removeEventListener("abort", detach);
    }
  }

  /** The stored result or a new one. */
  async #result(asked: Asked, flight: Flight<Outcome>, known: Known): Promise<Result> {
    const { id } = this.#state;
    const { cacheOnly, printMisses } = this.#store.switches;
    const found = known === null ? await this.#look(asked.key, asked.signals[0]) : known;
    const status = found && this.statusOf(found);
    if (found !== undefined && status !== undefined) {
      if (status === "stale") void this.renew(asked);
      return resultOf(found, status);
    }
    if (cacheOnly) throw new CacheOnlyError(id, asked.key);
    try {
      if (this.#state.renewals.has(asked.key)) {
        const renewed = await this.#renewed(asked, flight);
        if (renewed !== undefined) return renewed;
      }
      if (printMisses) warn(`panza: miss ${id} ${asked.key}`);
      return await this.#run(asked, flight);
    } catch (error) {
      if (
        found === undefined ||
        isPast(found.entry.expiresAt, this.#freshness.staleIfError) ||
        asked.signals.some((signal) => signal.aborted)
      ) {
        throw error;
      }
      this.#store.report(error, "refresh", this.#state, asked.key);
      return resultOf(found, "stale");
    }
  }

  /** What a run comes to that renews this key already: past its windows, a call waits for it. */
  async #renewed(asked: Asked, flight: Flight<Outcome>): Promise<Result | undefined> {
    const renewal = this.#state.renewals.get(asked.key)?.flight;
    if (renewal === undefined || renewal.outdated || !this.#singleFlight) {
      return undefined;
    }
    // As part of the flight, so that a renewal that waits for itself is noticed.
    const landing = await runInFlight(flight, () => this.#follow(asked, renewal));
    if (!landing.landed) return undefined;
    const { encoded } = landing.outcome;
    if (encoded === undefined) return undefined;
    return {
      value: decode(encoded),
      outcome: { ...landing.outcome, status: "shared" },
    };
  }

  /** Runs the function and keeps what it returns. */
  async #run(asked: Asked, flight: Flight<Outcome>): Promise<Result> {
    const start = performance.now();
    const value: unknown = await runInFlight(
      flight,
      () => Reflect.apply(this.#fn, asked.self, asked.args),
    );
    // Thousandths: the clock tells no more, and a short number stays readable in the store.
    const durationMs = Math.round((performance.now() - start) * 1000) / 1000;
    const kept = await this.#keep(asked, flight, value, durationMs);
    return {
      value,
      outcome: {
        status: "miss",
        durationMs,
        encoded: kept?.encoded,
        storedAt: kept?.storedAt ?? null,
      },
    };
  }

  /** Stores a result, if it is to be stored and can be; never throws. */
  async #keep(
    asked: Asked,
    flight: Flight<Outcome>,
    value: unknown,
    durationMs: number,
  ): Promise<{ encoded: Encoded; storedAt: number | null } | undefined> {
    const { shouldCache, schema } = this.#options;
    const report = (error: unknown, kind: "refused" | "encode" | "write"): void =>
      this.#store.report(error, kind, this.#state, asked.key);
    let encoded: Encoded;
    try {
      if (shouldCache !== undefined && !shouldCache(value, ...asked.args)) {
        return undefined;
      }
    } catch (error) {
      report(error, "refused");
      return undefined;
    }
    try {
      encoded = encode(value);
    } catch (error) {
      report(error, "encode");
      return undefined;
    }
    const unstored = { encoded, storedAt: null };
    try {
      const issues = schema === undefined ? undefined : await issuesOf(schema, value);
      if (issues !== undefined) {
        report(new TypeError("Cannot store the value: it fails the schema"), "refused");
        return unstored;
      }
    } catch (error) {
      report(error, "refused");
      return unstored;
    }
    if (flight.outdated) return unstored;
    const { ttl, staleWhileRevalidate, staleIfError } = this.#freshness;
    const storedAt = Date.now();
    const expiresAt = storedAt + ttl;
    const staleUntil = expiresAt + Math.max(staleWhileRevalidate, staleIfError);
    const entry = seal(this.#state.name, asked.key, encoded, {
      storedAt,
      expiresAt: finiteOrNull(expiresAt),
      staleUntil: finiteOrNull(staleUntil),
      durationMs,
    });
    try {
      const storing = this.#store.backend.set(this.#state.name, asked.key, entry);
      flight.storing = storing;
      await storing;
    } catch (error) {
      report(this.#store.wrap("write", error), "write");
      return unstored;
    }
    this.#state.counters.bytesWritten += encoded.data.length;
    this.#state.changed(asked.key);
    return { encoded, storedAt };
  }

  /** Renews a stale result while its callers go on with the old one: one run for each key. */
  renew(asked: Asked): Promise<void> {
    const { switches, isClosed } = this.#store;
    if (switches.cacheOnly || isClosed) return Promise.resolve();
    const { renewals, flights } = this.#state;
    let renewal = renewals.get(asked.key);
    if (renewal === undefined) {
      const flight = flights.begin(asked.key, false);
      renewal = { flight, ended: this.#renew(asked, flight) };
      renewals.set(asked.key, renewal);
      this.#store.inBackground(renewal.ended);
    }
    return renewal.ended;
  }

  async #renew(asked: Asked, flight: Flight<Outcome>): Promise<void> {
    try {
      const result = await this.#run(asked, flight);
      if (flight.shared) flight.land(shareable(result));
    } catch (error) {
      flight.crash(error);
      this.#store.report(error, "refresh", this.#state, asked.key);
    } finally {
      this.#state.flights.end(asked.key, flight);
      this.#state.renewals.delete(asked.key);
    }
  }

  /** What a found result can be served as; `undefined` when the function has to run. */
  statusOf({ entry: { expiresAt } }: Found): "hit" | "stale" | undefined {
    if (!isPast(expiresAt, 0)) return "hit";
    const { staleWhileRevalidate, staleIfError } = this.#freshness;
    if (!isPast(expiresAt, staleWhileRevalidate)) return "stale";
    return this.#store.switches.cacheOnly && !isPast(expiresAt, staleIfError) ? "stale" : undefined;
  }

  /** Calls back with each key that was stored or is busted, until the returned function is called. */
  watch(tell: (key: string | undefined) => void): () => void {
    const { watchers } = this.#state;
    watchers.add(tell);
    return () => watchers.delete(tell);
  }

  /** What is stored and still counts, stale or not; trouble is reported and is a miss. */
  async #look(key: string, signal: AbortSignal | undefined): Promise<Found | undefined> {
    const { name } = this.#state;
    let entry: StoredEntry | undefined;
    try {
      entry = await this.#store.backend.get(name, key, signal);
    } catch (error) {
      this.#missed(error, key, signal);
      return undefined;
    }
    if (entry === undefined) return undefined;
    const accepted = this.accept(key, entry);
    return accepted instanceof Promise ? await accepted : accepted;
  }

  /** Tells that an entry could not be read. */
  #missed(error: unknown, key: string, signal: AbortSignal | undefined): void {
    // An abort is what the caller wanted, and no trouble of the store.
    if (signal?.aborted === true) return;
    const kind = error instanceof DamagedEntryError ? "damaged" : "read";
    this.#store.report(this.#store.wrap("read", error), kind, this.#state, key);
  }

  /**
   * Reads many keys at once; `undefined` after trouble, which is reported: one key that cannot be
   * read says nothing about the others, so each is looked up alone then.
   *
   * @throws {CacheClosedError} After `close()`.
   */
  async lookMany(
    keys: readonly string[],
    signal: AbortSignal | undefined,
  ): Promise<readonly (StoredEntry | undefined)[] | undefined> {
    this.#store.assertOpen();
    while (this.#state.barrier !== undefined) await this.#state.barrier;
    try {
      return await this.#store.backend.getMany(this.#state.name, keys, signal);
    } catch (error) {
      // Nobody asks any more: this is no trouble of the store.
      this.#store.assertOpen();
      signal?.throwIfAborted();
      // One damaged entry is one miss: the others are worth another look.
      if (error instanceof DamagedEntryError) {
        return await this.#lookEach(keys, signal);
      }
      this.#store.report(this.#store.wrap("read", error), "read", this.#state);
      return undefined;
    }
  }

  /** Reads many keys one by one, each with its own trouble. */
  async #lookEach(
    keys: readonly string[],
    signal: AbortSignal | undefined,
  ): Promise<readonly (StoredEntry | undefined)[]> {
    const entries: (StoredEntry | undefined)[] = [];
    for (const key of keys) {
      try {
        entries.push(await this.#store.backend.get(this.#state.name, key, signal));
      } catch (error) {
        this.#store.assertOpen();
        signal?.throwIfAborted();
        this.#missed(error, key, signal);
        entries.push(undefined);
      }
    }
    return entries;
  }

  /** Checks and decodes an entry; `undefined` when it does not count. */
  accept(key: string, entry: StoredEntry): Found | undefined | Promise<Found | undefined> {
    const { id, name } = this.#state;
    let value: unknown;
    try {
      value = open(name, key, entry);
    } catch (cause) {
      const error = cause instanceof DamagedEntryError
        ? cause
        : new DamagedEntryError("it is no entry", id, key, { cause });
      this.#store.report(error, "damaged", this.#state, key);
      return undefined;
    }
    if (this.#store.switches.busts(id) && entry.storedAt < processStart()) {
      return undefined;
    }
    this.#state.counters.bytesRead += entry.data.length;
    const found = { entry, value };
    const { schema } = this.#options;
    return schema === undefined ? found : this.#conforming(schema, key, found);
  }

  async #conforming(
    schema: NonNullable<FunctionOptions["schema"]>,
    key: string,
    found: Found,
  ): Promise<Found | undefined> {
    try {
      return (await issuesOf(schema, found.value)) === undefined ? found : undefined;
    } catch (error) {
      this.#store.report(error, "refused", this.#state, key);
      return undefined;
    }
  }

  /** Tells that `onProgress` threw: a batch goes on without it. */
  reportProgress(error: unknown): void {
    this.#store.report(error, "progress", this.#state);
  }

  /** Counts how a call came to its value, and prints it if asked to. */
  count(status: CallStatus, durationMs: number, asked: Asked): void {
    const { counters } = this.#state;
    if (status === "hit") counters.hits++;
    else if (status === "miss") counters.misses++;
    else if (status === "shared") counters.shared++;
    else counters.stale++;
    if (status !== "miss") counters.savedMs += durationMs;
    if (this.#options.debug === true) this.#print(status, asked);
  }

  #print(status: CallStatus, { key, args }: Asked): void {
    let text: string;
    try {
      text = canonicalArguments(args, []);
    } catch {
      text = "arguments that cannot be shown";
    }
    const shown = text.length > MAX_SHOWN ? `${text.slice(0, MAX_SHOWN)}…` : text;
    warn(`panza: ${status} ${this.#state.id} ${key} ${shown}`);
  }
}

/** A debug line stays a line: longer arguments are cut. */
const MAX_SHOWN = 500;

/** A value with what others need to know of it. */
interface Result {
  readonly value: unknown;
  readonly outcome: Outcome;
}

function resultOf({ entry, value }: Found, status: "hit" | "stale"): Result {
  const { storedAt, durationMs } = entry;
  return { value, outcome: { status, encoded: entry, storedAt, durationMs } };
}

/** The outcome with a copy of the value, also where it was not to be stored. */
function shareable({ value, outcome }: Result): Outcome {
  if (outcome.encoded !== undefined) return outcome;
  try {
    return { ...outcome, encoded: encode(value) };
  } catch {
    return outcome;
  }
}

/** Whether a time has passed for longer than `grace` milliseconds; `null` never passes. */
export function isPast(time: number | null, grace: number): boolean {
  return time !== null && Date.now() >= time + grace;
}

function finiteOrNull(time: number): number | null {
  return Number.isFinite(time) ? time : null;
}

async function issuesOf(
  schema: NonNullable<FunctionOptions["schema"]>,
  value: unknown,
): Promise<readonly unknown[] | undefined> {
  return (await schema["~standard"].validate(value)).issues;
}

/** How the text begins of what `hashFunc` made and is not hashed as it is. */
const HASHED = '{"hash":';

/** Whether a string can be hashed as it is and be taken for no other value. */
function isUnmistakable(text: string): boolean {
  return text.isWellFormed() && !text.startsWith(HASHED);
}
