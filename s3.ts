/**
 * Entries in an S3 bucket, one object each, for jobs that run on many machines.
 *
 * The cost of each operation in requests:
 *
 * | operation | requests |
 * | --- | --- |
 * | hit, miss | 1 GET |
 * | store | 1 PUT; past 32 MiB one for each 8 MiB, and 2 more |
 * | delete | 1 DELETE |
 * | delete of an id, of everything | 1 LIST and 1 POST for each 1,000 entries, and 1 LIST |
 * | entries | 1 LIST for each 1,000 entries and 1 HEAD for each |
 * | prune | the same, and 1 POST for each 1,000 deleted entries |
 *
 * A listing shows no expiry, hence the HEAD. A server without bulk deletes gets 1 DELETE for each
 * entry. An id or key whose escaped form is past 240 bytes has a digest as its name. When both
 * together are past about 1,500 bytes, `entries` shows the digest instead of the text.
 *
 * @module
 */

import { Cache } from "./src/core/cache.ts";
import { type CacheOptions, splitCacheOptions } from "./src/core/options.ts";
import { S3Backend } from "./src/s3/backend.ts";
import type { S3Options } from "./src/s3/options.ts";

export { S3Backend, type S3Options };
export type {
  Backend,
  EntryInfo,
  Pruned,
  PruneRule,
  Report,
  StoreLink,
} from "./src/backend/contract.ts";
export type { StoredEntry } from "./src/encoding/entry.ts";
export type { S3ClientLike, S3Credentials } from "./src/s3/options.ts";

/** Options of {@linkcode S3Cache}. */
export interface S3CacheOptions extends S3Options, CacheOptions {}

/**
 * A cache in an S3 bucket: for jobs that run on many machines.
 *
 * Its methods are those of {@linkcode Cache}: `cache` wraps a function, `stream` a function that
 * returns a stream; `get`, `set`, `read` and `delete` are for direct keys; `bust`, `bustAll`,
 * `prune`, `entries`, `stats` and `close` for all entries.
 *
 * @category Caches
 * @example A cache of one team
 * ```ts
 * import { S3Cache } from "@panza/panza/s3";
 * import { assertEquals } from "@std/assert";
 *
 * await using cache = new S3Cache("s3://results/batch-1", { region: "eu-central-1" });
 * const double = cache.cache({ id: "double" })(
 *   async (n: number): Promise<number> => await Promise.resolve(2 * n),
 * );
 * assertEquals(double.id, "double");
 * ```
 */
export class S3Cache extends Cache {
  /**
   * Opens nothing: the first call sends the first request.
   *
   * @param location `bucket`, `bucket/prefix` or `s3://bucket/prefix`; a prefix of up to 512 bytes.
   * @param options The settings of the connection, and the options of every cache.
   * @throws {TypeError} If the location is malformed or an option unknown or of the wrong shape.
   */
  constructor(location: string, options: S3CacheOptions = {}) {
    const [own, shared] = splitCacheOptions("open a cache", options, [
      "region",
      "endpoint",
      "credentials",
      "forcePathStyle",
      "autoCreateBucket",
      "serverSideEncryption",
      "kmsKeyId",
      "client",
    ]);
    super(new S3Backend(location, own), shared);
  }
}
