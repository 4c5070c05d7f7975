/**
 * Arguments to keys: canonical JSON, then SHA-256, in hex.
 *
 * For arguments that are JSON the canonical text is RFC 8785 (JSON Canonicalization Scheme) of the
 * argument array, so any language can compute the same key. Everything else is a tagged object,
 * `{"$":"<type>","v":…}`; a plain object with a member `$` is tagged itself, so that no data can
 * imitate a tag.
 *
 * | value | canonical text |
 * |---|---|
 * | JSON | RFC 8785 |
 * | trailing `undefined` arguments, `undefined` members, an `AbortSignal` | absent |
 * | `undefined` or an `AbortSignal` in an array, a `Map` or a `Set` | `{"$":"undefined"}` |
 * | *n* holes of a sparse array | `{"$":"hole","v":n}` |
 * | `NaN`, `Infinity`, `-Infinity` | `{"$":"number","v":"NaN"}` |
 * | `bigint` | `{"$":"bigint","v":"123"}` |
 * | a string with lone surrogates | `{"$":"string","v":"\ud800"}` |
 * | `Date` | `{"$":"Date","v":milliseconds}`, `null` when invalid |
 * | `RegExp` | `{"$":"RegExp","v":[source,flags,lastIndex]}` |
 * | `URL` | `{"$":"URL","v":href}` |
 * | `Map` | `{"$":"Map","v":[[key,value],…]}`, sorted by text |
 * | `Set` | `{"$":"Set","v":[value,…]}`, sorted by text |
 * | typed arrays, `ArrayBuffer`, `DataView`, `Buffer` | `{"$":"Uint8Array","v":"base64 of the bytes"}` |
 * | objects with `toJSON` | `{"$":"toJSON","v":[class name,result]}` |
 * | plain objects with a member `$` or a name with lone surrogates | `{"$":"Object","v":[[name,value],…]}` |
 *
 * Keys are the same on every runtime, for ever: what this module writes is frozen by
 * `tests/fixtures/keys.json`, and a change of it is a new key version.
 *
 * @example The key of a call
 * ```ts
 * import { canonicalize, hashKey } from "@panza/panza/hash";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(canonicalize([{ b: 1, a: [true, undefined] }]), '[{"a":[true,{"$":"undefined"}],"b":1}]');
 * assertEquals(await hashKey([{ a: 1, b: 2 }]), await hashKey([{ b: 2, a: 1 }, undefined]));
 * ```
 *
 * @module
 */

import { UnhashableArgumentError } from "../base/errors.ts";
import { builtin } from "../base/runtime.ts";
import { isPlain, isPlainArray } from "../base/plain.ts";
import { isAbortSignal } from "../base/signals.ts";
import { isUnderived, type Kind, kindOf, tagOf } from "./kinds.ts";
import { className, formatPath, MAX_DEPTH, viewName } from "./shape.ts";
import { sortedCopy } from "./sorted.ts";

/** Printable ASCII without quote and backslash: JSON writes it as it is, and it is well-formed. */
const PLAIN_TEXT = /^[\x20\x21\x23-\x5b\x5d-\x7e]*$/;

/** Below this length testing and copying beats a call of JSON.stringify. */
const SHORT = 64;

/** One pass over an argument array. */
interface Walk {
  /** What `path` starts with. */
  readonly root: string;
  /** The objects around the current value, outermost first: to find cycles. */
  readonly around: object[];
  /** The step from each of them to the next, for the path of an error. */
  readonly steps: (string | number)[];
  /** Every AbortSignal that was met. */
  readonly signals: AbortSignal[];
}

/**
 * Writes an argument array as canonical text.
 *
 * @param args The arguments of a call, in order.
 * @returns The text whose SHA-256 is the key.
 * @throws {UnhashableArgumentError} If a part has no stable identity: functions, symbols,
 * promises, streams, class instances without `toJSON`, cycles, more than 1,000 nested objects.
 *
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
  return canonicalArguments(args, []);
}

/** The canonical text of arguments; `signals` receives every AbortSignal among them. */
export function canonicalArguments(
  args: readonly unknown[],
  signals: AbortSignal[] = [],
): string {
  const whole = plainText(args);
  if (whole !== undefined) return whole;
  return guarded({ root: "args", around: [args], steps: [0], signals }, (walk) => {
    let text = "";
    let pending = "";
    for (let index = 0; index < args.length; index++) {
      walk.steps[0] = index;
      const part = write(args[index], walk);
      // What is absent counts only if a later argument is there.
      if (part === undefined) {
        pending += index === 0 ? UNDEFINED : `,${UNDEFINED}`;
      } else {
        text += index === 0 ? part : `${pending},${part}`;
        pending = "";
      }
    }
    return `[${text}]`;
  });
}

