/**
 * The rules for kept responses: they succeeded, their body shows that it is whole, and they depend
 * only on what identifies their request.
 *
 * @module
 */

import { CREDENTIALS, type IdentityRules, textOf } from "./identity.ts";
import { type Head, headOf, type Item, joined, typeOf } from "./stored.ts";
import { endingOf } from "./whole.ts";

/** Request headers that only the runtime sets, to the same values for all requests of a program. */
const OF_THE_RUNTIME =
  /^(?:accept-charset|accept-encoding|access-control-.*|origin|referer|sec-.*)$/;

/** The headers of a request that its response depends on and that do not identify it. */
function foreignVary({ headers }: Head, rules: IdentityRules): string[] {
  return headers
    .filter(([name]) => name === "vary")
    .flatMap(([, value]) => value.toLowerCase().split(",").map((name) => name.trim()))
    .filter((name) => {
      if (name === "" || OF_THE_RUNTIME.test(name)) return false;
      if (rules.headers.has(name)) return false;
      if (CREDENTIALS.has(name)) return !rules.credentials;
      return name === "*" || rules.hashFunc === undefined;
    });
}

/** Whether a status promises the whole answer. */
export function isSuccess(status: number): boolean {
  return status >= 200 && status < 300 && status !== 206;
}

/**
 * The reason not to keep a successful response.
 *
 * @param items The head, and the body in pieces; no piece where there can be no body.
 * @returns The reason, in words that quote no value; `undefined` if the response is kept.
 */
export function reasonAgainst(
  items: readonly Item[],
  method: string,
  rules: IdentityRules,
): string | undefined {
  const head = headOf(items);
  const vary = foreignVary(head, rules);
  if (vary.length > 0) return varyReason(vary);
  if (hasNoBody(head.status, method)) return undefined;
  const ending = endingOf(typeOf(head), textOf(joined(items)));
  return typeof ending === "string" ? undefined : ending.reason;
}

function varyReason(names: readonly string[]): string {
  const shown = names.filter((name) => /^[\w-]{1,40}$/.test(name));
  const ignored = shown.filter((name) => CREDENTIALS.has(name));
  if (names.includes("*")) return "it varies by more than its request (Vary: *)";
  return ignored.length > 0
    ? `it varies by ${ignored.join(", ")}, which credentials: "ignore" leaves out`
    : `it varies by headers that do not identify its request; pass headers: ${
      JSON.stringify(shown)
    }`;
}

/** Whether the body of a response shows that nothing more can come. */
export function isFinal(items: readonly unknown[]): boolean {
  const head = headOf(items);
  return endingOf(typeOf(head), textOf(joined(items))) === "final";
}

/** Whether a response to a request has no body at all. */
export function hasNoBody(status: number, method: string): boolean {
  return method === "HEAD" || status === 204 || status === 205 || status === 304;
}
