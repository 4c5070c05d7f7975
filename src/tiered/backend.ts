/**
 * Several stores as one, nearest first: memory in front of SQLite in front of S3.
 *
 * This file is longer than others because a read and its copies, writes, deletes and what a tier
 * missed of them depend on each other's order; what stands alone is in files of its own.
 *
 * @example A copy in memory in front of a database
 * ```ts
 * import { MemoryCache, SQLiteCache, TieredCache } from "@panza/panza";
 * import { assertEquals } from "@std/assert";
 *
 * await using cache = new TieredCache([
 *   new MemoryCache(),
 *   new SQLiteCache(":memory:"),
 * ]);
 * await cache.set("answer", 42);
 * assertEquals(await cache.get("answer"), 42);
 * ```
 *
 * @module
 */

import {
  type Backend,
  BACKEND_METHODS,
  type EntryInfo,
  type Pruned,
  type PruneRule,
  type Report,
} from "../backend/contract.ts";
import type { StoredEntry } from "../encoding/entry.ts";
import { isIntact } from "../encoding/entry.ts";
import { type Duration, parseDuration } from "../base/duration.ts";
import {
  BackendError,
  CacheClosedError,
  DamagedEntryError,
  optionMessage,
  refuseUnknownOptions,
} from "../base/errors.ts";
import { prune } from "../backend/prune.ts";
import { type Answer, Tier } from "./tier.ts";
import { type Found, Lookup } from "./lookup.ts";
import { Order, Places } from "./order.ts";
import { stamp } from "./stamp.ts";
import { nextTurn } from "../base/turn.ts";

/** Options of {@linkcode TieredBackend}. */
export interface TieredOptions {
  /**
   * For how long an entry counts in the inner tiers, all but the last, before the last tier is
   * asked again: what another machine has busted there is served no longer than that. `Infinity`
   * (also when unset) is for ever.
   */
  readonly innerTtl?: Duration;
}

/** How many entries may be on their way to inner tiers; what is found beyond them is not copied. */
const MAX_PROMOTIONS = 1_000;

/** How many entries are brought to a tier at once that missed them. */
const CATCH_UP_AT_ONCE = 16;

/** For how long reads may keep a change waiting, in milliseconds. */
const SLICE_MS = 8;

const ACTION = "join tiers";

/**
 * Keeps entries in several backends, nearest first.
 *
 * A read asks one tier after the other, and copies what it finds to the tiers before. Writes and
 * deletes go to every tier at once. A tier that fails is reported, left alone for 1 to 30 seconds,
 * and then brought what it missed; meanwhile the others serve.
 *
 * @example What is found further out is copied inwards
 * ```ts
 * import { MemoryBackend } from "@panza/panza/memory";
 * import { SQLiteBackend } from "@panza/panza/sqlite";
 * import { TieredBackend } from "@panza/panza/tiered";
 * import { assertEquals } from "@std/assert";
 *
 * const tiers = new TieredBackend(
 *   [new MemoryBackend(), new SQLiteBackend(":memory:")],
 *   { innerTtl: "10m" },
 * );
 * assertEquals(await tiers.get("id", "key"), undefined);
 * await tiers.close();
 * ```
 */
export class TieredBackend implements Backend {
  /** What they are and where, nearest first. */
  readonly description: string;
  readonly #tiers: readonly Tier[];
  readonly #innerTtl: number;
  readonly #order = new Order();
  readonly #reports: Report[] = [];
  readonly #catchingUp = new Map<Tier, Promise<void>>();
  readonly #promotions = new Set<Promise<void>>();
  /** How many prunes are under way. */
  #pruning = 0;
  /** Until when reads may follow each other while a change waits for the event loop. */
  #turnEnds = 0;
  #closed = false;
  #closing: Promise<void> | undefined;