/** The canonical text of one value that stands for a call; `name` is where its path starts. */
export function canonicalValue(value: unknown, name: string): string {
  return guarded(
    { root: name, around: [], steps: [], signals: [] },
    (walk) => write(value, walk) ?? UNDEFINED,
  );
}

/** Runs a pass so that whatever user code throws on the way names the place. */
function guarded(walk: Walk, pass: (walk: Walk) => string): string {
  try {
    return pass(walk);
  } catch (cause) {
    if (cause instanceof UnhashableArgumentError) throw cause;
    throw new UnhashableArgumentError(pathOf(walk), "something that throws when it is read", {
      cause,
    });
  }
}

const UNDEFINED = '{"$":"undefined"}';

function tagged(type: string, json: string): string {
  return `{"$":"${type}","v":${json}}`;
}

/** The text of any value; `undefined` when it counts as absent. */
function write(value: unknown, walk: Walk): string | undefined {
  switch (typeof value) {
    case "string":
      return writeString(value);
    case "number":
      // The shortest decimal form of ECMAScript is the one of RFC 8785; `${-0}` is "0".
      return Number.isFinite(value) ? `${value}` : tagged("number", `"${value}"`);
    case "boolean":
      return value ? "true" : "false";
    case "undefined":
      return undefined;
    case "bigint":
      return tagged("bigint", `"${value}"`);
    case "object":
      return value === null ? "null" : writeObject(value, walk);
    case "function":
      return refuse(walk, "a function, which has no identity across runs");
    default:
      return refuse(walk, "a symbol, which has no identity across runs");
  }
}

function writeString(value: string): string {
  if (value.length < SHORT && PLAIN_TEXT.test(value)) return `"${value}"`;
  const json = JSON.stringify(value);
  // JSON.stringify escapes lone surrogates, and RFC 8785 has no place for them.
  return value.isWellFormed() ? json : tagged("string", json);
}

/**
 * How deep the parts of an argument stand. Where all arguments together are no plain data, these
 * are tried alone, because the runtime writes them faster; tried at every depth, parts that are no
 * JSON would cost that many times as much.
 */
const TRIED = 2;

function writeObject(value: object, walk: Walk): string | undefined {
  const { around } = walk;
  const depth = around.length;
  if (depth === 0 || depth === TRIED) {
    const text = plainText(value);
    if (text !== undefined) return text;
  }
  for (let index = 0; index < depth; index++) {
    if (around[index] === value) {
      return refuse(walk, "a cycle: it contains itself");
    }
  }
  if (depth >= MAX_DEPTH) {
    return refuse(walk, `nested more than ${MAX_DEPTH} objects deep`);
  }
  around.push(value);
  const text = writeContent(value, walk);
  around.length = depth;
  walk.steps.length = depth;
  return text;
}

/** The text of plain JSON data; `undefined` for everything else. */
function plainText(value: object): string | undefined {
  try {
    const copy = sortedCopy(value);
    if (copy === undefined) return undefined;
    const text = JSON.stringify(copy);
    // So JSON.stringify writes lone surrogates, which need a tag; a false alarm only costs time.
    return text.includes("\\ud") ? undefined : text;
  } catch {
    // What throws here throws again where the place is known.
    return undefined;
  }
}

function writeContent(value: object, walk: Walk): string | undefined {
  if (Array.isArray(value)) {
    return isPlainArray(value) ? writeArray(value, walk) : writeInstance(value, walk);
  }
  if (isPlain(value)) {
    return typeof value["toJSON"] === "function"
      ? writeInstance(value, walk)
      : writePlain(value, walk);
  }
  return writeSpecial(value, walk);
}

function writeArray(value: readonly unknown[], walk: Walk): string {
  const level = walk.around.length - 1;
  let text = "";
  for (let index = 0; index < value.length; index++) {
    const item = value[index];
    if (item === undefined && !(index in value)) {
      return writeSparse(value, walk, text, index);
    }
    walk.steps[level] = index;
    const part = write(item, walk) ?? UNDEFINED;
    text += index === 0 ? part : `,${part}`;
  }
  return `[${text}]`;
}

