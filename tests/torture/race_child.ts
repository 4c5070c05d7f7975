/**
 * One of several that use one database in the same moment. For each line on stdin - a number, a path,
 * a name, a time to wait, and whether to keep or close the database - it stores results and tells how
 * it went.
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
  // Most of them meet while they open it, some while one of them moves it or uses the next one.
  if (Number(microseconds) > 0) await delay(Number(microseconds) / 1000);
  await Promise.all(resultsOf(Number(name)).map((n) => raced(n)));
  if (then === "close") {
    await cache.close();
    opened = undefined;
  }
  console.log(`done ${number} ${JSON.stringify(reports.splice(0))}`);
}
