/** The switches of the environment: how they are read, and their effects on a process. */
import { join } from "node:path";
import { test } from "node:test";
import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { readSwitches } from "../../src/core/switches.ts";
import { hashKey } from "../../hash.ts";
import { MemoryBackend } from "../../memory.ts";
import { Cache } from "../../src/core/cache.ts";
import { start } from "../support/child.ts";
import { withVariables } from "../support/environment.ts";
import { temporaryFolder } from "../support/temp.ts";

function switches(variables: Readonly<Record<string, string>>) {
  return readSwitches((name) => variables[name]);
}

test("readSwitches() of an empty environment switches nothing on", () => {
  const { bustedIds, cacheOnly, printMisses } = switches({});
  assertEquals([bustedIds.size, cacheOnly, printMisses], [0, false, false]);
});

test("readSwitches() knows the words that switch on and off, in any case", () => {
  for (const name of ["CACHE_ONLY", "PRINT_CACHE_MISSES"]) {
    const member = name === "CACHE_ONLY" ? "cacheOnly" : "printMisses";
    for (const word of ["1", "true", "yes", "on", "TRUE", "Yes", " on "]) {
      assertEquals(switches({ [name]: word })[member], true, word);
    }
    for (const word of ["", " ", "0", "false", "no", "off", "False", "OFF"]) {
      assertEquals(switches({ [name]: word })[member], false, word);
    }
    for (const word of ["2", "yess", "maybe", "y", "n", "null", "-1", "onoff"]) {
      const error = assertThrows(() => switches({ [name]: word }), TypeError, name);
      assert(error.message.includes(`"${word}"`));
    }
  }
});

test("readSwitches() takes BUST_CACHE as ids with commas between them, or all", () => {
  const some = switches({ BUST_CACHE: " a, b c ,,d/e, allright " });
  assertEquals([...some.bustedIds], ["a", "b c", "d/e", "allright"]);
  for (const id of some.bustedIds) assertEquals(some.isBusted(id), true);
  for (const id of ["", " b c", "b", "c", "d", "all", "A", "ab"]) {
    assertEquals(some.isBusted(id), false, id);
  }
  for (const text of ["all", "a, all", " all "]) {
    const every = switches({ BUST_CACHE: text });
    assertEquals(["a", "b", "all"].map((id) => every.isBusted(id)), [true, true, true]);
  }
  for (const text of ["", " ", ",", " , "]) {
    assertEquals(switches({ BUST_CACHE: text }).isBusted(""), false);
  }
});

test("readSwitches() refuses CACHE_ONLY together with BUST_CACHE", () => {
  assertThrows(() => switches({ CACHE_ONLY: "1", BUST_CACHE: "a" }), TypeError, "BUST_CACHE");
  assertEquals(switches({ CACHE_ONLY: "0", BUST_CACHE: "a" }).cacheOnly, false);
  assertEquals(switches({ CACHE_ONLY: "1", BUST_CACHE: " , " }).cacheOnly, true);
});

/** Runs the script of the switches on a database, and parses its lines. */
async function run(
  path: string,
  variables: Readonly<Record<string, string>>,
  ids: readonly string[],
): Promise<{ readonly lines: unknown[]; readonly errors: string }> {
  const child = start("fixtures/switches_child.ts", [path, ...ids], ["-A"], {
    BUST_CACHE: "",
    CACHE_ONLY: "",
    PRINT_CACHE_MISSES: "",
    ...variables,
  });
  const lines = (await child.ended()).map((line) => JSON.parse(line));
  return { lines, errors: child.errors() };
}

const IDS = ["a", "b c", "d/e"];

