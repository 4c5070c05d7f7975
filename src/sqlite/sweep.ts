/**
 * Deletes many entries of a SQLite database in slices, so that neither this process nor another one
 * that waits for the lock is held up, and gives the space back.
 *
 * Entries are visited in the order of their rowids, which is the order of storing and the order in
 * the file: by key, every deletion would change another page.
 *
 * @module
 */

import type { Pruned, PruneRule } from "../backend/contract.ts";
import { nextTurn } from "../base/turn.ts";
import type { Parameter, Statement } from "./driver.ts";
import { LOG_PAGES } from "./schema.ts";

/** The open database, as one step of a sweep uses it. */
export interface SweepSession {
  /** Whether this library made the file, and so may change its settings and its length. */
  readonly isOurs: boolean;
  /** Whether there is a table of notes. */
  hasNotes(make: false): boolean;
  /** Prepares a statement once. */
  statement(sql: string): Statement;
  /** Runs statements as one transaction. */
  transact<Result>(work: () => Result): Result;
}

/** Runs one step on the open database, as soon as no lock is in its way. */
export type RunStep = <Result>(work: (session: SweepSession) => Result) => Promise<Result>;

/** The target duration of one step, in milliseconds: half of what a caller may notice. */
const STEP_MS = 8;

/** Below and above every rowid, exact as a number. */
const FIRST = Number.MIN_SAFE_INTEGER;
const LAST = Number.MAX_SAFE_INTEGER;

/** Repeats a step, sized so that each takes about `STEP_MS`, until it returns false. */
async function inSteps(size: number, step: (size: number) => Promise<boolean>): Promise<void> {
  for (;;) {
    const start = performance.now();
    if (!(await step(size))) return;
    const elapsed = performance.now() - start;
    if (elapsed < STEP_MS / 2) size = Math.min(size * 2, 50_000);
    else if (elapsed > STEP_MS) size = Math.max(1, Math.floor(size / 2));
    await nextTurn();
  }
}

/**
 * The number of log pages at which a sweep checkpoints them into the file. The checkpoint and its
 * two syncs happen inside a commit. With the usual 500, 391 steps of a prune of 300,000 entries
 * took 20 to 40 ms; with 100 none did.
 */
const SWEEP_LOG_PAGES = 100;

/** Deletes many entries, and gives the space back where the file is of this library. */
export async function sweeping<Result>(
  run: RunStep,
  work: (run: RunStep) => Promise<Result>,
): Promise<Result> {
  const bringIn = (pages: number): Promise<boolean> =>
    run((session) => {
      if (session.isOurs) session.statement(`PRAGMA wal_autocheckpoint = ${pages}`).rows();
      return session.isOurs;
    });
  const isOurs = await bringIn(SWEEP_LOG_PAGES);
  try {
    const result = await work(run);
    if (isOurs) await shrink(run);
    return result;
  } finally {
    await bringIn(LOG_PAGES).catch(() => {});
  }
}

/** Adds up the sizes that a deletion returned. */
function count(freed: Pruned, sizes: readonly (readonly unknown[])[]): Pruned {
  let bytes = freed.bytes;
  for (const [size] of sizes) bytes += Number(size);
  return { entries: freed.entries + sizes.length, bytes };
}

/**
 * Deletes every entry that is there now and meets a condition.
 *
 * @param condition An SQL condition on the columns.
 * @param parameters The values of its `?`.
 * @param options The highest rowid to look at, the highest one now when unset; and whether nothing
 * is deleted.
 */
export async function sweep(
  run: RunStep,
  condition: string,
  parameters: readonly Parameter[],
  { last, dryRun = false }: { readonly last?: number; readonly dryRun?: boolean } = {},
): Promise<Pruned> {
  let freed: Pruned = { entries: 0, bytes: 0 };
  let after = FIRST;
  // What others store meanwhile is not waited for.
  const end = last ??
    Number(
      await run(
        (session) =>
          session
            .statement(`SELECT CAST(coalesce(max(rowid), ${FIRST}) AS REAL) FROM panza_entries`)
            .row()?.[0],
      ),
    );
  await inSteps(64, (size) =>
    run((session) => {
      const [until] = session
        .statement(
          `SELECT CAST(max(rowid) AS REAL) FROM (SELECT rowid FROM panza_entries
         WHERE rowid > ? AND rowid <= ? ORDER BY rowid LIMIT ?)`,
        )
        .row(after, end, size) ?? [];
      if (until === undefined || until === null) return false;
      const [verb, returning] = dryRun ? ["SELECT size", ""] : ["DELETE", " RETURNING size"];
      const work = session.statement(
        `${verb} FROM panza_entries NOT INDEXED
           WHERE rowid > ? AND rowid <= ? AND (${condition})${returning}`,
      );
      const go = () => work.rows(after, Number(until), ...parameters);
      const sizes = dryRun ? go() : session.transact(go);
      freed = count(freed, sizes);
      after = Number(until);
      return true;
    }));
  return freed;
}

