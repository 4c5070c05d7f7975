/** Every call of the driver of SQLite, from the outside. */

import { DatabaseSync, StatementSync } from "node:sqlite";

/**
 * Lets something happen around each call of the driver, whoever makes it.
 *
 * @param around Makes the call, and returns what it returns or throws what it throws.
 * @returns Ends it.
 */
export function aroundDriver(
  around: (call: () => unknown) => unknown,
): () => void {
  const restore: (() => void)[] = [];
  for (
    const [prototype, names] of [
      [DatabaseSync.prototype, ["exec", "prepare"]],
      [StatementSync.prototype, ["get", "all", "run"]],
    ] as const
  ) {
    for (const name of names) {
      const method: unknown = Reflect.get(prototype, name);
      if (typeof method !== "function") throw new Error(`there is no ${name}`);
      Reflect.set(
        prototype,
        name,
        function (this: unknown, ...args: unknown[]) {
          return around(() => Reflect.apply(method, this, args));
        },
      );
      restore.push(() => Reflect.set(prototype, name, method));
    }
  }
  return () => restore.forEach((each) => each());
}
