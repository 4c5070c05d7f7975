/**
 * Cached functions: their types and their methods.
 *
 * @module
 */

import { type AnyFunction, impersonate, type PlainCall } from "../base/wrap.ts";
import { Batch } from "./batch.ts";
import type { MapOptions } from "./map_options.ts";
import type { Calls } from "./call.ts";
import type { CacheRead, CallDetail } from "./detail.ts";
import { missingInstance } from "./key.ts";

/** The result of a cached function: the schema's output where there is a schema. */
export type ResultOf<F extends AnyFunction, Output = never> = [Output] extends [never]
  ? Awaited<ReturnType<F>>
  : Output;

/** The methods of a cached function. */
export interface CachedMethods<F extends AnyFunction, Output = never> {
  /** The id of the function in the store. */
  readonly id: string;
  /**
   * Looks up the result of a call and never runs the function.
   *
   * @param args The arguments of the call.
   * @returns `{ hit: true, value, storedAt, expiresAt }`, or `{ hit: false }`.
   */
  readCache(...args: Parameters<F>): Promise<CacheRead<ResultOf<F, Output>>>;
  /**
   * Deletes the result of one call; without arguments, every result of this function.
   *
   * @param args The arguments of the call, or none.
   * @throws {PanzaError} If the store, or any tier or page of it, failed.
   */
  bustCache(...args: Parameters<F> | []): Promise<void>;
  /**
   * Calls the function like a plain call, and reports the way the call got its value.
   *
   * @param args The arguments of the call.
   * @returns The value, its status, key, time and cost, and the reason if it was not stored.
   */
  detail(...args: Parameters<F>): Promise<CallDetail<ResultOf<F, Output>>>;
  /**
   * The key of a call, without any I/O.
   *
   * @param args The arguments of the call.
   * @returns 64 lower-case hex digits.
   * @throws {UnhashableArgumentError} If an argument cannot be part of a key.
   */
  key(...args: Parameters<F>): Promise<string>;
  /**
   * Calls the function for many inputs: keys are looked up in bulk, hits come out at once, equal
   * inputs run once, misses run with the concurrency asked for, and each result is stored when it
   * is ready. Nothing starts before the batch is iterated, or its `run()` or `values()` called.
   *
   * @param inputs The first argument of each call: any iterable or async iterable, taken lazily.
   * @param options `concurrency` is required, and `args` where the function needs more arguments.
   * @returns An async iterable of results, with `run()`, `values()` and `summary`.
   * @throws {TypeError} If an option is unknown or of the wrong shape.
   * @throws {RangeError} If `concurrency` is not a positive integer or `Infinity`.
   */
  map(
    inputs: Iterable<Parameters<F>[0]> | AsyncIterable<Parameters<F>[0]>,
    options: MapOptionsOf<RestArguments<Parameters<F>>>,
  ): Batch<Parameters<F>[0], ResultOf<F, Output>>;
}

/** The arguments after the first. */
export type RestArguments<Args extends readonly unknown[]> = Args extends
  readonly [unknown?, ...infer Rest] ? Rest : readonly unknown[];

/** Options of a batch, with `args` where the function needs more than its input. */
export type MapOptionsOf<Rest extends readonly unknown[]> = [] extends Rest ? MapOptions<Rest>
  : MapOptions<Rest> & { readonly args: Rest };

/** The call signature: that of the function, or with the schema's output as its result. */
export type CachedCall<F extends AnyFunction, Output = never> = [Output] extends [never]
  ? PlainCall<F>
  : (this: ThisParameterType<F>, ...args: Parameters<F>) => Promise<Output>;

/** A cached function: call it like the function, or use its {@linkcode CachedMethods}. */
export type CachedFunction<F extends AnyFunction, Output = never> =
  & CachedCall<F, Output>
  & CachedMethods<F, Output>;

/**
 * The cached function, or an uncallable type if the options were typed for other arguments or
 * another result. (A check in the parameter's type would make TypeScript fix the type parameters of
 * a generic function.)
 */
export type CachedOrMismatch<
  F extends AnyFunction,
  Args extends readonly unknown[],
  Value,
  Output,
  Decoded = unknown,
> = ((...args: Args) => unknown) extends (...args: Parameters<F>) => unknown
  ? Awaited<ReturnType<F>> extends Value
    // The result of an untyped decode cannot be checked.
    ? unknown extends Decoded ? CachedFunction<F, Output>
    : Decoded extends Awaited<ReturnType<F>> ? CachedFunction<F, Output>
    : { "codec.decode gives another result": never }
  : { "shouldCache or codec.encode is for another result": never }
  : { "hashFunc or shouldCache is for other arguments": never };

