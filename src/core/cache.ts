/**
 * The core of the library: a cache for the results of async functions over any backend.
 *
 * Past 300 lines, because the whole public class stands here, with its overloads.
 *
 * @example Wrap a function, and pay for each input once
 * ```ts
 * import { MemoryCache } from "@panza/panza";
 * import { assertEquals } from "@std/assert";
 *
 * await using cache = new MemoryCache();
 * let runs = 0;
 * const square = cache.cache({ id: "square" })(async (n: number): Promise<number> => {
 *   runs++;
 *   return await Promise.resolve(n * n);
 * });
 * assertEquals([await square(3), await square(3)], [9, 9]);
 * assertEquals(runs, 1);
 * ```
 *
 * @module
 */

import { check, checkValue, string, text } from "../base/check.ts";
import { type Duration, duration } from "../base/duration.ts";
import {
  CacheMissError,
  CacheOnlyError,
  DamagedEntryError,
  optionMessage,
} from "../base/errors.ts";
import { PATIENCE, patiently } from "../base/patience.ts";
import { asStreamFunction, isStreamFunction } from "../base/stream.ts";
import { type AnyFunction, methodContext } from "../base/wrap.ts";
import { type Backend, BACKEND_METHODS, type EntryInfo, type Pruned } from "../backend/contract.ts";
import { checkKeys, EncryptedBackend } from "../backend/encrypted.ts";
import { prune, type PruneOptions, pruneRule } from "../backend/prune.ts";
import { encode } from "../encoding/codec.ts";
import { open, seal } from "../encoding/entry.ts";
import { sharedConcurrency, sharedRate } from "../leases/shared_limits.ts";
import { bringSharedLimits } from "../limits/shared.ts";
import { Calls } from "./call.ts";
import type { CacheRead } from "./detail.ts";
import { Claims } from "./claim.ts";
import { backendKey, escapeName, unescapeName, userKey } from "./names.ts";
import {
  type CacheOptions,
  checkCacheOptions,
  type CheckedOptions,
  checkFunctionOptions,
  checkStreamOptions,
  type FunctionOptions,
  type SingleFlight,
  type StreamOptions,
} from "./options.ts";
import { assertReplaceable } from "./read.ts";
import { CacheState, type FunctionState } from "./state.ts";
import type { AllStats, CacheStats } from "./stats.ts";
import {
  StreamCalls,
  type StreamDecorator,
  type StreamFunction,
  type StreamOrMismatch,
} from "./stream.ts";
import { type CacheDecorator, type CachedOrMismatch, withMethods } from "./wrapped.ts";
import { readSwitches } from "./switches.ts";

/** The settings of flows, for the parts of this library that build on them. */
export interface FlowSettings {
  /** Whether flows are read at the speed of their source, even without readers; unset is false. */
  readonly isEager?: boolean;
  /** The most bytes of encoded items that are kept; 64 MiB unless set. */
  readonly maxBytes?: number;
  /** The bounds in messages, with the option that raises them. */
  readonly bound?: string;
  /** Whether the items so far hold all that matters when the last reader leaves. */
  readonly finishes?: (items: unknown[]) => boolean;
  /** Whether a call runs even if a result is stored, and replaces it. */
  readonly renews?: (args: readonly unknown[]) => boolean;
}

/** The most bytes of encoded items that are kept of a stream. */
const MAX_STREAM_BYTES = 64 * 2 ** 20;

// Brought here and not by the limits: code that limits without a cache loads no store.
bringSharedLimits({
  concurrency: (n, options) => sharedConcurrency(n, options, isReadOnly),
  rate: (count, options) => sharedRate(count, options, isReadOnly),
});

/** Whether nothing may be written to the store, by shared limits either: CACHE_ONLY is set. */
function isReadOnly(): boolean {
  return (isCacheOnly ??= readSwitches().cacheOnly);
}

let isCacheOnly: boolean | undefined;

