/** Readers that join, read, leave, abort and throw at random, against what one source gives. */
import { test } from "node:test";
import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { Cache } from "../../src/core/cache.ts";
import { MemoryBackend } from "../../memory.ts";
import { SQLiteBackend } from "../../sqlite.ts";
import { quiet } from "../support/by_hand.ts";
import { HandStreams } from "../support/hand_stream.ts";

interface Item {
  run: number;
  n: number;
}

type Step =
  | { readonly do: "join" | "read" | "leave" | "abort" | "throw"; readonly who: number }
  | { readonly do: "give" | "want" | "bust" };

/** The items of the sources of a schedule, and the way each source ends. */
interface Plan {
  readonly length: number;
  readonly fails: boolean;
  /** Whether they fail once their signal aborts. */
  readonly heeds: boolean;
  readonly maxItems: number;
  readonly steps: readonly Step[];
  /** The steps, by number modulo 8, that follow the one before in the same turn. */
  readonly rushed: readonly number[];
}

const who = fc.nat(3);
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 3, arbitrary: fc.record({ do: fc.constant("join" as const), who }) },
  { weight: 6, arbitrary: fc.record({ do: fc.constant("read" as const), who }) },
  {
    weight: 3,
    arbitrary: fc.record({ do: fc.constantFrom("leave", "abort", "throw"), who }),
  },
  { weight: 6, arbitrary: fc.record({ do: fc.constant("give" as const) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constantFrom("want", "bust") }) },
);
const plan: fc.Arbitrary<Plan> = fc.record({
  length: fc.nat(4),
  fails: fc.boolean(),
  heeds: fc.boolean(),
  maxItems: fc.constantFrom(1, 3, 100),
  steps: fc.array(step, { minLength: 5, maxLength: 40 }),
  rushed: fc.array(fc.nat(7), { maxLength: 8 }),
});

const failure = new Error("the source failed");
const enough = new Error("enough");

/** One reader, and its outcome. */
class Reader {
  readonly items: Item[] = [];
  readonly controller = new AbortController();
  readonly #stream: AsyncIterableIterator<Item>;
  end: unknown;
  hasLeft = false;
  #pending: Promise<void> | undefined;

  constructor(fn: (options: { signal: AbortSignal }) => AsyncIterableIterator<Item>) {
    this.#stream = fn({ signal: this.controller.signal });
  }

  /** Asks for one more item, if none is asked for. */
  read(): void {
    this.#pending ??= this.#read();
  }

  async #read(): Promise<void> {
    try {
      const { done, value } = await this.#stream.next();
      if (done) this.end ??= "done";
      else {
        this.items.push({ ...value });
        // A reader may change its item.
        value.n = -1;
      }
    } catch (error) {
      this.end ??= error;
    }
    this.#pending = undefined;
  }

  async leave(): Promise<void> {
    this.hasLeft = true;
    await this.#stream.return?.();
  }

  /** Leaves as a loop does whose body throws. */
  async throw(): Promise<void> {
    this.hasLeft = true;
    if (this.#pending !== undefined) return await this.leave();
    try {
      for await (const _ of this.#stream) throw enough;
    } catch (error) {
      assert(error === enough || error === failure);
    }
    await this.leave();
  }
}

async function check(backend: MemoryBackend | SQLiteBackend, plan: Plan): Promise<void> {
  const { length, fails, heeds, maxItems, steps, rushed } = plan;
  const cache = new Cache(backend, { onError: () => {} });
  const hand = new HandStreams<[options: { signal: AbortSignal }], Item>();
  const given = new Map<number, number>();
  const fn = cache.stream({ id: "f", maxItems })(hand.fn);
  const readers: Reader[] = [];
  const wants: Promise<unknown>[] = [];

  /** Lets every source that is asked give one item, or end. */
  async function give(): Promise<boolean> {
    let hasGiven = false;
    for (const [run, source] of hand.streams.entries()) {
      if (!source.isAsked) continue;
      hasGiven = true;
      const n = given.get(run) ?? 0;
      const [{ signal }] = source.args as [{ signal: AbortSignal }];
      given.set(run, n + 1);
      if (heeds && signal.aborted) await source.fail(enough);
      else if (n < length) await source.give({ run, n });
      else if (fails) await source.fail(failure);
      else await source.end();
    }
    return hasGiven;
  }

  for (const [number, step] of steps.entries()) {
    if (!rushed.includes(number % 8)) await quiet();
    if ("who" in step) {
      const reader = readers[step.who];
      if (step.do === "join") {
        readers.push(new Reader(fn));
        readers.at(-1)?.read();
      } else if (step.do === "read") reader?.read();
      else if (step.do === "abort") reader?.controller.abort(enough);
      else if (step.do === "leave") void reader?.leave();
      else void reader?.throw();
    } else if (step.do === "give") await give();
    else if (step.do === "bust") void fn.bustCache();
    else wants.push(fn.detail({ signal: new AbortController().signal }).catch((error) => error));
  }
  await quiet();

  // The remaining readers read to the end.
  for (let isBusy = true; isBusy;) {
    const reading = readers.filter(({ end, hasLeft }) => end === undefined && !hasLeft);
    for (const reader of reading) reader.read();
    await quiet();
    isBusy = await give() || reading.length > 0;
  }
  const whole = (run: number) => Array.from({ length }, (_, n) => ({ run, n }));
  for (const { items, end, hasLeft, controller } of readers) {
    const run = items[0]?.run ?? 0;
    assertEquals(items, whole(run).slice(0, items.length), "a prefix of one source");
    if (hasLeft || controller.signal.aborted) {
      assert([undefined, "done", enough, failure].includes(end as string), String(end));
    } else {
      assertEquals(end, fails ? failure : "done");
      assertEquals(items.length, length, "all of it");
    }
  }
  for (const detail of await Promise.all(wants)) {
    if (detail instanceof Error) assertEquals(detail, failure);
    else assertEquals((detail as { value: Item[] }).value.length, length);
  }
  for (const source of hand.streams) assert(source.isLeft || source.isOver, "no source is open");
  const found = await fn.readCache({ signal: new AbortController().signal });
  if (found.hit) {
    assert(!fails && length <= maxItems);
    assertEquals(found.value, whole(found.value[0]?.run ?? 0));
  }
  await cache.close();
}

for (
  const [name, open, numRuns] of [
    ["memory", () => new MemoryBackend(), 150],
    ["SQLite", () => new SQLiteBackend(":memory:"), 30],
  ] as const
) {
  test(`Over ${name}, each reader of a flow sees a prefix, and all of it if it stays`, async () => {
    const property = fc.asyncProperty(plan, (plan) => check(open(), plan));
    await fc.assert(property, { seed: 15, numRuns });
  });
}
