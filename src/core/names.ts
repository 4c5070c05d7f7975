/**
 * Ids and keys as backends take them: well-formed text without NUL, mapped one to one.
 *
 * @module
 */

const ESCAPED = /\\(\\|0|u[0-9a-f]{4})/g;

/**
 * Escapes any string so that every store can keep it: a backslash doubled, NUL as `\0`, a lone
 * surrogate as `\ud800`. Two different strings stay different, and ordinary ones stay as they are.
 */
export function escapeName(name: string): string {
  if (name.isWellFormed() && !/[\\\0]/.test(name)) return name;
  let text = "";
  for (const character of name) {
    if (character === "\\") text += "\\\\";
    else if (character === "\0") text += "\\0";
    else if (character.isWellFormed()) text += character;
    else text += `\\u${character.charCodeAt(0).toString(16)}`;
  }
  return text;
}

/** Backends take no empty key; no other key is escaped to a single backslash. */
const EMPTY_KEY = "\\";

/** A key as backends take it, which is never empty. */
export function backendKey(key: string): string {
  return key === "" ? EMPTY_KEY : escapeName(key);
}

/** The inverse of `backendKey`. */
export function userKey(text: string): string {
  return text === EMPTY_KEY ? "" : unescapeName(text);
}

/** The inverse of `escapeName`. */
export function unescapeName(text: string): string {
  return text.replace(
    ESCAPED,
    (_, code: string) =>
      code === "\\" ? "\\" : code === "0" ? "\0" : String.fromCharCode(parseInt(code.slice(1), 16)),
  );
}
