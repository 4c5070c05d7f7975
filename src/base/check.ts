/**
 * The one checker of options: rules as data, one formula for every message.
 *
 * @module
 */

import { optionMessage, quote } from "./errors.ts";
import { isObject } from "./plain.ts";
import { isAbortSignal } from "./signals.ts";

/** The rule for one option. */
export interface Rule<Value> {
  /** The words after "must be" in the message: a noun phrase with unit and range. */
  readonly must: string;
  /** Whether messages must not quote a string that breaks the rule: it may be a secret. */
  readonly isSecret?: boolean;
  /** Reads a value; `undefined` for a value of another kind, which is a `TypeError`. */
  read(value: unknown): Value | undefined;
  /** Whether a value of the right kind is in range; false is a `RangeError`. */
  isInRange?(value: Value): boolean;
}

/** A rule for an option that has no default. */
export interface RequiredRule<Value> extends Rule<Value> {
  readonly isRequired: true;
}

/** The checked options: each value as its rule reads it, `undefined` where unset. */
export type Checked<Rules> = {
  readonly [Name in keyof Rules]: Rules[Name] extends RequiredRule<infer Value> ? Value
    : Rules[Name] extends Rule<infer Value> ? Value | undefined
    : never;
};

/**
 * Checks options by their rules. Options without a rule are refused, so that a typing mistake does
 * not become a silent default.
 *
 * @param action The verb phrase after "Cannot" in messages: `open a cache`.
 * @param options The options as passed.
 * @param rules A rule for each option.
 * @param prefix The prefix of each name in messages: `backoff.`.
 * @returns The options that have a rule, as the rule reads them.
 * @throws {TypeError} If an option is unknown or of the wrong kind.
 * @throws {RangeError} If an option is out of range.
 */
export function check<Rules extends Readonly<Record<string, Rule<unknown>>>>(
  action: string,
  options: unknown,
  rules: Rules,
  prefix = "",
): Checked<Rules> {
  if (typeof options !== "object" || options === null || Array.isArray(options)) {
    const name = prefix === "" ? "options" : prefix.slice(0, -1);
    const needed = Object.keys(rules).filter((each) => "isRequired" in rules[each]!);
    const must = needed.length === 0 ? "an object" : `an object with ${needed.join(", ")}`;
    const message = optionMessage(action, name, must, options);
    throw new TypeError(
      typeof options === "function" && prefix === ""
        ? `${message}; the function goes into a second call: wrapper(options)(fn)`
        : message,
    );
  }
  for (const name of Object.keys(options)) {
    if (Object.hasOwn(rules, name)) continue;
    const known = Object.keys(rules).map((each) => `${prefix}${each}`).join(", ");
    throw new TypeError(
      `Cannot ${action}: there is no option ${quote(`${prefix}${name}`)}, only ${known}`,
    );
  }
  const checked = Object.entries(rules).map(([name, rule]) => {
    const value: unknown = Reflect.get(options, name);
    const isUnset = value === undefined && !("isRequired" in rule);
    return [name, isUnset ? undefined : checkValue(action, `${prefix}${name}`, value, rule)];
  });
  // Each rule determines the type of its value; TypeScript cannot follow the loop.
  return Object.fromEntries(checked) as Checked<Rules>;
}

/**
 * Checks one value by its rule.
 *
 * @param action The verb phrase after "Cannot" in messages.
 * @param name The name of the parameter or option.
 * @returns The value as the rule reads it.
 * @throws {TypeError} If the value is of the wrong kind.
 * @throws {RangeError} If the value is out of range.
 */
export function checkValue<Value>(
  action: string,
  name: string,
  value: unknown,
  rule: Rule<Value>,
): Value {
  const read = rule.read(value);
  const isHidden = rule.isSecret && typeof value === "string";
  const message = () =>
    isHidden
      ? `Cannot ${action}: ${name} must be ${rule.must}, received another string`
      : optionMessage(action, name, rule.must, value);
  if (read === undefined) throw new TypeError(message());
  if (rule.isInRange?.(read) === false) throw new RangeError(message());
  return read;
}

/** Returns a value that nobody awaits: the rejection of a promise must not end the process. */
export function unawaited<Value>(value: Value): Value {
  if (isObject(value) && "then" in value) Promise.resolve(value).catch(() => {});
  return value;
}

/** The same rule for an option that has no default. */
export function required<Value>(rule: Rule<Value>): RequiredRule<Value> {
  return { ...rule, isRequired: true };
}

/** The bounds of a {@linkcode count}. */
interface Bounds {
  /** The minimum; 1 when unset. */
  readonly min?: number;
  /** The maximum; the greatest safe integer when unset. */
  readonly max?: number;
  /** Whether `Infinity` is allowed. */
  readonly infinity?: boolean;
}

/** An integer within bounds. */
export function count(
  { min = 1, max = Number.MAX_SAFE_INTEGER, infinity = false }: Bounds = {},
): Rule<number> {
  const bounded = max < Number.MAX_SAFE_INTEGER
    ? `an integer from ${min} to ${max}`
    : min === 0
    ? "a non-negative integer"
    : min === 1
    ? "a positive integer"
    : `an integer of at least ${min}`;
  return {
    must: infinity ? `${bounded} or Infinity` : bounded,
    read: readNumber,
    isInRange: (value) =>
      (infinity && value === Infinity) ||
      (Number.isInteger(value) && value >= min && value <= max),
  };
}

/** A number within bounds. */
export function number(min: number, max: number = Infinity): Rule<number> {
  return {
    must: max === Infinity ? `a number of at least ${min}` : `a number from ${min} to ${max}`,
    read: readNumber,
    isInRange: (value) => value >= min && value <= max,
  };
}

function readNumber(value: unknown): number | undefined {
  return typeof value === "number" ? value : undefined;
}

/** A finite number of at least `min`. */
export function finite(min: number): Rule<number> {
  return {
    must: `a finite number of at least ${min}`,
    read: readNumber,
    isInRange: (value) => value >= min && value < Infinity,
  };
}

/** `true` or `false`. */
export const boolean: Rule<boolean> = {
  must: "a boolean",
  read: (value) => typeof value === "boolean" ? value : undefined,
};

/** Any string, including the empty one. */
export const string: Rule<string> = {
  must: "a string",
  read: (value) => typeof value === "string" ? value : undefined,
};

/** A string that is not empty. */
export const text: Rule<string> = {
  must: "a non-empty string",
  read: (value) => typeof value === "string" && value !== "" ? value : undefined,
};

/** One of several words. */
export function oneOf<const Word extends string | boolean>(...words: readonly Word[]): Rule<Word> {
  return {
    must: words.map((word) => JSON.stringify(word)).join(" or "),
    read: (value) => words.find((word) => word === value),
  };
}

/** A function; its parameters and its result are not checked. */
// deno-lint-ignore ban-types -- any function is one
export const fn: Rule<Function> = {
  must: "a function",
  read: (value) => typeof value === "function" ? value : undefined,
};

/** An `AbortSignal`, also of another realm or of a polyfill. */
export const abortSignal: Rule<AbortSignal> = {
  must: "an AbortSignal",
  read: (value) => isAbortSignal(value) ? value : undefined,
};

/** An object that is not an array. */
export const object: Rule<object> = {
  must: "an object",
  read: (value) => isObject(value) && !Array.isArray(value) ? value : undefined,
};

/** An array. */
export const array: Rule<readonly unknown[]> = {
  must: "an array",
  read: (value) => Array.isArray(value) ? value : undefined,
};
