/**
 * One of several processes that use one database at the same moment. A line of stdin has a number,
 * a path, a name, a wait in microseconds, and `keep` or `close` for the database. For each line the
 * process stores results and prints its reports.
 */

// deno-lint-ignore-file no-console -- its output is what the test reads

import process from "node:process";
import { createInterface } from "node:readline";
import { setTimeout as delay } from "node:timers/promises";
import { type OpenRaced, openRaced, resultsOf } from "./races.ts";

let opened: OpenRaced | undefined;
console.log("ready");
for await (const line of createInterface({ input: process.stdin })) {
  const [number, path = "", name, microseconds, then] = line.split(" ");
  const { cache, raced, reports } = (opened ??= openRaced(path));
  // Most processes meet while they open the database, some while one already uses the next file.
  if (Number(microseconds) > 0) await delay(Number(microseconds) / 1000);
  await Promise.all(resultsOf(Number(name)).map((n) => raced(n)));
  if (then === "close") {
    await cache.close();
    opened = undefined;
  }
  console.log(`done ${number} ${JSON.stringify(reports.splice(0))}`);
}
