/** Permits and windows as pure changes of notes, over random interleavings against an oracle. */

import { test } from "node:test";
import { assert, assertEquals } from "@std/assert";
import * as fc from "fast-check";
import {
  book,
  CELLS,
  living,
  PASS_MS,
  pause,
  readTurns,
  type Refund,
  takePermits,
  type Turns,
  writeTurns,
} from "../../src/leases/turns.ts";

const SEED = 7;
const CAPACITY = 3;

/** A process under a limit. */
interface Actor {
  session: string;
  held: number;
  waiting: number;
  isStopped: boolean;
}

const step = fc.record({
  who: fc.nat(3),
  what: fc.constantFrom("call", "call", "sync", "sync", "end", "stop", "resume", "die", "pass"),
});

/** One note of permits. */
class World {
  note: string | undefined;
  now = 1_000_000;
  readonly over = new Set<string>();
  readonly actors: Actor[] = [];
  #count = 0;

  constructor() {
    for (let who = 0; who < 4; who++) this.actors.push(this.#born());
  }

  #born(): Actor {
    return { session: `s${++this.#count}`, held: 0, waiting: 0, isStopped: false };
  }

  step(who: number, what: string): void {
    const actor = this.actors[who]!;
    if (what === "pass") this.now += PASS_MS / 2;
    else if (what === "die") {
      this.over.add(actor.session);
      this.actors[who] = this.#born();
    } else if (what === "resume") actor.isStopped = false;
    else if (actor.isStopped) return;
    else if (what === "stop") actor.isStopped = true;
    else if (what === "call") actor.waiting++;
    else if (what === "end") actor.held = Math.max(0, actor.held - 1);
    else this.sync(actor);
    const held = this.actors.reduce((sum, { held }) => sum + held, 0);
    assert(held <= CAPACITY, `${held} permits are held`);
  }

  sync(actor: Actor): number {
    const { session, held, waiting } = actor;
    const ask = { session, held, wants: waiting, costs: Array<number>(waiting).fill(1) };
    const before = living(readTurns(this.note), (each) => this.over.has(each));
    const { granted, turns } = takePermits(before, ask, CAPACITY, this.now);
    this.note = writeTurns(turns, this.now);
    actor.held += granted;
    actor.waiting -= granted;
    return granted;
  }
}

test("Permits of living sessions are never more than there are, whatever happens", () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 120 }), (steps) => {
      const world = new World();
      for (const { who, what } of steps) world.step(who, what);
    }),
    { seed: SEED, numRuns: 2_000 },
  );
});

test("Everything is given back, and every call starts at last", () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 80 }), (steps) => {
      const world = new World();
      for (const { who, what } of steps) world.step(who, what);
      for (const actor of world.actors) actor.isStopped = false;
      for (let round = 0; world.actors.some(({ held, waiting }) => held + waiting > 0); round++) {
        assert(round < 500, "some calls never start");
        for (const actor of world.actors) {
          actor.held = 0;
          world.sync(actor);
        }
      }
      for (const actor of world.actors) world.sync(actor);
      assertEquals(world.note, undefined);
    }),
    { seed: SEED, numRuns: 500 },
  );
});

test("Processes take turns: one with many calls does not starve one with a single call", () => {
  const world = new World();
  const [many, few] = world.actors as [Actor, Actor];
  many.waiting = 100;
  world.sync(many);
  assertEquals(many.held, CAPACITY);
  few.waiting = 1;
  world.sync(few);
  // It has waited longer, and has one turn.
  many.held--;
  assertEquals(world.sync(many), 1);
  many.held--;
  assertEquals(world.sync(many), 0);
  assertEquals(world.sync(few), 1);
});

