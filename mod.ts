/**
 * Keeps the results of expensive async functions, and limits how many of them run at once.
 *
 * Importing this module loads neither a database nor an SDK: they load on first use.
 *
 * @example Wrap a function, and pay for each input once
 * ```ts
 * import { MemoryCache } from "@panza/panza";
 * import { assertEquals } from "@std/assert";
 *
 * await using cache = new MemoryCache();
 * const length = cache.cache({ id: "length" })(
 *   async (text: string): Promise<number> => await Promise.resolve(text.length),
 * );
 * assertEquals(await length("four"), 4);
 * assertEquals(await length.readCache("four").then((found) => found.hit), true);
 * ```
 *
 * @module
 */

export type { Backend, EntryInfo, Pruned, PruneRule, Report } from "./src/backend/contract.ts";
export type { StoredEntry } from "./src/encoding/entry.ts";
export { Batch, type MapOptions, type MapResult } from "./src/core/batch.ts";
export type { BatchProgress } from "./src/base/batch_progress.ts";
export { Cache } from "./src/core/cache.ts";
export type { CacheRead, CallDetail } from "./src/core/call.ts";
export {
  type BoundMethods,
  type CachedCall,
  type CacheDecorator,
  type CachedFunction,
  type CachedMethods,
  type CachedOrMismatch,
  type MapOptionsOf,
  methodsOf,
  type RestArguments,
  type ResultOf,
} from "./src/core/wrapped.ts";
export {
  type Backoff,
  type Limit,
  limitConcurrency,
  type LimitConcurrencyOptions,
  limitRate,
  type LimitRateOptions,
  type RateLimit,
  type Retry,
  retry,
  type RetryOptions,
} from "./concurrency.ts";
export type { Duration } from "./src/base/duration.ts";
export {
  BackendError,
  BatchError,
  type BatchFailure,
  BucketNotFoundError,
  CacheClosedError,
  CacheMissError,
  CacheOnlyError,
  DamagedEntryError,
  DatabaseMovedError,
  PanzaError,
  QueueFullError,
  ReentrantCallError,
  SchemaError,
  UncacheableValueError,
  UnhashableArgumentError,
} from "./src/base/errors.ts";
export { canonicalize, hashKey } from "./hash.ts";
export {
  MemoryBackend,
  type MemoryBackendOptions,
  MemoryCache,
  type MemoryCacheOptions,
} from "./memory.ts";
export type {
  CacheOptions,
  EncryptionKey,
  ErrorContext,
  ErrorKind,
  FunctionOptions,
  SchemaResult,
  SingleFlight,
  StandardSchema,
  ValueCodec,
} from "./src/core/options.ts";
export {
  S3Backend,
  S3Cache,
  type S3CacheOptions,
  type S3ClientLike,
  type S3Credentials,
  type S3Options,
} from "./s3.ts";
export {
  type Parameter,
  SQLiteBackend,
  type SQLiteBackendOptions,
  SQLiteCache,
  type SQLiteCacheOptions,
  type SQLiteHandle,
  type SQLiteHandleStatement,
} from "./sqlite.ts";
export type { PruneOptions } from "./src/backend/prune.ts";
export type { CacheStats, CallStatus, Unstored } from "./src/core/stats.ts";
export {
  TieredBackend,
  TieredCache,
  type TieredCacheOptions,
  type TieredOptions,
} from "./tiered.ts";
export type { AnyFunction, AsyncFunction } from "./src/base/wrap.ts";
