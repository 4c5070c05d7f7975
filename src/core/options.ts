/**
 * The options of a cached function and of a cache: their types and their checks.
 *
 * @module
 */

import {
  abortSignal,
  array,
  boolean,
  check,
  type Checked,
  count,
  fn,
  oneOf,
  type Rule,
  text,
} from "../base/check.ts";
import { type Duration, duration } from "../base/duration.ts";
import type { PanzaError } from "../base/errors.ts";
import { schemaRule, type StandardSchema } from "../base/schema.ts";
import type { CallEvent } from "./events.ts";

/**
 * Converts results of your own types to storable values and back, both synchronously. A `z.codec`
 * of zod is one.
 */
export interface ValueCodec<Value = unknown, Stored = unknown> {
  /** Converts a result to a storable value. */
  readonly encode: (value: Value) => Stored;
  /** Converts a stored value back to a result. */
  readonly decode: (stored: Stored) => Value;
}

/** Options of `cache.cache(options)(fn)`. */
export interface FunctionOptions<
  Args extends readonly unknown[] = readonly unknown[],
  Value = unknown,
  Self = unknown,
  Output = never,
  Decoded = unknown,
> {
  /**
   * The name of the function in the store, across runs and machines: any non-empty string. Bundlers
   * rename functions, so set it in bundled code.
   *
   * @default {the name of the function or method}
   */
  readonly id?: string;
  /**
   * Returns the identity of a call: a string, hashed as it is, or any value that can be hashed.
   *
   * @default {all arguments}
   */
  readonly hashFunc?: (...args: Args) => unknown;
  /**
   * The part of the instance that identifies a method call: none (`"ignore"`), or what a function
   * of it returns. Instance methods need this option: an instance has no identity across runs.
   */
  readonly this?: "ignore" | ((self: Self) => unknown);
  /** Part of the key: another version starts afresh and leaves the old entries readable. */
  readonly version?: string | number;
  /**
   * The time a result stays fresh: more than 0; `Infinity` is for ever.
   *
   * @default {Infinity}
   */
  readonly ttl?: Duration;
  /**
   * The time after `ttl` in which a stale result is served at once while one run refreshes it in
   * the background. Needs `ttl`.
   *
   * @default {never}
   */
  readonly staleWhileRevalidate?: Duration;
  /**
   * The time after `ttl` in which a stale result is served if the function throws. Needs `ttl`.
   *
   * @default {never}
   */
  readonly staleIfError?: Duration;
  /**
   * Whether to store a result: after false, or a promise of it, the result is returned and not
   * stored. The function sees the arguments as they were at the call.
   */
  readonly shouldCache?: (value: Value, ...args: Args) => boolean | Promise<boolean>;
  /**
   * Validates the result: callers get the schema's output, or a `SchemaError` if validation fails.
   * The result itself is stored, and validated again when read; a stored one that fails is a miss.
   */
  readonly schema?: StandardSchema<Output>;
  /** Makes results of your own types storable; see {@linkcode ValueCodec}. */
  readonly codec?: {
    // deno-lint-ignore no-explicit-any -- what is stored is the codec's own affair
    readonly encode: (value: Value) => any;
    // deno-lint-ignore no-explicit-any -- as above
    readonly decode: (stored: any) => Decoded;
  };
  /**
   * The concurrent equal calls that share one run: those of all processes that share the store
   * (`"store"`), those of this process (`"process"`), or none (`false`).
   *
   * @default {that of the cache}
   */
  readonly singleFlight?: SingleFlight;
  /**
   * Prints each call with its status, key and arguments to stderr.
   *
   * @default {false}
   */
  readonly debug?: boolean;
}

/** Options of `cache.stream(options)(fn)`: the result of a call is the array of its items. */
export interface StreamOptions<
  Args extends readonly unknown[] = readonly unknown[],
  Value = unknown,
  Self = unknown,
> extends FunctionOptions<Args, Value, Self, unknown, unknown> {
  /**
   * Validates the array of items once it is complete. If it fails, readers get the items and then a
   * `SchemaError`, and nothing is stored. The schema's output is not used.
   */
  readonly schema?: StandardSchema;
  /**
   * The most items that are kept: a positive integer or `Infinity`. A longer stream, or one of more
   * than 64 MiB, passes without being kept: no call can join it any more, and its slowest reader
   * sets the pace.
   *
   * @default {100,000}
   */
  readonly maxItems?: number;
}

/** The equal calls that share one run: of all processes over the store, of this one, or none. */
export type SingleFlight = "store" | "process" | false;

