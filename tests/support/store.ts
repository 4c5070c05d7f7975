import type { Cache, CacheOptions } from "../../mod.ts";
import { RedisCache } from "../../redis.ts";
import { SQLiteCache } from "../../sqlite.ts";

/** Opens a cache on a store that processes share: a file of SQLite, or the URL of Redis. */
export function openStore(path: string, options: CacheOptions = {}): Cache {
  return path.startsWith("redis:") ? new RedisCache(path, options) : new SQLiteCache(path, options);
}
