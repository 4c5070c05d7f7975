/**
 * The note of processes that share a limit, and its changes as pure functions. It lists who holds
 * and who waits, in the order of their turns; the bookings of a window; and a pause.
 *
 * @module
 */

import { isObject } from "../base/plain.ts";

/** One process in a limit. It sets its own numbers absolutely, and nobody else's. */
export interface Party {
  readonly session: string;
  /** The number of permits that it holds. */
  readonly held: number;
  /** The number of its waiting calls. */
  readonly wants: number;
  /** The cost of the first waiting call. */
  readonly cost: number;
}

/** The note of a limit. */
export interface Turns {
  /** The processes that hold or wait; of those that wait, the next one first. */
  readonly parties: readonly Party[];
  /** The time when a process last took or gave back something, by the clock of the store. */
  readonly since: number;
  /** The time until which nothing starts, by the same clock. */
  readonly pausedUntil: number;
  /** The number of the cell of time that `booked` begins with. */
  readonly cell: number;
  /** The cost booked in each cell of time, oldest first. */
  readonly booked: readonly number[];
}

const NOTHING: Turns = { parties: [], since: 0, pausedUntil: 0, cell: 0, booked: [] };

/** Reads a note; a damaged note counts as none, so that it heals. */
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

/** Writes a note; `undefined` when nothing is left of the limit at `now`. */
export function writeTurns(turns: Turns, now: number): string | undefined {
  const isIdle = turns.parties.length === 0 && turns.booked.every((cost) => cost === 0) &&
    turns.pausedUntil <= now;
  return isIdle ? undefined : JSON.stringify(turns);
}

/** The time for which a free permit is kept for a process that does not take its turn, in ms. */
export const PASS_MS = 200;

/** The request of a process. */
export interface Ask {
  readonly session: string;
  /** The number of permits that it holds. */
  readonly held: number;
  /** The costs of its first waiting calls, in order. */
  readonly costs: readonly number[];
  /** The number of its waiting calls. */
  readonly wants: number;
}

/**
 * Gives a process what is free and its turn: one call a turn, round by round. The turn of another
 * process is kept for it, unless that process has not taken its turn for `PASS_MS`.
 *
 * @param free The cost, or the number of permits, that is free.
 * @returns The number of its waiting calls that may start, and the parties afterwards.
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
  // A process that begins to wait goes to the end of the line.
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

/** Removes the parties whose sessions are over: what they held is free. */
export function living(turns: Turns, isOver: (session: string) => boolean): Turns {
  const parties = turns.parties.filter(({ session }) => !isOver(session));
  return parties.length === turns.parties.length ? turns : { ...turns, parties };
}

/**
 * Takes permits for waiting calls.
 *
 * @param capacity The number of permits that may be held together.
 * @returns The number of further calls that may start, and the note afterwards.
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

/** The number of cells in a window. */
export const CELLS = 64;

/**
 * The number of cells for which a booking counts: until its own cell is wholly older than the
 * window, and one more, because a booking may be used for the time of a cell.
 */
const COUNTED = CELLS + 2;

/** A window, and the total cost that may start in it. */
export interface Window {
  readonly count: number;
  /** The length, in milliseconds. */
  readonly per: number;
}

/** A booking that is given back, in part or whole, or (below zero) raised afterwards. */
export interface Refund {
  readonly cell: number;
  readonly cost: number;
}

/**
 * Books the cost of calls that are to start now.
 *
 * @returns The number of calls that may start, the note afterwards, the cell of their booking, and
 * the milliseconds until the next call may start if nobody else books.
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
  // Cells in the future are left out: they are from before the clock was set back.
  const booked = Array.from(
    { length: COUNTED },
    (_, index) => turns.booked[first + index - turns.cell] ?? 0,
  );
  for (const refund of refunds) {
    // An added cost counts from now; a cost given back counts as never booked.
    const index = refund.cost < 0 ? COUNTED - 1 : refund.cell - first;
    if (index >= 0) booked[index] = Math.max(0, (booked[index] ?? 0) - refund.cost);
  }
  const sum = booked.reduce((all, each) => all + each, 0);
  const free = turns.pausedUntil > now ? 0 : count - sum;
  // The cost that leaves a window becomes free at the beginning of a cell.
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