/**
 * Goes on at the first hole and visits only what is there: an array of a billion holes is written
 * in a moment. What stands before the hole is not written again, or nesting would double the work
 * at every level.
 */
function writeSparse(
  value: readonly unknown[],
  walk: Walk,
  before: string,
  firstHole: number,
): string {
  const level = walk.around.length - 1;
  const parts: string[] = before === "" ? [] : [before];
  let next = firstHole;
  const holesUntil = (index: number): void => {
    if (index > next) parts.push(tagged("hole", `${index - next}`));
  };
  for (const name of Object.keys(value)) {
    const index = Number(name);
    if (index < firstHole) continue;
    // Named properties come after all indices, and are not elements.
    if (!(index >= next && index < value.length && String(index) === name)) {
      break;
    }
    holesUntil(index);
    walk.steps[level] = index;
    parts.push(write(value[index], walk) ?? UNDEFINED);
    next = index + 1;
  }
  holesUntil(value.length);
  return `[${parts.join(",")}]`;
}

function writePlain(value: Record<string, unknown>, walk: Walk): string | undefined {
  const level = walk.around.length - 1;
  const names = Object.keys(value);
  for (let index = 1; index < names.length; index++) {
    // Code units, as RFC 8785 sorts; most objects come sorted or nearly so.
    if (names[index - 1]! > names[index]!) {
      names.sort();
      break;
    }
  }
  const parts: string[] = [];
  let escaped = false;
  for (let index = 0; index < names.length; index++) {
    const name = names[index]!;
    walk.steps[level] = name;
    const item = value[name];
    // A polyfill may be a plain object with functions.
    if (typeof item === "function" && isAbortSignal(value)) {
      walk.signals.push(value);
      return undefined;
    }
    const part = write(item, walk);
    if (part === undefined) continue;
    // A name that JSON cannot carry, or that would look like a tag, turns all of it into pairs.
    if (name === "$" || !name.isWellFormed()) escaped = true;
    parts.push(writeString(name), part);
  }
  return escaped ? writePairs(parts) : writeMembers(parts);
}

function writeMembers(parts: readonly string[]): string {
  let text = "{";
  for (let index = 0; index < parts.length; index += 2) {
    text += `${index === 0 ? "" : ","}${parts[index]!}:${parts[index + 1]!}`;
  }
  return `${text}}`;
}

function writePairs(parts: readonly string[]): string {
  const pairs: string[] = [];
  for (let index = 0; index < parts.length; index += 2) {
    pairs.push(`[${parts[index]!},${parts[index + 1]!}]`);
  }
  return tagged("Object", `[${pairs.join(",")}]`);
}

/** Everything that is neither an array nor a plain object. */
function writeSpecial(value: object, walk: Walk): string | undefined {
  if (isAbortSignal(value)) {
    walk.signals.push(value);
    return undefined;
  }
  if (ArrayBuffer.isView(value)) return writeView(value, walk);
  const tag = tagOf(value);
  if (tag === "ArrayBuffer" && isUnderived(value)) {
    return tagged(tag, `"${base64(new Uint8Array(value as ArrayBuffer))}"`);
  }
  const kind = kindOf(value);
  return kind !== undefined && isUnderived(value)
    ? tagged(tag, writeParts(kind, value, walk))
    : writeInstance(value, walk);
}

/** The text of what an object is made of; where the order of the parts counts for nothing, sorted. */
function writeParts({ read, pairs, unordered }: Kind, value: object, walk: Walk): string {
  const content = read(value);
  if (!Array.isArray(content)) return write(content, walk) ?? UNDEFINED;
  const level = walk.around.length - 1;
  const parts: string[] = [];
  for (let index = 0; index < content.length; index++) {
    walk.steps[level] = index;
    const part: unknown = content[index];
    parts.push(
      pairs === true && Array.isArray(part)
        ? `[${write(part[0], walk) ?? UNDEFINED},${write(part[1], walk) ?? UNDEFINED}]`
        : write(part, walk) ?? UNDEFINED,
    );
  }
  return `[${(unordered === true ? parts.sort() : parts).join(",")}]`;
}

function writeView(value: ArrayBufferView, walk: Walk): string | undefined {
  const type = viewName(value);
  const name = className(value);
  // Node's Buffer is the one subclass whose whole state is its bytes; it behaves unlike its base.
  if (name !== type && name !== "Buffer") return writeInstance(value, walk);
  const bytes = new Uint8Array(value.buffer, value.byteOffset, value.byteLength);
  // The bytes as they lie in memory: every platform that the runtimes support is little-endian.
  return tagged(name, `"${base64(bytes)}"`);
}