test("A process that misses its turn is passed over, and keeps its place for the next time", () => {
  const world = new World();
  const [one, other] = world.actors as [Actor, Actor];
  Object.assign(one, { waiting: 10 });
  world.sync(one);
  other.waiting = 1;
  world.sync(other);
  one.held--;
  world.sync(one);
  one.held--;
  world.sync(one);
  assertEquals(one.held, CAPACITY - 1);
  world.now += PASS_MS + 1;
  world.sync(one);
  assertEquals(one.held, CAPACITY);
  one.held--;
  world.sync(one);
  assertEquals(world.sync(other), 1);
});

test("A look that changes nothing leaves the text as it is", () => {
  const world = new World();
  const [one, other] = world.actors as [Actor, Actor];
  Object.assign(one, { waiting: 10 });
  Object.assign(other, { waiting: 10 });
  for (const actor of [one, other, one, other]) world.sync(actor);
  const { note } = world;
  world.now += 1;
  for (const actor of [one, other]) world.sync(actor);
  assertEquals(world.note, note);
});

test("No window has more than its count, with costs that are settled afterwards", () => {
  const per = 64_000;
  const count = 10;
  const call = fc.record({
    afterMs: fc.nat(5_000),
    cost: fc.integer({ min: 1, max: 5 }),
    actual: fc.integer({ min: 0, max: 5 }),
    lateMs: fc.nat(per / CELLS - 1),
  });
  fc.assert(
    fc.property(fc.array(call, { maxLength: 60 }), (calls) => {
      let turns: Turns = readTurns(undefined);
      let now = 1_700_000_000_000;
      let refunds: Refund[] = [];
      const starts: { at: number; cost: number }[] = [];
      for (const { afterMs, cost, actual, lateMs } of calls) {
        now += afterMs;
        const ask = { session: "s", held: 0, wants: 1, costs: [cost] };
        const answer = book(turns, ask, refunds, { count, per }, now);
        turns = readTurns(JSON.stringify(answer.turns));
        refunds = [];
        if (answer.granted === 0) continue;
        // A call may start as late as the time of a cell, and cost less than was booked.
        const paid = Math.min(actual, cost);
        starts.push({ at: now + lateMs, cost: paid });
        refunds.push({ cell: answer.cell, cost: cost - paid });
      }
      for (const { at } of starts) {
        const inside = starts.filter((each) => each.at >= at && each.at < at + per);
        const sum = inside.reduce((all, each) => all + each.cost, 0);
        assert(sum <= count, `${sum} in a window`);
      }
    }),
    { seed: SEED, numRuns: 1_000 },
  );
});

test("A window reports when the next call may start, and lets it start then", () => {
  const [per, count] = [64_000, 2];
  const ask = { session: "s", held: 0, wants: 3, costs: [1, 1, 1] };
  const now = 1_700_000_000_000;
  const first = book(readTurns(undefined), ask, [], { count, per }, now);
  assertEquals(first.granted, 2);
  const next = { ...ask, wants: 1, costs: [1] };
  const early = book(first.turns, next, [], { count, per }, now + first.waitMs - 1);
  assertEquals(early.granted, 0);
  const due = book(first.turns, next, [], { count, per }, now + first.waitMs);
  assertEquals(due.granted, 1);
  assert(first.waitMs <= per * (CELLS + 2) / CELLS, `${first.waitMs} ms`);
});

test("A pause is never shortened, and nothing starts in it", () => {
  const turns = pause(pause(readTurns(undefined), 2_000), 1_500);
  assertEquals(turns.pausedUntil, 2_000);
  const ask = { session: "s", held: 0, wants: 1, costs: [1] };
  assertEquals(takePermits(turns, ask, 5, 1_999).granted, 0);
  assertEquals(takePermits(turns, ask, 5, 2_000).granted, 1);
  assertEquals(book(turns, ask, [], { count: 5, per: 1_000 }, 1_999).granted, 0);
});

test("A damaged note is taken for none", () => {
  for (const note of ["", "nonsense", "null", "[]", "1", '{"parties":1}']) {
    assertEquals(readTurns(note), readTurns(undefined), note);
  }
});
