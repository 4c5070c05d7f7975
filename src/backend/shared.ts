/**
 * What a backend around others hands on of sharing work: its notes are those of one of them.
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