function base64(bytes: Uint8Array): string {
  const buffer = builtin("node:buffer");
  if (buffer !== undefined) {
    return buffer.Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("base64");
  }
  let binary = "";
  // In pieces, because the number of arguments of a call is bounded.
  for (let start = 0; start < bytes.length; start += 8192) {
    binary += String.fromCharCode(...bytes.subarray(start, start + 8192));
  }
  return btoa(binary);
}

/** Platform classes whose content cannot be read at once; some runtimes give them `toJSON`. */
const OPAQUE: ReadonlySet<string> = new Set([
  "Promise",
  "Blob",
  "File",
  "Request",
  "Response",
  "ReadableStream",
  "WritableStream",
  "TransformStream",
  "SharedArrayBuffer",
  "WeakMap",
  "WeakSet",
  "WeakRef",
]);

/** An object of some class: what its own `toJSON` says, with the name of the class. */
function writeInstance(value: object, walk: Walk): string {
  const type = Object.prototype.toString.call(value).slice(8, -1);
  if (OPAQUE.has(type)) {
    return refuse(walk, `a ${type}, whose content is not part of a key`);
  }
  const toJSON: unknown = Reflect.get(value, "toJSON");
  const name = className(value);
  if (typeof toJSON !== "function") {
    return refuse(walk, `an instance of ${name} without toJSON, whose private state is invisible`);
  }
  walk.steps[walk.around.length - 1] = "toJSON()";
  const result: unknown = Reflect.apply(toJSON, value, [""]);
  return tagged("toJSON", `[${writeString(name)},${write(result, walk) ?? UNDEFINED}]`);
}

function refuse(walk: Walk, what: string): never {
  throw new UnhashableArgumentError(pathOf(walk), what);
}

function pathOf({ root, steps }: Walk): string {
  return formatPath(root, steps);
}

/** What identifies a call beside its arguments. */
export interface KeyParts {
  /** The canonical text of the arguments, or of what `hashFunc` made of them. */
  readonly text: string;
  /** Whether the text comes from `hashFunc`. */
  readonly custom: boolean;
  /** The canonical text of what the `this` option made of the instance. */
  readonly self: string | undefined;
  /** The canonical text of the version. */
  readonly version: string | undefined;
}

/**
 * The text that is hashed: the arguments alone where nothing else identifies the call, otherwise
 * an RFC 8785 object with the members `args` (or `hash`), `this` and `version`.
 */
export function keyText({ text, custom, self, version }: KeyParts): string {
  if (self === undefined && version === undefined) return text;
  const members = [
    `${custom ? '"hash"' : '"args"'}:${text}`,
    ...(self === undefined ? [] : [`"this":${self}`]),
    ...(version === undefined ? [] : [`"version":${version}`]),
  ];
  return `{${members.join(",")}}`;
}

let synchronous: ((text: string) => string) | null | undefined;

/** The synchronous SHA-256 of the runtime, or null where it has none. Looked up once. */
function synchronousDigest(): ((text: string) => string) | null {
  if (synchronous === undefined) {
    const crypto = builtin("node:crypto");
    synchronous = crypto === undefined
      ? null
      : typeof crypto.hash === "function"
      ? (text) => crypto.hash("sha256", text, "hex")
      : (text) => crypto.createHash("sha256").update(text).digest("hex");
  }
  return synchronous;
}

/**
 * SHA-256 of a text in hex: at once where the runtime can, through WebCrypto elsewhere.
 *
 * One `crypto.subtle.digest` costs 25 to 80 µs on Deno, Node and Bun, the synchronous one 1 to
 * 2 µs: see `bench/hash_bench.ts`.
 */
export function digest(text: string): string | Promise<string> {
  return synchronousDigest()?.(text) ?? webDigest(text);
}

/** SHA-256 of a text in hex through WebCrypto. */
export async function webDigest(text: string): Promise<string> {
  const bytes = new TextEncoder().encode(text);
  const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return Array.from(hash, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/**
 * The key of a call: SHA-256 of the canonical text of its arguments, in hex.
 *
 * This is the key of a cached function without `version`, `this` and `hashFunc`.
 *
 * @param args The arguments of the call, in order.
 * @returns 64 lower-case hex digits.
 * @throws {UnhashableArgumentError} If a part of the arguments has no stable identity.
 *
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
