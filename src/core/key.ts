/**
 * Which call it is: the arguments or what `hashFunc` makes of them, the instance, the version; and
 * the arguments as they were at the call.
 *
 * @module
 */

import { findSignals, replaceSignals } from "../base/signals.ts";
import type { Maybe } from "../backend/contract.ts";
import { canonicalArguments, canonicalValue } from "../encoding/canonical.ts";
import { digest } from "../encoding/digest.ts";
import { keyText } from "../encoding/key_text.ts";
import { copyArguments } from "../encoding/copy.ts";
import type { FlowReader } from "./flow.ts";
import type { Watch } from "./run.ts";
import type { CheckedOptions } from "./options.ts";

const NO_SIGNALS: readonly AbortSignal[] = [];

/** A call whose key is known. */
export class KeyedCall {
  readonly key: string;
  readonly self: unknown;
  /** The caller's own arguments. */
  readonly given: readonly unknown[];
  /** Every signal that ends the call for its caller. */
  readonly signals: readonly AbortSignal[];
  /** What the function is called with, from `own` on. */
  args: readonly unknown[];
  /** The arguments as they were, for `shouldCache` and to make the key again; untouched by anyone. */
  untouched: readonly unknown[] | undefined;
  /** The signal in the arguments, for the run that this call leads. */
  controller: AbortController | undefined;
  /** Whether it leaves a run that another process computes: a batch comes back to it. */
  mayLeave = false;
  /** Whether it has left one: what it finds then, it has waited for. */
  hasLeft = false;
  /** Is told when a run that it waits for begins or ends to wait for its next attempt. */
  watch: Watch | undefined;
  /** Reads the flow of a run that it waits for, and needs no value then. */
  reader: FlowReader | undefined;
  /** Whether it runs whatever is stored, which its result replaces. */
  renews = false;

  constructor(
    key: string,
    self: unknown,
    given: readonly unknown[],
    signals: readonly AbortSignal[],
  ) {
    this.key = key;
    this.self = self;
    this.given = given;
    this.args = given;
    this.signals = signals;
  }
}

/** How the text begins of what `hashFunc` made and is not hashed as it is. */
const HASHED = '{"hash":';

/** Makes the keys of one function. */
export class Keys {
  readonly #id: string;
  readonly #hashFunc: CheckedOptions["hashFunc"];
  readonly #identify: ((self: unknown) => unknown) | undefined;
  readonly #version: string | undefined;
  readonly #wantsArguments: boolean;

  constructor(id: string, options: CheckedOptions) {
    this.#id = id;
    this.#hashFunc = options.hashFunc;
    this.#identify = typeof options.this === "function" ? options.this : undefined;
    this.#version = options.version === undefined
      ? undefined
      : canonicalValue(options.version, "version");
    this.#wantsArguments = options.shouldCache !== undefined;
  }

  /**
   * Finds out which call it is.
   *
   * @param self The instance, for a method.
   * @param args The caller's own arguments.
   * @param further A signal that ends the call besides those among the arguments.
   * @throws {UnhashableArgumentError} If an argument cannot be part of a key.
   */
  ask(self: unknown, args: readonly unknown[], further?: AbortSignal): Maybe<KeyedCall> {
    let signals = NO_SIGNALS;
    let text: string;
    if (this.#hashFunc === undefined) {
      const found: AbortSignal[] = [];
      text = canonicalArguments(args, found);
      if (found.length > 0) signals = found;
    } else {
      text = this.#customText(self, args);
      signals = findSignals(args);
    }
    if (further !== undefined) signals = [...signals, further];
    const key = this.#digest(self, text);
    if (typeof key === "string") return new KeyedCall(key, self, args, signals);
    // Before the wait: the caller may change its arguments in it.
    const owned = new KeyedCall("", self, args, signals);
    this.own(owned);
    return key.then((key) =>
      Object.assign(new KeyedCall(key, self, args, signals), {
        args: owned.args,
        untouched: owned.untouched,
        controller: owned.controller,
      })
    );
  }

  /**
   * Takes the arguments as they are now, so that neither a queue nor a retry nor a refresh sees
   * later changes. To be called in the turn of the call.
   */
  own(call: KeyedCall): void {
    const { given, signals } = call;
    if (call.args !== given || given.length === 0) return;
    if (signals.length > 0) call.controller = new AbortController();
    const signal = call.controller?.signal;
    if (this.#hashFunc !== undefined) {
      // Identified by the caller's own rule, they may be clients and contexts: they stay its own.
      call.args = signal === undefined ? given : replaceSignals(given, signal);
      call.untouched = given;
      return;
    }
    const { args, goesByIdentity } = copyArguments(given, signal);
    call.args = args;
    if (this.#wantsArguments || goesByIdentity) {
      call.untouched = copyArguments(given, signal).args;
    }
  }

  /** Whether something identifies a call that others can change while its function runs. */
  mayChange(call: KeyedCall): boolean {
    return call.untouched !== undefined || this.#identify !== undefined;
  }

  /** Whether the key of a call would still be the same now that its function has returned. */
  async isSame(call: KeyedCall): Promise<boolean> {
    const { key, self, untouched } = call;
    try {
      const text = this.#hashFunc === undefined
        ? canonicalArguments(untouched ?? call.given, [])
        : this.#customText(self, call.given);
      return await this.#digest(self, text) === key;
    } catch {
      return false;
    }
  }

  #digest(self: unknown, text: string): Maybe<string> {
    return digest(
      keyText({
        text,
        custom: this.#hashFunc !== undefined,
        self: this.#selfText(self),
        version: this.#version,
      }),
    );
  }

  /** The text of what `hashFunc` makes: a string is hashed as it is, all else so that it is none. */
  #customText(self: unknown, args: readonly unknown[]): string {
    const identity: unknown = Reflect.apply(this.#hashFunc!, self, args);
    const isBare = this.#version === undefined && this.#identify === undefined;
    if (
      typeof identity === "string" && isBare && identity.isWellFormed() &&
      !identity.startsWith(HASHED)
    ) return identity;
    const json = canonicalValue(identity, "hashFunc(…)");
    return isBare ? `${HASHED}${json}}` : json;
  }

  #selfText(self: unknown): string | undefined {
    if (this.#identify === undefined) return undefined;
    if (self === undefined) throw missingInstance(this.#id);
    return canonicalValue(this.#identify(self), "this(…)");
  }
}

/** The error of a method that was called without its instance. */
export function missingInstance(id: string): TypeError {
  return new TypeError(
    `Cannot use the methods of ${id} without its instance: call methodsOf(instance, "name").map(…), ` +
      "or fn.map.call(instance, …), and likewise for the other methods",
  );
}
