/**
 * The abort signals that a call was given: what a signal is, and the one walk that finds and
 * replaces signals among arguments that are not copied.
 *
 * @module
 */

import { isObject, isPlain, isPlainArray } from "./plain.ts";

/**
 * Whether a value is an abort signal: of this realm, of another one, or of a polyfill, which may
 * lack `reason` and `throwIfAborted`.
 */
export function isAbortSignal(value: unknown): value is AbortSignal {
  if (!isObject(value)) return false;
  try {
    return "aborted" in value && typeof value.aborted === "boolean" &&
      "addEventListener" in value && typeof value.addEventListener === "function" &&
      "removeEventListener" in value && typeof value.removeEventListener === "function";
  } catch {
    // A getter that throws or a revoked proxy is the function's own affair.
    return false;
  }
}

const NONE: readonly AbortSignal[] = [];

/**
 * The signals among the arguments of a call, as deep as plain objects and arrays go. Of every other
 * object only its member `signal` is looked at, such as that of a `Request`.
 *
 * @param args The arguments of the call.
 * @returns Each signal once, those of the outer objects first; empty when there is none.
 */
export function findSignals(args: readonly unknown[]): readonly AbortSignal[] {
  let isFlat = true;
  let found: AbortSignal[] | undefined;
  for (const arg of args) {
    if (!isObject(arg)) continue;
    if (isAbortSignal(arg)) (found ??= []).push(arg);
    else isFlat = false;
  }
  // A batch under one signal comes this way with each of its calls.
  if (isFlat && (found === undefined || found.length === 1)) return found ?? NONE;
  return [...explore(args).signals];
}

/**
 * The same arguments with another signal in the place of each that plain objects and arrays hold.
 * What stands on the way to a signal is copied, everything else is the caller's own.
 *
 * @param args The arguments of the call.
 * @param signal The signal to give; `undefined` gives one that never aborts, so that a function
 * that needs a signal goes on working.
 * @returns The arguments to call the function with: `args` itself where there is no signal.
 */
export function replaceSignals(
  args: readonly unknown[],
  signal: AbortSignal | undefined,
): readonly unknown[] {
  if (!args.some(isObject)) return args;
  const { signals, holders } = explore(args);
  if (signals.size === 0) return args;
  const given = signal ?? new AbortController().signal;
  const copies = new Map<object, object>();
  for (const found of signals) copies.set(found, given);
  const copy: unknown[] = [];
  copies.set(args, copy);
  // A Map goes on to what is added while it is read: so every way to a signal is followed back.
  for (const part of copies.keys()) {
    for (const holder of holders.get(part) ?? []) {
      if (!copies.has(holder) && isData(holder)) copies.set(holder, emptyLike(holder));
    }
  }
  for (const [part, copy] of copies) {
    if (copy !== given) fill(copy, part, copies);
  }
  return copy;
}

/** The objects that a walk met. */
interface Explored {
  readonly signals: ReadonlySet<AbortSignal>;
  /** The objects in which each object stands. */
  readonly holders: ReadonlyMap<object, readonly object[]>;
}

function explore(args: readonly unknown[]): Explored {
  const signals = new Set<AbortSignal>();
  const holders = new Map<object, object[]>([[args, []]]);
  for (const holder of holders.keys()) {
    if (isAbortSignal(holder)) {
      signals.add(holder);
      continue;
    }
    for (const name of isData(holder) ? Object.keys(holder) : ["signal"]) {
      const part = read(holder, name);
      if (!isObject(part)) continue;
      const known = holders.get(part);
      if (known !== undefined) known.push(holder);
      else if (isData(holder) || isAbortSignal(part)) holders.set(part, [holder]);
    }
  }
  return { signals, holders };
}

/** Whether an object may be copied on the way to a signal. */
function isData(value: object): boolean {
  try {
    return Array.isArray(value) ? isPlainArray(value) : isPlain(value);
  } catch {
    return false;
  }
}

function read(holder: object, name: string): unknown {
  try {
    return Reflect.get(holder, name);
  } catch {
    return undefined;
  }
}

function emptyLike(value: object): object {
  const copy = Array.isArray(value) ? [] : {};
  return Object.setPrototypeOf(copy, Object.getPrototypeOf(value));
}

/** Gives a copy the members of its original, hidden ones and getters included. */
function fill(copy: object, original: object, copies: ReadonlyMap<object, object>): void {
  for (const name of Reflect.ownKeys(original)) {
    const own = Reflect.getOwnPropertyDescriptor(original, name);
    if (own === undefined) continue;
    const part = own.enumerable && typeof name === "string" ? read(original, name) : undefined;
    const value = isObject(part) ? copies.get(part) : undefined;
    Object.defineProperty(
      copy,
      name,
      value === undefined ? own : { value, writable: true, enumerable: true, configurable: true },
    );
  }
}
