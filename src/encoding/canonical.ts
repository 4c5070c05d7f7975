/**
 * Arguments to canonical text. `hash.ts` has the table of the text of each value.
 *
 * @module
 */

import { toBase64 } from "../base/base64.ts";
import { UnhashableArgumentError } from "../base/errors.ts";
import { isPlain, isPlainArray } from "../base/plain.ts";
import { isAbortSignal } from "../base/signals.ts";
import { digest } from "./digest.ts";
import {
  bytesName,
  bytesOf,
  type Content,
  contentOf,
  isDerived,
  isRawJson,
  ownMember,
  tagOf,
} from "./kinds.ts";
import { className, hasSymbols, isDense, MAX_DEPTH, Trail } from "./shape.ts";
import { sortedCopy } from "./sorted.ts";

/** Printable ASCII without quote and backslash: JSON writes it unchanged, and it is well-formed. */
const PLAIN_TEXT = /^[\x20\x21\x23-\x5b\x5d-\x7e]*$/;

/** The length below which a test and a copy beat a call of JSON.stringify. */
const SHORT = 64;

/** The longest text of a key, in code units. */
const MAX_TEXT = 256 * 2 ** 20;

const UNDEFINED = '{"$":"undefined"}';

/**
 * Writes an argument array as canonical text.
 *
 * @param args The arguments of a call, in order.
 * @returns The text whose SHA-256 is the key, up to 256 MiB.
 * @throws {UnhashableArgumentError} If a part has no stable identity or more than the key can hold:
 * functions, symbols, promises, streams, class instances without `toJSON`, members with a symbol
 * for a name, cycles, more than 1,000 nested objects, more than 256 MiB of text.
 *
 * @category Keys
 * @example Types never collide
 * ```ts
 * import { canonicalize } from "@panza/panza/hash";
 * import { assertEquals } from "@std/assert";
 *
 * const texts = [1, "1", 1n, [1], new Set([1])].map((value) => canonicalize([value]));
 * assertEquals(new Set(texts).size, 5);
 * ```
 */
export function canonicalize(args: readonly unknown[]): string {
  return canonicalArguments(args);
}

/** The canonical text of arguments; `signals` receives every abort signal among them. */
export function canonicalArguments(
  args: readonly unknown[],
  signals: AbortSignal[] = [],
): string {
  return plainText(args, 0) ?? new Writer("args", signals).arguments(args);
}

/**
 * The canonical text of a value that stands for a call or a part of it; `name` begins its path.
 * `undefined` is refused: a function that forgets to return would make all calls the same.
 */
export function canonicalValue(value: unknown, name: string): string {
  return new Writer(name, []).value(value);
}

/** The text of plain JSON data; `undefined` for everything else. */
function plainText(value: object, depth: number): string | undefined {
  try {
    const copy = sortedCopy(value, depth);
    if (copy === undefined) return undefined;
    const text = JSON.stringify(copy);
    // An escaped lone surrogate, which needs a tag; a false alarm only costs time.
    return text.includes("\\ud") || text.length > MAX_TEXT ? undefined : text;
  } catch {
    // A part that throws here throws again in the Writer, which knows its place.
    return undefined;
  }
}

/**
 * The depth of the parts of an argument. Where all arguments together are not plain data, these
 * parts are tried alone, because the runtime writes them faster. Trying at every depth would
 * multiply the cost of parts that are not JSON by the depth.
 */
const TRIED = 2;

/** The number of objects after which a part that stands in many places is written once. */
const MANY = 1000;

/** Writes one text, and knows where it stands. */
class Writer extends Trail {
  readonly #signals: AbortSignal[];
  readonly #texts = new Map<object, string>();
  #objects = 0;

  constructor(root: string, signals: AbortSignal[]) {
    super(root);
    this.#signals = signals;
  }

