/**
 * Streams, and the wrappers that hold something while a stream gives its items.
 *
 * @module
 */

import { currentPassage } from "./passage.ts";
import { isObject } from "./plain.ts";

/** The part of a `ReadableStream` that is used; not every runtime can iterate one. */
export interface ReadableLike<Item = unknown> {
  /** Locks the stream and returns its reader. */
  getReader(): {
    /** The next chunk. */
    read(): Promise<{ readonly done: boolean; readonly value?: Item | undefined }>;
    /** Cancels the stream. */
    cancel(reason?: unknown): Promise<void>;
  };
}

/** A source of items, one by one: an async iterable or a `ReadableStream`. */
export type StreamLike<Item = unknown> = AsyncIterable<Item> | ReadableLike<Item>;

/** Whether a value is an async iterable or a `ReadableStream`. */
export function isStream(value: unknown): value is StreamLike {
  return isObject(value) && (isIterable(value) || isReadable(value));
}

function isIterable(value: object): value is AsyncIterable<unknown> {
  return Symbol.asyncIterator in value && typeof value[Symbol.asyncIterator] === "function";
}

function isReadable(value: object): value is ReadableLike {
  return "getReader" in value && typeof value.getReader === "function" && "cancel" in value;
}

/** Whether a function is an async generator function, or stands for one. */
export function isStreamFunction(fn: unknown): boolean {
  return Object.prototype.toString.call(fn) === STREAM_FUNCTION;
}

const STREAM_FUNCTION = "[object AsyncGeneratorFunction]";

/** Marks a function that is called like an async generator function as one. */
export function asStreamFunction<F extends object>(fn: F): F {
  return Object.defineProperty(fn, Symbol.toStringTag, {
    value: "AsyncGeneratorFunction",
    configurable: true,
  });
}

/** The iterator of a stream. */
export function iteratorOf(stream: StreamLike): AsyncIterator<unknown> {
  if (isIterable(stream)) return stream[Symbol.asyncIterator]();
  const reader = stream.getReader();
  return {
    async next() {
      const { done, value } = await reader.read();
      return done ? { done, value: undefined } : { done, value };
    },
    async return() {
      await reader.cancel();
      return { done: true, value: undefined };
    },
  };
}

/** A wrapper's way to make a call: it settles when the wrapper may release what it holds. */
export type Call = (
  fn: (...args: never) => Promise<unknown>,
  self: unknown,
  args: unknown[],
) => Promise<unknown>;

/** The duration of a wrapper's call of a stream function. */
export type Holding =
  /** Until the stream has ended or was closed early, as a permit is held. */
  | "to the end"
  /** The same, and the call resolves to all items of the stream. */
  | "all items"
  /** Until the first item has come: from then on, the call cannot be repeated. */
  | "to the first item"
  /** No streams: the wrapper needs the whole result. */
  | "whole results";

/**
 * Makes a wrapper's call of a function that may give a stream.
 *
 * Call this in the synchronous part of the caller's own call, like the wrapper itself.
 *
 * @param holding The duration of the call if the function gives a stream.
 * @returns The result of the function; for a stream, its stand-in.
 */
export function callStream(
  call: Call,
  holding: Holding,
  fn: (...args: never) => unknown,
  self: unknown,
  args: unknown[],
): Promise<unknown> {
  const { promise, resolve, reject } = Promise.withResolvers<unknown>();
  const outer = currentPassage();
  async function begin(this: unknown, ...given: unknown[]): Promise<unknown> {
    const passage = currentPassage();
    const result: unknown = Reflect.apply(fn, this, given);
    const isPromised = !isStream(result);
    const stream = isPromised ? await result : result;
    if (!isStream(stream)) return stream;
    const opened = new OpenStream(stream, holding === "all items");
    // In the synchronous part for a generator function, because its body begins here.
    if (!isPromised || holding === "to the first item") await opened.open();
    if (passage?.hasEnded) {
      // The attempt has timed out: nobody takes its stream.
      opened.return().catch(() => {});
      return undefined;
    }
    // From here on, the work of the stream counts as its caller's.
    passage?.end(true);
    if (holding === "to the first item") return opened;
    outer?.hold(opened);
    resolve(opened.standIn);
    return await opened.ended;
  }
  Object.defineProperty(begin, "name", { value: fn.name, configurable: true });
  call(begin, self, args).then(
    (value) => resolve(value instanceof OpenStream ? value.standIn : value),
    reject,
  );
  return promise;
}

/** Closes an iterator that nobody reads any more; its errors are ignored. */
export function leaveQuietly(iterator: AsyncIterator<unknown>): void {
  Promise.resolve(iterator.return?.()).catch(() => {});
}

/** A stream, watched from its first item to its end. */
export class OpenStream implements AsyncIterableIterator<unknown> {
  /** Settles when the stream has ended or was closed early, with its error or collected items. */
  readonly ended: Promise<unknown>;
  readonly #stream: StreamLike;
  readonly #items: unknown[] | undefined;
  #opened: AsyncIterator<unknown> | undefined;
  #first: IteratorResult<unknown> | undefined;
  readonly #resolve: (items: unknown) => void;
  readonly #reject: (error: unknown) => void;

  /** @param collects Whether `ended` resolves to the items. */
  constructor(stream: StreamLike, collects: boolean) {
    const { promise, resolve, reject } = Promise.withResolvers<unknown>();
    promise.catch(() => {});
    this.ended = promise;
    this.#resolve = resolve;
    this.#reject = reject;
    this.#stream = stream;
    this.#items = collects ? [] : undefined;
  }

  get #iterator(): AsyncIterator<unknown> {
    return (this.#opened ??= iteratorOf(this.#stream));
  }

  /** The stand-in for the stream: it has all members of the stream, and is read through `this`. */
  get standIn(): unknown {
    return new Proxy(this.#stream, {
      get: (stream, name) => {
        if (name === Symbol.asyncIterator) return () => this;
        const member: unknown = Reflect.get(stream, name, stream);
        // Private members of the stream work on no other object.
        return typeof member === "function" ? member.bind(stream) : member;
      },
    });
  }

  /** Waits for the first item, and keeps it. */
  async open(): Promise<void> {
    this.#first = await this.next();
  }

  /** The next item, beginning with the one that `open` has kept. */
  next(...sent: [] | [unknown]): Promise<IteratorResult<unknown>> {
    const first = this.#first;
    if (first !== undefined) {
      this.#first = undefined;
      return Promise.resolve(first);
    }
    return this.#follow(() => this.#iterator.next(...sent), false);
  }

  /** Closes the stream early. */
  return(value?: unknown): Promise<IteratorResult<unknown>> {
    return this.#follow(
      () => this.#iterator.return?.(value) ?? Promise.resolve({ done: true, value }),
      true,
    );
  }

  /** Throws an error into the stream. */
  throw(error?: unknown): Promise<IteratorResult<unknown>> {
    return this.#follow(() => this.#iterator.throw?.(error) ?? Promise.reject(error), false);
  }

  /** The stream itself, which can be read once. */
  [Symbol.asyncIterator](): this {
    return this;
  }

  async #follow(
    step: () => Promise<IteratorResult<unknown>>,
    isLast: boolean,
  ): Promise<IteratorResult<unknown>> {
    try {
      const result = await step();
      this.#passed(result);
      if (isLast) this.#resolve(this.#items);
      return result;
    } catch (error) {
      this.#reject(error);
      throw error;
    }
  }

  #passed(result: IteratorResult<unknown>): void {
    if (result.done === true) this.#resolve(this.#items);
    else this.#items?.push(result.value);
  }
}
