/** The package in the tests of users: Jest, Vitest and `node:test`, and their fake timers. */

// deno-lint-ignore-file no-console -- it reports its steps

import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { configuration, install, placeBuilt, run, runtime, VERSIONS } from "./tools.ts";

const { name } = configuration();

/** The tests of a user; `RUNNER` is the object with the fake timers. */
const TESTS = `import { afterEach, expect, test, RUNNER as runner } from "PACKAGE";
import { limitConcurrency, limitRate, MemoryCache, retry, SQLiteCache } from "${name}";

const caches = { memory: () => new MemoryCache(), sqlite: () => new SQLiteCache(":memory:") };

for (const [kind, open] of Object.entries(caches)) {
  for (const fake of [false, true]) {
    test(kind + (fake ? " under fake timers" : ""), async () => {
      if (fake) runner.useFakeTimers();
      const cache = open();
      let runs = 0;
      const f = cache.cache({ id: "f" })(
        limitConcurrency(2)(async (input) => ({ run: ++runs, input })),
      );
      const input = { at: new Date(0), names: new Set(["a"]), bytes: new Uint8Array(2) };
      expect(await f(input)).toEqual({ run: 1, input });
      expect(await f(input)).toEqual({ run: 1, input });
      const results = await f.map([1, 2, 1], { concurrency: 2 }).values();
      expect(results.map(({ input }) => input)).toEqual([1, 2, 1]);
      await f.bustCache();
      expect((await f.readCache(input)).hit).toBe(false);
      await expect(cache.get("absent")).rejects.toThrow("absent");
      await cache.close();
    });
  }
}
test("fake time moves rates, retries and pauses", async () => {
  runner.useFakeTimers();
  const calls = WAITS;
  await runner.advanceTimersByTimeAsync(40_000);
  expect(await Promise.all(calls)).toEqual([1, 2, 3, "third", "paused"]);
});
afterEach(() => runner.useRealTimers());
`;

/** Calls that wait 10 s and more. */
const WAITS = `[
    ...[1, 2, 3].map(limitRate(1, { per: "10s" })(async (n) => n)),
    (() => {
      let attempts = 0;
      return retry({ backoff: { min: "10s", jitter: 0 } })(async () => {
        if (++attempts < 3) throw new Error("down");
        return "third";
      })();
    })(),
    (() => {
      const limit = limitConcurrency(1);
      limit.pause("10s");
      return limit(async () => "paused")();
    })(),
  ]`;

/** The same with `node:test`, whose fake timers come with a fake Date only. */
const NODE_TEST = `import assert from "node:assert/strict";
import { mock, test } from "node:test";
import { limitConcurrency, limitRate, retry } from "${name}";

test("fake time moves rates, retries and pauses", async () => {
  mock.timers.enable({ apis: ["setTimeout", "Date"] });
  let results;
  void Promise.all(WAITS).then((all) => (results = all));
  for (let second = 0; second < 40; second++) {
    await new Promise((resolve) => setImmediate(resolve));
    mock.timers.tick(1_000);
  }
  await new Promise((resolve) => setImmediate(resolve));
  assert.deepEqual(results, [1, 2, 3, "third", "paused"]);
});
`;

/** Installs Jest and Vitest, and runs the tests with each runner. */
export function testRunners(): void {
  const project = install("test-runners", { jest: VERSIONS.jest, vitest: VERSIONS.vitest });
  placeBuilt(project);
  const node = runtime("node-24");
  const runners = {
    jest: { package: "@jest/globals", object: "jest", program: ["jest", "bin", "jest.js"] },
    vitest: { package: "vitest", object: "vi", program: ["vitest", "vitest.mjs"] },
  };
  for (const [runner, { package: from, object, program }] of Object.entries(runners)) {
    const file = `${runner}.test.mjs`;
    writeFileSync(
      join(project, file),
      TESTS.replace("RUNNER", object).replace("PACKAGE", from).replace("WAITS", WAITS),
    );
    const parameters = runner === "jest"
      ? ["--rootDir=.", "--testMatch", `**/${file}`, "--testTimeout=20000"]
      : ["run", file, "--testTimeout=20000"];
    run(node, [
      ...(runner === "jest" ? ["--experimental-vm-modules"] : []),
      join(project, "node_modules", ...program),
      ...parameters,
    ], { cwd: project, timeout: 120_000 });
    console.log(
      `${runner}: hits, misses, batches, busts, also under fake timers, which move waits`,
    );
  }
  const file = "node.test.mjs";
  writeFileSync(join(project, file), NODE_TEST.replace("WAITS", WAITS));
  for (const version of ["node-22.13", "node-24", "node-26"]) {
    run(runtime(version), ["--test", file], { cwd: project, timeout: 120_000 });
  }
  console.log("node:test on three versions: fake timers move waits");
}
