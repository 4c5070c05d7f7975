/**
 * The abort reasons of limits that have ended. A retry around such a limit must not call it again,
 * and may know only the error.
 *
 * @module
 */

import { abortReason } from "../base/abort.ts";

const objects = new WeakSet<object>();
const others = new Set<unknown>();

/** Records and returns the reason of a limit's own signal, which has aborted. */
export function reasonOfEnd(signal: AbortSignal): unknown {
  const reason = abortReason(signal);
  if (typeof reason === "object" && reason !== null) objects.add(reason);
  else others.add(reason);
  return reason;
}

/** Whether an error is the reason with which a limit has ended. */
export function isReasonOfEnd(error: unknown): boolean {
  return typeof error === "object" && error !== null ? objects.has(error) : others.has(error);
}
