/** Starts scripts of this folder as processes of the runtime that runs the tests. */

import { type ChildProcess, spawn } from "node:child_process";
import process from "node:process";
import { fileURLToPath } from "node:url";

/** A running script. */
export interface Child {
  readonly process: ChildProcess;
  /** Resolves when the script has printed this line. */
  said(line: string): Promise<void>;
  /** Resolves with all lines when the script has ended; rejects when it failed. */
  ended(): Promise<string[]>;
  /** What it has written to stderr so far. */
  errors(): string;
  /** Ends it at once (SIGKILL), and resolves with the lines printed until then. */
  kill(): Promise<string[]>;
}

/**
 * Starts a script with the same runtime.
 *
 * @param script Its path, relative to this folder.
 * @param parameters Its arguments.
 * @param flags What Deno may do; other runtimes know no permissions.
 * @param variables What its environment has beside that of the tests.
 */
export function start(
  script: string,
  parameters: readonly string[],
  flags: readonly string[] = ["-A"],
  variables: Readonly<Record<string, string>> = {},
): Child {
  const path = fileURLToPath(new URL(script, import.meta.url));
  const runtime = "Deno" in globalThis
    ? ["run", "--no-prompt", "--quiet", ...flags]
    : process.execArgv;
  const child = spawn(process.execPath, [...runtime, path, ...parameters], {
    stdio: ["pipe", "pipe", "pipe"],
    env: { ...process.env, ...variables },
  });
  let text = "";
  let errors = "";
  const watchers = new Set<() => void>();
  child.stdout.on("data", (data) => {
    text += String(data);
    for (const watcher of watchers) watcher();
  });
  child.stderr.on("data", (data) => errors += String(data));
  // What was cut off by a kill is no line.
  const lines = () => text.split("\n").slice(0, -1);
  const closed = new Promise<number | null>((resolve) => {
    child.on("close", (code) => resolve(code));
  });
  return {
    process: child,
    said: (line) =>
      new Promise((resolve, reject) => {
        const watch = () => {
          if (lines().includes(line)) resolve();
        };
        watchers.add(watch);
        closed.then(() =>
          reject(new Error(`it never said ${line}: ${errors}`))
        );
        watch();
      }),
    ended: async () => {
      const code = await closed;
      if (code !== 0) throw new Error(`it ended with ${code}: ${errors}`);
      return lines();
    },
    errors: () => errors,
    kill: async () => {
      child.kill("SIGKILL");
      await closed;
      return lines();
    },
  };
}
