/**
 * A batch while it runs: inputs in, results out.
 *
 * Past 300 lines, because every step changes the same counts: they bound what is read, waits, runs
 * and is ready, and what any of them may begin next.
 *
 * @module
 */

import { abortReason } from "../base/abort.ts";
import type { BatchProgress } from "../base/batch_progress.ts";
import { CacheClosedError } from "../base/errors.ts";
import { Pacer } from "../base/turn.ts";
import type { Maybe } from "../backend/contract.ts";
import type { MapOptions, MapResult } from "./map_options.ts";
import type { LeaseWait } from "../leases/leases.ts";
import { BatchReport } from "./batch_report.ts";
import type { Calls } from "./call.ts";
import type { CallDetail } from "./detail.ts";
import { ElsewhereError } from "./claim.ts";
import type { KeyedCall } from "./key.ts";
import type { Found } from "./owned.ts";
import type { Watch } from "./run.ts";
import { sizeOf, Source } from "./source.ts";

/**
 * The number of inputs per bulk lookup: enough that it costs little per key, few enough that the
 * first results come at once.
 */
const CHUNK = 128;

/** The most inputs between the reader and the consumer, running ones not counted. */
const WINDOW = 8 * CHUNK;

/** The most inputs under way in all, running ones and those that wait for an equal one included. */
const MAX_HELD = 16_384;

/** One input whose key is known. */
interface Task<Input> {
  readonly index: number;
  readonly input: Input;
  readonly call: KeyedCall;
}

/** A taken input with its call, or with the error of an input without a key. */
interface Taken<Input> {
  readonly index: number;
  readonly input: Input;
  readonly asked: Maybe<KeyedCall> | { readonly error: unknown };
}

/** A result with the detail of its call. */
interface Finished<Input, Value> {
  readonly result: MapResult<Input, Value>;
  readonly detail?: CallDetail<unknown>;
}

/** The running part of a batch. */
export class BatchRun<Input, Value> {
  readonly #report: BatchReport;
  readonly #calls: Calls;
  readonly #self: unknown;
  readonly #options: MapOptions;
  readonly #args: readonly unknown[];
  readonly #source: Source<Input>;
  readonly #pacer = new Pacer();
  /** Results that wait to be given out. */
  #ready: Finished<Input, Value>[] = [];
  /** The number of results that are being given out and have not been taken yet. */
  #untaken = 0;
  /** Results that wait for an earlier one, by index; only with `ordered`. */
  readonly #early = new Map<number, Finished<Input, Value>>();
  /** Work that waits for a place. */
  #waiting: (() => Promise<void>)[] = [];
  /** The inputs that wait for a place, by key: when one gets it, the equal ones join its run. */
  readonly #queued = new Map<string, Task<Input>[]>();
  /** The keys that have a place. */
  readonly #active = new Set<string>();
  /** The calls under way. */
  readonly #calling = new Set<KeyedCall>();
  /** The keys with a waiting or running refresh. */
  readonly #refreshing = new Set<string>();
  /** The number of taken places. */
  #places = 0;
  /** The number of calls that wait for their next attempt and have given their place back. */
  #aside = 0;
  /** The number of inputs that wait for an equal one. */
  #followers = 0;
  /** Inputs that another process computes. */
  readonly #elsewhere = new Set<LeaseWait>();
  #nextIndex = 0;
  #nextOut = 0;
  /** The current wait of the reader. */
  #reading: "nothing" | "source" | "store" = "nothing";
  /** Set once nothing more is read: the inputs ended, threw, or nobody wants them. */
  #hasEnded = false;
  /** Set once nothing more is begun. */
  #isStopped = false;
  #failure: { readonly error: unknown } | undefined;
  #wake: (() => void) | undefined;

  constructor(
    calls: Calls,
    self: unknown,
    inputs: Iterable<Input> | AsyncIterable<Input>,
    options: MapOptions,
  ) {
    this.#calls = calls;
    this.#self = self;
    this.#options = options;
    this.#args = [...options.args ?? []];
    this.#source = new Source(inputs);
    const { state, own } = calls;
    this.#report = new BatchReport(sizeOf(inputs), options, (call) => state.guarded(call, own));
  }

