/** Promises, runs and store operations that a test settles by hand, and ways to watch them. */

import { setImmediate } from "node:timers";
import { assert } from "@std/assert";
import type { Backend, Maybe } from "../../src/backend/contract.ts";
import { MemoryBackend } from "../../memory.ts";
import { BackendAround, type Operation } from "./around.ts";

/** One run of the function of a {@linkcode ByHand}, which the test settles. */
export interface Run<Args extends readonly unknown[], Value> {
  readonly args: Args;
  readonly resolve: (value: Value) => void;
  readonly reject: (reason: unknown) => void;
}

/** A function whose runs the test settles. */
export class ByHand<Args extends unknown[], Value> {
  readonly runs: Run<Args, Value>[] = [];

  readonly fn = (...args: Args): Promise<Value> => {
    const { promise, resolve, reject } = Promise.withResolvers<Value>();
    this.runs.push({ args, resolve, reject });
    return promise;
  };

  /** The run with this number, from 0. */
  run(index: number): Run<Args, Value> {
    const run = this.runs[index];
    assert(run !== undefined, `there is no run ${index}`);
    return run;
  }
}

/** Waits a few turns of the event loop, until everything not held by the test has settled. */
export async function quiet(): Promise<void> {
  for (let turn = 0; turn < 3; turn++) {
    await new Promise<void>((resolve) => setImmediate(resolve));
  }
}

/** The present state of a promise. */
export async function stateOf(
  promise: Promise<unknown>,
): Promise<"pending" | "fulfilled" | "rejected"> {
  const settled = promise.then(
    () => "fulfilled" as const,
    () => "rejected" as const,
  );
  await quiet();
  return await Promise.race([settled, Promise.resolve("pending" as const)]);
}

/** The reason of a promise that rejects. */
export async function reasonOf(promise: Promise<unknown>): Promise<unknown> {
  try {
    await promise;
  } catch (reason) {
    return reason;
  }
  throw new Error("it did not reject");
}

/** A value for a comparison: an error without the members that the runtime adds. */
export function comparable(value: unknown): unknown {
  if (!(value instanceof Error)) return value;
  const { name, message, cause } = value;
  return { error: Object.getPrototypeOf(value), name, message, cause };
}

/** The lines that `console.warn` gets until this is disposed. */
export class Warnings implements Disposable {
  readonly lines: string[] = [];
  readonly #warn = console.warn;

  constructor() {
    console.warn = (...data: unknown[]): void => {
      this.lines.push(data.map(String).join(" "));
    };
  }

  [Symbol.dispose](): void {
    console.warn = this.#warn;
  }
}

/** Counts the listeners of a signal. */
export function countListeners(signal: AbortSignal): { readonly left: number } {
  const listeners = new Set<unknown>();
  const { addEventListener, removeEventListener } = signal;
  signal.addEventListener = (...args: unknown[]): void => {
    listeners.add(args[1]);
    Reflect.apply(addEventListener, signal, args);
  };
  signal.removeEventListener = (...args: unknown[]): void => {
    listeners.delete(args[1]);
    Reflect.apply(removeEventListener, signal, args);
  };
  return {
    get left() {
      return listeners.size;
    },
  };
}

/** An operation that waits for the test. */
export interface Held {
  readonly operation: string;
  /** Lets the operation do its work and answer. */
  readonly go: () => void;
  /** Rejects, and does no work. */
  readonly fail: (reason: unknown) => void;
}

/** A backend whose chosen operations wait, each until the test lets it go. */
export class HandBackend extends BackendAround {
  /** The names of operations that wait from now on. */
  readonly holding: Set<string> = new Set();
  /** The operations that wait, in the order of their calls. */
  readonly held: Held[] = [];

  constructor(inner: Backend = new MemoryBackend()) {
    super(inner, "held");
  }

  /** Takes the operation that waits longest out of the line. */
  next(): Held {
    const held = this.held.shift();
    assert(held !== undefined, "no operation waits");
    return held;
  }

  override async run<T>(operation: Operation, work: () => Maybe<T>): Promise<T> {
    if (this.holding.has(operation)) {
      const { promise, resolve, reject } = Promise.withResolvers<void>();
      this.held.push({ operation, go: resolve, fail: reject });
      await promise;
    }
    return await work();
  }
}

/** A signal of another library, with only the members that every polyfill has. */
export class Polyfill {
  aborted = false;
  reason: unknown = undefined;
  readonly listeners: Set<() => void> = new Set();
  addEventListener(_: string, listener: () => void): void {
    this.listeners.add(listener);
  }
  removeEventListener(_: string, listener: () => void): void {
    this.listeners.delete(listener);
  }
  abort(reason?: unknown): void {
    this.aborted = true;
    this.reason = reason;
    for (const listener of [...this.listeners]) listener();
  }
}
