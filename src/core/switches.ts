/**
 * The switches in the environment: BUST_CACHE, CACHE_ONLY, PRINT_CACHE_MISSES.
 *
 * @module
 */

import { variable } from "../base/env.ts";
import { quote } from "../base/errors.ts";

/** The state of the switches. */
export interface Switches {
  /** The ids in BUST_CACHE, without `all`. */
  readonly bustedIds: ReadonlySet<string>;
  /** Whether stored entries of this id count only if this process stored them. */
  isBusted(id: string): boolean;
  /** Whether a miss throws instead of running the function, and nothing is written. */
  readonly cacheOnly: boolean;
  /** Whether each miss is printed. */
  readonly printMisses: boolean;
}

const ON: ReadonlySet<string> = new Set(["1", "true", "yes", "on"]);
const OFF: ReadonlySet<string> = new Set(["", "0", "false", "no", "off"]);

function flag(name: string, text: string): boolean {
  const word = text.trim().toLowerCase();
  if (ON.has(word)) return true;
  if (OFF.has(word)) return false;
  throw new TypeError(
    `Cannot read ${name}: it must be 1, true, yes or on, or 0, false, no, off or empty, ` +
      `received ${quote(text)}`,
  );
}

/**
 * Reads the switches.
 *
 * @param read Returns the text of a variable, `undefined` when it is unset.
 * @throws {TypeError} If a switch holds an unknown word, or CACHE_ONLY meets BUST_CACHE.
 */
export function readSwitches(
  read: (name: string) => string | undefined = variable,
): Switches {
  const ids = (read("BUST_CACHE") ?? "").split(",").map((id) => id.trim()).filter((id) =>
    id !== ""
  );
  const bustedIds = new Set(ids);
  const all = bustedIds.delete("all");
  const cacheOnly = flag("CACHE_ONLY", read("CACHE_ONLY") ?? "");
  if (cacheOnly && ids.length > 0) {
    throw new TypeError(
      "Cannot use CACHE_ONLY together with BUST_CACHE: what is busted must run again; unset one",
    );
  }
  return {
    bustedIds,
    isBusted: (id) => all || bustedIds.has(id),
    cacheOnly,
    printMisses: flag("PRINT_CACHE_MISSES", read("PRINT_CACHE_MISSES") ?? ""),
  };
}
