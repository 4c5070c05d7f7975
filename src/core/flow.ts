/**
 * Flows: the stream of a run while it is recorded, with any number of live readers.
 *
 * @module
 */

import { whenAborted } from "../base/abort.ts";
import { CacheClosedError } from "../base/errors.ts";
import type { Passage } from "../base/passage.ts";
import { isStream, iteratorOf, leaveQuietly } from "../base/stream.ts";
import { nextTurn } from "../base/turn.ts";
import { decode, encode, type Encoded } from "../encoding/codec.ts";
import { bytesOf } from "../encoding/size.ts";
import type { ValueCodec } from "./options.ts";
import type { CallStatus } from "./events.ts";

/** How the flows of a function go. */
export interface FlowOptions {
  /** The most items that are kept. */
  readonly maxItems: number;
  /** The most bytes of encoded items that are kept. */
  readonly maxBytes: number;
  /** Whether a flow is pulled as fast as its source gives, whether anybody reads or not. */
  readonly isEager: boolean;
  /**
   * Whether a flow whose last reader leaves has said all that matters, by its items so far: it is
   * read to its end all the same.
   */
  readonly finishes?: ((items: unknown[]) => boolean) | undefined;
  /** Names the bounds, and the option that raises them. */
  readonly bound: string;
  /** Whether a call is to run whatever is stored, and to replace it. */
  readonly renews?: ((args: readonly unknown[]) => boolean) | undefined;
}

/** Who reads a flow item by item. */
export interface FlowReader {
  /** The number of the item that it reads next. */
  position: number;
  /** Is called once it has a flow to read, or another one. */
  joined(flow: Flow, status: CallStatus): void;
  /** Is called when there is something to read; the end it learns from its call. */
  wake(): void;
}

/** How a flow has ended. */
export interface FlowEnd {
  /** Whether it ended before its source did. */
  readonly hasFailed: boolean;
  /** Why. */
  readonly error?: unknown;
}

/** One item. */
class Item {
  /** How many readers have not taken it. */
  left: number;
  /** What copies are made of; `undefined` if it cannot be copied. */
  readonly #encoded: Encoded | undefined;
  /** Whether only the codec knows its type. */
  readonly #isOwnType: boolean = false;
  readonly #codec: ValueCodec | undefined;
  #original: unknown;
  #isTaken = false;

  constructor(item: unknown, left: number, codec: ValueCodec | undefined) {
    this.#original = item;
    this.left = left;
    this.#codec = codec;
    try {
      this.#encoded = encode(item);
    } catch {
      try {
        // The codec is for the array of all items.
        this.#encoded = codec && encode(codec.encode([item]));
        this.#isOwnType = true;
      } catch {
        // Reported at the end, when it is known where it stands.
      }
    }
  }

  get bytes(): number {
    return this.#encoded === undefined ? 0 : bytesOf(this.#encoded.data);
  }

