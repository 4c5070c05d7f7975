/**
 * What a backend is tested with: the conformance kit, one or more tests for each numbered clause
 * of the backend contract, and a backend that fails on demand.
 *
 * The kit works with any test runner and imports none.
 *
 * @module
 */

import type { Backend } from "../backend/contract.ts";
import { refuseUnknownOptions } from "../base/errors.ts";
import { requireInteger } from "../base/integer.ts";
import type { Kit } from "./entries.ts";
import { testEnd, testFailures, testOwnership, testVisibility } from "./life.ts";
import { testListing } from "./listing.ts";
import { testNames } from "./names.ts";
import { testPruning } from "./pruning.ts";
import { testValues } from "./values.ts";

/** Registers one test: `test` of `node:test`, `bun:test` or Vitest, or `Deno.test`. */
export type RegisterTest = (name: string, fn: () => Promise<void>) => unknown;

/** What `open` gives to a test; it may carry whatever the other options need, such as a path. */
export interface OpenStore {
  /** A backend that holds no entry yet and that nothing else uses. */
  readonly backend: Backend;
}

/**
 * Options of {@linkcode testBackend}: what the store can do besides, each as a function of what
 * `open` gave. Tests that need one that is left out are not registered.
 */
export interface TestOptions<Store extends OpenStore> {
  /**
   * Opens another backend on the same entries, also after the first one is closed (clause 11).
   * Leave it out when entries belong to one object alone, as in memory. The kit closes it.
   */
  readonly again?: (store: Store) => Backend | Promise<Backend>;
  /**
   * Opens a backend on the same store whose entries are not this one's: another table, a prefix
   * that begins with the same letters (clauses 4 and 8). The kit closes it.
   */
  readonly neighbour?: (store: Store) => Backend | Promise<Backend>;
  /**
   * Makes the store fail from now on: every operation on the backend must reject (clause 10).
   */
  readonly breakStore?: (store: Store) => void | Promise<void>;
  /** Removes what `open` made, after each test; the backend is closed by then. */
  readonly remove?: (store: Store) => void | Promise<void>;
  /**
   * How many entries the tests store that look past the first page of a listing: a positive
   * integer, 2,500 when unset. Choose more than two pages of your store.
   */
  readonly entryCount?: number;
  /** Seed of the random tests, an integer from 0 to 2³² − 1; 1 when unset. */
  readonly seed?: number;
}

/**
 * Registers the tests that every backend must pass, named after the clauses of the contract.
 *
 * @param test Registers one test with a runner.
 * @param open Gives a fresh, empty backend each time; called once per test.
 * @param options What the store can do besides, and how much to store.
 * @throws {TypeError} If an option does not exist.
 * @throws {RangeError} If `entryCount` or `seed` is out of range.
 *
 * @example Test a backend of your own
 * ```ts
 * import { MemoryBackend } from "@panza/panza/memory";
 * import { testBackend } from "@panza/panza/testing";
 * import { assert } from "@std/assert";
 *
 * // Stands for `import { test } from "node:test"`.
 * const tests = new Map<string, () => Promise<void>>();
 * testBackend(
 *   (name, fn) => tests.set(name, fn),
 *   () => ({ backend: new MemoryBackend() }),
 *   { entryCount: 10 },
 * );
 * for (const run of tests.values()) await run();
 * assert([...tests.keys()].some((name) => name.startsWith("clause 13: ")));
 * ```
 */
export function testBackend<Store extends OpenStore>(
  test: RegisterTest,
  open: () => Store | Promise<Store>,
  options: TestOptions<Store> = {},
): void {
  refuseUnknownOptions("test the backend", options, [
    "again",
    "neighbour",
    "breakStore",
    "remove",
    "entryCount",
    "seed",
  ]);
  const { again, neighbour, breakStore, entryCount = 2500, seed = 1 } = options;
  requireInteger("test the backend", "entryCount", entryCount, 1);
  requireInteger("test the backend", "seed", seed, 0, 2 ** 32 - 1);

  /** Registers a test on a fresh store, which is closed and removed whatever happens. */
  function check(name: string, body: (backend: Backend, store: Store) => Promise<void>): void {
    test(name, async () => {
      const store = await open();
      try {
        await body(store.backend, store);
      } finally {
        // A broken store may refuse to close; what the test found matters more.
        await Promise.allSettled([settled(() => store.backend.close())]);
        await options.remove?.(store);
      }
    });
  }

  /** Like `check`, with a second backend. */
  function checkBoth(
    name: string,
    second: (store: Store) => Backend | Promise<Backend>,
    body: (first: Backend, second: Backend) => Promise<void>,
  ): void {
    check(name, async (backend, store) => {
      const other = await second(store);
      try {
        await body(backend, other);
      } finally {
        await Promise.allSettled([settled(() => other.close())]);
      }
    });
  }

  const kit: Kit<Store> = { check, checkBoth };
  testValues(kit);
  testNames(kit, entryCount, neighbour);
  testListing(kit, entryCount);
  testFailures(kit, breakStore);
  testVisibility(kit, again, seed);
  testEnd(kit);
  testOwnership(kit);
  testPruning(kit, entryCount, breakStore, seed);
}

/** Calls, and turns what is thrown at once into a rejection. */
async function settled(call: () => Promise<unknown>): Promise<unknown> {
  return await call();
}
