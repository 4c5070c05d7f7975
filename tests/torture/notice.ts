/** What SQLite itself says of a file while a cache uses it. */

import { DatabaseSync, StatementSync } from "node:sqlite";
import { isDamage } from "../../sqlite_driver.ts";

/** Watches whether SQLite calls a file damaged. */
export class Notice implements Disposable {
  readonly #restore: (() => void)[] = [];
  /** Whether it has. */
  given = false;

  constructor() {
    this.#watch(DatabaseSync.prototype, ["exec", "prepare"]);
    this.#watch(StatementSync.prototype, ["get", "all", "run"]);
  }

  #watch(prototype: object, names: readonly string[]): void {
    for (const name of names) {
      const method: unknown = Reflect.get(prototype, name);
      if (typeof method !== "function") throw new Error(`there is no ${name}`);
      const note = (error: unknown): void => {
        if (isDamage(error)) this.given = true;
      };
      Reflect.set(
        prototype,
        name,
        function (this: unknown, ...args: unknown[]) {
          try {
            return Reflect.apply(method, this, args);
          } catch (error) {
            note(error);
            throw error;
          }
        },
      );
      this.#restore.push(() => Reflect.set(prototype, name, method));
    }
  }

  [Symbol.dispose](): void {
    for (const restore of this.#restore) restore();
  }
}
