/**
 * A function over many inputs: keys looked up in bulk, hits at once, misses with bounded
 * concurrency, failures collected.
 *
 * @module
 */

import type { StoredEntry } from "../encoding/entry.ts";
import type { BatchProgress, ProgressListener } from "../base/batch_progress.ts";
import type { Asked, Calls, CallStatus, Found, Known } from "./call.ts";
import { decode, encode, type Encoded } from "../encoding/codec.ts";
import { optionMessage, refuseUnknownOptions } from "../base/errors.ts";
import { nextTurn } from "../base/turn.ts";

/** Options of `fn.map(inputs, options)`. */
export interface MapOptions<Rest extends readonly unknown[] = readonly unknown[]> {
  /** How many misses run at once: a positive integer, or `Infinity`. */
  readonly concurrency: number;
  /**
   * Whether results come out in the order of the inputs, instead of as they are ready.
   *
   * @default {false}
   */
  readonly ordered?: boolean;
  /** When it aborts, no new input is taken; what runs finishes and is stored. */
  readonly signal?: AbortSignal;
  /** Is told at the start and after every result how far the batch is; what it throws is reported to `onError`. */
  readonly onProgress?: (progress: BatchProgress) => void;
  /** Arguments that follow the input in every call. */
  readonly args?: Rest;
}

/** What came of one input. */
export type MapResult<Input, Value> =
  & {
    /** The position of the input, from 0. */
    readonly index: number;
    /** The input itself. */
    readonly input: Input;
  }
  & (
    | {
      /** The call returned. */
      readonly ok: true;
      /** What it returned, owned by the caller. */
      readonly value: Value;
      /** How the value came about. */
      readonly status: CallStatus;
    }
    | {
      /** The call failed. */
      readonly ok: false;
      /** What it threw. */
      readonly error: unknown;
      /** Always `"failed"`. */
      readonly status: "failed";
    }
  );

/**
 * Inputs that are looked up at a time: enough that a look-up costs little per key, few enough
 * that the first results come at once.
 */
const CHUNK = 128;

/** How many inputs may be between the reader and the consumer, running ones not counted. */
const WINDOW = 8 * CHUNK;

/**
 * For how long hits may follow each other without a turn of the event loop, in milliseconds: a
 * store that answers at once would keep timers, signals and the terminal waiting to the end.
 */
const TURN_MS = 10;

/** What the function was asked for one input. */
interface Task<Input> {
  readonly index: number;
  readonly input: Input;
}

/** A task whose key is known and that is not stored. */
interface Miss<Input> extends Task<Input> {
  readonly asked: Asked;
  /** What the look-up found; `null` once it may be out of date. */
  found: Known;
  /** Equal inputs that came later: they take what comes of this one. */
  readonly equals: Miss<Input>[];
}

/**
 * A batch that runs while it is iterated: an async iterable of results, in the order in which they
 * are ready. It can be consumed once.
 *
 * @typeParam Input What the function takes first.
 * @typeParam Value What it returns.
 *
 * @example Hits come out at once, and a failure stops nothing
 * ```ts
 * import { MemoryCache } from "@panza/panza";
 * import { assertEquals } from "@std/assert";
 *
 * await using cache = new MemoryCache();
 * const root = cache.cache({ id: "root" })(async (n: number): Promise<number> => {
 *   if (n < 0) throw new RangeError("negative");
 *   return await Promise.resolve(Math.sqrt(n));
 * });
 * const batch = root.map([4, -1, 4, 9], { concurrency: 2 });
 * const roots: number[] = [];
 * for await (const result of batch) if (result.ok) roots.push(result.value);
 * assertEquals(roots.sort(), [2, 2, 3]);
 * assertEquals(batch.summary.failed, 1);
 * ```
 */
export class Batch<Input, Value> implements AsyncIterable<MapResult<Input, Value>> {
  readonly #run: BatchRun<Input, Value>;
  #consumed = false;

  /**
   * Checks the options and starts nothing; `fn.map` makes batches.
   *
   * @param calls The calls of the function.
   * @param self What `this` is in them.
   * @param inputs The inputs, taken one by one as they are needed.
   * @param options How to run.
   */
  constructor(
    calls: Calls,
    self: unknown,
    inputs: Iterable<Input> | AsyncIterable<Input>,
    options: MapOptions,
  ) {
    checkMapOptions(inputs, options);
    this.#run = new BatchRun(calls, self, inputs, options);
  }

  /** How far the batch is; its last state is the summary. */
  get summary(): BatchProgress {
    return this.#run.summary;
  }

