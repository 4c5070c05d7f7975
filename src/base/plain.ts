/**
 * Plain data: objects and arrays as literals make them, in this realm or another.
 *
 * @module
 */

/** Whether a value is an object, functions excepted. */
export function isObject(value: unknown): value is object {
  return typeof value === "object" && value !== null;
}

/**
 * Whether an object is like that of a literal, or has no prototype. Parsers of queries and cookies
 * return objects whose prototype is an empty object without a prototype; those are plain too.
 */
export function isPlain(value: object): value is Record<string, unknown> {
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === Object.prototype || prototype === null || isObjectPrototype(prototype) ||
    (typeof prototype === "object" && Object.getPrototypeOf(prototype) === null &&
      Reflect.ownKeys(prototype).length === 0);
}

/** Whether a value is the `Object.prototype` of some realm. */
export function isObjectPrototype(value: unknown): boolean {
  return value === Object.prototype ||
    (typeof value === "object" && value !== null && Object.getPrototypeOf(value) === null &&
      Object.hasOwn(value, "isPrototypeOf"));
}

/** Whether an array is of the class Array itself, in this realm or another. */
export function isPlainArray(value: readonly unknown[]): boolean {
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === Array.prototype ||
    (Array.isArray(prototype) && isObjectPrototype(Object.getPrototypeOf(prototype)));
}