  /** The progress so far. */
  get summary(): BatchProgress {
    return this.#report.summary;
  }

  async *results(): AsyncGenerator<MapResult<Input, Value>, void, void> {
    const { signal } = this.#options;
    const { closing, isClosed } = this.#calls.state;
    const abort = (): void => this.#stop({ error: signal && abortReason(signal) });
    const close = (): void => this.#stop({ error: new CacheClosedError() });
    this.#report.begin();
    if (isClosed) close();
    if (signal?.aborted) abort();
    signal?.addEventListener("abort", abort);
    closing.add(close);
    try {
      // Draws a bar before the first result, which may take minutes.
      if (!this.#hasEnded) this.#report.notify(false);
      while (true) {
        this.#advance();
        if (this.#ready.length > 0) {
          const ready = this.#ready;
          this.#ready = [];
          this.#untaken = ready.length;
          for (const { result, detail } of ready) {
            this.#untaken--;
            this.#report.add(result, detail);
            this.#report.moment("beforeResult");
            yield result;
          }
        } else if (this.#hasEnded && !this.#isBusy && !this.#hasMore) {
          break;
        } else {
          this.#report.moment("beforeWait");
          await this.#change();
        }
      }
    } finally {
      this.#stop(this.#failure);
      signal?.removeEventListener("abort", abort);
      closing.delete(close);
      // No call runs on unseen, even after the consumer has left.
      while (this.#isBusy) await this.#change();
      await this.#source.leave();
      this.#report.notify(true);
    }
    if (this.#failure !== undefined) throw this.#failure.error;
  }

  /** Whether something is under way that ends by itself; a source may never answer. */
  get #isBusy(): boolean {
    return this.#places + this.#aside + this.#followers > 0 || this.#reading === "store";
  }

  /** Whether something waits to begin. */
  get #hasMore(): boolean {
    return this.#waiting.length > 0 || this.#elsewhere.size > 0;
  }

  async #change(): Promise<void> {
    await new Promise<void>((resolve) => (this.#wake = resolve));
  }

  /** The reason for which calls that have not started leave. */
  get #reason(): unknown {
    if (this.#failure !== undefined) return this.#failure.error;
    return new DOMException("the loop over the results was left", "AbortError");
  }

  /** Takes no further input and starts nothing more: calls that a limit holds back leave. */
  #stop(failure: { readonly error: unknown } | undefined): void {
    this.#failure ??= failure;
    this.#hasEnded = true;
    this.#isStopped = true;
    this.#waiting = [];
    this.#queued.clear();
    for (const call of this.#calling) call.leave?.(this.#reason);
    for (const wait of this.#elsewhere) wait.leave();
    this.#elsewhere.clear();
    void this.#source.leave();
    this.#wake?.();
  }

  /** Starts calls and reads on, as far as the bounds allow. */
  #advance(): void {
    const free = this.#options.concurrency - this.#places;
    if (free > 0 && this.#waiting.length > 0) {
      for (const work of this.#waiting.splice(0, free)) void this.#occupy(work);
    }
    const done = this.#ready.length + this.#untaken + this.#early.size;
    const held = done + this.#waiting.length;
    const aside = this.#aside + this.#followers + this.#elsewhere.size;
    const underWay = held + this.#places + aside;
    if (
      !this.#hasEnded && this.#reading === "nothing" && held < WINDOW && underWay < MAX_HELD &&
      this.#ready.length < CHUNK
    ) void this.#read();
  }

  /** Takes a place, or gives it back. */
  #take(step: 1 | -1): void {
    this.#places += step;
    this.#report.progress.running = this.#places;
  }

  /** Takes a place while some work goes on. */
  async #occupy(work: () => Promise<void>): Promise<void> {
    this.#take(1);
    await work();
    this.#take(-1);
    this.#advance();
    this.#wake?.();
  }

  async #read(): Promise<void> {
    try {
      this.#reading = "source";
      // A store that answers synchronously would starve timers, signals and the terminal.
      await this.#pacer.pace();
      const chunk: Taken<Input>[] = [];
      // The key and the copy are made as an input is taken: the source may reuse its object.
      const visit = (input: Input): void => void chunk.push(this.#identify(input));
      if (!this.#hasEnded) await this.#source.take(CHUNK, visit);
      // Stopped in the meantime: nobody wants these inputs any more.
      if (this.#isStopped) return;
      this.#reading = "store";
      if (chunk.length === 0) {
        this.#hasEnded = true;
        this.#report.progress.total = this.#nextIndex;
      } else await this.#lookUp(chunk);
    } catch (error) {
      this.#failure ??= { error };
      this.#hasEnded = true;
    }
    this.#reading = "nothing";
    this.#advance();
    this.#wake?.();
  }

  /** Takes an input: identifies its call and copies its arguments. */
  #identify(input: Input): Taken<Input> {
    const index = this.#nextIndex++;
    const { keys } = this.#calls;
    try {
      const asked = keys.ask(this.#self, [input, ...this.#args], this.#options.signal);
      if (!(asked instanceof Promise)) keys.own(asked);
      return { index, input, asked };
    } catch (error) {
      return { index, input, asked: { error } };
    }
  }

  /** Looks up a chunk, gives out the stored results and queues the rest. */
  async #lookUp(chunk: readonly Taken<Input>[]): Promise<void> {
    const { reader, state, own } = this.#calls;
    const { order } = state;
    const tasks: Task<Input>[] = [];
    const sought: string[] = [];
    for (const { index, input, asked } of chunk) {
      const call = asked instanceof Promise ? await asked : asked;
      if ("error" in call) {
        // An input without a key fails alone.
        this.#finish({ index, input, ok: false, error: call.error, status: "failed" });
        continue;
      }
      call.mayLeave = true;
      tasks.push({ index, input, call });
      // A key with work under way is left to an ordinary call: its entry may be changing.
      if (order.isQuiet(own.scope, call.key)) sought.push(call.key);
    }
    const born = order.now();
    const looked = reader.findMany(sought, born, this.#options.signal);
    const found: readonly Maybe<Found | undefined>[] = looked instanceof Promise
      ? await looked
      : looked;
    let next = 0;
    for (const task of tasks) {
      const { call } = task;
      const isSought = sought[next] === call.key;
      const hit = isSought ? found[next++] : undefined;
      if (hit === undefined) {
        this.#enqueue(task);
        continue;
      }
      const certain = hit instanceof Promise ? await hit : hit;
      const status = certain && reader.statusOf(certain);
      if (this.#isStopped) return;
      if (
        certain === undefined || status === undefined ||
        !order.isCurrentKey(own.scope, call.key, born)
      ) {
        this.#enqueue(task);
        continue;
      }
      if (status === "stale") this.#refresh(call);
      const value = certain.owned.take();
      this.#give(task, this.#calls.detail(call, status, certain.entry, await value));
    }
  }

  /** Queues an input for an ordinary call; one that would join a run needs no place. */
  #enqueue(task: Task<Input>): void {
    if (this.#isStopped) return;
    const { call } = task;
    const queued = this.#queued.get(call.key);
    if (queued !== undefined) queued.push(task);
    else if (this.#active.has(call.key) || this.#calls.isRunning(call.key)) void this.#join(task);
    else {
      this.#queued.set(call.key, [task]);
      this.#waiting.push(() => this.#computeAll(call.key));
    }
  }

  /** Makes the calls of equal inputs: the first in the place, the others join its run. */
  async #computeAll(key: string): Promise<void> {
    const [first, ...equals] = this.#queued.get(key) ?? [];
    this.#queued.delete(key);
    if (first === undefined) return;
    this.#active.add(key);
    const computed = this.#compute(first);
    for (const equal of equals) void this.#join(equal);
    await computed;
    this.#active.delete(key);
  }

  /** Makes an ordinary call, in a place. */
  async #compute(task: Task<Input>): Promise<void> {
    let isAside = false;
    // A call between attempts gives its place back, as long as fewer than `concurrency` do.
    const stepAside = (isBetweenAttempts: boolean): void => {
      if (isAside === isBetweenAttempts) return;
      if (isBetweenAttempts && this.#aside >= this.#options.concurrency) return;
      isAside = isBetweenAttempts;
      this.#aside += isAside ? 1 : -1;
      this.#take(isAside ? -1 : 1);
      if (isAside) this.#advance();
    };
    await this.#attempt(task, true, (run) => stepAside(run.passage.isBetweenAttempts));
    stepAside(false);
  }

  /** Waits for the run of an equal input, without a place; if none is left, queues the input. */
  async #join(task: Task<Input>): Promise<void> {
    this.#followers++;
    const isLeft = await this.#attempt(task, false);
    this.#followers--;
    // A result that cannot be copied cannot be shared: each input gets a run of its own.
    if (isLeft && !this.#isStopped) this.#waiting.push(() => this.#compute(task));
    this.#advance();
    this.#wake?.();
  }

  /** Makes a call; true if it needs a run of its own and may not begin one. */
  async #attempt(
    task: Task<Input>,
    mayRun: boolean,
    watch?: Watch,
  ): Promise<boolean> {
    const { call } = task;
    call.watch = (run) => {
      if (this.#isStopped) call.leave?.(this.#reason);
      watch?.(run);
    };
    this.#calling.add(call);
    let detail: CallDetail<unknown> | undefined;
    try {
      detail = await (mayRun ? this.#calls.fly(call) : this.#calls.join(call));
      if (detail !== undefined) this.#give(task, detail);
    } catch (error) {
      this.#fail(task, error);
      return false;
    } finally {
      this.#calling.delete(call);
    }
    return detail === undefined;
  }

  /** Refreshes a stale result that was given out, in a place. */
  #refresh(call: KeyedCall): void {
    if (this.#refreshing.has(call.key)) return;
    this.#refreshing.add(call.key);
    this.#waiting.push(async () => {
      await this.#calls.refresh(call);
      this.#refreshing.delete(call.key);
    });
  }

  #give({ index, input }: Task<Input>, detail: CallDetail<unknown>): void {
    // The value is a result of the function, new or stored.
    const value = detail.value as Value;
    this.#finish({ index, input, ok: true, value, status: detail.status }, detail);
  }

  #fail(task: Task<Input>, error: unknown): void {
    if (error instanceof ElsewhereError) return this.#setAside(task, error);
    const { index, input } = task;
    // The batch's own signal has ended this call: the batch throws its reason.
    const { signal } = this.#options;
    if (signal?.aborted === true && Object.is(error, abortReason(signal))) return;
    this.#finish({ index, input, ok: false, error, status: "failed" });
  }

  /** Comes back to an input when the lease of the other process may be free. */
  #setAside(task: Task<Input>, error: ElsewhereError): void {
    const { claims, own } = this.#calls;
    if (claims === undefined || this.#isStopped) return;
    const wait = claims.wait(own, task.call.key, error);
    task.call.hasLeft = true;
    this.#elsewhere.add(wait);
    void wait.free.then(() => {
      this.#elsewhere.delete(wait);
      this.#enqueue(task);
      this.#advance();
      this.#wake?.();
    });
  }

  /** Makes a result ready for the consumer, after the earlier ones with `ordered`. */
  #finish(result: MapResult<Input, Value>, detail?: CallDetail<unknown>): void {
    const finished = detail === undefined ? { result } : { result, detail };
    if (this.#options.ordered !== true) {
      this.#ready.push(finished);
      return;
    }
    this.#early.set(result.index, finished);
    for (
      let next = this.#early.get(this.#nextOut);
      next !== undefined;
      next = this.#early.get(this.#nextOut)
    ) {
      this.#early.delete(this.#nextOut++);
      this.#ready.push(next);
    }
  }
}
