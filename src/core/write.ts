/**
 * Storage of results: `shouldCache`, schema, encoding, store. The one place that knows why a result
 * was not stored.
 *
 * @module
 */

import { unawaited } from "../base/check.ts";
import { validate } from "../base/schema.ts";
import type { Place } from "../backend/order.ts";
import { encode, type Encoded } from "../encoding/codec.ts";
import { seal } from "../encoding/entry.ts";
import { bytesOf } from "../encoding/size.ts";
import type { KeyedCall, Keys } from "./key.ts";
import type { CheckedOptions } from "./options.ts";
import type { Reader } from "./read.ts";
import { Owned } from "./owned.ts";
import type { Outcome, Run } from "./run.ts";
import { type CacheState, type FunctionState, LOST } from "./state.ts";
import type { Unstored } from "./events.ts";

/** Stores the results of one function. */
export class Writer {
  readonly #state: CacheState;
  readonly #own: FunctionState;
  readonly #keys: Keys;
  readonly #reader: Reader;
  readonly #options: CheckedOptions;

  constructor(
    state: CacheState,
    own: FunctionState,
    keys: Keys,
    reader: Reader,
    options: CheckedOptions,
  ) {
    this.#state = state;
    this.#own = own;
    this.#keys = keys;
    this.#reader = reader;
    this.#options = options;
  }

  /**
   * Stores a result if it is to be stored and can be.
   *
   * @returns The result for the callers of the run.
   * @throws {SchemaError} If the result fails the schema; also whatever the schema throws.
   */
  async keep(call: KeyedCall, run: Run, place: Place, result: unknown): Promise<Outcome> {
    const { shouldCache, schema, codec } = this.#options;
    const { durationMs } = run;
    let isWanted = true;
    if (shouldCache !== undefined) isWanted = await this.#isWanted(call, result);
    const value = schema === undefined ? result : await validate(schema, result);
    const storable = (): unknown => codec === undefined ? result : encodeBy(codec, result);
    let encoded: Encoded | undefined;
    let unstored: Unstored | undefined = isWanted ? undefined : "refused";
    if (unstored === undefined) {
      try {
        encoded = encode(storable());
      } catch (error) {
        this.#state.report(error, "encode", this.#own, call.key);
        unstored = "encode";
      }
    }
    const owned = new Owned(value, encoded, this.#reader.restore);
    if (unstored === undefined && this.#keys.mayChange(call) && !(await this.#isSameCall(call))) {
      unstored = "arguments";
    }
    // No wait from here until the store has its place in the order: no bust can come in between.
    unstored ??= !this.#state.order.isCurrent(place, run.born)
      ? "busted"
      : this.#own.kept.has(call.key)
      ? "kept"
      : undefined;
    let storedAt: number | null = null;
    if (unstored === undefined && encoded !== undefined) {
      storedAt = Date.now();
      const isStored = await this.#store(call.key, place, run, encoded, storedAt, durationMs);
      if (isStored !== true) storedAt = null;
      if (isStored === false) unstored = "write";
      if (isStored === "lost") unstored = "lease";
    } else this.#own.counters.unstored++;
    if (run.callers > 1 && encoded === undefined) {
      this.#prepareCopies(call, owned, storable, unstored);
    }
    return { owned, status: "miss", storedAt, unstored, durationMs, data: encoded?.data };
  }

  /** Encodes an unstored result for which several callers wait. */
  #prepareCopies(
    call: KeyedCall,
    owned: Owned,
    storable: () => unknown,
    unstored: Unstored | undefined,
  ): void {
    try {
      owned.prepareCopies(storable);
    } catch (error) {
      // Each further caller runs the function itself; one report is enough.
      if (unstored !== "encode") this.#state.report(error, "encode", this.#own, call.key);
    }
  }

  async #isWanted({ key, untouched, given }: KeyedCall, result: unknown): Promise<boolean> {
    try {
      return Boolean(await this.#options.shouldCache!(result, ...(untouched ?? given)));
    } catch (error) {
      this.#state.report(error, "refused", this.#own, key);
      return false;
    }
  }

  async #isSameCall(call: KeyedCall): Promise<boolean> {
    if (await this.#keys.isSame(call)) return true;
    const error = new Error(
      "a result was not stored: what identifies its call changed while the function ran",
    );
    this.#state.report(error, "arguments", this.#own, call.key);
    return false;
  }

  #store(
    key: string,
    place: Place,
    run: Run,
    encoded: Encoded,
    storedAt: number,
    durationMs: number,
  ): Promise<boolean | "lost" | undefined> {
    const { ttl, staleWhileRevalidate, staleIfError } = this.#options;
    const expiresAt = storedAt + ttl;
    const staleUntil = expiresAt + Math.max(staleWhileRevalidate, staleIfError);
    const entry = seal(this.#own.name, key, encoded, {
      storedAt,
      expiresAt: finiteOrNull(expiresAt),
      staleUntil: finiteOrNull(staleUntil),
      durationMs,
    });
    const { counters } = this.#own;
    const { lease } = run;
    // From here on the lease ends with the entry, stored or not, however late.
    run.lease = undefined;
    return this.#state.store(this.#own, place, entry, lease, (error) => {
      if (error === undefined) counters.bytesWritten += bytesOf(encoded.data);
      else {
        counters.unstored++;
        if (error !== LOST) this.#state.report(error, "write", this.#own, key);
      }
    });
  }
}

function encodeBy(codec: NonNullable<CheckedOptions["codec"]>, result: unknown): unknown {
  const stored = unawaited(codec.encode(result));
  if (stored instanceof Promise) {
    throw new TypeError("Cannot store the result: codec.encode must give a value, not a promise");
  }
  return stored;
}

/** A time as entries keep it: `null` is never. */
export function finiteOrNull(time: number): number | null {
  return Number.isFinite(time) ? time : null;
}