/** `cache.stream` with the settings of a flow. */
export let streamOf: <Args extends readonly unknown[], Value, Self>(
  cache: Cache,
  options: StreamOptions<Args, Value, Self>,
  settings: FlowSettings,
) => StreamDecorator<Args, Value>;

/** The id under which direct keys are kept: no function can have it. */
const DIRECT = "";

/**
 * A cache over any backend; `SQLiteCache`, `MemoryCache` and the others are this class with a
 * chosen backend.
 *
 * Invariants:
 * - Callers get what the function returns or throws, whatever the store does.
 * - Equal calls that overlap run once; each caller owns its copy of the result.
 * - Explicit deletes reject if anything was left.
 *
 * @category Caches
 * @example Direct keys beside functions
 * ```ts
 * import { Cache, MemoryBackend } from "@panza/panza";
 * import { assertEquals } from "@std/assert";
 *
 * await using cache = new Cache(new MemoryBackend());
 * await cache.set("my_key", { any: ["value"] });
 * assertEquals(await cache.get("my_key"), { any: ["value"] });
 * ```
 */
export class Cache implements AsyncDisposable {
  /** The store of the entries; with `encrypt`, the wrapper that encrypts them on their way. */
  readonly backend: Backend;
  readonly #state: CacheState;
  readonly #direct: FunctionState;
  readonly #claims: Claims | undefined;
  /** The concurrent equal calls that share one run, for functions that do not set it. */
  readonly singleFlight: SingleFlight;

  /**
   * Opens nothing yet: the backend does, on first use.
   *
   * @param backend The store of the entries.
   * @param options The options of every cache.
   * @throws {TypeError} If an option is unknown or of the wrong shape.
   */
  constructor(backend: Backend, options: CacheOptions = {}) {
    const action = "open a cache";
    for (const method of BACKEND_METHODS) {
      if (typeof backend?.[method] !== "function") {
        const rule = `a Backend, with a method ${method}`;
        throw new TypeError(optionMessage(action, "backend", rule, backend));
      }
    }
    checkCacheOptions(action, options);
    this.backend = "encrypt" in options
      ? new EncryptedBackend(backend, checkKeys(action, options.encrypt))
      : backend;
    this.#state = new CacheState(this.backend, backend, options);
    // A store with sessions is one that processes share.
    this.singleFlight = options.singleFlight ??
      (this.backend.openSession === undefined ? "process" : "store");
    const { leases } = this.#state;
    this.#claims = leases === undefined ? undefined : new Claims(this.#state, leases);
    this.#claimsOf(action, this.singleFlight);
    this.#direct = this.#state.of(DIRECT);
  }

