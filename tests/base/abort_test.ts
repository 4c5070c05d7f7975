import { test } from "node:test";
import { assertEquals, assertInstanceOf, assertLess, assertStrictEquals } from "@std/assert";
import { unlessAborted, whenAborted } from "../../src/base/abort.ts";
import { countListeners, Polyfill, quiet, reasonOf } from "../support/by_hand.ts";

test("whenAborted() calls once, with the reason of the first signal that aborts", () => {
  const [first, second] = [new AbortController(), new AbortController()];
  const reasons: unknown[] = [];
  whenAborted([first.signal, second.signal, first.signal], (reason) => reasons.push(reason));
  second.abort("second");
  first.abort("first");
  assertEquals(reasons, ["second"]);
});

test("whenAborted() calls at once for a signal that has aborted", () => {
  const reasons: unknown[] = [];
  const open = new AbortController();
  const listeners = countListeners(open.signal);
  whenAborted([open.signal, AbortSignal.abort("gone")], (reason) => reasons.push(reason));
  assertEquals([reasons, listeners.left], [["gone"], 0]);
});

test("whenAborted() listens once to a signal, and not at all when nobody waits", () => {
  const controller = new AbortController();
  const listeners = countListeners(controller.signal);
  const reasons: unknown[] = [];
  const stops = [1, 2, 3].map((n) =>
    whenAborted([controller.signal], (reason) => reasons.push(`${n} ${reason}`))
  );
  assertEquals(listeners.left, 1);
  stops[0]?.();
  stops[0]?.();
  assertEquals(listeners.left, 1);
  controller.abort("gone");
  assertEquals([reasons, listeners.left], [["2 gone", "3 gone"], 0]);
});

test("whenAborted() takes a polyfilled signal, whose missing reason is an AbortError", () => {
  const polyfill = new Polyfill();
  const signal = polyfill as Polyfill & AbortSignal;
  const reasons: unknown[] = [];
  whenAborted([signal], (reason) => reasons.push(reason));
  polyfill.abort();
  whenAborted([signal], (reason) => reasons.push(reason));
  assertEquals([reasons.length, polyfill.listeners.size], [2, 0]);
  for (const reason of reasons) {
    assertInstanceOf(reason, DOMException);
    assertEquals(reason.name, "AbortError");
  }
});

test("whenAborted() costs the same however many calls share a signal", () => {
  const timeOf = (count: number): number => {
    const { signal } = new AbortController();
    const begin = performance.now();
    const stops = Array.from({ length: count }, () => whenAborted([signal], () => {}));
    for (const stop of stops) stop();
    return performance.now() - begin;
  };
  timeOf(10_000);
  // Linear is a hundred times as long, quadratic ten thousand times.
  assertLess(timeOf(200_000), Math.max(5, timeOf(2_000)) * 1_000);
});

test("unlessAborted() gives what the promise gives and stops listening", async () => {
  const { signal } = new AbortController();
  const listeners = countListeners(signal);
  assertEquals(await unlessAborted(Promise.resolve(1), [signal]), 1);
  const error = new Error("own");
  assertStrictEquals(await reasonOf(unlessAborted(Promise.reject(error), [signal])), error);
  await quiet();
  assertEquals(listeners.left, 0);
});

test("unlessAborted() rejects with the reason at once, and leaves no rejection unhandled", async () => {
  const controller = new AbortController();
  const { promise, reject } = Promise.withResolvers<never>();
  const waiting = unlessAborted(promise, [controller.signal]);
  controller.abort("gone");
  assertEquals(await reasonOf(waiting), "gone");
  assertEquals(await reasonOf(unlessAborted(promise, [controller.signal])), "gone");
  reject(new Error("late"));
  await quiet();
});
