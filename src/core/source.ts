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

/** Inputs, in chunks, from whatever they come. */
export class Source<Input> {
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
   * Takes the next inputs, at most `count`.
   *
   * @param visit Is called with each as it is taken, before the source goes on.
   * @returns How many were taken; 0 when they have ended.
   *
   * @throws {unknown} What the source threw, after the inputs that came before it.
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
      // Left in the middle of its own step, when it could not take notice.
      if (this.#leaving !== undefined) iterator.return?.();
      else if (next.done === true) this.#over = true;
      else take(inputs, next.value);
    }
  }

  /** Waits for the first input, and goes on with what there is when the next one is not there. */
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
      // An error of a source that is left concerns nobody.
    }
  }
}

async function soon(): Promise<undefined> {
  await nextTurn();
}

/**
 * Checks what is to be mapped.
 *
 * @throws {TypeError} If it is not iterable, or a string, whose characters are hardly meant.
 */
export function checkInputs(inputs: unknown): void {
  const isIterable = typeof inputs === "object" && inputs !== null &&
    (Symbol.iterator in inputs || Symbol.asyncIterator in inputs);
  if (isIterable) return;
  // A text is an input, and no message quotes one.
  const received = typeof inputs === "string" ? "a string" : quote(inputs);
  throw new TypeError(
    "Cannot map a function over inputs: inputs must be an iterable or async iterable, such as an " +
      `array, received ${received}`,
  );
}

/** How many inputs there are, where that is known beforehand. */
export function sizeOf(inputs: object): number | undefined {
  if (Array.isArray(inputs)) return inputs.length;
  return inputs instanceof Set || inputs instanceof Map ? inputs.size : undefined;
}
