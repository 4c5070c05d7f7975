/**
 * The common parts of backends that let processes share work.
 *
 * @module
 */

import type { Backend } from "./contract.ts";

/** The methods that clauses 16, 19 and 20 add to a backend. */
export type Sharing = Required<
  Pick<Backend, "update" | "changed" | "openSession" | "isOver" | "endSession">
>;

const METHODS: readonly (keyof Sharing)[] = [
  "update",
  "changed",
  "openSession",
  "isOver",
  "endSession",
];

/** Gives the outer backend the sharing methods of the inner one, which keeps the notes. */
export function handOn(outer: Partial<Sharing>, inner: Partial<Sharing>): void {
  for (const name of METHODS) {
    const method = inner[name];
    if (method !== undefined) Object.assign(outer, { [name]: method.bind(inner) });
  }
}

/** The shortest and longest pauses between looks for a change, in milliseconds. */
const OFTEN_MS = 1;
const SELDOM_MS = 50;
/** The time without a change, divided by this, is the pause: so late a change is noticed. */
const PART = 10;

/** The pause until the next look, in milliseconds: longer when there was no change for long. */
export function untilNextLook(idleMs: number): number {
  return Math.min(SELDOM_MS, Math.max(OFTEN_MS, idleMs / PART));
}
