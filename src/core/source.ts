/**
 * Inputs of a batch, in chunks, from any iterable or async iterable.
 *
 * @module
 */

import { quote } from "../base/errors.ts";
import { nextTurn } from "../base/turn.ts";

/** The inputs that are being taken. */
interface Taken<Input> {
  count: number;
  readonly visit: (input: Input) => void;
}

function take<Input>(taken: Taken<Input>, input: Input): void {
  taken.count++;
  taken.visit(input);
}

/** The inputs of one batch. */
export class Source<Input> {
  readonly #inputs: Iterable<Input> | AsyncIterable<Input>;
  #iterator: Iterator<Input> | AsyncIterator<Input> | undefined;
  /** The pending `next()` of an async source. */
  #pending: Promise<IteratorResult<Input>> | undefined;
  /** Set once nothing more is read: the source ended, threw, or was left. */
  #over = false;
  #failure: { readonly error: unknown } | undefined;
  #leaving: Promise<void> | undefined;

  constructor(inputs: Iterable<Input> | AsyncIterable<Input>) {
    this.#inputs = inputs;
  }

  /**
   * Takes the next inputs, at most `count`.
   *
   * @param visit Called with each input as it is taken, before the source goes on.
   * @returns The number of inputs taken; 0 at the end.
   * @throws {unknown} The error of the source, after the inputs before it.
   */
  async take(count: number, visit: (input: Input) => void): Promise<number> {
    const inputs: Taken<Input> = { count: 0, visit };
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
    if (inputs.count === 0 && this.#failure !== undefined) {
      throw this.#failure.error;
    }
    return inputs.count;
  }

  #takeSync(iterator: Iterator<Input>, inputs: Taken<Input>, count: number): void {
    while (inputs.count < count && !this.#over) {
      const next = iterator.next();
      // `leave` was called during this step, when the iterator could not take its `return()`.
      if (this.#leaving !== undefined) iterator.return?.();
      else if (next.done === true) this.#over = true;
      else take(inputs, next.value);
    }
  }

  /** Waits for the first input, then takes only those that are ready. */
  async #takeAsync(
    iterator: AsyncIterator<Input>,
    inputs: Taken<Input>,
    count: number,
  ): Promise<void> {
    let end: Promise<undefined> | undefined;
    while (inputs.count < count && !this.#over) {
      const pending = (this.#pending ??= iterator.next());
      const next = inputs.count === 0
        ? await pending
        : await Promise.race([pending, end ??= soon()]);
      if (next === undefined) return;
      this.#pending = undefined;
      if (next.done === true) this.#over = true;
      else take(inputs, next.value);
    }
  }

  /** Ends the source, and waits for its end unless it hangs in a step. */
  leave(): Promise<void> {
    return (this.#leaving ??= this.#leave());
  }

  async #leave(): Promise<void> {
    if (this.#over) return;
    this.#over = true;
    try {
      const left = Promise.resolve(this.#iterator?.return?.());
      left.catch(() => {});
      // An async generator answers `return()` only after its pending step, which may never end.
      if (this.#pending !== undefined) {
        const step = this.#pending.then(
          () => true,
          () => true,
        );
        if ((await Promise.race([step, soon()])) === undefined) return;
      }
      await left;
    } catch {
      // Nobody needs the error of a source that was left.
    }
  }
}

async function soon(): Promise<undefined> {
  await nextTurn();
}

/**
 * Checks the inputs of a batch.
 *
 * @throws {TypeError} If they are not iterable, or a string, whose characters are hardly meant.
 */
export function checkInputs(inputs: unknown): void {
  const isIterable = typeof inputs === "object" && inputs !== null &&
    (Symbol.iterator in inputs || Symbol.asyncIterator in inputs);
  if (isIterable) return;
  // A string may be an input, and no message quotes an input.
  const received = typeof inputs === "string" ? "a string" : quote(inputs);
  throw new TypeError(
    "Cannot map a function over inputs: inputs must be an iterable or async iterable, such as an " +
      `array, received ${received}`,
  );
}

/** The number of inputs, if known beforehand. */
export function sizeOf(inputs: object): number | undefined {
  if (Array.isArray(inputs)) return inputs.length;
  return inputs instanceof Set || inputs instanceof Map ? inputs.size : undefined;
}
