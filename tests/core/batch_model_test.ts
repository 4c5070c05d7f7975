/** Random batches against a plain loop: duplicates, failures, aborts, slow sources and consumers. */
import process from "node:process";
import { after, test } from "node:test";
import { assert, assertEquals, assertStrictEquals } from "@std/assert";
import fc from "fast-check";
import { Cache } from "../../src/core/cache.ts";
import { MemoryBackend } from "../../memory.ts";
import { FaultyBackend } from "../support/faulty.ts";
import { quiet } from "../support/by_hand.ts";
import { settle } from "../support/fake_time.ts";

const unhandled: unknown[] = [];
process.on("unhandledRejection", (reason) => unhandled.push(reason));
after(() => assertEquals(unhandled, [], "a rejection was left unhandled"));

/** Inputs below it return, all others throw. */
const BAD = 60;

async function turns(count: number): Promise<void> {
  for (let turn = 0; turn < count; turn++) await settle();
}

/** A function over numbers that takes some turns of the event loop, and a record of its runs. */
function slowFunction(paces: readonly number[]) {
  const state = { active: 0, most: 0, runs: [] as number[] };
  const fn = async (n: number): Promise<string> => {
    state.runs.push(n);
    state.most = Math.max(state.most, ++state.active);
    try {
      await turns(paces[n % paces.length] ?? 0);
      if (n >= BAD) throw new RangeError(`no ${n}`);
      return `value ${n}`;
    } finally {
      state.active--;
    }
  };
  return { state, fn };
}

/** The inputs as a source of each kind. */
function sourceOf(
  kind: "array" | "generator" | "async",
  inputs: readonly number[],
  paces: readonly number[],
  failsAt: number | null,
  error: Error,
): Iterable<number> | AsyncIterable<number> {
  if (kind === "array" && failsAt === null) return inputs;
  if (kind === "async") {
    return (async function* () {
      for (const [index, input] of inputs.entries()) {
        if (index === failsAt) throw error;
        await turns(paces[index % paces.length] ?? 0);
        yield input;
      }
    })();
  }
  return (function* () {
    for (const [index, input] of inputs.entries()) {
      if (index === failsAt) throw error;
      yield input;
    }
  })();
}

const paces = fc.array(fc.nat(3), { minLength: 1, maxLength: 5 });

const scenario = fc.record({
  inputs: fc.oneof(
    fc.array(fc.nat(BAD + 10), { maxLength: 60 }),
    fc.array(fc.nat(BAD + 10), { minLength: 130, maxLength: 300 }),
  ),
  stored: fc.array(fc.nat(BAD - 1), { maxLength: 30 }),
  concurrency: fc.oneof(fc.integer({ min: 1, max: 9 }), fc.constant(Infinity)),
  ordered: fc.boolean(),
  kind: fc.constantFrom("array", "generator", "async"),
  sourcePaces: paces,
  runPaces: paces,
  consumerPaces: paces,
  /** The number of results after which something ends the batch early, and the kind of end. */
  end: fc.option(fc.record({ after: fc.nat(40), how: fc.constantFrom("break", "abort") })),
  failsAt: fc.option(fc.nat(200), { freq: 3 }),
  singleFlight: fc.constantFrom("process" as const, false as const),
});

test("fn.map() comes to what a plain loop comes to, whatever happens", async () => {
  await fc.assert(
    fc.asyncProperty(scenario, async (drawn) => {
      const { inputs, concurrency, ordered, end } = drawn;
      const failsAt = drawn.failsAt !== null && drawn.failsAt < inputs.length
        ? drawn.failsAt
        : null;
      const backend = new FaultyBackend(new MemoryBackend());
      const reported: unknown[] = [];
      await using cache = new Cache(backend, {
        onError: (error) => reported.push(error),
      });
      const { state, fn: slow } = slowFunction(drawn.runPaces);
      const { singleFlight } = drawn;
      const fn = cache.cache({ id: "f", singleFlight })(slow);
      await Promise.all(new Set(drawn.stored).values().map((n) => fn(n)));
      const stored = new Set(drawn.stored);
      state.runs.length = state.most = 0;
      const sourceError = new Error("bad line");
      const source = sourceOf(drawn.kind, inputs, drawn.sourcePaces, failsAt, sourceError);
      const controller = new AbortController();
      const reason = new Error("aborted");
      const told: boolean[] = [];
      const batch = fn.map(source, {
        concurrency,
        ordered,
        signal: controller.signal,
        onProgress: ({ finished }) => told.push(finished),
      });
      const indexes: number[] = [];
      let failure: unknown;
      let broke = false;
      try {
        for await (const result of batch) {
          const { index, input } = result;
          indexes.push(index);
          assertEquals(input, inputs[index]);
          if (result.ok) {
            assertEquals(result.value, `value ${input}`);
            if (stored.has(input)) assertEquals(result.status, "hit");
          } else {
            assert(input >= BAD);
            assertEquals((result.error as Error).message, `no ${input}`);
          }
          if (end !== null && indexes.length > end.after) {
            if (end.how === "abort") controller.abort(reason);
            else {
              broke = true;
              break;
            }
          }
          await turns(drawn.consumerPaces[index % drawn.consumerPaces.length] ?? 0);
        }
      } catch (error) {
        failure = error;
      }

      // Nothing goes on running.
      assertEquals(state.active, 0);
      const ran = [...state.runs];
      await quiet();
      assertEquals(state.runs, ran);
      assertEquals(reported, []);
      // One more lookup for an input that was not found in bulk.
      assert(backend.calls("get") - stored.size <= inputs.length);

      // Each input comes out once, in order where asked.
      assertEquals(new Set(indexes).size, indexes.length);
      if (ordered) {
        assertEquals(
          indexes,
          indexes.map((_, place) => place),
        );
      }
      assert(state.most <= concurrency);

      // Stored inputs never run, good ones run once, and bad ones at most once per occurrence.
      const counts = Map.groupBy(ran, (n) => n);
      for (const [n, { length }] of counts) {
        assert(!stored.has(n), `${n} was stored`);
        assert(inputs.includes(n));
        if (n < BAD) assertEquals(length, 1);
        else assert(length <= inputs.filter((input) => input === n).length);
      }

      // The loop gets the reason of the end.
      const { aborted } = controller.signal;
      if (aborted && failure !== sourceError) {
        assertStrictEquals(failure, reason);
      } else if (broke) assertStrictEquals(failure, undefined);
      else {
        const given = failsAt ?? inputs.length;
        assertStrictEquals(failure, failsAt === null ? undefined : sourceError);
        if (!aborted) {
          assertEquals(
            indexes.toSorted((a, b) => a - b),
            inputs.slice(0, given).map((_, index) => index),
          );
        }
      }

      // The counts agree.
      const { hits, misses, shared, stale, failed, done, finished, running } = batch.summary;
      assertEquals([done, stale, running], [indexes.length, 0, 0]);
      assertEquals(hits + misses + shared + failed, done);
      assertEquals([finished, told.length], [true, done + 2]);
      assertEquals(told.filter((last) => last).length, 1);

      // A second batch computes the missing results and nothing else.
      const kept = new Set([...stored, ...ran.filter((n) => n < BAD)]);
      state.runs.length = 0;
      const again = fn.map(inputs, { concurrency: 3 });
      for await (const _ of again);
      assertEquals(
        new Set(state.runs.filter((n) => n < BAD)),
        new Set(inputs.filter((n) => n < BAD && !kept.has(n))),
      );
      assertEquals(again.summary.done, inputs.length);
    }),
    { seed: 20, numRuns: 250 },
  );
});
