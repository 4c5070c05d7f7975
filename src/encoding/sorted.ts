/**
 * Copies of plain JSON data with sorted members: the runtime's own JSON.stringify writes them as
 * RFC 8785, at half the cost of writing that here.
 *
 * @module
 */

import { hasSymbols } from "./shape.ts";

/** The deepest copy. Deeper data and cycles are left to the caller: this pass keeps no trail. */
const MAX_COPY_DEPTH = 64;

/**
 * The most members and code units in a copy. Larger data is left to the caller too, which writes a
 * part that stands in many places once: a few objects can stand for gigabytes.
 */
const MAX_SIZE = 2 ** 22;

/** The rest of that size. */
let left = 0;

/**
 * A copy of plain JSON data whose members stand in the order of RFC 8785.
 *
 * The caller owns the copy: no getter and no `toJSON` runs when it is written, and each part of the
 * value is read once.
 *
 * @param depth 0 for the argument list of a call, which has nothing but its elements; else 1.
 * @returns The copy; `undefined` for data that is not JSON, deep or large, and for names that an
 * object puts in another order or that have a meaning of their own.
 */
export function sortedCopy(value: object, depth: number): object | undefined {
  left = MAX_SIZE;
  return copyOf(value, depth);
}

function copyOf(value: object, depth: number): object | undefined {
  if (depth > MAX_COPY_DEPTH || left < 0) return undefined;
  const prototype: unknown = Object.getPrototypeOf(value);
  if (prototype === Object.prototype) {
    return copyObject(value as Record<string, unknown>, depth);
  }
  return prototype === Array.prototype && Array.isArray(value)
    ? copyArray(value, depth)
    : undefined;
}

function copyArray(value: readonly unknown[], depth: number): unknown[] | undefined {
  if ("toJSON" in value) return undefined;
  if (depth > 0 && (Object.keys(value).length !== value.length || hasSymbols(value))) {
    return undefined;
  }
  left -= value.length;
  const copy: unknown[] = [];
  for (let index = 0; index < value.length; index++) {
    const part = copyPart(value[index], depth);
    if (part === OTHER) return undefined;
    copy.push(part);
  }
  return copy;
}

function copyObject(value: Record<string, unknown>, depth: number): object | undefined {
  // Own or of a changed Object.prototype: JSON.stringify would call either.
  if (typeof value["toJSON"] === "function" || hasSymbols(value)) return undefined;
  const copy: Record<string, unknown> = {};
  const names = Object.keys(value);
  if (names.length === 0) return copy;
  left -= names.length;
  const sorted = orderOf(names);
  if (sorted === undefined) return undefined;
  for (let index = 0; index < sorted.length; index++) {
    const name = sorted[index]!;
    const item = value[name];
    if (item === undefined) continue;
    const part = copyPart(item, depth);
    if (part === OTHER) return undefined;
    copy[name] = part;
  }
  return copy;
}

/** Stands for every part that is not JSON. */
const OTHER = Symbol("other");

function copyPart(item: unknown, depth: number): unknown {
  switch (typeof item) {
    case "string":
      left -= item.length;
      return item;
    case "boolean":
      return item;
    case "number":
      return Number.isFinite(item) ? item : OTHER;
    case "object":
      return item === null ? null : copyOf(item, depth + 1) ?? OTHER;
    default:
      return OTHER;
  }
}

/** The member names of an object, in its own order and in the order to write. */
interface Order {
  readonly names: readonly string[];
  /** `undefined` where an object cannot keep its members in this order. */
  readonly sorted: readonly string[] | undefined;
  /** Another list that begins with the same name. */
  readonly next: Order | undefined;
  /** The number of lists that follow. */
  readonly rest: number;
}

/**
 * Lists of names by their first name. Arguments have the same few shapes from call to call, and
 * engines compare names by identity, so finding a list costs a third of sorting it.
 */
const orders = new Map<string, Order>();

/** Far more than the shapes of one program's arguments, and small with the two bounds below. */
const MAX_ORDERS = 500;
const MAX_NAMES = 32;
const MAX_NAME_LENGTH = 64;

/** The most lists that follow a list with the same first name. */
const MAX_REST = 8;

/** The names as RFC 8785 sorts them; `undefined` where an object would not keep that order. */
function orderOf(names: readonly string[]): readonly string[] | undefined {
  const first = names[0]!;
  const head = orders.get(first);
  for (let known = head; known !== undefined; known = known.next) {
    if (isSame(known.names, names)) return known.sorted;
  }
  const sorted = isKept(names) ? names.toSorted() : undefined;
  if (names.length <= MAX_NAMES && names.every((name) => name.length <= MAX_NAME_LENGTH)) {
    if (orders.size >= MAX_ORDERS) orders.clear();
    const next = head !== undefined && head.rest < MAX_REST ? head : undefined;
    const rest = next === undefined ? 0 : next.rest + 1;
    orders.set(first, { names, sorted, next, rest });
  }
  return sorted;
}

function isSame(left: readonly string[], right: readonly string[]): boolean {
  if (left.length !== right.length) return false;
  for (let index = 1; index < left.length; index++) {
    if (left[index] !== right[index]) return false;
  }
  return true;
}

/** Whether an object keeps the order: indices come first, and `$` and `__proto__` are special. */
function isKept(names: readonly string[]): boolean {
  return names.every((name) => name !== "$" && name !== "__proto__" && !/^[0-9]/.test(name));
}
