/**
 * The identity of a call: the arguments or their `hashFunc` result, the instance, the version. Also
 * the arguments as they were at the call.
 *
 * @module
 */

import { unawaited } from "../base/check.ts";
import { findSignals, replaceSignals } from "../base/signals.ts";
import type { Maybe } from "../backend/contract.ts";
import { canonicalArguments, canonicalValue } from "../encoding/canonical.ts";
import { digest } from "../encoding/digest.ts";
import { keyText } from "../encoding/key_text.ts";
import { copyArguments } from "../encoding/copy.ts";
import type { FlowReader } from "./flow.ts";
import type { Caller, Watch } from "./run.ts";
import type { CheckedOptions } from "./options.ts";

const NO_SIGNALS: readonly AbortSignal[] = [];

/** A call whose key is known. */
export class KeyedCall implements Caller {
  readonly key: string;
  readonly self: unknown;
  /** The caller's own arguments. */
  readonly given: readonly unknown[];
  /** Every signal that ends the call for its caller. */
  readonly signals: readonly AbortSignal[];
  /** The arguments for the function, once `own` has taken them. */
  args: readonly unknown[];
  /** The arguments as they were, for `shouldCache` and for making the key again. */
  untouched: readonly unknown[] | undefined;
  /** The controller of the signal in the arguments, for the run that this call leads. */
  controller: AbortController | undefined;
  /** Whether the call leaves a run that another process computes: a batch comes back to it. */
  mayLeave = false;
  /** Whether the call has left such a run: it has waited, so a later hit counts as shared. */
  hasLeft = false;
  /** The watch on the run that the call waits for. */
  watch: Watch | undefined;
  /** Ends the wait for that run, unless its function has started. */
  leave: ((reason: unknown) => void) | undefined;
  /** Reads the flow of the run that the call waits for; the call then needs no value. */
  reader: FlowReader | undefined;
  /** Whether the function runs even if a result is stored, which the new one replaces. */
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

/** The prefix of the text of `hashFunc` results that are not hashed as they are. */
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
   * Identifies a call.
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
    // Before the wait, in which the caller may change its arguments.
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
   * later changes. Call it in the turn of the call.
   */
  own(call: KeyedCall): void {
    const { given, signals } = call;
    if (call.args !== given || given.length === 0) return;
    if (signals.length > 0) call.controller = new AbortController();
    const signal = call.controller?.signal;
    if (this.#hashFunc !== undefined) {
      // With `hashFunc`, arguments may be clients and contexts, which are not copied.
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

  /** Whether others can change the identity of a call while its function runs. */
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

  /** The text of a `hashFunc` result: a string as it is, all else in a form no such string has. */
  #customText(self: unknown, args: readonly unknown[]): string {
    const identity: unknown = unawaited(Reflect.apply(this.#hashFunc!, self, args));
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
    return canonicalValue(unawaited(this.#identify(self)), "this(…)");
  }
}

/** The error of a method that was called without its instance. */
export function missingInstance(id: string): TypeError {
  return new TypeError(
    `Cannot use the methods of ${id} without its instance: call methodsOf(instance, "name").map(…), ` +
      "or fn.map.call(instance, …), and likewise for the other methods",
  );
}
