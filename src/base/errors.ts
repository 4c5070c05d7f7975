/**
 * Every error class of the library, and the one formula for messages about bad options.
 *
 * @example Distinguish an error of the cache from an error of the function
 * ```ts
 * import { CacheMissError, MemoryCache, PanzaError } from "@panza/panza";
 * import { assert } from "@std/assert";
 *
 * await using cache = new MemoryCache();
 * const error = await cache.get("absent").catch((error: unknown) => error);
 * assert(error instanceof CacheMissError && error instanceof PanzaError);
 * ```
 *
 * @module
 */

/**
 * The base of every error that this library defines.
 *
 * Misuse of an option is reported as a built-in `TypeError` (wrong shape) or `RangeError` (out of
 * range) instead.
 *
 * @category Errors
 * @example Catch whatever the cache itself throws
 * ```ts
 * import { CacheClosedError, PanzaError } from "@panza/panza";
 * import { assert } from "@std/assert";
 *
 * assert(new CacheClosedError() instanceof PanzaError);
 * ```
 */
export abstract class PanzaError extends Error {
  /** The name of the class, as a literal that survives minifiers. */
  abstract override readonly name: string;
}

/**
 * Thrown by a cached function with a `schema`, or by an attempt of `retry({ schema })`, when a
 * result fails the schema. Nothing is stored.
 *
 * @category Errors
 * @example Read the issues
 * ```ts
 * import { MemoryCache, SchemaError } from "@panza/panza";
 * import { assertEquals, assertRejects } from "@std/assert";
 * import { z } from "zod";
 *
 * await using cache = new MemoryCache();
 * const ask = cache.cache({ id: "ask", schema: z.object({ answer: z.string() }) })(
 *   async (): Promise<unknown> => await Promise.resolve({ answer: 42 }),
 * );
 * const error = await assertRejects(() => ask(), SchemaError);
 * assertEquals(error.issues.length, 1);
 * ```
 */
export class SchemaError extends PanzaError {
  /** The literal name of this class. */
  override readonly name = "SchemaError";
  /** The issues that the schema found; not enumerable, because they may quote the result. */
  declare readonly issues: readonly unknown[];

  /**
   * Creates an error that reports the number of issues.
   *
   * @param issues The issues that the schema found.
   */
  constructor(issues: readonly unknown[]) {
    super(
      `Cannot use the result: it fails the schema (${issues.length} ` +
        `${issues.length === 1 ? "issue" : "issues"}; see error.issues); ` +
        "retry({ schema }) asks again",
    );
    Object.defineProperty(this, "issues", { value: issues });
  }
}

/** An input of a batch for which the call failed. */
export interface BatchFailure<Input = unknown> {
  /** The position of the input, from 0. */
  readonly index: number;
  /** The input itself. */
  readonly input: Input;
  /** The error that the call threw. */
  readonly error: unknown;
}

/**
 * Thrown by `batch.values()` when inputs failed, after everything else has been stored.
 *
 * @category Errors
 * @example Continue with the inputs that failed
 * ```ts
 * import { BatchError, MemoryCache } from "@panza/panza";
 * import { assertEquals, assertRejects } from "@std/assert";
 *
 * await using cache = new MemoryCache();
 * const root = cache.cache({ id: "root" })(async (n: number): Promise<number> => {
 *   if (n < 0) throw new RangeError("negative");
 *   return await Promise.resolve(Math.sqrt(n));
 * });
 * const error = await assertRejects(() => root.map([4, -1], { concurrency: 2 }).values(), BatchError);
 * assertEquals(error.failures.map(({ index, input }) => [index, input]), [[1, -1]]);
 * ```
 */
export class BatchError extends PanzaError {
  /** The literal name of this class. */
  override readonly name = "BatchError";
  /** The failures, in the order of the inputs; not enumerable, because they hold the inputs. */
  declare readonly failures: readonly BatchFailure[];

  /**
   * Creates an error that reports the number of failed inputs.
   *
   * @param failures The failures, in the order of the inputs.
   * @param inputs The total number of inputs.
   */
  constructor(failures: readonly BatchFailure[], inputs: number) {
    super(
      `Cannot give all values: ${failures.length} of ${inputs} inputs failed (see ` +
        "error.failures); the others are stored, and the next run computes only what failed",
      { cause: failures[0]?.error },
    );
    Object.defineProperty(this, "failures", { value: failures });
  }
}

/**
 * Thrown by `cache.get(key)` when nothing is stored under the key.
 *
 * @category Errors
 * @example Fall back when a direct key is absent
 * ```ts
 * import { CacheMissError, MemoryCache } from "@panza/panza";
 * import { assertRejects } from "@std/assert";
 *
 * await using cache = new MemoryCache();
 * const error = await assertRejects(() => cache.get("absent"), CacheMissError);
 * ```
 */
