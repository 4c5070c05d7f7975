/**
 * The abort signals that a call was given: the one place that decides where they are looked for.
 *
 * @module
 */

const NONE: readonly AbortSignal[] = [];

/**
 * The signals among the arguments of a call: an argument that is an `AbortSignal`, or an object
 * whose member `signal` is one, such as the second argument of `fetch`.
 *
 * @param args The arguments of the call.
 * @returns The signals, in the order of the arguments; empty when there is none.
 */
export function callerSignals(args: readonly unknown[]): readonly AbortSignal[] {
  let found: AbortSignal[] | undefined;
  for (const argument of args) {
    if (typeof argument !== "object" || argument === null) continue;
    try {
      const signal: unknown = argument instanceof AbortSignal
        ? argument
        : Reflect.get(argument, "signal");
      if (signal instanceof AbortSignal) (found ??= []).push(signal);
    } catch {
      // A getter that throws or a revoked proxy is no signal, and is the function's own affair.
    }
  }
  return found ?? NONE;
}