/**
 * The wrapper from `cache.cache(options)`: call it with a function, or put it before a method.
 *
 * @typeParam Args The arguments that `hashFunc` and `shouldCache` take.
 * @typeParam Value The value that `shouldCache` takes.
 * @typeParam Output The output of `schema`.
 * @typeParam Decoded The type that `codec` decodes to.
 */
export type CacheDecorator<
  Args extends readonly unknown[] = readonly unknown[],
  Value = unknown,
  Output = never,
  Decoded = unknown,
> = <F extends AnyFunction>(
  fn: F,
  context?: ClassMethodDecoratorContext<never>,
) => CachedOrMismatch<F, Args, Value, Output, Decoded>;

/** The methods of a cached method, bound to an instance. */
export type BoundMethods<Method> = Method extends CachedMethods<infer F, infer Output>
  ? Readonly<CachedMethods<F, Output>>
  : Method extends (this: never, ...args: never) => AsyncIterable<infer Item>
    ? Readonly<CachedMethods<Method, Item[]>>
  : Method extends AnyFunction ? Readonly<CachedMethods<Method>>
  : never;

/**
 * The methods of a decorated method for one instance: decorators cannot change the type of a
 * method, and its methods need the instance.
 *
 * @param instance The instance.
 * @param name The name of its decorated method.
 * @returns `readCache`, `bustCache`, `detail`, `key` and `map`, bound to the instance.
 * @throws {TypeError} If the method is not a cached one.
 *
 * @category Caches
 * @example A batch over a method
 * ```ts
 * import { MemoryCache, methodsOf } from "@panza/panza";
 * import { assertEquals } from "@std/assert";
 *
 * await using cache = new MemoryCache();
 * class Client {
 *   constructor(readonly model: string) {}
 *   @cache.cache({ id: "Client.ask", this: (client: Client) => client.model })
 *   async ask(prompt: string): Promise<string> {
 *     return await Promise.resolve(`${this.model}: ${prompt}`);
 *   }
 * }
 * const batch = methodsOf(new Client("a"), "ask").map(["hi", "ho"], { concurrency: 2 });
 * assertEquals(await batch.values(), ["a: hi", "a: ho"]);
 * ```
 */
export function methodsOf<Instance extends object, Name extends keyof Instance>(
  instance: Instance,
  name: Name,
): BoundMethods<Instance[Name]> {
  const method: unknown = instance[name];
  const bound: Record<string, unknown> = {};
  for (const each of METHODS) {
    const own: unknown = Object(method)[each];
    if (typeof own !== "function") {
      throw new TypeError(
        `Cannot take the methods of ${String(name)}: it is not a cached method of this instance`,
      );
    }
    bound[each] = own.bind(instance);
  }
  bound["id"] = Object(method)["id"];
  // Decorators leave the type of the method as it was, so only this type knows its methods.
  return bound as BoundMethods<Instance[Name]>;
}

const METHODS = ["readCache", "bustCache", "detail", "key", "map"] as const;

/**
 * Builds the cached function, with its methods.
 *
 * @param needsInstance Whether it is an instance method, whose methods need the instance to run it.
 * @param cached Makes a call.
 */
export function withMethods(
  fn: AnyFunction,
  calls: Calls,
  needsInstance: boolean,
  cached: (this: unknown, ...args: unknown[]) => unknown = function (...args) {
    return calls.call(this, args, ({ value }) => value);
  },
): unknown {
  impersonate(cached, fn);
  // Called on the function itself, or on a wrapper around it, `this` is not an instance; a class is
  // one, for its static methods.
  const instance = (self: unknown): unknown =>
    typeof self === "function" && Reflect.get(self, "key") === methods.key ? undefined : self;
  const runner = (self: unknown): unknown => {
    const found = instance(self);
    if (needsInstance && found === undefined) throw missingInstance(calls.own.id);
    return found;
  };
  const methods = {
    id: calls.own.id,
    async readCache(this: unknown, ...args: unknown[]) {
      return await calls.read(instance(this), args);
    },
    async bustCache(this: unknown, ...args: unknown[]) {
      await calls.bust(instance(this), args);
    },
    async detail(this: unknown, ...args: unknown[]) {
      return await calls.call(runner(this), args, (detail) => detail);
    },
    async key(this: unknown, ...args: unknown[]) {
      return (await calls.keys.ask(instance(this), args)).key;
    },
    map(this: unknown, inputs: Iterable<unknown> | AsyncIterable<unknown>, options: MapOptions) {
      return new Batch(calls, runner(this), inputs, options);
    },
  };
  for (const [name, value] of Object.entries(methods)) {
    Object.defineProperty(cached, name, { value, enumerable: true, configurable: true });
  }
  return cached;
}
