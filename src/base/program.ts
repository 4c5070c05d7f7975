/**
 * This process as a program: arguments, stdout, Ctrl-C and exit code. Only the CLI uses it.
 *
 * @module
 */

import { variable } from "./env.ts";

/** The output of a command. */
export interface Output {
  /** The width of the terminal, in characters; `undefined` where there is none. */
  readonly columns: number | undefined;
  /** Whether colours are wanted: on a terminal, unless `NO_COLOR` is set or `TERM` is `dumb`. */
  readonly hasColors: boolean;
  /**
   * Writes a text, and waits until there is room for more.
   *
   * @returns Whether the output is still read: `head` ends early.
   */
  write(text: string): Promise<boolean>;
}

/** The one runtime that knows `NO_COLOR` without a permission to read it. */
interface ColorHost {
  readonly Deno?: { readonly noColor?: boolean };
}

/** The arguments of the program. From this call on, the runtime prints no warnings. */
export function programArguments(): readonly string[] {
  // Node 22 warns about its SQLite, which does not concern the user of a command.
  globalThis.process?.removeAllListeners("warning");
  return globalThis.process?.argv.slice(2) ?? [];
}

/** Stdout. */
export function standardOutput(): Output {
  const stream = globalThis.process.stdout;
  let isRead = true;
  // Without a listener the process would end with a stack trace.
  stream.on("error", () => (isRead = false));
  const isPlain = Boolean(variable("NO_COLOR")) || variable("TERM") === "dumb" ||
    (globalThis as ColorHost).Deno?.noColor === true;
  return {
    // A pseudo-terminal may report 0.
    columns: stream.isTTY ? stream.columns || 80 : undefined,
    hasColors: stream.isTTY === true && !isPlain,
    write: (text) =>
      new Promise((resolve) => {
        if (!isRead) resolve(false);
        else stream.write(text, (error) => resolve(isRead &&= !error));
      }),
  };
}

/** Sets the exit code; the process ends by itself. */
export function setExitCode(code: number): void {
  globalThis.process.exitCode = code;
}

/**
 * Listens for the first Ctrl-C; the second one ends the process as usual.
 *
 * @returns A function that stops listening.
 */
export function onInterrupt(listener: () => void): () => void {
  globalThis.process.once("SIGINT", listener);
  return () => void globalThis.process.off("SIGINT", listener);
}
