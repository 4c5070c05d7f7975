/**
 * Measurements that need a fresh process: start-up and memory.
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

/** Runs a program in its own process; returns its output and its time. */
export function runProgram(name: string, source: string): { ms: number; out: string } {
  mkdirSync(FOLDER, { recursive: true });
  const path = `${FOLDER}/${name.replaceAll(" ", "_")}.ts`;
  writeFileSync(path, source);
  const begin = performance.now();
  const out = execFileSync(
    process.execPath,
    ["run", "--no-check", "--allow-all", "--quiet", path],
    { encoding: "utf8", timeout: 120_000 },
  );
  return { ms: performance.now() - begin, out: out.trim() };
}

/** Runs this program again in a new process, with other parameters, to its end. */
export function runSelf(parameters: readonly string[]): void {
  const { deno, bun } = process.versions;
  const flags = deno !== undefined
    ? ["run", "--no-check", "--allow-all", "--no-lock", "--quiet", "--v8-flags=--expose-gc"]
    : bun === undefined
    ? ["--expose-gc"]
    : [];
  const [, program = ""] = process.argv;
  execFileSync(process.execPath, [...flags, program, ...parameters], {
    stdio: "inherit",
  });
}

interface Milliseconds {
  readonly value: number;
  readonly detail: string;
}

/** A program and its expected output. */
export interface Program {
  readonly source: string;
  readonly prints: string;
}

/** The programs that measure start-up; prepares a file with one entry. */
export async function programs(): Promise<
  Record<"an empty module" | "the library" | "a first hit", Program>
> {
  const path = freshPath("first");
  {
    await using cache = new SQLiteCache(path);
    await cache.cache({ id: "work" })(async (_n: number) => await Promise.resolve(chat))(7);
  }
  mkdirSync(FOLDER, { recursive: true });
  writeFileSync(`${FOLDER}/nothing.ts`, "export {};\n");
  return {
    "an empty module": {
      source: 'import "./nothing.ts";\nconsole.log("done");\n',
      prints: "done",
    },
    "the library": {
      source: 'import "../../../mod.ts";\nconsole.log("done");\n',
      prints: "done",
    },
    "a first hit": {
      source: `import { SQLiteCache } from "../../../mod.ts";
const cache = new SQLiteCache(${JSON.stringify(path)});
const cached = cache.cache({ id: "work" })(async (n: number) => { throw n; });
console.log((await cached(7)).model);
await cache.close();
`,
      prints: chat.model,
    },
  };
}

function over(ours: Program, floor: Program, rounds: number): Milliseconds {
  const times: { ours: number[]; floor: number[] } = { ours: [], floor: [] };
  for (let round = -2; round < rounds; round++) {
    for (const [side, { source, prints }] of Object.entries({ ours, floor })) {
      const { ms, out } = runProgram(side, source);
      if (out !== prints) throw new Error(`a program printed ${out}`);
      if (round >= 0) times[side as keyof typeof times].push(ms);
    }
  }
  const best = Math.min(...times.ours) - Math.min(...times.floor);
  return {
    value: median(times.ours.map((ms, round) => ms - times.floor[round]!)),
    detail: `${median(times.ours).toFixed(0)} ms against ${
      median(times.floor).toFixed(
        0,
      )
    } ms; ${best.toFixed(1)} ms by the best rounds`,
  };
}

/** The time of importing the library, beyond that of importing an empty module. */
export async function importMs(rounds: number): Promise<Milliseconds> {
  const all = await programs();
  return over(all["the library"], all["an empty module"], rounds);
}

/** The time of importing the library and one hit on an existing file, beyond the import alone. */
export async function firstHitMs(rounds: number): Promise<Milliseconds> {
  const all = await programs();
  return over(all["a first hit"], all["the library"], rounds);
}

/** The growth of a process that reads 20,000 of a million entries, in megabytes. */
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
