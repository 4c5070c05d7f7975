/**
 * Reads the compact form of a value; see `packed.ts`.
 *
 * @module
 */

import {
  define,
  ERRORS,
  HEADER_BYTES,
  type Json,
  MAGIC,
  NUMBER_ARRAYS,
  type NumberArray,
  type NumberArrays,
  type NumberKind,
  padded,
} from "./packed.ts";
import { builtin } from "../base/runtime.ts";
import { MAX_DEPTH } from "./shape.ts";

/** The length up to which a sparse array or an object of indices may have a slot for each hole. */
const FEW_SLOTS = 64;

/** The largest index of an array. */
const LAST_INDEX = String(2 ** 32 - 2);

type ViewConstructor = new (buffer: ArrayBuffer) => ArrayBufferView;

/** Views by the name of their class. `Float16Array` is newer than some supported runtimes. */
const VIEWS: ReadonlyMap<string, ViewConstructor> = new Map<string, ViewConstructor>(
  [
    Int8Array,
    Uint8Array,
    Uint8ClampedArray,
    Int16Array,
    Uint16Array,
    Int32Array,
    Uint32Array,
    BigInt64Array,
    BigUint64Array,
    Float32Array,
    Float64Array,
    DataView,
    ...(typeof Float16Array === "function" ? [Float16Array] : []),
  ].map((View) => [View.name, View]),
);

/**
 * The parts of a Map or Set that are added between two looks at the clock: they take 0.1 ms.
 * Engines hash numbers always in the same way, so keys can be chosen to make the time for each part
 * grow with the number of parts before it.
 */
const CHUNK = 1024;

/**
 * The time past which a chunk is slow, and the most that it counts: the process may have slept. One
 * sleep is far from the bound below, and colliding keys reach it at any speed of the machine.
 */
const SLOW_MS = 10;
const SLOWEST_MS = 250;

/** The most time of slow chunks: 1 s, and 0.1 ms for each KB. */
const MAX_SLOW_MS = 1000;
const MAX_SLOW_MS_PER_BYTE = 1e-4;

function malformed(what: string): never {
  throw new SyntaxError(what);
}

/** Reads one value. */
class Unpacker {
  readonly #objects: object[] = [];
  readonly #bytes: Uint8Array;
  readonly #start: number;
  /** The start of the next segment. */
  #next: number;
  #depth = 0;
  #slowMs = 0;

  constructor(bytes: Uint8Array, start: number) {
    this.#bytes = bytes;
    this.#start = start;
    this.#next = start;
  }

