/**
 * The core of the library: a cache for the results of async functions over any backend.
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

import { type Backend, BACKEND_METHODS, type EntryInfo, type Pruned } from "../backend/contract.ts";
import { Batch, type MapOptions } from "./batch.ts";
import { type CacheRead, type CallDetail, Calls } from "./call.ts";
import { encode } from "../encoding/codec.ts";
import { open, seal } from "../encoding/entry.ts";
import { type Duration, parseDuration } from "../base/duration.ts";
import {
  CacheMissError,
  DamagedEntryError,
  optionMessage,
  refuseUnknownOptions,
} from "../base/errors.ts";
import { checkKeys, EncryptedBackend } from "../backend/encrypted.ts";
import { escapeName, unescapeName } from "./names.ts";
import {
  type CacheOptions,
  checkCacheOptions,
  checkFunctionOptions,
  type FunctionOptions,
} from "./options.ts";
import { prune, type PruneOptions, pruneRule } from "../backend/prune.ts";
import { type FunctionState, type Stats, Store } from "./store.ts";
import { type AsyncFunction, dress, methodContext } from "../base/wrap.ts";

/** The id under which direct keys are kept: no function can have it. */
const DIRECT = "";

/** What a cached function can do beside being called. */
export interface CachedMethods<F extends AsyncFunction> {
  /** The id of the function in the store. */
  readonly id: string;
  /**
   * Looks into the cache and never runs the function.
   *
   * For a method whose `this` option is a function, call it as `fn.readCache.call(instance, …)`.
   *
   * @param args The arguments of the call.
   * @returns `{ hit: true, value, storedAt, expiresAt }`, or `{ hit: false }`.
   */
  readCache(...args: Parameters<F>): Promise<CacheRead<Awaited<ReturnType<F>>>>;
  /**
   * Forgets the result of one call; without arguments, everything of this function.
   *
   * @param args The arguments of the call, or none.
   * @throws {PanzaError} If the store, or any tier or page of it, failed.
   */
  bustCache(...args: Parameters<F> | []): Promise<void>;
  /**
   * Runs like a plain call and also tells how the value came about.
   *
   * @param args The arguments of the call.
   * @returns The value, its status, key, time and cost.
   */
  detail(...args: Parameters<F>): Promise<CallDetail<Awaited<ReturnType<F>>>>;
  /**
   * The key of a call, without any I/O.
   *
   * @param args The arguments of the call.
   * @returns 64 lower-case hex digits.
   * @throws {UnhashableArgumentError} If an argument has no stable identity.
   */
  key(...args: Parameters<F>): Promise<string>;
  /**
   * Calls the function for many inputs: keys are looked up in bulk, hits come out at once, equal
   * inputs run once, misses run with the concurrency asked for, and each result is stored when it
   * is ready. Nothing starts before the batch is iterated or its `values()` asked for.
   *
   * @param inputs The first argument of each call: any iterable or async iterable, taken lazily.
   * @param options `concurrency` is needed; the others have defaults.
   * @returns An async iterable of results, with `values()` and `summary`.
   * @throws {TypeError} If an option is unknown or of the wrong shape.
   * @throws {RangeError} If `concurrency` is not a positive integer or `Infinity`.
   */
  map(
    inputs: Iterable<Parameters<F>[0]> | AsyncIterable<Parameters<F>[0]>,
    options: MapOptions<Following<Parameters<F>>>,
  ): Batch<Parameters<F>[0], Awaited<ReturnType<F>>>;
}

/** The arguments after the first. */
export type Following<Args extends readonly unknown[]> = Args extends readonly [
  unknown?,
  ...infer Rest,
] ? Rest
  : readonly unknown[];

/** A function with the type of `F`, cached. */
export type CachedFunction<F extends AsyncFunction> = F & CachedMethods<F>;

/**
 * The function as it comes out of the wrapper; nothing that can be called where the options were
 * typed for other arguments or another result. (A check in the parameter's type would make
 * TypeScript fix the type parameters of a generic function.)
 */
export type Wrapped<F extends AsyncFunction, Args extends readonly unknown[], Value> = ((
  ...args: Args
) => unknown) extends (...args: Parameters<F>) => unknown
  ? Awaited<ReturnType<F>> extends Value ? CachedFunction<F>
  : { "shouldCache or schema is for another result": never }
  : { "hashFunc or shouldCache is for other arguments": never };

/**
 * What `cache.cache(options)` returns: call it with a function, or put it before a method.
 *
 * @typeParam Args What `hashFunc` and `shouldCache` take.
 * @typeParam Value What `shouldCache` and `schema` take.
 */
export type CacheWrapper<Args extends readonly unknown[] = readonly unknown[], Value = unknown> = <
  F extends AsyncFunction,
>(
  fn: F,
  context?: ClassMethodDecoratorContext<never>,
) => Wrapped<F, Args, Value>;

