/**
 * The built-in classes whose objects keys and copies hold: the content of an object, and a way to
 * make an equal object of it. Key and copy are both made of the content, so that no copy lacks what
 * its key holds. Objects of other realms are recognised by their behaviour.
 *
 * @module
 */

import { isObject, isObjectPrototype } from "../base/plain.ts";
import { builtin } from "../base/runtime.ts";
import { ERRORS } from "./packed.ts";
import { className } from "./shape.ts";

/** The constructor of a class, of any realm. */
type Maker = new (...args: readonly unknown[]) => object;

/** The content of an object: data, or more objects. */
type Parts = readonly unknown[];

/** A built-in class. */
interface Kind {
  /** Reads the content of an object. Throws if the object is not of this class. */
  readonly read: (value: object) => Parts;
  /** Makes an object of that content. */
  readonly make: (maker: Maker, parts: Parts) => object;
}

const makeOfAll: Kind["make"] = (maker, parts) => new maker(parts);
const makeOfOne: Kind["make"] = (maker, [part]) => new maker(part);

const getterOf = (prototype: object, name: PropertyKey): (() => unknown) | undefined =>
  Object.getOwnPropertyDescriptor(prototype, name)?.get;

// The methods of the language check their receiver, whatever a class calls itself.
const sourceOf = getterOf(RegExp.prototype, "source");
const flagsOf = getterOf(RegExp.prototype, "flags");
const byteLengthOf = getterOf(ArrayBuffer.prototype, "byteLength");
const TypedArray: object = Object.getPrototypeOf(Uint8Array.prototype);
const viewNameOf = getterOf(TypedArray, Symbol.toStringTag);

const KINDS: ReadonlyMap<string, Kind> = new Map<string, Kind>([
  ["Date", {
    read: (value) => {
      const time = Date.prototype.getTime.call(value);
      return [Number.isNaN(time) ? null : time];
    },
    make: (maker, [time]) => new maker(time ?? NaN),
  }],
  ["URL", { read: (value) => [String(Reflect.get(value, "href"))], make: makeOfOne }],
  ["RegExp", {
    // Anything can be assigned to `lastIndex`.
    read: (value) => [sourceOf?.call(value), flagsOf?.call(value), Reflect.get(value, "lastIndex")],
    make: (maker, [source, flags, lastIndex]) =>
      Object.assign(new maker(source, flags), { lastIndex }),
  }],
  ["Map", { read: (value) => [...Map.prototype.entries.call(value)], make: makeOfAll }],
  ["Set", { read: (value) => [...Set.prototype.values.call(value)], make: makeOfAll }],
  ["URLSearchParams", { read: listOf, make: makeOfAll }],
  ["Headers", { read: headersOf, make: makeOfAll }],
  ["FormData", {
    read: listOf,
    make: (maker, parts) => {
      const form = new maker();
      for (const pair of parts) {
        Reflect.apply(Reflect.get(form, "append"), form, listOf(pair));
      }
      return form;
    },
  }],
]);

/** The names and values of headers. */
function headersOf(value: object): Parts {
  const get: (name: unknown) => unknown = Reflect.get(value, "get").bind(value);
  return listOf(value).map((pair) => {
    const [name, one] = listOf(pair);
    // Only cookies are listed one by one. Of other joined values, Deno's list lacks an empty first.
    const text = String(name === "set-cookie" ? one : get(name));
    // Joined values may end in a space, which new Headers strip and HTTP ignores.
    return [name, text.replace(/^[\t\n\r ]+|[\t\n\r ]+$/g, "")];
  });
}

/** The parts of an iterable object. */
export function listOf(value: unknown): unknown[] {
  if (!isObject(value) || !(Symbol.iterator in value)) throw new TypeError("it is not iterable");
  return Array.from(value as Iterable<unknown>);
}

/** The content of an object of a built-in class. */
export interface Content {
  /** The name of the class. */
  readonly name: string;
  /** One part for a `Date` and a `URL`, pairs for a `Map`. */
  readonly parts: Parts;
  /** Makes another object of such parts. */
  readonly make: (parts: Parts) => object;
}

/**
 * Reads an object of a built-in class.
 *
 * @returns Its content; `undefined` for every other object, and for those of classes derived from a
 * built-in one, which may hold more.
 */
export function contentOf(value: object): Content | undefined {
  const content = anyContent(value);
  return content !== undefined && isUnderived(value) ? content : undefined;
}

/** Whether an object is of a class that is derived from a built-in one. */
export function isDerived(value: object): boolean {
  if (Array.isArray(value) || ArrayBuffer.isView(value)) return true;
  return !isUnderived(value) && (tagOf(value) === "ArrayBuffer" || anyContent(value) !== undefined);
}

