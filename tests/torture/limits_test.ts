/**
 * The short form of `torture/limits.ts`. Beside other tests the fraction of the ideal throughput
 * says little; the long form asserts it.
 */
import { test } from "node:test";
import { assert } from "@std/assert";
import { sharePause, sharePermits, shareRate } from "./limits.ts";

// Tries to make a sixth call run, and to starve one of eight processes.
test("limitConcurrency() with a store holds for eight processes, which take turns", async () => {
  const { part, took: [first, last] } = await sharePermits(40, 0);
  assert(part > 0.25, `${part} of the ideal rate`);
  assert(first > 0.3 * last, `one had done after ${first} ms, another one after ${last} ms`);
});

// Tries to keep the permits of processes that are killed.
test("limitConcurrency() with a store gives the permits of killed processes to others", async () => {
  const { part } = await sharePermits(20, 2);
  assert(part > 0.2, `${part} of the ideal rate`);
});

// Tries to start more in some window than its count, one process after another included.
test("limitRate() with a store holds for all windows of several processes", async () => {
  const { part } = await shareRate(20, 1_000);
  assert(part > 0.4, `${part} of the ideal rate`);
});

// Tries to start a call in a process while another one has paused all.
test("pause() of a limit with a store holds for all processes", async () => {
  await sharePause();
});
