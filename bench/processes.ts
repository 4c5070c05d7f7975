/**
 * What only a fresh process shows: start-up and memory.
 *
 * @module
 */

import { execFileSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import process from "node:process";
import { SQLiteCache } from "../sqlite.ts";
import { median } from "./measure.ts";
import { argumentsOf, chat, freshPath } from "./work.ts";

const FOLDER = ".cache/bench/programs";

/** Runs a program in a process of its own; gives what it printed and how long it took. */
function runProgram(name: string, source: string): { ms: number; out: string } {
  mkdirSync(FOLDER, { recursive: true });
  const path = `${FOLDER}/${name}.ts`;
  writeFileSync(path, source);
  const begin = performance.now();
  const out = execFileSync(process.execPath, [
    "run",
    "--no-check",
    "--allow-all",
    "--quiet",
    path,
  ], { encoding: "utf8", timeout: 120_000 });
  return { ms: performance.now() - begin, out: out.trim() };
}

interface Milliseconds {
  readonly value: number;
  readonly detail: string;
}

/** The whole life of a process that imports the library, over one that imports an empty module. */
// deno-lint-ignore require-await
export async function importMs(rounds: number): Promise<Milliseconds> {
  mkdirSync(FOLDER, { recursive: true });
  writeFileSync(`${FOLDER}/nothing.ts`, "export {};\n");
  const empty: number[] = [];
  const library: number[] = [];
  for (let round = -2; round < rounds; round++) {
    const a = runProgram("empty", 'import "./nothing.ts";\n');
    const b = runProgram("library", 'import "../../../mod.ts";\n');
    if (round < 0) continue;
    empty.push(a.ms);
    library.push(b.ms);
  }
  const over = library.map((ms, round) => ms - empty[round]!);
  return {
    value: median(over),
    detail: `empty ${median(empty).toFixed(0)} ms, library ${
      median(library).toFixed(0)
    } ms; ${
      (Math.min(...library) - Math.min(...empty)).toFixed(1)
    } ms by the best rounds`,
  };
}

/** The first hit on a file that another process has filled: opening it included. */
export async function firstHitMs(rounds: number): Promise<Milliseconds> {
  const path = freshPath("first");
  {
    await using cache = new SQLiteCache(path);
    const cached = cache.cache({ id: "work" })(
      async (_n: number) => await Promise.resolve(chat),
    );
    await cached(7);
  }
  const source = `import { SQLiteCache } from "../../../mod.ts";
const begin = performance.now();
const cache = new SQLiteCache(${JSON.stringify(path)});
const cached = cache.cache({ id: "work" })(async (n: number) => { throw n; });
const value = await cached(7);
console.log(performance.now() - begin, value.model);
await cache.close();
`;
  const times: number[] = [];
  for (let round = -1; round < rounds; round++) {
    const [ms, model] = runProgram("first", source).out.split(" ");
    if (model !== chat.model) throw new Error("the first call was no hit");
    if (round >= 0) times.push(Number(ms));
  }
  return {
    value: median(times),
    detail: `${Math.min(...times).toFixed(1)} ms in the best round`,
  };
}

/** By how many megabytes a process grows that reads 20,000 of a million entries. */
// deno-lint-ignore require-await
export async function residentGrowth(path: string): Promise<Milliseconds> {
  const source = `import { SQLiteCache } from "../../../mod.ts";
const cache = new SQLiteCache(${JSON.stringify(path)});
const cached = cache.cache({ id: "work" })(async (_argument: unknown) => { throw new Error("miss"); });
const template = ${JSON.stringify(argumentsOf(0))};
const growth: number[] = [];
const before = process.memoryUsage.rss();
for (let index = 0; index < 20_000; index++) {
  await cached({ ...template, seed: (index * 104_729) % 1_000_000 });
}
console.log((process.memoryUsage.rss() - before) / 1e6);
await cache.close();
`;
  const megabytes = Number(runProgram("resident", source).out);
  return { value: megabytes, detail: "one process, hits far from each other" };
}
