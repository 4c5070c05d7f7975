/** The short form of `torture/fuzz.ts`. */
import { test } from "node:test";
import { fuzz } from "./fuzz.ts";

test("A cache keeps its rules through random calls, batches, busts, aborts and closes over any store", async () => {
  await fuzz({ count: 30_000, seed: 1 });
});