  /** The value, if it uses all bytes. */
  whole(json: Json): unknown {
    const value = this.revive(json);
    if (this.#next !== this.#bytes.length) malformed("another length");
    return value;
  }

  revive(json: Json): unknown {
    if (typeof json !== "object" || json === null) return json;
    if (++this.#depth > MAX_DEPTH + 1) malformed("nested too deep");
    const value = Array.isArray(json)
      ? this.#all(this.#made(json))
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

  #revivePlain(json: { [name: string]: Json }): object {
    const object: Record<string, unknown> = this.#made(json);
    for (const name of Object.keys(json)) {
      const item = json[name]!;
      if (typeof item !== "object" || item === null) continue;
      // The name is already an own property, so the assignment never reaches a setter.
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
        return (
          (typeof v === "number" ? this.#objects[v] : undefined) ??
            malformed("a reference to nothing")
        );
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
    return text.startsWith("-") ? -BigInt(`0x${text.slice(1)}`) : BigInt(`0x${text}`);
  }

  #regExp([source, flags, lastIndex]: Json[]): RegExp {
    const pattern = this.#made(new RegExp(textOf(source), textOf(flags)));
    pattern.lastIndex = numberOf(lastIndex);
    return pattern;
  }

  /** Defines members from a flat list of names and values. */
  #assign<T extends object>(target: T, pairs: Json[], enumerable: boolean): T {
    if (pairs.length % 2 !== 0) malformed("a name without a value");
    let mayHaveSlots = !Array.isArray(target);
    for (let index = 0; index < pairs.length; index += 2) {
      const name = textOf(pairs[index]);
      if (mayHaveSlots && isFarIndex(name)) {
        // As for arrays: V8 gives an object thousands of slots for a few members far apart.
        define(target, LAST_INDEX, undefined, true);
        Reflect.deleteProperty(target, LAST_INDEX);
        mayHaveSlots = false;
      }
      define(target, name, this.revive(pairs[index + 1]!), enumerable);
    }
    return target;
  }

  #array([length, ...pairs]: Json[]): unknown[] {
    const size = numberOf(length);
    if (!(Number.isInteger(size) && size >= 0 && size < 2 ** 32)) {
      malformed("an impossible length");
    }
    const array: unknown[] = this.#made([]);
    // The longest length first makes every engine use a sparse table. Set directly, a length of
    // millions would take as many slots, and a few bytes must not cause that.
    if (size > FEW_SLOTS) array.length = 2 ** 32 - 1;
    array.length = size;
    this.#assign(array, pairs, true);
    if (array.length !== size) malformed("an element beyond the length");
    return array;
  }

  #map(parts: Json[]): Map<unknown, unknown> {
    if (parts.length % 2 !== 0) malformed("a key without a value");
    const map = this.#made(new Map<unknown, unknown>());
    const revived = this.#all(parts);
    this.#inChunks(parts.length / 2, (index) => {
      map.set(revived[2 * index], revived[2 * index + 1]);
    });
    return map;
  }

  #set(items: Json[]): Set<unknown> {
    const set = this.#made(new Set<unknown>());
    const revived = this.#all(items);
    this.#inChunks(items.length, (index) => {
      set.add(revived[index]);
    });
    return set;
  }

  /** Revives in place, because nobody else has the result of JSON.parse. */
  #all(items: Json[]): unknown[] {
    const revived: unknown[] = items;
    for (let index = 0; index < revived.length; index++) {
      const item = items[index]!;
      if (typeof item === "object") revived[index] = this.revive(item);
    }
    return revived;
  }

  /** Adds parts, and stops when that takes longer than honest data can. */
  #inChunks(count: number, put: (index: number) => void): void {
    let since = count > CHUNK ? performance.now() : 0;
    for (let index = 0; index < count; index++) {
      put(index);
      if ((index + 1) % CHUNK !== 0) continue;
      const now = performance.now();
      if (now - since > SLOW_MS) this.#slowMs += Math.min(now - since, SLOWEST_MS);
      const most = MAX_SLOW_MS + this.#bytes.length * MAX_SLOW_MS_PER_BYTE;
      if (this.#slowMs > most) malformed("keys that collide");
      since = now;
    }
  }

  #error([type, hidden, shown]: Json[]): Error {
    const name = textOf(type);
    const error = this.#made(
      withoutStack(() =>
        name === "AggregateError"
          ? new AggregateError([])
          : new (ERRORS.get(name) ?? malformed("an unknown error"))()
      ),
    );
    // Bun adds the place where an error is made, which would be this one.
    for (const own of Object.getOwnPropertyNames(error)) {
      Reflect.deleteProperty(error, own);
    }
    this.#assign(error, listOf(hidden), false);
    return this.#assign(error, listOf(shown), true);
  }

  /**
   * The start and length of a segment. Segments stand in the order in which the skeleton names
   * them. Two tags never share one, so that a few bytes cannot take much memory.
   */
  #locate(v: Json | undefined, width: number): { begin: number; count: number } {
    const [offset, size] = listOf(v);
    const begin = this.#next;
    const count = numberOf(size);
    if (begin - this.#start !== numberOf(offset)) {
      malformed("a segment out of order");
    }
    if (!Number.isInteger(count) || count < 0 || begin + count * width > this.#bytes.length) {
      malformed("bytes beyond the end");
    }
    this.#next = begin + padded(count * width);
    return { begin, count };
  }

  #buffer(v: Json | undefined): ArrayBuffer {
    const { begin, count } = this.#locate(v, 1);
    return this.#copy(begin, count);
  }

  /** A copy of bytes, which starts at a multiple of 8. */
  #copy(begin: number, length: number): ArrayBuffer {
    const copy = new Uint8Array(length);
    // Not `slice`, because that of Node's Buffer does not copy.
    copy.set(this.#bytes.subarray(begin, begin + length));
    return copy.buffer;
  }

  #view(name: string, v: Json | undefined): ArrayBufferView {
    const buffer = this.#buffer(v);
    if (name === "Buffer") {
      const node = builtin("node:buffer");
      return this.#made(node === undefined ? new Uint8Array(buffer) : node.Buffer.from(buffer));
    }
    const View = VIEWS.get(name) ?? malformed("an unknown type");
    return this.#made(new View(buffer));
  }

  #numbers(Numbers: NumberArrays[NumberKind], v: Json | undefined): number[] {
    const width = Numbers.BYTES_PER_ELEMENT;
    const { begin, count } = this.#locate(v, width);
    const at = this.#bytes.byteOffset + begin;
    const packed: NumberArray = at % width === 0 && this.#bytes.buffer instanceof ArrayBuffer
      ? new Numbers(this.#bytes.buffer, at, count)
      : new Numbers(this.#copy(begin, count * width));
    const numbers: number[] = new Array(count);
    for (let index = 0; index < count; index++) numbers[index] = packed[index]!;
    return numbers;
  }
}

/** Makes an error without frames: a few bytes must not cause thousands of them. */
function withoutStack<Made extends Error>(make: () => Made): Made {
  const { stackTraceLimit } = Error;
  // Fails without an exception where a program has frozen its globals.
  Reflect.set(Error, "stackTraceLimit", 0);
  try {
    return make();
  } finally {
    Reflect.set(Error, "stackTraceLimit", stackTraceLimit);
  }
}

/** Whether a name is an index beyond {@linkcode FEW_SLOTS}. */
function isFarIndex(name: string): boolean {
  return Number(name) >= FEW_SLOTS && /^[1-9][0-9]{0,9}$/.test(name);
}

function textOf(json: Json | undefined): string {
  return typeof json === "string" ? json : malformed("no text where text belongs");
}

function numberOf(json: Json | undefined): number {
  return typeof json === "number" ? json : malformed("no number where one belongs");
}

function listOf(json: Json | undefined): Json[] {
  return Array.isArray(json) ? json : malformed("no list where one belongs");
}

/**
 * Decodes the compact form.
 *
 * Any bytes take at most 256 KB of memory and 100 bytes for each of them, and at most 2 s and 1 µs
 * for each of them.
 *
 * @throws {Error} If `pack` did not write the bytes: a built-in error that names the fault.
 */
export function unpack(bytes: Uint8Array): unknown {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (bytes.length < HEADER_BYTES || view.getUint32(0, true) !== MAGIC) {
    malformed("another form");
  }
  const end = HEADER_BYTES + view.getUint32(4, true);
  if (end > bytes.length) malformed("it breaks off");
  const text = new TextDecoder("utf-8", { fatal: true }).decode(bytes.subarray(HEADER_BYTES, end));
  return new Unpacker(bytes, padded(end)).whole(JSON.parse(text) as Json);
}
