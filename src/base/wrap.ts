/**
 * The common part of all wrappers: one call that serves as a higher-order function and as a method
 * decorator, and wrapped functions that look like the function they wrap.
 *
 * @module
 */

import { optionMessage } from "./errors.ts";
import { currentPassage } from "./passage.ts";
import { callStream, type Holding, isStreamFunction } from "./stream.ts";

/** Any function, whatever its arguments, its `this` and its result. */
export type AnyFunction = (this: never, ...args: never) => unknown;

/**
 * The type of a wrapped function: its own type where it returns a plain promise, else its
 * parameters and a promise of its result. (Promises with extra members, as SDKs return, become
 * plain ones; a generic function whose result depends on its arguments keeps its type.)
 */
export type PlainCall<F extends AnyFunction> = 0 extends 1 & ReturnType<F> ? F
  : [ReturnType<F>, keyof ReturnType<F>] extends [Promise<unknown>, keyof Promise<unknown>] ? F
  :
    & ((this: ThisParameterType<F>, ...args: Parameters<F>) => Promise<Awaited<ReturnType<F>>>)
    & Pick<F, keyof F>;

/** Any function that returns a promise, whatever its arguments and its `this`. */
export type AsyncFunction = (this: never, ...args: never) => Promise<unknown>;

/** Any async generator function. */
export type GeneratorFunction = (
  this: never,
  ...args: never
) => AsyncGenerator<unknown, unknown, never> | AsyncIterableIterator<unknown>;

/** A wrapper of async functions and async generator functions that is a method decorator too. */
export interface FunctionWrapper {
  /**
   * Wraps a function, or a method when used as a standard decorator.
   *
   * Around a cached function, `id`, `key`, `readCache` and `bustCache` are kept, because they never
   * run it. Its other methods would run it without this wrapper, so they throw a `TypeError`: wrap
   * the function inside the cache.
   *
   * @param fn The function; it may also return a plain value or throw, as `await` takes it.
   * @param context The context of a decorated method; leave it out otherwise.
   * @returns A function of the same type, with every own property of `fn`.
   * @throws {TypeError} If it is applied to anything but a function or a method.
   */
  <Wrapped extends AsyncFunction>(
    fn: Wrapped,
    context?: ClassMethodDecoratorContext<never>,
  ): PlainCall<Wrapped>;
  /**
   * Wraps an async generator function, whose calls begin with their first `next()`.
   *
   * @param fn The async generator function itself: a function that only returns a generator cannot
   * be recognized.
   * @param context The context of a decorated method; leave it out otherwise.
   * @returns An async generator function of the same type.
   * @throws {TypeError} If it is applied to anything but a function or a method.
   */
  <Wrapped extends GeneratorFunction>(
    fn: Wrapped,
    context?: ClassMethodDecoratorContext<never>,
  ): Wrapped;
}

/** The context of a decorated method; `undefined` for a plain function. */
export type MethodContext = ClassMethodDecoratorContext | undefined;

/**
 * Checks the target of a wrapper, as a function or as a decorator.
 *
 * @param action The verb phrase after "Cannot" in messages: `cache`.
 * @param context The second argument of the call, which only a decorator gets.
 * @returns The context of the method, `undefined` when a plain function is wrapped.
 * @throws {TypeError} If `fn` is not a function, or anything but a method is decorated.
 */
export function methodContext(action: string, fn: unknown, context: unknown): MethodContext {
  if (context === undefined) {
    if (typeof fn === "function") return undefined;
    throw new TypeError(optionMessage(action, "fn", "a function", fn));
  }
  if (isContext(context) && context.kind === "method" && typeof fn === "function") return context;
  throw new TypeError(
    `Cannot ${action}: it decorates methods, as a standard decorator; ` +
      "experimentalDecorators must be off",
  );
}

function isContext(context: unknown): context is ClassMethodDecoratorContext {
  return typeof context === "object" && context !== null && "kind" in context && "name" in context;
}

/** Own properties of a function object that belong to it alone. */
const OWN: ReadonlySet<string | symbol> = new Set(["prototype", "arguments", "caller"]);

/**
 * Makes a wrapper look like the function it wraps: name, length, every own property, and the source
 * text that `toString()` returns.
 *
 * The source matters: two different functions from the same wrapper have the same wrapper text, and
 * a comparison of sources must see the functions themselves.
 *
 * @param wrapper The function that is called instead; it is changed and returned.
 */
export function impersonate<Wrapper extends object>(wrapper: Wrapper, fn: object): Wrapper {
  for (const key of Reflect.ownKeys(fn)) {
    const descriptor = Object.getOwnPropertyDescriptor(fn, key);
    if (descriptor !== undefined && !OWN.has(key)) {
      Object.defineProperty(wrapper, key, {
        ...descriptor,
        configurable: true,
      });
    }
  }
  const source = fn.toString();
  Object.defineProperty(wrapper, "toString", {
    value: (): string => source,
    writable: true,
    configurable: true,
  });
  return wrapper;
}

/**
 * Makes a wrapper from a function that makes each call.
 *
 * An async generator function is recognized before it is called. Any other function gives a stream
 * only where its caller asks for one: in the passage of a stream function.
 *
 * @param action The verb phrase after "Cannot" in messages.
 * @param name The name of the wrapper in messages: `the limit`.
 * @param call Called in place of the function.
 * @param holding The duration of a call of a stream function.
 */
export function wrapperOf(
  action: string,
  name: string,
  call: (fn: AsyncFunction, self: unknown, args: unknown[]) => Promise<unknown>,
  holding: Holding,
): FunctionWrapper {
  function wrap<Wrapped extends AsyncFunction>(
    fn: Wrapped,
    context?: ClassMethodDecoratorContext<never>,
  ): PlainCall<Wrapped>;
  function wrap<Wrapped extends GeneratorFunction>(
    fn: Wrapped,
    context?: ClassMethodDecoratorContext<never>,
  ): Wrapped;
  function wrap(fn: AsyncFunction, context?: unknown): AnyFunction {
    methodContext(action, fn, context);
    const isGenerator = isStreamFunction(fn);
    const isWhole = holding === "whole results";
    if (isGenerator && isWhole) {
      throw new TypeError(
        `Cannot ${action} an async generator function by a schema: what has been given is not ` +
          "taken back; give the schema to cache.stream",
      );
    }
    const open = (self: unknown, args: unknown[]) => callStream(call, holding, fn, self, args);
    const wrapped = impersonate(
      isGenerator
        ? async function* (this: unknown, ...args: unknown[]) {
          // An async generator function always returns an async iterable.
          return yield* await open(this, args) as AsyncIterable<unknown>;
        }
        : function (this: unknown, ...args: unknown[]) {
          const passage = currentPassage();
          return passage === undefined || isWhole || !passage.carriesStreams
            ? call(fn, this, args)
            : open(this, args);
        },
      fn,
    );
    if ("readCache" in fn) hideRunningMethods(wrapped, name);
    return wrapped;
  }
  return wrap;
}

/** Disables the methods of a cached function that would run it without a wrapper around it. */
function hideRunningMethods(wrapped: object, name: string): void {
  for (const method of ["map", "detail", "stream"]) {
    if (!Object.hasOwn(wrapped, method)) continue;
    const value = (): never => {
      throw new TypeError(
        `Cannot use ${method} here: it would run past ${name}; wrap the function inside the ` +
          "cache, as in cache.cache(options)(retry()(limitConcurrency(5)(fn)))",
      );
    };
    Object.defineProperty(wrapped, method, { value, writable: true, configurable: true });
  }
}
