/**
 * Start-up in a fresh process: an empty module, the library, and the library with a first hit on an
 * existing file. One iteration is the whole life of a process.
 */
import { programs, runProgram } from "./processes.ts";

for (const [name, { source, prints }] of Object.entries(await programs())) {
  Deno.bench({
    name,
    group: "a process",
    baseline: name === "an empty module",
    n: 20,
    warmup: 2,
    fn: () => {
      const { out } = runProgram(name, source);
      if (out !== prints) throw new Error(`printed ${out}`);
    },
  });
}
