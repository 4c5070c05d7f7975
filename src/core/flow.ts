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

/** The settings of a function's flows. */
export interface FlowOptions {
  /** The most items that are kept. */
  readonly maxItems: number;
  /** The most bytes of encoded items that are kept. */
  readonly maxBytes: number;
  /** Whether a flow is pulled at the speed of its source, with or without readers. */
  readonly isEager: boolean;
  /**
   * Whether the items so far hold all that matters when the last reader leaves: the flow is then
   * read to its end.
   */
  readonly finishes?: ((items: unknown[]) => boolean) | undefined;
  /** The bounds in messages, with the option that raises them. */
  readonly bound: string;
  /** Whether a call runs even if a result is stored, and replaces it. */
  readonly renews?: ((args: readonly unknown[]) => boolean) | undefined;
}

/** A reader of a flow, item by item. */
export interface FlowReader {
  /** The number of the next item to read. */
  position: number;
  /** Called when there is a flow to read, or another one. */
  joined(flow: Flow, status: CallStatus): void;
  /** Called when there is an item to read; the reader's call reports the end. */
  wake(): void;
}

/** The end of a flow. */
export interface FlowEnd {
  /** Whether the flow ended before its source did. */
  readonly hasFailed: boolean;
  /** The reason. */
  readonly error?: unknown;
}

class Item {
  /** The number of readers that have not taken it. */
  left: number;
  /** The source of copies; `undefined` if the item cannot be copied. */
  readonly #encoded: Encoded | undefined;
  /** Whether only the codec can encode it. */
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
        // The codec takes the array of all items.
        this.#encoded = codec && encode(codec.encode([item]));
        this.#isOwnType = true;
      } catch {
        // Reported at the end, when its position is known.
      }
    }
  }

  get bytes(): number {
    return this.#encoded === undefined ? 0 : bytesOf(this.#encoded.data);
  }

  /** The item itself for the first taker, a copy for every other. */
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
  /** Items by number: all of them; past a bound, those that a reader has still to read. */
  readonly #items = new Map<number, Item>();
  readonly #readers = new Set<FlowReader>();
  /** The readers that have read all there is. */
  #waiting = new Set<FlowReader>();
  /** The number of callers that want all items at once. */
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
  /** Ends the current rest, in which nobody wants an item. */
  #resting: (() => void) | undefined;
  #end: FlowEnd | undefined;
  #abort: { readonly reason: unknown } | undefined;
  readonly #ended = Promise.withResolvers<unknown[]>();

  /**
   * Begins nothing.
   *
   * @param codec Makes items of the user's own types storable, as an array.
   * @param isRefresh Whether the flow goes on without readers.
   */
  constructor(options: FlowOptions, codec: ValueCodec | undefined, isRefresh: boolean) {
    this.#options = options;
    this.#codec = codec;
    this.#isPushed = options.isEager || isRefresh;
  }

  /** Whether the flow has passed a bound: it is not stored, and nobody can join it. */
  get isOverlong(): boolean {
    return this.#isOverlong;
  }

  /** Whether nothing more comes. */
  get isOver(): boolean {
    return this.#end !== undefined;
  }

  /** The end; `undefined` while the flow goes on. */
  get end(): FlowEnd | undefined {
    return this.#end;
  }

  /**
   * Calls the function and reads its stream.
   *
   * @param begin Calls the function.
   * @returns All items, as they were when they passed; of an overlong flow those that are left.
   * @throws {unknown} The error of the source, or the reason of an abort once nobody reads on.
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

  /** Adds a caller: a reader, or (`undefined`) one that wants all items at once. */
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

  /** Removes a caller. */
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

  /** Lets the last reader go and goes on to the end, if `finishes` allows it; true if so. */
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

  /** Called when the cache closes: reads the flow to its end, up to its bound. */
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
    // Past the bound, all readers wait for the slowest.
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
      // A refresh, or a flow that went on without readers: nobody wants the rest.
      if (!this.#isWanted) return this.#stop(new RangeError("the stream is longer than its bound"));
    }
    this.#wake();
    this.#letGo();
  }

  /** Past a bound, drops the items that every reader has taken. */
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

  /** Called when the run is aborted. */
  #aborted(reason: unknown): void {
    this.#abort = { reason };
    if (!this.#isWanted) return this.#stop(reason);
    // One step lets the source react to the abort: its readers might never ask for another item.
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

  /** Ends the source, and waits for its end unless it hangs in a step. */
  async #leave(): Promise<void> {
    const iterator = this.#iterator;
    if (iterator === undefined) return;
    try {
      const left = Promise.resolve(iterator.return?.());
      left.catch(() => {});
      if (this.#isPulling) {
        const step = this.#pending?.then(() => true);
        // A generator answers `return()` only after its step, which may never end.
        if (await Promise.race([step, nextTurn()]) !== true) return;
      }
      await left;
    } catch {
      // Nobody needs the error of a source that was left.
    }
  }
}
