/**
 * The text of a progress line.
 *
 * @module
 */

import type { BatchProgress } from "../base/batch_progress.ts";

/** The counts of a line: sums over batches. */
export class Tally {
  done = 0;
  /** `NaN` where a batch does not know its own. */
  total = 0;
  running = 0;
  hits = 0;
  misses = 0;
  shared = 0;
  stale = 0;
  failed = 0;
  unstored = 0;
  spent = 0;
  saved = 0;

  /** Adds a batch, with the given total if the batch knows none. */
  add(batch: BatchProgress, givenTotal: number = NaN): void {
    this.done += batch.done;
    this.total += batch.total ?? givenTotal;
    this.running += batch.running;
    this.hits += batch.hits;
    this.misses += batch.misses;
    this.shared += batch.shared;
    this.stale += batch.stale;
    this.failed += batch.failed;
    this.unstored += batch.unstored;
    this.spent += batch.counted?.spent ?? 0;
    this.saved += batch.counted?.saved ?? 0;
  }
}

/** The words for hits and misses. */
export type Words = readonly [hits: string, misses: string];

export const WORDS: Words = ["hits", "misses"];

/**
 * The parts of a line, the most important first.
 *
 * @param elapsedMs The time since the start, in milliseconds.
 * @param speed The rate while batches run; unset at the end.
 */
export function describe(
  tally: Tally,
  elapsedMs: number,
  speed?: { readonly perSecond: number | undefined },
  [hits, misses]: Words = WORDS,
): string[] {
  const { done, total, failed, unstored, shared, stale, spent, saved } = tally;
  const left = total - done;
  const hasStopped = speed === undefined && left > 0;
  // A given total may be too small, which shows before the batch knows its own.
  let progress = left >= 0 ? `${done}/${total}` : `${done} done`;
  if (left >= 0 && !hasStopped) progress += ` ${total ? Math.floor(100 * done / total) : 100}%`;
  const parts = [`${progress} in ${formatTime(elapsedMs)}`];
  const perSecond = speed?.perSecond;
  if (hasStopped) parts.push("stopped");
  if (perSecond !== undefined && left > 0) {
    parts.push(`${formatTime(1000 * left / perSecond)} left`);
  }
  if (speed !== undefined) parts.push(`${tally.running} running`);
  if (failed > 0) parts.push(`failed ${failed}`);
  if (unstored > 0) parts.push(`not kept ${unstored}`);
  parts.push(`${hits} ${tally.hits}`, `${misses} ${tally.misses}`);
  if (shared > 0) parts.push(`shared ${shared}`);
  if (stale > 0) parts.push(`stale ${stale}`);
  if (spent || saved) parts.push(`spent ${formatAmount(spent)}`, `saved ${formatAmount(saved)}`);
  if (perSecond !== undefined) parts.push(`${formatRate(perSecond)}/s`);
  return parts;
}

/** The columns of a bar: fewer say nothing, more say the same. */
const LEAST_BAR = 10;
const MOST_BAR = 30;
/** The columns around a bar: `[] `. */
const BAR_EDGES = 3;
/** The width from which a bar may take the place of parts. */
const ROOM_FOR_BAR = 60;

/** A bar and as many parts as fit beside it; in a very narrow line, the beginning of the first. */
export function fit(parts: readonly string[], { done, total }: Tally, room: number): string {
  const [first = "", ...rest] = parts;
  const forText = room < ROOM_FOR_BAR ? room : room - LEAST_BAR - BAR_EDGES;
  let text = first.slice(0, room);
  for (const part of rest) {
    // A cut number would read as another number.
    if (text.length + 2 + part.length > forText) break;
    text += `, ${part}`;
  }
  const width = Math.min(MOST_BAR, room - text.length - BAR_EDGES);
  if (!(done <= total) || width < LEAST_BAR) return text;
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
  if (milliseconds < 9_950) return `${(milliseconds / 1000).toFixed(1)}s`;
  const seconds = Math.round(milliseconds / 1000);
  if (seconds < 60) return `${seconds}s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes}m${two(seconds % 60)}s`;
  return `${Math.floor(minutes / 60)}h${two(minutes % 60)}m`;
}

function two(count: number): string {
  return String(count).padStart(2, "0");
}