/** Deletes every entry of one id; the index finds them, so nothing else is read. */
export async function sweepId(run: RunStep, id: string): Promise<void> {
  await inSteps(32, async (size) => {
    const sizes = await run((session) =>
      session.transact(() =>
        session
          .statement(
            `DELETE FROM panza_entries WHERE rowid IN
             (SELECT rowid FROM panza_entries WHERE id = ? LIMIT ?) RETURNING size`,
          )
          .rows(id, size)
      )
    );
    return sizes.length === size;
  });
}

/** Deletes and counts the entries that a rule names; a dry run only counts. */
export async function prune(run: RunStep, rule: PruneRule): Promise<Pruned> {
  const { id, storedBefore = null, expiredBefore = null, dryRun = false } = rule;
  const parameters = [storedBefore, expiredBefore, ...(id === undefined ? [] : [id])];
  const old = "coalesce(stored_at < ?, 0) OR coalesce(stale_until < ?, 0)";
  const ofId = id === undefined ? "" : " AND id = ?";
  let freed: Pruned = { entries: 0, bytes: 0 };
  if (storedBefore !== null || expiredBefore !== null) {
    freed = await sweep(run, `(${old})${ofId}`, parameters, { dryRun });
  }
  // A dry run leaves the old entries, which must no longer count.
  const young = `NOT (${old})${ofId}`;
  const last = await lastBeyond(run, rule, young, parameters);
  if (last === undefined) return freed;
  const older = await sweep(run, young, parameters, { dryRun, last });
  return {
    entries: freed.entries + older.entries,
    bytes: freed.bytes + older.bytes,
  };
}

/** The rowid of the newest counting entry that does not fit, from the last stored one back. */
async function lastBeyond(
  run: RunStep,
  { maxBytes = Infinity, maxEntries = Infinity }: PruneRule,
  condition: string,
  parameters: readonly Parameter[],
): Promise<number | undefined> {
  if (maxBytes === Infinity && maxEntries === Infinity) return undefined;
  let before = LAST;
  let entries = 0;
  let bytes = 0;
  let found: number | undefined;
  await inSteps(128, async (limit) => {
    const rows = await run((session) =>
      session
        .statement(
          // Not in WHERE: a step would search for that many counting rows among any number of
          // others.
          `SELECT CAST(rowid AS REAL), size, ${condition} FROM panza_entries
         WHERE rowid < ? ORDER BY rowid DESC LIMIT ?`,
        )
        .rows(...parameters, before, limit)
    );
    for (const [rowid, size, counts] of rows) {
      before = Number(rowid);
      if (Number(counts) === 0) continue;
      entries++;
      bytes += Number(size);
      if (entries > maxEntries || bytes > maxBytes) {
        found = before;
        return false;
      }
    }
    return rows.length > 0;
  });
  return found;
}

/** The pages of the file, in bytes. */
interface Room {
  readonly file: number;
  readonly free: number;
}

function room(session: SweepSession): Room {
  const value = (name: string): number => Number(session.statement(`PRAGMA ${name}`).row()?.[0]);
  const page = value("page_size");
  return {
    file: value("page_count") * page,
    free: value("freelist_count") * page,
  };
}

/**
 * Evicts the entries that were stored first when the file comes near a bound: a tenth and more at
 * once, so that it happens rarely. Later entries fill the space, so the file stays below the bound.
 *
 * @param maxBytes The bound, in bytes.
 */
export async function cull(run: RunStep, maxBytes: number): Promise<void> {
  const start = await run(room);
  if (start.file - start.free > 0.95 * maxBytes) {
    await inSteps(32, (size) =>
      run((session) => {
        const { file, free } = room(session);
        const excess = file - free - 0.85 * maxBytes;
        if (excess <= 0) return false;
        // No more than the excess requires: 32 large entries may be the whole cache.
        return (
          session.transact(() =>
            session
              .statement(
                `DELETE FROM panza_entries WHERE rowid IN (SELECT rowid FROM
             (SELECT rowid, sum(size) OVER (ORDER BY rowid) - size AS before FROM
             (SELECT rowid, size FROM panza_entries ORDER BY rowid LIMIT ?))
             WHERE before < ?) RETURNING size`,
              )
              .rows(size, excess)
          ).length > 0
        );
      }));
  }
  if (start.file > maxBytes) await shrink(run, 0.95 * maxBytes);
}

/**
 * Gives free pages back to the file system.
 *
 * @param target The size at which to stop, in bytes.
 */
export async function shrink(run: RunStep, target = 0): Promise<void> {
  let isShorter = false;
  await inSteps(32, (pages) =>
    run((session) => {
      const { file, free } = room(session);
      if (free === 0 || file <= target) return false;
      session.statement(`PRAGMA incremental_vacuum(${pages})`).rows();
      // Files that were made without auto_vacuum keep their free pages for later entries.
      const isStepDone = room(session).file < file;
      isShorter ||= isStepDone;
      return isStepDone;
    }));
  // The file keeps its length until a checkpoint. Another reader prevents the truncation, which a
  // later checkpoint then does; SQLite answers with a row, not an error.
  if (isShorter) {
    await run((session) => session.statement("PRAGMA wal_checkpoint(TRUNCATE)").rows());
  }
}
