/**
 * Stream functions: calls whose items are read while the function gives them.
 *
 * @module
 */

import type { ReadableLike, StreamLike } from "../base/stream.ts";
import type { AnyFunction } from "../base/wrap.ts";
import type { Maybe } from "../backend/contract.ts";
import type { Place } from "../backend/order.ts";
import { Calls } from "./call.ts";
import type { CallDetail } from "./detail.ts";
import { Flow, type FlowOptions, type FlowReader } from "./flow.ts";
import type { KeyedCall } from "./key.ts";
import type { CheckedOptions, ValueCodec } from "./options.ts";
import { Owned } from "./owned.ts";
import type { Outcome, Run } from "./run.ts";
import type { CacheState, FunctionState } from "./state.ts";
import type { CallStatus } from "./events.ts";
import type { CachedMethods } from "./wrapped.ts";

/** Any function that gives a stream, or a promise of one. */
export type StreamFunction = (this: never, ...args: never) => StreamLike | PromiseLike<StreamLike>;

/** The items of the stream that a function gives. */
export type ItemOf<F extends AnyFunction> = Awaited<ReturnType<F>> extends AsyncIterable<infer Item>
  ? Item
  : Awaited<ReturnType<F>> extends ReadableLike<infer Item> ? Item
  : never;

/** A cached stream function: calls give an iterator at once and begin with its first `next()`. */
export type CachedStream<F extends AnyFunction> =
  & ((this: ThisParameterType<F>, ...args: Parameters<F>) => AsyncIterableIterator<ItemOf<F>>)
  & CachedMethods<F, ItemOf<F>[]>;

/**
 * The cached stream function, or an uncallable type if the options were typed for other arguments
 * or other items.
 */
export type StreamOrMismatch<F extends AnyFunction, Args extends readonly unknown[], Value> =
  ((...args: Args) => unknown) extends (...args: Parameters<F>) => unknown
    ? ItemOf<F>[] extends Value ? CachedStream<F>
    : { "shouldCache is for other items": never }
    : { "hashFunc or shouldCache is for other arguments": never };

/**
 * The wrapper from `cache.stream(options)`: call it with a function, or put it before a method.
 *
 * @typeParam Args The arguments that `hashFunc` and `shouldCache` take.
 * @typeParam Value The value that `shouldCache` takes: an array of items.
 */
export type StreamDecorator<
  Args extends readonly unknown[] = readonly unknown[],
  Value = unknown,
> = <F extends StreamFunction>(
  fn: F,
  context?: ClassMethodDecoratorContext<never>,
) => StreamOrMismatch<F, Args, Value>;

/** The calls of one stream function. */
export class StreamCalls extends Calls {
  readonly #codec: ValueCodec;
  readonly #given: ValueCodec | undefined;
  readonly #flows: FlowOptions;

  constructor(
    state: CacheState,
    own: FunctionState,
    fn: AnyFunction,
    options: CheckedOptions,
    isShared: boolean,
    flows: FlowOptions,
  ) {
    const codec = codecOfItems(options.codec);
    // A stream is read live in one process; other processes cannot join it.
    const checked = { ...options, schema: guardOnly(options.schema), codec };
    super(state, own, fn, checked, isShared, undefined);
    this.#codec = codec;
    this.#given = options.codec;
    this.#flows = flows;
  }

  /** Makes a call, which takes its arguments now and begins with the first `next()`. */
  open(self: unknown, args: readonly unknown[]): StreamReader {
    const leaving = new AbortController();
    let asked: Maybe<KeyedCall>;
    try {
      asked = this.keys.ask(self, args, leaving.signal);
      if (!(asked instanceof Promise)) this.keys.own(asked);
    } catch (error) {
      asked = Promise.reject(error);
    }
    // The error of a stream that is never read must not count as unhandled.
    if (asked instanceof Promise) asked.catch(() => {});
    return new StreamReader((reader) => this.#read(asked, reader), leaving);
  }

  async #read(asked: Maybe<KeyedCall>, reader: FlowReader): Promise<CallDetail<unknown>> {
    const { order, pacer } = this.state;
    this.state.assertOpen();
    const call = asked instanceof Promise ? await asked : asked;
    call.reader = reader;
    call.renews = this.#flows.renews?.(call.given) === true;
    const detail = await this.fly(call);
    // A loop of hits would starve the store's changes.
    if (order.isChanging) await pacer.pace();
    return detail;
  }

