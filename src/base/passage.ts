/**
 * The one channel between a cache and the wrappers inside it: a function on its way through limits
 * and retries, which tell it when they wait and when what they wrap runs.
 *
 * @module
 */

/** A limit that a retry may pause when a server says how long to wait. */
export interface Pausable {
  /** Holds back new starts of a key for so many milliseconds. */
  pause(milliseconds: number, key: unknown): void;
}

/** What a wrapper waits for: a permit or a rate, or the next attempt. */
export type WaitKind = "turn" | "attempt";

/** What a passage is made with. */
export interface PassageOptions {
  /** Ends the waits inside it: that of a run, or of an attempt. */
  readonly signal?: AbortSignal;
  /** Is called whenever `isWorking` or `isBetweenAttempts` may have changed. */
  onChange?(): void;
  /** Is told of each limit that calls inside it pass, and of the key that they have there. */
  onPass?(limit: Pausable, key: unknown): void;
}

/** A stream that a wrapper has opened and holds something for. */
interface Held {
  /** Settles when it has ended or was left. */
  readonly ended: Promise<unknown>;
  /** Leaves it. */
  return(): Promise<unknown>;
}

let current: Passage | undefined;

/** The passage whose function is being called, in the synchronous part of that call. */
export function currentPassage(): Passage | undefined {
  return current;
}

/**
 * A running function, as the wrappers that are entered in the synchronous part of its call see it.
 *
 * They make a tree: a run of a cache, the attempts of a retry in it, the functions under their
 * limits. A function with live wrapper calls works while one of the functions under them works; one
 * without works by itself.
 */
export class Passage {
  readonly #parent: Passage | undefined;
  readonly #root: Passage;
  readonly #options: PassageOptions;
  /** Waits and functions of wrappers in here that have not ended. */
  #live = 0;
  /** Functions of wrappers in here that work. */
  #working = 0;
  #betweenAttempts = 0;
  #hasSucceeded = false;
  #workedMs = 0;
  #workingSince: number | undefined;
  #hasEnded = false;
  /** The streams that are open in a passage that carries streams. */
  #held: Set<Held> | undefined;

  /**
   * Begins to work.
   *
   * @param parent The passage in which it begins; `undefined` for a run of its own.
   * @param options Its signal and its listeners.
   */
  constructor(parent: Passage | undefined, options: PassageOptions = {}) {
    this.#parent = parent;
    this.#root = parent === undefined ? this : parent.#root;
    this.#options = options;
    this.#workingSince = performance.now();
    if (parent !== undefined) parent.#change(1, 1);
  }

  /** The signals that end a wait in here, outermost first. */
  get signals(): readonly AbortSignal[] {
    const outer = this.#parent?.signals ?? [];
    const { signal } = this.#options;
    return signal === undefined ? outer : [...outer, signal];
  }

  /** Whether it was ended. */
  get hasEnded(): boolean {
    return this.#hasEnded;
  }

  /** Whether a stream is what its function gives, so that a wrapper in it lasts as long. */
  get carriesStreams(): boolean {
    return this.#root.#held !== undefined;
  }

  /** A stream is what its function gives. To be called on a passage of its own, before it is entered. */
  carryStreams(): void {
    this.#held ??= new Set();
  }

  /** Leaves a stream at the end at the latest: one that its function took and never read. */
  hold(stream: Held): void {
    const held = this.#root.#held;
    if (held === undefined) return;
    held.add(stream);
    const drop = (): void => void held.delete(stream);
    stream.ended.then(drop, drop);
  }

  /** Whether the function works: it does not merely wait in a wrapper. */
  get isWorking(): boolean {
    return this.#workingSince !== undefined;
  }

  /** Whether the function is called, or was: some wrapper in it may still hold it back. */
  get hasStarted(): boolean {
    return this.#hasSucceeded || this.isWorking;
  }

  /** Whether all that it does is to wait for the next attempt of a retry. */
  get isBetweenAttempts(): boolean {
    return !this.isWorking && this.#betweenAttempts > 0;
  }

  /** For how long it has worked, in milliseconds: without the waits. */
  get workedMs(): number {
    const since = this.#workingSince;
    return this.#workedMs + (since === undefined ? 0 : performance.now() - since);
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

  /** Whether whoever asks was called in the synchronous part of a call in it, and by nobody between. */
  get isCurrent(): boolean {
    return current !== undefined && current.#root === this.#root;
  }

  /**
   * Calls a function in this passage, which ends when the call settles.
   *
   * @param call Calls the function; it may also throw or return a plain value.
   * @returns The result.
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
   * Tells that a wrapper waits.
   *
   * @param kind What it waits for.
   * @returns Ends the wait; to be called once.
   */
  wait(kind: WaitKind): () => void {
    const step = kind === "attempt" ? 1 : 0;
    this.#change(1, 0, step);
    return () => this.#change(-1, 0, -step);
  }

  /**
   * Tells that its function has begun to give something and waits until more is wanted.
   *
   * @returns Ends the wait; to be called once.
   */
  rest(): () => void {
    this.#hasSucceeded = true;
    return this.wait("turn");
  }

  /** Tells that a call passes a limit, which a retry around it may pause. */
  pass(limit: Pausable, key: unknown): void {
    this.#options.onPass?.(limit, key);
    this.#parent?.pass(limit, key);
  }

  /**
   * Ends: the function has settled, or nobody waits for it any more. Later ends change nothing.
   *
   * @param hasSucceeded Whether it has given a result.
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
    // A wrapper that the function did not wait for outlives it, and concerns nobody any more.
    if (this.#hasEnded) return;
    const wasWorking = this.isWorking;
    this.#live += live;
    this.#working += working;
    this.#betweenAttempts += betweenAttempts;
    const isWorking = this.#live === 0 || this.#working > 0;
    if (isWorking && !wasWorking) this.#workingSince = performance.now();
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
