/**
 * A cache in the memory of this process, bounded by bytes: it evicts the least recently used entry.
 *
 * @module
 */

import { Cache } from "./src/core/cache.ts";
import { type CacheOptions, splitCacheOptions } from "./src/core/options.ts";
import { MemoryBackend, type MemoryBackendOptions } from "./src/memory/backend.ts";

export { MemoryBackend, type MemoryBackendOptions };

/** Options of {@linkcode MemoryCache}. */
export interface MemoryCacheOptions extends MemoryBackendOptions, CacheOptions {}

/**
 * A cache in the memory of this process, bounded by bytes.
 *
 * Its methods are those of {@linkcode Cache}: `cache` wraps a function, `stream` a function that
 * returns a stream; `get`, `set`, `read` and `delete` are for direct keys; `bust`, `bustAll`,
 * `prune`, `entries`, `stats` and `close` for all entries.
 *
 * @category Caches
 * @example A cache for one run
 * ```ts
 * import { MemoryCache } from "@panza/panza/memory";
 * import { assertEquals } from "@std/assert";
 *
 * await using cache = new MemoryCache({ maxBytes: 64 * 1024 * 1024 });
 * await cache.set("answer", 42);
 * assertEquals(await cache.get("answer"), 42);
 * ```
 */
export class MemoryCache extends Cache {
  /**
   * Opens an empty cache.
   *
   * @param options The bound in bytes, and the options of every cache.
   * @throws {TypeError} If an option is unknown or of the wrong kind.
   * @throws {RangeError} If `maxBytes` is neither a positive integer nor `Infinity`.
   */
  constructor(options: MemoryCacheOptions = {}) {
    const [own, shared] = splitCacheOptions("open a cache", options, ["maxBytes"]);
    super(new MemoryBackend(own), shared);
  }
}
