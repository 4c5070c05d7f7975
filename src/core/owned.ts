/**
 * Results that several callers share, each with a value of its own.
 *
 * @module
 */

import type { Maybe } from "../backend/contract.ts";
import { encode, type Encoded } from "../encoding/codec.ts";
import type { StoredEntry } from "../encoding/entry.ts";

/** A value of which the first taker gets the original, and everybody else a copy. */
export class Owned {
  readonly #original: unknown;
  readonly #restore: (encoded: Encoded) => Maybe<unknown>;
  #encoded: Encoded | undefined;
  #isTaken = false;

  /**
   * @param original What the first taker gets.
   * @param encoded What copies are made of, where it is encoded already.
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

  /** Encodes the value while nobody has it: `encodable` is what its copies are made of. */
  prepareCopies(encodable: () => unknown): void {
    this.#encoded ??= encode(encodable());
  }

  /** Whether there is one more to take. */
  get isLeft(): boolean {
    return !this.#isTaken || this.#encoded !== undefined;
  }

  /** Takes the value, or a copy of it; only while one is left. */
  take(): Maybe<unknown> {
    if (!this.#isTaken) {
      this.#isTaken = true;
      return this.#original;
    }
    if (this.#encoded === undefined) throw new TypeError("no copy is left");
    return this.#restore(this.#encoded);
  }
}

/** A stored result that counts, or counted until its time was over. */
export interface Found {
  readonly entry: StoredEntry;
  readonly owned: Owned;
  /** When the lookup began, by the order's clock. */
  readonly born: number;
}