export class CacheMissError extends PanzaError {
  /** The literal name of this class. */
  override readonly name = "CacheMissError";
  /** The direct key that was looked up. */
  readonly key: string;

  /**
   * Creates an error that names the key.
   *
   * @param key The direct key that was looked up.
   */
  constructor(key: string) {
    super(
      `Cannot get ${quote(key)}: nothing is stored under this key; ` +
        "use cache.read(key) to look without an error",
    );
    this.key = key;
  }
}

/**
 * Thrown instead of running the function when `CACHE_ONLY` is on and nothing is stored.
 *
 * @category Errors
 * @example The fields identify the call
 * ```ts
 * import { CacheOnlyError } from "@panza/panza";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(new CacheOnlyError("summarize", "3f2a").id, "summarize");
 * ```
 */
export class CacheOnlyError extends PanzaError {
  /** The literal name of this class. */
  override readonly name = "CacheOnlyError";
  /** The id of the function. */
  readonly id: string;
  /** The hex key of the call. */
  readonly key: string;

  /**
   * Creates an error that names the call.
   *
   * @param id The id of the function.
   * @param key The hex key of the call.
   * @param further Another way out, as a clause.
   */
  constructor(id: string, key: string, further?: string) {
    super(
      `Cannot run ${quote(id)}: CACHE_ONLY is on and nothing is stored for key ${key}; ` +
        "run once without CACHE_ONLY to fill the cache" +
        (further === undefined ? "" : `; ${further}`),
    );
    this.id = id;
    this.key = key;
  }
}

/**
 * Rejects every call on a cache after `close()`.
 *
 * @category Errors
 * @example A closed cache rejects every call
 * ```ts
 * import { CacheClosedError, MemoryCache } from "@panza/panza";
 * import { assertRejects } from "@std/assert";
 *
 * const cache = new MemoryCache();
 * await cache.close();
 * await assertRejects(() => cache.get("key"), CacheClosedError);
 * ```
 */
export class CacheClosedError extends PanzaError {
  /** The literal name of this class. */
  override readonly name = "CacheClosedError";

  /** Creates the error; the message is always the same. */
  constructor() {
    super("Cannot use the cache: it is closed; open a new one, or close it later");
  }
}

/**
 * Rejects a call that would wait for itself: for the same key, from inside its own flight, or for a
 * permit that its caller holds.
 *
 * @category Errors
 * @example A function that calls itself with its own argument
 * ```ts
 * import { MemoryCache, ReentrantCallError } from "@panza/panza";
 * import { assertRejects } from "@std/assert";
 *
 * await using cache = new MemoryCache();
 * const loop: (n: number) => Promise<number> = cache.cache({ id: "loop" })(
 *   async (n: number): Promise<number> => await loop(n),
 * );
 * await assertRejects(() => loop(1), ReentrantCallError);
 * ```
 */
export class ReentrantCallError extends PanzaError {
  /** The literal name of this class. */
  override readonly name = "ReentrantCallError";
  /** The id of the function. */
  readonly id: string;
  /** The hex key of the call. */
  readonly key: string;

  /**
   * Creates an error that names the call.
   *
   * @param id The id of the function; under a limit, the name of the function.
   * @param key The hex key of the call; `""` under a limit.
   * @param message The reason and the way out; unset, those of a cached function.
   */
  constructor(
    id: string,
    key: string,
    message: string =
      `Cannot call ${quote(id)} with key ${key} from inside its own run: it would wait ` +
      "for itself for ever; call the plain function there, or set singleFlight: false",
  ) {
    super(message);
    this.id = id;
    this.key = key;
  }
}

/**
 * Rejects a call whose arguments have no stable identity, before anything runs.
 *
 * @category Errors
 * @example The path names the offending part
 * ```ts
 * import { canonicalize, UnhashableArgumentError } from "@panza/panza/hash";
 * import { assertEquals, assertThrows } from "@std/assert";
 *
 * const error = assertThrows(
 *   () => canonicalize([{ client: () => {} }]),
 *   UnhashableArgumentError,
 * );
 * assertEquals(error.path, "args[0].client");
 * ```
 */
export class UnhashableArgumentError extends PanzaError {
  /** The literal name of this class. */
  override readonly name = "UnhashableArgumentError";
  /** The path of the offending part, such as `args[0].client`. */
  readonly path: string;

  /**
   * Creates an error that names the offending part.
   *
   * @param path The path of the offending part, such as `args[0].client`.
   * @param what A description of the part, and why it cannot be part of a key.
   */
  constructor(path: string, what: string) {
    const wayOut = WAYS_OUT.find(([root]) => path.startsWith(root))?.[1];
    super(`Cannot make a key: ${path} is ${what}; ${wayOut ?? "use plain data"}`);
    this.path = path;
  }
}