  /**
   * Joins backends; they belong to it from now on, and `close()` closes them.
   *
   * @param tiers Backends, or caches whose backends are taken; nearest first, at least one.
   * @param options For how long inner tiers answer by themselves.
   * @throws {TypeError} If there is no tier, one that is no backend, or one twice; or if an option
   * does not exist or has the wrong shape.
   * @throws {RangeError} If `innerTtl` is not above zero.
   */
  constructor(
    tiers: readonly (Backend | { readonly backend: Backend })[],
    options: TieredOptions = {},
  ) {
    refuseUnknownOptions(ACTION, options, ["innerTtl"]);
    const backends = backendsOf(tiers);
    const { innerTtl } = options;
    this.#innerTtl = innerTtl === undefined
      ? Infinity
      : parseDuration(ACTION, "innerTtl", innerTtl);
    const listener = {
      report: (error: Error) => this.#report(error),
      recovered: (tier: Tier) => {
        void this.#catchUp(tier);
      },
    };
    this.#tiers = backends.map(
      (backend, index) => new Tier(backend, index < backends.length - 1, listener),
    );
    const names = backends.map(({ description }) => description);
    this.description = `tiers (${names.join(", ")})`;
  }

  /**
   * Adds a listener for tiers that fail, once for each outage, and for damaged entries that
   * another tier made up for.
   *
   * @param report Gets a `BackendError` that names the tier, or a `DamagedEntryError`.
   */
  connect(report: Report): void {
    this.#reports.push(report);
    for (const { backend } of this.#tiers) backend.connect(report);
  }

  #report(error: Error): void {
    // A read that close() overtook is no trouble.
    if (this.#closed && error.cause instanceof CacheClosedError) return;
    for (const report of this.#reports) {
      try {
        report(error);
      } catch {
        // A listener has no say in what comes of the operation.
      }
    }
  }

  /**
   * Reads one entry from the nearest tier that has it intact and fresh; without a fresh one, the
   * one that expired last.
   *
   * @param id The id of the function, `""` for a direct key.
   * @param key The key.
   * @param signal Aborts reads that cross a network.
   * @returns The entry, `undefined` if no tier that answered has it.
   * @throws {BackendError} If no tier answered.
   * @throws {CacheClosedError} After `close()`.
   */
  async get(id: string, key: string, signal?: AbortSignal): Promise<StoredEntry | undefined> {
    this.#assertOpen();
    if (this.#owesTurn) await this.#giveWay();
    const lookup = new Lookup(id, key, this.#innerTtl);
    await this.#look(this.#tiers, id, [lookup], false, signal);
    const result = this.#resultOf(lookup);
    if (result instanceof DamagedEntryError) throw result;
    return result;
  }

  /**
   * Reads several entries of one id; each tier is asked only for what is still missing.
   *
   * @param id The id of the function, `""` for direct keys.
   * @param keys The keys, in any order; duplicates are answered each.
   * @param signal Aborts reads that cross a network.
   * @returns The entries in the order of the keys, `undefined` where there is none.
   * @throws {BackendError} If no tier answered for one of them.
   * @throws {CacheClosedError} After `close()`.
   */
  async getMany(
    id: string,
    keys: readonly string[],
    signal?: AbortSignal,
  ): Promise<(StoredEntry | undefined)[]> {
    this.#assertOpen();
    if (this.#owesTurn) await this.#giveWay();
    const lookups = keys.map((key) => new Lookup(id, key, this.#innerTtl));
    await this.#look(this.#tiers, id, lookups, true, signal);
    return lookups.map((lookup) => {
      const result = this.#resultOf(lookup);
      if (!(result instanceof DamagedEntryError)) return result;
      // Nobody above can tell it of one key among many.
      this.#report(result);
      return undefined;
    });
  }

  /**
   * Lets changes go on: hits in memory settle in microtasks, and a loop of them would keep a change
   * in another tier waiting for ever.
   */
  async #giveWay(): Promise<void> {
    await nextTurn();
    this.#turnEnds = performance.now() + SLICE_MS;
  }

  /** Whether reads have kept a change waiting for long enough. */
  get #owesTurn(): boolean {
    return this.#order.busy && performance.now() > this.#turnEnds;
  }

  /** Asks one tier after the other until everything is found. */
  async #look(
    tiers: readonly Tier[],
    id: string,
    lookups: readonly Lookup[],
    many: boolean,
    signal?: AbortSignal,
  ): Promise<void> {
    let open = lookups;
    try {
      for (const [index, tier] of tiers.entries()) {
        if (index > 0) {
          open = open.filter(({ fresh }) => fresh === undefined);
          // What is found from here on will be copied, unless it is changed from here on.
          for (const lookup of open) {
            lookup.search ??= this.#order.search(id, lookup.key);
          }
        }
        const asked: Lookup[] = [];
        for (const lookup of open) {
          if (tier.distrusts(id, lookup.key)) lookup.lacking.push(tier);
          else asked.push(lookup);
        }
        const [first] = asked;
        if (first === undefined) continue;
        const askedAt = Date.now();
        const { backend } = tier;
        const answer = await tier.ask(
          "read",
          async () =>
            many
              ? await backend.getMany(
                id,
                asked.map(({ key }) => key),
                signal,
              )
              : [await backend.get(id, first.key, signal)],
          { signal },
        );
        for (const [index, lookup] of asked.entries()) {
          if (answer.state === "failed") lookup.errors.push(answer.error);
          else if (answer.state === "damaged") {
            lookup.damage(tier, answer.error);
          } else lookup.accept(tier, answer.value[index], askedAt);
        }
      }
      for (const lookup of lookups) this.#promote(lookup);
    } finally {
      for (const { search } of lookups) {
        if (search !== undefined) this.#order.forget(search);
      }
    }
  }

  /** What a read comes to, when every tier that had to be was asked. */
  #resultOf(lookup: Lookup): StoredEntry | DamagedEntryError | undefined {
    const { found } = lookup;
    if (found !== undefined) {
      for (const error of lookup.damages()) this.#report(error);
      return found.entry;
    }
    // Whoever asked checks it too, and tells of it.
    if (lookup.damaged !== undefined) return lookup.damaged;
    if (lookup.failed) throw this.#failure("read", lookup.errors);
    return undefined;
  }

  /** Copies a fresh entry to the tiers before it, unless it was changed since it was looked for. */
  #promote({ id, key, fresh, search, lacking }: Lookup): void {
    if (
      fresh === undefined ||
      search === undefined ||
      search.outdated ||
      lacking.length === 0 ||
      this.#closed ||
      this.#pruning > 0 ||
      this.#promotions.size >= MAX_PROMOTIONS
    ) {
      return;
    }
    // Deletes and later writes of the entry wait for it. A tier that fails reports it, and has
    // missed nothing: what it held before counts no more than it did.
    const promotion: Promise<void> = this.#order.write(id, key, async () => {
      await Promise.all(lacking.map((tier) => this.#put(tier, id, key, fresh)));
      this.#promotions.delete(promotion);
    });
    this.#promotions.add(promotion);
  }

  /** Writes an entry to one tier. */
  async #put(tier: Tier, id: string, key: string, found: Found): Promise<Answer<void>> {
    const stored = this.#asStored(tier, id, key, found);
    const answer = await tier.ask("write", () => tier.backend.set(id, key, stored));
    if (answer.state === "answered") tier.trust(id, key);
    return answer;
  }

  /** An entry as a tier keeps it. */
  #asStored(tier: Tier, id: string, key: string, { entry, seenAt }: Found): StoredEntry {
    return tier.inner &&
        this.#innerTtl !== Infinity &&
        seenAt !== undefined &&
        // A new checksum would hide the damage.
        isIntact(id, key, entry)
      ? stamp(id, key, entry, seenAt)
      : entry;
  }

  /**
   * Stores an entry in every tier at once: it takes as long as the slowest tier, and whichever is
   * done keeps the entry if the process ends meanwhile. A tier that fails is reported and gets the
   * entry later.
   *
   * @param id The id of the function, `""` for a direct key.
   * @param key The key.
   * @param entry The entry; its bytes are copied.
   * @throws {BackendError} If every tier failed.
   * @throws {CacheClosedError} After `close()`.
   */
  async set(id: string, key: string, entry: StoredEntry): Promise<void> {
    this.#assertOpen();
    const { data } = entry;
    // The tiers may have to wait for their turn, when the caller may have changed its bytes.
    const own = typeof data === "string" ? entry : { ...entry, data: new Uint8Array(data) };
    const found = { entry: own, seenAt: Date.now() };
    await this.#order.write(id, key, async () => {
      const answers = await Promise.all(this.#tiers.map((tier) => this.#put(tier, id, key, found)));
      const errors = errorsOf(answers);
      if (errors.length === answers.length) {
        // No tier is behind another: what was stored counts as before.
        throw this.#failure("write", errors);
      }
      for (const [index, tier] of this.#tiers.entries()) {
        if (answers[index]?.state === "answered") continue;
        // It may hold an older entry, which would hide the new one.
        tier.distrust(id, key, "write");
        if (tier.up) void this.#catchUp(tier);
      }
    });
  }

  /**
   * Deletes one entry from every tier, also from those that failed a short while ago.
   *
   * @param id The id of the function, `""` for a direct key.
   * @param key The key.
   * @throws {BackendError} If a tier failed; the others have deleted it.
   * @throws {CacheClosedError} After `close()`.
   */
  async delete(id: string, key: string): Promise<void> {
    this.#assertOpen();
    await this.#order.write(id, key, async () => {
      const answers = await this.#deleteFromAll(
        (backend) => backend.delete(id, key),
        (tier) => tier.trust(id, key),
        (tier) => tier.distrust(id, key, "delete"),
      );
      this.#assertDone("delete", answers);
    });
  }

  /**
   * Deletes every entry of one id from every tier.
   *
   * @param id The id of the function, `""` for direct keys.
   * @throws {BackendError} If a tier failed; the others have deleted them.
   * @throws {CacheClosedError} After `close()`.
   */
  async deleteId(id: string): Promise<void> {
    this.#assertOpen();
    await this.#sweep(id, (backend) => backend.deleteId(id));
  }

  /**
   * Deletes every entry of every tier.
   *
   * @throws {BackendError} If a tier failed; the others are empty.
   * @throws {CacheClosedError} After `close()`.
   */
  async clear(): Promise<void> {
    this.#assertOpen();
    await this.#sweep(undefined, (backend) => backend.clear());
  }

  async #sweep(id: string | undefined, work: (backend: Backend) => Promise<void>): Promise<void> {
    await this.#order.sweep(id, async () => {
      const answers = await this.#deleteFromAll(
        work,
        (tier) => tier.trustAll(id),
        (tier) => tier.distrustAll(id),
      );
      this.#assertDone("delete", answers);
    });
  }

  async #deleteFromAll(
    work: (backend: Backend) => Promise<void>,
    done: (tier: Tier) => void,
    failed: (tier: Tier) => void,
  ): Promise<Answer<void>[]> {
    return await Promise.all(
      this.#tiers.map(async (tier) => {
        const answer = await tier.ask("delete", () => work(tier.backend), {
          forced: true,
        });
        // What it was to delete must not come back, in this process, once it answers again.
        (answer.state === "answered" ? done : failed)(tier);
        return answer;
      }),
    );
  }

  /**
   * Lists the entries of all tiers, each once, as the nearest tier that holds it tells of it.
   *
   * Ids and keys of the inner tiers, all but the last, are kept in memory while it is read: some
   * 150 bytes for each entry.
   *
   * @param id The id whose entries to list; all when it is left out.
   * @returns What is stored, in no particular order.
   * @throws {BackendError} If a tier failed: the list would not be whole.
   * @throws {CacheClosedError} After `close()`.
   */
  async *entries(id?: string): AsyncGenerator<EntryInfo, void, void> {
    const seen = new Places<true>();
    for (const tier of this.#tiers) {
      this.#assertOpen();
      try {
        for await (const info of tier.backend.entries(id)) {
          // What it must not answer for, it does not list either.
          if (tier.distrusts(info.id, info.key) || seen.get(info.id, info.key) === true) continue;
          if (tier.inner) seen.set(info.id, info.key, true);
          yield info;
        }
      } catch (error) {
        this.#assertOpen();
        throw tier.named("list", error);
      }
    }
  }

  /**
   * Prunes each tier by itself: a bound holds for what each of them keeps.
   *
   * @param rule Which entries to delete.
   * @returns What the tier deleted that deleted most: an entry of several tiers is one.
   * @throws {BackendError} If a tier failed; the others are pruned.
   * @throws {CacheClosedError} After `close()`.
   */
  async prune(rule: PruneRule): Promise<Pruned> {
    this.#assertOpen();
    // A copy on its way inwards would bring back what is deleted further out.
    this.#pruning++;
    try {
      await Promise.all(this.#promotions);
      const answers = await Promise.all(
        this.#tiers.map((tier) =>
          tier.ask(
            "prune",
            async () => await (tier.backend.prune?.(rule) ?? prune(tier.backend, rule)),
            { forced: true },
          )
        ),
      );
      this.#assertDone("prune", answers);
      let most: Pruned = { entries: 0, bytes: 0 };
      for (const answer of answers) {
        if (answer.state === "answered" && answer.value.entries > most.entries) {
          most = answer.value;
        }
      }
      return most;
    } finally {
      this.#order.outdate(undefined);
      this.#pruning--;
    }
  }

  /**
   * Waits for writes and copies under way, brings tiers what they missed where they answer, and
   * closes every tier, also those that came as part of a cache. Can be called again.
   *
   * @throws {BackendError} If a tier failed to close; the others are closed.
   */
  close(): Promise<void> {
    this.#closed = true;
    return (this.#closing ??= this.#close());
  }

  async #close(): Promise<void> {
    await this.#order.idle();
    await Promise.all(
      this.#tiers.map(async (tier) => {
        await this.#catchUp(tier);
        await this.#catchUp(tier, true);
        const missing = tier.missedWrites().length;
        if (missing === 0) return;
        const { description } = tier.backend;
        const cause = new Error(`it failed, and ${missing} entries never got there`);
        this.#report(new BackendError(description, "write", cause));
      }),
    );
    const closings = await Promise.allSettled(
      this.#tiers.map(async ({ backend }) => await backend.close()),
    );
    const errors: Error[] = [];
    for (const [index, closing] of closings.entries()) {
      const tier = this.#tiers[index];
      if (closing.status === "rejected" && tier !== undefined) {
        errors.push(tier.named("close", closing.reason));
      }
    }
    if (errors.length > 0) throw this.#failure("close", errors);
  }

  /** Brings a tier what it missed, as long as it answers; never rejects. */
  #catchUp(tier: Tier, forced = false): Promise<void> {
    const running = this.#catchingUp.get(tier);
    if (running !== undefined) return running;
    const work = (async () => {
      let outages: number;
      do {
        outages = tier.outages;
        await this.#makeUpAll(tier, forced);
        // It may have failed and recovered meanwhile, without anybody to notice but this.
      } while (tier.up && tier.outages !== outages);
    })().finally(() => this.#catchingUp.delete(tier));
    this.#catchingUp.set(tier, work);
    return work;
  }

  async #makeUpAll(tier: Tier, forced: boolean): Promise<void> {
    const places = tier.missedWrites()[Symbol.iterator]();
    let goesOn = true;
    const worker = async (): Promise<void> => {
      for (const [id, key] of places) {
        goesOn &&= await this.#order.write(id, key, () => this.#makeUp(tier, id, key, forced));
        if (!goesOn) return;
      }
    };
    await Promise.all(Array.from({ length: CATCH_UP_AT_ONCE }, worker));
  }

  /** Makes up for one missed write; tells whether the tier answered. */
  async #makeUp(tier: Tier, id: string, key: string, forced: boolean): Promise<boolean> {
    if (!tier.missedWrite(id, key)) return true;
    // What only a tier behind this one has comes back with the next read.
    const nearer = this.#tiers.slice(0, this.#tiers.indexOf(tier));
    const lookup = new Lookup(id, key, this.#innerTtl);
    await this.#look(nearer, id, [lookup], false);
    const { backend } = tier;
    const { found } = lookup;
    const answer = await tier.ask(
      "write",
      async () => {
        if (found === undefined) await backend.delete(id, key);
        else if (!(await isNewer(backend, id, key, found.entry))) {
          await backend.set(id, key, this.#asStored(tier, id, key, found));
        }
      },
      { forced },
    );
    if (answer.state === "answered") tier.trust(id, key);
    return answer.state === "answered";
  }

  #assertOpen(): void {
    if (this.#closed) throw new CacheClosedError();
  }

  #assertDone(operation: string, answers: readonly Answer<unknown>[]): void {
    const errors = errorsOf(answers);
    if (errors.length > 0) throw this.#failure(operation, errors);
  }

  /** One error for those of several tiers, each of which names its tier. */
  #failure(operation: string, errors: readonly Error[]): Error {
    // Whoever closes while reads are under way need not look further.
    if (this.#closed && operation === "read") return new CacheClosedError();
    const reasons = errors.map(({ message }) => message).join("; ");
    const cause = new AggregateError(
      errors,
      `${errors.length} of ${this.#tiers.length} tiers failed: ${reasons}`,
    );
    return new BackendError(this.description, operation, cause);
  }
}

