/**
 * The wait that a server asks for.
 *
 * @module
 */

/** The members in which errors of the usual SDKs keep response headers, or another error. */
const PLACES = [
  "headers",
  "responseHeaders",
  "response",
  "$response",
  "rawResponse",
  "cause",
  "lastError",
];

/** The greatest depth of a response in an error: an error, its cause, the response. */
const DEPTH = 3;

/**
 * Reads the wait that a server asks for, from headers or from an error that holds them:
 * `retry-after-ms`, `retry-after` (seconds, a date, or a duration such as `6m0s`), and the reset
 * time of an exhausted quota (`x-ratelimit-reset-requests`, `x-ratelimit-reset-tokens`).
 *
 * The errors of the SDKs of OpenAI, Anthropic, Mistral, AWS and Vercel's AI, of axios, ky, got and
 * octokit are understood. So is any other error with headers, or a response, in the usual place.
 *
 * @param source `Headers`, a `Response` or an error.
 * @returns The wait, in milliseconds, 0 or more; `undefined` where the server asks for none.
 *
 * @category Limits
 * @example A retry that waits as long as the server asks
 * ```ts
 * import { readRetryAfter, retry } from "@panza/panza/concurrency";
 * import { assertEquals } from "@std/assert";
 *
 * const patient = retry({ retryAfter: readRetryAfter });
 * assertEquals(await patient(async () => await Promise.resolve("done"))(), "done");
 *
 * assertEquals(readRetryAfter(new Headers({ "retry-after": "20" })), 20_000);
 * assertEquals(readRetryAfter({ response: { headers: { "Retry-After-Ms": "150" } } }), 150);
 * ```
 */
export function readRetryAfter(source: unknown): number | undefined {
  try {
    return read(source, DEPTH);
  } catch {
    // A getter that throws, or a revoked proxy.
    return undefined;
  }
}

function read(source: unknown, depth: number): number | undefined {
  if (typeof source !== "object" || source === null) return undefined;
  const found = readHeaders((name) => header(source, name));
  if (found !== undefined || depth === 0) return found;
  for (const place of PLACES) {
    const inner = read(Reflect.get(source, place), depth - 1);
    if (inner !== undefined) return inner;
  }
  return undefined;
}

/** The text of a header, from `Headers`, an object with a similar `get`, or a plain object. */
function header(headers: object, name: string): string | undefined {
  let value: unknown;
  if ("get" in headers && typeof headers.get === "function") value = headers.get(name);
  else {
    const key = Object.keys(headers).find((key) => key.toLowerCase() === name);
    if (key !== undefined) value = Reflect.get(headers, key);
  }
  if (Array.isArray(value)) value = value[0];
  return typeof value === "string" || typeof value === "number" ? String(value) : undefined;
}

function readHeaders(get: (name: string) => string | undefined): number | undefined {
  const milliseconds = amount(get("retry-after-ms"));
  if (milliseconds !== undefined) return milliseconds;
  const after = get("retry-after");
  const seconds = amount(after);
  if (seconds !== undefined) return seconds * 1_000;
  if (after !== undefined) return span(after) ?? until(after, get("date"));
  const resets = ["requests", "tokens"]
    .filter((quota) => get(`x-ratelimit-remaining-${quota}`) === "0")
    .map((quota) => span(get(`x-ratelimit-reset-${quota}`) ?? "") ?? NaN)
    .filter((reset) => reset >= 0);
  return resets.length === 0 ? undefined : Math.max(...resets);
}

function amount(text: string | undefined): number | undefined {
  return text !== undefined && /^\d+(\.\d+)?$/.test(text) ? Number(text) : undefined;
}

/** The milliseconds from the server's own date, which may differ from ours, to another date. */
function until(text: string, date: string | undefined): number | undefined {
  const end = Date.parse(text);
  // Every HTTP date has letters; without them, engines take nearly anything for a date.
  if (Number.isNaN(end) || !/[a-z]/i.test(text)) return undefined;
  const now = Date.parse(date ?? "");
  return Math.max(0, end - (Number.isNaN(now) ? Date.now() : now));
}

const UNITS = { h: 3_600_000, m: 60_000, s: 1_000, ms: 1 };

/** The milliseconds of a duration as Go writes it: `6m0s`, `1.5s`, `20ms`. */
function span(text: string): number | undefined {
  const parts = [...text.matchAll(/(\d+(?:\.\d+)?)(ms|h|m|s)/g)];
  if (parts.length === 0 || parts.map(([part]) => part).join("") !== text) return undefined;
  let sum = 0;
  for (const [, count, unit] of parts) {
    sum += Number(count) * (unit === "h" || unit === "m" || unit === "s" ? UNITS[unit] : UNITS.ms);
  }
  return sum;
}
