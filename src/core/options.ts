/**
 * The options of a cached function and of a cache: their types, and what is refused.
 *
 * @module
 */

import { type Duration, parseDuration } from "../base/duration.ts";
import { optionMessage, type PanzaError, refuseUnknownOptions } from "../base/errors.ts";

/**
 * The part of Standard Schema v1 (https://standardschema.dev) that a cache needs: zod, valibot,
 * arktype and others implement it.
 */
export interface Schema<Value = unknown> {
  /** The entry point that the standard defines. */
  readonly "~standard": {
    /** The version of the standard. */
    readonly version: 1;
    /** Who implements it. */
    readonly vendor: string;
    /** Checks a value: `issues` are what is wrong with it. */
    readonly validate: (
      value: unknown,
    ) =>
      | { readonly issues?: readonly unknown[] | undefined }
      | Promise<{ readonly issues?: readonly unknown[] | undefined }>;
    /** Types alone; never present at run time. */
    readonly types?: { readonly input: unknown; readonly output: Value } | undefined;
  };
}

/** Options of `cache.cache(options)(fn)`. */
export interface FunctionOptions<
  Args extends readonly unknown[] = readonly unknown[],
  Value = unknown,
  Self = unknown,
> {
  /**
   * Names the function in the store, across runs and machines: any non-empty string.
   *
   * @default {the name of the function or method}
   */
  readonly id?: string;
  /**
   * What identifies a call: a string, hashed as it is, or any value that can be hashed.
   *
   * @default {all arguments}
   */
  readonly hashFunc?: (...args: Args) => unknown;
  /**
   * What of the instance identifies a call of a method: nothing (`"ignore"`), or what a function
   * makes of it. Instance methods need it, because an instance has no identity across runs.
   */
  readonly this?: "ignore" | ((self: Self) => unknown);
  /** Part of the key: another version starts afresh and leaves the old entries readable. */
  readonly version?: string | number;
  /**
   * How long a result stays fresh: more than 0; `Infinity` is for ever.
   *
   * @default {Infinity}
   */
  readonly ttl?: Duration;
  /**
   * For how long after that a stale result is served at once while one run refreshes it in the
   * background. Needs `ttl`.
   *
   * @default {never}
   */
  readonly staleWhileRevalidate?: Duration;
  /**
   * For how long after that a stale result is served when the function throws. Needs `ttl`.
   *
   * @default {never}
   */
  readonly staleIfError?: Duration;
  /** Whether a result is worth keeping: false returns it and stores nothing. */
  readonly shouldCache?: (value: Value, ...args: Args) => boolean;
  /** Checked before a store and after a read; a stored value that fails it is a miss. */
  readonly schema?: Schema<Value>;
  /**
   * Whether concurrent equal calls share one run.
   *
   * @default {true}
   */
  readonly singleFlight?: boolean;
  /**
   * Prints each call with its status, key and arguments to stderr.
   *
   * @default {false}
   */
  readonly debug?: boolean;
}

/** What went wrong while the function's caller got its result all the same. */
export type ErrorKind =
  /** The store could not be read; the function ran. */
  | "read"
  /** The store could not be written; the result was returned. */
  | "write"
  /** A stored entry was damaged; the function ran. */
  | "damaged"
  /** The result cannot be stored; it was returned. */
  | "encode"
  /** `shouldCache` threw, or the result fails the schema; it was returned and not stored. */
  | "refused"
  /** A run failed; a stale result was served instead. */
  | "refresh"
  /** `onProgress` threw; the batch went on. */
  | "progress"
  /** The backend tells of trouble by itself, such as a damaged file that was moved aside. */
  | "backend";

/** Where it went wrong. */
export interface ErrorContext {
  /** What was being done. */
  readonly kind: ErrorKind;
  /** The id of the function, `""` for a direct key; `undefined` for the whole store. */
  readonly id: string | undefined;
  /** The key of the call; `undefined` for more than one. */
  readonly key: string | undefined;
}

/**
 * A `CryptoKey` of WebCrypto. Its shape is written down here because projects without the types of
 * a browser have no type of that name.
 */
