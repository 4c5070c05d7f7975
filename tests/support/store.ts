/** Caches that processes share, by the name of their store. */

import type { Cache, CacheOptions } from "../../mod.ts";
import { RedisCache } from "../../redis.ts";
import { SQLiteCache } from "../../sqlite.ts";

/**
 * Opens the store of a test.
 *
 * @param path A file of SQLite, or the URL of Redis.
 * @param options What every cache takes.
 */
export function openStore(path: string, options: CacheOptions = {}): Cache {
  return path.startsWith("redis:") ? new RedisCache(path, options) : new SQLiteCache(path, options);
}
