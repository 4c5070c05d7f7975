/** The command as a user types it: in a pipe, in a shell, on a terminal. */

import { SQLiteCache } from "../../sqlite.ts";
import { seal } from "../../src/encoding/entry.ts";
import { type Child, commandOf, type Ended, launch, type Surroundings } from "./child.ts";

/** The permissions that `deno run -RW` gives. */
const FILES = ["--allow-read", "--allow-write"];

/** The permissions, and the one that the fixture needs to read its variable. */
function flagsOf(permissions: readonly string[]): readonly string[] {
  const isThere = permissions.some((each) => /^(-A|--allow-env)$/.test(each));
  return isThere ? permissions : ["--allow-env=PANZA_TEST_MEMORY", ...permissions];
}

const FIXTURE = "fixtures/cli_child.ts";

/** Runs the command to its end, with pipes for its output. */
export async function panza(
  words: readonly string[],
  { permissions = FILES, ...surroundings }: Surroundings & { permissions?: readonly string[] } = {},
): Promise<Ended> {
  const command = commandOf(FIXTURE, flagsOf(permissions));
  return await launch([...command, ...words], { stdin: "", ...surroundings }).end();
}

/** The command as a shell takes it. */
export function inShell(words: readonly string[], permissions: readonly string[] = FILES): string {
  return [...commandOf(FIXTURE, flagsOf(permissions)), ...words].map((word) => `'${word}'`).join(
    " ",
  );
}

/** Starts a line of shell on a pseudo-terminal of some width (`script` of util-linux). */
export function onTerminal(line: string, columns: number, surroundings: Surroundings = {}): Child {
  const command = ["script", "-qec", `stty cols ${columns}; ${line}`, "/dev/null"] as const;
  const variables = { NO_COLOR: "", TERM: "xterm", ...surroundings.variables };
  return launch(command, { stdin: "", ...surroundings, variables });
}

/** A result of a test: a JSON value, and its times. */
export interface Result {
  readonly id: string;
  readonly key: string;
  readonly value: unknown;
  /** In milliseconds. */
  readonly age?: number;
  /** In milliseconds from now; unset, it never expires. */
  readonly expiresIn?: number;
  /** In milliseconds. */
  readonly cost?: number;
}

/** Stores results in a database. */
export async function store(path: string, results: readonly Result[]): Promise<void> {
  await using cache = new SQLiteCache(path);
  const now = Date.now();
  await Promise.all(results.map(({ id, key, value, age = 0, expiresIn, cost = 0 }) => {
    const expiresAt = expiresIn === undefined ? null : now + expiresIn;
    const times = { storedAt: now - age, expiresAt, staleUntil: expiresAt, durationMs: cost };
    const encoded = { format: "json-1", data: JSON.stringify(value) };
    return cache.backend.set(id, key, seal(id, key, encoded, times));
  }));
}
