/** The short form of `torture/leaks.ts`. */
import { test } from "node:test";
import { assert } from "@std/assert";
import { leak } from "./leaks.ts";

// Tries to make the cache, its flights or the limiter keep what is over, or drop a rejection.
test("Calls of every kind leave nothing on the heap and no rejection unhandled", async () => {
  const { part, bytesPerCall } = await leak({ count: 180_000, seed: 7 });
  assert(part < 0.05, `the heap grew by ${Math.round(part * 100)} %`);
  assert(bytesPerCall < 6, `${bytesPerCall} bytes are left of each call`);
});
