/**
 * Several stores as one, nearest first: memory in front of SQLite in front of S3.
 *
 * @module
 */

import { check } from "../base/check.ts";
import { type Duration, duration } from "../base/duration.ts";
import { BackendError, CacheClosedError } from "../base/errors.ts";
import { waitedMs } from "../base/patience.ts";
import type {
  Backend,
  EntryInfo,
  Maybe,
  Pruned,
  PruneRule,
  Report,
  StoreLink,
} from "../backend/contract.ts";
import { ChangeOrder } from "../backend/order.ts";
import { prune } from "../backend/prune.ts";
import { handOn } from "../backend/shared.ts";
import type { StoredEntry } from "../encoding/entry.ts";
import { Copies, type TieredState } from "./copies.ts";
import { Lookup } from "./lookup.ts";
import { nameOf } from "./marks.ts";
import { bring } from "./missed.ts";
import { Searcher } from "./search.ts";
import { after, ownBytes, Tier } from "./tier.ts";
import { ACTION, backendsOf } from "./tiers.ts";

/** Options of {@linkcode TieredBackend}. */
export interface TieredOptions {
  /**
   * The time for which a copy in an inner tier (all but the last) is fresh, unless the entry itself
   * expires earlier. Afterwards the last tier is asked: an entry that another machine has busted
   * there is served no longer than this. Above zero; `Infinity` (also when unset) is for ever.
   */
  readonly innerTtl?: Duration;
}