/** The kind of a failure that does not keep callers from their results. */
export type ErrorKind =
  /** The store could not be read; the function ran. */
  | "read"
  /** The store could not be written; the result was returned. */
  | "write"
  /** A stored entry was damaged; the function ran. */
  | "damaged"
  /** The result cannot be stored; it was returned. */
  | "encode"
  /** `shouldCache` failed, or the store holds an entry that must stay; the result was returned. */
  | "refused"
  /** The arguments changed while the function ran; the result was returned and not stored. */
  | "arguments"
  /** One given id is used for functions with different sources. */
  | "id"
  /** A run failed; a stale result was served instead. */
  | "refresh"
  /** `onProgress`, `count` or `onCall` threw, or a batch was never run. */
  | "progress"
  /** The store could not report whether another process runs; the function ran. */
  | "lease"
  /** An error that the backend reports by itself, such as a damaged file. */
  | "backend";

/** The context of a reported error. */
export interface ErrorContext {
  /** The kind of the failure. */
  readonly kind: ErrorKind;
  /** The id of the function, `""` for a direct key; `undefined` for the whole store. */
  readonly id: string | undefined;
  /** The key of the call; `undefined` for more than one. */
  readonly key: string | undefined;
}

/**
 * A `CryptoKey` of WebCrypto, declared by its shape: projects without browser types have no type of
 * that name.
 */
export interface EncryptionKey {
  /** Always `"secret"`. */
  readonly type: string;
  /** Whether it can be exported. */
  readonly extractable: boolean;
  /** The algorithm: AES-GCM. */
  readonly algorithm: { readonly name: string };
  /** The permitted uses: `"encrypt"`, `"decrypt"`. */
  readonly usages: readonly string[];
}

/** Options that every cache takes. */
export interface CacheOptions {
  /**
   * Receives each error that callers do not see: failed reads and writes, damaged entries.
   *
   * @default {one `console.warn` for each id and kind}
   */
  readonly onError?: (error: PanzaError | Error, context: ErrorContext) => void;
  /**
   * Receives each ended call of a cached function, right before its caller does, and each failed
   * run: for traces and metrics. Lookups by `readCache` and direct keys are not calls.
   *
   * @default {nothing, which costs nothing}
   */
  readonly onCall?: (call: CallEvent) => void;
  /**
   * The key that encrypts every stored value with AES-GCM. Of several keys, the first encrypts and
   * all are tried for decryption. Ids, keys, sizes and times stay readable. A value stored under
   * another key, or unencrypted, is a reported miss.
   *
   * @default {values are stored as they are}
   */
  readonly encrypt?: EncryptionKey | readonly EncryptionKey[];
  /**
   * The concurrent equal calls that share one run, for functions that do not set it: `"store"`,
   * `"process"` or `false`.
   *
   * @default {"store" over a SQLite file, for tiers that of the last one, otherwise "process"}
   */
  readonly singleFlight?: SingleFlight;
}

const singleFlight: Rule<SingleFlight> = oneOf<"store" | "process" | false>(
  "store",
  "process",
  false,
);

const CACHE_RULES = {
  onError: fn,
  onCall: fn,
  // Checked by `checkKeys`, which never prints a wrong value: it may be the bytes of a key.
  encrypt: { must: "a CryptoKey", read: (value: unknown): unknown => value } satisfies Rule<
    unknown
  >,
  singleFlight,
};

/** Checks the options that every cache takes. */
export function checkCacheOptions(action: string, options: unknown): void {
  check(action, options, CACHE_RULES);
}

/**
 * Separates the options of a backend from those that every cache takes.
 *
 * @param action The action in messages, as a verb phrase.
 * @param options Both together.
 * @param own The names of the backend's options.
 * @returns The backend's options, and the cache's.
 * @throws {TypeError} If an option is in neither.
 */
export function splitCacheOptions<Own extends object>(
  action: string,
  options: Own & CacheOptions,
  own: readonly (keyof Own & string)[],
): [Own, CacheOptions] {
  const anything: Rule<unknown> = { must: "set", read: (value) => value ?? null };
  check(action, options, {
    ...Object.fromEntries(own.map((name) => [name, anything])),
    ...CACHE_RULES,
  });
  const shared: Record<string, unknown> = {};
  const rest: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(options)) {
    // `encrypt: undefined` must be refused, not read as "not encrypted": it is handed on.
    (name in CACHE_RULES ? shared : rest)[name] = value;
  }
  // The names decide the types; the language cannot say so.
  return [rest as Own, shared as CacheOptions];
}

const version: Rule<string | number> = {
  must: "a string or a finite number",
  read: (value) =>
    typeof value === "string" || Number.isFinite(value) ? value as string : undefined,
};

