/**
 * Results that several callers share, each with a value of its own.
 *
 * @module
 */

import type { Maybe } from "../backend/contract.ts";
import { encode, type Encoded } from "../encoding/codec.ts";
import type { StoredEntry } from "../encoding/entry.ts";

/** A value whose first taker gets the original, and every other taker a copy. */
export class Owned {
  readonly #original: unknown;
  readonly #restore: (encoded: Encoded) => Maybe<unknown>;
  #encoded: Encoded | undefined;
  #isTaken = false;

  /**
   * @param original The value for the first taker.
   * @param encoded The source of copies, if the value is encoded already.
   * @param restore Makes a copy.
   */
  constructor(
    original: unknown,
    encoded: Encoded | undefined,
    restore: (encoded: Encoded) => Maybe<unknown>,
  ) {
    this.#original = original;
    this.#encoded = encoded;
    this.#restore = restore;
  }

  /** Encodes the value for copies while nobody has it; `encodable` gives its storable form. */
  prepareCopies(encodable: () => unknown): void {
    this.#encoded ??= encode(encodable());
  }

  /** Whether another `take` can succeed. */
  get isLeft(): boolean {
    return !this.#isTaken || this.#encoded !== undefined;
  }

  /** Takes the value, or a copy of it; call it only while `isLeft`. */
  take(): Maybe<unknown> {
    if (!this.#isTaken) {
      this.#isTaken = true;
      return this.#original;
    }
    if (this.#encoded === undefined) throw new TypeError("no copy is left");
    return this.#restore(this.#encoded);
  }
}

/** A stored result that counts, or counted until it expired. */
export interface Found {
  readonly entry: StoredEntry;
  readonly owned: Owned;
  /** The start of the lookup, on the order's clock. */
  readonly born: number;
}
