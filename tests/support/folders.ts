/** Folders of entries for tests: backends, and the files in the folders. */

import { spawnSync } from "node:child_process";
import { mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { assertEquals } from "@std/assert";
import type { EntryInfo } from "../../src/backend/contract.ts";
import { FolderBackend } from "../../src/folder/backend.ts";

/** Opens, uses and closes a backend. */
export async function withFolder<Result>(
  path: string,
  use: (backend: FolderBackend) => Promise<Result>,
): Promise<Result> {
  const backend = new FolderBackend(path);
  try {
    return await use(backend);
  } finally {
    await backend.close();
  }
}

/** The paths of all files below a folder, relative to it, sorted. */
export function filesIn(folder: string): string[] {
  return readdirSync(folder, { recursive: true, encoding: "utf8" })
    .map((path) => path.replaceAll("\\", "/"))
    .filter((path) => statSync(join(folder, path)).isFile())
    .sort();
}

/** The text of each file below a folder. */
export function textsIn(folder: string): Record<string, string> {
  return Object.fromEntries(
    filesIn(folder).map((path) => [path, readFileSync(join(folder, path), "utf8")]),
  );
}

/** Writes a file, and makes its folder. */
export function put(path: string, text: string): void {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, text);
}

/** Makes a symbolic link; Deno itself would need every permission for it. */
export function link(target: string, path: string): void {
  assertEquals(spawnSync("ln", ["-s", target, path]).status, 0);
}

/** A listing as `id/key`, sorted. */
export async function namesOf(entries: AsyncIterable<EntryInfo>): Promise<string[]> {
  const names: string[] = [];
  for await (const { id, key } of entries) names.push(`${id}/${key}`);
  return names.sort();
}