function anyContent(value: object): Content | undefined {
  const name = tagOf(value);
  const kind = KINDS.get(name);
  try {
    if (kind === undefined) return undefined;
    const parts = kind.read(value);
    return { name, parts, make: (parts) => kind.make(makerOf(value), parts) };
  } catch {
    return undefined;
  }
}

/** The class name that an object claims, true or not. */
export function tagOf(value: object): string {
  return Object.prototype.toString.call(value).slice(8, -1);
}

/** The class of an object. */
export function makerOf(value: object): Maker {
  return Reflect.get(value, "constructor");
}

/** Whether the class of an object derives from nothing but Object. */
function isUnderived(value: object): boolean {
  const prototype: unknown = Object.getPrototypeOf(value);
  // Fake timers replace the built-in Date by a derived one.
  return isObject(prototype) &&
    (prototype === globalThis.Date.prototype ||
      isObjectPrototype(Object.getPrototypeOf(prototype)));
}

/**
 * The class name of an object that is bytes: a typed array, `DataView`, `ArrayBuffer`, or Node's
 * `Buffer`, the one derived class whose whole state is its bytes. `undefined` for every other
 * object and every other derived class.
 */
export function bytesName(value: object): string | undefined {
  if (!ArrayBuffer.isView(value)) return isArrayBuffer(value) ? "ArrayBuffer" : undefined;
  const name = viewNameOf?.call(value);
  if (typeof name !== "string") return isUnderived(value) ? "DataView" : undefined;
  const prototype: object = Object.getPrototypeOf(value);
  // An own member of the prototype in each built-in class.
  if (Object.hasOwn(prototype, "BYTES_PER_ELEMENT")) return name;
  return className(value) === "Buffer" &&
      Object.hasOwn(Object.getPrototypeOf(prototype), "BYTES_PER_ELEMENT")
    ? "Buffer"
    : undefined;
}

export function isArrayBuffer(value: object): value is ArrayBuffer {
  if (tagOf(value) !== "ArrayBuffer" || !isUnderived(value)) return false;
  try {
    byteLengthOf?.call(value);
    return true;
  } catch {
    return false;
  }
}

/** The bytes of an object that has a `bytesName`. */
export function bytesOf(value: object): Uint8Array {
  if (ArrayBuffer.isView(value)) {
    return new Uint8Array(value.buffer, value.byteOffset, value.byteLength);
  }
  return isArrayBuffer(value) ? new Uint8Array(value) : new Uint8Array(0);
}

/**
 * The class name of a built-in error; `undefined` for every other object, and for errors of derived
 * classes.
 */
export function errorName(value: object): string | undefined {
  if (tagOf(value) !== "Error") return undefined;
  const name = className(value);
  const known = name === "AggregateError" ? AggregateError : ERRORS.get(name);
  if (known === undefined || Object.getPrototypeOf(value) === known.prototype) {
    return known && name;
  }
  // A built-in class of another realm has no source, a class of the user has one.
  return Function.prototype.toString.call(makerOf(value)).includes("[native code]")
    ? name
    : undefined;
}

/** Whether an object is a result of `JSON.rawJSON`. */
export function isRawJson(value: object): boolean {
  // Newer than some supported runtimes.
  const test: unknown = Reflect.get(JSON, "isRawJSON");
  return Object.isFrozen(value) && typeof test === "function" && test(value) === true;
}

const WEB: ReadonlySet<string> = new Set(["URL", "URLSearchParams", "Headers", "FormData"]);

/** The bytes past which views are compared, because naming every index of 1 MB takes 40 ms. */
const FEW = 64;

/**
 * The name or symbol of a member that an object of a built-in class has besides those of the
 * class.
 */
export function ownMember(value: object): string | symbol | undefined {
  const isTyped = ArrayBuffer.isView(value) && viewNameOf?.call(value) !== undefined;
  if (isTyped && value.byteLength > FEW) {
    const same: unknown = Reflect.apply(Reflect.get(TypedArray, "subarray"), value, [0]);
    // The same bytes without further members; the comparison takes 10 µs.
    if (builtin("node:util")?.isDeepStrictEqual(value, same) === true) return undefined;
  }
  const length: unknown = isTyped ? Reflect.get(value, "length") : 0;
  const names = Object.keys(value);
  if (names.length > Number(length)) return names.at(-1);
  // Runtimes keep the state of these classes in symbols.
  if (WEB.has(tagOf(value))) return undefined;
  return Object.getOwnPropertySymbols(value).find((symbol) =>
    Object.prototype.propertyIsEnumerable.call(value, symbol)
  );
}
