/** Importing has no effects: every export, in a separate process without any permission. */
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path/posix";
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

/** The specifiers that a module imports as it loads, without those of types and of `import()`. */
function staticImports(source: string): string[] {
  const code = source.replace(/\/\*[\s\S]*?\*\/|^\s*\/\/.*$/gm, "");
  const found = code.matchAll(/^\s*(?:import|export)\s+(type\s)?(?:[^"';]*?\sfrom\s+)?"([^"]+)"/gm);
  return [...found].flatMap(([, type, specifier]) =>
    type === undefined && specifier !== undefined ? [specifier] : []
  );
}

test("Importing the package loads neither a database nor an SDK: they load on first use", () => {
  const { exports } = JSON.parse(read("deno.json")) as {
    exports: Record<string, string>;
  };
  const seen = new Set<string>();
  const outside = new Set<string>();
  const visit = (path: string): void => {
    if (seen.has(path)) return;
    seen.add(path);
    for (const specifier of staticImports(read(path))) {
      if (specifier.startsWith(".")) visit(join(dirname(path), specifier));
      else outside.add(specifier);
    }
  };
  for (const path of Object.values(exports)) visit(path.replace("./", ""));
  assert(seen.has("sqlite.ts") && seen.has("src/core/call.ts"));
  for (const specifier of outside) {
    assert(/^@std\/(crypto\/aes-gcm$|async\/|assert\/)/.test(specifier), specifier);
  }
});

test("staticImports() finds the modules that load at once, and no others", () => {
  assertEquals(
    staticImports(`
import { a } from "a";
import {
  b,
  type B,
} from "b";
import "c";
import type { D } from "d";
export { e } from "e";
export type { F } from "f";
// import { g } from "g";
/** import { h } from "h"; */
const i = await import("i");
`),
    ["a", "b", "c", "e"],
  );
});
