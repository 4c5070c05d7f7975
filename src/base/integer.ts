/**
 * One rule for options that count: an integer within bounds.
 *
 * @module
 */

import { optionMessage } from "./errors.ts";

/**
 * Refuses what is no integer or out of range.
 *
 * @param action What cannot be done, as a verb phrase.
 * @param name The option.
 * @param value What was passed.
 * @param min The least it may be.
 * @param max The most it may be.
 * @throws {TypeError} If the value is no number.
 * @throws {RangeError} If it is not an integer within the bounds.
 */
export function requireInteger(
  action: string,
  name: string,
  value: unknown,
  min: number,
  max: number = Number.MAX_SAFE_INTEGER,
): void {
  const rule = max === Number.MAX_SAFE_INTEGER
    ? `an integer of at least ${min}`
    : `an integer from ${min} to ${max}`;
  if (typeof value !== "number") {
    throw new TypeError(optionMessage(action, name, rule, value));
  }
  if (!Number.isInteger(value) || value < min || value > max) {
    throw new RangeError(optionMessage(action, name, rule, value));
  }
}