  protected override flow(isRefresh: boolean): Flow {
    return new Flow(this.#flows, this.#given, isRefresh);
  }

  protected override async invoke(call: KeyedCall, run: Run): Promise<unknown> {
    const { flow } = run;
    if (flow === undefined) return await super.invoke(call, run);
    const { closing, isClosed } = this.state;
    const close = (): void => flow.close();
    closing.add(close);
    if (isClosed) close();
    try {
      return await flow.collect(
        run.passage,
        () => Reflect.apply(this.fn, call.self, call.args),
      );
    } finally {
      closing.delete(close);
    }
  }

  protected override async keep(
    call: KeyedCall,
    run: Run,
    place: Place,
    result: unknown,
  ): Promise<Outcome> {
    if (!run.flow?.isOverlong) return await super.keep(call, run, place, result);
    this.own.counters.unstored++;
    const error = new RangeError(
      `a stream was not stored: it has more than ${this.#flows.bound}`,
    );
    this.state.report(error, "encode", this.own, call.key);
    const owned = new Owned(result, undefined, this.reader.restore);
    try {
      if (run.callers > 1) owned.prepareCopies(() => this.#codec.encode(result));
    } catch {
      // Each further caller that wants all items runs the function itself.
    }
    const { durationMs } = run;
    return { owned, status: "miss", storedAt: null, unstored: "length", durationMs };
  }
}

/** A codec whose results are arrays: an entry that decodes to something else does not count. */
function codecOfItems(codec: ValueCodec | undefined): ValueCodec {
  return {
    encode: codec === undefined ? (items) => items : (items) => codec.encode(items),
    decode: (stored) => {
      const items: unknown = codec === undefined ? stored : codec.decode(stored);
      if (Array.isArray(items)) return items;
      throw new TypeError("what is stored is not the items of a stream");
    },
  };
}

/** A schema whose output is not used: readers have the items before it sees them. */
function guardOnly(schema: CheckedOptions["schema"]): CheckedOptions["schema"] {
  if (schema === undefined) return undefined;
  const { vendor } = schema["~standard"];
  const validate = async (items: unknown) => {
    const { issues } = await schema["~standard"].validate(items);
    return issues === undefined ? { value: items } : { issues };
  };
  return { "~standard": { version: 1, vendor, validate } };
}

/** The end of a reader's call. */
type Settled =
  | { readonly detail: CallDetail<unknown> }
  | { readonly error: unknown };

const DONE: IteratorReturnResult<undefined> = { done: true, value: undefined };

/** Reads the stream of one call: a stored one, one that flows already, or a new one. */
export class StreamReader implements AsyncIterableIterator<unknown>, FlowReader {
  position = 0;
  readonly #start: (reader: FlowReader) => Promise<CallDetail<unknown>>;
  readonly #leaving: AbortController;
  /** Resolves when the call has settled. */
  #call: Promise<void> | undefined;
  #settled: Settled | undefined;
  #flow: Flow | undefined;
  /** The items of a call that did not flow. */
  #items: readonly unknown[] | undefined;
  #status: CallStatus | undefined;
  #storedAt: number | null = null;
  #isDone = false;
  /** Resolves when the current step has ended. */
  #step: Promise<void> | undefined;
  #awake: (() => void) | undefined;

  /**
   * Begins nothing.
   *
   * @param start Makes the call.
   * @param leaving Aborts it for this reader.
   */
  constructor(
    start: (reader: FlowReader) => Promise<CallDetail<unknown>>,
    leaving: AbortController,
  ) {
    this.#start = start;
    this.#leaving = leaving;
  }

  /** The way the call got its items; `undefined` before the first `next()` has resolved. */
  get status(): CallStatus | undefined {
    return this.#status;
  }

  /** The time of storage; `null` before the items are stored. */
  get storedAt(): number | null {
    return this.#storedAt;
  }

  /** The next item; the end comes after the items are stored. */
  async next(): Promise<IteratorResult<unknown>> {
    this.#call ??= this.#begin();
    while (this.#step !== undefined) await this.#step;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#step = promise;
    try {
      return await this.#next();
    } catch (error) {
      void this.return();
      throw error;
    } finally {
      this.#step = undefined;
      resolve();
    }
  }

  /** Leaves the stream; the last reader that leaves closes the source. */
  async return(value?: unknown): Promise<IteratorResult<unknown>> {
    const flow = this.#flow;
    const isFirst = !this.#isDone;
    this.#isDone = true;
    this.#items = undefined;
    this.wake();
    // From here on the call cannot begin.
    this.#call ??= Promise.resolve();
    if (this.#settled === undefined && isFirst && !flow?.goesOnWithout(this)) {
      flow?.exit(this);
      this.#leaving.abort(new DOMException("The stream was left", "AbortError"));
      await this.#call;
    }
    this.#flow = undefined;
    return { done: true, value };
  }

  /** The reader itself: it can be read once. */
  [Symbol.asyncIterator](): this {
    return this;
  }

  joined(flow: Flow, status: CallStatus): void {
    if (this.#isDone) return flow.exit(this);
    this.#flow = flow;
    this.#status = status;
    this.wake();
  }

  wake(): void {
    this.#awake?.();
  }

  async #begin(): Promise<void> {
    try {
      const detail = await this.#start(this);
      this.#storedAt = detail.storedAt;
      this.#settled = { detail };
    } catch (error) {
      this.#settled = { error };
    }
    this.wake();
  }

  async #next(): Promise<IteratorResult<unknown>> {
    while (!this.#isDone) {
      const flow = this.#flow;
      const settled = this.#settled;
      // An abort is reported at once, an error of the source after the items before it.
      const isLive = flow !== undefined && (settled === undefined || flow.isOver);
      if (isLive && flow.has(this)) return { done: false, value: flow.take(this) };
      if (settled !== undefined) return this.#nextOf(settled);
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#awake = resolve;
      if (isLive && !flow.isOver) flow.ask(this);
      await promise;
    }
    return DONE;
  }

  /** The next item of a settled call, once its items of a flow are read. */
  #nextOf(settled: Settled): IteratorResult<unknown> {
    if ("error" in settled) throw settled.error;
    if (this.#items === undefined) {
      const { value, status } = settled.detail;
      if (!Array.isArray(value)) return this.#finish();
      // After a failed flow, another result is only for readers that have none of its items.
      const end = this.#flow?.end;
      if (this.position > 0 && end?.hasFailed) throw end.error;
      this.#items = value;
      this.#status = status;
    }
    if (this.position >= this.#items.length) return this.#finish();
    return { done: false, value: this.#items[this.position++] };
  }

  #finish(): IteratorResult<unknown> {
    this.#isDone = true;
    this.#flow = this.#items = undefined;
    return DONE;
  }
}
