/** The clock of waits, beside fake timers of several kinds. */
import { test } from "node:test";
import { assert, assertEquals } from "@std/assert";
import { clock } from "../../src/base/clock.ts";

test("clock() moves with fake timers that come with a fake Date only, and never jumps", () => {
  const { setTimeout } = globalThis;
  const { now } = Date;
  let wall = 5;
  const before = clock();
  try {
    Date.now = () => wall;
    wall += 60_000;
    assert(clock() - before < 10_000, "a Date alone moved it");
    globalThis.setTimeout = Object.assign(() => 0, setTimeout);
    const faked = clock();
    assert(faked >= before && faked - before < 10_000, "it jumped into fake time");
    wall += 60_000;
    assertEquals(clock(), faked + 60_000);
  } finally {
    Object.assign(globalThis, { setTimeout });
    Date.now = now;
  }
  const after = clock() - before;
  assert(after >= 60_000 && after < 80_000, "it jumped out of fake time");
});
