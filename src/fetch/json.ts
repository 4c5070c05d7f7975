/**
 * JSON texts as values, where the value keeps all that the text says.
 *
 * @module
 */

/** A text may hold a number that doubles do not keep: many digits, or a long exponent. */
const SUSPICIOUS = /\d[\d.]{15}|\d[eE][+-]?\d{3}/;

/** The tokens that can hold digits; strings first, so that digits in them are not numbers. */
const TOKENS = /"[^"\\]*(?:\\.[^"\\]*)*"|-?\d[\d.eE+-]*/g;

/**
 * Reads a JSON text.
 *
 * @param text The text.
 * @returns The value in an object; `undefined` if the text is not JSON.
 */
export function parseJson(text: string): { readonly value: unknown } | undefined {
  try {
    return { value: JSON.parse(text) };
  } catch {
    return undefined;
  }
}

/**
 * Whether a JSON text comes back with the same numbers from its value: identifiers of 19 digits
 * that differ in the last one are the same double.
 */
export function keepsNumbers(text: string): boolean {
  if (!SUSPICIOUS.test(text)) return true;
  for (const [token] of text.matchAll(TOKENS)) {
    if (!token.startsWith('"') && digitsOf(token) !== digitsOf(String(Number(token)))) return false;
  }
  return true;
}

/** The significant digits of a number. */
function digitsOf(number: string): string {
  return number.replace(/e.*$/i, "").replace(/[-.]/g, "").replace(/^0+|0+$/g, "");
}
