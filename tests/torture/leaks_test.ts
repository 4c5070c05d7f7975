/** The short form of `torture/leaks.ts`. */
import { test } from "node:test";
import { assert } from "@std/assert";
import { leak } from "./leaks.ts";

// Tries to make the cache, its flights or the limiter keep finished work, or drop a rejection.
test("Calls of every kind leave nothing on the heap and no rejection unhandled", async () => {
  // The heap of a runtime varies by some 300 KB by itself; a leak shows in every round.
  const rounds = [];
  for (let round = 0; round < 3; round++) rounds.push(await leak({ count: 90_000, seed: 7 }));
  const part = Math.min(...rounds.map((each) => each.part));
  const bytesPerCall = Math.min(...rounds.map((each) => each.bytesPerCall));
  assert(part < 0.05, `the heap grew by ${Math.round(part * 100)} %`);
  assert(bytesPerCall < 6, `${bytesPerCall} bytes are left of each call`);
});
