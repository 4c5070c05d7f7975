import { test } from "node:test";
import { assertEquals, assertStrictEquals } from "@std/assert";
import { currentPassage, Passage } from "../../src/base/passage.ts";
import { reasonOf } from "../support/by_hand.ts";
import { FakeTime } from "../support/fake_time.ts";

/** The visible state of a passage. */
function stateOf({ isWorking, hasStarted, isBetweenAttempts, workedMs }: Passage): unknown[] {
  return [isWorking, hasStarted, isBetweenAttempts, workedMs];
}

test("currentPassage() is the passage of the call that is being made, in its synchronous part", async () => {
  const outer = new Passage(undefined);
  const inner = new Passage(outer);
  const seen: unknown[] = [];
  const look = (): void => void seen.push(currentPassage());
  const result = outer.enter(() => {
    look();
    inner.enter(look);
    look();
    return Promise.resolve().then(look);
  });
  look();
  await result;
  assertEquals(seen, [outer, inner, outer, undefined, undefined]);
  try {
    outer.enter(() => {
      throw new Error("own");
    });
  } catch {
    // Only the state afterwards counts.
  }
  assertEquals(currentPassage(), undefined);
});

test("Passage.workedMs leaves out the time in which the function only waits", async () => {
  using time = new FakeTime();
  const run = new Passage(undefined);
  await time.tick(1);
  const ended = run.wait("turn");
  await time.tick(10);
  assertEquals(stateOf(run), [false, false, false, 1]);
  ended();
  await time.tick(100);
  assertEquals(stateOf(run), [true, true, false, 101]);
  run.end(true);
  await time.tick(1_000);
  assertEquals(run.workedMs, 101);
});

test("Passage.isWorking holds while one of several functions in it works", async () => {
  using time = new FakeTime();
  const run = new Passage(undefined);
  const first = new Passage(run);
  const ended = run.wait("turn");
  await time.tick(1);
  assertEquals(stateOf(run), [true, true, false, 1]);
  first.end(false);
  await time.tick(10);
  // The first function has failed: the one that waits may still be the first to run.
  assertEquals(stateOf(run), [false, false, false, 1]);
  ended();
  const second = new Passage(run);
  await time.tick(100);
  second.end(true);
  const again = run.wait("turn");
  assertEquals(stateOf(run), [false, true, false, 101]);
  again();
});

test("Passage.isBetweenAttempts holds while the only thing that goes on is a wait for an attempt", () => {
  const run = new Passage(undefined);
  const attempt = new Passage(run);
  assertEquals(run.isBetweenAttempts, false);
  const ended = attempt.wait("attempt");
  assertEquals(run.isBetweenAttempts, true);
  const other = new Passage(run);
  assertEquals(run.isBetweenAttempts, false);
  other.end(true);
  assertEquals(run.isBetweenAttempts, true);
  ended();
  assertEquals(run.isBetweenAttempts, false);
  const turn = run.wait("turn");
  assertEquals(run.isBetweenAttempts, false);
  turn();
});

test("Passage.end() leaves nothing of it in the passage around it, whatever its wrappers do later", async () => {
  using time = new FakeTime();
  const run = new Passage(undefined);
  const attempt = new Passage(run);
  const forgotten = new Passage(attempt);
  const ended = attempt.wait("attempt");
  attempt.end(false);
  const waiting = run.wait("turn");
  await time.tick(1);
  assertEquals(stateOf(run), [false, false, false, 0]);
  forgotten.end(true);
  ended();
  attempt.end(true);
  assertEquals(stateOf(run), [false, false, false, 0]);
  waiting();
  assertEquals(run.isWorking, true);
});

test("Passage.onChange is called when a wrapper waits, begins and ends, however deep", () => {
  let changes = 0;
  const states: boolean[] = [];
  const run: Passage = new Passage(undefined, {
    onChange: () => {
      changes++;
      states.push(run.isWorking);
    },
  });
  const attempt = new Passage(run);
  const ended = attempt.wait("turn");
  ended();
  attempt.end(true);
  assertEquals([changes, states], [4, [true, false, true, true]]);
});

test("Passage.signals are those around it and its own", () => {
  const [run, attempt] = [new AbortController(), new AbortController()];
  const outer = new Passage(undefined, { signal: run.signal });
  const middle = new Passage(outer);
  const inner = new Passage(middle, { signal: attempt.signal });
  assertEquals(inner.signals, [run.signal, attempt.signal]);
});

test("Passage.pass() is reported to every passage around", () => {
  const passed: unknown[] = [];
  const limit = { pause() {} };
  const outer = new Passage(undefined, { onPass: (...args) => passed.push(["outer", ...args]) });
  const middle = new Passage(outer);
  new Passage(middle, { onPass: (...args) => passed.push(["inner", ...args]) }).pass(limit, "key");
  assertEquals(passed, [["inner", limit, "key"], ["outer", limit, "key"]]);
});

test("Passage.run() calls in it and ends with the call, however that ends", async () => {
  const error = new Error("own");
  const cases: [call: () => unknown, hasSucceeded: boolean][] = [
    [() => Promise.resolve(1), true],
    [() => 1, true],
    [() => Promise.reject(error), false],
    [() => {
      throw error;
    }, false],
  ];
  for (const [call, hasSucceeded] of cases) {
    const run = new Passage(undefined);
    const inner = new Passage(run);
    let seen: unknown;
    const result = inner.run(() => {
      seen = currentPassage();
      return call();
    });
    if (hasSucceeded) assertEquals(await result, 1);
    else assertStrictEquals(await reasonOf(result), error);
    assertStrictEquals(seen, inner);
    const ended = run.wait("turn");
    assertEquals([run.isWorking, run.hasStarted], [false, hasSucceeded]);
    ended();
  }
});
