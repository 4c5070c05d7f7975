/** SQLite files for tests: folders, backends on them, entries. */

import { chmodSync, rmSync } from "node:fs";
import type { StoredEntry } from "../backend.ts";
import { SQLiteBackend } from "../sqlite.ts";
import { temporaryFolder } from "./temp.ts";

/** An entry as a backend gets it. */
export function entry(
  data: string | Uint8Array,
  fields: Partial<StoredEntry> = {},
): StoredEntry {
  return {
    data,
    format: "json-1",
    checksum: 4_000_000_000,
    storedAt: 1_700_000_000_000,
    expiresAt: null,
    staleUntil: null,
    durationMs: 1.5,
    ...fields,
  };
}

/** Runs a test in a folder of its own. */
export async function inFolder(
  use: (folder: string) => Promise<void>,
): Promise<void> {
  const folder = temporaryFolder();
  try {
    await use(folder);
  } finally {
    chmodSync(folder, 0o700);
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Opens, uses and closes a backend, and returns what it reported. */
export async function withBackend(
  database: ConstructorParameters<typeof SQLiteBackend>[0],
  use: (backend: SQLiteBackend) => Promise<void>,
): Promise<Error[]> {
  const reports: Error[] = [];
  const backend = new SQLiteBackend(database);
  backend.connect((error) => reports.push(error));
  try {
    await use(backend);
  } finally {
    await backend.close();
  }
  return reports;
}

/** Fills a file with entries of 1 to 3 KB: `key0`, `key1` and so on. */
export async function fill(path: string, count = 200): Promise<void> {
  await withBackend(path, async (backend) => {
    await Promise.all(
      Array.from(
        { length: count },
        (_, n) => backend.set("id", `key${n}`, entry(`${n}`.repeat(1000))),
      ),
    );
  });
}