/** The way out for each part of a key, by the beginning of its path. */
const WAYS_OUT: readonly (readonly [string, string])[] = [
  ["args", "pass hashFunc to choose what identifies the call"],
  ["hashFunc(", "return a string from hashFunc, or only the plain data that identifies the call"],
  ["this(", "return a string from the option this, or only the plain data that identifies it"],
  ["version", "give a string or a number as version"],
];

/**
 * Reported when a result cannot be stored; the function's caller still gets the result.
 *
 * @category Errors
 * @example The path names the offending part
 * ```ts
 * import { MemoryCache, UncacheableValueError } from "@panza/panza";
 * import { assertRejects } from "@std/assert";
 *
 * await using cache = new MemoryCache();
 * await assertRejects(
 *   () => cache.set("key", { callback: () => {} }),
 *   UncacheableValueError,
 *   "value.callback",
 * );
 * ```
 */
export class UncacheableValueError extends PanzaError {
  /** The literal name of this class. */
  override readonly name = "UncacheableValueError";
  /** The path of the offending part, such as `value.callback`. */
  readonly path: string;

  /**
   * Creates an error that names the offending part.
   *
   * @param path The path of the offending part, such as `value.callback`.
   * @param what A description of the part, and why it cannot be stored.
   * @param wayOut The way out, as an imperative.
   */
  constructor(
    path: string,
    what: string,
    wayOut = "return the parts that you need, convert it with codec, or skip it with shouldCache",
  ) {
    super(`Cannot store the value: ${path} is ${what}; ${wayOut}`);
    this.path = path;
  }
}

/**
 * Reported when a successful response is not stored: it is incomplete, or it varies by something
 * that does not identify its request. The client still gets the response.
 *
 * @category Errors
 * @example The message gives the reason
 * ```ts
 * import { UnstoredResponseError } from "@panza/panza/fetch";
 * import { assertEquals } from "@std/assert";
 *
 * const error = new UnstoredResponseError("its JSON was cut");
 * assertEquals(error.message, "a response was not stored: its JSON was cut");
 * ```
 */
export class UnstoredResponseError extends PanzaError {
  /** The literal name of this class. */
  override readonly name = "UnstoredResponseError";

  /**
   * Creates an error that gives the reason.
   *
   * @param reason The reason, in words that quote neither the request nor the response.
   */
  constructor(reason: string) {
    super(`a response was not stored: ${reason}`);
  }
}

/**
 * Reported when a stored entry is damaged, moved or of an unknown format: it counts as a miss.
 *
 * @category Errors
 * @example The fields identify the entry
 * ```ts
 * import { DamagedEntryError } from "@panza/panza";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(new DamagedEntryError("checksum mismatch", "summarize", "3f2a").key, "3f2a");
 * ```
 */
export class DamagedEntryError extends PanzaError {
  /** The literal name of this class. */
  override readonly name = "DamagedEntryError";
  /** The id of the function, `""` for a direct key. */
  readonly id: string;
  /** The key of the entry. */
  readonly key: string;

  /**
   * Creates an error that names the entry and its defect.
   *
   * @param what The defect of the entry.
   * @param id The id of the function, `""` for a direct key.
   * @param key The key of the entry.
   * @param options The underlying error as `cause`, where there is one.
   */
  constructor(what: string, id: string, key: string, options?: ErrorOptions) {
    super(
      `Cannot use the stored entry ${key} of ${quote(id)}: ${what}; it counts as a miss`,
      options,
    );
    this.id = id;
    this.key = key;
  }
}

/**
 * A store operation that was refused or failed: reported for reads and writes of a function,
 * thrown for explicit deletes and for direct keys.
 *
 * @category Errors
 * @example The cause is kept
 * ```ts
 * import { BackendError } from "@panza/panza";
 * import { assertEquals } from "@std/assert";
 *
 * const cause = new Error("disk full");
 * assertEquals(new BackendError("SQLite", "write", cause).cause, cause);
 * ```
 */
export class BackendError extends PanzaError {
  /** The literal name of this class. */
  override readonly name: string = "BackendError";
  /** The name of the store: `SQLite cache.db`, `S3 bucket/prefix`, … */
  readonly backend: string;
  /** The operation: `open`, `read`, `write`, `delete`, `list`, `close`. */
  readonly operation: string;

  /**
   * Creates an error that names the store, the operation and the cause.
   *
   * @param backend The name of the store.
   * @param operation The operation.
   * @param cause The error of the store.
   * @param advice The way out, where it is known.
   */
  constructor(backend: string, operation: string, cause: unknown, advice?: string) {
    const reason = reasonOf(cause);
    super(
      `Cannot ${operation} in ${backend}: ${reason}${advice === undefined ? "" : `; ${advice}`}`,
      { cause },
    );
    this.backend = backend;
    this.operation = operation;
  }
}

