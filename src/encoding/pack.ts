/**
 * Writes the compact form of a value; see `packed.ts`.
 *
 * @module
 */

import { UncacheableValueError } from "../base/errors.ts";
import {
  define,
  HEADER_BYTES,
  type Json,
  MAGIC,
  NUMBER_ARRAYS,
  type NumberKind,
  padded,
} from "./packed.ts";
import { isPlain, isPlainArray } from "../base/plain.ts";
import { isStream } from "../base/stream.ts";
import { bytesName, bytesOf, contentOf, errorName, isRawJson, listOf, tagOf } from "./kinds.ts";
import { className, isDense, MAX_DEPTH, Trail } from "./shape.ts";

/** The length from which arrays of numbers are packed: 128 numbers parse as fast as they unpack. */
export const LONG = 128;

/** The tag of the narrowest array for these numbers; `undefined` if one is not a number. */
export function numberKind(values: readonly unknown[]): NumberKind | undefined {
  let low = 0;
  let high = 0;
  let integers = true;
  let singles = true;
  for (let index = 0; index < values.length; index++) {
    const value = values[index];
    if (typeof value !== "number") return undefined;
    if (integers) {
      // -0 and NaN do not count as integers, because `| 0` would lose them.
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

/** Writes one value, and knows its place in it. */
class Packer extends Trail {
  readonly #numbers = new Map<object, number>();
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

  /** Replaces an error of the caller's code, which may hold data, by one that names the place. */
  #guarded(value: unknown): Json {
    try {
      return this.#write(value);
    } catch (error) {
      if (error instanceof UncacheableValueError) throw error;
      return this.#refuse("something that throws when it is read");
    }
  }

  #refuse(what: string): never {
    throw new UncacheableValueError(this.path, what);
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
        // Hexadecimal is read and written in linear time, decimal is not.
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
    const depth = this.around.length;
    if (depth >= MAX_DEPTH) {
      return this.#refuse(`nested more than ${MAX_DEPTH} objects deep`);
    }
    this.around.push(value);
    const json = this.#writeContent(value);
    this.around.length = depth;
    this.steps.length = depth;
    return json;
  }

  #writeContent(value: object): Json {
    if (Array.isArray(value)) {
      return isPlainArray(value) ? this.#writeArray(value) : this.#refuseInstance(value);
    }
    if (isRawJson(value)) return this.#refuse("raw JSON, which no value can be read from");
    return isPlain(value) ? this.#writePlain(value) : this.#writeSpecial(value);
  }

  /** Writes a part of the current object; `step` is its place in the object. */
  #part(step: string | number, value: unknown): Json {
    this.steps[this.around.length - 1] = step;
    return this.#write(value);
  }

  /** Reads and writes a member, so that a getter that throws is named. */
  #member(object: object, name: string, step: string | number = name): Json {
    this.steps[this.around.length - 1] = step;
    return this.#write(Reflect.get(object, name));
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

  // Here and below not `map`, which takes three stack frames for each level of nesting.
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
      // An assignment to this name would set the prototype.
      if (name === "__proto__") define(copy, name, part, true);
      else copy[name] = part;
    }
    return copy;
  }

  #writeSpecial(value: object): Json {
    const bytes = bytesName(value);
    if (bytes !== undefined) {
      // Only the bytes of the view: the rest of its buffer is not part of the value.
      const segment = bytesOf(value);
      return { $: bytes, v: [this.#segment(segment), segment.length] };
    }
    const error = errorName(value);
    if (error !== undefined) return this.#writeError(error, value);
    const { name, parts } = contentOf(value) ?? { name: undefined, parts: [] };
    switch (name) {
      case "Date":
      case "URL":
        return { $: name, v: this.#part(0, parts[0]) };
      case "RegExp":
        // Anything can be assigned to it.
        if (!Number.isInteger(parts[2]) || Object.is(parts[2], -0)) {
          return this.#refuse("a RegExp whose lastIndex is not a whole number");
        }
        return { $: name, v: this.#list(parts) };
      case "Set":
        return { $: name, v: this.#list(parts) };
      case "Map":
        return { $: name, v: this.#entries(parts) };
      default:
        return this.#refuseInstance(value);
    }
  }

  #entries(pairs: readonly unknown[]): Json[] {
    const parts: Json[] = [];
    for (let index = 0; index < pairs.length; index++) {
      const [key, item] = listOf(pairs[index]);
      parts.push(this.#part(index, key), this.#part(index, item));
    }
    return parts;
  }

  #writeError(type: string, value: object): Json {
    const hidden: Json[] = [];
    for (const name of KEPT) {
      const own = Object.getOwnPropertyDescriptor(value, name);
      if (own === undefined || own.enumerable) continue;
      // Engines make texts; user code has replaced anything else.
      if (name === "stack" && typeof Reflect.get(value, name) !== "string") continue;
      hidden.push(name, this.#member(value, name));
    }
    const shown = this.#pairs(value, Object.keys(value));
    return { $: "Error", v: [type, hidden, shown] };
  }

  #refuseInstance(value: object): never {
    if (isStream(value)) {
      throw new UncacheableValueError(
        this.path,
        "a stream, which is read once",
        "wrap the function with cache.stream(options)(fn), or return the items that you need",
      );
    }
    return this.#refuse(
      tagOf(value) === "Promise" ? "a promise" : `an instance of ${className(value)}`,
    );
  }

  #segment(bytes: Uint8Array): number {
    const offset = this.#offset;
    this.#segments.push(bytes);
    this.#offset += padded(bytes.length);
    return offset;
  }
}

/**
 * The members of an error that are kept though not enumerable, in the order in which they are
 * written, because engines create them in different orders.
 */
const KEPT = ["message", "name", "stack", "cause", "errors"] as const;

/**
 * Encodes a value in the compact form.
 *
 * @throws {UncacheableValueError} If a part is a function, a symbol, an instance of some class, or
 * nested deeper than 1,000 objects.
 */
export function pack(value: unknown): Uint8Array {
  return new Packer("value").pack(value);
}
