/**
 * Ids and keys as names of files that every file system keeps apart.
 *
 * A name has lower-case ASCII letters, digits, `-`, `_` and `.`, the last neither first nor at the
 * end; `+` and a lower-case letter is the upper-case one, because Windows and macOS take both for
 * the same; every other byte of the UTF-8 text is `=` and two hex digits. A name that begins with
 * `=` and no such digits is never the escaped form of a text, and has a meaning of its own.
 *
 * @module
 */

import { digest } from "../encoding/digest.ts";

/** Stands for the empty text: the id of direct keys. */
const EMPTY = "=direct";

/** Stands before the SHA-256 of a text whose escaped form is too long. */
const DIGEST = "=sha256-";

/** The most characters of a name: a path of two stays below the default 260 of Windows and git. */
const LONGEST = 80;

/** Devices of Windows, whatever the ending. https://learn.microsoft.com/windows/win32/fileio */
const DEVICE = /^(?:con|prn|aux|nul|(?:com|lpt)[0-9])(?:\.|$)/;

/** A text as a name; `unescapeText` gives it back. */
function escapeText(text: string): string {
  if (text === "") return EMPTY;
  const name = encodeURIComponent(text)
    .replace(/[!~*'()]|^[.-]|\.$/g, hex)
    .replace(/%..|[A-Z]/g, (part) => (part.length > 1 ? part : `+${part}`).toLowerCase())
    .replaceAll("%", "=");
  return DEVICE.test(name) ? hex(name.slice(0, 1)).replace("%", "=") + name.slice(1) : name;
}

function hex(character: string): string {
  return `%${character.charCodeAt(0).toString(16).padStart(2, "0")}`;
}

/** The text of a name, or `undefined` if it is not the escaped form of any text. */
function unescapeText(name: string): string | undefined {
  if (name === EMPTY) return "";
  try {
    const encoded = name.replaceAll("=", "%").replace(
      /\+(.)/g,
      (_, letter) => letter.toUpperCase(),
    );
    const text = decodeURIComponent(encoded);
    return escapeText(text) === name ? text : undefined;
  } catch {
    return undefined;
  }
}

/** The name of a text. */
export async function nameOf(text: string): Promise<string> {
  const name = escapeText(text);
  return name.length <= LONGEST ? name : DIGEST + (await digest(text));
}

/** Whether `nameOf` gives this name to some text. */
export function isName(name: string): boolean {
  if (/^=sha256-[0-9a-f]{64}$/.test(name)) return true;
  return name.length <= LONGEST && unescapeText(name) !== undefined;
}
