/** SQLite files for tests: folders, backends on them, entries. */

import type { Buffer } from "node:buffer";
import {
  chmodSync,
  closeSync,
  copyFileSync,
  existsSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { assert, assertEquals } from "@std/assert";
import { SQLiteBackend } from "../../sqlite.ts";
import { entry } from "./entry.ts";
import { temporaryFolder } from "./temp.ts";

/** Runs a test in a folder of its own. */
export async function inFolder(use: (folder: string) => Promise<void>): Promise<void> {
  const folder = temporaryFolder();
  try {
    await use(folder);
  } finally {
    chmodSync(folder, 0o700);
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Opens, uses and closes a backend; returns its reports. */
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

/** Copies a database with its log or journal. */
export function copyDatabase(from: string, to: string): void {
  for (const suffix of ["", "-wal", "-journal"]) {
    if (existsSync(from + suffix)) copyFileSync(from + suffix, to + suffix);
  }
}

/** Damages a file in place, as a disk does. */
export function overwrite(path: string, from: number, length: number): void {
  const file = openSync(path, "r+");
  // Bytes, because Deno ignores the position of a string and writes it at the beginning.
  writeSync(file, new TextEncoder().encode("garbage ".repeat(length / 8)), 0, length, from);
  closeSync(file);
}

/** The bytes of the files of a folder by path, without the indexes of logs. */
export function contents(folder: string): Map<string, Buffer> {
  const files = existsSync(folder) ? readdirSync(folder, { withFileTypes: true }) : [];
  return new Map(
    files
      .filter((file) => file.isFile() && !file.name.endsWith("-shm"))
      .map(({ name }) => [join(folder, name), readFileSync(join(folder, name))]),
  );
}

/** Asserts that each file still has the bytes that it had. */
export function assertUntouched(before: ReadonlyMap<string, Buffer>, what = ""): void {
  for (const [path, bytes] of before) {
    assert(existsSync(path), `${what}: ${path} is gone`);
    assert(readFileSync(path).equals(bytes), `${what}: ${path} was changed`);
  }
}

/** Asserts that SQLite finds no damage in a database that is not in use. */
export function assertIntact(path: string, what = ""): void {
  const plain = new DatabaseSync(path, { readOnly: true });
  try {
    const rows = plain.prepare("PRAGMA integrity_check").all();
    assertEquals(
      rows.flatMap((row) => Object.values(row)),
      ["ok"],
      what,
    );
  } finally {
    plain.close();
  }
}
