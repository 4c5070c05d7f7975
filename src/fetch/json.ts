/**
 * JSON texts as values, and whether the value keeps every number of the text.
 *
 * @module
 */

/** Signs of a number that doubles do not keep: many digits, or a long exponent. */
const SUSPICIOUS = /\d[\d.]{15}|\d[eE][+-]?\d{3}/;

/** Tokens that can hold digits; strings come first, so that digits in them are not numbers. */
const TOKENS = /"[^"\\]*(?:\\.[^"\\]*)*"|-?\d[\d.eE+-]*/g;

/**
 * Reads a JSON text.
 *
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
 * Whether the value of a JSON text keeps its numbers: identifiers of 19 digits that differ in the
 * last one are the same double.
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
