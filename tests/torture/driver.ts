/** Calls of the driver of SQLite, and of anything else, from the outside. */

import { DatabaseSync, StatementSync } from "node:sqlite";

/** What happens around a call: it makes the call, and returns what that returns or throws what it throws. */
export type Around = (call: () => unknown, object: unknown, args: readonly unknown[]) => unknown;

/**
 * Lets something happen around each call of some methods, whoever makes it.
 *
 * @param object What has the methods.
 * @param names Their names.
 * @param around Makes the call; it is given what the method was called on, and with.
 * @returns Ends it.
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
