/**
 * One of several processes that make one database from nothing: `<path> <name> <steps>`. On a line
 * of stdin it starts. It stores a result, and dies after `steps` driver calls, unless that is 0.
 */

// deno-lint-ignore-file no-console -- its output is what the test reads

import process from "node:process";
import { createInterface } from "node:readline";
import { SQLiteCache } from "../../sqlite.ts";
import { aroundDriver } from "./driver.ts";
import { smallValue } from "./values.ts";

const [, , path = "", name, steps] = process.argv;

/** Kills this process after this number of calls of the driver. */
function dieAfter(steps: number): void {
  let left = steps;
  aroundDriver((call) => {
    try {
      return call();
    } finally {
      if (--left === 0) process.kill(process.pid, "SIGKILL");
    }
  });
}

const onError = (error: Error): void => {
  console.log(`trouble ${error.name}: ${error.message}`);
};
const cache = new SQLiteCache(path, { onError });
const born = cache.cache({ id: "born" })(async (n: number) => await Promise.resolve(smallValue(n)));
if (Number(steps) > 0) dieAfter(Number(steps));
console.log("ready");
await new Promise<void>((resolve) => {
  createInterface({ input: process.stdin }).once("line", () => resolve());
});
await born(Number(name));
console.log(`born ${name}`);
// Until it is killed.
