/**
 * Runs the tests against the built package on Node and Bun: `deno task test:npm [runtime …]`.
 *
 * Runtimes come from npm; without arguments all of them run. The package must have been built.
 */

// deno-lint-ignore-file no-console -- it reports its steps

import { spawn } from "node:child_process";
import { readdirSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { text } from "node:stream/consumers";
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

/** A test file takes a minute at most; a machine under load is slower. */
const FILE_TIMEOUT_MS = 600_000;

function count(output: string, pattern: RegExp): number {
  return [...output.matchAll(pattern)].reduce((sum, [, number]) => sum + Number(number), 0);
}

/** Runs a test file on a runtime, in a process of its own. */
async function test(
  name: string,
  command: string,
  file: string,
): Promise<{ passed: number; failed: number; output: string }> {
  const parameters = name === "bun" ? ["test", "--timeout=120000"] : ["--test-reporter=tap"];
  const child = spawn(command, [...parameters, `./tests/${file}`], {
    cwd: ROOT,
    env: { ...process.env, ...HOOKS },
    stdio: ["ignore", "pipe", "pipe"],
    timeout: FILE_TIMEOUT_MS,
  });
  const [stdout, stderr, code] = await Promise.all([
    text(child.stdout),
    text(child.stderr),
    new Promise<number | null>((resolve, reject) => child.on("close", resolve).on("error", reject)),
  ]);
  const output = stdout + stderr;
  const passed = count(output, name === "bun" ? /^ *(\d+) pass$/gm : /^# pass (\d+)$/gm);
  const failed = name === "bun"
    ? count(output, /^ *(\d+) (?:fail|skip|todo)$/gm)
    : count(output, /^# (?:fail|cancelled|skipped|todo) (\d+)$/gm);
  // A dead runtime has failed, whatever it had counted until then, and so has a file without tests.
  const broken = failed === 0 && (code !== 0 || passed === 0);
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

/** What is still to run: all files on one runtime, then on the next. */
const queue = names.flatMap((name) => {
  const left = LEFT_OUT.filter(({ runtimes }) => runtimes.test(name));
  for (const { file, reason } of left) console.log(`${name}: without ${file}: ${reason}`);
  const its = files.filter((file) => !left.some((each) => each.file === file));
  const total = { command: runtime(name), files: its.length, passed: 0, failed: 0 };
  return its.map((file) => ({ name, total, file }));
});
let failed = 0;

/** Takes files from the queue; one lane per core, so that no core waits for the end of a runtime. */
async function lane(): Promise<void> {
  for (let next = queue.shift(); next !== undefined; next = queue.shift()) {
    const { name, total, file } = next;
    const result = await test(name, total.command, file);
    total.files--;
    total.passed += result.passed;
    total.failed += result.failed;
    failed += result.failed;
    if (result.failed > 0) {
      console.log(`${name}, ${file}:\n${failures(result.output) || result.output}`);
    }
    if (total.files > 0) continue;
    const version = run(total.command, ["--version"]).trim();
    console.log(`${name} (${version}): ${total.passed} passed, ${total.failed} failed`);
  }
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

await Promise.all(Array.from({ length: availableParallelism() }, lane));
exchange(names);
if (failed > 0) process.exit(1);
