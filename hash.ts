/**
 * Arguments to keys: canonical JSON, then SHA-256, in hex.
 *
 * For arguments that are JSON the canonical text is RFC 8785 (JSON Canonicalization Scheme) of the
 * argument array, so any language can compute the same key. Everything else is a tagged object,
 * `{"$":"<type>","v":…}`; a plain object with a member `$` is tagged itself, so that no data can
 * imitate a tag.
 *
 * **All that an argument holds is in its key, or the argument is refused.**
 *
 * | value | canonical text |
 * |---|---|
 * | JSON, also in objects without a prototype and of query parsers | RFC 8785 |
 * | trailing `undefined` arguments, `undefined` members, an `AbortSignal`, members that are not enumerable | absent |
 * | `undefined` or an `AbortSignal` in an array, a `Map` or a `Set` | `{"$":"undefined"}` |
 * | *n* holes of a sparse array | `{"$":"hole","v":n}` |
 * | `NaN`, `Infinity`, `-Infinity` | `{"$":"number","v":"NaN"}` |
 * | `bigint` | `{"$":"bigint","v":"123"}` |
 * | a string with lone surrogates | `{"$":"string","v":"\ud800"}` |
 * | `Date` | `{"$":"Date","v":milliseconds}`, `null` when invalid |
 * | `RegExp` | `{"$":"RegExp","v":[source,flags,lastIndex]}` |
 * | `URL` | `{"$":"URL","v":href}` |
 * | `URLSearchParams`, `Headers`, `FormData` without files | `{"$":"Headers","v":[[name,value],…]}`, in the order in which they are read |
 * | `Map` | `{"$":"Map","v":[[key,value],…]}`, sorted by text |
 * | `Set` | `{"$":"Set","v":[value,…]}`, sorted by text |
 * | typed arrays, `ArrayBuffer`, `DataView`, `Buffer` | `{"$":"Uint8Array","v":"base64 of the bytes"}` |
 * | objects with `toJSON` | `{"$":"toJSON","v":[class name,result]}` |
 * | plain objects with a member `$` or a name with lone surrogates | `{"$":"Object","v":[[name,value],…]}` |
 *
 * Refused, with the path in the error: functions, symbols, promises, streams, `Blob`, `File`,
 * `Request`, `Response`, schemas, weak collections, raw JSON, instances of classes without `toJSON`
 * and of classes derived from built-in ones, members with a symbol for a name, named members of
 * arrays and of objects of built-in classes, cycles, nesting of more than 1,000 objects and more
 * than 256 MiB of text. Objects of another realm are treated like those of this one.
 *
 * Keys are the same on every runtime, for ever: `tests/fixtures/keys.json` freezes them, and a
 * change is a new key version.
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

export { PanzaError, UnhashableArgumentError } from "./src/base/errors.ts";
export { canonicalize, hashKey } from "./src/encoding/canonical.ts";