  arguments(args: readonly unknown[]): string {
    return this.#guarded(() => {
      this.around.push(args);
      const parts: string[] = [];
      let present = 0;
      for (let index = 0; index < args.length; index++) {
        this.steps[0] = index;
        const part = this.#write(args[index]);
        parts.push(part ?? UNDEFINED);
        // An absent argument counts only if a later one is present.
        if (part !== undefined) present = parts.length;
      }
      return `[${this.#list(parts.slice(0, present))}]`;
    });
  }

  value(value: unknown): string {
    return this.#guarded(() =>
      this.#write(value) ?? this.#refuse("undefined, which is the same for every call")
    );
  }

  /** Replaces an error of the caller's code, which may hold data, by one that names the place. */
  #guarded(write: () => string): string {
    try {
      return write();
    } catch (error) {
      if (error instanceof UnhashableArgumentError) throw error;
      return this.#refuse("something that throws when it is read");
    }
  }

  #refuse(what: string): never {
    throw new UnhashableArgumentError(this.path, what);
  }

  #refuseLength(): never {
    return this.#refuse("longer than 256 MiB as text");
  }

  /** The parts of the current object, with commas between them. */
  #list(parts: readonly string[]): string {
    let text = "";
    // Not `join`: a text that is added to shares its memory, at every depth.
    for (const part of parts) {
      text += text === "" ? part : `,${part}`;
      if (text.length <= MAX_TEXT) continue;
      this.steps.length = this.around.length - 1;
      this.#refuseLength();
    }
    return text;
  }

  /** The text of any value; `undefined` when it counts as absent. */
  #write(value: unknown): string | undefined {
    switch (typeof value) {
      case "string":
        return value.length > MAX_TEXT ? this.#refuseLength() : writeString(value);
      case "number":
        // ECMAScript's shortest decimal form is that of RFC 8785; `${-0}` is "0".
        return Number.isFinite(value) ? `${value}` : tagged("number", `"${value}"`);
      case "boolean":
        return value ? "true" : "false";
      case "undefined":
        return undefined;
      case "bigint":
        return tagged("bigint", `"${value}"`);
      case "object":
        return value === null ? "null" : this.#writeObject(value);
      case "function":
        return this.#refuse("a function, which has no identity across runs");
      default:
        return this.#refuse("a symbol, which has no identity across runs");
    }
  }

  /** The text of a value where an absent one still needs a text. */
  #writePart(value: unknown): string {
    return this.#write(value) ?? UNDEFINED;
  }

  #writeObject(value: object): string | undefined {
    const { around } = this;
    const depth = around.length;
    if (this.#objects > MANY) {
      const text = this.#texts.get(value);
      if (text !== undefined) return text;
    }
    if (depth === 0 || depth === TRIED) {
      const text = plainText(value, 1);
      if (text !== undefined) return text;
    }
    for (let index = 0; index < depth; index++) {
      if (around[index] === value) return this.#refuse("a cycle: it contains itself");
    }
    if (depth >= MAX_DEPTH) return this.#refuse(`nested more than ${MAX_DEPTH} objects deep`);
    this.#objects++;
    around.push(value);
    const text = this.#writeContent(value);
    around.length = depth;
    this.steps.length = depth;
    if (text !== undefined && this.#objects > MANY) this.#texts.set(value, text);
    return text;
  }

  #writeContent(value: object): string | undefined {
    if (Array.isArray(value)) {
      return isPlainArray(value) ? this.#writeArray(value) : this.#writeInstance(value);
    }
    if (isRawJson(value)) return this.#refuse("raw JSON, which no copy can be made of");
    if (isPlain(value)) {
      return typeof value["toJSON"] === "function"
        ? this.#writeInstance(value)
        : this.#writePlain(value);
    }
    if (isAbortSignal(value)) return this.#absent(value);
    const bytes = bytesName(value);
    if (bytes !== undefined) return this.#writeBytes(bytes, value);
    const content = contentOf(value);
    return content === undefined ? this.#writeInstance(value) : this.#writeBuiltin(content, value);
  }

  #absent(signal: AbortSignal): undefined {
    this.#signals.push(signal);
    return undefined;
  }

  #writeArray(value: readonly unknown[]): string {
    if (hasSymbols(value)) return this.#refuseSymbols();
    if (value.length >= 2 ** 32) return this.#refuse("an array of an impossible length");
    const level = this.around.length - 1;
    if (!isDense(value)) return this.#writeSparse(value, level);
    const parts: string[] = [];
    for (let index = 0; index < value.length; index++) {
      this.steps[level] = index;
      parts.push(this.#writePart(value[index]));
    }
    return `[${this.#list(parts)}]`;
  }

  /** Visits only elements, not holes: an array of a billion holes is written in a moment. */
  #writeSparse(value: readonly unknown[], level: number): string {
    const parts: string[] = [];
    let next = 0;
    const holesUntil = (index: number): void => {
      if (index > next) parts.push(tagged("hole", `${index - next}`));
    };
    for (const name of Object.keys(value)) {
      const index = Number(name);
      // Named members come after all indices.
      if (!(index >= next && index < value.length && String(index) === name)) {
        this.steps[level] = name;
        return this.#refuse("a named member of an array, which no key holds");
      }
      holesUntil(index);
      this.steps[level] = index;
      parts.push(this.#writePart(value[index]));
      next = index + 1;
    }
    holesUntil(value.length);
    return `[${this.#list(parts)}]`;
  }

  #writePlain(value: Record<string, unknown>): string | undefined {
    if (hasSymbols(value)) return this.#refuseSymbols();
    const level = this.around.length - 1;
    const names = Object.keys(value);
    // By code units, as in RFC 8785; most objects are already sorted or nearly so.
    if (names.some((name, index) => index > 0 && names[index - 1]! > name)) names.sort();
    const members: (readonly [string, string])[] = [];
    let escaped = false;
    for (const name of names) {
      this.steps[level] = name;
      const item = value[name];
      // A polyfilled signal may be a plain object with functions.
      if (typeof item === "function" && isAbortSignal(value)) return this.#absent(value);
      const part = this.#write(item);
      if (part === undefined) continue;
      // A name that JSON cannot carry, or that looks like a tag, turns the object into pairs.
      if (name === "$" || !name.isWellFormed()) escaped = true;
      members.push([writeString(name), part]);
    }
    return escaped
      ? tagged("Object", `[${this.#list(members.map(([name, part]) => `[${name},${part}]`))}]`)
      : `{${this.#list(members.map(([name, part]) => `${name}:${part}`))}}`;
  }

  #refuseSymbols(): never {
    return this.#refuse("an object with a member that has a symbol for a name");
  }

  /** Refuses members that were added to an object of a built-in class. */
  #refuseMembers(name: string, value: object): void {
    const member = ownMember(value);
    if (typeof member === "symbol") this.#refuseSymbols();
    if (member === undefined) return;
    this.steps[this.around.length - 1] = member;
    this.#refuse(`a named member of a ${name}, which no key holds`);
  }

  #writeBytes(name: string, value: object): string {
    this.#refuseMembers(name, value);
    const bytes = bytesOf(value);
    if (bytes.length > MAX_TEXT * 3 / 4) this.#refuseLength();
    // In memory order: every platform that the runtimes support is little-endian.
    return tagged(name, `"${toBase64(bytes)}"`);
  }

  #writeBuiltin({ name, parts }: Content, value: object): string {
    this.#refuseMembers(name, value);
    if (name === "Date" || name === "URL") return tagged(name, this.#writePart(parts[0]));
    const level = this.around.length - 1;
    const texts: string[] = [];
    // Not `map`, which takes three stack frames for each level of nesting.
    for (let index = 0; index < parts.length; index++) {
      this.steps[level] = index;
      const part: unknown = parts[index];
      // The pairs of a Map do not count as a level of nesting.
      texts.push(
        name === "Map" && Array.isArray(part)
          ? `[${this.#writePart(part[0])},${this.#writePart(part[1])}]`
          : this.#writePart(part),
      );
    }
    if (name === "Map" || name === "Set") texts.sort();
    return tagged(name, `[${this.#list(texts)}]`);
  }

  /** An object of another class: the result of its own `toJSON`, with the name of the class. */
  #writeInstance(value: object): string {
    const name = className(value);
    const tag = tagOf(value);
    if (OPAQUE.has(tag)) return this.#refuse(`a ${tag}, whose content is not part of a key`);
    if (isDerived(value)) {
      return this.#refuse(`an instance of ${name}, a class derived from a built-in one`);
    }
    if ("~standard" in value) return this.#refuse("a schema, which has no identity across runs");
    const toJSON: unknown = Reflect.get(value, "toJSON");
    if (typeof toJSON !== "function") {
      return this.#refuse(
        `an instance of ${name} without toJSON, whose private state is invisible`,
      );
    }
    this.steps[this.around.length - 1] = "toJSON()";
    const result: unknown = Reflect.apply(toJSON, value, [""]);
    return tagged("toJSON", `[${writeString(name)},${this.#writePart(result)}]`);
  }
}

