/** The use of a damaged store: right values, nothing thrown, each damage reported once. */

import { assert, assertEquals } from "@std/assert";
import type { Cache } from "../../src/core/cache.ts";
import type { CacheOptions, ErrorContext } from "../../src/core/options.ts";
import { smallValue } from "./values.ts";

export const INPUTS: readonly number[] = Array.from({ length: 40 }, (_, n) => n);

/** Values of which some fit into a page of SQLite and some overflow it. */
export function valueOf(n: number): unknown {
  return n % 8 === 0 ? { n, long: `${n}/`.repeat(6000) } : smallValue(n);
}

/** A report of the cache. */
export interface Told {
  readonly error: Error;
  readonly context: ErrorContext;
}

/** The result of using a damaged store. */
export interface Use {
  /** The runs of the function in the first pass over everything. */
  readonly runs: number;
  /** The reports of the first pass. */
  readonly reports: readonly Told[];
  /** The reports of all passes, until everything is stored again. */
  readonly told: readonly Told[];
  /** Whether the store was unusable, so that everything was computed each time. */
  readonly isUncached: boolean;
}

/**
 * Asks for everything in two ways, in passes, until a pass finds all of it stored.
 *
 * @param refuses Whether an error says that the store is left alone and nothing is cached.
 */
export async function use(
  open: (options: CacheOptions) => Cache,
  what: string,
  inputs: readonly number[] = INPUTS,
  refuses: (error: Error) => boolean = () => false,
): Promise<Use> {
  const reports: Told[] = [];
  await using cache = open({
    onError: (error, context) => {
      reports.push({ error, context });
    },
  });
  let runs = 0;
  const isUncached = () => reports.some(({ error }) => refuses(error));
  const compute = async (n: number): Promise<unknown> => {
    runs++;
    return await Promise.resolve(valueOf(n));
  };
  const one = cache.cache({ id: "one" })(compute);
  const many = cache.cache({ id: "many" })(compute);
  const all = async (): Promise<void> => {
    for (const n of inputs) assertEquals(await one(n), valueOf(n), what);
    assertEquals(await many.map(inputs, { concurrency: 4 }).values(), inputs.map(valueOf), what);
    if (isUncached()) return;
    const direct = await cache.read("direct");
    if (direct.hit) assertEquals(direct.value, valueOf(1), what);
    else await cache.set("direct", valueOf(1));
  };
  await all();
  const first = { runs, reports: [...reports] };
  // More than one pass, because entries found in a damaged file are not in the next one. An index
  // with a broken order, which SQLite does not notice, may hide another entry when one is added.
  let before = -1;
  for (let pass = 1; before < runs && !isUncached(); pass++) {
    assert(pass < 5, `${what}: it does not come to rest`);
    before = runs;
    await all();
  }
  const entries = reports.flatMap(({ context: { kind, id, key } }) =>
    key === undefined ? [] : [`${kind} ${id} ${key}`]
  );
  if (isUncached()) return { ...first, told: reports, isUncached: true };
  // Each entry is reported once.
  assertEquals(entries.length, new Set(entries).size, `${what}: ${entries}`);
  assert((await cache.read("direct")).hit, what);
  return { ...first, told: reports, isUncached: false };
}

/** The counts of a run over every kind of damage. */
export interface Damaged {
  readonly cases: number;
  /** Cases in which something had to run again. */
  readonly missed: number;
  /** Cases with a report. */
  readonly told: number;
}
