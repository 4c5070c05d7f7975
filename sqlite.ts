/**
 * Keeps entries in a SQLite database: a file, memory, or a database that is open already.
 *
 * @module
 */

import { Cache } from "./src/core/cache.ts";
import { type CacheOptions, splitCacheOptions } from "./src/core/options.ts";
import { SQLiteBackend, type SQLiteBackendOptions } from "./src/sqlite/backend.ts";
import type { SQLiteHandle } from "./src/sqlite/driver.ts";

export { SQLiteBackend, type SQLiteBackendOptions, type SQLiteHandle };
export type {
  Backend,
  EntryInfo,
  Maybe,
  NoteChange,
  Pruned,
  PruneRule,
  Report,
} from "./src/backend/contract.ts";
export type { StoredEntry } from "./src/encoding/entry.ts";
export type { Parameter, SQLiteHandleStatement } from "./src/sqlite/driver.ts";

/** Options of {@linkcode SQLiteCache}. */
export interface SQLiteCacheOptions extends SQLiteBackendOptions, CacheOptions {}

/**
 * A cache in a SQLite database: for one machine, whose processes may share it.
 *
 * Its methods are those of {@linkcode Cache}: `cache` wraps a function, `stream` a function that
 * returns a stream; `get`, `set`, `read` and `delete` are for direct keys; `bust`, `bustAll`,
 * `prune`, `entries`, `stats` and `close` for all entries.
 *
 * @category Caches
 * @example Results that outlive the process
 * ```ts
 * import { SQLiteCache } from "@panza/panza/sqlite";
 * import { assertEquals } from "@std/assert";
 *
 * await using cache = new SQLiteCache(".cache/example.db");
 * const double = cache.cache({ id: "double" })(
 *   async (n: number): Promise<number> => await Promise.resolve(2 * n),
 * );
 * assertEquals(await double(21), 42);
 * assertEquals((await double.readCache(21)).hit, true);
 * ```
 */
export class SQLiteCache extends Cache {
  /**
   * Opens nothing yet: the first call does.
   *
   * @param database A path, a `file:` URL, `":memory:"`, or an open database of `node:sqlite`,
   * `jsr:@db/sqlite`, `bun:sqlite` or `better-sqlite3`, which its owner closes.
   * @param options The bound in bytes, whether to create the file, and the options of every cache.
   * @throws {TypeError} If `database` is none of these, or an option is unknown or of the wrong
   * shape.
   * @throws {RangeError} If `maxBytes` is out of range.
   */
  constructor(database: string | URL | SQLiteHandle, options: SQLiteCacheOptions = {}) {
    const [own, shared] = splitCacheOptions("open a cache", options, ["maxBytes", "create"]);
    super(new SQLiteBackend(database, own), shared);
  }
}
