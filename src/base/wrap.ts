/**
 * What every wrapper of this library shares: one call that serves as a higher-order function and
 * as a method decorator, and wrapped functions that look like the function they wrap.
 *
 * @module
 */

import { optionMessage } from "./errors.ts";

/** Any function, whatever its arguments, its `this` and its result. */
export type AnyFunction = (this: never, ...args: never) => unknown;

/** Any function that returns a promise, whatever its arguments and its `this`. */
export type AsyncFunction = (this: never, ...args: never) => Promise<unknown>;

/** What a decorator is told of the method it decorates; `undefined` for a plain function. */
export type MethodContext = ClassMethodDecoratorContext | undefined;

/**
 * Checks what a wrapper was applied to, as a function or as a decorator.
 *
 * @param action What cannot be done if it does not fit, as a verb phrase: `cache`.
 * @param fn The function or method.
 * @param context The second argument of the call, which only a decorator gets.
 * @returns The context of the method, `undefined` when a plain function is wrapped.
 * @throws {TypeError} If it is no function, or decorates something else than a method.
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
 * Gives a wrapper the looks of what it wraps: name, length, every own property, and the source
 * text that `toString()` tells.
 *
 * The source matters: two different functions that come out of the same wrapper have the same
 * wrapper text, and who compares sources must see through it.
 *
 * @param wrapper The function that is called instead; it is changed and returned.
 * @param fn The function it stands for.
 * @returns The wrapper.
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
