/** Tiers under random operations, failures and delays, against what each key may hold. */
import { test } from "node:test";
import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import type { StoredEntry } from "../../src/encoding/entry.ts";
import { open } from "../../src/encoding/entry.ts";
import { MemoryBackend } from "../../memory.ts";
import { FaultyBackend } from "../support/faulty.ts";
import { TieredBackend } from "../../tiered.ts";
import { FakeTime } from "../support/fake_time.ts";
import { damagedOf, entryOf } from "../support/tiers.ts";

const IDS = ["i", "j"] as const;
const KEYS = ["a", "b"] as const;

const place = fc.record({
  id: fc.constantFrom(...IDS),
  key: fc.constantFrom(...KEYS),
});
const tier = fc.nat(2);
const failing = fc.constantFrom(
  "get" as const,
  "getMany" as const,
  "set" as const,
  "delete" as const,
  "deleteId" as const,
  "clear" as const,
  "entries" as const,
);

/** Operations on the tiers, several at once. */
const operation = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({
      kind: fc.constant("set" as const),
      place,
      ttl: fc.constantFrom(null, 5, 50),
    }),
  },
  {
    weight: 6,
    arbitrary: fc.record({ kind: fc.constant("get" as const), place }),
  },
  {
    weight: 2,
    arbitrary: fc.record({ kind: fc.constant("getMany" as const) }),
  },
  {
    weight: 2,
    arbitrary: fc.record({ kind: fc.constant("delete" as const), place }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant("deleteId" as const),
      id: fc.constantFrom(...IDS),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("clear" as const) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("list" as const) }) },
);

/** Events at the tiers, between the operations. */
const event = fc.oneof(
  fc.record({
    kind: fc.constant("fail" as const),
    tier,
    operation: failing,
    when: fc.constantFrom("before" as const, "after" as const),
    times: fc.constantFrom(1, 2, Infinity),
  }),
  fc.record({
    kind: fc.constant("delay" as const),
    tier,
    operation: failing,
    milliseconds: fc.nat(9),
  }),
  fc.record({ kind: fc.constant("heal" as const), tier }),
  fc.record({
    kind: fc.constant("wait" as const),
    milliseconds: fc.constantFrom(1, 15, 1000, 30_000),
  }),
  fc.record({ kind: fc.constant("evict" as const), tier, place }),
  fc.record({ kind: fc.constant("damage" as const), tier, place }),
);

const step = fc.oneof(
  {
    weight: 3,
    arbitrary: fc.record({
      kind: fc.constant("batch" as const),
      operations: fc.array(operation, { minLength: 1, maxLength: 5 }),
    }),
  },
  { weight: 2, arbitrary: event },
);

type Values = ReadonlySet<number>;
const NONE: Values = new Set();

/** The values that a read of each place may return now; a miss is always allowed. */
class Model {
  readonly #values = new Map<string, Values>();

  static name(id: string, key: string): string {
    return `${id}/${key}`;
  }

  of(name: string): Values {
    return this.#values.get(name) ?? NONE;
  }

  put(name: string, values: Values): void {
    this.#values.set(name, values);
  }