function errorsOf(answers: readonly Answer<unknown>[]): Error[] {
  return answers.flatMap((answer) => (answer.state === "answered" ? [] : [answer.error]));
}

/** Whether a tier got a newer entry from elsewhere while it could not be reached from here. */
async function isNewer(
  backend: Backend,
  id: string,
  key: string,
  { storedAt }: StoredEntry,
): Promise<boolean> {
  try {
    const theirs = await backend.get(id, key);
    return (
      theirs !== undefined &&
      isIntact(id, key, theirs) &&
      // A time to come shows that a clock was set back: then ours is the newer one.
      theirs.storedAt > storedAt &&
      theirs.storedAt <= Date.now()
    );
  } catch (error) {
    if (error instanceof DamagedEntryError) return false;
    throw error;
  }
}

/** The backends of the tiers, checked. */
function backendsOf(tiers: readonly (Backend | { readonly backend: Backend })[]): Backend[] {
  const rule = "a list of at least one backend or cache";
  if (!Array.isArray(tiers) || tiers.length === 0) {
    throw new TypeError(optionMessage(ACTION, "tiers", rule, tiers));
  }
  const backends: Backend[] = [];
  // Not `map`, which would skip holes.
  for (let index = 0; index < tiers.length; index++) {
    const tier: Backend | { readonly backend: Backend } | undefined = tiers[index];
    const backend = tier !== undefined && tier !== null && "backend" in tier ? tier.backend : tier;
    if (
      typeof backend !== "object" ||
      backend === null ||
      BACKEND_METHODS.some((name) => typeof backend[name] !== "function")
    ) {
      throw new TypeError(optionMessage(ACTION, `tiers[${index}]`, "a backend or a cache", tier));
    }
    if (backends.includes(backend)) {
      throw new TypeError(
        `Cannot ${ACTION}: tiers[${index}] is the same store as tiers[${
          backends.indexOf(
            backend,
          )
        }]`,
      );
    }
    backends.push(backend);
  }
  return backends;
}
