/**
 * `panza check` and `panza copy`, which read every entry in its stored form.
 *
 * @module
 */

import type { Backend, EntryInfo } from "../backend/contract.ts";
import { terminal } from "../base/env.ts";
import { DamagedEntryError } from "../base/errors.ts";
import { onInterrupt } from "../base/program.ts";
import { escapeName, unescapeName, userKey } from "../core/names.ts";
import { isForeign, isIntact, open, originOf, type StoredEntry } from "../encoding/entry.ts";
import { barOf } from "../progress/bar.ts";
import { assertWritable } from "./change.ts";
import { formatCount, formatId, formatSize, visible } from "./format.ts";
import type { Session } from "./session.ts";
import { openStore, type Store } from "./stores.ts";
import { UsageError } from "./usage.ts";

/** The number of entries that are read, and written, at a time. */
const AT_ONCE = 32;

/** The listed form of a long name (clause 9 of the backend contract), which finds no entry. */
const DIGEST = /^sha256-[0-9a-f]{64}$/;
const UNLISTED = "its name is too long to be listed";

/** A whole entry, or the reason why it cannot be used. */
interface Walked {
  readonly info: EntryInfo;
  readonly entry?: StoredEntry;
  readonly problem?: string;
}

/** Reads all entries in groups; those that are deleted meanwhile are left out. */
async function* walk(backend: Backend, id?: string): AsyncGenerator<readonly Walked[]> {
  let group: EntryInfo[] = [];
  for await (const info of backend.entries(id === undefined ? undefined : escapeName(id))) {
    const isFull = group.length === AT_ONCE || (group[0] !== undefined && group[0].id !== info.id);
    if (isFull) yield await readAll(backend, group);
    if (isFull) group = [];
    group.push(info);
  }
  if (group.length > 0) yield await readAll(backend, group);
}

async function readAll(backend: Backend, group: readonly EntryInfo[]): Promise<Walked[]> {
  const entries = await backend.getMany(group[0]?.id ?? "", group.map(({ key }) => key));
  const walked = await Promise.all(
    group.map(async (info, index) => entries[index] ?? await readOne(backend, info)),
  );
  return walked.flatMap((found, index) => {
    const info = group[index];
    if (info === undefined || found === undefined) return [];
    if (typeof found === "string") return [{ info, problem: found }];
    const problem = problemOf(info, found);
    return [problem === undefined ? { info, entry: found } : { info, problem }];
  });
}

/** Reads again what `getMany` did not find; `undefined` if it is gone, a text if it is unusable. */
async function readOne(
  backend: Backend,
  { id, key }: EntryInfo,
): Promise<StoredEntry | string | undefined> {
  try {
    const entry = await backend.get(id, key);
    if (entry !== undefined) return entry;
  } catch (error) {
    if (error instanceof DamagedEntryError) return "the stored object is damaged";
    throw error;
  }
  return DIGEST.test(id) || DIGEST.test(key) ? UNLISTED : undefined;
}

/** The reason why an entry is unusable; of encrypted or newer ones only the checksum counts. */
function problemOf({ id, key }: EntryInfo, entry: StoredEntry): string | undefined {
  if (!isIntact(id, key, entry)) return "its checksum does not match";
  const origin = originOf(entry);
  if (origin === "damaged") return "its format has no valid name";
  if (origin !== "ours") return undefined;
  try {
    open(id, key, entry);
    return undefined;
  } catch {
    return "it cannot be decoded";
  }
}

/** Prints an unusable entry. */
async function printProblem(session: Session, { info, problem }: Walked): Promise<void> {
  const { id, key } = { id: unescapeName(info.id), key: userKey(info.key) };
  if (session.isJson) await session.printJson({ id, key, problem });
  else {
    const name = `${formatId(id)}  ${visible(key)}`;
    const what = problem === UNLISTED ? "left out" : session.styled("red", "damaged");
    await session.print(`${what}  ${name}: ${problem}`);
  }
}

/** Verifies every checksum. */
export async function check(session: Session): Promise<number> {
  const [name = "", id] = session.line.words;
  await using store = await openStore(name);
  let results = 0;
  let damaged = 0;
  let unread = 0;
  for await (const group of walk(store.backend, id)) {
    for (const each of group) {
      results++;
      if (each.problem === undefined) continue;
      if (each.problem === UNLISTED) unread++;
      else damaged++;
      await printProblem(session, each);
    }
  }
  if (session.isJson) await session.printJson({ results, damaged, unread });
  else await session.print(`checked ${formatCount(results - unread)}, ${damaged} damaged`);
  return damaged > 0 ? 1 : 0;
}

/** Copies what the target does not have. */
export async function copy(session: Session): Promise<number> {
  const { words: [from = "", to = "", id], flags } = session.line;
  await using source = await openStore(from);
  await using target = await openStore(to, flags.has("create"));
  const { location } = source.backend;
  if (location !== undefined && location === target.backend.location) {
    throw new UsageError("both are the same store");
  }
  assertWritable();
  const progress = newProgress(await countOf(source, id));
  const bar = terminal().columns === undefined ? undefined : barOf(["there", "copied"]);
  let bytes = 0;
  bar?.(progress);
  let isStopped = false;
  const end = onInterrupt(() => (isStopped = true));
  try {
    for await (const group of walk(source.backend, id)) {
      if (isStopped) break;
      const [first] = group;
      if (first === undefined) continue;
      const keys = group.map(({ info }) => info.key);
      const there = await target.backend.getMany(first.info.id, keys);
      await Promise.all(group.map(async (each, index) => {
        const { info, entry } = each;
        if (entry === undefined) {
          progress.failed++;
          return await printProblem(session, each);
        }
        if (isKept(info, there[index])) return void progress.hits++;
        await target.backend.set(info.id, info.key, entry);
        progress.misses++;
        bytes += info.size;
      }));
      progress.done += group.length;
      bar?.(progress);
    }
  } finally {
    end();
    progress.finished = true;
    bar?.(progress);
  }
  const { hits, misses, failed } = progress;
  if (session.isJson) {
    await session.printJson({ copied: misses, bytes, there: hits, damaged: failed, isStopped });
  } else {
    const left = failed > 0 ? `, left out ${failed}` : "";
    const why = isStopped ? "; stopped: the same command goes on" : "";
    const size = formatSize(bytes);
    await session.print(`copied ${formatCount(misses)}, ${size}; ${hits} were there${left}${why}`);
  }
  return isStopped ? 130 : failed > 0 ? 1 : 0;
}

/** Whether the target keeps its own entry: a whole, encrypted or newer one. */
function isKept({ id, key }: EntryInfo, entry: StoredEntry | undefined): boolean {
  return entry !== undefined && (isForeign(entry) || isIntact(id, key, entry));
}

/** The number of entries, where it is cheap to know and a terminal shows it. */
async function countOf(store: Store, id?: string): Promise<number | undefined> {
  if (!store.isLocal || terminal().columns === undefined) return undefined;
  let count = 0;
  for await (const _ of store.entries(id)) count++;
  return count;
}

/** The progress of a copy, as of a batch whose hits are the entries that were there. */
function newProgress(total: number | undefined) {
  const rest = { running: 0, shared: 0, stale: 0, unstored: 0, durationMs: 0, savedMs: 0 };
  return { ...rest, total, done: 0, hits: 0, misses: 0, failed: 0, finished: false };
}
