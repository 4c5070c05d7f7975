/**
 * Entries in Redis or Valkey, for teams that outgrow one machine, and for limits that many
 * processes share at thousands of calls a second.
 *
 * @module
 */

import { Cache } from "./src/core/cache.ts";
import { type CacheOptions, splitCacheOptions } from "./src/core/options.ts";
import { RedisBackend } from "./src/redis/backend.ts";
import type { RedisClientLike, RedisOptions } from "./src/redis/options.ts";

export { RedisBackend, type RedisClientLike, type RedisOptions };
export type {
  Backend,
  EntryInfo,
  NoteChange,
  Pruned,
  PruneRule,
  Report,
  StoreLink,
} from "./src/backend/contract.ts";
export type { StoredEntry } from "./src/encoding/entry.ts";

/** Options of {@linkcode RedisCache}. */
export interface RedisCacheOptions extends RedisOptions, CacheOptions {}

/**
 * A cache in Redis: for many machines whose processes share results, runs and limits.
 *
 * Its methods are those of {@linkcode Cache}: `cache` wraps a function; `get`, `set`, `read` and
 * `delete` are for direct keys; `bust`, `bustAll`, `prune`, `entries`, `stats` and `close` for all.
 *
 * @example A cache of one team
 * ```ts
 * import { RedisCache } from "@panza/panza/redis";
 * import { assertEquals } from "@std/assert";
 *
 * await using cache = new RedisCache("redis://localhost:6379", { prefix: "team" });
 * const double = cache.cache({ id: "double" })(
 *   async (n: number): Promise<number> => await Promise.resolve(2 * n),
 * );
 * assertEquals(double.id, "double");
 * ```
 */
export class RedisCache extends Cache {
  /**
   * Opens nothing: the first call connects.
   *
   * @param server A URL such as `redis://user:password@host:6379/0` (`rediss` for TLS), or a
   * client, a pool or a cluster of the npm package `redis`, which its owner connects and closes.
   * @param options The prefix of its names in Redis, and the options of every cache.
   * @throws {TypeError} If the server is neither, or an option is unknown or of the wrong shape.
   */
  constructor(server: string | RedisClientLike, options: RedisCacheOptions = {}) {
    const [own, shared] = splitCacheOptions("open a cache", options, ["prefix"]);
    super(new RedisBackend(server, own), shared);
  }
}
