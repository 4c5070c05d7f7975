/**
 * What processes that share a limit write down for each other, as pure changes of a note: who holds
 * and who waits, in the order of their turns; what was booked in a window; a pause.
 *
 * @module
 */

import { isObject } from "../base/plain.ts";

/** One process in a limit. It writes its own numbers as they are, and nobody else's. */
export interface Party {
  readonly session: string;
  /** How many permits it holds. */
  readonly held: number;
  /** How many of its calls wait. */
  readonly wants: number;
  /** What the first of them costs. */
  readonly cost: number;
}

/** The note of a limit. */
export interface Turns {
  /** Those that hold or wait; of those that wait, the next one first. */
  readonly parties: readonly Party[];
  /** When somebody last took or gave something back, by the clock of the store. */
  readonly since: number;
  /** Until when nothing starts. */
  readonly pausedUntil: number;
  /** Which cell of time the first of `booked` is. */
  readonly cell: number;
  /** What was booked in each cell of time, oldest first. */
  readonly booked: readonly number[];
}

const NOTHING: Turns = { parties: [], since: 0, pausedUntil: 0, cell: 0, booked: [] };

/** Reads a note; one that is damaged is taken for none, and heals. */
export function readTurns(note: string | undefined): Turns {
  if (note === undefined) return NOTHING;
  try {
    const turns: unknown = JSON.parse(note);
    return isTurns(turns) ? turns : NOTHING;
  } catch {
    return NOTHING;
  }
}

function isTurns(value: unknown): value is Turns {
  if (!isObject(value)) return false;
  const { parties, booked } = value as Partial<Turns>;
  return Array.isArray(parties) && Array.isArray(booked);
}

/** Writes a note; `undefined` when nothing is left of the limit at a time. */
export function writeTurns(turns: Turns, now: number): string | undefined {
  const isIdle = turns.parties.length === 0 && turns.booked.every((cost) => cost === 0) &&
    turns.pausedUntil <= now;
  return isIdle ? undefined : JSON.stringify(turns);
}

/** How long a free permit is kept for a process whose turn it is and that does not take it, in ms. */
export const PASS_MS = 200;

/** What a process is to be given. */
export interface Ask {
  readonly session: string;
  /** How many permits it holds. */
  readonly held: number;
  /** What its first waiting calls cost, in their order. */
  readonly costs: readonly number[];
  /** How many of its calls wait in all. */
  readonly wants: number;
}

/**
 * Gives a process what is free and its turn: one call a turn, round by round. What would be the turn
 * of another one is kept for it, unless it has not come for it in a while.
 *
 * @param free How much is free.
 * @returns How many of its waiting calls may start, and the parties then.
 */
export function allot(
  { parties, since }: Turns,
  ask: Ask,
  free: number,
  now: number,
): { readonly granted: number; readonly parties: readonly Party[] } {
  const { session, costs } = ask;
  const mine = (granted: number): Party => ({
    session,
    held: ask.held,
    wants: ask.wants - granted,
    cost: costs[granted] ?? 0,
  });
  const at = parties.findIndex((party) => party.session === session);
  const waited = at >= 0 && (parties[at]?.wants ?? 0) > 0;
  const others = parties.filter((party) => party.session !== session);
  // Who begins to wait goes to the end of the line.
  const place = waited ? at : others.length;
  const line = [...others.slice(0, place), mine(0), ...others.slice(place)]
    .filter(({ wants }) => wants > 0).map((party) => ({ ...party }));
  const isPassing = now - since > PASS_MS;
  let granted = 0;
  for (let turn = line.shift(); turn !== undefined; turn = line.shift()) {
    const isMine = turn.session === session;
    if (isPassing && !isMine) continue;
    const cost = isMine ? costs[granted] ?? Infinity : turn.cost;
    if (cost > free) break;
    free -= cost;
    if (isMine) granted++;
    if (--turn.wants > 0) line.push(turn);
  }
  const me = mine(granted);
  const rest = granted > 0
    ? [...others, me]
    : [...others.slice(0, place), me, ...others.slice(place)];
  return { granted, parties: rest.filter(({ held, wants }) => held > 0 || wants > 0) };
}

/** Takes out the parties whose sessions are over: what they held is free. */
export function living(turns: Turns, isOver: (session: string) => boolean): Turns {
  const parties = turns.parties.filter(({ session }) => !isOver(session));
  return parties.length === turns.parties.length ? turns : { ...turns, parties };
}

