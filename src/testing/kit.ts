/**
 * The conformance kit: one or more tests for each numbered clause of the backend contract. It works
 * with any test runner and imports none.
 *
 * @module
 */

import type { Backend } from "../backend/contract.ts";
import { check as checkOptions, count, fn } from "../base/check.ts";
import { testEnd, testFailures, testLocation, testOwnership, testVisibility } from "./life.ts";
import { testListing } from "./listing.ts";
import { testNames } from "./names.ts";
import { testNotes } from "./notes.ts";
import { testPruning } from "./pruning.ts";
import { testValues } from "./values.ts";

/** Registers one test: `test` of `node:test`, `bun:test` or Vitest, or `Deno.test`. */
export type RegisterTest = (name: string, fn: () => Promise<void>) => unknown;

/** The store of one test; it may carry whatever the other options need, such as a path. */
export interface OpenStore {
  /** A backend that holds no entry yet and that nothing else uses. */
  readonly backend: Backend;
}

/**
 * Options of {@linkcode testBackend}: further abilities of the store, each as a function of what
 * `open` returned. Tests that need a missing one are not registered.
 */
export interface TestOptions<Store extends OpenStore> {
  /**
   * Opens another backend on the same entries, also after the first is closed (clauses 11 and 15).
   * Leave it out when entries belong to one object alone, as in memory. The kit closes the backend.
   */
  readonly reopen?: (store: Store) => Backend | Promise<Backend>;
  /**
   * Opens a backend on the same store with entries of its own: another table, a prefix that begins
   * with the same letters (clauses 4, 8 and 15). The kit closes the backend.
   */
  readonly openNeighbour?: (store: Store) => Backend | Promise<Backend>;
  /** Makes the store fail from now on: every operation on the backend must reject (clause 10). */
  readonly breakStore?: (store: Store) => void | Promise<void>;
  /** Removes the store that `open` made, after each test; its backend is closed by then. */
  readonly cleanUp?: (store: Store) => void | Promise<void>;
  /**
   * The number of entries in tests that look past the first page of a listing: a positive integer,
   * 2,500 when unset. Choose more than two pages of your store.
   */
  readonly entryCount?: number;
  /** Seed of the random tests, an integer from 0 to 2³² − 1; 1 when unset. */
  readonly seed?: number;
}

/**
 * Registers the tests that every backend must pass, named after the clauses of the contract.
 *
 * @param test Registers one test with a runner.
 * @param open Opens a fresh, empty store; called once per test.
 * @param options Further abilities of the store, and the number of entries to store.
 * @throws {TypeError} If an option is unknown or of the wrong kind.
 * @throws {RangeError} If `entryCount` or `seed` is out of range.
 *
 * @category Backends
 * @example Test a backend of your own
 * ```ts
 * import { MemoryBackend } from "@panza/panza/memory";
 * import { testBackend } from "@panza/panza/testing";
 * import { assert } from "@std/assert";
 *
 * // In the place of `import { test } from "node:test"`.
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
  checkOptions("test the backend", options, {
    reopen: fn,
    openNeighbour: fn,
    breakStore: fn,
    cleanUp: fn,
    entryCount: count(),
    seed: count({ min: 0, max: 2 ** 32 - 1 }),
  });
  const { reopen, openNeighbour, breakStore, cleanUp, entryCount = 2500, seed = 1 } = options;

  function check(name: string, body: (backend: Backend, store: Store) => Promise<void>): void {
    test(name, async () => {
      const store = await open();
      try {
        await body(store.backend, store);
      } finally {
        await closeQuietly(store.backend);
        await cleanUp?.(store);
      }
    });
  }

  function checkBoth(
    name: string,
    openSecond: (store: Store) => Backend | Promise<Backend>,
    body: (first: Backend, second: Backend) => Promise<void>,
  ): void {
    check(name, async (first, store) => {
      const second = await openSecond(store);
      try {
        await body(first, second);
      } finally {
        await closeQuietly(second);
      }
    });
  }

  const kit = { check, checkBoth, reopen, openNeighbour, breakStore, entryCount, seed };
  testValues(kit);
  testNames(kit);
  testListing(kit);
  testFailures(kit);
  testVisibility(kit);
  testEnd(kit);
  testOwnership(kit);
  testPruning(kit);
  testLocation(kit);
  testNotes(kit);
}

/** Closes a backend. A broken store may refuse, but the failure of the test matters more. */
async function closeQuietly(backend: Backend): Promise<void> {
  try {
    await backend.close();
  } catch {
    // Clause 12 has tests of its own.
  }
}
