/**
 * Measures the built package beside its peers on Node and Bun: `deno task bench:npm [runtime …]`.
 *
 * Runtimes and peers come from npm; without arguments Node 24 and Bun run. The package must have
 * been built. Results go to `bench/results/peers-<runtime>.md` and `.json`.
 */

// deno-lint-ignore-file no-console -- it reports its steps

import { readFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { HOOKS, prepare } from "./project.ts";
import { ROOT, run, runtime } from "./tools.ts";

/** The packages that the peers' benchmarks import, with their pinned versions. */
function peers(): Record<string, string> {
  const sources = ["limit_work.ts", "peers/peers.ts"]
    .map((file) => readFileSync(join(ROOT, "bench", file), "utf8"))
    .join();
  return Object.fromEntries(
    [...sources.matchAll(/"npm:(@?[^"@]+)@([^"/]+)/g)].map(([, name, version]) => [name, version]),
  );
}

prepare(["bench"], peers());
const wanted = process.argv.slice(2);
for (const name of wanted.length > 0 ? wanted : ["node-24", "bun"]) {
  const out = `bench/results/peers-${name}`;
  const said = run(runtime(name), ["./bench/peers/peers.ts", `--out=${out}`], {
    env: HOOKS,
    timeout: 1_800_000,
  });
  console.log(`${name}: ${out}.md`, said);
}
