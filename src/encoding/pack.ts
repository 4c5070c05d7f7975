/**
 * Writes the compact form of a value; see `packed.ts`.
 *
 * @module
 */

import { UncacheableValueError } from "../base/errors.ts";
import {
  define,
  ERRORS,
  HEADER_BYTES,
  type Json,
  MAGIC,
  NUMBER_ARRAYS,
  type NumberKind,
  padded,
} from "./packed.ts";
import { isPlain, isPlainArray } from "../base/plain.ts";
import { className, formatPath, MAX_DEPTH, viewName } from "./shape.ts";

/** From this length on an array of numbers is packed: 128 numbers parse as fast as they unpack. */
export const LONG = 128;

/** The tag of the narrowest array for these numbers; `undefined` if one is no number. */
export function numberKind(values: readonly unknown[]): NumberKind | undefined {
  let low = 0;
  let high = 0;
  let integers = true;
  let singles = true;
  for (let index = 0; index < values.length; index++) {
    const value = values[index];
    if (typeof value !== "number") return undefined;
    if (integers) {
      // -0 and NaN are no integers here: `| 0` would lose them.
      if ((value | 0) !== value || (value === 0 && 1 / value < 0)) {
        integers = false;
      } else if (value < low) low = value;
      else if (value > high) high = value;
    }
    if (singles && Math.fround(value) !== value && value === value) {
      singles = false;
    }
  }
  if (!integers) return singles ? "f32" : "f64";
  if (low >= 0 && high < 0x100) return "u8";
  return low >= -0x8000 && high < 0x8000 ? "i16" : "i32";
}

/** Whether an array has nothing but its elements: neither holes nor named properties. */
export function isDense(values: readonly unknown[]): boolean {
  const names = Object.keys(values);
  return (
    names.length === values.length &&
    (names.length === 0 || names[names.length - 1] === `${names.length - 1}`)
  );
}

/** Writes one value. */
class Packer {
  readonly #numbers = new Map<object, number>();
  readonly #steps: (string | number)[] = [];
  readonly #segments: Uint8Array[] = [];
  #offset = 0;

  pack(value: unknown): Uint8Array {
    const skeleton = new TextEncoder().encode(JSON.stringify(this.#guarded(value)));
    const start = padded(HEADER_BYTES + skeleton.length);
    const bytes = new Uint8Array(start + this.#offset);
    const view = new DataView(bytes.buffer);
    view.setUint32(0, MAGIC, true);
    view.setUint32(4, skeleton.length, true);
    bytes.set(skeleton, HEADER_BYTES);
    let offset = start;
    for (const segment of this.#segments) {
      bytes.set(segment, offset);
      offset += padded(segment.length);
    }
    return bytes;
  }

  #guarded(value: unknown): Json {
    try {
      return this.#write(value);
    } catch (cause) {
      if (cause instanceof UncacheableValueError) throw cause;
      throw new UncacheableValueError(
        formatPath("value", this.#steps),
        "something that throws when it is read",
        { cause },
      );
    }
  }

  #refuse(what: string): never {
    throw new UncacheableValueError(formatPath("value", this.#steps), what);
  }

  #write(value: unknown): Json {
    switch (typeof value) {
      case "string":
      case "boolean":
        return value;
      case "number":
        if (Number.isFinite(value) && !Object.is(value, -0)) return value;
        return { $: "number", v: Object.is(value, -0) ? "-0" : `${value}` };
      case "undefined":
        return { $: "undefined" };
      case "bigint":
        // Hexadecimal reads and writes in linear time, decimal does not.
        return {
          $: "bigint",
          v: value < 0n ? `-${(-value).toString(16)}` : value.toString(16),
        };
      case "object":
        return value === null ? null : this.#writeObject(value);
      case "function":
        return this.#refuse("a function");
      default:
        return this.#refuse("a symbol");
    }
  }

  #writeObject(value: object): Json {
    const number = this.#numbers.get(value);
    if (number !== undefined) return { $: "ref", v: number };
    this.#numbers.set(value, this.#numbers.size);
    if (this.#steps.length >= MAX_DEPTH) {
      return this.#refuse(`nested more than ${MAX_DEPTH} objects deep`);
    }
    if (Array.isArray(value)) {
      return isPlainArray(value) ? this.#writeArray(value) : this.#refuseInstance(value);
    }
    return isPlain(value) ? this.#writePlain(value) : this.#writeSpecial(value);
  }

  /** Writes a part of the current object; `step` is where it stands in it. */
  #part(step: string | number, value: unknown): Json {
    this.#steps.push(step);
    const part = this.#write(value);
    this.#steps.pop();
    return part;
  }

  /** Reads and writes a member, so that a getter that throws is named. */
  #member(object: object, name: string, step: string | number = name): Json {
    this.#steps.push(step);
    const part = this.#write(Reflect.get(object, name));
    this.#steps.pop();
    return part;
  }

