/**
 * The one channel between a cache and the wrappers inside it. Limits and retries report to it when
 * they wait and when the function that they wrap runs.
 *
 * @module
 */

import { clock } from "./clock.ts";

/** A limit that a retry may pause when a server says how long to wait. */
export interface Pausable {
  /** Holds back new starts of a key for this many milliseconds. */
  pause(milliseconds: number, key: unknown): void;
}

/** The kinds of waits of a wrapper: for a permit or a rate (`turn`), or for the next attempt. */
export type WaitKind = "turn" | "attempt";

export interface PassageOptions {
  /** Ends the waits inside the passage: the signal of a run, or of an attempt. */
  readonly signal?: AbortSignal;
  /** Called whenever `isWorking` or `isBetweenAttempts` may have changed. */
  onChange?(): void;
  /** Called for each limit that a call inside the passage passes, with the call's key there. */
  onPass?(limit: Pausable, key: unknown): void;
}

/** An open stream for which a wrapper holds something. */
interface Held {
  /** Settles when the stream has ended or was closed early. */
  readonly ended: Promise<unknown>;
  /** Closes the stream early. */
  return(): Promise<unknown>;
}

let current: Passage | undefined;

/** The passage whose function is being called, in the synchronous part of that call. */
export function currentPassage(): Passage | undefined {
  return current;
}

/**
 * A running function, as seen by the wrappers entered in the synchronous part of its call.
 *
 * Passages form a tree: a run of a cache, the attempts of a retry in it, the functions under their
 * limits. A function with live wrapper calls works while one of the functions under them works. A
 * function without any works by itself.
 */
export class Passage {
  readonly #parent: Passage | undefined;
  readonly #root: Passage;
  readonly #options: PassageOptions;
  /** The number of waits and functions of wrappers in this passage that have not ended. */
  #live = 0;
  /** The number of functions of wrappers in this passage that work. */
  #working = 0;
  #betweenAttempts = 0;
  #hasSucceeded = false;
  #workedMs = 0;
  #workingSince: number | undefined;
  #hasEnded = false;
  /** The open streams; set only in a passage that carries streams. */
  #held: Set<Held> | undefined;

  /** @param parent The passage around this one; `undefined` for a run of its own. */
  constructor(parent: Passage | undefined, options: PassageOptions = {}) {
    this.#parent = parent;
    this.#root = parent === undefined ? this : parent.#root;
    this.#options = options;
    this.#workingSince = clock();
    if (parent !== undefined) parent.#change(1, 1);
  }

  /** The signals that end a wait in this passage, outermost first. */
  get signals(): readonly AbortSignal[] {
    const outer = this.#parent?.signals ?? [];
    const { signal } = this.#options;
    return signal === undefined ? outer : [...outer, signal];
  }

  get hasEnded(): boolean {
    return this.#hasEnded;
  }

  /** Whether its function gives a stream, so that a wrapper in it lasts as long as the stream. */
  get carriesStreams(): boolean {
    return this.#root.#held !== undefined;
  }

  /** Declares that its function gives a stream. For a root passage, before it is entered. */
  carryStreams(): void {
    this.#held ??= new Set();
  }

  /** Closes a stream when the run ends, in case the function took it and never read it. */
  hold(stream: Held): void {
    const held = this.#root.#held;
    if (held === undefined) return;
    held.add(stream);
    const drop = (): void => void held.delete(stream);
    stream.ended.then(drop, drop);
  }

  /** Whether the function works, rather than waits in a wrapper. */
  get isWorking(): boolean {
    return this.#workingSince !== undefined;
  }

  /** Whether the function works or has succeeded: until then, a wrapper may hold it back. */
  get hasStarted(): boolean {
    return this.#hasSucceeded || this.isWorking;
  }

  /** Whether it only waits for the next attempt of a retry. */
  get isBetweenAttempts(): boolean {
    return !this.isWorking && this.#betweenAttempts > 0;
  }

  /** The time it has worked, without the waits, in milliseconds. */
  get workedMs(): number {
    const since = this.#workingSince;
    return this.#workedMs + (since === undefined ? 0 : clock() - since);
  }

  /** Calls a function so that the wrappers in it find this passage. */
  enter<Result>(call: () => Result): Result {
    const outer = current;
    current = this;
    try {
      return call();
    } finally {
      current = outer;
    }
  }

  /** Whether its caller is in the synchronous part of a call in this run, with no run between. */
  get isCurrent(): boolean {
    return current !== undefined && current.#root === this.#root;
  }

  /**
   * Calls a function in this passage, which ends when the call settles.
   *
   * @param call Calls the function; it may also throw or return a plain value.
   */
  async run(call: () => unknown): Promise<unknown> {
    let hasSucceeded = false;
    try {
      const value = await this.enter(call);
      hasSucceeded = true;
      return value;
    } finally {
      this.end(hasSucceeded);
    }
  }

  /**
   * Reports that a wrapper waits.
   *
   * @returns A function that ends the wait; call it once.
   */
  wait(kind: WaitKind): () => void {
    const step = kind === "attempt" ? 1 : 0;
    this.#change(1, 0, step);
    return () => this.#change(-1, 0, -step);
  }

  /**
   * Reports that its function has given an item of a stream and waits until more is wanted.
   *
   * @returns A function that ends the wait; call it once.
   */
  rest(): () => void {
    this.#hasSucceeded = true;
    return this.wait("turn");
  }

  /** Reports that a call passes a limit, which a retry around it may pause. */
  pass(limit: Pausable, key: unknown): void {
    this.#options.onPass?.(limit, key);
    this.#parent?.pass(limit, key);
  }

  /**
   * Ends the passage: its function has settled, or nobody waits for it. Later calls do nothing.
   *
   * @param hasSucceeded Whether the function has given a result.
   */
  end(hasSucceeded: boolean): void {
    if (this.#hasEnded) return;
    const wasWorking = this.isWorking;
    this.#workedMs = this.workedMs;
    this.#workingSince = undefined;
    this.#hasEnded = true;
    for (const stream of this.#held ?? []) void stream.return().catch(() => {});
    if (this.#parent === undefined) return;
    if (hasSucceeded) this.#parent.#succeed();
    this.#parent.#change(-1, wasWorking ? -1 : 0, -this.#betweenAttempts);
  }

  #succeed(): void {
    if (this.#hasEnded) return;
    this.#hasSucceeded = true;
    if (this.#parent !== undefined) this.#parent.#succeed();
  }

  #change(live: number, working: number, betweenAttempts = 0): void {
    // A wrapper call that the function did not await may outlive the passage; it is ignored.
    if (this.#hasEnded) return;
    const wasWorking = this.isWorking;
    this.#live += live;
    this.#working += working;
    this.#betweenAttempts += betweenAttempts;
    const isWorking = this.#live === 0 || this.#working > 0;
    if (isWorking && !wasWorking) this.#workingSince = clock();
    else if (!isWorking && wasWorking) {
      this.#workedMs = this.workedMs;
      this.#workingSince = undefined;
    }
    const step = isWorking === wasWorking ? 0 : isWorking ? 1 : -1;
    if (this.#parent !== undefined && (step !== 0 || betweenAttempts !== 0)) {
      this.#parent.#change(0, step, betweenAttempts);
    }
    this.#options.onChange?.();
  }
}
