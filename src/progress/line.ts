/**
 * The text of a progress line.
 *
 * @module
 */

import type { BatchProgress } from "../base/batch_progress.ts";

/** The counts that a line shows: of one batch, or the sum of several. */
export type Tally = Pick<
  BatchProgress,
  "done" | "total" | "running" | "hits" | "misses" | "shared" | "failed" | "unstored" | "counted"
>;

/** The sum of no batch. */
export const NOTHING: Tally = {
  done: 0,
  total: 0,
  running: 0,
  hits: 0,
  misses: 0,
  shared: 0,
  failed: 0,
  unstored: 0,
};

/** Adds a batch to a sum; `given` is its total where it does not know it. */
export function add(sum: Tally, batch: Tally, given: number | undefined): Tally {
  const total = batch.total ?? given;
  const counted = batch.counted ?? sum.counted;
  return {
    done: sum.done + batch.done,
    total: sum.total === undefined || total === undefined ? undefined : sum.total + total,
    running: sum.running + batch.running,
    hits: sum.hits + batch.hits,
    misses: sum.misses + batch.misses,
    shared: sum.shared + batch.shared,
    failed: sum.failed + batch.failed,
    unstored: sum.unstored + batch.unstored,
    ...counted && {
      counted: {
        spent: (sum.counted?.spent ?? 0) + (batch.counted?.spent ?? 0),
        saved: (sum.counted?.saved ?? 0) + (batch.counted?.saved ?? 0),
      },
    },
  };
}

/**
 * The parts of a line, the most important first.
 *
 * @param sum What is shown.
 * @param elapsedMs The time since the start, in milliseconds.
 * @param speed The rate while inputs are left; unset at the end.
 */
export function describe(
  sum: Tally,
  elapsedMs: number,
  speed?: { readonly perSecond: number | undefined },
): string[] {
  const { done, total, failed, unstored, shared, counted } = sum;
  // A given total that was too small says nothing.
  const left = total === undefined || done > total ? undefined : total - done;
  const perSecond = speed?.perSecond;
  const hasStopped = speed === undefined && left !== undefined && left > 0;
  const progress = total === undefined || left === undefined
    ? `${done} done`
    : hasStopped
    ? `${done}/${total}`
    : `${done}/${total} ${total === 0 ? 100 : Math.floor(100 * done / total)}%`;
  const parts = [`${progress} in ${formatTime(elapsedMs)}`];
  if (hasStopped) parts.push("stopped");
  if (perSecond !== undefined && left) parts.push(`${formatTime(1000 * left / perSecond)} left`);
  if (speed !== undefined) parts.push(`${sum.running} running`);
  if (failed > 0) parts.push(`failed ${failed}`);
  if (unstored > 0) parts.push(`not kept ${unstored}`);
  parts.push(`hits ${sum.hits}`, `misses ${sum.misses}`);
  if (shared > 0) parts.push(`shared ${shared}`);
  if (counted) {
    parts.push(`spent ${formatAmount(counted.spent)}`, `saved ${formatAmount(counted.saved)}`);
  }
  if (perSecond !== undefined) parts.push(`${formatRate(perSecond)}/s`);
  return parts;
}

/** The columns of a bar: fewer say nothing, more say the same. */
const LEAST_BAR = 10;
const MOST_BAR = 30;
/** The columns around a bar: `[] `. */
const BAR_EDGES = 3;
/** The width from which a bar is worth the parts that it takes the place of. */
const ROOM_FOR_BAR = 60;

/** A bar and as many parts as have room; of a very narrow line, the beginning. */
export function fit(parts: readonly string[], sum: Tally, room: number): string {
  const [first = "", ...rest] = parts;
  const space = room - (room < ROOM_FOR_BAR ? 0 : LEAST_BAR + BAR_EDGES);
  let text = first.slice(0, Math.max(room, 0));
  for (const part of rest) {
    // A number that is cut would be another number.
    if (text.length + 2 + part.length > space) break;
    text += `, ${part}`;
  }
  return withBar(text, sum, room);
}

/** The text, with a bar before it where both have room. */
export function withBar(text: string, { done, total }: Tally, room: number): string {
  const width = Math.min(MOST_BAR, room - text.length - BAR_EDGES);
  if (total === undefined || done > total || width < LEAST_BAR) return text;
  const full = total === 0 ? width : Math.floor(width * done / total);
  return `[${"#".repeat(full)}${"-".repeat(width - full)}] ${text}`;
}

/** A sum of amounts, without the noise of binary fractions. */
function formatAmount(amount: number): string {
  return String(Math.abs(amount) < 1000 ? Number(amount.toPrecision(4)) : Math.round(amount));
}

function formatRate(perSecond: number): string {
  return perSecond >= 100 ? perSecond.toFixed(0) : perSecond.toPrecision(2);
}

function formatTime(milliseconds: number): string {
  const seconds = Math.round(milliseconds / 1000);
  if (milliseconds < 9_950) return `${(milliseconds / 1000).toFixed(1)}s`;
  if (seconds < 60) return `${seconds}s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes}m${two(seconds % 60)}s`;
  return `${Math.floor(minutes / 60)}h${two(minutes % 60)}m`;
}

function two(count: number): string {
  return String(count).padStart(2, "0");
}
