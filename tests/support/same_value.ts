/** The oracle for values: the parts that must not differ between a value and its copy. */
import { isDeepStrictEqual } from "node:util";
import { isPlain } from "../../src/base/plain.ts";

type Bytes = ArrayBuffer | ArrayBufferView;

function bytesOf(value: Bytes): number[] {
  return [
    ...(ArrayBuffer.isView(value)
      ? new Uint8Array(value.buffer, value.byteOffset, value.byteLength)
      : new Uint8Array(value)),
  ];
}

/** A plain object without a prototype comes back with one, as from structured clone. */
function prototypeOf(value: object): unknown {
  return isPlain(value) ? Object.prototype : Object.getPrototypeOf(value);
}

/** The members that count: enumerable ones, and of errors also the hidden ones that describe it. */
function membersOf(value: object): string[] {
  const names = Object.keys(value);
  if (!(value instanceof Error)) return names;
  const hidden = ["message", "cause", "errors", "name", "stack"];
  return [
    ...hidden.filter((name) => Object.hasOwn(value, name) && !names.includes(name)),
    ...names,
  ];
}

/**
 * The path of the first difference between two values; `undefined` if they have the same types,
 * content, order, holes, signs of zero and shared parts.
 */
export function difference(
  left: unknown,
  right: unknown,
  path: string = "value",
  pairs: Map<unknown, unknown> = new Map(),
  taken: Set<unknown> = new Set(),
): string | undefined {
  if (typeof left !== "object" || left === null) {
    return Object.is(left, right) ? undefined : path;
  }
  if (typeof right !== "object" || right === null) return path;
  if (pairs.has(left)) {
    return pairs.get(left) === right ? undefined : `${path}, another object`;
  }
  if (taken.has(right)) return `${path}, an object of two places`;
  if (left === right) return `${path}, no copy`;
  pairs.set(left, right);
  taken.add(right);
  if (prototypeOf(left) !== prototypeOf(right)) return `${path}, its class`;
  const part = (step: string, one: unknown, other: unknown) =>
    difference(one, other, `${path}${step}`, pairs, taken);
  const list = (kind: string, one: unknown[], other: unknown[]) => {
    if (one.length !== other.length) return `${path}, its size`;
    for (const [index, item] of one.entries()) {
      const found = part(`.${kind}(${index})`, item, other[index]);
      if (found !== undefined) return found;
    }
    return undefined;
  };
  if (left instanceof Date && right instanceof Date) {
    return part(".time", left.getTime(), right.getTime());
  }
  if (left instanceof RegExp && right instanceof RegExp) {
    return list(
      "pattern",
      [left.source, left.flags, left.lastIndex],
      [right.source, right.flags, right.lastIndex],
    );
  }
  if (left instanceof URL && right instanceof URL) {
    return part(".href", left.href, right.href);
  }
  if (left instanceof Map && right instanceof Map) {
    return list("entry", [...left].flat(), [...right].flat());
  }
  if (left instanceof Set && right instanceof Set) {
    return list("item", [...left], [...right]);
  }
  if (
    (left instanceof ArrayBuffer && right instanceof ArrayBuffer) ||
    (ArrayBuffer.isView(left) && ArrayBuffer.isView(right))
  ) {
    return isDeepStrictEqual(bytesOf(left), bytesOf(right)) ? undefined : path;
  }
  if (Array.isArray(left) && Array.isArray(right) && left.length !== right.length) {
    return `${path}, its length`;
  }
  const names = membersOf(left);
  if (!isDeepStrictEqual(names, membersOf(right))) return `${path}, its names`;
  for (const name of names) {
    const one = Object.getOwnPropertyDescriptor(left, name);
    const other = Object.getOwnPropertyDescriptor(right, name);
    if (one?.enumerable !== other?.enumerable) return `${path}.${name}, hidden`;
    const found = part(`.${name}`, Reflect.get(left, name), Reflect.get(right, name));
    if (found !== undefined) return found;
  }
  return undefined;
}
