/** Simulated servers that refuse excess calls, and callers that keep them busy, under fake time. */

import { FakeTime } from "./fake_time.ts";

/** HTTP 429. */
export class TooManyRequests extends Error {
  override readonly name = "TooManyRequests";
}

/** A server, and its treatment of calls. */
export interface Server {
  /** The number of calls that it could answer in a time; `NaN` where that has no meaning. */
  ideal(milliseconds: number): number;
  /** Admits a call and returns its latency, in milliseconds; `undefined` refuses it. */
  admit(now: number, random: () => number): number | undefined;
  /** Is called at the end of an admitted call. */
  release(): void;
}

/** A log-normal latency around a mean, like those of language models. */
function latency(mean: number, random: () => number, sigma = 0.5): number {
  const normal = Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
  return mean * Math.exp(sigma * normal - sigma * sigma / 2);
}

/** A server with a number of places that may change over time. */
export function capacity(capacityAt: (now: number) => number, meanLatency = 1_000): Server {
  let active = 0;
  return {
    ideal: (milliseconds) => {
      let sum = 0;
      for (let now = 0; now < milliseconds; now += 1_000) sum += capacityAt(now);
      return sum * 1_000 / meanLatency;
    },
    admit: (now, random) => {
      if (active >= capacityAt(now)) return undefined;
      active++;
      return latency(meanLatency, random);
    },
    release: () => void active--,
  };
}

/** A quota of calls a minute, given back evenly (a bucket) or each minute (a window). */
export function quota(perMinute: number, burst: number | "window"): Server {
  let left = burst === "window" ? perMinute : burst;
  let last = 0;
  return {
    ideal: (milliseconds) => perMinute * milliseconds / 60_000,
    admit: (now, random) => {
      if (burst !== "window") left = Math.min(burst, left + (now - last) * perMinute / 60_000);
      else if (Math.floor(now / 60_000) > Math.floor(last / 60_000)) left = perMinute;
      last = now;
      if (left < 1) return undefined;
      left--;
      return latency(1_000, random);
    },
    release: () => {},
  };
}

/** A server that never refuses: calls beyond its places slow down all calls. */
export function sharing(places: number, thrash: number): Server {
  let active = 0;
  return {
    ideal: (milliseconds) => places * milliseconds / 1_000,
    admit: (_now, random) => {
      active++;
      const load = Math.max(1, active / places);
      return latency(1_000, random) * load * (1 + thrash * (load - 1));
    },
    release: () => void active--,
  };
}

/** The result of a simulation. */
export interface Outcome {
  /** Calls answered, in percent of the ideal number. */
  readonly throughput: number;
  /** Attempts refused, in percent of all. */
  readonly refused: number;
  /** Calls lost after all their attempts, in percent of all. */
  readonly lost: number;
  /** Jain's index over the processes: 1 is fair; 1 / their number means that one takes all. */
  readonly fairness: number;
  /** Calls answered in each second. */
  readonly perSecond: readonly number[];
}

/** A run of callers against a server. */
export interface Simulation {
  readonly server: Server;
  /** Wraps the call of each process. */
  readonly wrap: (call: () => Promise<void>) => () => Promise<void>;
  readonly seconds: number;
  readonly seed: number;
  /** Processes, each with callers of its own; 1 unless set. */
  readonly processes?: number;
  /** The number of calls per process that run or wait at a time; 500 unless set. */
  readonly callersAt?: (now: number) => number;
  /** The time that a refusal takes, in milliseconds; 100 unless set. */
  readonly refusalMs?: number;
}

/** Lets callers call for a time, each again as soon as its call has ended. */
export async function simulate(simulation: Simulation): Promise<Outcome> {
  const { server, wrap, seconds, seed, processes = 1, refusalMs = 100 } = simulation;
  const { callersAt = () => 500 } = simulation;
  using time = new FakeTime();
  const random = seeded(seed);
  using _random = replaceRandom(random);
  const end = seconds * 1_000;
  const answered = new Array<number>(processes).fill(0);
  const perSecond = new Array<number>(seconds).fill(0);
  let attempts = 0;
  let refused = 0;
  let calls = 0;
  let lost = 0;
  const sleep = (milliseconds: number) =>
    new Promise<void>((resolve) => setTimeout(resolve, milliseconds));
  function start(process: number): void {
    const call = wrap(async () => {
      if (time.elapsed >= end) return;
      attempts++;
      const duration = server.admit(time.elapsed, random);
      if (duration === undefined) {
        refused++;
        await sleep(refusalMs);
        throw new TooManyRequests("429");
      }
      await sleep(duration);
      server.release();
      if (time.elapsed >= end) return;
      answered[process] = (answered[process] ?? 0) + 1;
      const second = Math.floor(time.elapsed / 1_000);
      perSecond[second] = (perSecond[second] ?? 0) + 1;
    });
    const caller = async (number: number): Promise<void> => {
      while (time.elapsed < end) {
        if (number >= callersAt(time.elapsed)) await sleep(1_000);
        else {
          calls++;
          await call().catch(() => lost++);
        }
      }
    };
    const most = Math.max(...perSecond.map((_, second) => callersAt(second * 1_000)));
    for (let number = 0; number < most; number++) void caller(number);
  }
  for (let process = 0; process < processes; process++) start(process);
  await time.tick(end);
  const all = answered.reduce((sum, n) => sum + n, 0);
  const squares = answered.reduce((sum, n) => sum + n * n, 0);
  return {
    throughput: 100 * all / server.ideal(end),
    refused: 100 * refused / attempts,
    lost: 100 * lost / calls,
    fairness: all * all / (processes * squares),
    perSecond,
  };
}

/** Numbers from 0 to below 1 that are the same in each run (mulberry32). */
export function seeded(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6D2B79F5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

function replaceRandom(random: () => number): Disposable {
  const { random: before } = Math;
  Math.random = random;
  return {
    [Symbol.dispose]() {
      Math.random = before;
    },
  };
}
