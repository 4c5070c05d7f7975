/**
 * Keeps the results of expensive async functions, and limits how many run at once. Wrap a function,
 * run it over thousands of inputs, get interrupted, run it again: you pay only for what is missing.
 *
 * ```sh
 * deno add jsr:@panza/panza        # Deno
 * npm install @panza/panza         # Node 22.13 or newer
 * bun add @panza/panza             # Bun
 * ```
 *
 * Results live in SQLite on one machine ({@linkcode SQLiteCache}), in S3 across machines
 * ({@linkcode S3Cache}), in memory, or in tiers of them. `cache.cache(options)(fn)` returns a
 * {@linkcode CachedFunction}: call it like `fn`, or call its `map`, `readCache`, `bustCache` and
 * `detail`. `cache.stream(options)(fn)` keeps streams. {@linkcode limitConcurrency},
 * {@linkcode limitRate} and {@linkcode retry} go around the function, inside the cache.
 *
 * Importing this module loads neither a database nor an SDK: they load on first use.
 * `@panza/panza/sqlite` downloads nothing from npm.
 *
 * @example Run it twice: the second run computes nothing
 * ```ts
 * import { limitConcurrency, SQLiteCache } from "@panza/panza";
 * import { progressBar } from "@panza/panza/progress";
 *
 * await using cache = new SQLiteCache(".cache/answers.db");
 *
 * const ask = cache.cache({ id: "ask" })(
 *   limitConcurrency(20)(async (prompt: string): Promise<string> => {
 *     await new Promise((resolve) => setTimeout(resolve, 100)); // your LLM, page or computation
 *     return prompt.toUpperCase();
 *   }),
 * );
 *
 * const prompts = Array.from({ length: 200 }, (_, n) => `question ${n}`);
 * for await (const result of ask.map(prompts, { concurrency: 20, onProgress: progressBar() })) {
 *   if (!result.ok) console.error(result.input, result.error);
 * }
 * ```
 *
 * @module
 */

export type {
  Backend,
  EntryInfo,
  Maybe,
  NoteChange,
  Pruned,
  PruneRule,
  Report,
  StoreLink,
} from "./src/backend/contract.ts";
export type { ChangeOrder, Place, Scope } from "./src/backend/order.ts";
export type { StoredEntry } from "./src/encoding/entry.ts";
export { Batch } from "./src/core/batch.ts";
export type { MapOptions, MapResult } from "./src/core/map_options.ts";
export type { BatchProgress } from "./src/base/batch_progress.ts";
export { Cache } from "./src/core/cache.ts";
export type { CacheRead, CallDetail } from "./src/core/detail.ts";
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
  type AdaptiveLimiter,
  type Backoff,
  type ConcurrencyLimiter,
  type FunctionWrapper,
  limitAdaptive,
  type LimitAdaptiveOptions,
  limitConcurrency,
  type Limiter,
  type LimiterOptions,
  limitRate,
  type LimitRateOptions,
  type RateLimiter,
  readRetryAfter,
  type Retrier,
  retry,
  type RetryInfo,
  type RetryOptions,
  type SchemaResult,
  type SharedOptions,
  type StandardSchema,
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
  DamagedDatabaseError,
  DamagedEntryError,
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
  SingleFlight,
  StreamOptions,
  ValueCodec,
} from "./src/core/options.ts";
export type {
  CachedStream,
  ItemOf,
  StreamDecorator,
  StreamFunction,
  StreamOrMismatch,
} from "./src/core/stream.ts";
export type { ReadableLike, StreamLike } from "./src/base/stream.ts";
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
export type { CallEvent, CallStatus, Unstored } from "./src/core/events.ts";
export type { AllStats, CacheStats } from "./src/core/stats.ts";
export {
  TieredBackend,
  TieredCache,
  type TieredCacheOptions,
  type TieredOptions,
} from "./tiered.ts";
export type { AnyFunction, AsyncFunction, GeneratorFunction, PlainCall } from "./src/base/wrap.ts";