  /**
   * Makes a wrapper that keeps the results of an async function; also a method decorator.
   *
   * @param options The identity of a call, the lifetime of a result, and which results to keep.
   * @returns A function that takes the function, or decorates the method.
   * @throws {TypeError} If an option is unknown or of the wrong shape; when wrapping, if there is
   * neither a name nor an id, or an instance method has no `this` option.
   * @throws {RangeError} If a duration is not above 0.
   *
   * @example As a decorator
   * ```ts
   * import { MemoryCache } from "@panza/panza";
   * import { assertEquals } from "@std/assert";
   *
   * await using cache = new MemoryCache();
   * let runs = 0;
   * class Client {
   *   constructor(readonly model: string) {}
   *   @cache.cache({ id: "Client.ask", this: (client: Client) => client.model })
   *   async ask(prompt: string): Promise<string> {
   *     runs++;
   *     return await Promise.resolve(`${this.model}: ${prompt}`);
   *   }
   * }
   * assertEquals(await new Client("a").ask("hi"), "a: hi");
   * assertEquals(await new Client("a").ask("hi"), "a: hi");
   * assertEquals(await new Client("b").ask("hi"), "b: hi");
   * assertEquals(runs, 2);
   * ```
   */
  cache<
    Args extends readonly unknown[] = readonly unknown[],
    Value = unknown,
    Self = unknown,
    Decoded = unknown,
  >(
    options?: FunctionOptions<Args, Value, Self, never, Decoded> & { readonly schema?: undefined },
  ): CacheDecorator<Args, Value, never, Decoded>;
  /**
   * The same with a `schema`: callers get its output.
   *
   * @param options The options, with a Standard Schema.
   * @returns A function that takes the function, or decorates the method.
   */
  cache<
    Output,
    Args extends readonly unknown[] = readonly unknown[],
    Value = unknown,
    Self = unknown,
    Decoded = unknown,
  >(
    options: FunctionOptions<Args, Value, Self, Output, Decoded>,
  ): CacheDecorator<Args, Value, Output, Decoded>;
  cache<Args extends readonly unknown[], Value, Self, Output, Decoded>(
    options: FunctionOptions<Args, Value, Self, Output, Decoded> = {},
  ): CacheDecorator<Args, Value, Output, Decoded> {
    const checked = checkFunctionOptions(options);
    const singleFlight = checked.singleFlight ?? this.singleFlight;
    const claims = this.#claimsOf("cache a function", singleFlight);
    return <F extends AnyFunction>(
      fn: F,
      context?: ClassMethodDecoratorContext<never>,
    ): CachedOrMismatch<F, Args, Value, Output, Decoded> => {
      const { own, isShared, needsInstance } = this.#adopt(
        "cache a function",
        fn,
        context,
        checked,
      );
      const calls = new Calls(this.#state, own, fn, checked, isShared, claims);
      // The one place where the typed surface meets code that knows no types.
      return withMethods(fn, calls, needsInstance) as CachedOrMismatch<
        F,
        Args,
        Value,
        Output,
        Decoded
      >;
    };
  }

  /**
   * Makes a wrapper that keeps the streams of a function: an async generator function, or one that
   * gives an async iterable, a `ReadableStream` or a promise of one. Also a method decorator, for
   * methods that return an `AsyncIterableIterator`.
   *
   * A call gives an iterator at once and begins with its first `next()`. A stored stream is
   * replayed. Any other is recorded as it is read, as fast as its fastest reader asks; equal calls
   * meanwhile read it live from its first item. It is stored once complete, and then ends for its
   * readers. A reader that leaves counts as a caller that aborts: the last one closes the source,
   * and nothing is stored. An error comes after the items before it, and is not stored.
   *
   * The result of a call is the array of its items: for `readCache`, `detail`, `map`,
   * `shouldCache`, `schema` and `codec`. The return value of a generator is dropped.
   *
   * @param options The identity of a call, the lifetime of a stream, and which streams to keep.
   * @returns A function that takes the function, or decorates the method.
   * @throws {TypeError} If an option is unknown or of the wrong shape; when wrapping, if there is
   * neither a name nor an id, or an instance method has no `this` option.
   * @throws {RangeError} If a duration is not above 0, or `maxItems` is not a positive integer.
   *
   * @example Recorded while it flows, and replayed
   * ```ts
   * import { MemoryCache } from "@panza/panza";
   * import { assertEquals } from "@std/assert";
   *
   * await using cache = new MemoryCache();
   * let runs = 0;
   * const tokens = cache.stream({ id: "tokens" })(async function* (prompt: string) {
   *   runs++;
   *   for (const token of prompt.split(" ")) yield await Promise.resolve(token);
   * });
   * assertEquals(await Array.fromAsync(tokens("to be or")), ["to", "be", "or"]);
   * assertEquals(await Array.fromAsync(tokens("to be or")), ["to", "be", "or"]);
   * assertEquals(runs, 1);
   * ```
   */
  stream<
    Args extends readonly unknown[] = readonly unknown[],
    Value = unknown,
    Self = unknown,
  >(options: StreamOptions<Args, Value, Self> = {}): StreamDecorator<Args, Value> {
    return this.#stream(options, {});
  }

