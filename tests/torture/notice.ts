/** What SQLite itself says of a file while a cache uses it. */

import { isDamage } from "../../src/sqlite/errors.ts";
import { aroundDriver } from "./driver.ts";

/** Watches whether SQLite calls a file damaged. */
export class Notice implements Disposable {
  /** Whether it has. */
  given = false;
  readonly #end = aroundDriver((call) => {
    try {
      return call();
    } catch (error) {
      if (isDamage(error)) this.given = true;
      throw error;
    }
  });

  [Symbol.dispose](): void {
    this.#end();
  }
}
