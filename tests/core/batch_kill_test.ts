/** A batch that is killed in the middle: the next run computes only what was not stored. */
import { join } from "node:path";
import { test } from "node:test";
import { assert, assertEquals } from "@std/assert";
import { SQLiteCache } from "../../sqlite.ts";
import { start } from "../support/child.ts";
import { temporaryFolder } from "../support/temp.ts";

const COUNT = 500;
const CONCURRENCY = 6;

function inputsOf(lines: readonly string[], word: string): Set<number> {
  return new Set(
    lines
      .map((line) => line.split(" "))
      .filter(([first]) => first === word)
      .map(([, input]) => Number(input)),
  );
}

test("fn.map() that is killed in the middle computes on the next run exactly what is missing", async () => {
  const path = join(temporaryFolder(), "cache.db");
  const run = () => start("fixtures/batch_child.ts", [path, `${COUNT}`, `${CONCURRENCY}`]);
  let acknowledged = new Set<number>();
  for (const until of ["runs 60", "runs 200", "runs 333"]) {
    const child = run();
    await child.said(until);
    const lines = await child.kill();
    assert(!lines.includes("finished"));
    const ran = inputsOf(lines, "runs");
    for (const n of acknowledged) assert(!ran.has(n), `${n} was paid for`);
    acknowledged = acknowledged.union(inputsOf(lines, "miss"));
  }
  assert(acknowledged.size > 150);

  const stored = new Set<number>();
  {
    await using cache = new SQLiteCache(path);
    const square = cache.cache({ id: "square" })(async (n: number) => await Promise.resolve(n));
    for (let n = 0; n < COUNT; n++) {
      if ((await square.readCache(n)).hit) stored.add(n);
    }
  }
  assert(acknowledged.isSubsetOf(stored), "what was acknowledged is stored");
  // Stored and not yet acknowledged: at most the calls that ran at each kill.
  assert(stored.size - acknowledged.size <= 3 * CONCURRENCY);

  const lines = await run().ended();
  const all = new Set(Array.from({ length: COUNT }, (_, n) => n));
  assertEquals(inputsOf(lines, "runs"), all.difference(stored));
  assertEquals(inputsOf(lines, "hit"), stored);
  assertEquals(lines.at(-1), "finished");
  for (const line of lines) {
    const [word, n, value] = line.split(" ");
    if (word === "hit" || word === "miss") {
      assertEquals(Number(value), Number(n) ** 2);
    }
  }

  const again = await run().ended();
  assertEquals([inputsOf(again, "runs").size, inputsOf(again, "hit")], [0, all]);
});
