/** The package in the tests of users: with Jest and with Vitest, and their fake timers. */

// deno-lint-ignore-file no-console -- it reports its steps

import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { configuration, install, placeBuilt, run, runtime, VERSIONS } from "./tools.ts";

const { name } = configuration();

/** The tests of a user; `RUNNER` is the object with the fake timers. */
const TESTS = `import { afterEach, expect, test, RUNNER as runner } from "PACKAGE";
import { limitConcurrency, MemoryCache, SQLiteCache } from "${name}";

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
afterEach(() => runner.useRealTimers());
`;

/** Installs both, and runs the tests with each. */
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
      TESTS.replace("RUNNER", object).replace("PACKAGE", from),
    );
    const parameters = runner === "jest"
      ? ["--rootDir=.", "--testMatch", `**/${file}`, "--testTimeout=20000"]
      : ["run", file, "--testTimeout=20000"];
    run(node, [
      ...(runner === "jest" ? ["--experimental-vm-modules"] : []),
      join(project, "node_modules", ...program),
      ...parameters,
    ], { cwd: project, timeout: 120_000 });
    console.log(`${runner}: hits, misses, batches, busts, also under fake timers`);
  }
}
