/**
 * Durations: one parser for every option that takes a length of time.
 *
 * @module
 */

import { optionMessage } from "./errors.ts";

/** A length of time above zero: milliseconds, or a number with its unit such as `"90s"`. */
export type Duration =
  | number
  | `${number}ms`
  | `${number}s`
  | `${number}m`
  | `${number}h`
  | `${number}d`;

const PATTERN = /^(-?\d+(?:\.\d+)?)(ms|s|m|h|d)$/;

const MILLISECONDS: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1_000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
};

const RULE =
  'a duration above zero: milliseconds, or a number with its unit such as "500ms", "90s", "10m", ' +
  '"12h" or "7d"';

/**
 * Reads a duration.
 *
 * @param action What cannot be done if it is none, as a verb phrase: `limit the rate`.
 * @param name The option.
 * @param value Milliseconds above zero, or a decimal number with `ms`, `s`, `m`, `h` or `d` behind
 * it. The number `Infinity` means never; whoever has no use for that refuses it.
 * @returns Milliseconds, above zero.
 * @throws {TypeError} If it is neither a number nor a text of that form.
 * @throws {RangeError} If it is zero, negative or `NaN`, or a text too large for a finite number.
 */
export function parseDuration(action: string, name: string, value: unknown): number {
  const milliseconds = typeof value === "string" ? parseText(value) : value;
  if (typeof milliseconds !== "number") {
    throw new TypeError(optionMessage(action, name, RULE, value));
  }
  if (!(milliseconds > 0) || (typeof value === "string" && milliseconds === Infinity)) {
    throw new RangeError(optionMessage(action, name, RULE, value));
  }
  return milliseconds;
}

function parseText(text: string): number | undefined {
  const [, amount, unit] = PATTERN.exec(text) ?? [];
  const factor = MILLISECONDS[unit ?? ""];
  return factor === undefined ? undefined : Number(amount) * factor;
}
