/**
 * Copies of arguments, so that a function runs with its arguments as they were at the call.
 *
 * @module
 */

import { isObject, isPlain } from "../base/plain.ts";
import { isAbortSignal } from "../base/signals.ts";
import { contentOf, isArrayBuffer, makerOf } from "./kinds.ts";

/** Arguments that nobody else can change. */
export interface CopiedArguments {
  readonly args: readonly unknown[];
  /** Whether some part could not be copied, and is passed as the object that it is. */
  readonly goesByIdentity: boolean;
}

/**
 * Copies arguments that have a key, unless they hold no object. A copy holds all that the key does,
 * in the same classes: a `Buffer` stays a `Buffer`, an object in two places is copied once, and
 * overlapping views still share their bytes. Objects with `toJSON` are passed as they are.
 *
 * @param signal The replacement of each signal; `undefined` is one that never aborts, so that a
 * function that needs a signal still works.
 */
export function copyArguments(
  args: readonly unknown[],
  signal: AbortSignal | undefined,
): CopiedArguments {
  // The path of most calls, at a tenth of the cost.
  if (!args.some(isObject)) return { args, goesByIdentity: false };
  const first = new Copying(signal);
  const copy = first.all(args);
  return {
    args: first.sharesBuffers ? new Copying(signal, first.merged()).all(args) : copy,
    goesByIdentity: first.keepsObjects,
  };
}

/** A range of the bytes of one buffer, and its copy. */
interface Span {
  readonly start: number;
  end: number;
  bytes?: ArrayBufferLike;
}

/** The ranges that views share, by buffer and by the start of each view. */
type Shared = Map<ArrayBufferLike, ReadonlyMap<number, Span>>;

/** The number of objects up to which a comparison with each is faster than a Map. */
const FEW = 16;

class Copying {
  /** Whether two views or buffers share memory. */
  sharesBuffers = false;
  /** Whether some object is passed as it is. */
  keepsObjects = false;
  #signal: AbortSignal | undefined;
  readonly #shared: Shared | undefined;
  readonly #spans = new Map<ArrayBufferLike, Span[]>();
  readonly #originals: object[] = [];
  readonly #copies: object[] = [];
  #index: Map<object, object> | undefined;

  constructor(signal: AbortSignal | undefined, shared?: Shared) {
    this.#signal = signal;
    this.#shared = shared;
  }

  all(args: readonly unknown[]): unknown[] {
    const copy: unknown[] = [];
    for (let index = 0; index < args.length; index++) copy.push(this.#part(args[index]));
    return copy;
  }

  #part(value: unknown): unknown {
    if (!isObject(value)) return value;
    const known = this.#copyOf(value);
    if (known !== undefined) return known;
    const copy = this.#object(value);
    this.#originals.push(value);
    this.#copies.push(copy);
    this.#index?.set(value, copy);
    return copy;
  }

  #copyOf(value: object): object | undefined {
    const originals = this.#originals;
    if (originals.length > FEW) {
      this.#index ??= new Map(originals.map((original, at) => [original, this.#copies[at]!]));
      return this.#index.get(value);
    }
    for (let index = 0; index < originals.length; index++) {
      if (originals[index] === value) return this.#copies[index];
    }
    return undefined;
  }

  #object(value: object): object {
    if (Array.isArray(value)) return sameClass(this.#array(value), value);
    if (isPlain(value)) return this.#plain(value);
    if (isAbortSignal(value)) return this.#given();
    if (ArrayBuffer.isView(value)) return this.#view(value);
    if (isArrayBuffer(value)) return this.#span(value, 0, value.byteLength).bytes ?? value;
    const content = contentOf(value);
    return content === undefined
      ? this.#kept(value)
      : content.make(content.parts.map((part) => this.#part(part)));
  }

  #given(): AbortSignal {
    return this.#signal ??= new AbortController().signal;
  }

  #kept(value: object): object {
    this.keepsObjects = true;
    return value;
  }

  #array(value: readonly unknown[]): unknown[] {
    const copy: unknown[] = [];
    for (let index = 0; index < value.length; index++) {
      const item = value[index];
      if (item === undefined && !(index in value)) return this.#sparse(value, copy);
      copy.push(this.#part(item));
    }
    return copy;
  }

  /** Goes on at the first hole, and visits only elements. */
  #sparse(value: readonly unknown[], copy: unknown[]): unknown[] {
    const start = copy.length;
    copy.length = value.length;
    for (const name of Object.keys(value)) {
      const index = Number(name);
      if (index >= start) copy[index] = this.#part(value[index]);
    }
    return copy;
  }

  #plain(value: Record<string, unknown>): object {
    if (typeof value["toJSON"] === "function") return this.#kept(value);
    // Spreading reads each member once, and treats even `__proto__` as a name.
    const copy: Record<string, unknown> = { ...value };
    const names = Object.keys(copy);
    for (let index = 0; index < names.length; index++) {
      const name = names[index]!;
      const item = copy[name];
      if (isObject(item)) copy[name] = this.#part(item);
      else if (typeof item === "function" && isAbortSignal(value)) return this.#given();
    }
    return sameClass(copy, value);
  }

  #view(value: ArrayBufferView): object {
    const { start, bytes } = this.#span(value.buffer, value.byteOffset, value.byteLength);
    const maker = makerOf(value);
    const length = Reflect.get(value, "length") ?? value.byteLength;
    const from: unknown = Reflect.get(maker, "from");
    return maker.name === "Buffer" && typeof from === "function"
      ? Reflect.apply(from, maker, [bytes, value.byteOffset - start, length])
      : new maker(bytes, value.byteOffset - start, length);
  }

  /** The range of these bytes, with its copy: their own range, unless other views share it. */
  #span(buffer: ArrayBufferLike, start: number, length: number): Span {
    const shared = this.#shared?.get(buffer)?.get(start);
    const span: Span = shared ?? { start, end: start + length };
    if (shared === undefined) {
      const spans = this.#spans.get(buffer);
      if (spans === undefined) this.#spans.set(buffer, [span]);
      else this.sharesBuffers = spans.push(span) > 1;
    }
    span.bytes ??= buffer.slice(span.start, span.end);
    return span;
  }

  /** The ranges of all views, with those that overlap as one, by the start of each view. */
  merged(): Shared {
    const shared: Shared = new Map();
    for (const [buffer, spans] of this.#spans) {
      const merged = new Map<number, Span>();
      let last: Span = { start: 0, end: 0 };
      for (const { start, end } of spans.toSorted((left, right) => left.start - right.start)) {
        if (start < last.end) last.end = Math.max(last.end, end);
        // At a multiple of 8, because the offset of a view is a multiple of its element width.
        else last = { start: start - start % 8, end };
        merged.set(start, last);
      }
      shared.set(buffer, merged);
    }
    return shared;
  }
}

function sameClass(copy: object, original: object): object {
  const prototype: object | null = Object.getPrototypeOf(original);
  if (prototype !== Object.getPrototypeOf(copy)) Object.setPrototypeOf(copy, prototype);
  return copy;
}