  /**
   * Runs the batch and gives its results one by one.
   *
   * Leaving the loop early takes no further input, waits for what runs, and stores it.
   *
   * @returns The results.
   * @throws {unknown} The reason of `signal`, or what the inputs threw, after the last result.
   */
  [Symbol.asyncIterator](): AsyncIterator<MapResult<Input, Value>> {
    if (this.#consumed) {
      throw new TypeError(
        "Cannot run the batch: it was consumed already; call map again, what it stored is found",
      );
    }
    this.#consumed = true;
    return this.#run.results();
  }

  /**
   * Runs the batch and gives all values at once.
   *
   * @returns The values, in the order of the inputs.
   * @throws {AggregateError} If inputs failed, after everything else has been stored; `errors` are
   * in the order of the inputs.
   */
  async values(): Promise<Value[]> {
    const values: Value[] = [];
    const failures: { index: number; error: unknown }[] = [];
    for await (const result of this) {
      if (result.ok) values[result.index] = result.value;
      else failures.push(result);
    }
    if (failures.length > 0) {
      failures.sort((a, b) => a.index - b.index);
      const { done } = this.#run.progress;
      throw new AggregateError(
        failures.map(({ error }) => error),
        `Cannot give all values: ${failures.length} of ${done} inputs failed; ` +
          "the others are stored, and the next run computes only what failed",
      );
    }
    return values;
  }
}

/** The running part of a batch. */
class BatchRun<Input, Value> {
  readonly progress: {
    -readonly [Name in keyof BatchProgress]: BatchProgress[Name];
  };
  readonly #calls: Calls;
  readonly #self: unknown;
  readonly #options: MapOptions;
  readonly #args: readonly unknown[];
  readonly #source: Source<Input>;
  /** Results that nobody has taken yet. */
  #ready: MapResult<Input, Value>[] = [];
  /** Results that wait for an earlier one, by index: only in order. */
  readonly #early = new Map<number, MapResult<Input, Value>>();
  /** Runs that wait for a place. */
  #waiting: (() => Promise<void>)[] = [];
  /** The misses that wait or run, by key. */
  readonly #open = new Map<string, Miss<Input>>();
  /** The keys whose stale results wait to be renewed, or are. */
  readonly #renewing = new Set<string>();
  /** The keys that were stored or busted since the last look-up began; `undefined` is all. */
  readonly #changed = new Set<string | undefined>();
  /** How many inputs wait for an equal one. */
  #equals = 0;
  #nextIndex = 0;
  #nextOut = 0;
  /** What the reader waits for. */
  #reading: "nothing" | "source" | "store" = "nothing";
  /** Set once nothing more is read: the inputs ended, threw, or nobody wants them. */
  #ended = false;
  /** Set once nothing more is begun. */
  #stopped = false;
  #failure: { readonly error: unknown } | undefined;
  #wake: (() => void) | undefined;
  #start = 0;
  #lastTurn = 0;

  constructor(
    calls: Calls,
    self: unknown,
    inputs: Iterable<Input> | AsyncIterable<Input>,
    options: MapOptions,
  ) {
    this.#calls = calls;
    this.#self = self;
    this.#options = options;
    this.#args = options.args ?? [];
    this.#source = new Source(inputs);
    this.progress = {
      done: 0,
      total: sizeOf(inputs),
      hits: 0,
      misses: 0,
      shared: 0,
      stale: 0,
      failed: 0,
      unstored: 0,
      running: 0,
      durationMs: 0,
      savedMs: 0,
      finished: false,
    };
  }

