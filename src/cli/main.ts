/**
 * The command: reads its arguments, runs, and sets the exit code.
 *
 * @module
 */

import { warn } from "../base/env.ts";
import { reasonOf } from "../base/errors.ts";
import { programArguments, setExitCode, standardOutput } from "../base/program.ts";
import { visible } from "./format.ts";
import { ReaderGone, Session } from "./session.ts";
import { type CommandName, HELP, readCommandLine, UsageError } from "./usage.ts";

/** The commands. Each is loaded on use, as a store is. */
const RUN: Readonly<Record<CommandName, (session: Session) => Promise<number>>> = {
  ls: async (session) => await (await import("./ls.ts")).ls(session),
  get: async (session) => await (await import("./get.ts")).get(session),
  prune: async (session) => await (await import("./change.ts")).prune(session),
  bust: async (session) => await (await import("./change.ts")).bust(session),
  check: async (session) => await (await import("./walk.ts")).check(session),
  copy: async (session) => await (await import("./walk.ts")).copy(session),
};

/** Runs the command of this process, and sets its exit code. */
export async function main(): Promise<void> {
  setExitCode(await run(programArguments()));
}

async function run(args: readonly string[]): Promise<number> {
  const output = standardOutput();
  try {
    const line = readCommandLine(args);
    if (line === undefined) {
      await output.write(HELP);
      return args.length === 0 ? 2 : 0;
    }
    const session = new Session(line, output);
    const code = await RUN[line.name](session);
    await session.flush();
    return code;
  } catch (error) {
    if (error instanceof ReaderGone) return 0;
    const message = reasonOf(error);
    const isUsage = error instanceof UsageError;
    const isMissing = args[0] === "copy" && /there is no such (file|folder)$/.test(message);
    const hint = isUsage && !message.includes("--") ? "; see panza --help" : "";
    warn(`panza: ${visible(message, "\n")}${hint}${isMissing ? "; --create makes a target" : ""}`);
    return isUsage ? 2 : 1;
  }
}
