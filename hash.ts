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

export { PanzaError, UnhashableArgumentError } from "./src/base/errors.ts";
export { canonicalize, hashKey } from "./src/encoding/canonical.ts";
