/** Measures the sleep of a thread on a machine that has other work too. */

import { openSync, readSync } from "node:fs";
import process from "node:process";

/**
 * Measures the milliseconds for which this thread is awake: at work, or waiting for a processor.
 * The rest of the time on the clock it sleeps: for a lock, a disk or a timer.
 *
 * Linux counts awake time for each thread, to a tick of its clock, 1 to 4 ms. Elsewhere the
 * processor time of the process is used, so a thread that waits for a processor counts as asleep.
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