  #writeArray(value: readonly unknown[]): Json {
    if (value.length >= LONG) {
      const kind = numberKind(value);
      if (kind !== undefined && isDense(value)) {
        const numbers = NUMBER_ARRAYS[kind].from(value as number[]);
        const offset = this.#segment(new Uint8Array(numbers.buffer));
        return { $: kind, v: [offset, numbers.length] };
      }
    }
    if (isDense(value)) {
      return this.#list(value);
    }
    return {
      $: "Array",
      v: [value.length, ...this.#pairs(value, Object.keys(value))],
    };
  }

  // Loops, here and below: `map` would take three frames of the stack for each level of nesting.
  #list(items: readonly unknown[]): Json[] {
    const parts: Json[] = [];
    for (let index = 0; index < items.length; index++) {
      parts.push(this.#part(index, items[index]));
    }
    return parts;
  }

  #pairs(value: object, names: readonly string[]): Json[] {
    const parts: Json[] = [];
    for (const name of names) {
      const index = Array.isArray(value) ? Number(name) : NaN;
      const step = String(index) === name && index >= 0 ? index : name;
      parts.push(name, this.#member(value, name, step));
    }
    return parts;
  }

  #writePlain(value: Record<string, unknown>): Json {
    const names = Object.keys(value);
    if (names.includes("$")) {
      return { $: "Object", v: this.#pairs(value, names) };
    }
    const copy: { [name: string]: Json } = {};
    for (const name of names) {
      const part = this.#member(value, name);
      // Assigning to this one name would set the prototype.
      if (name === "__proto__") define(copy, name, part, true);
      else copy[name] = part;
    }
    return copy;
  }

  #writeSpecial(value: object): Json {
    if (ArrayBuffer.isView(value)) return this.#writeView(value);
    // By prototype, not `instanceof`: what is derived from these classes may hold more than they do.
    switch (Object.getPrototypeOf(value)) {
      case Date.prototype: {
        const time = (value as Date).getTime();
        return { $: "Date", v: Number.isNaN(time) ? null : time };
      }
      case RegExp.prototype: {
        const { source, flags, lastIndex } = value as RegExp;
        // Anything can be assigned to it.
        if (!Number.isInteger(lastIndex) || Object.is(lastIndex, -0)) {
          return this.#refuse("a RegExp whose lastIndex is no whole number");
        }
        return { $: "RegExp", v: [source, flags, lastIndex] };
      }
      case URL.prototype:
        return { $: "URL", v: (value as URL).href };
      case Map.prototype: {
        const parts: Json[] = [];
        for (const [key, item] of value as Map<unknown, unknown>) {
          const step = parts.length / 2;
          parts.push(this.#part(step, key), this.#part(step, item));
        }
        return { $: "Map", v: parts };
      }
      case Set.prototype:
        return {
          $: "Set",
          v: this.#list([...(value as Set<unknown>)]),
        };
      case ArrayBuffer.prototype: {
        const bytes = new Uint8Array(value as ArrayBuffer);
        return { $: "ArrayBuffer", v: [this.#segment(bytes), bytes.length] };
      }
      default:
        return isKnownError(value) ? this.#writeError(value) : this.#refuseInstance(value);
    }
  }

  #writeView(value: ArrayBufferView): Json {
    const type = viewName(value);
    const name = className(value);
    if (name !== type && name !== "Buffer") return this.#refuseInstance(value);
    // Only the bytes of the view: what else its buffer holds is none of the value's business.
    const bytes = new Uint8Array(value.buffer, value.byteOffset, value.byteLength);
    return { $: name, v: [this.#segment(bytes), bytes.length] };
  }

  #writeError(value: Error): Json {
    const hidden: Json[] = [];
    for (const name of KEPT) {
      const own = Object.getOwnPropertyDescriptor(value, name);
      if (own === undefined || own.enumerable) continue;
      // What else somebody has put in its place is nothing that an engine makes.
      if (name === "stack" && typeof value.stack !== "string") continue;
      hidden.push(name, this.#member(value, name));
    }
    const shown = this.#pairs(value, Object.keys(value));
    return { $: "Error", v: [className(value), hidden, shown] };
  }

  #refuseInstance(value: object): never {
    const type = Object.prototype.toString.call(value).slice(8, -1);
    return this.#refuse(type === "Promise" ? "a promise" : `an instance of ${className(value)}`);
  }

  #segment(bytes: Uint8Array): number {
    const offset = this.#offset;
    this.#segments.push(bytes);
    this.#offset += padded(bytes.length);
    return offset;
  }
}

/**
 * Members of an error that are no enumerable properties and still belong to it, in the order in
 * which they are written: that of their making differs between engines.
 */
const KEPT = ["message", "name", "stack", "cause", "errors"] as const;

function isKnownError(value: object): value is Error {
  const prototype: unknown = Object.getPrototypeOf(value);
  return (
    prototype === AggregateError.prototype ||
    [...ERRORS.values()].some((known) => known.prototype === prototype)
  );
}

/**
 * Encodes a value in the compact form.
 *
 * @throws {UncacheableValueError} If a part is a function, a symbol, an instance of some class, or
 * nested deeper than 1,000 objects.
 */
export function pack(value: unknown): Uint8Array {
  return new Packer().pack(value);
}
