/** Sessions and leases as pure changes of notes, over random interleavings against an oracle. */

import { test } from "node:test";
import { assert, assertEquals } from "@std/assert";
import * as fc from "fast-check";
import { givenUp, givenUpNote, isFree, released, taken } from "../../src/leases/lease.ts";
import {
  buried,
  isAlive,
  isExpired,
  joined,
  LEASE,
  left,
  readRegister,
  renewed,
} from "../../src/leases/register.ts";

/** A process of the model. */
interface Actor {
  name: string;
  /** The sessions that it knows to be over. */
  readonly over: Set<string>;
  isStopped: boolean;
  run: { readonly mine: string; isAborted: boolean; readonly bustedAt: number } | undefined;
}

const SEED = 7;

const step = fc.record({
  who: fc.nat(3),
  what: fc.constantFrom(
    "take",
    "finish",
    "fail",
    "abort",
    "beat",
    "stop",
    "resume",
    "die",
    "look",
    "bust",
    "pass",
  ),
});

/** One key, and the processes that want to run it. */
class World {
  now = 1_000_000;
  lease: string | undefined;
  register: string | undefined;
  stored: string | undefined;
  busts = 0;
  #count = 0;
  readonly actors: Actor[] = Array.from({ length: 4 }, () => this.#born());

  #born(): Actor {
    const name = `${++this.#count}-0`;
    this.register = joined(name)(this.register, this.now);
    this.register = renewed(name)(this.register, this.now);
    return { name, over: new Set(), isStopped: false, run: undefined };
  }

  step(who: number, what: string): void {
    const actor = this.actors[who]!;
    if (what === "pass") this.now += LEASE.ms / 3;
    else if (what === "bust") {
      this.busts++;
      this.lease = this.stored = undefined;
    } else if (what === "die") this.actors[who] = this.#born();
    else if (what === "resume") actor.isStopped = false;
    else if (!actor.isStopped) this.#act(actor, what);
  }

  #act(actor: Actor, what: string): void {
    const { run } = actor;
    const isOver = (session: string): boolean => actor.over.has(session);
    if (what === "stop") actor.isStopped = true;
    else if (what === "beat") {
      this.register = renewed(actor.name)(this.register, this.now);
      if (isAlive(readRegister(this.register), actor.name)) return;
      actor.over.add(actor.name);
      actor.name = this.#born().name;
    } else if (what === "look") {
      for (const [session] of readRegister(this.register)) {
        if (session === actor.name) continue;
        this.register = buried(session, () => false)(this.register, this.now);
        if (isAlive(readRegister(this.register), session)) continue;
        actor.over.add(session);
        // Other processes may act in between.
        if (actor === this.actors[0]) this.register = left(session)(this.register, this.now);
      }
      for (let n = 1; n <= this.#count; n++) {
        if (!readRegister(this.register).has(`${n}-0`)) actor.over.add(`${n}-0`);
      }
    } else if (what === "take" && run === undefined && this.stored === undefined) {
      const mine = `${actor.name}.${++this.#count}`;
      const holder = this.lease;
      const wasFree = isFree(holder, isOver);
      this.lease = taken(mine, isOver)(holder, this.now);
      assertEquals(this.lease === mine, wasFree);
      if (this.lease === mine) {
        actor.run = { mine, isAborted: false, bustedAt: this.busts };
        this.#checkAlone(actor);
      }
    } else if (run === undefined) return;
    else if (what === "abort") {
      this.lease = givenUp(run.mine)(this.lease, this.now);
      run.isAborted = true;
    } else if (what === "fail") {
      const before = this.lease;
      this.lease = released(run.mine)(before, this.now);
      const isOwn = before === run.mine || before === givenUpNote(run.mine);
      assertEquals(this.lease, isOwn ? undefined : before, "the lease of another was removed");
      actor.run = undefined;
    } else if (what === "finish") {
      // As `exchange` does it.
      const note = run.isAborted ? givenUpNote(run.mine) : run.mine;
      if (this.lease === note) {
        assertEquals(run.bustedAt, this.busts, "a result from before a bust was stored");
        assertEquals(this.stored, undefined, "a result was replaced");
        this.lease = undefined;
        this.stored = run.mine;
      }
      actor.run = undefined;
    }
  }

  /** Every other run was aborted or busted, or its session is over. */
  #checkAlone(actor: Actor): void {
    for (const other of this.actors) {
      const { run } = other;
      if (other === actor || run === undefined || run.isAborted) continue;
      if (run.bustedAt < this.busts) continue;
      const session = run.mine.slice(0, run.mine.indexOf("."));
      assert(
        !isAlive(readRegister(this.register), session),
        `${session} lives, and its key was taken`,
      );
    }
  }
}

test("Leases give a key to one live session at a time, whatever happens in which order", () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 80 }), (steps) => {
      const world = new World();
      for (const { who, what } of steps) world.step(who, what);
    }),
    { seed: SEED, numRuns: 2_000 },
  );
});

test("Leases are never stuck: when all others are gone for long, the next one takes any", () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const world = new World();
      for (const { who, what } of steps) world.step(who, what);
      if (world.stored !== undefined) return;
      for (const who of [1, 2, 3]) world.step(who, "stop");
      world.step(0, "die");
      world.now += 2 * LEASE.ms;
      world.step(0, "beat");
      world.step(0, "look");
      world.step(0, "take");
      assert(world.actors[0]?.run !== undefined, `${world.lease} is stuck`);
    }),
    { seed: SEED, numRuns: 1_000 },
  );
});

test("A register reads what it wrote, and takes whatever else it is given for nobody", () => {
  fc.assert(
    fc.property(fc.string(), fc.nat(), (text, now) => {
      const note = joined("1-2")(text, now);
      assertEquals(readRegister(note).get("1-2"), now - 1);
      assertEquals(readRegister(renewed("1-2")(note, now + 1)).get("1-2"), now + 1);
      assert(!isAlive(readRegister(buried("1-2", () => true)(note, now)), "1-2"));
      assert(!readRegister(left("1-2")(note, now)).has("1-2"));
    }),
    { seed: SEED },
  );
  assertEquals(renewed("7-7")("8-8 5", 6), "8-8 5");
  assertEquals(renewed("1-1")("1-1 0", 6), "1-1 0");
  assertEquals(left("1-1")("1-1 5", 6), undefined);
});

test("A heartbeat runs out after 30 s, and one from a far future at once", () => {
  const now = 10 * LEASE.ms;
  assertEquals([0, LEASE.ms, LEASE.ms + 1].map((ago) => isExpired(now - ago, now)), [
    false,
    false,
    true,
  ]);
  assertEquals([10, 11].map((ahead) => isExpired(now + ahead * LEASE.ms, now)), [false, true]);
});
