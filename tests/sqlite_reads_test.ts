/** Reads that follow each other share a transaction, and nobody else notices. */
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { test } from "node:test";
import { assertEquals } from "@std/assert";
import type { StoredEntry } from "../backend.ts";
import { SQLiteBackend } from "../sqlite.ts";
import { nextTurn } from "../turn.ts";
import { temporaryFolder } from "./temp.ts";

const entry: StoredEntry = {
  data: "1",
  format: "json-1",
  checksum: 0,
  storedAt: 1,
  expiresAt: null,
  staleUntil: null,
  durationMs: 0,
};

test("SQLiteBackend.get() leaves no transaction open after its turn", async () => {
  const path = join(temporaryFolder(), "cache.db");
  const backend = new SQLiteBackend(path);
  await backend.set("id", "key", entry);
  for (let count = 0; count < 10; count++) await backend.get("id", "key");
  await nextTurn();
  const other = new DatabaseSync(path);
  // An open transaction would keep the log from being cut: the first column tells.
  const cut = other.prepare("PRAGMA wal_checkpoint(TRUNCATE)").get();
  assertEquals(cut?.["busy"], 0);
  other.close();
  await backend.set("id", "key", { ...entry, data: "2" });
  assertEquals((await backend.get("id", "key"))?.data, "2");
  await backend.close();
});
