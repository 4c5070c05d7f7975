/**
 * `panza ls`.
 *
 * @module
 */

import type { EntryInfo } from "../backend/contract.ts";
import { cut, formatAge, formatId, formatSize, formatTime, row, visible } from "./format.ts";
import type { Session } from "./session.ts";
import { openStore, type Store } from "./stores.ts";

/** Sums over the results of a function. */
class Summary {
  results = 0;
  expired = 0;
  bytes = 0;
  durationMs = 0;
  oldest = Infinity;
  newest = -Infinity;

  add({ size, durationMs, storedAt }: EntryInfo, isExpired: boolean): void {
    this.results++;
    if (isExpired) this.expired++;
    this.bytes += size;
    this.durationMs += durationMs;
    this.oldest = Math.min(this.oldest, storedAt);
    this.newest = Math.max(this.newest, storedAt);
  }

  cells(name: string, now: number): string[] {
    const { results, expired, bytes, durationMs, oldest, newest } = this;
    const ages = [formatAge(oldest, now), formatAge(newest, now)];
    return [name, `${results}`, `${expired}`, formatSize(bytes), formatTime(durationMs), ...ages];
  }
}

/** Whether a result is past its `ttl`. */
function isExpired({ expiresAt }: Pick<EntryInfo, "expiresAt">, now: number): boolean {
  return expiresAt !== null && expiresAt <= now;
}

/** Lists the functions of a store, or the results of one function. */
export async function ls(session: Session): Promise<number> {
  const [name = "", id] = session.line.words;
  await using store = await openStore(name);
  return id === undefined
    ? await listFunctions(session, store)
    : await listResults(session, store, id);
}

const HEADER = ["FUNCTION", "RESULTS", "EXPIRED", "SIZE", "COST", "OLDEST", "NEWEST"];
/** The width to which a name is cut, unless the terminal has more room. */
const LEAST_NAME = 12;

async function listFunctions(session: Session, store: Store): Promise<number> {
  const { now, columns = Infinity } = session;
  const functions = new Map<string, Summary>();
  const total = new Summary();
  for await (const info of store.entries()) {
    let summary = functions.get(info.id);
    if (summary === undefined) functions.set(info.id, summary = new Summary());
    for (const each of [summary, total]) each.add(info, isExpired(info, now));
  }
  const byCost = [...functions].sort(([, a], [, b]) => b.durationMs - a.durationMs);
  if (session.isJson) {
    for (const [id, summary] of byCost) await session.printJson({ id, ...summary });
    return 0;
  }
  const rows = [
    HEADER,
    ...byCost.map(([id, summary]) => summary.cells(formatId(id), now)),
    total.cells("total", now),
  ];
  const widths = HEADER.map((_, index) => Math.max(...rows.map((each) => each[index]!.length)));
  const others = widths.slice(1).reduce((sum, width) => sum + width + 2, 0);
  const first = Math.min(widths[0] ?? 0, Math.max(LEAST_NAME, columns - others));
  for (const [index, [name = "", ...cells]] of rows.entries()) {
    const cellsCut = [cut(name, first), ...cells];
    const text = cut(row(cellsCut, [-first, ...widths.slice(1)]), columns);
    await session.print(index === 0 ? session.styled("bold", text) : text);
  }
  return 0;
}

/** The widths of the columns before the key, which is last and of any length. */
const RESULT_WIDTHS = [9, 9, 12, 12];

async function listResults(session: Session, store: Store, id: string): Promise<number> {
  const { now, columns = Infinity } = session;
  let count = 0;
  for await (const info of store.entries(id)) {
    if (session.isJson) await session.printJson(info);
    else {
      if (count === 0) {
        const header = row(["SIZE", "COST", "STORED", "EXPIRES", "KEY"], RESULT_WIDTHS);
        await session.print(session.styled("bold", header));
      }
      const { key, size, durationMs, storedAt, expiresAt } = info;
      const isOver = isExpired(info, now);
      const end = expiresAt === null
        ? "never"
        : isOver
        ? "expired"
        : `in ${formatTime(expiresAt - now)}`;
      const cells = [formatSize(size), formatTime(durationMs), formatAge(storedAt, now), end];
      const line = cut(row([...cells, visible(key)], RESULT_WIDTHS), columns);
      await session.print(isOver ? session.styled("yellow", line) : line);
    }
    count++;
  }
  if (count > 0) return 0;
  throw new Error(`there is no result of ${formatId(id)}`);
}
