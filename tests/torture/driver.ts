/** Calls of the driver of SQLite, and of anything else, from the outside. */

import { DatabaseSync, StatementSync } from "node:sqlite";

/**
 * Lets something happen around each call of some methods, whoever makes it.
 *
 * @param object What has the methods.
 * @param names Their names.
 * @param around Makes the call, and returns what it returns or throws what it throws.
 * @returns Ends it.
 */
export function aroundMethods(
  object: object,
  names: readonly string[],
  around: (call: () => unknown) => unknown,
): () => void {
  const restore = names.map((name) => {
    const method: unknown = Reflect.get(object, name);
    if (typeof method !== "function") throw new Error(`there is no ${name}`);
    Reflect.set(object, name, function (this: unknown, ...args: unknown[]) {
      return around(() => Reflect.apply(method, this, args));
    });
    return () => Reflect.set(object, name, method);
  });
  return () => restore.forEach((each) => each());
}

/** {@linkcode aroundMethods} for each call of the driver of SQLite. */
export function aroundDriver(around: (call: () => unknown) => unknown): () => void {
  const ends = [
    aroundMethods(DatabaseSync.prototype, ["exec", "prepare"], around),
    aroundMethods(StatementSync.prototype, ["get", "all", "run"], around),
  ];
  return () => ends.forEach((end) => end());
}
