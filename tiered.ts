/**
 * Several stores as one, nearest first: memory in front of SQLite in front of S3.
 *
 * @example A copy in memory in front of a database
 * ```ts
 * import { MemoryCache, SQLiteCache, TieredCache } from "@panza/panza";
 * import { assertEquals } from "@std/assert";
 *
 * await using cache = new TieredCache([
 *   new MemoryCache(),
 *   new SQLiteCache(":memory:"),
 * ]);
 * await cache.set("answer", 42);
 * assertEquals(await cache.get("answer"), 42);
 * ```
 *
 * @module
 */

import type { Backend } from "./src/backend/contract.ts";
import { Cache } from "./src/core/cache.ts";
import { type CacheOptions, splitCacheOptions } from "./src/core/options.ts";
import { TieredBackend, type TieredOptions } from "./src/tiered/backend.ts";

export { TieredBackend, type TieredOptions };
export type {
  Backend,
  EntryInfo,
  NoteChange,
  Pruned,
  PruneRule,
  Report,
} from "./src/backend/contract.ts";
export type { StoredEntry } from "./src/encoding/entry.ts";

/** Options of {@linkcode TieredCache}. */
export interface TieredCacheOptions extends TieredOptions, CacheOptions {}

/**
 * A cache over several stores, nearest first: memory, SQLite, S3.
 *
 * Processes share work (`singleFlight`) through the last tier, whose own setting is the default.
 *
 * After another machine busts an entry in the last tier, inner tiers serve their copy until it is
 * gone; `innerTtl` bounds that time.
 *
 * Its methods are those of {@linkcode Cache}: `cache` wraps a function, `stream` a function that
 * returns a stream; `get`, `set`, `read` and `delete` are for direct keys; `bust`, `bustAll`,
 * `prune`, `entries`, `stats` and `close` for all entries.
 *
 * @category Caches
 * @example Jobs share a database, and each keeps its own copies in memory
 * ```ts
 * import { MemoryCache, SQLiteCache, TieredCache } from "@panza/panza";
 * import { assertEquals } from "@std/assert";
 *
 * await using cache = new TieredCache(
 *   [new MemoryCache(), new SQLiteCache(":memory:")],
 *   { innerTtl: "1h" },
 * );
 * let runs = 0;
 * const double = cache.cache({ id: "double" })(
 *   async (n: number): Promise<number> => {
 *     runs++;
 *     return await Promise.resolve(n * 2);
 *   },
 * );
 * assertEquals([await double(2), await double(2), runs], [4, 4, 1]);
 * ```
 */
export class TieredCache extends Cache {
  /**
   * Joins stores and takes ownership of them: `close()` closes them.
   *
   * @param tiers Caches, whose backends are taken, or backends; nearest first, at least one.
   * @param options The time that inner tiers answer by themselves, and the options of every cache.
   * @throws {TypeError} If there is no tier, if a tier is not a store or is given twice, or if an
   * option is unknown or of the wrong shape.
   * @throws {RangeError} If `innerTtl` is not above zero.
   */
  constructor(
    tiers: readonly (Backend | { readonly backend: Backend })[],
    options: TieredCacheOptions = {},
  ) {
    const [own, shared] = splitCacheOptions("open a cache", options, ["innerTtl"]);
    // The default of the last tier, if that is a cache with one.
    const last: unknown = tiers?.at?.(-1);
    const singleFlight = last instanceof Cache ? last.singleFlight : undefined;
    super(
      new TieredBackend(tiers, own),
      singleFlight === undefined ? shared : { singleFlight, ...shared },
    );
  }
}
