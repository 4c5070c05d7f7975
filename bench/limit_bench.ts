/** What a limit costs: 10,000 trivial tasks under a limit of 10, against the same without a limit. */
import { contenders, unlimited } from "./limit_work.ts";

const TASKS = 10_000;
for (const way of ["all at once", "one at a time"] as const) {
  const floor = unlimited(way, TASKS);
  for (const contender of [floor, ...contenders(way, TASKS)]) {
    Deno.bench({
      name: contender.name,
      group: `10,000 tasks ${way}`,
      baseline: contender === floor,
      fn: async () => {
        await contender.run();
      },
    });
  }
}