  copy(): Model {
    const copy = new Model();
    for (const [name, values] of this.#values) copy.put(name, values);
    return copy;
  }
}

const ALL = IDS.flatMap((id) => KEYS.map((key) => ({ id, key })));

function valueOf(id: string, key: string, entry: StoredEntry): number {
  const value: unknown = open(id, key, entry);
  assert(typeof value === "number");
  return value;
}

test("TieredBackend serves no wrong value and none that was busted, whatever fails", async () => {
  let reads = 0;
  let hits = 0;
  let refusals = 0;
  await fc.assert(
    fc.asyncProperty(
      fc.array(step, { minLength: 1, maxLength: 40, size: "max" }),
      fc.constantFrom({}, { innerTtl: 10 }),
      async (steps, options) => {
        using time = new FakeTime();
        const stores = [0, 1, 2].map(() => new MemoryBackend());
        const faulty = stores.map((store) => new FaultyBackend(store));
        const tiers = new TieredBackend(faulty, options);
        const model = new Model();
        let lastValue = 0;
        /** Whether nothing has gone wrong so far: then a read must find what was stored. */
        let calm = true;

        /** Waits for promises that need time to pass. */
        async function finish<T>(promises: Promise<T>[]): Promise<PromiseSettledResult<T>[]> {
          let done = false;
          const all = Promise.allSettled(promises).finally(() => (done = true));
          for (let turn = 0; !done; turn++) {
            assert(turn < 1000, "an operation never settles");
            await time.tick(1);
          }
          return await all;
        }

        /** Operations that begin one after the other and run at the same time. */
        async function batch(
          operations: readonly (typeof operation extends fc.Arbitrary<infer T> ? T : never)[],
        ): Promise<void> {
          const before = model.copy();
          const alone = operations.length === 1;
          const possible = new Map<string, Set<number>>();
          for (const { id, key } of ALL) {
            const name = Model.name(id, key);
            possible.set(name, new Set(before.of(name)));
          }
          const seen = (id: string, key: string, entry?: StoredEntry): void => {
            const name = Model.name(id, key);
            reads++;
            const expected = before.of(name);
            if (entry === undefined) {
              assert(!calm || !alone || expected.size === 0, `${name} is lost`);
              return;
            }
            hits++;
            let value: number;
            try {
              value = valueOf(id, key, entry);
            } catch {
              assert(!calm, "nothing was damaged");
              return;
            }
            assert(
              possible.get(name)?.has(value) === true,
              `${name} is ${value}, which it may not be`,
            );
          };
          const outcomes: (() => (failed: boolean) => void)[] = [];
          const names = (id?: string): string[] =>
            ALL.filter((place) => id === undefined || place.id === id).map(({ id, key }) =>
              Model.name(id, key)
            );
          /** The effect of a bust, even a failed one: here the entry never comes back. */
          const busted = (gone: readonly string[]) => (): void => {
            for (const name of gone) model.put(name, NONE);
          };
          const values = operations.map(() => ++lastValue);
          for (const [index, each] of operations.entries()) {
            if (each.kind !== "set") continue;
            const { id, key } = each.place;
            const value = values[index];
            assert(value !== undefined);
            possible.get(Model.name(id, key))?.add(value);
          }
          const started = operations.map(async (each, index): Promise<void> => {
            switch (each.kind) {
              case "set": {
                const { id, key } = each.place;
                const name = Model.name(id, key);
                const value = values[index] ?? 0;
                outcomes[index] = () => (failed) => {
                  const old = failed ? model.of(name) : NONE;
                  model.put(name, new Set([...old, value]));
                };
                const expiresAt = each.ttl === null ? null : Date.now() + each.ttl;
                return await tiers.set(id, key, entryOf(key, value, { id, expiresAt }));
              }
              case "get": {
                const { id, key } = each.place;
                return seen(id, key, await tiers.get(id, key));
              }
              case "getMany": {
                const keys = [...KEYS, "absent"];
                const found = await tiers.getMany("i", keys);
                for (const [at, key] of KEYS.entries()) {
                  seen("i", key, found[at]);
                }
                return assertEquals(found[KEYS.length], undefined);
              }
              case "delete": {
                const { id, key } = each.place;
                outcomes[index] = () => busted([Model.name(id, key)]);
                return await tiers.delete(id, key);
              }
              case "deleteId":
                outcomes[index] = () => busted(names(each.id));
                return await tiers.deleteId(each.id);
              case "clear":
                outcomes[index] = () => busted(names());
                return await tiers.clear();
              case "list": {
                const listed = new Set<string>();
                for await (const { id, key } of tiers.entries()) {
                  const name = Model.name(id, key);
                  assert(!listed.has(name), `${name} is listed twice`);
                  listed.add(name);
                  assert((possible.get(name)?.size ?? 0) > 0, `${name} is listed`);
                }
              }
            }
          });
          const results = await finish(started);
          const clean = new Set<string>();
          for (const [index, result] of results.entries()) {
            const each = operations[index];
            assert(each !== undefined);
            const failed = result.status === "rejected";
            if (failed) {
              refusals++;
              if (result.reason.name !== "BackendError") throw result.reason;
              assert(!calm, "nothing has failed");
            }
            outcomes[index]?.()(failed);
            if (each.kind === "set") {
              clean.delete(Model.name(each.place.id, each.place.key));
            }
            if (failed) continue;
            if (each.kind === "delete") {
              clean.add(Model.name(each.place.id, each.place.key));
            } else if (each.kind === "deleteId" || each.kind === "clear") {
              const id = each.kind === "clear" ? undefined : each.id;
              for (const name of names(id)) clean.add(name);
            }
          }
          // Copies that reads of this batch began are done too.
          await time.tick(50);
          for (const store of stores) {
            for await (const { id, key } of store.entries()) {
              const name = Model.name(id, key);
              assert(!clean.has(name), `a bust of ${name} left it somewhere`);
            }
          }
        }

        for (const each of steps) {
          if (each.kind === "batch") {
            await batch(each.operations);
            continue;
          }
          if (each.kind === "wait") {
            await time.tick(each.milliseconds);
            continue;
          }
          const faults = faulty[each.tier];
          const store = stores[each.tier];
          assert(faults !== undefined && store !== undefined);
          if (each.kind === "delay") {
            faults.delay(each.operation, each.milliseconds);
          } else if (each.kind === "heal") faults.heal();
          else {
            calm = false;
            if (each.kind === "fail") {
              const { when, times } = each;
              faults.fail(each.operation, { when, times });
              continue;
            }
            const { id, key } = each.place;
            const entry = await store.get(id, key);
            if (each.kind === "evict") await store.delete(id, key);
            else if (entry !== undefined) {
              await store.set(id, key, damagedOf(entry));
            }
          }
        }

        // After all faults every tier holds the right entry or none, and works again.
        for (const faults of faulty) faults.heal();
        await time.tick(30_000);
        for (const { id, key } of ALL) await finish([Promise.resolve(tiers.get(id, key))]);
        await time.tick(1_000);
        const settled = model.copy();
        for (const [index, place] of ALL.entries()) {
          const { id, key } = place;
          const name = Model.name(id, key);
          if (index % 2 === 0) {
            await batch([{ kind: "set", place, ttl: null }]);
            const expected = model.of(name);
            const [found] = await finish([Promise.resolve(tiers.get(id, key))]);
            assert(found?.status === "fulfilled" && found.value !== undefined);
            assertEquals(new Set([valueOf(id, key, found.value)]), expected);
            for (const store of stores) {
              const entry = await store.get(id, key);
              assert(entry !== undefined);
            }
          } else {
            const [found] = await finish([Promise.resolve(tiers.get(id, key))]);
            assert(found?.status === "fulfilled");
            if (found.value !== undefined && settled.of(name).size === 0) {
              throw new Error(`${name} came back`);
            }
          }
        }
        await finish([tiers.close()]);
      },
    ),
    { seed: 20263, numRuns: 300 },
  );
  assert(hits > 300, `only ${hits} of ${reads} reads found something`);
  assert(refusals > 60, `only ${refusals} operations failed`);
});
