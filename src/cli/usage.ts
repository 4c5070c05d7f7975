/**
 * The grammar of the command line: the commands, their words and options, and the help.
 *
 * @module
 */

import { builtin } from "../base/runtime.ts";

/** Thrown for an invalid command line; the exit code is 2. */
export class UsageError extends Error {}

/** The options of all commands, as `parseArgs` takes them. */
const OPTIONS = {
  json: { type: "boolean" },
  yes: { type: "boolean" },
  "dry-run": { type: "boolean" },
  all: { type: "boolean" },
  create: { type: "boolean" },
  expired: { type: "boolean" },
  "older-than": { type: "string" },
  "max-bytes": { type: "string" },
  "max-entries": { type: "string" },
  id: { type: "string" },
} as const;

type OptionName = keyof typeof OPTIONS;

export type CommandName = "ls" | "get" | "prune" | "bust" | "check" | "copy";

/** The number of words of a command, and its options. */
interface Usage {
  readonly words: readonly [least: number, most: number];
  readonly options: readonly OptionName[];
}

const COMMANDS: Readonly<Record<CommandName, Usage>> = {
  ls: { words: [1, 2], options: ["json"] },
  get: { words: [2, 3], options: ["json"] },
  prune: {
    words: [1, 1],
    options: ["json", "yes", "dry-run", "older-than", "max-bytes", "max-entries", "expired", "id"],
  },
  bust: { words: [1, 3], options: ["json", "yes", "dry-run", "all"] },
  check: { words: [1, 2], options: ["json"] },
  copy: { words: [2, 3], options: ["json", "create"] },
};

/** A parsed command line. */
export interface CommandLine {
  readonly name: CommandName;
  readonly words: readonly string[];
  /** The options with a value. */
  readonly values: Readonly<Partial<Record<OptionName, string>>>;
  /** The options that are switched on. */
  readonly flags: ReadonlySet<string>;
}

/** The output of `--help`. */
export const HELP = `panza looks into the stores of Panza.

  panza ls    <store> [id]        functions, their size and cost; the results of one
  panza get   <store> <id> [key]  a value: by its key or how that begins; the newest
  panza prune <store> ...         delete by rule, of one function with --id <id>:
              --older-than 90d --max-bytes 10GB --max-entries 1000 --expired
  panza bust  <store> <id> [key]  delete all results of a function, or one result
  panza bust  <store> --all       delete everything
  panza check <store> [id]        verify every checksum
  panza copy  <from> <to> [id]    copy what is not there; --create makes a new store

A store is the path of a SQLite file, a folder of readable files (export/), or
s3://bucket/prefix with the AWS_ variables; redis://host?prefix=team.
The id "" has the direct keys; "panza get <store> <key>" finds them too.

  --json     one JSON object a line
  --dry-run  only say what prune or bust would delete
  --yes      delete much without a refusal
  --help     this text

Exit codes: 0 done; 1 failed, not found or damaged; 2 wrong command; 130 interrupted

  panza ls cache.db
  panza ls cache.db chat --json | jq .durationMs
  panza get cache.db chat 3f9a
  panza prune cache.db --older-than 90d --dry-run
  panza copy cache.db s3://team/cache
`;

/**
 * Parses a command line.
 *
 * @returns `undefined` where it asks for help.
 * @throws {UsageError} If it is invalid.
 */
export function readCommandLine(args: readonly string[]): CommandLine | undefined {
  const [name = "", ...rest] = args;
  if (args.length === 0 || name === "help" || args.includes("--help") || args.includes("-h")) {
    return undefined;
  }
  if (!isCommand(name)) {
    throw new UsageError(`the first word must be one of ${Object.keys(COMMANDS).join(", ")}`);
  }
  const { words: [least, most], options } = COMMANDS[name];
  const { positionals, values } = parse(rest, options);
  if (positionals.length < least || positionals.length > most) {
    const range = least === most ? `${least}` : `${least} to ${most}`;
    throw new UsageError(
      `${name} takes ${range} ${most === 1 ? "word" : "words"}, received ${positionals.length}`,
    );
  }
  const entries = Object.entries(values);
  return {
    name,
    words: positionals,
    values: Object.fromEntries(entries.filter(([, value]) => typeof value === "string")),
    flags: new Set(entries.filter(([, value]) => value === true).map(([flag]) => flag)),
  };
}

function isCommand(name: string): name is CommandName {
  return Object.hasOwn(COMMANDS, name);
}

/** Parses arguments; an error names the refused option, and never quotes its value. */
function parse(
  args: readonly string[],
  names: readonly OptionName[],
): { readonly positionals: readonly string[]; readonly values: object } {
  const util = builtin("node:util");
  if (util === undefined) throw new Error("this runtime has no node:util");
  try {
    return util.parseArgs({
      args: [...args],
      options: Object.fromEntries(names.map((name) => [name, OPTIONS[name]])),
      allowPositionals: true,
    });
  } catch (error) {
    const [, sentence = "the options cannot be read"] = /^([^.\n]+)/.exec(String(
      error instanceof Error ? error.message : error,
    )) ?? [];
    throw new UsageError(sentence);
  }
}