function tagged(type: string, json: string): string {
  return `{"$":"${type}","v":${json}}`;
}

function writeString(value: string): string {
  if (value.length < SHORT && PLAIN_TEXT.test(value)) return `"${value}"`;
  const json = JSON.stringify(value);
  // JSON.stringify escapes lone surrogates, which RFC 8785 does not allow.
  return value.isWellFormed() ? json : tagged("string", json);
}

/** Platform classes whose content cannot be read in one turn; some runtimes give them `toJSON`. */
const OPAQUE: ReadonlySet<string> = new Set(
  ("Promise Blob File Request Response ReadableStream WritableStream TransformStream " +
    "SharedArrayBuffer WeakMap WeakSet WeakRef").split(" "),
);

/**
 * The key of a call: SHA-256 of the canonical text of its arguments, in hex.
 *
 * This is the key of a cached function without `version`, `this` and `hashFunc`.
 *
 * @param args The arguments of the call, in order.
 * @returns 64 lower-case hex digits.
 * @throws {UnhashableArgumentError} If a part of the arguments has no stable identity.
 *
 * @category Keys
 * @example Any language can compute it
 * ```ts
 * import { hashKey } from "@panza/panza/hash";
 * import { assertEquals } from "@std/assert";
 *
 * // printf '["a",1]' | sha256sum
 * assertEquals(
 *   await hashKey(["a", 1]),
 *   "135f17a475a61afdeeaf3759ad2e45ad1c7abb192395abe47e41fc8e395dc1a9",
 * );
 * ```
 */
export async function hashKey(args: readonly unknown[]): Promise<string> {
  return await digest(canonicalize(args));
}
