/**
 * Interleaved rounds. On a machine that others use too, only measurements made side by side can be
 * compared, and processor time says more than the clock.
 *
 * @module
 */

import process from "node:process";

/** Collects all garbage now, where the runtime was started with a way to request it. */
export function collectGarbage(): void {
  const { gc, Bun } = globalThis as {
    gc?: () => void;
    Bun?: { gc: (wait: boolean) => void };
  };
  if (Bun === undefined) gc?.();
  else Bun.gc(true);
}

/** Something to measure. */
export interface Contender {
  readonly name: string;
  /** The number of calls in one run. */
  readonly calls: number;
  /** Runs once; its preparation belongs in `before`. */
  readonly run: () => unknown;
  /** Awaited before each run, outside the measurement. */
  readonly before?: () => unknown;
}

/** The times of a contender's rounds, in microseconds per call. */
export interface Timing {
  /** Time on the clock. */
  readonly wall: readonly number[];
  /** Time on the processors, including helper threads (garbage collection). */
  readonly processor: readonly number[];
}

export function median(numbers: readonly number[]): number {
  return numbers.toSorted((a, b) => a - b)[numbers.length >> 1] ?? NaN;
}

/**
 * Runs every contender once a round, in a rotating order; the first rounds warm up and do not
 * count.
 */
export async function measure(
  contenders: readonly Contender[],
  rounds: number,
): Promise<Map<string, Timing>> {
  const times = new Map(
    contenders.map(({ name }) => [
      name,
      { wall: new Array<number>(), processor: new Array<number>() },
    ]),
  );
  // Enough calls to compile everything; where a run takes seconds, one run is enough.
  const warmUp = rounds > 10 ? 20 : 1;
  for (let round = -warmUp; round < rounds; round++) {
    for (let place = 0; place < contenders.length; place++) {
      const next = contenders[(place + round + warmUp) % contenders.length]!;
      await next.before?.();
      const used = process.cpuUsage();
      const begin = performance.now();
      await next.run();
      const wall = (performance.now() - begin) * 1000;
      const { user, system } = process.cpuUsage(used);
      if (round < 0) continue;
      times.get(next.name)?.wall.push(wall / next.calls);
      times.get(next.name)?.processor.push((user + system) / next.calls);
    }
  }
  return times;
}

/** The time that a ratio compares. */
export type Clock = keyof Timing;

/** The median of the ratios of each round: noise that lasts longer than a round cancels out. */
export function ratio(of: Timing, to: Timing, clock: Clock = "processor"): number {
  return median(of[clock].map((time, round) => time / to[clock][round]!));
}