  async *results(): AsyncGenerator<MapResult<Input, Value>, void, void> {
    const { signal } = this.#options;
    const abort = (): void => this.#stop({ error: signal?.reason });
    this.#start = this.#lastTurn = performance.now();
    if (signal?.aborted) abort();
    signal?.addEventListener("abort", abort);
    const unwatch = this.#calls.watch((key) => this.#forget(key));
    try {
      // Before the first result, which may take minutes: so that a bar is drawn.
      if (!this.#ended) this.#notify(false);
      while (true) {
        this.#advance();
        if (this.#ready.length > 0) {
          const ready = this.#ready;
          this.#ready = [];
          for (const result of ready) {
            // Counted when it comes out, so that what a consumer sees and counts agree.
            this.#report(result);
            this.#moment("beforeResult");
            yield result;
          }
        } else if (this.#ended && !this.#isBusy() && !this.#waiting.length) {
          break;
        } else {
          this.#moment("beforeWait");
          await new Promise<void>((resolve) => (this.#wake = resolve));
        }
      }
    } finally {
      this.#stop(this.#failure);
      signal?.removeEventListener("abort", abort);
      // Nothing runs on unseen: also when the consumer has left.
      while (this.#isBusy()) {
        await new Promise<void>((resolve) => (this.#wake = resolve));
      }
      unwatch();
      await this.#source.leave();
      this.#notify(true);
    }
    if (this.#failure !== undefined) throw this.#failure.error;
  }

  /** Whether something is under way that ends by itself; a source may never answer. */
  #isBusy(): boolean {
    return this.progress.running > 0 || this.#reading === "store";
  }

  /** Takes no further input and starts nothing more. */
  #stop(failure: { readonly error: unknown } | undefined): void {
    this.#failure ??= failure;
    this.#ended = true;
    this.#stopped = true;
    this.#waiting = [];
    void this.#source.leave();
    this.#wake?.();
  }

  /** Takes notice that a key was stored or busted, or all were busted: look again before a run. */
  #forget(key: string | undefined): void {
    this.#changed.add(key);
    const misses = key === undefined ? this.#open.values() : [this.#open.get(key)];
    for (const miss of misses) if (miss !== undefined) miss.found = null;
  }

  /** Does whatever can be done now: starts runs, reads on. */
  #advance(): void {
    const free = this.#options.concurrency - this.progress.running;
    if (free > 0 && this.#waiting.length > 0) {
      for (const run of this.#waiting.splice(0, free)) void this.#occupy(run);
    }
    const held = this.#ready.length + this.#early.size + this.#waiting.length + this.#equals;
    if (
      !this.#ended && this.#reading === "nothing" && held < WINDOW && this.#ready.length < CHUNK
    ) {
      void this.#read();
    }
  }

  /** Takes the place of one run while it runs. */
  async #occupy(run: () => Promise<void>): Promise<void> {
    this.progress.running++;
    await run();
    this.progress.running--;
    this.#advance();
    this.#wake?.();
  }

  async #read(): Promise<void> {
    try {
      this.#reading = "source";
      if (performance.now() - this.#lastTurn > TURN_MS) {
        await nextTurn();
        this.#lastTurn = performance.now();
      }
      const inputs = this.#ended ? [] : await this.#source.take(CHUNK);
      // Stopped in the meantime: what comes now is not wanted any more.
      if (this.#stopped) return;
      this.#reading = "store";
      if (inputs.length === 0) {
        this.#ended = true;
        this.progress.total = this.#nextIndex;
      } else await this.#lookUp(inputs);
    } catch (error) {
      this.#failure ??= { error };
      this.#ended = true;
    }
    this.#reading = "nothing";
    this.#advance();
    this.#wake?.();
  }

  /** Looks a chunk up, gives out what is stored and queues the rest. */
  async #lookUp(inputs: readonly Input[]): Promise<void> {
    const tasks: Task<Input>[] = [];
    const calls: Asked[] = [];
    const keys: string[] = [];
    for (const input of inputs) {
      const task = { index: this.#nextIndex++, input };
      try {
        const asked = this.#calls.ask(this.#self, [input, ...this.#args]);
        const call = asked instanceof Promise ? await asked : asked;
        tasks.push(task);
        calls.push(call);
        keys.push(call.key);
      } catch (error) {
        // An input without a key fails alone.
        this.#finish({ ...task, ok: false, error, status: "failed" });
      }
    }
    this.#changed.clear();
    const entries = await this.#calls.lookMany(keys, this.#options.signal);
    for (let position = 0; position < tasks.length; position++) {
      const task = tasks[position]!;
      const call = calls[position]!;
      const entry: StoredEntry | undefined = entries?.[position];
      let found: Found | undefined;
      if (entry !== undefined) {
        const accepted = this.#calls.accept(call.key, entry);
        found = accepted instanceof Promise ? await accepted : accepted;
      }
      if (this.#stopped) return;
      const status = found && this.#calls.statusOf(found);
      if (found === undefined || status === undefined) {
        const known = entries === undefined ? null : found;
        this.#enqueue({ ...task, asked: call, found: known, equals: [] });
        continue;
      }
      const { durationMs } = found.entry;
      this.#calls.count(status, durationMs, call);
      this.#computed(task, found.value, status, durationMs);
      if (status === "stale") this.#renew(call);
    }
  }

  #enqueue(miss: Miss<Input>): void {
    if (this.#stopped) return;
    const { key } = miss.asked;
    const equal = this.#open.get(key);
    if (equal !== undefined) {
      equal.equals.push(miss);
      this.#equals++;
      return;
    }
    if (this.#changed.has(key) || this.#changed.has(undefined)) {
      miss.found = null;
    }
    this.#open.set(key, miss);
    this.#waiting.push(() => this.#compute(miss));
  }

  /** Renews a stale result that was given out, in the place of a run. */
  #renew(asked: Asked): void {
    const { key } = asked;
    // Renewed while it was looked up, or about to be.
    if (this.#changed.has(key) || this.#renewing.has(key)) return;
    this.#renewing.add(key);
    this.#waiting.push(async () => {
      await this.#calls.renew(asked);
      this.#renewing.delete(key);
    });
  }

  async #compute(miss: Miss<Input>): Promise<void> {
    const { index, input, asked, found, equals } = miss;
    try {
      const detail = await this.#calls.fly(asked, found);
      // The copies are taken before the consumer can change the value.
      const copies = equals.length > 0 ? copyable(detail.value) : undefined;
      const { durationMs } = detail;
      this.#computed(miss, detail.value, detail.status, durationMs);
      for (const equal of this.#close(miss)) {
        if (copies === undefined) {
          // What cannot be copied cannot be shared: each input gets a run of its own.
          this.#enqueue(equal);
          continue;
        }
        const status = detail.status === "miss" ? "shared" : detail.status;
        this.#calls.count(status, durationMs, equal.asked);
        this.#computed(equal, decode(copies), status, durationMs);
      }
    } catch (error) {
      this.#finish({ index, input, ok: false, error, status: "failed" });
      for (const { index, input } of this.#close(miss)) {
        this.#finish({ index, input, ok: false, error, status: "failed" });
      }
    }
  }

