/** Repeatedly takes the write lock of a database, once it exists, and keeps it for a while. */

// deno-lint-ignore-file no-console -- its output is what the test reads

import { existsSync } from "node:fs";
import process from "node:process";
import { DatabaseSync } from "node:sqlite";
import { setTimeout as delay } from "node:timers/promises";

const [, , path = "", held] = process.argv;

while (!existsSync(path)) await delay(1);
const database = new DatabaseSync(path);
database.exec("PRAGMA busy_timeout = 10000");
for (;;) {
  database.exec("BEGIN IMMEDIATE");
  console.log("held");
  await delay(Number(held));
  database.exec("COMMIT");
  await delay(50);
}
