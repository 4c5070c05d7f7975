import { test } from "node:test";
import { assertEquals, assertThrows } from "@std/assert";
import { checkValue } from "../../src/base/check.ts";
import { duration, finiteDuration } from "../../src/base/duration.ts";

test("duration reads milliseconds and numbers with a unit", () => {
  const cases: [unknown, number][] = [
    [1, 1],
    [0.5, 0.5],
    [Infinity, Infinity],
    ["500ms", 500],
    ["90s", 90_000],
    ["10m", 600_000],
    ["12h", 43_200_000],
    ["7d", 604_800_000],
    ["1.5h", 5_400_000],
  ];
  for (const [value, expected] of cases) {
    assertEquals(checkValue("wait", "per", value, duration), expected);
  }
});

test("duration refuses what is not a length of time above zero", () => {
  for (const value of [0, -1, NaN, -Infinity, "0s", "-5m", "9".repeat(400) + "d"]) {
    assertThrows(
      () => checkValue("wait", "per", value, duration),
      RangeError,
      "Cannot wait: per must be a duration above zero",
    );
  }
  const texts = ["", "5", "s", "5 s", "5S", "1e3s", "5y", " 5s", "5s\n", "Infinitys", ".5s"];
  for (const value of [...texts, null, undefined, 5n, {}]) {
    assertThrows(() => checkValue("wait", "per", value, duration), TypeError, "per must be");
  }
});

test("finiteDuration refuses Infinity too", () => {
  assertEquals(checkValue("wait", "per", "1s", finiteDuration), 1_000);
  assertThrows(
    () => checkValue("wait", "per", Infinity, finiteDuration),
    RangeError,
    "per must be a finite duration above zero",
  );
});
