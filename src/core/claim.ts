/**
 * The leases of runs, where processes share work: taken inside a run, right before its function is
 * called.
 *
 * @module
 */

import { abortReason, unlessAborted } from "../base/abort.ts";
import { Pause } from "../base/pause.ts";
import type { Place } from "../backend/order.ts";
import type { StoredEntry } from "../encoding/entry.ts";
import { Lease, type Leases, type LeaseWait } from "../leases/leases.ts";
import type { KeyedCall } from "./key.ts";
import type { Reader } from "./read.ts";
import type { Outcome, Run } from "./run.ts";
import type { CacheState, FunctionState } from "./state.ts";

/** Another process computes it: a batch sets the input aside until that lease may be free. */
export class ElsewhereError extends Error {
  /**
   * @param note The note of the lease.
   * @param before The stored entry, if there is one that does not count.
   */
  constructor(readonly note: string, readonly before: StoredEntry | undefined) {
    super("another process computes it");
  }
}

/** The leases of one cache. */
export class Claims {
  readonly #state: CacheState;
  readonly #leases: Leases;
  /** While it is on, no lease is taken: the store failed to give one. */
  readonly #pause = new Pause();

  constructor(state: CacheState, leases: Leases) {
    this.#state = state;
    this.#leases = leases;
  }

  /**
   * Takes the lease of a run, or waits for the result that another process stores.
   *
   * @returns The outcome that makes the run unnecessary; `undefined` if the run goes on, with its
   * lease where there is one.
   * @throws {ElsewhereError} If another process computes the result and no caller here waits.
   */
  async take(
    own: FunctionState,
    reader: Reader,
    call: KeyedCall,
    run: Run,
    place: Place,
  ): Promise<Outcome | undefined> {
    const { order } = this.#state;
    // If no caller can abort, only `close` does, which may wait for the store.
    const signals = call.signals.length > 0 ? [run.signal] : [];
    // This wait is not work of the function, and `close` may end it.
    const end = run.passage.wait("turn");
    try {
      let hasWaited = false;
      while (!this.#pause.isOn) {
        // A deletion under way would delete the lease too, though the result is to follow it.
        if (!order.isFree(place)) break;
        const before = own.trusts(place.key) ? undefined : await this.#entry(own, place.key);
        if (hasWaited) {
          const outcome = await this.#look(own, reader, place, "shared");
          if (outcome !== undefined) return outcome;
        }
        const taking = this.#leases.take(own.name, place.key);
        const taken = await unlessAborted(taking, signals).catch((error) => {
          taking.then((late) => late instanceof Lease && late.release(), () => {});
          throw error;
        });
        this.#pause.end();
        if (taken instanceof Lease) {
          run.lease = taken;
          await this.#trustNew(own, place.key, before);
          // Another process may have stored the result between the miss and the lease.
          const outcome = await this.#look(own, reader, place, hasWaited ? "shared" : "hit");
          if (outcome !== undefined) return outcome;
          break;
        }
        if (!run.isAwaited) throw new ElsewhereError(taken, before);
        const wait = this.wait(own, place.key, { note: taken, before });
        await unlessAborted(wait.free, [run.signal]).finally(() => wait.leave());
        hasWaited = true;
      }
    } catch (error) {
      if (error instanceof ElsewhereError || run.isAborted) throw error;
      // A failing store changes no outcome: the function runs as it does without leases.
      this.#pause.begin();
      this.#state.report(this.#state.wrap("lease", error), "lease", own, place.key);
    } finally {
      end();
    }
    if (run.isAborted) throw abortReason(run.signal);
    return undefined;
  }

  /** Waits until the lease of another process may be free. */
  wait(
    own: FunctionState,
    key: string,
    { note, before }: Pick<ElsewhereError, "note" | "before">,
  ): LeaseWait {
    const { free, leave } = this.#leases.wait(own.name, key, note);
    return { leave, free: free.then(() => this.#trustNew(own, key, before)).catch(() => {}) };
  }

  /** The result that is stored by now, if it counts. */
  async #look(
    own: FunctionState,
    reader: Reader,
    place: Place,
    status: "hit" | "shared",
  ): Promise<Outcome | undefined> {
    const { order } = this.#state;
    const born = order.now();
    if (!order.isFree(place)) return undefined;
    // The first lookup has reported any damage.
    const found = await this.#entry(own, place.key)
      .then((entry) => reader.accept(place.key, entry, born, true)).catch(() => undefined);
    if (found === undefined || reader.statusOf(found) !== "hit") return undefined;
    if (!order.isUnchanged(place, born)) return undefined;
    const { storedAt, durationMs } = found.entry;
    return { owned: found.owned, status, storedAt, durationMs };
  }

  /** The stored entry, whether it counts or not. */
  async #entry(own: FunctionState, key: string): Promise<StoredEntry | undefined> {
    if (this.#state.readPause.isOn) return undefined;
    return await this.#state.entry(own, key, own.scope.places.get(key));
  }

  /** Trusts an entry, even under BUST_CACHE, if it was stored while this process was after it. */
  async #trustNew(
    own: FunctionState,
    key: string,
    before: StoredEntry | undefined,
  ): Promise<void> {
    if (own.trusts(key)) return;
    const now = await this.#entry(own, key);
    if (now === undefined) return;
    if (now.storedAt === before?.storedAt && now.checksum === before.checksum) return;
    own.trusted.add(key);
  }
}
