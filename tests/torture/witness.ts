/** The rows that SQLite gives to a cache, seen between the two. */

import { StatementSync } from "node:sqlite";
import { isDeepStrictEqual } from "node:util";
import { isDamage } from "../../src/sqlite/errors.ts";
import { aroundDriver } from "./driver.ts";

/** The stored columns of an entry except its id and key, in the order of {@linkcode FIELDS}. */
export type Fields = readonly unknown[];

/** The columns of an entry, in the order in which the backend reads them. */
export const FIELDS = "format, checksum, stored_at, expires_at, stale_until, duration_ms, value";
const FIELD_COUNT = FIELDS.split(", ").length;

/** The place of an entry, as text. */
export function placeOf(id: unknown, key: unknown): string {
  return JSON.stringify([id, key]);
}

/**
 * Watches the rows that SQLite gives. Reading a copy of the file beforehand is not enough: where
 * the order of an index is broken, storing an entry anew may hide or show another one.
 */
export class Witness implements Disposable {
  /** Whether SQLite has reported damage of the file. */
  hasNoticed = false;
  /** The places that were asked for. */
  readonly asked: Set<string> = new Set();
  /** The places for which SQLite gave a row that was never stored there. */
  readonly changed: Set<string> = new Set();
  readonly #stored: Map<string, Fields[]>;
  readonly #end: () => void;

  /** @param healthy The rows stored at each place; any of them counts as unchanged. */
  constructor(healthy: readonly ReadonlyMap<string, Fields>[]) {
    this.#stored = new Map();
    for (const [place, fields] of healthy.flatMap((entries) => [...entries])) {
      this.#store(place, fields);
    }
    this.#end = aroundDriver((call, object, args) => {
      try {
        const result = call();
        if (object instanceof StatementSync) this.#see(object.sourceSQL, args, result);
        return result;
      } catch (error) {
        if (isDamage(error)) this.hasNoticed = true;
        throw error;
      }
    });
  }

  [Symbol.dispose](): void {
    this.#end();
  }

  #store(place: string, fields: Fields): void {
    this.#stored.set(place, [...this.#stored.get(place) ?? [], fields]);
  }

  #see(sql: string, args: readonly unknown[], result: unknown): void {
    if (sql.startsWith("INSERT OR REPLACE INTO panza_entries")) {
      const [id, key, ...fields] = args;
      // The size stands before the value, and is not read again.
      this.#store(placeOf(id, key), fields.toSpliced(FIELD_COUNT - 1, 1));
    } else if (/^SELECT .* FROM panza_entries e WHERE id = \? AND e\.key = \?$/.test(sql)) {
      this.#give(placeOf(args[1], args[2]), result);
    } else if (/^SELECT .* FROM json_each/s.test(sql)) {
      const keys: unknown[] = JSON.parse(String(args[0]));
      const rows = new Map(
        (result as object[]).map((row) => [Number(Object.values(row)[FIELD_COUNT + 1]), row]),
      );
      keys.forEach((key, index) => this.#give(placeOf(args[1], key), rows.get(index)));
    }
  }

  #give(place: string, row: unknown): void {
    this.asked.add(place);
    if (typeof row !== "object" || row === null) return;
    // Node 22.13 gives objects, whose members are in the order of the columns.
    const columns: unknown[] = Object.values(row);
    // A row of another key is damage of the file, which is then left alone.
    if (Number(columns[FIELD_COUNT]) === 0) return;
    const fields = columns.slice(0, FIELD_COUNT);
    const isKnown = this.#stored.get(place)?.some((each) => isDeepStrictEqual(each, fields));
    if (isKnown !== true) this.changed.add(place);
  }
}
