/**
 * `limitAdaptive` on servers of many kinds, beside fixed limits that are too low, right and too
 * high: `deno task bench:servers`. It writes `bench/results/servers.md`.
 *
 * The servers are simulated under fake time, so the figures are the same in each run.
 *
 * @module
 */

// deno-lint-ignore-file no-console -- it reports its steps

import { writeFileSync } from "node:fs";
import { limitAdaptive, limitConcurrency, retry } from "../concurrency.ts";
import {
  capacity,
  quota,
  type Server,
  sharing,
  simulate,
  TooManyRequests,
} from "../tests/support/servers.ts";

/** A kind of server. */
interface Kind {
  readonly title: string;
  readonly make: () => Server;
  /** The right number of calls at once per process, as its operator would say. */
  readonly right: number;
  readonly seconds?: number;
  readonly processes?: number;
  readonly callersAt?: (now: number) => number;
  readonly refusalMs?: number;
}

const steps = (now: number): number => Math.floor(now / 60_000) % 2 === 0 ? 50 : 25;

const KINDS: readonly Kind[] = [
  { title: "50 places, halved and doubled every 60 s", make: () => capacity(steps), right: 25 },
  {
    title: "the same, where a refusal takes 1 s",
    make: () => capacity(steps),
    right: 25,
    refusalMs: 1_000,
  },
  { title: "5 places", make: () => capacity(() => 5), right: 5 },
  { title: "50 places", make: () => capacity(() => 50), right: 50 },
  { title: "50 places, its first minute", make: () => capacity(() => 50), right: 50, seconds: 60 },
  {
    title: "50 places, answers in 20 s",
    make: () => capacity(() => 50, 20_000),
    right: 50,
    seconds: 1_200,
  },
  {
    title: "50 places, down from 100 s to 160 s of 300 s",
    make: () => capacity((now) => now >= 100_000 && now < 160_000 ? 0 : 50),
    right: 50,
    seconds: 300,
  },
  {
    title: "50 places, 20 calls at once, from 300 s on 500",
    make: () => capacity(() => 50),
    right: 50,
    callersAt: (now) => now < 300_000 ? 20 : 500,
  },
  { title: "50 places, 4 processes", make: () => capacity(() => 50), right: 12, processes: 4 },
  { title: "50 places, 20 processes", make: () => capacity(() => 50), right: 2, processes: 20 },
  { title: "600 calls a minute, a burst of 10", make: () => quota(600, 10), right: 10 },
  { title: "600 calls a minute, in windows", make: () => quota(600, "window"), right: 10 },
  { title: "12 calls a minute, a burst of 12", make: () => quota(12, 12), right: 1 },
  { title: "12 calls a minute, one by one", make: () => quota(12, 1), right: 1 },
  { title: "never refuses, 50 places shared", make: () => sharing(50, 0), right: 50 },
  { title: "never refuses, and thrashes beyond 50", make: () => sharing(50, 0.2), right: 50 },
];

/** The limit of a process, by column of the table. */
const LIMITS: Record<string, (kind: Kind) => ReturnType<typeof limitConcurrency>> = {
  limitAdaptive: () =>
    limitAdaptive({ isOverload: (error: unknown) => error instanceof TooManyRequests }),
  "a quarter of the right limit": ({ right }) => limitConcurrency(Math.max(1, right >> 2)),
  "the right limit": ({ right }) => limitConcurrency(right),
  "three times the right limit": ({ right }) => limitConcurrency(3 * right),
};

async function cell(kind: Kind, limit: (typeof LIMITS)[string]): Promise<string> {
  const { throughput, refused, lost, fairness } = await simulate({
    ...kind,
    server: kind.make(),
    wrap: (call) => retry()(limit(kind)(call)),
    seconds: kind.seconds ?? 600,
    callersAt: kind.callersAt ?? (() => kind.processes === undefined ? 500 : 100),
    seed: 1,
  });
  const parts = [throughput.toFixed(0), refused.toFixed(1), lost.toFixed(1)];
  return parts.join(" / ") + (kind.processes === undefined ? "" : `, J ${fairness.toFixed(2)}`);
}

const names = Object.keys(LIMITS);
let text = `# Servers

Throughput of what the server can answer / attempts refused / calls lost after the five attempts of
\`retry\`, in %; J is Jain's index of fairness among processes. Simulated under fake time, one seed;
each column is \`retry()(limit(fn))\`. A quota that is known wants \`limitRate\`, and a server that never
refuses a \`max\`: no limit can learn either. Written by \`bench/servers.ts\`.

| server | ${names.join(" | ")} |
|---|${"---|".repeat(names.length)}
`;
for (const kind of KINDS) {
  const cells: string[] = [];
  for (const name of names) cells.push(await cell(kind, LIMITS[name]!));
  text += `| ${kind.title} | ${cells.join(" | ")} |\n`;
  console.log(kind.title, cells);
}
writeFileSync("bench/results/servers.md", text);