export interface EncryptionKey {
  /** `"secret"`. */
  readonly type: string;
  /** Whether it can be exported. */
  readonly extractable: boolean;
  /** What it is for: AES-GCM. */
  readonly algorithm: { readonly name: string };
  /** What it may do: `"encrypt"`, `"decrypt"`. */
  readonly usages: readonly string[];
}

/** Options that every cache takes. */
export interface CacheOptions {
  /**
   * Is told whatever the cache keeps from its callers: failed reads and writes, damaged entries.
   *
   * @default {one `console.warn` for each id and kind}
   */
  readonly onError?: (error: PanzaError | Error, context: ErrorContext) => void;
  /**
   * Encrypts every value that is stored, with AES-GCM: one key, or several, of which the first
   * encrypts and all are tried to decrypt. Ids, keys, sizes and times stay readable. What is stored
   * under another key, or not encrypted, is a reported miss.
   *
   * @default {values are stored as they are}
   */
  readonly encrypt?: EncryptionKey | readonly EncryptionKey[];
}

const CACHE_OPTIONS: readonly (keyof CacheOptions)[] = ["onError", "encrypt"];

/** Checks the options that every cache takes. */
export function checkCacheOptions(action: string, options: CacheOptions): void {
  refuseUnknownOptions(action, options, CACHE_OPTIONS);
  const { onError } = options;
  if (onError !== undefined && typeof onError !== "function") {
    throw new TypeError(optionMessage(action, "onError", "a function", onError));
  }
}

/**
 * Tells the options of a backend from those that every cache takes.
 *
 * @param action What cannot be done if one is unknown, as a verb phrase.
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
  refuseUnknownOptions(action, options, [...own, ...CACHE_OPTIONS]);
  const { onError, encrypt, ...rest } = options;
  const shared = {
    ...(onError !== undefined && { onError }),
    // Kept even if it is undefined: a key that went missing is no wish for plain values.
    ...("encrypt" in options && { encrypt }),
  };
  // What is left has the type of what was taken apart; the language cannot say so.
  return [rest as unknown as Own, shared as CacheOptions];
}

const FUNCTION_OPTIONS: readonly string[] = [
  "id",
  "hashFunc",
  "this",
  "version",
  "ttl",
  "staleWhileRevalidate",
  "staleIfError",
  "shouldCache",
  "schema",
  "singleFlight",
  "debug",
];

/** Durations in milliseconds. */
export interface Freshness {
  /** How long a result is fresh; `Infinity` is for ever. */
  readonly ttl: number;
  /** How long after that it is served while it is refreshed. */
  readonly staleWhileRevalidate: number;
  /** How long after that it is served when the function throws. */
  readonly staleIfError: number;
}

/** Checks every option of a cached function, by name, before anything runs. */
export function checkFunctionOptions(options: FunctionOptions): Freshness {
  const action = "cache a function";
  refuseUnknownOptions(action, options, FUNCTION_OPTIONS);
  const check = (name: string, fits: boolean, rule: string): void => {
    const value: unknown = Reflect.get(options, name);
    if (value !== undefined && !fits) {
      throw new TypeError(optionMessage(action, name, rule, value));
    }
  };
  const { id, version, schema } = options;
  check("id", typeof id === "string" && id !== "", "a non-empty string");
  check("hashFunc", typeof options.hashFunc === "function", "a function");
  check(
    "this",
    options.this === "ignore" || typeof options.this === "function",
    '"ignore" or a function from the instance to what identifies it',
  );
  check(
    "version",
    typeof version === "string" || Number.isFinite(version),
    "a string or a finite number",
  );
  check("shouldCache", typeof options.shouldCache === "function", "a function");
  check("schema", typeof schema?.["~standard"]?.validate === "function", "a Standard Schema");
  check("singleFlight", typeof options.singleFlight === "boolean", "a boolean");
  check("debug", typeof options.debug === "boolean", "a boolean");
  const duration = (name: string, unset: number): number => {
    const value: unknown = Reflect.get(options, name);
    return value === undefined ? unset : parseDuration(action, name, value);
  };
  for (const name of ["staleWhileRevalidate", "staleIfError"]) {
    check(name, options.ttl !== undefined, "used together with ttl");
  }
  return {
    ttl: duration("ttl", Infinity),
    staleWhileRevalidate: duration("staleWhileRevalidate", 0),
    staleIfError: duration("staleIfError", 0),
  };
}
