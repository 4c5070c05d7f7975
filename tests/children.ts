/** Example programs as processes of their own, in folders of their own. */
import { type ChildProcess, spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";

const LONGEST_RUN_MS = 60_000;

const ROOT = fileURLToPath(new URL("../", import.meta.url));

/** A folder below `.cache`, the only place that tests write to; removed when it goes out of scope. */
export function temporaryFolder(name: string): Disposable & { path: string } {
  const parent = join(ROOT, ".cache");
  mkdirSync(parent, { recursive: true });
  const path = mkdtempSync(join(parent, `${name}-`));
  return {
    path,
    [Symbol.dispose]: () => rmSync(path, { recursive: true, force: true }),
  };
}

/** What a program left behind. */
export interface Ended {
  /** The exit code; `null` when a signal ended it. */
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** A program that runs. */
export interface Running {
  readonly child: ChildProcess;
  /** What it has written to stderr so far. */
  readonly stderr: () => string;
  readonly ended: Promise<Ended>;
}

/** How a program is started. */
export interface Start {
  /** The working directory. */
  readonly cwd: string;
  /** Permissions, where the runtime has them. */
  readonly permissions: readonly string[];
  /** What it finds in its environment beside what this process has. */
  readonly env?: Readonly<Record<string, string>>;
  /** What it reads from stdin; nothing unless given. */
  readonly stdin?: string;
  /** Whether stdin stays open after that, as a terminal does. */
  readonly keepStdinOpen?: boolean;
}

/** Starts an example with the runtime of this process. */
export function start(
  example: string,
  programArguments: readonly string[],
  { cwd, permissions, env = {}, stdin = "", keepStdinOpen = false }: Start,
): Running {
  const runtime = process.versions["deno"] === undefined ? [] : [
    "run",
    "--quiet",
    "--no-prompt",
    `--config=${join(ROOT, "deno.json")}`,
    ...permissions,
  ];
  const child = spawn(
    process.execPath,
    [...runtime, join(ROOT, "examples", example), ...programArguments],
    { cwd, env: { ...process.env, NO_COLOR: "1", ...env } },
  );
  let stdout = "";
  let stderr = "";
  child.stdout.setEncoding("utf8").on("data", (text) => stdout += text);
  child.stderr.setEncoding("utf8").on("data", (text) => stderr += text);
  // A program that hangs fails its test, and does not hang it.
  const timer = setTimeout(() => child.kill("SIGKILL"), LONGEST_RUN_MS);
  const ended = new Promise<Ended>((resolve, reject) => {
    child.once("error", reject);
    child.once("close", (code) => {
      clearTimeout(timer);
      resolve({ code, stdout, stderr });
    });
  });
  child.stdin.write(stdin);
  if (!keepStdinOpen) child.stdin.end();
  return { child, stderr: () => stderr, ended };
}

/**
 * What Ctrl-C does. Not `child.kill`: on Deno a child that was told so counts as killed, whatever
 * its exit code.
 */
export function interrupt({ child }: Running): void {
  if (child.pid === undefined) throw new Error("the child has not started");
  process.kill(child.pid, "SIGINT");
}

/**
 * Waits until something is so while a program runs.
 *
 * @throws {Error} If the program ends first, with what it wrote.
 */
export async function until(
  { child, stderr }: Running,
  isSo: () => boolean | Promise<boolean>,
): Promise<void> {
  while (!await isSo()) {
    if (child.exitCode !== null || child.signalCode !== null) {
      throw new Error(`The program ended too early: ${stderr()}`);
    }
    await delay(10);
  }
}

/** Runs an example to its end. */
export async function run(
  example: string,
  programArguments: readonly string[],
  options: Start,
): Promise<Ended> {
  return await start(example, programArguments, options).ended;
}
