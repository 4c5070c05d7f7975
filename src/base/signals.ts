/**
 * The abort signals of a call: the test for a signal, and the one walk that finds and replaces
 * signals among the arguments.
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
    // A getter that throws or a revoked proxy is left to the function.
    return false;
  }
}

const NONE: readonly AbortSignal[] = [];

/**
 * The signals among the arguments of a call, at any depth of plain objects and arrays. Of any other
 * object, only the member `signal` is read, such as that of a `Request`.
 *
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
  // Each call of a batch under one signal takes this path.
  if (isFlat && (found === undefined || found.length === 1)) return found ?? NONE;
  return [...explore(args).signals];
}

/**
 * The same arguments with another signal in place of each that plain objects and arrays hold. The
 * objects on the way to a signal are copied; all others stay the caller's own.
 *
 * @param signal The replacement; `undefined` means a signal that never aborts, so that a function
 * that needs a signal still works.
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
  // Iterating a Map includes what is added meanwhile, so every path to a signal is followed back.
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

/** The result of a walk. */
interface Explored {
  readonly signals: ReadonlySet<AbortSignal>;
  /** The objects that hold each object. */
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
