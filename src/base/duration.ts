/**
 * Durations: one rule for every option that takes a length of time.
 *
 * @module
 */

import type { Rule } from "./check.ts";

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

const UNITS =
  'milliseconds, or a number with its unit such as "500ms", "90s", "10m", "12h" or "7d"';

/** A duration above zero, in milliseconds; the number `Infinity` means never. */
export const duration: Rule<number> = {
  must: `a duration above zero: ${UNITS}`,
  read: (value) =>
    typeof value === "string" ? parseText(value) : typeof value === "number" ? value : undefined,
  isInRange: (milliseconds) => milliseconds > 0,
};

/** A finite duration above zero, in milliseconds. */
export const finiteDuration: Rule<number> = {
  ...duration,
  must: `a finite duration above zero: ${UNITS}`,
  isInRange: (milliseconds) => milliseconds > 0 && milliseconds < Infinity,
};

function parseText(text: string): number | undefined {
  const [, amount, unit] = PATTERN.exec(text) ?? [];
  const factor = MILLISECONDS[unit ?? ""];
  if (factor === undefined) return undefined;
  const milliseconds = Number(amount) * factor;
  // Digits that overflow are a mistake; only the number Infinity means never.
  return milliseconds === Infinity ? NaN : milliseconds;
}