  /** The item itself for the first who takes it, and copies for the others. */
  take(): unknown {
    if (this.#isTaken || this.#encoded === undefined) return this.copy();
    this.#isTaken = true;
    const original = this.#original;
    if (!this.#isOwnType) this.#original = undefined;
    return original;
  }

  /** A copy; the item itself where it cannot be copied. */
  copy(): unknown {
    if (this.#encoded === undefined) return this.#original;
    const stored = decode(this.#encoded);
    if (!this.#isOwnType) return stored;
    const items: unknown = this.#codec?.decode(stored);
    return Array.isArray(items) && items.length === 1 ? items[0] : this.#original;
  }
}

/** The stream of a run. */
export class Flow {
  readonly #options: FlowOptions;
  readonly #codec: ValueCodec | undefined;
  /** Items by number: all of them, or past a bound those that somebody has still to read. */
  readonly #items = new Map<number, Item>();
  readonly #readers = new Set<FlowReader>();
  /** The readers that have read all there is. */
  #waiting = new Set<FlowReader>();
  /** How many callers want all items at once. */
  #wholes = 0;
  #count = 0;
  #bytes = 0;
  /** The number of the first item that is kept. */
  #first = 0;
  #isOverlong = false;
  #isPushed: boolean;
  #isClosing = false;
  #isPulling = false;
  #passage: Passage | undefined;
  #iterator: AsyncIterator<unknown> | undefined;
  #pending: Promise<unknown> | undefined;
  /** Ends the time in which nothing is wanted. */
  #resting: (() => void) | undefined;
  #end: FlowEnd | undefined;
  #abort: { readonly reason: unknown } | undefined;
  readonly #ended = Promise.withResolvers<unknown[]>();

  /**
   * Begins nothing.
   *
   * @param options How it goes.
   * @param codec Makes items of one's own types storable, as an array.
   * @param isRefresh Whether it goes on without readers.
   */
  constructor(options: FlowOptions, codec: ValueCodec | undefined, isRefresh: boolean) {
    this.#options = options;
    this.#codec = codec;
    this.#isPushed = options.isEager || isRefresh;
  }

  /** Whether it has passed a bound: it is not kept, and nobody can join it. */
  get isOverlong(): boolean {
    return this.#isOverlong;
  }

  /** Whether nothing more comes. */
  get isOver(): boolean {
    return this.#end !== undefined;
  }

  /** How it ended; `undefined` while it goes on. */
  get end(): FlowEnd | undefined {
    return this.#end;
  }

  /**
   * Calls the function and reads what it gives.
   *
   * @param passage The passage of its run.
   * @param begin Calls the function.
   * @returns All items, as they were when they passed; of an overlong flow those that are left.
   * @throws {unknown} What the source throws, or the reason of an abort once nobody reads any more.
   */
  async collect(passage: Passage, begin: () => unknown): Promise<unknown[]> {
    this.#passage = passage;
    passage.carryStreams();
    const stop = whenAborted(passage.signals, (reason) => this.#aborted(reason));
    if (!this.isOver) void this.#open(passage, begin);
    try {
      return await this.#ended.promise;
    } finally {
      stop();
    }
  }

  async #open(passage: Passage, begin: () => unknown): Promise<void> {
    try {
      const result = passage.enter(begin);
      const stream = isStream(result) ? result : await result;
      if (!isStream(stream)) {
        throw new TypeError(
          "Cannot read the stream of a function under cache.stream: it must give an async " +
            "iterable or a ReadableStream; cache.cache is for other results",
        );
      }
      const iterator = iteratorOf(stream);
      if (this.isOver) return leaveQuietly(iterator);
      this.#iterator = iterator;
      // The body of a generator function begins here.
      passage.enter(() => this.#step(iterator));
    } catch (error) {
      this.#finish({ error, hasFailed: true });
    }
  }

  /** Takes a caller in: a reader, or one that wants all items at once. */
  enter(reader: FlowReader | undefined, status: CallStatus): void {
    if (reader === undefined) this.#wholes++;
    else {
      reader.position = 0;
      this.#readers.add(reader);
      for (const item of this.#items.values()) item.left++;
      reader.joined(this, status);
    }
    this.#pull();
  }

  /** Lets a caller go. */
  exit(reader: FlowReader | undefined): void {
    if (this.isOver) return;
    if (reader === undefined) this.#wholes--;
    else {
      if (!this.#readers.delete(reader)) return;
      this.#waiting.delete(reader);
      for (let number = Math.max(reader.position, this.#first); number < this.#count; number++) {
        const item = this.#items.get(number);
        if (item !== undefined) item.left--;
      }
    }
    if (this.#abort !== undefined && !this.#isWanted) this.#stop(this.#abort.reason);
    else this.#letGo();
  }

  /** Whether it goes on to its end without its last reader. */
  goesOnWithout(reader: FlowReader): boolean {
    const { finishes } = this.#options;
    if (this.isOver || finishes === undefined || this.#isOverlong) return false;
    if (this.#wholes > 0 || this.#readers.size > 1 || !this.#readers.has(reader)) return false;
    try {
      if (!finishes(this.#copies())) return false;
    } catch {
      return false;
    }
    this.exit(reader);
    this.#isPushed = true;
    this.#pull();
    return true;
  }

  /** Whether there is an item for a reader now. */
  has(reader: FlowReader): boolean {
    return this.#items.has(reader.position);
  }

  /** The next item of a reader that has one. */
  take(reader: FlowReader): unknown {
    const item = this.#items.get(reader.position++);
    if (item === undefined) throw new RangeError("an item was let go of");
    if (this.#readers.has(reader)) item.left--;
    if (this.#isOverlong) this.#letGo();
    return item.take();
  }

  /** Reads on for a reader that has read all there is, and wakes it then. */
  ask(reader: FlowReader): void {
    this.#waiting.add(reader);
    this.#pull();
  }

  /** The cache closes: it is read to its end, up to its bound. */
  close(): void {
    this.#isClosing = true;
    this.#isPushed = true;
    if (this.#isOverlong) this.#stop(new CacheClosedError());
    else this.#pull();
  }

  /** Whether anybody wants it. */
  get #isWanted(): boolean {
    return this.#readers.size > 0 || this.#wholes > 0;
  }

  get #isFull(): boolean {
    return this.#items.size > this.#options.maxItems || this.#bytes > this.#options.maxBytes;
  }

  #mayPull(): boolean {
    // Past the bound, who reads on waits for the slowest.
    if (this.#isOverlong && this.#wholes === 0 && this.#isFull) return false;
    return this.#isPushed || this.#wholes > 0 || this.#waiting.size > 0;
  }

  #pull(): void {
    const iterator = this.#iterator;
    if (iterator === undefined || this.#isPulling || this.isOver) return;
    if (!this.#mayPull()) {
      this.#resting ??= this.#passage?.rest();
      return;
    }
    this.#step(iterator);
  }

  #step(iterator: AsyncIterator<unknown>): void {
    this.#isPulling = true;
    this.#resting?.();
    this.#resting = undefined;
    let step: Promise<IteratorResult<unknown>>;
    try {
      step = Promise.resolve(iterator.next());
    } catch (error) {
      step = Promise.reject(error);
    }
    this.#pending = step.then(
      (result) => this.#received(result),
      (error) => this.#finish({ error, hasFailed: true }),
    );
  }

  #received(result: IteratorResult<unknown>): void {
    this.#isPulling = false;
    if (this.isOver) return;
    if (result.done === true) return this.#finish({ hasFailed: false });
    const item = new Item(result.value, this.#readers.size, this.#codec);
    this.#items.set(this.#count++, item);
    this.#bytes += item.bytes;
    if (!this.#isOverlong && this.#isFull) {
      this.#isOverlong = true;
      if (this.#isClosing) return this.#stop(new CacheClosedError());
      // A refresh, or one that went on without readers: there is nothing to read it for.
      if (!this.#isWanted) return this.#stop(new RangeError("the stream is longer than its bound"));
    }
    this.#wake();
    this.#letGo();
  }

  /** Past a bound, items that everybody has read are let go of. */
  #letGo(): void {
    if (this.#isOverlong && this.#wholes === 0) {
      for (let item = this.#items.get(this.#first); item?.left === 0;) {
        this.#items.delete(this.#first++);
        this.#bytes -= item.bytes;
        item = this.#items.get(this.#first);
      }
    }
    this.#pull();
  }

  #wake(): void {
    const waiting = this.#waiting;
    if (waiting.size === 0) return;
    this.#waiting = new Set();
    for (const reader of waiting) reader.wake();
  }

  #copies(): unknown[] {
    return Array.from(this.#items.values(), (item) => item.copy());
  }

  #finish(end: FlowEnd): void {
    if (this.isOver) return;
    this.#end = end;
    this.#resting?.();
    if (end.hasFailed) this.#ended.reject(end.error);
    else this.#ended.resolve(this.#copies());
  }

  /** The run was told to abort. */
  #aborted(reason: unknown): void {
    this.#abort = { reason };
    if (!this.#isWanted) return this.#stop(reason);
    // It may wait for a reader that does not come back: one step shows what it makes of the abort.
    if (this.#iterator !== undefined && !this.#isPulling && !this.isOver) {
      this.#step(this.#iterator);
    }
  }

  /** Leaves the source. */
  #stop(reason: unknown): void {
    if (this.isOver) return;
    this.#end = { error: reason, hasFailed: true };
    this.#resting?.();
    void this.#leave().then(() => this.#ended.reject(reason));
  }

  /** Waits for the end of the source, unless it hangs in a step. */
  async #leave(): Promise<void> {
    const iterator = this.#iterator;
    if (iterator === undefined) return;
    try {
      const left = Promise.resolve(iterator.return?.());
      left.catch(() => {});
      if (this.#isPulling) {
        const step = this.#pending?.then(() => true);
        // A generator answers only after its step, which may never come.
        if (await Promise.race([step, nextTurn()]) !== true) return;
      }
      await left;
    } catch {
      // An error of a source that is left concerns nobody.
    }
  }
}
