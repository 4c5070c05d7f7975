/**
 * Interleaved rounds: on a machine that others use too, only what is measured side by side can be
 * compared.
 *
 * @module
 */

/** Something to measure. */
export interface Contender {
  readonly name: string;
  /** How many calls one run makes. */
  readonly calls: number;
  /** Runs once; what has to be put in place before it is not measured. */
  readonly run: () => unknown;
  /** Is awaited before each run, outside the measurement. */
  readonly before?: () => unknown;
}

/** What the rounds of a contender came to, in microseconds per call. */
export interface Timing {
  readonly median: number;
  readonly min: number;
  readonly rounds: readonly number[];
}

export function median(numbers: readonly number[]): number {
  return numbers.toSorted((a, b) => a - b)[numbers.length >> 1] ?? NaN;
}

/**
 * Runs every contender once a round, in an order that rotates; the first rounds warm up and do not
 * count.
 */
export async function measure(
  contenders: readonly Contender[],
  rounds: number,
): Promise<Map<string, Timing>> {
  const times = new Map<string, number[]>(
    contenders.map(({ name }) => [name, []]),
  );
  const warmUp = Math.min(5, Math.ceil(rounds / 4));
  for (let round = -warmUp; round < rounds; round++) {
    for (let place = 0; place < contenders.length; place++) {
      const next = contenders[(place + round + warmUp) % contenders.length]!;
      await next.before?.();
      const begin = performance.now();
      await next.run();
      const took = (performance.now() - begin) * 1000 / next.calls;
      if (round >= 0) times.get(next.name)?.push(took);
    }
  }
  return new Map([...times].map(([name, rounds]) => [name, {
    median: median(rounds),
    min: Math.min(...rounds),
    rounds,
  }]));
}

/** The median of the ratios of each round: noise that lasts longer than a round cancels out. */
export function ratio(of: Timing, to: Timing): number {
  return median(of.rounds.map((time, round) => time / to.rounds[round]!));
}
