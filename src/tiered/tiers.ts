/**
 * The list of tiers that a tiered store is made of, checked.
 *
 * @module
 */

import { optionMessage } from "../base/errors.ts";
import { type Backend, BACKEND_METHODS } from "../backend/contract.ts";

/** The action of error messages. */
export const ACTION = "join tiers";

/** The backends of the tiers; each is one, and none comes twice. */
export function backendsOf(tiers: readonly (Backend | { readonly backend: Backend })[]): Backend[] {
  if (!Array.isArray(tiers) || tiers.length === 0) {
    const rule = "a list of at least one backend or cache";
    throw new TypeError(optionMessage(ACTION, "tiers", rule, tiers));
  }
  const backends: Backend[] = [];
  // Not `map`, which would skip holes.
  for (const [index, tier] of tiers.entries()) {
    const backend = tier?.backend ?? tier;
    if (BACKEND_METHODS.some((name) => typeof backend?.[name] !== "function")) {
      throw new TypeError(optionMessage(ACTION, `tiers[${index}]`, "a backend or a cache", tier));
    }
    const twin = backends.indexOf(backend);
    if (twin >= 0) {
      throw new TypeError(
        `Cannot ${ACTION}: tiers[${index}] is the same store as tiers[${twin}]`,
      );
    }
    backends.push(backend);
  }
  return backends;
}
