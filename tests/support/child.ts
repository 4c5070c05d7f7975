/** Starts scripts as processes of the runtime that runs the tests, and other programs. */

import { type ChildProcess, spawn } from "node:child_process";
import process from "node:process";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";

const LONGEST_RUN_MS = 300_000;

/** The result of a program that has ended. */
export interface Ended {
  /** The exit code; `null` when a signal ended it. */
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** A running program. */
export interface Child {
  readonly process: ChildProcess;
  /** Resolves when the program has printed this line. */
  said(line: string): Promise<void>;
  /** Resolves with the rest of the first line with this beginning. */
  saidAfter(beginning: string): Promise<string>;
  /** Resolves when a condition holds; rejects when the program ends first. */
  until(isSo: () => boolean | Promise<boolean>): Promise<void>;
  /** Resolves with its result, however it ended. */
  end(): Promise<Ended>;
  /** Resolves with all lines when the program has ended; rejects when it failed. */
  ended(): Promise<string[]>;
  /** The text that it has written to stderr so far. */
  errors(): string;
  /** Ends it at once (SIGKILL), and resolves with the lines printed until then. */
  kill(): Promise<string[]>;
  /** Interrupts it like Ctrl-C. */
  interrupt(): void;
}

/** The surroundings of a program. */
export interface Surroundings {
  /** The working directory; when unset, that of the tests. */
  readonly cwd?: string;
  /** Variables beside those of the tests. */
  readonly variables?: Readonly<Record<string, string>>;
  /** The text that it reads from stdin, to its end; stdin stays open when unset. */
  readonly stdin?: string;
  /** Whether stdin stays open after that text, as a terminal does. */
  readonly keepStdinOpen?: boolean;
}

/**
 * The command that runs a script with the same runtime.
 *
 * @param script Its path, relative to this folder.
 * @param flags Permissions for Deno; other runtimes have none.
 */
export function commandOf(
  script: string,
  flags: readonly string[],
): [command: string, ...parameters: string[]] {
  const config = fileURLToPath(new URL("../../deno.json", import.meta.url));
  const runtime = "Deno" in globalThis
    ? ["run", "--no-prompt", "--quiet", `--config=${config}`, ...flags]
    : process.execArgv;
  const path = fileURLToPath(new URL(`../${script}`, import.meta.url));
  return [process.execPath, ...runtime, path];
}

/**
 * Starts a script with the same runtime.
 *
 * @param script Its path, relative to this folder.
 * @param parameters Its arguments.
 * @param flags Permissions for Deno; other runtimes have none.
 * @param variables Variables beside those of the tests.
 */
export function start(
  script: string,
  parameters: readonly string[],
  flags: readonly string[] = ["-A"],
  variables: Readonly<Record<string, string>> = {},
): Child {
  return launch([...commandOf(script, flags), ...parameters], { variables });
}

/** Starts a program. */
export function launch(
  [command, ...parameters]: readonly [string, ...string[]],
  { cwd, variables = {}, stdin, keepStdinOpen = stdin === undefined }: Surroundings,
): Child {
  const child = spawn(command, parameters, {
    cwd,
    stdio: ["pipe", "pipe", "pipe"],
    env: { ...process.env, ...variables },
  });
  let stdout = "";
  let stderr = "";
  const watchers = new Set<() => void>();
  child.stdout.setEncoding("utf8").on("data", (text) => {
    stdout += text;
    for (const watcher of watchers) watcher();
  });
  child.stderr.setEncoding("utf8").on("data", (text) => (stderr += text));
  if (stdin !== undefined) child.stdin.write(stdin);
  if (!keepStdinOpen) child.stdin.end();
  // The last line may be cut off by a kill.
  const lines = () => stdout.split("\n").slice(0, -1);
  // A hanging program fails its test instead of hanging it.
  const timer = setTimeout(() => child.kill("SIGKILL"), LONGEST_RUN_MS);
  const closed = new Promise<number | null>((resolve, reject) => {
    child.once("error", reject);
    child.once("close", resolve);
  }).finally(() => clearTimeout(timer));
  const firstLine = (what: string, isIt: (line: string) => boolean) =>
    new Promise<string>((resolve, reject) => {
      const watch = () => {
        const line = lines().find(isIt);
        if (line === undefined) return;
        watchers.delete(watch);
        resolve(line);
      };
      watchers.add(watch);
      closed.then(() => reject(new Error(`it never said ${what}: ${stderr}`)), reject);
      watch();
    });
  return {
    process: child,
    said: async (line) => {
      await firstLine(line, (each) => each === line);
    },
    saidAfter: async (beginning) => {
      const line = await firstLine(beginning, (each) => each.startsWith(beginning));
      return line.slice(beginning.length);
    },
    until: async (isSo) => {
      while (!(await isSo())) {
        if (child.exitCode !== null || child.signalCode !== null) {
          throw new Error(`it ended too early: ${stderr}`);
        }
        await delay(10);
      }
    },
    end: async () => ({ code: await closed, stdout, stderr }),
    ended: async () => {
      const code = await closed;
      if (code !== 0) throw new Error(`it ended with ${code}: ${stderr}`);
      return lines();
    },
    errors: () => stderr,
    kill: async () => {
      child.kill("SIGKILL");
      await closed;
      return lines();
    },
    interrupt: () => {
      if (child.pid === undefined) throw new Error("it has not started");
      // Not `child.kill`: Deno reports such a child as killed, whatever its exit code.
      process.kill(child.pid, "SIGINT");
    },
  };
}
