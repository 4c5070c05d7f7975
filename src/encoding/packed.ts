/**
 * The compact form of values that JSON text does not keep: a JSON skeleton in which everything
 * beyond JSON is a tagged object, followed by the bytes of numeric arrays and buffers. `pack.ts`
 * writes it, `unpack.ts` reads it; this file holds what both must agree on.
 *
 * ```text
 * 0   "PZ1\n"                    magic and version
 * 4   length of the skeleton     unsigned 32 bit, little-endian
 * 8   skeleton                   JSON, UTF-8
 * …   padding to a multiple of 8, then the segments, each padded to a multiple of 8
 * ```
 *
 * Objects are counted in the order in which the skeleton opens them. `{"$":"ref","v":n}` is the
 * n-th of them again, so cycles and shared references survive. Nothing in the form names code:
 * every tag is looked up in a fixed table.
 *
 * No library, because with all their options for structured clone, `cbor-x` 1.6.8 and `msgpackr`
 * 2.1.3 (pure JavaScript, no code generation) lose the sign of -0, holes, lone surrogates, the
 * `lastIndex` of a RegExp, `URL`, `Float16Array` and further members of an error, and rename a
 * member `__proto__`; `cbor-x` also loses error classes, `DataView`, `ArrayBuffer` and cycles
 * through `Map` and `Set`. Both keep cycles of objects, shared parts and long bigints. On 2 KB of
 * text the runtime's own JSON, which does most of the work here, writes more than twice and reads
 * 1.4 times as fast as they do: `bench/codec_bench.ts` compares them.
 *
 * @module
 */

export const MAGIC = 0x0a315a50; // "PZ1\n", little-endian
export const HEADER_BYTES = 8;

/** A result of JSON.parse: the skeleton before it is revived. */
export type Json =
  | null
  | boolean
  | number
  | string
  | Json[]
  | {
    [name: string]: Json;
  };

/** An array of packed numbers. */
export type NumberArray = Uint8Array | Int16Array | Int32Array | Float32Array | Float64Array;

/** The classes of arrays of packed numbers, by tag. */
export interface NumberArrays {
  readonly u8: Uint8ArrayConstructor;
  readonly i16: Int16ArrayConstructor;
  readonly i32: Int32ArrayConstructor;
  readonly f32: Float32ArrayConstructor;
  readonly f64: Float64ArrayConstructor;
}

/** The tags of packed numbers. */
export type NumberKind = keyof NumberArrays;

export const NUMBER_ARRAYS: NumberArrays = {
  u8: Uint8Array,
  i16: Int16Array,
  i32: Int32Array,
  f32: Float32Array,
  f64: Float64Array,
};

/** Errors that structured clone knows, by the name of their class. */
export const ERRORS: ReadonlyMap<string, ErrorConstructor> = new Map([
  ["Error", Error],
  ["EvalError", EvalError],
  ["RangeError", RangeError],
  ["ReferenceError", ReferenceError],
  ["SyntaxError", SyntaxError],
  ["TypeError", TypeError],
  ["URIError", URIError],
]);

/** The start after `length` bytes: a multiple of 8, so that an array of any width can be a view. */
export function padded(length: number): number {
  return Math.ceil(length / 8) * 8;
}

/** Makes a property of any name: an assignment would call a setter such as `__proto__`. */
export function define(target: object, name: string, value: unknown, enumerable: boolean): void {
  Object.defineProperty(target, name, {
    value,
    enumerable,
    writable: true,
    configurable: true,
  });
}