test("BUST_CACHE recomputes each key of the ids it names once per run, and no other", async () => {
  const path = join(temporaryFolder(), "cache.db");
  const miss = IDS.map((id) => [id, "miss", "hit", true]);
  const hit = IDS.map((id) => [id, "hit", "hit", true]);
  assertEquals((await run(path, {}, IDS)).lines, miss);
  assertEquals((await run(path, {}, IDS)).lines, hit);
  assertEquals((await run(path, { BUST_CACHE: "b c, nobody" }, IDS)).lines, [
    ["a", "hit", "hit", true],
    ["b c", "miss", "hit", true],
    ["d/e", "hit", "hit", true],
  ]);
  assertEquals((await run(path, { BUST_CACHE: "all" }, IDS)).lines, miss);
  assertEquals((await run(path, { BUST_CACHE: "all" }, IDS)).lines, miss);
  assertEquals((await run(path, { BUST_CACHE: "" }, IDS)).lines, hit);
});

test("CACHE_ONLY throws on a miss instead of running, and serves what is stored", async () => {
  const path = join(temporaryFolder(), "cache.db");
  await run(path, {}, ["a"]);
  const { lines } = await run(path, { CACHE_ONLY: "1" }, ["a", "b"]);
  assertEquals(lines[0], ["a", "hit", "hit", true]);
  const [, first, second, hit] = lines[1] as [string, string, string, boolean];
  assert(first.includes("CACHE_ONLY") && first.includes('"b"'));
  assert(first.includes(await hashKey(["s3cr3t"])));
  assertEquals([second, hit], [first, false]);
  // A busted entry must run, which CACHE_ONLY forbids.
  const both = await run(path, { CACHE_ONLY: "yes", BUST_CACHE: "a" }, ["a"]);
  const [refused] = both.lines as string[][];
  assert(refused?.[1]?.includes("BUST_CACHE"));
  assertEquals((await run(path, { CACHE_ONLY: "off" }, ["a"])).lines, [["a", "hit", "hit", true]]);
});

test("The switches hold for streams too", async () => {
  const path = join(temporaryFolder(), "cache.db");
  const miss = ["stream", "miss", "hit", true];
  const hit = ["stream", "hit", "hit", true];
  assertEquals((await run(path, {}, ["stream"])).lines, [miss]);
  assertEquals((await run(path, { BUST_CACHE: "stream" }, ["stream"])).lines, [miss]);
  const { lines } = await run(path, { CACHE_ONLY: "1" }, ["stream", "stream2"]);
  assertEquals(lines[0], hit);
  assert(String(lines[1]).includes("CACHE_ONLY"));
});

test("PRINT_CACHE_MISSES prints id and key of each miss to stderr, never the arguments", async () => {
  const path = join(temporaryFolder(), "cache.db");
  const key = await hashKey(["s3cr3t"]);
  const { errors } = await run(path, { PRINT_CACHE_MISSES: "1" }, ["a", "100%d"]);
  assertEquals(
    errors.split("\n").filter((line) => line.startsWith("panza")),
    [`panza: miss a ${key}`, `panza: miss 100%d ${key}`],
  );
  assert(!errors.includes("s3cr3t"));
  const second = await run(path, { PRINT_CACHE_MISSES: "1" }, ["a"]);
  assert(!second.errors.includes("panza"));
  const off = await run(path, { PRINT_CACHE_MISSES: "no" }, ["new"]);
  assert(!off.errors.includes("panza"));
});

test("A switch that holds an unknown word is refused by name on first use, not before", async () => {
  const path = join(temporaryFolder(), "cache.db");
  for (const name of ["CACHE_ONLY", "PRINT_CACHE_MISSES"]) {
    const { lines } = await run(path, { [name]: "maybe" }, ["a"]);
    const [, first, second] = lines[0] as [string, string, string];
    assert(first.includes(name) && first.includes('"maybe"'));
    assertEquals(second, first);
  }
});

test("The switches are read once per cache, on first use", async () => {
  const backend = new MemoryBackend();
  const [one, two] = [new Cache(backend), new Cache(backend)];
  const call = async (cache: Cache, n: number): Promise<number> =>
    await cache.cache({ id: "f" })((n: number) => Promise.resolve(n))(n);
  assertEquals(await call(one, 1), 1);
  await withVariables({ CACHE_ONLY: "1" }, async () => {
    assertEquals(await call(one, 2), 2);
    await assertRejects(() => call(two, 3), Error, "CACHE_ONLY");
  });
});
