/** The demo as a user runs it: a separate process, on a folder of generated files. */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { assert, assertEquals, assertMatch } from "@std/assert";
import { SQLiteCache } from "../mod.ts";
import type { Child, Ended } from "./support/child.ts";
import { run, start } from "./support/examples.ts";
import { temporaryFolder } from "./support/temp.ts";

const PERMISSIONS = ["--allow-read", "--allow-write=.cache"];

/** Writes a text file of pseudo-random words, the same for the same seed. */
function writeText(path: string, words: number, seed: number): void {
  let state = (seed * 2654435761) >>> 0;
  const text: string[] = [];
  for (let count = 0; count < words; count++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    text.push((state % 5000).toString(36));
  }
  writeFileSync(path, text.join(" "));
}

/** A folder with `count` different text files in it. */
function writeTexts(cwd: string, count: number, words: number): void {
  mkdirSync(join(cwd, "texts"));
  for (let index = 0; index < count; index++) {
    writeText(join(cwd, "texts", `${index}.txt`), words, index + 1);
  }
}

function startDemo(cwd: string, ...programArguments: string[]): Child {
  return start("demo.ts", programArguments, { cwd, permissions: PERMISSIONS });
}

async function runDemo(cwd: string, ...programArguments: string[]) {
  return await startDemo(cwd, ...programArguments).end();
}

/** The numbers of the table at the end. */
function countsOf({ code, stdout, stderr }: Ended): Record<string, number> {
  assertEquals(code, 0, stderr);
  const names = ["files", "hits", "misses", "equal files", "failures"];
  return Object.fromEntries(
    names.map((name) => {
      const [, count] = new RegExp(`^${name} +(\\d+)$`, "m").exec(stdout) ?? [];
      assert(count !== undefined, `no ${name} in ${stdout}`);
      return [name, Number(count)];
    }),
  );
}

/** The number of stored results. */
async function countStored(cwd: string): Promise<number> {
  await using cache = new SQLiteCache(join(cwd, ".cache", "demo.db"));
  return (await Array.fromAsync(cache.entries({ id: "analyse" }))).length;
}

/** Waits until some results are stored while the demo runs, and returns their number. */
async function storedWhileChild(cwd: string, running: Child, least: number): Promise<number> {
  let stored = 0;
  await running.until(async () => {
    stored = await countStored(cwd);
    return stored >= least;
  });
  return stored;
}

test("the demo computes each text once, and a changed one again", async () => {
  const cwd = temporaryFolder();
  writeTexts(cwd, 6, 20);
  writeText(join(cwd, "texts", "equal.txt"), 20, 1);
  writeFileSync(join(cwd, "texts", "binary.bin"), "a\0b");
  mkdirSync(join(cwd, "texts", "node_modules"));
  writeText(join(cwd, "texts", "node_modules", "skipped.txt"), 20, 99);

  const fresh = countsOf(await runDemo(cwd, "texts"));
  assertEquals([fresh.files, fresh.misses, fresh.failures], [7, 6, 0]);
  // The equal file waits for the first one, or comes late enough to find its result.
  assertEquals((fresh.hits ?? 0) + (fresh["equal files"] ?? 0), 1);
  const again = await runDemo(cwd, "texts");
  const none = { "equal files": 0, failures: 0 };
  assertEquals(countsOf(again), { ...none, files: 7, hits: 7, misses: 0 });
  assertMatch(again.stdout, /^time saved +\d+\.\d\d s$/m);

  writeText(join(cwd, "texts", "3.txt"), 21, 3);
  const changed = countsOf(await runDemo(cwd, "texts"));
  assertEquals(changed, { ...none, files: 7, hits: 6, misses: 1 });
});

test("the demo goes on after kill -9 with everything that was stored", async () => {
  const cwd = temporaryFolder();
  writeTexts(cwd, 12, 1500);
  const running = startDemo(cwd, "texts");
  const seen = await storedWhileChild(cwd, running, 3);
  await running.kill();
  assertEquals((await running.end()).code, null);
  const kept = await countStored(cwd);
  assert(kept >= seen && kept < 12, `${seen} before the kill, ${kept} after`);

  const { hits, misses } = countsOf(await runDemo(cwd, "texts"));
  assertEquals([hits, misses], [kept, 12 - kept]);
});

test("the demo stops on Ctrl-C, reports what is kept, and continues from there", async () => {
  const cwd = temporaryFolder();
  writeTexts(cwd, 12, 1500);
  const running = startDemo(cwd, "texts");
  const seen = await storedWhileChild(cwd, running, 3);
  running.interrupt();
  const { code, stderr } = await running.end();
  assertEquals(code, 130, stderr);
  assertMatch(stderr, /^Interrupted\. Everything finished is kept in .*demo\.db/m);
  const kept = await countStored(cwd);
  assert(kept >= seen && kept < 12, `${seen} before Ctrl-C, ${kept} after`);

  const { hits, misses } = countsOf(await runDemo(cwd, "texts"));
  assertEquals([hits, misses], [kept, 12 - kept]);
});

test("the demo refuses bad arguments in one line", async () => {
  const cwd = temporaryFolder();
  writeTexts(cwd, 1, 1);
  const bad: [string[], RegExp][] = [
    [["tests"], /tests is not a folder/],
    [["texts/0.txt"], /0\.txt is not a folder/],
    [["texts", "more"], /one folder, not also more/],
    [["--txets"], /--txets/],
  ];
  for (const [programArguments, message] of bad) {
    const { code, stdout, stderr } = await runDemo(cwd, ...programArguments);
    assertEquals([code, stdout], [2, ""]);
    assertMatch(stderr, message);
    assertMatch(stderr, /^demo: .*\n$/, "one line");
  }
  const help = await run("demo.ts", ["--help"], { cwd, permissions: [] });
  assertEquals([help.code, help.stderr], [0, ""]);
  assertMatch(help.stdout, /^Usage: deno task demo \[folder\]/);
});
