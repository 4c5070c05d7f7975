/**
 * Numbers, times and names as people read and write them.
 *
 * @module
 */

/** The units of sizes, largest first, in bytes. */
const SIZES: readonly (readonly [string, number])[] = [
  ["TB", 1e12],
  ["GB", 1e9],
  ["MB", 1e6],
  ["kB", 1e3],
  ["B", 1],
];

/** The units of times, largest first, in milliseconds, and the amount from which each is used. */
const TIMES: readonly (readonly [string, number, number])[] = [
  ["d", 86_400_000, 2],
  ["h", 3_600_000, 2],
  ["min", 60_000, 2],
  ["s", 1_000, 1],
  ["ms", 1, 0],
];

/** A size: `98.5 kB`. */
export function formatSize(bytes: number): string {
  // Otherwise rounding would print 1000.0 of a unit.
  const [unit, factor] = SIZES.find(([, factor]) => bytes >= 0.9995 * factor) ?? ["B", 1];
  const value = bytes / factor;
  return `${value.toFixed(factor === 1 ? 0 : 1)} ${unit}`;
}

/**
 * The bytes of a size as people write it: `500`, `10MB`, `1.5 GB`, `64KiB`.
 *
 * @returns `undefined` if the text is not a size.
 */
export function parseSize(text: string): number | undefined {
  const [, digits, prefix = "", binary] = /^(\d+(?:\.\d+)?) ?(?:([kmgt])(i)?)?b?$/i.exec(text) ??
    [];
  if (digits === undefined) return undefined;
  const power = prefix === "" ? 0 : 1 + "kmgt".indexOf(prefix.toLowerCase());
  return Math.round(Number(digits) * (binary === undefined ? 1000 : 1024) ** power);
}

/** A span of time: `12 min`. */
export function formatTime(milliseconds: number): string {
  const [unit, factor] = TIMES.find(([, factor, least]) => milliseconds >= least * factor) ??
    ["ms", 1];
  const value = Math.max(0, milliseconds) / factor;
  return `${value.toFixed(factor > 1 && value < 9.95 ? 1 : 0)} ${unit}`;
}

/** The age of a time: `12 min ago`; empty for a time that never was. */
export function formatAge(time: number, now: number): string {
  return Number.isFinite(time) ? `${formatTime(now - time)} ago` : "";
}

/** A number of results: `1 result`, `12 results`. */
export function formatCount(count: number): string {
  return `${count} ${count === 1 ? "result" : "results"}`;
}

/** Characters that a terminal obeys, or that make a text look like another one. */
// deno-lint-ignore no-control-regex -- they are what it looks for
const INVISIBLE = /[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]/g;

/** A text that moves no cursor, because stored names and values may hold anything. */
export function visible(text: string, keep = ""): string {
  return text.replace(
    INVISIBLE,
    (each) => keep.includes(each) ? each : `\\u${each.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}

/** The name of a function for people; direct keys have none. */
export function formatId(id: string): string {
  return id === "" ? "(direct keys)" : visible(id);
}

/** A text of at most `width` characters. */
export function cut(text: string, width: number): string {
  return text.length <= width ? text : `${text.slice(0, Math.max(0, width - 1))}…`;
}

/** A row of a table: cells are aligned right, or left where the width is negative. */
export function row(cells: readonly string[], widths: readonly number[]): string {
  return cells.map((cell, index) => {
    const width = widths[index] ?? 0;
    return width < 0 ? cell.padEnd(-width) : cell.padStart(width);
  }).join("  ").trimEnd();
}
