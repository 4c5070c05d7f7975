/** Console output, and permissions that are looked up without a prompt. */
import { join } from "node:path";
import { test } from "node:test";
import { assertEquals } from "@std/assert";
import { mayAccess, warn } from "../../src/base/env.ts";
import { Warnings } from "../support/by_hand.ts";
import { start } from "../support/child.ts";
import { temporaryFolder } from "../support/temp.ts";

test("warn() writes its text unchanged, also where it looks like a format", () => {
  using warnings = new Warnings();
  warn("100%d %s %%");
  assertEquals(warnings.lines, ["100%d %s %%"]);
});

test("mayAccess() is true for a file that the tests may read", () => {
  assertEquals(mayAccess("read", join(temporaryFolder(), "file")), true);
});

test("Variables that may not be read count as unset, without a prompt", async () => {
  const names = ["BUST_CACHE", "CACHE_ONLY", "PRINT_CACHE_MISSES"];
  const permissions = "Deno" in globalThis;
  for (
    const [flags, expected] of [
      // Some permission, because Deno gives all to a child that names none.
      [["--allow-read"], permissions ? [] : names],
      [["--deny-env"], permissions ? [] : names],
      [["--allow-env=CACHE_ONLY"], permissions ? ["CACHE_ONLY"] : names],
      [["--allow-env"], names],
    ] as [string[], string[]][]
  ) {
    const child = start("fixtures/environment_child.ts", [], flags);
    const [before, values, after] = await child.ended();
    assertEquals(before, "[]");
    assertEquals(values, "[1,1]");
    assertEquals(JSON.parse(after ?? "null"), expected);
  }
});