/**
 * A cache over any backend; `SQLiteCache`, `MemoryCache` and the others are this class with a
 * backend chosen.
 *
 * Invariants:
 * - What a function returns or throws is what its callers get, whatever the store does.
 * - Equal calls that overlap run once; each caller owns its copy of the result.
 * - Explicit deletes reject when anything was left.
 *
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
  /** Where the entries are kept; with `encrypt`, what encrypts them on their way there. */
  readonly backend: Backend;
  readonly #store: Store;
  readonly #direct: FunctionState;

  /**
   * Opens nothing yet: the backend does, on first use.
   *
   * @param backend Where the entries are kept.
   * @param options What every cache takes.
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
    this.#store = new Store(this.backend, options);
    this.#direct = this.#store.state(DIRECT);
  }

  /**
   * Makes a wrapper that keeps the results of an async function; also a method decorator.
   *
   * @param options What identifies a call, how long a result lives, what is worth keeping.
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
  cache<Args extends readonly unknown[] = readonly unknown[], Value = unknown, Self = unknown>(
    options: FunctionOptions<Args, Value, Self> = {},
  ): CacheWrapper<Args, Value> {
    // Inside, arguments and results are unknown: the wrapper's type has checked that they fit.
    const given = options as FunctionOptions;
    const freshness = checkFunctionOptions(given);
    // A copy: what the caller changes from now on was never checked.
    const checked = { ...given };
    return <F extends AsyncFunction>(
      fn: F,
      context?: ClassMethodDecoratorContext<never>,
    ): Wrapped<F, Args, Value> => {
      const method = methodContext("cache a function", fn, context);
      if (method !== undefined && !method.static && checked.this === undefined) {
        throw new TypeError(
          `Cannot cache method ${String(method.name)}: an instance has no identity across ` +
            'runs; pass { this: "ignore" }, or { this: (instance) => what identifies it }',
        );
      }
      const name = method === undefined ? fn.name : String(method.name);
      const state = this.#store.state(checked.id ?? this.#store.claim(name, fn));
      const calls = new Calls(this.#store, state, fn, checked, freshness);
      // The one place where the typed surface meets code that knows no types.
      return withMethods(fn, calls, state.id) as Wrapped<F, Args, Value>;
    };
  }

  /**
   * The value that is stored under a direct key.
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
   * Looks for a direct key without an error when it is absent.
   *
   * @param key Any string.
   * @returns `{ hit: true, value, storedAt, expiresAt }`, or `{ hit: false }`.
   * @throws {PanzaError} If the store failed, or the cache is closed.
   */
  async read<Value = unknown>(key: string): Promise<CacheRead<Value>> {
    this.#store.assertOpen();
    const name = directName("read", key);
    await this.#direct.barrier;
    let entry;
    try {
      entry = await this.backend.get(DIRECT, name);
      if (entry === undefined) return { hit: false };
      // Before its times are believed: they may be what is damaged.
      const value = open(DIRECT, name, entry) as Value;
      if (entry.expiresAt !== null && Date.now() >= entry.expiresAt) {
        return { hit: false };
      }
      return {
        hit: true,
        value,
        storedAt: entry.storedAt,
        expiresAt: entry.expiresAt,
      };
    } catch (error) {
      if (!(error instanceof DamagedEntryError)) {
        throw this.#store.wrap("read", error);
      }
      this.#store.report(error, "damaged", this.#direct, key);
      return { hit: false };
    }
  }

  /**
   * Stores a value under a direct key.
   *
   * @param key Any string.
   * @param value Anything that structured clone keeps.
   * @param options How long it lives: `{ ttl }`, for ever when unset.
   * @throws {UncacheableValueError} If the value cannot be stored.
   * @throws {PanzaError} If the store failed, or the cache is closed.
   */
  async set(key: string, value: unknown, options: { readonly ttl?: Duration } = {}): Promise<void> {
    this.#store.assertOpen();
    refuseUnknownOptions("set a value", options, ["ttl"]);
    const name = directName("set", key);
    const ttl = options.ttl === undefined
      ? Infinity
      : parseDuration("set a value", "ttl", options.ttl);
    const storedAt = Date.now();
    const expiresAt = ttl === Infinity ? null : storedAt + ttl;
    const entry = seal(DIRECT, name, encode(value), {
      storedAt,
      expiresAt,
      staleUntil: expiresAt,
      durationMs: 0,
    });
    await this.#direct.barrier;
    await this.#store.guard("write", () => this.backend.set(DIRECT, name, entry));
  }

  /**
   * Forgets a direct key; what is absent already is no error.
   *
   * @param key Any string.
   * @throws {PanzaError} If the store, or any tier of it, failed.
   */
  async delete(key: string): Promise<void> {
    this.#store.assertOpen();
    const name = directName("delete", key);
    await this.#store.guard("delete", () => this.backend.delete(DIRECT, name));
  }

  /**
   * Forgets everything of one function.
   *
   * @param id The id of the function, wrapped in this process or not.
   * @throws {TypeError} If the id is empty.
   * @throws {PanzaError} If the store, or any tier or page of it, failed.
   */
  async bust(id: string): Promise<void> {
    checkId("bust", id);
    const state = this.#store.state(id);
    await this.#store.bust([state], undefined, () => this.backend.deleteId(state.name));
  }

  /**
   * Forgets every function and every direct key of this cache, and nothing else.
   *
   * @throws {PanzaError} If the store, or any tier or page of it, failed.
   */
  async bustAll(): Promise<void> {
    await this.#store.bust(this.#store.states(), undefined, () => this.backend.clear());
  }

  /**
   * Lists what is stored, in no particular order; direct keys have the id `""`.
   *
   * @param options `{ id }` lists one function only.
   * @returns Id, key, size in bytes and times of each entry.
   * @throws {PanzaError} While it is read, if the store failed or the cache is closed.
   */
  async *entries(options: { readonly id?: string } = {}): AsyncIterableIterator<EntryInfo> {
    this.#store.assertOpen();
    const id = idOf("list entries", options);
    try {
      const listed = this.backend.entries(id === undefined ? undefined : escapeName(id));
      for await (const entry of listed) {
        yield {
          ...entry,
          id: unescapeName(entry.id),
          key: entry.key === EMPTY_KEY ? "" : unescapeName(entry.key),
        };
      }
    } catch (error) {
      throw this.#store.wrap("list", error);
    }
  }

  /**
   * Deletes what is old, expired or too much, direct keys included, in steps that keep the event
   * loop free. An entry that is stored again while it runs may go too.
   *
   * @param options Which entries go; at least one rule.
   * @returns How many entries and bytes were deleted.
   * @throws {TypeError} If there is no rule, or an option is unknown or of the wrong shape.
   * @throws {RangeError} If a duration is not above 0, or a bound is no positive integer.
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
    this.#store.assertOpen();
    const rule = pruneRule(options, Date.now());
    const { backend } = this;
    return await this.#store.guard("prune", () => backend.prune?.(rule) ?? prune(backend, rule));
  }

  /**
   * What the calls came to since this cache was opened, in this process.
   *
   * @param options `{ id }` counts one function only.
   * @returns Hits, misses, shared and stale calls, errors, bytes and time saved.
   */
  stats(options: { readonly id?: string } = {}): Stats {
    return this.#store.stats(idOf("count calls", options));
  }

  /**
   * Waits for background work and closes the backend. The second call waits for the first;
   * afterwards every call rejects with `CacheClosedError`.
   */
  async close(): Promise<void> {
    await this.#store.close();
  }

  /** `await using` closes the cache at the end of the block. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}

/** Puts the function that is called, and its methods, in the place of the one it stands for. */
function withMethods(fn: AsyncFunction, calls: Calls, id: string): unknown {
  function cached(this: unknown, ...args: unknown[]): Promise<unknown> {
    return calls.call(this, args, ({ value }) => value);
  }
  dress(cached, fn);
  // As a method of the function itself, or of a wrapper around it, `this` is no instance; a class
  // is one, for its static methods.
  const instance = (self: unknown): unknown =>
    typeof self === "function" && Reflect.get(self, "key") === methods.key ? undefined : self;
  const methods = {
    id,
    async readCache(this: unknown, ...args: unknown[]) {
      return await calls.read(instance(this), args);
    },
    async bustCache(this: unknown, ...args: unknown[]) {
      await calls.bust(instance(this), args);
    },
    async detail(this: unknown, ...args: unknown[]) {
      return await calls.call(instance(this), args, (detail) => detail);
    },
    async key(this: unknown, ...args: unknown[]) {
      return await calls.keyOf(instance(this), args, []);
    },
    map(this: unknown, inputs: Iterable<unknown> | AsyncIterable<unknown>, options: MapOptions) {
      return new Batch(calls, instance(this), inputs, options);
    },
  };
  for (const [name, value] of Object.entries(methods)) {
    Object.defineProperty(cached, name, {
      value,
      enumerable: true,
      configurable: true,
    });
  }
  return cached;
}

function directName(action: string, key: unknown): string {
  if (typeof key !== "string") {
    throw new TypeError(optionMessage(`${action} a direct key`, "key", "a string", key));
  }
  return key === "" ? EMPTY_KEY : escapeName(key);
}

/** Backends take no empty key; a single backslash is what no other key is escaped to. */
const EMPTY_KEY = "\\";

/** The id that a listing or count is of, `""` for direct keys; `undefined` for all. */
function idOf(action: string, options: { readonly id?: string }): string | undefined {
  refuseUnknownOptions(action, options, ["id"]);
  const { id } = options;
  if (id !== undefined && typeof id !== "string") {
    throw new TypeError(optionMessage(action, "id", "a string", id));
  }
  return id;
}

function checkId(action: string, id: unknown): void {
  if (typeof id !== "string" || id === "") {
    throw new TypeError(optionMessage(`${action} a function`, "id", "a non-empty string", id));
  }
}
