/** Rights that are taken away while a cache is used. */

import { spawnSync } from "node:child_process";
import { assertEquals } from "@std/assert";
import { type Child, commandOf, launch } from "../support/child.ts";
import { temporaryFolder } from "../support/temp.ts";

/** Drops the capabilities by which root bypasses the modes of files; it stays root otherwise. */
const BINDING: readonly [string, ...string[]] = [
  "setpriv",
  "--bounding-set=-dac_override,-dac_read_search",
];

function child(...parameters: string[]): Child {
  const command = [...commandOf("torture/deny_child.ts", ["-A"])] as const;
  const [program, ...others] = BINDING;
  const isRoot = spawnSync(program, [...others, "true"]).status === 0;
  return launch(
    [...(isRoot ? ([...BINDING, ...command] as const) : command), temporaryFolder(), ...parameters],
    {},
  );
}

/** Takes away a process's rights in every way that this machine has; returns these ways. */
export async function deny(): Promise<string[]> {
  const ways = [["modes"], ["revoke", "write"], ["revoke", "read"], ["revoke", "read", "write"]];
  const done: string[] = [];
  await Promise.all(
    ways.map(async (way) => {
      const lines = await child(...way).ended();
      assertEquals(lines.at(-1), "[]", way.join(" "));
      if (!lines.includes("unbound")) done.push(way.join(" "));
    }),
  );
  return done.sort();
}