  #computed(
    { index, input }: Task<Input>,
    value: unknown,
    status: CallStatus,
    durationMs: number,
  ): void {
    if (status !== "miss") this.progress.savedMs += durationMs;
    // What the calls give is what the function returned, or what it had stored.
    this.#finish({ index, input, ok: true, value: value as Value, status });
  }

  /** Lets nobody wait for this miss any more, and gives those who did. */
  #close(miss: Miss<Input>): Miss<Input>[] {
    this.#open.delete(miss.asked.key);
    this.#equals -= miss.equals.length;
    return miss.equals.splice(0);
  }

  /** Puts a result where the consumer finds it. */
  #finish(result: MapResult<Input, Value>): void {
    if (this.#options.ordered !== true) {
      this.#ready.push(result);
      return;
    }
    this.#early.set(result.index, result);
    for (
      let next = this.#early.get(this.#nextOut);
      next !== undefined;
      next = this.#early.get(this.#nextOut)
    ) {
      this.#early.delete(this.#nextOut++);
      this.#ready.push(next);
    }
  }

  #report({ status }: MapResult<Input, Value>): void {
    const { progress } = this;
    progress.done++;
    switch (status) {
      case "hit":
        progress.hits++;
        break;
      case "miss":
        progress.misses++;
        break;
      case "shared":
        progress.shared++;
        break;
      case "stale":
        progress.stale++;
        break;
      default:
        progress.failed++;
    }
    this.#notify(false);
  }

  /** How far the batch is. */
  get summary(): BatchProgress {
    this.#time();
    return { ...this.progress };
  }

  /** Not at every result, where nobody looks: asking the clock costs as much as a step of a hit. */
  #time(): void {
    const { progress } = this;
    if (this.#start === 0 || progress.finished) return;
    progress.durationMs = performance.now() - this.#start;
  }

  #notify(finished: boolean): void {
    const { progress } = this;
    const onProgress: ProgressListener | undefined = this.#options.onProgress;
    if (finished || onProgress !== undefined) this.#time();
    progress.finished = finished;
    if (onProgress === undefined) return;
    try {
      const told: unknown = onProgress(progress, this);
      if (told instanceof Promise) {
        told.catch((error: unknown) => this.#calls.reportProgress(error));
      }
    } catch (error) {
      this.#calls.reportProgress(error);
    }
  }

  #moment(name: "beforeResult" | "beforeWait"): void {
    try {
      const listener: ProgressListener | undefined = this.#options.onProgress;
      listener?.[name]?.(this);
    } catch (error) {
      this.#calls.reportProgress(error);
    }
  }
}

/** Inputs, in chunks, from whatever they come. */
class Source<Input> {
  readonly #inputs: Iterable<Input> | AsyncIterable<Input>;
  #iterator: Iterator<Input> | AsyncIterator<Input> | undefined;
  /** An answer of an async source that has not come yet. */
  #pending: Promise<IteratorResult<Input>> | undefined;
  /** Set once it is not asked again: it ended, threw, or was left. */
  #over = false;
  #failure: { readonly error: unknown } | undefined;
  #leaving: Promise<void> | undefined;