/**
 * Keeps entries in several backends, nearest first.
 *
 * A read asks one tier after the other, and copies what it finds to the tiers before. Writes and
 * deletes go to every tier at once. A tier that fails to read, or to write, is reported and spared
 * that for 1 to 30 seconds. The others serve meanwhile; the tier gets missed writes afterwards.
 *
 * @category Backends
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
  /** The descriptions of the tiers, nearest first. */
  readonly description: string;
  /** Replaces a note of the last tier; absent where that keeps none. */
  readonly update?: NonNullable<Backend["update"]>;
  /** Stores an entry in exchange for a note of the last tier; absent where that keeps none. */
  readonly exchange?: NonNullable<Backend["exchange"]>;
  /** Waits for a change in the last tier; absent where that keeps no notes. */
  readonly changed?: NonNullable<Backend["changed"]>;
  /** Opens a session in the last tier; absent where that has none. */
  readonly openSession?: NonNullable<Backend["openSession"]>;
  /** Whether the last tier reports a session as over; absent where that has none. */
  readonly isOver?: NonNullable<Backend["isOver"]>;
  /** Ends a session in the last tier; absent where that has none. */
  readonly endSession?: NonNullable<Backend["endSession"]>;
  readonly #state: TieredState;
  readonly #copies: Copies;
  readonly #searcher: Searcher;
  readonly #reports: Report[] = [];
  #closing: Promise<void> | undefined;

  /**
   * Joins backends, which belong to it from now on: `close()` closes them.
   *
   * @param tiers Backends, or caches whose backends are taken; nearest first, at least one.
   * @param options The time for which inner tiers answer by themselves.
   * @throws {TypeError} If there is no tier, one that is not a backend, or one twice; or if an
   * option is unknown or of the wrong kind.
   * @throws {RangeError} If `innerTtl` is not above zero.
   */
  constructor(
    tiers: readonly (Backend | { readonly backend: Backend })[],
    options: TieredOptions = {},
  ) {
    const { innerTtl = Infinity } = check(ACTION, options, { innerTtl: duration });
    const backends = backendsOf(tiers);
    const report = (error: Error) => this.#report(error);
    const recovered = (tier: Tier) => void this.#bring(tier);
    this.#state = {
      tiers: backends.map((backend, index) =>
        new Tier(backend, index < backends.length - 1, innerTtl, { report, recovered })
      ),
      isBounded: innerTtl !== Infinity,
      order: new ChangeOrder(),
      link: undefined,
      isClosing: false,
      report,
    };
    this.#copies = new Copies(this.#state);
    this.#searcher = new Searcher(this.#state, this.#copies);
    const last = backends.at(-1);
    handOn(this, last ?? {});
    if (last?.exchange !== undefined) {
      this.exchange = async (id, key, note, entry) => {
        this.#assertOpen();
        return await this.#store(id, key, entry, note);
      };
    }
    this.description = `tiers (${backends.map(({ description }) => description).join(", ")})`;
  }

  /** The place of the last tier, which the others hold copies of. */
  get location(): string | undefined {
    return this.#state.tiers.at(-1)?.backend.location;
  }

  /**
   * Adds a listener for tiers that fail, once for each outage, and for damaged entries that
   * another tier made up for.
   *
   * @param report Gets a `BackendError` that names the tier, or a `DamagedEntryError`.
   * @param link The order that a cache keeps changes in, and a listener for progress.
   */
  connect(report: Report, link?: StoreLink): void {
    this.#reports.push(report);
    if (link !== undefined) {
      this.#state.link = link;
      this.#state.order = link.order;
    }
    for (const tier of this.#state.tiers) {
      const progress = (id: string, key: string) => {
        tier.progressAt = waitedMs();
        link?.progress(id, key);
      };
      tier.backend.connect(report, { order: this.#state.order, progress });
    }
  }

  #report(error: Error): void {
    // A read that close() overtook is not a failure.
    if (this.#state.isClosing && error.cause instanceof CacheClosedError) return;
    for (const report of this.#reports) {
      try {
        report(error);
      } catch {
        // A listener does not change the outcome of the operation.
      }
    }
  }

  /**
   * Reads one entry from the nearest tier that has it intact and fresh. Where none is fresh, the
   * one that expired last is returned.
   *
   * @param id The id of the function, `""` for a direct key.
   * @param key The key.
   * @param signal Aborts reads that cross a network.
   * @returns The entry, at once if the tiers answer at once; `undefined` if no tier that answered
   * has it. Its `expiresAt` may be that of an inner copy, which expires earlier.
   * @throws {BackendError} If no tier answered.
   * @throws {CacheClosedError} After `close()`.
   */
  get(id: string, key: string, signal?: AbortSignal): Maybe<StoredEntry | undefined> {
    this.#assertOpen();
    const lookup = new Lookup(id, key);
    const search = { id, lookups: [lookup], isMany: false, signal };
    return after(this.#searcher.search(search), () => {
      if (lookup.best !== undefined) return lookup.best;
      // The caller checks the entry too, and reports it.
      if (lookup.damaged instanceof Error) throw lookup.damaged;
      if (lookup.hasFailed) throw this.#failure("read", lookup.errors);
      return lookup.damaged;
    });
  }

  /**
   * Reads several entries of one id; each tier is asked only for what is still missing.
   *
   * @param id The id of the function, `""` for direct keys.
   * @param keys The keys, in any order; each duplicate gets an answer.
   * @param signal Aborts reads that cross a network.
   * @returns The entries in the order of the keys, `undefined` where there is none.
   * @throws {BackendError} If no tier answered for any of them.
   * @throws {CacheClosedError} After `close()`.
   */
  getMany(
    id: string,
    keys: readonly string[],
    signal?: AbortSignal,
  ): Maybe<readonly (StoredEntry | undefined)[]> {
    this.#assertOpen();
    const lookups = keys.map((key) => new Lookup(id, key));
    return after(this.#searcher.search({ id, lookups, isMany: true, signal }), () => {
      const [first] = lookups;
      if (first !== undefined && lookups.every(({ hasFailed }) => hasFailed)) {
        throw this.#failure("read", first.errors);
      }
      return lookups.map(({ best, damaged }) => {
        if (best !== undefined) return best;
        if (!(damaged instanceof Error)) return damaged;
        // A rejection would hide the answers for the other keys.
        this.#report(damaged);
        return undefined;
      });
    });
  }

  /**
   * Stores an entry in every tier at once, which takes as long as the slowest tier. If the process
   * ends meanwhile, the tiers that are done keep the entry. A tier that fails is reported and gets
   * the entry later.
   *
   * @param id The id of the function, `""` for a direct key.
   * @param key The key.
   * @param entry The entry; its bytes are copied.
   * @throws {BackendError} If every tier failed.
   * @throws {CacheClosedError} After `close()`.
   */
  async set(id: string, key: string, entry: StoredEntry): Promise<void> {
    await this.#store(id, key, entry, undefined);
  }

  /** Stores an entry in every tier; `false` if the last one, asked first, has another note. */
  #store(
    id: string,
    key: string,
    entry: StoredEntry,
    note: string | undefined,
  ): Promise<boolean> {
    // In its own order the write may wait, and the caller may change the bytes meanwhile.
    const own = this.#state.link === undefined ? ownBytes(entry) : entry;
    return this.#change(id, key, async () => {
      const tiers = this.#state.tiers;
      let last: Promise<Error | false | undefined> | undefined;
      if (note !== undefined) {
        last = tiers.at(-1)!.write(id, key, own, { note });
        if (await last === false) return false;
      }
      const results = await Promise.all(
        tiers.map((tier) => (tier.isInner ? undefined : last) ?? tier.write(id, key, own)),
      );
      const errors = results.filter((result) => result instanceof Error);
      // Then no tier is behind another: what was stored counts as before.
      if (errors.length === tiers.length) throw this.#failure("write", errors);
      for (const [index, tier] of tiers.entries()) {
        if (results[index] === undefined) continue;
        // The tier may hold an older entry, which would hide the new one.
        tier.marks.missedWrite(id, key, own);
        if (tier.takesWrites) void this.#bring(tier);
      }
      return true;
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
    await this.#change(id, key, () =>
      this.#deleteFromAll(
        (backend) => backend.delete(id, key),
        ({ marks }) => marks.changed(id, key),
        ({ marks }) => marks.missedDelete(id, key),
      ));
  }

  /**
   * Deletes every entry of one id from every tier.
   *
   * @param id The id of the function, `""` for direct keys.
   * @throws {BackendError} If a tier failed; the others have deleted them.
   * @throws {CacheClosedError} After `close()`.
   */
  async deleteId(id: string): Promise<void> {
    await this.#sweep(id, (backend) => backend.deleteId(id));
  }

  /**
   * Deletes every entry of every tier.
   *
   * @throws {BackendError} If a tier failed; the others are empty.
   * @throws {CacheClosedError} After `close()`.
   */
  async clear(): Promise<void> {
    await this.#sweep(undefined, (backend) => backend.clear());
  }

  async #sweep(id: string | undefined, work: (backend: Backend) => Promise<void>): Promise<void> {
    this.#assertOpen();
    const sweep = () =>
      this.#deleteFromAll(
        work,
        ({ marks }) => marks.swept(id),
        ({ marks }) => marks.missedSweep(id),
      );
    if (this.#state.link !== undefined) return await sweep();
    const scope = id === undefined ? undefined : this.#state.order.scope(id);
    await this.#state.order.sweep(scope, sweep);
  }

  /** Changes one entry; a change of a connected cache has its place in the order already. */
  async #change<Result>(
    id: string,
    key: string,
    work: () => Promise<Result>,
  ): Promise<Result> {
    this.#assertOpen();
    if (this.#state.link !== undefined) return await work();
    const place = this.#state.order.enter(this.#state.order.scope(id), key);
    const done = this.#state.order.change(place, work);
    this.#state.order.leave(place);
    return await done;
  }

  async #deleteFromAll(
    work: (backend: Backend) => Promise<void>,
    succeed: (tier: Tier) => void,
    fail: (tier: Tier) => void,
  ): Promise<void> {
    const results = await Promise.all(this.#state.tiers.map(async (tier) => {
      const error = await tier.delete(work);
      // What a tier failed to delete must not come back, in this process, once it answers again.
      (error === undefined ? succeed : fail)(tier);
      return error;
    }));
    const errors = results.filter((result) => result !== undefined);
    if (errors.length > 0) throw this.#failure("delete", errors);
  }

  /**
   * Lists the entries of all tiers, each once, as the nearest tier that holds it reports it.
   *
   * Ids and keys of the inner tiers, all but the last, are kept in memory while the list is read:
   * some 150 bytes for each entry.
   *
   * @param id The id whose entries to list; all when it is left out.
   * @returns The stored entries, in no particular order.
   * @throws {BackendError} If a tier failed: the list would not be whole.
   * @throws {CacheClosedError} After `close()`.
   */
  async *entries(id?: string): AsyncGenerator<EntryInfo, void, void> {
    const seen = new Set<string>();
    for (const tier of this.#state.tiers) {
      this.#assertOpen();
      try {
        for await (const info of tier.backend.entries(id)) {
          const name = nameOf(info.id, info.key);
          if (!tier.marks.counts(info.id, info.key) || seen.has(name)) continue;
          if (tier.isInner) seen.add(name);
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
   * @returns The counts of the tier that deleted most: an entry of several tiers is one.
   * @throws {BackendError} If a tier failed; the others are pruned.
   * @throws {CacheClosedError} After `close()`.
   */
  async prune(rule: PruneRule): Promise<Pruned> {
    this.#assertOpen();
    return await this.#copies.without(async () => {
      const all = await this.#forAll(
        "prune",
        async ({ backend }) => await (backend.prune?.(rule) ?? prune(backend, rule)),
      );
      return all.reduce((most, each) => each.entries > most.entries ? each : most);
    });
  }

  /**
   * Waits for writes and copies under way, brings tiers what they missed where they answer, and
   * closes every tier, also those that came as part of a cache. Can be called again.
   *
   * @throws {BackendError} If a tier failed to close; the others are closed.
   */
  close(): Promise<void> {
    return (this.#closing ??= this.#close());
  }

  async #close(): Promise<void> {
    this.#state.isClosing = true;
    await this.#state.order.settled();
    await Promise.all(this.#state.tiers.map(async (tier) => {
      await tier.bringing;
      await this.#bring(tier);
      const { length } = tier.marks.missedWrites();
      if (length === 0) return;
      const cause = new Error(`it failed, and ${length} entries never got there`);
      this.#report(tier.named("write", cause));
    }));
    await this.#forAll("close", ({ backend }) => backend.close());
  }

  #bring(tier: Tier): Promise<void> {
    return bring(this.#state, this.#searcher, tier);
  }

  #assertOpen(): void {
    if (this.#state.isClosing) throw new CacheClosedError();
  }

  /** Does work in every tier, even where another tier fails. */
  async #forAll<Result>(
    operation: string,
    work: (tier: Tier) => Promise<Result>,
  ): Promise<Result[]> {
    const results = await Promise.allSettled(this.#state.tiers.map(async (tier) => {
      try {
        return await work(tier);
      } catch (error) {
        throw tier.named(operation, error);
      }
    }));
    const errors = results.flatMap((each) => each.status === "rejected" ? each.reason : []);
    if (errors.length > 0) throw this.#failure(operation, errors);
    return results.flatMap((each) => each.status === "fulfilled" ? [each.value] : []);
  }

  /** One error for those of several tiers, each of which names its tier. */
  #failure(operation: string, errors: readonly Error[]): Error {
    // A read that close() overtook.
    if (this.#state.isClosing && operation === "read") return new CacheClosedError();
    const reasons = errors.map(({ message }) => message).join("; ");
    const cause = new AggregateError(
      errors,
      `${errors.length} of ${this.#state.tiers.length} tiers failed: ${reasons}`,
    );
    return new BackendError(this.description, operation, cause);
  }
}
