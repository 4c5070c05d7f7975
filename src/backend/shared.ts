/**
 * What backends have in common that let processes share work.
 *
 * @module
 */

import type { Backend } from "./contract.ts";

/** What clauses 16, 19 and 20 add to a backend. */
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

/**
 * Gives a backend the methods of sharing that another one has.
 *
 * @param outer The backend around it.
 * @param inner Where the notes are.
 */
export function handOn(outer: Partial<Sharing>, inner: Partial<Sharing>): void {
  for (const name of METHODS) {
    const method = inner[name];
    if (method !== undefined) Object.assign(outer, { [name]: method.bind(inner) });
  }
}

/** How often a store is looked at while somebody waits for a change, in milliseconds. */
const OFTEN_MS = 1;
const SELDOM_MS = 50;
/** Which part of the time without a change is between two looks: so late a change is noticed. */
const PART = 10;

/** How long until the next look, in milliseconds: the longer, the longer there was no change. */
export function untilNextLook(idleMs: number): number {
  return Math.min(SELDOM_MS, Math.max(OFTEN_MS, idleMs / PART));
}
