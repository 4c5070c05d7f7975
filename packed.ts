/**
 * The compact form of values that JSON text does not keep: a JSON skeleton in which everything
 * beyond JSON is a tagged object, followed by the bytes of numeric arrays and buffers.
 *
 * ```text
 * 0   "PZ1\n"                    magic and version
 * 4   length of the skeleton     unsigned 32 bit, little-endian
 * 8   skeleton                   JSON, UTF-8
 * …   padding to a multiple of 8, then the segments, each padded to a multiple of 8
 * ```
 *
 * Objects are counted in the order in which the skeleton opens them, and `{"$":"ref","v":n}` is the
 * n-th of them again: so cycles and shared references survive. Nothing in it names code: every
 * tag is looked up in a fixed table.
 *
 * Why not a library: with all their options for structured clone, `cbor-x` 1.6.8 and `msgpackr`
 * 2.1.3 (pure JavaScript, no code generation) lose the sign of -0, holes, lone surrogates, the
 * `lastIndex` of a RegExp, `URL`, `Float16Array` and further members of an error, and rename a
 * member `__proto__`; `cbor-x` also loses error classes, `DataView`, `ArrayBuffer` and cycles
 * through `Map` and `Set`. Both keep cycles of objects, shared parts and long bigints. On 2 KB of
 * text the runtime's own JSON, which does most of the work here, writes more than twice and reads
 * 1.4 times as fast as they do: `bench/codec_bench.ts` compares them.
 *
 * @module
 */

import { UncacheableValueError } from "./errors.ts";
import { builtin } from "./runtime.ts";
import {
  className,
  formatPath,
  isPlain,
  isPlainArray,
  MAX_DEPTH,
  viewName,
} from "./shape.ts";

/** From this length on an array of numbers is packed: 128 numbers parse as fast as they unpack. */
export const LONG = 128;

const MAGIC = 0x0a315a50; // "PZ1\n", little-endian
const HEADER_BYTES = 8;

/** A sparse array up to this length may have a slot for each hole. */
const FEW_SLOTS = 64;

/** What JSON.parse gives: the skeleton before it is revived. */
type Json = null | boolean | number | string | Json[] | {
  [name: string]: Json;
};

type NumberArray =
  | Uint8Array
  | Int16Array
  | Int32Array
  | Float32Array
  | Float64Array;

/** The tags of packed numbers. */
type NumberKind = "u8" | "i16" | "i32" | "f32" | "f64";

/** The narrowest array that keeps every number exactly, by tag. */
const NUMBER_ARRAYS = {
  u8: Uint8Array,
  i16: Int16Array,
  i32: Int32Array,
  f32: Float32Array,
  f64: Float64Array,
} as const;

/** Errors that structured clone knows, by the name of their class. */
const ERRORS = {
  Error,
  EvalError,
  RangeError,
  ReferenceError,
  SyntaxError,
  TypeError,
  URIError,
} as const;

type ViewConstructor = new (buffer: ArrayBuffer) => ArrayBufferView;

/** Views that the runtime has, by the name of their class: Float16Array is younger than the rest. */
function viewConstructor(name: string): ViewConstructor | undefined {
  switch (name) {
    case "Int8Array":
      return Int8Array;
    case "Uint8Array":
      return Uint8Array;
    case "Uint8ClampedArray":
      return Uint8ClampedArray;
    case "Int16Array":
      return Int16Array;
    case "Uint16Array":
      return Uint16Array;
    case "Int32Array":
      return Int32Array;
    case "Uint32Array":
      return Uint32Array;
    case "BigInt64Array":
      return BigInt64Array;
    case "BigUint64Array":
      return BigUint64Array;
    case "Float32Array":
      return Float32Array;
    case "Float64Array":
      return Float64Array;
    case "DataView":
      return DataView;
    case "Float16Array":
      return Reflect.get(globalThis, name) as ViewConstructor | undefined;
    default:
      return undefined;
  }
}

