/**
 * `panza prune` and `panza bust`.
 *
 * @module
 */

import type { Pruned, PruneRule } from "../backend/contract.ts";
import { prune as pruneBackend, pruneRule } from "../backend/prune.ts";
import { CacheOnlyError, reasonOf } from "../base/errors.ts";
import { backendKey, escapeName } from "../core/names.ts";
import { readSwitches } from "../core/switches.ts";
import { formatCount, formatSize, formatTime, parseSize } from "./format.ts";
import type { Session } from "./session.ts";
import { openStore, type Store } from "./stores.ts";
import { UsageError } from "./usage.ts";

/** The most results that a prune deletes without `--yes`. */
const MUCH = 100;

/** The deleted results, and their cost where it is known. */
interface Deleted extends Pruned {
  readonly durationMs?: number;
}

/** Refuses to change a store under `CACHE_ONLY`, as caches do. */
export function assertWritable(): void {
  if (readSwitches().cacheOnly) throw new CacheOnlyError("", "");
}

/** `panza prune`. */
export async function prune(session: Session): Promise<number> {
  const { words: [name = ""], flags } = session.line;
  const rule = ruleOf(session);
  await using store = await openStore(name);
  const { backend } = store;
  const go = async (dryRun: boolean) => {
    const own = dryRun ? { ...rule, dryRun } : rule;
    return await (backend.prune?.(own) ?? pruneBackend(backend, own));
  };
  if (flags.has("dry-run") || !flags.has("yes")) {
    const dry = await go(true);
    if (flags.has("dry-run")) return await report(session, dry, true);
    if (dry.entries > MUCH) refuse(dry);
  }
  assertWritable();
  return await report(session, await go(false), false);
}

/** The rule of the options, checked as by `cache.prune`. */
function ruleOf({ line: { values, flags }, now }: Session): PruneRule {
  const { id, "older-than": olderThan, "max-bytes": size, "max-entries": entries } = values;
  const maxBytes = size === undefined ? undefined : parseSize(size);
  if (size !== undefined && maxBytes === undefined) {
    throw new UsageError('--max-bytes must be a size such as "500MB" or "10GB"');
  }
  const rule = {
    // Checked below.
    ...(olderThan !== undefined && { olderThan: olderThan as `${number}d` }),
    ...(maxBytes !== undefined && { maxBytes }),
    ...(entries !== undefined && { maxEntries: entries === "" ? NaN : Number(entries) }),
    ...(flags.has("expired") && { expired: true }),
  };
  try {
    return { ...pruneRule(rule, now), ...(id !== undefined && { id: escapeName(id) }) };
  } catch (error) {
    throw new UsageError(
      reasonOf(error).replace("expired: true", "--expired").replace("bustAll()", "bust --all")
        .replace(/(older|max)([A-Z])/g, (_, word, next) => `--${word}-${next.toLowerCase()}`),
    );
  }
}

/** `panza bust`. */
export async function bust(session: Session): Promise<number> {
  const { words: [name = "", id, beginning], flags } = session.line;
  if ((id === undefined) !== flags.has("all")) {
    throw new UsageError("bust takes either an id or --all");
  }
  await using store = await openStore(name);
  const { backend } = store;
  const key = id === undefined || beginning === undefined
    ? undefined
    : await store.findKey(id, beginning);
  const isGone = beginning !== undefined && key === undefined;
  const doomed = isGone ? { entries: 0, bytes: 0 } : await measure(store, id, key);
  if (flags.has("dry-run")) return await report(session, doomed, true);
  assertWritable();
  if (isGone || doomed.entries === 0) return await report(session, doomed, false);
  if (key !== undefined && id !== undefined) {
    await backend.delete(escapeName(id), backendKey(key));
  } else {
    if (!flags.has("yes")) refuse(doomed);
    await (id === undefined ? backend.clear() : backend.deleteId(escapeName(id)));
  }
  return await report(session, doomed, false);
}

/** The sums over the results that a bust deletes. */
async function measure(store: Store, id?: string, key?: string): Promise<Deleted> {
  const sum = { entries: 0, bytes: 0, durationMs: 0 };
  for await (const info of store.entries(id)) {
    if (key !== undefined && info.key !== key) continue;
    sum.entries++;
    sum.bytes += info.size;
    sum.durationMs += info.durationMs;
  }
  return sum;
}

function describe({ entries, bytes, durationMs }: Deleted): string {
  const cost = durationMs === undefined ? "" : `, which took ${formatTime(durationMs)} to make`;
  return `${formatCount(entries)}, ${formatSize(bytes)}${cost}`;
}

function refuse(deleted: Deleted): never {
  throw new UsageError(`this would delete ${describe(deleted)}; repeat it with --yes`);
}

async function report(session: Session, deleted: Deleted, isDryRun: boolean): Promise<number> {
  const { entries, bytes } = deleted;
  if (session.isJson) await session.printJson({ entries, bytes, dryRun: isDryRun });
  else await session.print(`${isDryRun ? "would delete" : "deleted"} ${describe(deleted)}`);
  return 0;
}
