/**
 * The long forms: `deno task torture [scenario …] [--seed=n] [--scale=n]`. A seed is printed before
 * each scenario, so that a failure can be repeated; a scale of 0.1 is a tenth of the work.
 */

// deno-lint-ignore-file no-console -- a program

import process from "node:process";
import { parseArgs } from "node:util";
import { killMakers } from "./births.ts";
import { crowdS3, crowdSQLite } from "./crowds.ts";
import { damageS3 } from "./damage_s3.ts";
import { damageSQLite } from "./damage_sqlite.ts";
import { fuzz } from "./fuzz.ts";
import { hostile } from "./hostile.ts";
import { refuse } from "./machine.ts";
import { limitLong } from "./limits.ts";
import { leakLong } from "./leaks.ts";
import { killUploads, killWriters } from "./kills.ts";
import { race } from "./races.ts";
import type { Extent } from "./random.ts";
import { killSharers } from "./shares.ts";
import { disorder } from "./timers.ts";

/** Scenarios by name, with their full count. */
const SCENARIOS: Record<
  string,
  readonly [count: number, run: (extent: Extent) => Promise<unknown>]
> = {
  fuzz: [100_000, fuzz],
  kills: [400, killWriters],
  births: [100, killMakers],
  shares: [500, killSharers],
  limits: [100, limitLong],
  races: [1_000, race],
  uploads: [60, killUploads],
  crowd: [10_000, crowdSQLite],
  "crowd-s3": [10_000, crowdS3],
  leaks: [1_000_000, leakLong],
  hostile: [1_000_000, hostile],
  machine: [10_000, refuse],
  timers: [50_000, disorder],
  damage: [3_000, damageSQLite],
  "damage-s3": [200, damageS3],
};

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { seed: { type: "string" }, scale: { type: "string" } },
});
const chosen = positionals.length > 0 ? positionals : Object.keys(SCENARIOS);
for (const name of chosen) {
  const scenario = SCENARIOS[name];
  if (scenario === undefined) {
    console.error(`torture: there is no ${name}, only ${Object.keys(SCENARIOS).join(", ")}`);
    process.exit(2);
  }
  const [most, run] = scenario;
  const count = Math.ceil(most * Number(values.scale ?? 1));
  const seed = Number(values.seed ?? Date.now() % 2 ** 32);
  console.log(`${name}: ${count}, --seed=${seed}`);
  const start = performance.now();
  const result = await run({ count, seed });
  const seconds = Math.round((performance.now() - start) / 1000);
  console.log(`${name}: held for ${seconds} s`, result ?? "");
}
// The S3 server would keep this process alive.
process.exit(0);
