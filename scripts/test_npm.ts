/**
 * Runs the tests against the built package on Node and Bun: `deno task test:npm [runtime …]`.
 *
 * Runtimes come from npm; without arguments all of them run. The package must have been built.
 */

// deno-lint-ignore-file no-console -- it reports its steps

import { spawnSync } from "node:child_process";
import { readdirSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { HOOKS, prepare } from "./project.ts";
import { ROOT, run, runtime, RUNTIMES } from "./tools.ts";

/** Test files left out on some runtimes, and the reasons; all others of tests/ run everywhere. */
const LEFT_OUT: readonly {
  file: string;
  runtimes: RegExp;
  reason: string;
}[] = [
  {
    file: "house_test.ts",
    runtimes: /./,
    reason: "it reads the sources, which are the same everywhere",
  },
  {
    file: "release_test.ts",
    runtimes: /./,
    reason: "it reads what is published, which is the same everywhere",
  },
  {
    file: "browser_test.ts",
    runtimes: /./,
    reason: "Deno bundles for it, and a browser is the same whoever starts it",
  },
];

/** The result of a run of all test files. */
interface Result {
  readonly passed: number;
  readonly failed: number;
  readonly output: string;
}

function count(output: string, pattern: RegExp): number {
  return [...output.matchAll(pattern)].reduce((sum, [, number]) => sum + Number(number), 0);
}

/** Runs test files on one runtime. */
function test(name: string, files: readonly string[]): Result {
  const parameters = name === "bun"
    ? ["test", "--timeout=120000"]
    : ["--test", "--test-reporter=tap", `--test-concurrency=${availableParallelism()}`];
  const { stdout, stderr, status, signal } = spawnSync(
    runtime(name),
    [...parameters, ...files.map((file) => `./tests/${file}`)],
    {
      cwd: ROOT,
      env: { ...process.env, ...HOOKS },
      encoding: "utf8",
      timeout: 900_000,
      maxBuffer: 2 ** 28,
    },
  );
  const output = stdout + stderr;
  const passed = count(output, name === "bun" ? /^ *(\d+) pass$/gm : /^# pass (\d+)$/gm);
  const failed = name === "bun"
    ? count(output, /^ *(\d+) (?:fail|skip|todo)$/gm)
    : count(output, /^# (?:fail|cancelled|skipped|todo) (\d+)$/gm);
  // A dead runner has failed, whatever it had counted until then.
  const broken = (status !== 0 || signal !== null) && failed === 0;
  return { passed, failed: failed + (broken ? 1 : 0), output };
}

/** The output around each failure: Node prints the reason after it, Bun before it. */
function failures(output: string): string {
  const lines = output.split("\n");
  const shown = new Set<number>();
  for (const [index, line] of lines.entries()) {
    const node = /^\s*not ok/.test(line);
    if (!node && !/^(\(fail\)|error:)/.test(line)) continue;
    const first = node ? index : Math.max(0, index - 30);
    for (let at = first; at <= first + 30; at++) shown.add(at);
  }
  return lines
    .filter((_, index) => shown.has(index))
    .slice(0, 400)
    .join("\n");
}

prepare(["tests", "examples"]);
const wanted = process.argv.slice(2);
const names = wanted.length > 0 ? wanted : Object.keys(RUNTIMES);
const files = readdirSync(join(ROOT, "tests"), {
  recursive: true,
  encoding: "utf8",
})
  .filter((file) => file.endsWith("_test.ts"))
  .sort();
let failed = 0;
for (const name of names) {
  const version = run(runtime(name), ["--version"]).trim();
  const left = LEFT_OUT.filter(({ runtimes }) => runtimes.test(name));
  for (const { file, reason } of left) {
    console.log(`${name}: without ${file}: ${reason}`);
  }
  const result = test(
    name,
    files.filter((file) => !left.some((each) => each.file === file)),
  );
  if (result.failed > 0) console.log(failures(result.output) || result.output);
  console.log(`${name} (${version}): ${result.passed} passed, ${result.failed} failed`);
  failed += result.failed;
}

/** Deno with the sources and the other runtimes with the package read each other's entries. */
function exchange(names: readonly string[]): void {
  const others = Object.fromEntries(
    names.map((each) => [each, { command: [runtime(each)], env: HOOKS }]),
  );
  run(
    process.execPath,
    ["test", "--quiet", "--no-prompt", "--allow-all", "tests/interop_test.ts"],
    { env: { PANZA_TEST_RUNTIMES: JSON.stringify(others) } },
  );
  console.log(`Deno, ${names.join(", ")}: each reads what each wrote, in SQLite, S3 and folders`);
}

exchange(names);
if (failed > 0) process.exit(1);
