/**
 * Runs the tests against the built package on Node and Bun: `deno task test:npm [runtime …]`.
 *
 * Runtimes come from npm; without arguments it is each of them. The package must have been built.
 */

// deno-lint-ignore-file no-console -- it tells what it does

import { spawnSync } from "node:child_process";
import { cpSync, existsSync, readdirSync, rmSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { pathToFileURL } from "node:url";
import {
  CACHE,
  configuration,
  install,
  npmVersion,
  ROOT,
  run,
  runtime,
  RUNTIMES,
  VERSIONS,
} from "./tools.ts";

/** Test files that do not run somewhere, and why; every other file of tests/ runs everywhere. */
const LEFT_OUT: readonly {
  file: string;
  runtimes: RegExp;
  reason: string;
}[] = [
  {
    file: "boundaries_test.ts",
    runtimes: /./,
    reason: "it reads the sources, which are the same everywhere",
  },
  {
    file: "browser_test.ts",
    runtimes: /./,
    reason: "Deno bundles for it, and a browser is the same whoever starts it",
  },
];

/**
 * What makes runtimes test the built package: in the environment, because processes that tests
 * start need it as well.
 */
const HOOKS: Readonly<Record<string, string>> = {
  NODE_OPTIONS: `--import=${
    pathToFileURL(join(ROOT, "tests", "runtimes", "node.mjs")).href
  }`,
  BUN_OPTIONS: `--no-install --preload=${
    join(ROOT, "tests", "runtimes", "bun.mjs")
  }`,
};

/** Installs what tests import, and the built package as it is. */
function prepare(): void {
  const { imports, name } = configuration();
  const fromNpm = Object.entries(imports).filter(([each, specifier]) =>
    new RegExp(`^npm:${each}@[^/]+$`).test(specifier)
  );
  const project = install("project", {
    ...Object.fromEntries(fromNpm.map(([each]) => [each, npmVersion(each)])),
    "deno-std": VERSIONS["deno-std"],
    esbuild: VERSIONS.esbuild,
  });
  const place = join(project, "node_modules", name);
  rmSync(place, { recursive: true, force: true });
  cpSync(join(ROOT, "npm"), place, { recursive: true });

  // Decorators and `using` are lowered: no runtime but Deno knows both.
  const sources = ["tests", "examples"].filter((each) =>
    existsSync(join(ROOT, each))
  ).flatMap((folder) =>
    readdirSync(join(ROOT, folder), { recursive: true, encoding: "utf8" })
      .filter((file) => file.endsWith(".ts")).map((file) => join(folder, file))
  );
  const out = join(CACHE, "transpiled");
  rmSync(out, { recursive: true, force: true });
  const esbuild = join(project, "node_modules", "esbuild", "bin", "esbuild");
  run(esbuild, [
    ...sources,
    "--target=es2022",
    "--format=esm",
    "--sourcemap=inline",
    "--sources-content=false",
    `--outdir=${out}`,
    "--outbase=.",
    "--log-level=warning",
  ]);
}

/** What a run of all test files said. */
interface Result {
  readonly passed: number;
  readonly failed: number;
  readonly output: string;
}

function count(output: string, pattern: RegExp): number {
  return [...output.matchAll(pattern)]
    .reduce((sum, [, number]) => sum + Number(number), 0);
}

/** Runs test files on one runtime. */
function test(name: string, files: readonly string[]): Result {
  const parameters = name === "bun" ? ["test", "--timeout=120000"] : [
    "--test",
    "--test-reporter=tap",
    `--test-concurrency=${availableParallelism()}`,
  ];
  const { stdout, stderr, status, signal } = spawnSync(runtime(name), [
    ...parameters,
    ...files.map((file) => `./tests/${file}`),
  ], {
    cwd: ROOT,
    env: { ...process.env, ...HOOKS },
    encoding: "utf8",
    timeout: 900_000,
    maxBuffer: 2 ** 28,
  });
  const output = stdout + stderr;
  const passed = count(
    output,
    name === "bun" ? /^ *(\d+) pass$/gm : /^# pass (\d+)$/gm,
  );
  const failed = name === "bun"
    ? count(output, /^ *(\d+) (?:fail|skip|todo)$/gm)
    : count(output, /^# (?:fail|cancelled|skipped|todo) (\d+)$/gm);
  // A runner that died has failed, whatever it had counted until then.
  const broken = (status !== 0 || signal !== null) && failed === 0;
  return { passed, failed: failed + (broken ? 1 : 0), output };
}

/** The lines of the output around each failure: Node tells the reason after it, Bun before. */
function failures(output: string): string {
  const lines = output.split("\n");
  const shown = new Set<number>();
  for (const [index, line] of lines.entries()) {
    const node = /^\s*not ok/.test(line);
    if (!node && !/^(\(fail\)|error:)/.test(line)) continue;
    const first = node ? index : Math.max(0, index - 30);
    for (let at = first; at <= first + 30; at++) shown.add(at);
  }
  return lines.filter((_, index) => shown.has(index)).slice(0, 400).join("\n");
}

prepare();
const wanted = process.argv.slice(2);
const names = wanted.length > 0 ? wanted : Object.keys(RUNTIMES);
const files = readdirSync(join(ROOT, "tests"))
  .filter((file) => file.endsWith("_test.ts")).sort();
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
  console.log(
    `${name} (${version}): ${result.passed} passed, ${result.failed} failed`,
  );
  failed += result.failed;
}

/** Lets Deno, from the sources, and the other runtimes, with the package, read each other's entries. */
function exchange(names: readonly string[]): void {
  const others = Object.fromEntries(
    names.map((each) => [each, { command: [runtime(each)], env: HOOKS }]),
  );
  run(process.execPath, [
    "test",
    "--quiet",
    "--no-prompt",
    "--allow-all",
    "tests/interop_test.ts",
  ], { env: { PANZA_TEST_RUNTIMES: JSON.stringify(others) } });
  console.log(
    `Deno, ${names.join(", ")}: each reads what each wrote, in SQLite and S3`,
  );
}

exchange(names);
if (failed > 0) process.exit(1);