/**
 * Permits: how many may be held together.
 *
 * @param capacity How many there are.
 * @returns How many further calls may start, and the note then.
 */
export function takePermits(
  turns: Turns,
  ask: Ask,
  capacity: number,
  now: number,
): { readonly granted: number; readonly turns: Turns } {
  const before = turns.parties.find(({ session }) => session === ask.session)?.held ?? 0;
  const others = turns.parties.reduce(
    (sum, { session, held }) => session === ask.session ? sum : sum + held,
    0,
  );
  const free = turns.pausedUntil > now ? 0 : capacity - others - ask.held;
  const { granted, parties } = allot(turns, ask, free, now);
  const held = ask.held + granted;
  const all = parties.map((party) => party.session === ask.session ? { ...party, held } : party);
  if (granted > 0 && !all.some(({ session }) => session === ask.session)) {
    all.push({ session: ask.session, held, wants: 0, cost: 0 });
  }
  const hasChanged = granted > 0 || held !== before;
  return { granted, turns: { ...turns, parties: all, since: hasChanged ? now : turns.since } };
}

/** Into how many cells a window is divided. */
export const CELLS = 64;

/**
 * For how many cells a booking counts: until its own is wholly older than the window, and one more,
 * because it may be used for the time of a cell.
 */
const COUNTED = CELLS + 2;

/** A window: what may start in it together. */
export interface Window {
  readonly count: number;
  /** How long it is, in milliseconds. */
  readonly per: number;
}

/** A booking that is given back, in part or whole, or (below zero) raised afterwards. */
export interface Refund {
  readonly cell: number;
  readonly cost: number;
}

/**
 * Books what calls cost that are to start now.
 *
 * @returns How many calls may start, the note then, the cell of their booking, and in how many
 * milliseconds the next one may if nobody else books.
 */
export function book(
  turns: Turns,
  ask: Ask,
  refunds: readonly Refund[],
  { count, per }: Window,
  now: number,
): {
  readonly granted: number;
  readonly turns: Turns;
  readonly cell: number;
  readonly waitMs: number;
} {
  const cellMs = per / CELLS;
  const cell = Math.floor(now / cellMs);
  const first = cell - COUNTED + 1;
  // A cell to come is of a clock that was set back.
  const booked = Array.from(
    { length: COUNTED },
    (_, index) => turns.booked[first + index - turns.cell] ?? 0,
  );
  for (const refund of refunds) {
    // What is dearer than it was booked counts from now; what is cheaper never was.
    const index = refund.cost < 0 ? COUNTED - 1 : refund.cell - first;
    if (index >= 0) booked[index] = Math.max(0, (booked[index] ?? 0) - refund.cost);
  }
  const sum = booked.reduce((all, each) => all + each, 0);
  const free = turns.pausedUntil > now ? 0 : count - sum;
  // What a window has free it has from the beginning of a cell.
  const since = Math.max(turns.since, cell * cellMs);
  const { granted, parties } = allot({ ...turns, since }, ask, free, now);
  const cost = ask.costs.slice(0, granted).reduce((all, each) => all + each, 0);
  booked[COUNTED - 1] = (booked[COUNTED - 1] ?? 0) + cost;
  let missing = sum + cost + (ask.costs[granted] ?? 0) - count;
  let cells = 0;
  while (missing > 0 && cells < COUNTED) missing -= booked[cells++] ?? 0;
  const waitMs = Math.max(
    (first + cells + COUNTED) * cellMs - cellMs - now,
    turns.pausedUntil - now,
  );
  const hasChanged = granted > 0 || refunds.length > 0;
  const isSame = !hasChanged && parties.length === turns.parties.length &&
    parties.every((party, index) => isSameParty(party, turns.parties[index]));
  const rest = { ...turns, parties, since: granted > 0 ? now : turns.since };
  return {
    granted,
    cell,
    waitMs,
    turns: isSame ? turns : { ...rest, cell: first, booked },
  };
}

function isSameParty(a: Party, b: Party | undefined): boolean {
  return a.session === b?.session && a.held === b.held && a.wants === b.wants && a.cost === b.cost;
}

/** Holds back all starts until a time. */
export function pause(turns: Turns, until: number): Turns {
  return until > turns.pausedUntil ? { ...turns, pausedUntil: until } : turns;
}