  constructor(inputs: Iterable<Input> | AsyncIterable<Input>) {
    this.#inputs = inputs;
  }

  /**
   * The next inputs, at most `count`; none when they have ended.
   *
   * @throws {unknown} What the source threw, after the inputs that came before it.
   */
  async take(count: number): Promise<Input[]> {
    const inputs: Input[] = [];
    try {
      if (Symbol.asyncIterator in this.#inputs) {
        this.#iterator ??= this.#inputs[Symbol.asyncIterator]();
        await this.#takeAsync(this.#iterator as AsyncIterator<Input>, inputs, count);
      } else {
        this.#iterator ??= this.#inputs[Symbol.iterator]();
        this.#takeSync(this.#iterator as Iterator<Input>, inputs, count);
      }
    } catch (error) {
      this.#over = true;
      this.#failure = { error };
    }
    if (inputs.length === 0 && this.#failure !== undefined) {
      throw this.#failure.error;
    }
    return inputs;
  }

  #takeSync(iterator: Iterator<Input>, inputs: Input[], count: number): void {
    while (inputs.length < count && !this.#over) {
      const next = iterator.next();
      // Left in the middle of its own step, when it could not take notice.
      if (this.#leaving !== undefined) iterator.return?.();
      else if (next.done === true) this.#over = true;
      else inputs.push(next.value);
    }
  }

  /** Waits for the first input, and goes on with what there is when the next one is not there. */
  async #takeAsync(iterator: AsyncIterator<Input>, inputs: Input[], count: number): Promise<void> {
    let end: Promise<undefined> | undefined;
    while (inputs.length < count && !this.#over) {
      const pending = (this.#pending ??= iterator.next());
      const next = inputs.length === 0
        ? await pending
        : await Promise.race([pending, end ??= soon()]);
      if (next === undefined) return;
      this.#pending = undefined;
      if (next.done === true) this.#over = true;
      else inputs.push(next.value);
    }
  }

  /** Tells the source that nothing more is wanted, and waits for it unless it hangs in a step. */
  leave(): Promise<void> {
    return (this.#leaving ??= this.#leave());
  }

  async #leave(): Promise<void> {
    if (this.#over) return;
    this.#over = true;
    try {
      const left = Promise.resolve(this.#iterator?.return?.());
      left.catch(() => {});
      // An async generator answers only after its pending step, which may never come.
      if (this.#pending !== undefined) {
        const step = this.#pending.then(
          () => true,
          () => true,
        );
        if ((await Promise.race([step, soon()])) === undefined) return;
      }
      await left;
    } catch {
      // What a source does when it is left is not the batch's business.
    }
  }
}

/** Settles in a millisecond or so. */
function soon(): Promise<undefined> {
  return new Promise((resolve) => setTimeout(resolve, 0, undefined));
}

/** The encoded value, of which each decoding is a copy; `undefined` if it cannot be encoded. */
function copyable(value: unknown): Encoded | undefined {
  try {
    return encode(value);
  } catch {
    return undefined;
  }
}

function sizeOf(inputs: object): number | undefined {
  if (Array.isArray(inputs)) return inputs.length;
  return inputs instanceof Set || inputs instanceof Map ? inputs.size : undefined;
}

function checkMapOptions(inputs: unknown, options: MapOptions): void {
  const action = "map a function over inputs";
  if (
    typeof inputs !== "object" ||
    inputs === null ||
    !(Symbol.iterator in inputs || Symbol.asyncIterator in inputs)
  ) {
    throw new TypeError(optionMessage(action, "inputs", "an iterable or async iterable", inputs));
  }
  const names = ["concurrency", "ordered", "signal", "onProgress", "args"];
  refuseUnknownOptions(action, options, names);
  const { concurrency, ordered, signal, onProgress, args } = options;
  if (concurrency !== Infinity && !(Number.isSafeInteger(concurrency) && concurrency > 0)) {
    const Fitting = typeof concurrency === "number" ? RangeError : TypeError;
    const rule = "a positive integer or Infinity";
    throw new Fitting(optionMessage(action, "concurrency", rule, concurrency));
  }
  const check = (name: string, value: unknown, fits: boolean, rule: string): void => {
    if (value !== undefined && !fits) {
      throw new TypeError(optionMessage(action, name, rule, value));
    }
  };
  check("ordered", ordered, typeof ordered === "boolean", "a boolean");
  check("signal", signal, signal instanceof AbortSignal, "an AbortSignal");
  check("onProgress", onProgress, typeof onProgress === "function", "a function");
  check("args", args, Array.isArray(args), "an array");
}