  #stream<Args extends readonly unknown[], Value, Self>(
    options: StreamOptions<Args, Value, Self>,
    { isEager = false, maxBytes = MAX_STREAM_BYTES, ...settings }: FlowSettings,
  ): StreamDecorator<Args, Value> {
    const { maxItems, ...checked } = checkStreamOptions(options);
    return <F extends StreamFunction>(
      fn: F,
      context?: ClassMethodDecoratorContext<never>,
    ): StreamOrMismatch<F, Args, Value> => {
      const action = "cache a stream function";
      const { own, isShared, needsInstance } = this.#adopt(action, fn, context, checked);
      const bound = `${maxItems} items, or ${maxBytes} bytes; cache.stream takes maxItems`;
      const flows = { maxItems, maxBytes, isEager, bound, ...settings };
      const calls = new StreamCalls(this.#state, own, fn, checked, isShared, flows);
      const open = function (this: unknown, ...args: unknown[]) {
        return calls.open(this, args);
      };
      const cached = withMethods(fn, calls, needsInstance, asStreamFunction(open));
      // As above.
      return cached as StreamOrMismatch<F, Args, Value>;
    };
  }

  static {
    streamOf = (cache, options, settings) => cache.#stream(options, settings);
  }

  /** Registers a function under its id. */
  #adopt(
    action: string,
    fn: AnyFunction,
    context: unknown,
    checked: CheckedOptions,
  ): { own: FunctionState; isShared: boolean; needsInstance: boolean } {
    this.#state.assertOpen();
    const method = methodContext(action, fn, context);
    const needsInstance = method !== undefined && !method.static;
    if (needsInstance && checked.this === undefined) {
      throw new TypeError(
        `Cannot cache method ${String(method.name)}: an instance has no identity across ` +
          'runs; pass { this: "ignore" }, or { this: (instance) => what identifies it }',
      );
    }
    refuseGenerator(action, fn);
    const id = checked.id ?? this.#claim(fn, method?.name);
    const own = this.#state.of(id);
    if (this.#state.ids.isOfAnother(id, fn)) {
      const error = new Error(
        `the id is given to functions with different sources, which serve each other's results; ` +
          "give each its own id, or the edited one a new version",
      );
      this.#state.report(error, "id", own);
    }
    const isShared = (checked.singleFlight ?? this.singleFlight) !== false;
    return { own, isShared, needsInstance };
  }

  /** The leases by which processes share the runs of a function, if they do. */
  #claimsOf(action: string, singleFlight: SingleFlight): Claims | undefined {
    if (singleFlight !== "store") return undefined;
    if (this.#claims !== undefined) return this.#claims;
    const rule = `"process" or false for ${this.backend.description}, which keeps no notes`;
    throw new TypeError(optionMessage(action, "singleFlight", rule, singleFlight));
  }

  /** Takes the name of a function as its id. */
  #claim(fn: AnyFunction, method: string | symbol | undefined): string {
    if (method === undefined) return this.#state.ids.claim(fn);
    throw new TypeError(
      `Cannot cache method ${
        String(method)
      } by its name: other classes may have a method of that ` +
        'name; pass { id: "Class.method" }',
    );
  }

  /**
   * Reads the value that is stored under a direct key.
   *
   * @param key Any string.
   * @returns The value, owned by the caller.
   * @throws {CacheMissError} If nothing is stored under it.
   * @throws {PanzaError} If the store failed, or the cache is closed.
   */
  async get<Value = unknown>(key: string): Promise<Value> {
    const found = await this.read<Value>(key);
    if (!found.hit) throw new CacheMissError(key);
    return found.value;
  }

  /**
   * Looks up a direct key, or the result of a call by its key; a miss is not an error. A result
   * comes as it is stored, without the function's `codec` and `schema`.
   *
   * @param key Any string; with an id, the key of a call as `entries` lists it.
   * @param options `{ id }` reads a result of that function.
   * @returns `{ hit: true, value, storedAt, expiresAt }`, or `{ hit: false }`.
   * @throws {PanzaError} If the store failed, or the cache is closed.
   */
  async read<Value = unknown>(
    key: string,
    options: { readonly id?: string } = {},
  ): Promise<CacheRead<Value>> {
    this.#state.assertOpen();
    const name = directName("read", key);
    const { id = DIRECT } = check("read a result", options, { id: string });
    const { order, switches } = this.#state;
    const own = id === DIRECT ? this.#direct : this.#state.of(id);
    const place = order.enter(own.scope, name);
    try {
      if (order.isChanging) await this.#state.pacer.pace();
      const before = order.before(own.scope, place);
      if (before !== undefined) await patiently(before, PATIENCE.callMs, place);
      const entry = await this.#state.entry(own, name, place);
      if (entry === undefined) return { hit: false };
      // Opened before its times are used, which may be damaged too. The caller declares the type;
      // nothing can check it.
      const value = open(own.name, name, entry) as Value;
      const { storedAt, expiresAt } = entry;
      const isOver = expiresAt !== null && Date.now() >= expiresAt && !switches.cacheOnly;
      if (isOver || !own.trusts(name)) return { hit: false };
      return { hit: true, value, storedAt, expiresAt };
    } catch (error) {
      if (!(error instanceof DamagedEntryError)) throw this.#state.wrap("read", error);
      this.#state.report(error, "damaged", own, key);
      return { hit: false };
    } finally {
      order.leave(place);
    }
  }

  /**
   * Stores a value under a direct key.
   *
   * @param key Any string.
   * @param value Anything that structured clone keeps.
   * @param options `{ ttl }` is the lifetime of the value: for ever when unset.
   * @throws {UncacheableValueError} If the value cannot be stored.
   * @throws {PanzaError} If the store failed, the cache is closed, or the key holds a value that is
   * encrypted or of a newer version, which is never replaced by a plain one.
   */
  async set(key: string, value: unknown, options: { readonly ttl?: Duration } = {}): Promise<void> {
    const action = "set a value";
    const { ttl = Infinity } = check(action, options, { ttl: duration });
    const name = directName("set", key);
    const storedAt = Date.now();
    const expiresAt = ttl === Infinity ? null : storedAt + ttl;
    const times = { storedAt, expiresAt, staleUntil: expiresAt, durationMs: 0 };
    const entry = seal(DIRECT, name, encode(value), times);
    const target = { state: this.#direct, key: name };
    await this.#state.change(target, "write", async () => {
      await assertReplaceable(this.backend, DIRECT, name);
      await this.backend.set(DIRECT, name, entry);
    });
  }

  /**
   * Deletes a direct key; an absent key is not an error.
   *
   * @param key Any string.
   * @throws {PanzaError} If the store, or any tier of it, failed.
   */
  async delete(key: string): Promise<void> {
    const name = directName("delete", key);
    const target = { state: this.#direct, key: name };
    await this.#state.change(target, "delete", () => this.backend.delete(DIRECT, name));
  }

  /**
   * Deletes every result of one function.
   *
   * @param id The id of the function, wrapped in this process or not.
   * @throws {TypeError} If the id is empty.
   * @throws {PanzaError} If the store, or any tier or page of it, failed.
   */
  async bust(id: string): Promise<void> {
    checkValue("bust a function", "id", id, text);
    const state = this.#state.of(id);
    await this.#state.change({ state }, "delete", () => this.backend.deleteId(state.name));
  }

  /**
   * Deletes the results of every function and every direct key of this cache, and nothing else.
   *
   * @throws {PanzaError} If the store, or any tier or page of it, failed.
   */
  async bustAll(): Promise<void> {
    await this.#state.change({ state: undefined }, "delete", () => this.backend.clear());
  }

  /**
   * Lists what is stored, in no particular order; direct keys have the id `""`.
   *
   * @param options `{ id }` lists one function only.
   * @returns Id, key, size in bytes, times and cost of each entry.
   * @throws {PanzaError} While it is read, if the store failed or the cache is closed.
   */
  async *entries(options: { readonly id?: string } = {}): AsyncIterableIterator<EntryInfo> {
    this.#state.assertOpen();
    const { id } = check("list entries", options, { id: string });
    try {
      const listed = this.backend.entries(id === undefined ? undefined : escapeName(id));
      for await (const entry of listed) {
        yield {
          ...entry,
          id: unescapeName(entry.id),
          key: userKey(entry.key),
        };
      }
    } catch (error) {
      throw this.#state.wrap("list", error);
    }
  }

  /**
   * Deletes entries that are old, expired or in excess, direct keys included, in steps that keep
   * the event loop free. An entry that is stored again meanwhile may be deleted too.
   *
   * @param options The rules for the entries to delete; at least one.
   * @returns The number of entries and bytes that were deleted, or with `dryRun` would be.
   * @throws {TypeError} If there is no rule, or an option is unknown or of the wrong shape.
   * @throws {RangeError} If a duration is not above 0, or a bound is not a positive integer.
   * @throws {PanzaError} If the store, or any tier or page of it, failed.
   *
   * @example Keep the newest thousand
   * ```ts
   * import { MemoryCache } from "@panza/panza";
   * import { assertEquals } from "@std/assert";
   *
   * await using cache = new MemoryCache();
   * await cache.set("answer", 42);
   * assertEquals(await cache.prune({ maxEntries: 1000 }), { entries: 0, bytes: 0 });
   * ```
   */
  async prune(options: PruneOptions): Promise<Pruned> {
    this.#state.assertOpen();
    const { id, ...bounds } = pruneRule(options, Date.now());
    const rule = id === undefined ? bounds : { ...bounds, id: escapeName(id) };
    const { backend } = this;
    const { cacheOnly } = this.#state.switches;
    if (cacheOnly && rule.dryRun !== true) throw new CacheOnlyError(id ?? "", "");
    try {
      return await (backend.prune?.(rule) ?? prune(backend, rule));
    } catch (error) {
      throw this.#state.wrap("prune", error);
    }
  }

  /**
   * Counts the calls since this cache was opened, in this process.
   *
   * @param options `{ id }` counts one function only.
   * @returns Hits, misses, shared and stale calls, failed runs, errors by kind, bytes, time saved.
   */
  stats(options: { readonly id: string }): CacheStats;
  /**
   * Counts the calls of all functions, and of each.
   *
   * @returns Sums, and the counts of each function by its id.
   */
  stats(options?: { readonly id?: undefined }): AllStats;
  stats(options: { readonly id?: string | undefined } = {}): CacheStats | AllStats {
    const { id } = check("count calls", options, { id: string });
    const counts = this.#state.stats(id);
    return id === undefined ? { ...counts, byId: this.#state.statsById() } : counts;
  }

  /**
   * Waits for background work and closes the backend. The second call waits for the first;
   * afterwards every call rejects with `CacheClosedError`.
   */
  async close(): Promise<void> {
    await this.#state.close();
  }

  /** `await using` closes the cache at the end of the block. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}

function directName(action: string, key: unknown): string {
  return backendKey(checkValue(`${action} a direct key`, "key", key, string));
}

/** Refuses generator functions: sync ones always, async ones except under `cache.stream`. */
function refuseGenerator(action: string, fn: AnyFunction): void {
  const isAsync = isStreamFunction(fn);
  const isSync = Object.prototype.toString.call(fn) === "[object GeneratorFunction]";
  if (!isSync && (!isAsync || action === "cache a stream function")) return;
  const name = fn.name || "the function";
  throw new TypeError(
    isAsync
      ? `Cannot cache ${name}: it gives its items one by one; cache.stream(options)(fn) keeps them`
      : `Cannot cache ${name}: a generator gives its values one by one; collect them in an async ` +
        "function, and cache that one, or make it an async generator for cache.stream",
  );
}