function padded(length: number): number {
  return Math.ceil(length / 8) * 8;
}

/** The tag of the narrowest array for these numbers; `undefined` if one is no number. */
export function numberKind(
  values: readonly unknown[],
): NumberKind | undefined {
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
  return names.length === values.length &&
    (names.length === 0 || names[names.length - 1] === `${names.length - 1}`);
}

/** Writes one value. */
class Packer {
  readonly #numbers = new Map<object, number>();
  readonly #steps: (string | number)[] = [];
  readonly #segments: Uint8Array[] = [];
  #offset = 0;

  pack(value: unknown): Uint8Array {
    const skeleton = new TextEncoder().encode(
      JSON.stringify(this.#guarded(value)),
    );
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
      return isPlainArray(value)
        ? this.#writeArray(value)
        : this.#refuseInstance(value);
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
          v: this.#list([...value as Set<unknown>]),
        };
      case ArrayBuffer.prototype: {
        const bytes = new Uint8Array(value as ArrayBuffer);
        return { $: "ArrayBuffer", v: [this.#segment(bytes), bytes.length] };
      }
      default:
        return isKnownError(value)
          ? this.#writeError(value)
          : this.#refuseInstance(value);
    }
  }

  #writeView(value: ArrayBufferView): Json {
    const type = viewName(value);
    const name = className(value);
    if (name !== type && name !== "Buffer") return this.#refuseInstance(value);
    // Only the bytes of the view: what else its buffer holds is none of the value's business.
    const bytes = new Uint8Array(
      value.buffer,
      value.byteOffset,
      value.byteLength,
    );
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
    return this.#refuse(
      type === "Promise" ? "a promise" : `an instance of ${className(value)}`,
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
 * Members of an error that are no enumerable properties and still belong to it, in the order in
 * which they are written: that of their making differs between engines.
 */
const KEPT = ["message", "name", "stack", "cause", "errors"] as const;

function isKnownError(value: object): value is Error {
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === AggregateError.prototype ||
    Object.values(ERRORS).some((known) => known.prototype === prototype);
}

function define(
  target: object,
  name: string,
  value: unknown,
  enumerable: boolean,
): void {
  Object.defineProperty(target, name, {
    value,
    enumerable,
    writable: true,
    configurable: true,
  });
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

/** Says what is wrong with the bytes. */
function malformed(what: string): never {
  throw new SyntaxError(what);
}

/** Reads one value. */
class Unpacker {
  readonly #objects: object[] = [];
  readonly #bytes: Uint8Array;
  readonly #start: number;
  /** Where the next segment begins. */
  #next: number;
  #depth = 0;

  constructor(bytes: Uint8Array, start: number) {
    this.#bytes = bytes;
    this.#start = start;
    this.#next = start;
  }

  /** The value, once all bytes are used up. */
  whole(json: Json): unknown {
    const value = this.revive(json);
    if (this.#next !== this.#bytes.length) malformed("another length");
    return value;
  }

  revive(json: Json): unknown {
    if (typeof json !== "object" || json === null) return json;
    if (++this.#depth > MAX_DEPTH + 1) malformed("nested too deep");
    const value = Array.isArray(json)
      ? this.#reviveArray(json)
      : Object.hasOwn(json, "$")
      ? this.#reviveTagged(json["$"], json["v"])
      : this.#revivePlain(json);
    this.#depth--;
    return value;
  }

  #made<T extends object>(object: T): T {
    this.#objects.push(object);
    return object;
  }

  /** In place: what JSON.parse made belongs to nobody else. */
  #reviveArray(json: Json[]): unknown[] {
    const array: unknown[] = this.#made(json);
    for (let index = 0; index < array.length; index++) {
      const item = json[index]!;
      if (typeof item === "object") array[index] = this.revive(item);
    }
    return array;
  }

  #revivePlain(json: { [name: string]: Json }): object {
    const object: Record<string, unknown> = this.#made(json);
    for (const name of Object.keys(json)) {
      const item = json[name]!;
      if (typeof item !== "object" || item === null) continue;
      // The name is an own property already, so that assigning never reaches a setter.
      object[name] = this.revive(item);
    }
    return object;
  }

  #reviveTagged(tag: Json | undefined, v: Json | undefined): unknown {
    switch (tag) {
      case "undefined":
        return undefined;
      case "number":
        return this.#number(v);
      case "bigint":
        return this.#bigint(v);
      case "ref":
        return (typeof v === "number" ? this.#objects[v] : undefined) ??
          malformed("a reference to nothing");
      case "Date":
        return this.#made(new Date(v === null ? NaN : numberOf(v)));
      case "URL":
        return this.#made(new URL(textOf(v)));
      case "RegExp":
        return this.#regExp(listOf(v));
      case "Object":
        return this.#assign(this.#made({}), listOf(v), true);
      case "Array":
        return this.#array(listOf(v));
      case "Map":
        return this.#map(listOf(v));
      case "Set":
        return this.#set(listOf(v));
      case "Error":
        return this.#error(listOf(v));
      case "ArrayBuffer":
        return this.#made(this.#buffer(v));
      case "u8":
      case "i16":
      case "i32":
      case "f32":
      case "f64":
        return this.#made(this.#numbers(NUMBER_ARRAYS[tag], v));
      default:
        return this.#view(textOf(tag), v);
    }
  }

  #number(v: Json | undefined): number {
    switch (v) {
      case "NaN":
        return NaN;
      case "Infinity":
        return Infinity;
      case "-Infinity":
        return -Infinity;
      case "-0":
        return -0;
      default:
        return malformed("an unknown number");
    }
  }

  #bigint(v: Json | undefined): bigint {
    const text = textOf(v);
    if (!/^-?[0-9a-f]+$/.test(text)) malformed("an unknown bigint");
    return text.startsWith("-")
      ? -BigInt(`0x${text.slice(1)}`)
      : BigInt(`0x${text}`);
  }