const thisRule: Rule<"ignore" | ((self: unknown) => unknown)> = {
  must: '"ignore" or a function from the instance to what identifies it',
  read: (value) =>
    value === "ignore" || typeof value === "function"
      ? value as "ignore" | ((self: unknown) => unknown)
      : undefined,
};

/** The rule for an object with functions at the given paths. */
function objectWith<Shape>(must: string, ...path: readonly (readonly string[])[]): Rule<Shape> {
  const follow = (value: unknown, names: readonly string[]): unknown =>
    names.reduce((at: unknown, name) => Object(at)[name], value);
  return {
    must,
    read: (value) =>
      path.every((names) => typeof follow(value, names) === "function")
        ? value as Shape
        : undefined,
  };
}

const FUNCTION_RULES = {
  id: text,
  hashFunc: fn as Rule<(...args: readonly unknown[]) => unknown>,
  this: thisRule,
  version,
  ttl: duration,
  staleWhileRevalidate: duration,
  staleIfError: duration,
  shouldCache: fn as Rule<(value: unknown, ...args: readonly unknown[]) => unknown>,
  schema: schemaRule,
  codec: objectWith<ValueCodec>("an object with encode(value) and decode(stored)", ["encode"], [
    "decode",
  ]),
  singleFlight,
  debug: boolean,
};

/** Options of a function, checked: durations in milliseconds. */
export interface CheckedOptions extends Freshness {
  readonly id: string | undefined;
  readonly hashFunc: ((...args: readonly unknown[]) => unknown) | undefined;
  readonly this: "ignore" | ((self: unknown) => unknown) | undefined;
  readonly version: string | number | undefined;
  readonly shouldCache: ((value: unknown, ...args: readonly unknown[]) => unknown) | undefined;
  readonly schema: StandardSchema | undefined;
  readonly codec: ValueCodec | undefined;
  readonly singleFlight: SingleFlight | undefined;
  readonly debug: boolean | undefined;
}

/** Durations in milliseconds. */
export interface Freshness {
  /** The time a result is fresh; `Infinity` is for ever. */
  readonly ttl: number;
  /** The time after `ttl` in which it is served while it is refreshed. */
  readonly staleWhileRevalidate: number;
  /** The time after `ttl` in which it is served if the function throws. */
  readonly staleIfError: number;
}

/**
 * Checks every option of a cached function, by name, before anything runs.
 *
 * @throws {TypeError} If one is unknown or of the wrong kind.
 * @throws {RangeError} If a duration is not above zero.
 */
export function checkFunctionOptions(options: unknown): CheckedOptions {
  const action = "cache a function";
  if (typeof options === "function") {
    throw new TypeError(
      "Cannot cache a function: cache.cache takes options first; call cache.cache(options)(fn)",
    );
  }
  return withFreshness(action, check(action, options, FUNCTION_RULES));
}

/**
 * Checks every option of a stream function in the same way.
 *
 * @returns The options, and the most items that are kept.
 */
export function checkStreamOptions(options: unknown): CheckedOptions & { maxItems: number } {
  const action = "cache a stream function";
  if (typeof options === "function") {
    throw new TypeError(
      "Cannot cache a stream function: cache.stream takes options first; call " +
        "cache.stream(options)(fn)",
    );
  }
  const rules = { ...FUNCTION_RULES, maxItems: count({ infinity: true }) };
  const { maxItems = 100_000, ...checked } = check(action, options, rules);
  return { ...withFreshness(action, checked), maxItems };
}

/** Checks the durations and fills in their defaults. */
function withFreshness(
  action: string,
  checked: Checked<typeof FUNCTION_RULES>,
): CheckedOptions {
  const { ttl, staleWhileRevalidate, staleIfError } = checked;
  if (ttl === undefined && (staleWhileRevalidate ?? staleIfError) !== undefined) {
    throw new TypeError(
      `Cannot ${action}: staleWhileRevalidate and staleIfError count from the end of ttl; pass a ttl`,
    );
  }
  return {
    ...checked,
    ttl: ttl ?? Infinity,
    staleWhileRevalidate: staleWhileRevalidate ?? 0,
    staleIfError: staleIfError ?? 0,
  };
}

const MAP_RULES = {
  concurrency: { ...count({ infinity: true }), isRequired: true },
  ordered: boolean,
  signal: abortSignal,
  onProgress: fn,
  args: array,
  count: fn,
} as const;

/** Checks the options of a batch. */
export function checkMapOptions(options: unknown): void {
  check("map a function over inputs", options, MAP_RULES);
}
