/** Streams whose items a test gives by hand. */

import { assert } from "@std/assert";
import { quiet } from "./by_hand.ts";

/** One stream: gives the items of the test, and counts the requests for them. */
export class HandStream<Item> implements AsyncIterableIterator<Item> {
  /** The number of items asked for. */
  pulls = 0;
  /** Whether the consumer left it. */
  isLeft = false;
  /** Whether it ended or failed. */
  isOver = false;
  readonly args: readonly unknown[];
  readonly #asked: PromiseWithResolvers<IteratorResult<Item>>[] = [];

  constructor(args: readonly unknown[]) {
    this.args = args;
  }

  next(): Promise<IteratorResult<Item>> {
    this.pulls++;
    const asked = Promise.withResolvers<IteratorResult<Item>>();
    this.#asked.push(asked);
    return asked.promise;
  }

  return(): Promise<IteratorResult<Item>> {
    this.isLeft = true;
    for (const asked of this.#asked.splice(0)) asked.resolve({ done: true, value: undefined });
    return Promise.resolve({ done: true, value: undefined });
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  /** Whether a request for an item waits. */
  get isAsked(): boolean {
    return this.#asked.length > 0;
  }

  /** Gives the item that was asked for. */
  async give(value: Item): Promise<void> {
    this.#take().resolve({ done: false, value });
    await quiet();
  }

  async end(): Promise<void> {
    this.isOver = true;
    this.#take().resolve({ done: true, value: undefined });
    await quiet();
  }

  async fail(error: unknown): Promise<void> {
    this.isOver = true;
    this.#take().reject(error);
    await quiet();
  }

  #take(): PromiseWithResolvers<IteratorResult<Item>> {
    const asked = this.#asked.shift();
    assert(asked !== undefined, "no item is asked for");
    return asked;
  }
}

/** A function that gives such streams. */
export class HandStreams<Args extends unknown[], Item> {
  readonly streams: HandStream<Item>[] = [];

  readonly fn = (...args: Args): HandStream<Item> => {
    const stream = new HandStream<Item>(args);
    this.streams.push(stream);
    return stream;
  };

  /** The stream with this number, from 0. */
  stream(index: number): HandStream<Item> {
    const stream = this.streams[index];
    assert(stream !== undefined, `there is no stream ${index}`);
    return stream;
  }
}

/** Items from an array, as an async generator gives them. */
export async function* from<Item>(items: Iterable<Item>): AsyncGenerator<Item, void, void> {
  for (const item of items) yield await Promise.resolve(item);
}

/** All items of a stream. */
export async function all<Item>(stream: AsyncIterable<Item>): Promise<Item[]> {
  const items: Item[] = [];
  for await (const item of stream) items.push(item);
  return items;
}