  #regExp([source, flags, lastIndex]: Json[]): RegExp {
    const pattern = this.#made(new RegExp(textOf(source), textOf(flags)));
    pattern.lastIndex = numberOf(lastIndex);
    return pattern;
  }

  /** Defines members from a flat list of names and values. */
  #assign<T extends object>(target: T, pairs: Json[], enumerable: boolean): T {
    if (pairs.length % 2 !== 0) malformed("a name without a value");
    for (let index = 0; index < pairs.length; index += 2) {
      define(
        target,
        textOf(pairs[index]),
        this.revive(pairs[index + 1]!),
        enumerable,
      );
    }
    return target;
  }

  #array([length, ...pairs]: Json[]): unknown[] {
    const size = numberOf(length);
    if (!(Number.isInteger(size) && size >= 0 && size < 2 ** 32)) {
      malformed("an impossible length");
    }
    const array: unknown[] = this.#made([]);
    // The longest length first makes every engine take a sparse table; set at once, a length of
    // millions would be as many slots, which a few bytes must not be able to ask for.
    if (size > FEW_SLOTS) array.length = 2 ** 32 - 1;
    array.length = size;
    this.#assign(array, pairs, true);
    if (array.length !== size) malformed("an element beyond the length");
    return array;
  }

  #map(parts: Json[]): Map<unknown, unknown> {
    if (parts.length % 2 !== 0) malformed("a key without a value");
    const map = this.#made(new Map<unknown, unknown>());
    for (let index = 0; index < parts.length; index += 2) {
      map.set(this.revive(parts[index]!), this.revive(parts[index + 1]!));
    }
    return map;
  }

  #set(items: Json[]): Set<unknown> {
    const set = this.#made(new Set<unknown>());
    for (const item of items) set.add(this.revive(item));
    return set;
  }

  #error([type, hidden, shown]: Json[]): Error {
    const name = textOf(type);
    const error = this.#made(
      name === "AggregateError"
        ? new AggregateError([])
        : Object.hasOwn(ERRORS, name)
        ? new ERRORS[name as keyof typeof ERRORS]()
        : malformed("an unknown error"),
    );
    // Where the error was made, not where it was read: a stack, and in Bun line, column and URL.
    for (const own of Object.getOwnPropertyNames(error)) {
      Reflect.deleteProperty(error, own);
    }
    this.#assign(error, listOf(hidden), false);
    return this.#assign(error, listOf(shown), true);
  }

  /**
   * Where the bytes of a segment begin. Segments stand in the order in which the skeleton names
   * them: two tags never share one, so that a few bytes cannot ask for much memory.
   */
  #locate(
    v: Json | undefined,
    width: number,
  ): { begin: number; count: number } {
    const [offset, size] = listOf(v);
    const begin = this.#next;
    const count = numberOf(size);
    if (begin - this.#start !== numberOf(offset)) {
      malformed("a segment out of order");
    }
    if (
      !Number.isInteger(count) || count < 0 ||
      begin + count * width > this.#bytes.length
    ) malformed("bytes beyond the end");
    this.#next = begin + padded(count * width);
    return { begin, count };
  }

  #buffer(v: Json | undefined): ArrayBuffer {
    const { begin, count } = this.#locate(v, 1);
    return this.#copy(begin, count);
  }

  /** A copy of bytes, which starts at a multiple of 8 whatever they lie in. */
  #copy(begin: number, length: number): ArrayBuffer {
    const copy = new Uint8Array(length);
    // Not `slice`: the one of Node's Buffer copies nothing.
    copy.set(this.#bytes.subarray(begin, begin + length));
    return copy.buffer;
  }

  #view(name: string, v: Json | undefined): ArrayBufferView {
    const buffer = this.#buffer(v);
    if (name === "Buffer") {
      const node = builtin("node:buffer");
      return this.#made(
        node === undefined ? new Uint8Array(buffer) : node.Buffer.from(buffer),
      );
    }
    const View = viewConstructor(name) ?? malformed("an unknown type");
    return this.#made(new View(buffer));
  }

  #numbers(
    Numbers: (typeof NUMBER_ARRAYS)[keyof typeof NUMBER_ARRAYS],
    v: Json | undefined,
  ): number[] {
    const width = Numbers.BYTES_PER_ELEMENT;
    const { begin, count } = this.#locate(v, width);
    const at = this.#bytes.byteOffset + begin;
    const packed: NumberArray =
      at % width === 0 && this.#bytes.buffer instanceof ArrayBuffer
        ? new Numbers(this.#bytes.buffer, at, count)
        : new Numbers(this.#copy(begin, count * width));
    const numbers: number[] = new Array(count);
    for (let index = 0; index < count; index++) numbers[index] = packed[index]!;
    return numbers;
  }
}

function textOf(json: Json | undefined): string {
  return typeof json === "string"
    ? json
    : malformed("no text where text belongs");
}

function numberOf(json: Json | undefined): number {
  return typeof json === "number"
    ? json
    : malformed("no number where one belongs");
}

function listOf(json: Json | undefined): Json[] {
  return Array.isArray(json) ? json : malformed("no list where one belongs");
}

/**
 * Decodes the compact form.
 *
 * @throws {Error} If the bytes are not what `pack` writes: a built-in error that says what is wrong.
 */
export function unpack(bytes: Uint8Array): unknown {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (bytes.length < HEADER_BYTES || view.getUint32(0, true) !== MAGIC) {
    malformed("another form");
  }
  const end = HEADER_BYTES + view.getUint32(4, true);
  if (end > bytes.length) malformed("it breaks off");
  const text = new TextDecoder("utf-8", { fatal: true }).decode(
    bytes.subarray(HEADER_BYTES, end),
  );
  return new Unpacker(bytes, padded(end)).whole(JSON.parse(text) as Json);
}
