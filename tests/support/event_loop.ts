/** Measurements of the event loop that do not depend on the load of the machine. */
import process from "node:process";
import { assert } from "@std/assert";
import { settle } from "./fake_time.ts";

/** The processor time of this thread, in milliseconds; some systems count in steps of 10 ms. */
export function processorTime(): number {
  // Node 22 counts for the process only; its test runner starts one process for each file.
  const { user, system } = typeof process.threadCpuUsage === "function"
    ? process.threadCpuUsage()
    : process.cpuUsage();
  return (user + system) / 1000;
}

/** The time of work where nothing else needs the processor, in milliseconds. */
export function timeOf(work: () => void): number {
  const clock = performance.now();
  const processor = processorTime();
  work();
  return Math.min(performance.now() - clock, processorTime() - processor);
}

/** Waits until a condition holds; gives up after ten seconds of processor time. */
export async function until(holds: () => boolean): Promise<void> {
  const start = processorTime();
  while (!holds()) {
    assert(processorTime() - start < 10_000, `${holds} never came true`);
    await settle();
  }
}

/** The longest times between two turns of the event loop, in milliseconds. */
export interface HeldUp {
  /** By the clock: this thread works, waits or has no processor. */
  readonly clock: number;
  /** The part in which this thread worked, without waits and the work of others. */
  readonly working: number;
  /** The number of turns. */
  readonly turns: number;
}

/** Watches the event loop while something runs. */
export async function heldUp(work: () => Promise<unknown>): Promise<HeldUp> {
  let turns = 0;
  const longest = { clock: 0, working: 0 };
  let lastClock = performance.now();
  let lastProcessor = processorTime();
  function turn(): void {
    const clock = performance.now() - lastClock;
    const processor = processorTime() - lastProcessor;
    turns++;
    longest.clock = Math.max(longest.clock, clock);
    longest.working = Math.max(longest.working, Math.min(clock, processor));
    lastClock = performance.now();
    lastProcessor = processorTime();
  }
  const timer = setInterval(turn, 1);
  try {
    await work();
  } finally {
    clearInterval(timer);
  }
  turn();
  return { ...longest, turns };
}

/**
 * The shortest time for which an attempt held up the event loop. A busy machine or a garbage
 * collection holds up some attempts; the work itself holds up all of them.
 *
 * @param enough Attempts end after one below this time, in milliseconds.
 * @param attempt Watches the work once, on fresh data.
 * @param by The time that counts.
 */
export async function leastHeldUp(
  enough: number,
  attempt: () => Promise<HeldUp>,
  by: "clock" | "working" = "clock",
): Promise<number> {
  let least = Infinity;
  for (let count = 0; count < 5 && least >= enough; count++) {
    least = Math.min(least, (await attempt())[by]);
  }
  return least;
}
