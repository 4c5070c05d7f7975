/**
 * Transactions, and waiting for locks without blocking the event loop.
 *
 * @module
 */

import { sleep } from "../base/turn.ts";
import type { SQLiteHandle } from "./driver.ts";
import { isBusy } from "./errors.ts";

/** The longest wait for a lock, in milliseconds. */
const PATIENCE_MS = 60_000;

/**
 * Waits for a lock after an error.
 *
 * SQLite's own busy handler sleeps on this thread, so it is set to next to nothing and the waiting
 * happens here. The jitter keeps crowds of processes from trying in step.
 *
 * @param error The error of the attempt.
 * @param since The time at which the first attempt began, by `performance.now()`.
 * @param patience The longest wait, in milliseconds.
 * @returns Whether to try again: false for an error that is not about a lock, and past `patience`.
 */
export async function waitForLock(
  error: unknown,
  since: number,
  patience: number = PATIENCE_MS,
): Promise<boolean> {
  if (!isBusy(error) || performance.now() - since > patience) return false;
  await sleep(1 + Math.random() * 24);
  return true;
}

/**
 * The longest wait for a lock when opening, in milliseconds. Only a new or a foreign file can be
 * locked against readers, for moments; a lock that lasts longer is a sign of a file system without
 * locks.
 */
const OPENING_PATIENCE_MS = 10_000;

/**
 * Takes a step of opening a database as soon as no lock is in its way.
 *
 * @param attempt The step; it leaves nothing half-done when it throws.
 * @throws The error of `attempt`: at once if it is not about a lock, else after 10 s.
 */
export async function whenUnlocked<Result>(attempt: () => Result): Promise<Result> {
  const start = performance.now();
  for (;;) {
    try {
      return attempt();
    } catch (error) {
      if (!(await waitForLock(error, start, OPENING_PATIENCE_MS))) throw error;
    }
  }
}

/** The statements that begin and end a transaction. */
export interface TransactionWords {
  readonly begin: string;
  readonly commit: string;
  readonly rollback: string;
}

/** For a file: the write lock is taken at once, so that no later statement meets a lock. */
export const TRANSACTION: TransactionWords = {
  begin: "BEGIN IMMEDIATE",
  commit: "COMMIT",
  rollback: "ROLLBACK",
};

/** For a handle, which may be inside a transaction of its owner. */
export const SAVEPOINT: TransactionWords = {
  begin: "SAVEPOINT panza",
  commit: "RELEASE panza",
  rollback: "ROLLBACK TO panza; RELEASE panza",
};

/** Runs statements as one transaction. */
export function transact<Result>(
  handle: SQLiteHandle,
  words: TransactionWords,
  work: () => Result,
): Result {
  handle.exec(words.begin);
  try {
    const result = work();
    handle.exec(words.commit);
    return result;
  } catch (error) {
    rollBack(handle, words);
    throw error;
  }
}

/** Ends a failed transaction, whether or not SQLite has done so already. */
export function rollBack(handle: SQLiteHandle, words: TransactionWords): void {
  try {
    handle.exec(words.rollback);
  } catch {
    // A full disk or a damaged page has rolled it back already.
  }
}
