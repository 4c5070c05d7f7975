/**
 * Reports of errors that callers do not see: to `onError`, or one warning per id and kind.
 *
 * @module
 */

import { warn } from "../base/env.ts";
import { quote, UnstoredResponseError } from "../base/errors.ts";
import type { CacheOptions, ErrorKind } from "./options.ts";

/** Fixed messages for errors of the user's code, whose own messages may hold arguments. */
const OWN_CODE: { readonly [Kind in ErrorKind]?: string } = {
  refused: "a result was not stored: shouldCache failed",
  refresh: "the function failed, and a stale result was served",
  progress: "onProgress, count or onCall failed",
};

/** Reports to `onError` or the console; never throws. */
export class Reporter {
  readonly #onError: CacheOptions["onError"];
  readonly #warned = new Set<string>();

  constructor(onError: CacheOptions["onError"]) {
    this.#onError = onError;
  }

  /** Reports an error that no caller sees. */
  report(error: unknown, kind: ErrorKind, id?: string, key?: string): void {
    const known = error instanceof Error ? error : new Error(quote(error), { cause: error });
    const print = (): void => {
      const where = id === undefined || id === "" ? "" : `${id}: `;
      // The message of this error is the library's own.
      const own = known instanceof UnstoredResponseError ? undefined : OWN_CODE[kind];
      const what = own === undefined ? known.message : `${own} (${known.name})`;
      this.#warnOnce(`${kind}:${id ?? ""}`, `${where}${what}`);
    };
    // A failing onError is reported like any other error and changes no outcome.
    const fail = (failure: unknown): void => {
      const name = failure instanceof Error ? failure.name : quote(failure);
      this.#warnOnce("onError", `onError failed (${name})`);
      print();
    };
    if (this.#onError === undefined) {
      print();
      return;
    }
    try {
      const done: unknown = this.#onError(known, { kind, id, key });
      // To TypeScript, an async function passes as one that returns nothing.
      if (done instanceof Promise) done.catch(fail);
    } catch (failure) {
      fail(failure);
    }
  }

  #warnOnce(once: string, message: string): void {
    if (this.#warned.has(once)) return;
    this.#warned.add(once);
    warn(`panza: ${message} (reported once; pass onError to learn of each)`);
  }
}