/**
 * An operation on a bucket that does not exist. Like every failure of a store, it is reported for
 * reads and writes of a function, and thrown for explicit deletes and for direct keys.
 *
 * @category Errors
 * @example The message gives the way out
 * ```ts
 * import { BackendError, BucketNotFoundError } from "@panza/panza";
 * import { assert, assertStringIncludes } from "@std/assert";
 *
 * const error = new BucketNotFoundError("S3 results/batch", "write", "results");
 * assert(error instanceof BackendError);
 * assertStringIncludes(error.message, "autoCreateBucket: true");
 * ```
 */
export class BucketNotFoundError extends BackendError {
  /** The literal name of this class. */
  override readonly name = "BucketNotFoundError";
  /** The name of the bucket. */
  readonly bucket: string;

  /**
   * Creates an error that names the store, the operation and the bucket.
   *
   * @param backend The name of the store.
   * @param operation The operation.
   * @param bucket The name of the bucket.
   * @param cause The answer of S3, where S3 was asked.
   */
  constructor(backend: string, operation: string, bucket: string, cause?: unknown) {
    super(
      backend,
      operation,
      new Error(`there is no bucket ${quote(bucket)}`, { cause }),
      "create it, correct the name, or set autoCreateBucket: true",
    );
    this.bucket = bucket;
  }
}

/**
 * Reported when a database file is damaged, or gone beside its log. The file is left as it is, and
 * results are kept in another file beside it.
 *
 * @category Errors
 * @example Both files are named
 * ```ts
 * import { DamagedDatabaseError } from "@panza/panza";
 * import { assertEquals } from "@std/assert";
 *
 * const error = new DamagedDatabaseError("c.db", "c.db.panza-2", new Error("malformed"));
 * assertEquals(error.continuedIn, "c.db.panza-2");
 * ```
 */
export class DamagedDatabaseError extends PanzaError {
  /** The literal name of this class. */
  override readonly name = "DamagedDatabaseError";
  /** The damaged file. */
  readonly path: string;
  /** The file that is used instead from now on. */
  readonly continuedIn: string;

  /**
   * Creates an error that names both files.
   *
   * @param path The damaged file.
   * @param continuedIn The file that is used instead from now on.
   * @param cause The error of SQLite.
   */
  constructor(path: string, continuedIn: string, cause: unknown) {
    super(
      `Cannot use ${path}: ${reasonOf(cause)}; it is left as it is, and results are kept in ` +
        `${continuedIn}; to go back, repair ${path} and delete ${continuedIn}`,
      { cause },
    );
    this.path = path;
    this.continuedIn = continuedIn;
  }
}

/**
 * Rejects a call when the queue of a limiter is full.
 *
 * @category Errors
 * @example A queue of length zero rejects every call that cannot start at once
 * ```ts
 * import { limitConcurrency, QueueFullError } from "@panza/panza";
 * import { assertRejects } from "@std/assert";
 *
 * const { promise, resolve } = Promise.withResolvers<void>();
 * const limited = limitConcurrency(1, { maxQueue: 0 })(() => promise);
 * const first = limited();
 * await assertRejects(() => limited(), QueueFullError);
 * resolve();
 * await first;
 * ```
 */
export class QueueFullError extends PanzaError {
  /** The literal name of this class. */
  override readonly name = "QueueFullError";
  /** The maximum number of waiting calls, per key. */
  readonly maxQueue: number;

  /**
   * Creates an error that names the maximum.
   *
   * @param maxQueue The maximum number of waiting calls, per key.
   */
  constructor(maxQueue: number) {
    super(
      `Cannot queue the call: ${maxQueue} calls are waiting already; ` +
        "raise maxQueue, or call again later",
    );
    this.maxQueue = maxQueue;
  }
}

/** The text of a cause: the message of an error, a string itself, any other value quoted. */
export function reasonOf(cause: unknown): string {
  if (cause instanceof Error) return cause.message;
  return typeof cause === "string" ? cause : quote(cause);
}

/** The text of a value in a message about an option: short, and never a whole object. */
export function quote(value: unknown): string {
  if (typeof value === "string") {
    return JSON.stringify(value.length > 80 ? `${value.slice(0, 80)}…` : value);
  }
  if (typeof value === "bigint") return `${value}n`;
  if (typeof value === "function") return "a function";
  if (typeof value !== "object" || value === null) return String(value);
  return Array.isArray(value) ? "an array" : "an object";
}

/**
 * The message for a bad option.
 *
 * @param action The verb phrase after "Cannot": `limit concurrency`.
 * @param rule The words after "must be": `a positive integer or Infinity`.
 */
export function optionMessage(
  action: string,
  name: string,
  rule: string,
  received: unknown,
): string {
  return `Cannot ${action}: ${name} must be ${rule}, received ${quote(received)}`;
}
