/** The structure of the package: doors at the root, rooms under src/, and the allowed imports. */

import { readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path/posix";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { assert, assertEquals } from "@std/assert";
import plugin from "../scripts/lint.ts";

const ROOT = fileURLToPath(new URL("../", import.meta.url));

/** A folder imports only the folders of earlier lines. */
const FLOORS: readonly (readonly string[])[] = [
  ["base"],
  ["encoding", "limits"],
  ["backend"],
  ["leases"],
  ["core", "memory", "sqlite", "s3", "redis", "folder", "tiered", "progress", "testing"],
  ["fetch", "cli"],
];

const FLOOR = new Map(
  FLOORS.flatMap((rooms, floor) => rooms.map((room) => [room, floor])),
);

function typescript(folder: string, recursive: boolean): string[] {
  return readdirSync(join(ROOT, folder), { recursive, encoding: "utf8" })
    .map((file) => join(folder, file.replaceAll("\\", "/")))
    .filter((file) => file.endsWith(".ts")).sort();
}

/** The specifiers that a file imports; `"at once"` leaves out types and dynamic imports. */
function importsOf(file: string, kind: "all" | "at once" = "all"): string[] {
  const code = readFileSync(join(ROOT, file), "utf8")
    .replace(/\/\*[\s\S]*?\*\/|^\s*\/\/.*$/gm, "")
    .replace(kind === "all" ? "" : /^(im|ex)port type [^;]+;|\bimport\s*\([^)]*\)/gm, "");
  return [...code.matchAll(/(?:\bfrom\s+|\bimport\s*\(\s*|^import\s+)"([^"]+)"/gm)]
    .map(([, specifier]) => specifier ?? "");
}

/** The reason why a file may not import a path; `undefined` when it may. */
function objection(file: string, path: string): string | undefined {
  const [, from] = /^src\/(\w+)\//.exec(file) ?? [];
  const [, to] = /^src\/(\w+)\//.exec(path) ?? [];
  if (from === undefined || from === to) return undefined;
  if (to === undefined) {
    return `${file} imports ${path}: a room imports no door`;
  }
  const above = (FLOOR.get(to) ?? Infinity) >= (FLOOR.get(from) ?? -Infinity);
  return above ? `${file} imports ${path}: ${to} is not before ${from}` : undefined;
}

/** The files that a file reaches through imports, itself only if it is in a cycle. */
function reachable(
  file: string,
  graph: ReadonlyMap<string, readonly string[]>,
): Set<string> {
  const seen = new Set<string>();
  const visit = (from: string): void => {
    for (const next of graph.get(from) ?? []) {
      if (!seen.has(next)) visit(seen.add(next) && next);
    }
  };
  visit(file);
  return seen;
}

const FILES = [...typescript("", false), ...typescript("src", true)];
const GRAPH: ReadonlyMap<string, readonly string[]> = new Map(
  FILES.map((file) => [
    file,
    importsOf(file).filter((each) => each.startsWith("."))
      .map((each) => join(dirname(file), each)),
  ]),
);

test("The files at the root are the exports of the package, and nothing else", () => {
  const { exports } = JSON.parse(readFileSync(join(ROOT, "deno.json"), "utf8"));
  assertEquals(
    typescript("", false),
    Object.values<string>(exports).map((each) => each.slice(2)).sort(),
  );
});

test("A folder imports the folders before it, never one beside it, and never a door", () => {
  const objections = [...GRAPH].flatMap(([file, paths]) =>
    paths.map((path) => objection(file, path))
  );
  assertEquals(objections.filter((each) => each !== undefined), []);
});

test("Every room under src/ has its floor", () => {
  assertEquals(readdirSync(join(ROOT, "src")).filter((room) => !FLOOR.has(room)), []);
});

test("Importing the package loads neither a database nor an SDK: they load on first use", () => {
  const outside = FILES.flatMap((file) => importsOf(file, "at once"))
    .filter((specifier) => !specifier.startsWith("."));
  assert(outside.includes("@std/crypto/aes-gcm") && outside.includes("@std/async/delay"));
  assertEquals(outside.filter((each) => !/^@std\/(assert|async|crypto)\//.test(each)), []);
  const later = FILES.flatMap((file) => importsOf(file));
  assert(later.includes("@aws-sdk/client-s3") && later.includes("redis"));
});

test("No published file imports itself, over however many others", () => {
  assertEquals(FILES.filter((file) => reachable(file, GRAPH).has(file)), []);
});

/** The numbers of the lines that the lint plugin reports. */
function reported(file: string, source: string): number[] {
  return Deno.lint.runPlugin(plugin, join(ROOT, file), source)
    .map(({ range: [start] }) => source.slice(0, start).split("\n").length);
}

test("deno lint reports console, process and Deno in published files, src/base excepted", () => {
  const source = `console.log(1);
globalThis.console.log(1);
const { process } = globalThis;
process.exit();
Deno.exit();
(globalThis as { Deno?: { exit(): void } }).Deno?.exit();
export const named = { console: 1, process: 2, Deno: 3 };
named.console + named.process + named.Deno;
`;
  assertEquals(reported("src/core/a.ts", source), [1, 2, 3, 4, 5, 6]);
  assertEquals(reported("memory.ts", source), [1, 2, 3, 4, 5, 6]);
  assertEquals(reported("src/base/a.ts", source), [5]);
  for (const folder of ["tests", "scripts", "bench", "examples"]) {
    assertEquals(reported(`${folder}/a.ts`, source), [], folder);
  }
  const { lint } = JSON.parse(readFileSync(join(ROOT, "deno.json"), "utf8"));
  assertEquals(lint.plugins, ["./scripts/lint.ts"]);
});

test("The rule for imports refuses what it should", () => {
  const refused = [
    ["src/base/a.ts", "src/encoding/b.ts"],
    ["src/encoding/a.ts", "src/limits/b.ts"],
    ["src/core/a.ts", "src/sqlite/b.ts"],
    ["src/core/a.ts", "memory.ts"],
  ] as const;
  for (const [file, path] of refused) {
    assertEquals(typeof objection(file, path), "string", file);
  }
  assertEquals(objection("src/core/a.ts", "src/base/b.ts"), undefined);
  assertEquals(objection("mod.ts", "src/sqlite/b.ts"), undefined);
});
