/** Every backend of the package against the numbered clauses: wiring only. */
import { test } from "node:test";
import { MemoryBackend } from "../memory.ts";
import { type RegisterTest, testBackend } from "../testing.ts";

/** Puts the name of the backend in front of the names of its tests. */
function of(name: string): RegisterTest {
  return (clause, fn) => test(`${name}, ${clause}`, fn);
}

testBackend(of("MemoryBackend"), () => ({ backend: new MemoryBackend() }));

// Further backends follow here, one call each.
