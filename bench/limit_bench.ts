/** The cost of a limit: 10,000 trivial tasks under a limit of 10, against the same without one. */
import { contenders, unlimited } from "./limit_work.ts";

const TASKS = 10_000;
for (const atOnce of [1, 1_000, TASKS]) {
  const floor = unlimited(atOnce, TASKS);
  for (const contender of [floor, ...contenders(atOnce, TASKS)]) {
    Deno.bench({
      name: contender.name,
      group: `10,000 tasks, ${atOnce.toLocaleString("en")} at once`,
      baseline: contender === floor,
      fn: async () => {
        await contender.run();
      },
    });
  }
}
