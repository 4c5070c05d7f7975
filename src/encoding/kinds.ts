/**
 * The built-in classes whose objects keys and copies hold: the content of an object, and how to
 * make an equal object of that content. The key is written of the content, and so is the copy, so
 * that no copy lacks what its key holds.
 *
 * @module
 */

import { isObjectPrototype } from "../base/plain.ts";

/** Makes objects of one class, in whatever realm that class is. */
export type Maker = new (...args: readonly unknown[]) => object;

/** One built-in class. */
export interface Kind {
  /** The content of an object: data, or more objects that keys hold. */
  readonly read: (value: object) => unknown;
  /** Makes an object of the content. */
  readonly make: (maker: Maker, content: unknown) => object;
  /** Whether the parts are pairs, each of which stands in one place of a path. */
  readonly pairs?: true;
  /** Whether the order of the parts makes no difference. */
  readonly unordered?: true;
}

const make: Kind["make"] = (maker, content) => new maker(content);

// The methods of the language check what they are called on; a stranger with the same name throws.
const sourceOf = Object.getOwnPropertyDescriptor(RegExp.prototype, "source")?.get;

const KINDS: ReadonlyMap<string, Kind> = new Map<string, Kind>([
  ["Date", {
    read: (value) => {
      const time = Date.prototype.getTime.call(value);
      return Number.isNaN(time) ? null : time;
    },
    make: (maker, time) => new maker(time ?? NaN),
  }],
  ["RegExp", {
    // Anything can be assigned to `lastIndex`.
    read: (value) => {
      return [sourceOf?.call(value), Reflect.get(value, "flags"), Reflect.get(value, "lastIndex")];
    },
    make: (maker, content) => {
      const [source, flags, lastIndex] = listOf(content);
      return Object.assign(new maker(source, flags), { lastIndex });
    },
  }],
  ["URL", { read: (value) => Reflect.get(value, "href"), make }],
  ["URLSearchParams", { read: listOf, make }],
  ["Headers", { read: listOf, make }],
  ["FormData", {
    read: listOf,
    make: (maker, content) => {
      const form = new maker();
      for (const pair of listOf(content)) {
        Reflect.apply(Reflect.get(form, "append"), form, listOf(pair));
      }
      return form;
    },
  }],
  ["Map", {
    read: (value) => [...Map.prototype.entries.call(value)],
    make,
    pairs: true,
    unordered: true,
  }],
  ["Set", { read: (value) => [...Set.prototype.values.call(value)], make, unordered: true }],
]);

function listOf(value: unknown): unknown[] {
  if (typeof value !== "object" || value === null || !(Symbol.iterator in value)) {
    throw new TypeError("this is not iterable");
  }
  return Array.from(value as Iterable<unknown>);
}

/** The kind of an object by its name for itself; `undefined` if it is of no such class. */
export function kindOf(value: object): Kind | undefined {
  return KINDS.get(tagOf(value));
}

/** The name that an object has for its kind: `Date`, `Map`, `Object`, … */
export function tagOf(value: object): string {
  return Object.prototype.toString.call(value).slice(8, -1);
}

/**
 * Whether an object is of a class that derives from nothing: a built-in class of some realm, and
 * not one that was derived from it and may hold more.
 */
export function isUnderived(value: object): boolean {
  const prototype: unknown = Object.getPrototypeOf(value);
  return typeof prototype === "object" && prototype !== null &&
    isObjectPrototype(Object.getPrototypeOf(prototype));
}

/** The class of an object. */
export function makerOf(value: object): Maker {
  return Reflect.get(value, "constructor");
}
