/** Importing has no effects: every export, in a separate process without any permission. */
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { assert, assertEquals } from "@std/assert";
import { start } from "./support/child.ts";

const DENIED: readonly string[] = ["read", "write", "env", "net", "run", "ffi", "sys"].map(
  (name) => `--deny-${name}`,
);

function read(path: string): string {
  return readFileSync(new URL(`../${path}`, import.meta.url), "utf8");
}

interface Imported {
  readonly names: Readonly<Record<string, readonly string[]>>;
  readonly touched: readonly string[];
  readonly changed: readonly string[];
  readonly databases: readonly string[];
}

test("Importing every export touches no environment, timer, console, global, runtime module or network", async () => {
  const child = start("fixtures/imports_child.ts", [], DENIED);
  const [line = ""] = await child.ended();
  const imported = JSON.parse(line) as Imported;
  assertEquals(imported.touched, []);
  assertEquals(imported.changed, []);
  assertEquals(imported.databases, []);
  assertEquals(child.errors(), "");
  // The script imports every export.
  const { exports } = JSON.parse(read("deno.json")) as {
    exports: Record<string, string>;
  };
  assertEquals(
    Object.keys(imported.names).sort(),
    // The command is run, never imported.
    Object.keys(exports)
      .filter((name) => name !== "./cli")
      .sort(),
  );
  for (const [name, names] of Object.entries(imported.names)) {
    assert(names.length > 0, name);
  }
});
