/** Every backend of the package against the numbered clauses: wiring only. */
import { renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { FolderBackend } from "../../src/folder/backend.ts";
import { MemoryBackend } from "../../memory.ts";
import { SQLiteBackend } from "../../sqlite.ts";
import { type RegisterTest, testBackend } from "../../testing.ts";
import { FaultyBackend } from "../support/faulty.ts";
import { TieredBackend } from "../../tiered.ts";
import { SealedBackend } from "../support/sealed.ts";
import { temporaryFolder } from "../support/temp.ts";
import { breakDown } from "../support/tiers.ts";

/** Puts the name of the backend in front of the names of its tests. */
function of(name: string): RegisterTest {
  return (clause, fn) => test(`${name}, ${clause}`, fn);
}

testBackend(of("MemoryBackend"), () => ({ backend: new MemoryBackend() }));

testBackend(of("SQLiteBackend in memory"), () => ({ backend: new SQLiteBackend(":memory:") }));

function openFile(path: string): SQLiteBackend {
  return new SQLiteBackend(path);
}

let files = 0;
const folder = temporaryFolder();
testBackend(
  of("SQLiteBackend in a file"),
  () => {
    const path = join(folder, `conformance_${files++}.db`);
    return { path, backend: new SQLiteBackend(path) };
  },
  { reopen: ({ path }) => new SQLiteBackend(path) },
);

testBackend(
  of("TieredBackend of memory and memory"),
  () => {
    const tiers = [new FaultyBackend(new MemoryBackend()), new FaultyBackend(new MemoryBackend())];
    return { tiers, backend: new TieredBackend(tiers) };
  },
  {
    breakStore: ({ tiers }) => {
      for (const tier of tiers) {
        breakDown(tier);
      }
    },
  },
);

testBackend(
  of("TieredBackend of two files"),
  () => {
    const paths = [1, 2].map(() => join(folder, `conformance_${files++}.db`));
    return { paths, backend: new TieredBackend(paths.map(openFile)) };
  },
  { reopen: ({ paths }) => new TieredBackend(paths.map(openFile)) },
);

// No `reopen` where a tier belongs to one object: it cannot see the changes of others.
testBackend(of("TieredBackend of memory and a file, entries intact"), () => ({
  backend: new SealedBackend(
    new TieredBackend([
      // So small that most entries are found in the file, and copied.
      new MemoryBackend({ maxBytes: 10_000 }),
      openFile(join(folder, `conformance_${files++}.db`)),
    ]),
  ),
}));

testBackend(of("TieredBackend of three, entries intact, with innerTtl"), () => ({
  backend: new SealedBackend(
    new TieredBackend(
      [
        new MemoryBackend({ maxBytes: 10_000 }),
        new MemoryBackend({ maxBytes: 100_000 }),
        openFile(join(folder, `conformance_${files++}.db`)),
      ],
      { innerTtl: "1h" },
    ),
  ),
}));

/** Folders that are not there yet. */
function newFolders(count: number): string[] {
  return Array.from({ length: count }, () => join(folder, `conformance_${files++}`));
}

testBackend(
  of("FolderBackend"),
  () => {
    const [path = ""] = newFolders(1);
    return { path, backend: new FolderBackend(path) };
  },
  {
    reopen: ({ path }) => new FolderBackend(path),
    openNeighbour: ({ path }) => new FolderBackend(join(path, "neighbour")),
    breakStore: ({ path }) => {
      renameSync(path, `${path}_away`);
      writeFileSync(path, "");
    },
    // A folder has no pages.
    entryCount: 300,
  },
);

testBackend(
  of("TieredBackend of two folders, entries intact"),
  () => {
    const paths = newFolders(2);
    return { paths, backend: openFolders(paths) };
  },
  { reopen: ({ paths }) => openFolders(paths), entryCount: 100 },
);

function openFolders(paths: readonly string[]): SealedBackend {
  return new SealedBackend(new TieredBackend(paths.map((path) => new FolderBackend(path))));
}

// Further backends follow here, one call each.
