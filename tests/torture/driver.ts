/** Calls of the driver of SQLite, and of anything else, from the outside. */

import { DatabaseSync, StatementSync } from "node:sqlite";

/** Makes a call, and returns its result or throws its error. */
export type Around = (call: () => unknown, object: unknown, args: readonly unknown[]) => unknown;

/**
 * Wraps each call of some methods of an object, such as a prototype.
 *
 * @param around Makes the call; it gets the object of the call and its arguments.
 * @returns Puts the methods back.
 */
export function aroundMethods(
  object: object,
  names: readonly string[],
  around: Around,
): () => void {
  const restore = names.map((name) => {
    const method: unknown = Reflect.get(object, name);
    if (typeof method !== "function") throw new Error(`there is no ${name}`);
    Reflect.set(object, name, function (this: unknown, ...args: unknown[]) {
      return around(() => Reflect.apply(method, this, args), this, args);
    });
    return () => Reflect.set(object, name, method);
  });
  return () => restore.forEach((each) => each());
}

/** {@linkcode aroundMethods} for each call of the driver of SQLite. */
export function aroundDriver(around: Around): () => void {
  const ends = [
    aroundMethods(DatabaseSync.prototype, ["exec", "prepare"], around),
    aroundMethods(StatementSync.prototype, ["get", "all", "run"], around),
  ];
  return () => ends.forEach((end) => end());
}
