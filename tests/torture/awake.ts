/** Tells how long a thread slept, on a machine that has other things to do as well. */

import { openSync, readSync } from "node:fs";
import process from "node:process";

/**
 * Begins to tell for how many milliseconds this thread has been awake: at work, or waiting for a
 * processor. What the clock shows beside that it slept: for a lock, a disk or a timer.
 *
 * Linux tells it of each thread, to a tick of its clock, 1 to 4 ms. Elsewhere it is the processor
 * time of the process, and a thread that waits for a processor passes for one that sleeps.
 */
export function watchAwake(): () => number {
  const bytes = new Uint8Array(100);
  const decoder = new TextDecoder();
  const read = (file: number): number => {
    const length = readSync(file, bytes, 0, bytes.length, 0);
    const [worked, waited] = decoder.decode(bytes.subarray(0, length)).split(" ");
    return (Number(worked) + Number(waited)) / 1e6;
  };
  try {
    const file = openSync("/proc/thread-self/schedstat", "r");
    // A kernel that does not count says 0.
    if (read(file) > 0) return () => read(file);
  } catch {
    // Not Linux.
  }
  return () => {
    const { user, system } = process.cpuUsage();
    return (user + system) / 1000;
  };
}
