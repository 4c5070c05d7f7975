/** Sizes, times and names as people read and write them. */
import { test } from "node:test";
import { assertEquals } from "@std/assert";
import {
  cut,
  formatAge,
  formatSize,
  formatTime,
  parseSize,
  visible,
} from "../../src/cli/format.ts";

test("formatSize() has one decimal and never a thousand of a unit", () => {
  const sizes: readonly (readonly [number, string])[] = [
    [0, "0 B"],
    [999, "999 B"],
    [1000, "1.0 kB"],
    [98_460, "98.5 kB"],
    [999_400, "999.4 kB"],
    [999_999, "1.0 MB"],
    [2_000_000, "2.0 MB"],
    [1.5e9, "1.5 GB"],
    [7e15, "7000.0 TB"],
  ];
  assertEquals(sizes.map(([bytes]) => formatSize(bytes)), sizes.map(([, text]) => text));
});

test("parseSize() reads decimal and binary units, and nothing else", () => {
  const sizes: Readonly<Record<string, number>> = {
    "500": 500,
    "10B": 10,
    "10MB": 10e6,
    "1.5 GB": 1.5e9,
    "64KiB": 65_536,
    "2k": 2000,
    "1TB": 1e12,
  };
  assertEquals(Object.keys(sizes).map(parseSize), Object.values(sizes));
  const wrong = ["", "MB", "10 apples", "-1", "1e9", "1 0", "0x10", "10MBs"];
  assertEquals(wrong.map(parseSize), wrong.map(() => undefined));
});

test("formatTime() goes from milliseconds to days", () => {
  const times: readonly (readonly [number, string])[] = [
    [0, "0 ms"],
    [0.4, "0 ms"],
    [350, "350 ms"],
    [1_400, "1.4 s"],
    [52_000, "52 s"],
    [119_000, "119 s"],
    [498_000, "8.3 min"],
    [3 * 3_600_000, "3.0 h"],
    [90 * 86_400_000, "90 d"],
  ];
  assertEquals(times.map(([ms]) => formatTime(ms)), times.map(([, text]) => text));
  assertEquals([formatAge(1_000, 53_000), formatAge(-Infinity, 0)], ["52 s ago", ""]);
});

test("visible() leaves nothing that a terminal obeys", () => {
  assertEquals(visible("a\x1b[31mb\x9b1m\u202e\nä"), "a\\u001b[31mb\\u009b1m\\u202e\\u000aä");
  assertEquals(visible("a\nb\t", "\n"), "a\nb\\u0009");
});

test("cut() marks what it leaves out", () => {
  assertEquals([cut("abc", 3), cut("abcd", 3), cut("abcd", 0)], ["abc", "ab…", "…"]);
});
