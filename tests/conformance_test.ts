/** Every backend of the package against the numbered clauses: wiring only. */
import { join } from "node:path";
import { test } from "node:test";
import { MemoryBackend } from "../memory.ts";
import { SQLiteBackend } from "../sqlite.ts";
import { type RegisterTest, testBackend } from "../testing.ts";
import { temporaryFolder } from "./temp.ts";

/** Puts the name of the backend in front of the names of its tests. */
function of(name: string): RegisterTest {
  return (clause, fn) => test(`${name}, ${clause}`, fn);
}

testBackend(of("MemoryBackend"), () => ({ backend: new MemoryBackend() }));

testBackend(
  of("SQLiteBackend in memory"),
  () => ({ backend: new SQLiteBackend(":memory:") }),
);

let files = 0;
const folder = temporaryFolder();
testBackend(
  of("SQLiteBackend in a file"),
  () => {
    const path = join(folder, `conformance_${files++}.db`);
    return { path, backend: new SQLiteBackend(path) };
  },
  { again: ({ path }) => new SQLiteBackend(path) },
);
