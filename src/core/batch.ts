/**
 * A function over many inputs: bulk lookups for results that are certain, ordinary calls with
 * bounded concurrency for the rest.
 *
 * @module
 */

import type { BatchProgress } from "../base/batch_progress.ts";
import { BatchError, type BatchFailure } from "../base/errors.ts";
import type { Calls } from "./call.ts";
import { BatchRun } from "./batch_run.ts";
import { checkMapOptions } from "./options.ts";
import type { MapOptions, MapResult } from "./map_options.ts";
import { checkInputs } from "./source.ts";

/**
 * A batch that runs while it is iterated: an async iterable of results, in the order in which they
 * are ready. It can be consumed once.
 *
 * @typeParam Input The first argument of the function.
 * @typeParam Value The result of the function.
 *
 * @category Batches
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
  readonly #calls: Calls;
  #isConsumed = false;

  /**
   * Checks the options and starts nothing; `fn.map` makes batches.
   *
   * @param calls The calls of the function.
   * @param self The value of `this` in the calls.
   * @param inputs The inputs, taken one by one as they are needed.
   * @param options The options of the batch.
   */
  constructor(
    calls: Calls,
    self: unknown,
    inputs: Iterable<Input> | AsyncIterable<Input>,
    options: MapOptions,
  ) {
    checkInputs(inputs);
    checkMapOptions(options);
    this.#calls = calls;
    this.#run = new BatchRun(calls, self, inputs, { ...options });
    this.#countUnused(1);
  }

  /** The progress of the batch; the summary once the batch has ended. */
  get summary(): BatchProgress {
    return this.#run.summary;
  }

  /**
   * Runs the batch and gives its results one by one.
   *
   * Leaving the loop early takes no further input, waits for running calls and stores the results.
   * Calls that wait for a limit or for their next attempt are given up.
   *
   * @returns The results.
   * @throws {unknown} The reason of `signal`, or the error of the inputs, after the last result.
   * @throws {CacheClosedError} If the cache is closed before all inputs were taken.
   */
  [Symbol.asyncIterator](): AsyncIterator<MapResult<Input, Value>> {
    if (this.#isConsumed) {
      throw new TypeError(
        "Cannot run the batch: it was consumed already; call map again, what it stored is found",
      );
    }
    this.#isConsumed = true;
    this.#countUnused(-1);
    return this.#run.results();
  }

  /**
   * Runs the batch and keeps no value: for jobs that only fill the cache.
   *
   * @returns The summary; failures are counted in it.
   * @throws {unknown} As the iteration does.
   */
  async run(): Promise<BatchProgress> {
    for await (const _ of this);
    return this.summary;
  }

  /**
   * Runs the batch and gives all values at once.
   *
   * @returns The values, in the order of the inputs.
   * @throws {BatchError} If inputs failed, after everything else has been stored.
   * @throws {unknown} As the iteration does.
   */
  async values(): Promise<Value[]> {
    const values: Value[] = [];
    const failures: BatchFailure[] = [];
    for await (const result of this) {
      if (result.ok) values[result.index] = result.value;
      else failures.push({ index: result.index, input: result.input, error: result.error });
    }
    if (failures.length === 0) return values;
    throw new BatchError(failures.sort((a, b) => a.index - b.index), this.summary.done);
  }

  /** Counts batches that have not been run: the cache reports them when it closes. */
  #countUnused(step: number): void {
    const { state, own } = this.#calls;
    const count = (state.unusedBatches.get(own.id) ?? 0) + step;
    if (count === 0) state.unusedBatches.delete(own.id);
    else state.unusedBatches.set(own.id, count);
  }
}
