/** Random schedules of calls, failures, busts and clocks against a plain account of RFC 5861. */
import { test } from "node:test";
import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { Cache } from "../../src/core/cache.ts";
import { MemoryBackend } from "../../memory.ts";
import { quiet } from "../support/by_hand.ts";
import { withVariables } from "../support/environment.ts";
import { FakeTime } from "../support/fake_time.ts";

type Step =
  | { readonly do: "wait"; readonly ms: number }
  | { readonly do: "call" | "read" | "map" | "bust" | "break" | "mend" }
  | { readonly do: "only" | "reopen" };

/** The expected behaviour in the fewest words: one key, and runs that take no time. */
class Model {
  now = 0;
  runs = 0;
  broken = false;
  #entry: { value: number; expiresAt: number } | undefined;
  /** After a failed refresh: 1 s, twice as long with each further one. */
  #pausedUntil = 0;
  #pauseMs = 0;

  constructor(
    readonly ttl: number,
    readonly whileRevalidate: number,
    readonly ifError: number,
  ) {}

  #run(): number | undefined {
    this.runs++;
    if (this.broken) return undefined;
    this.#pauseMs = this.#pausedUntil = 0;
    this.#entry = { value: this.runs, expiresAt: this.now + this.ttl };
    return this.runs;
  }

  /** The time past the expiry of the entry, in milliseconds; below 0 is fresh. */
  #past(): number {
    return this.#entry === undefined ? Infinity : this.now - this.#entry.expiresAt;
  }

  #isPaused(): boolean {
    return this.now < this.#pausedUntil;
  }

  /** A run that failed while something stale stood in for it. */
  #pause(): void {
    this.#pauseMs = Math.min(30_000, this.#pauseMs === 0 ? 1_000 : 2 * this.#pauseMs);
    this.#pausedUntil = this.now + this.#pauseMs;
  }

  /** Another cache over the same store knows of no failures. */
  reopen(): void {
    this.#pauseMs = this.#pausedUntil = 0;
  }

  bust(): void {
    this.#entry = undefined;
  }

  read(): string {
    return this.#entry !== undefined && this.#past() < 0 ? `hit ${this.#entry.value}` : "nothing";
  }

  call(only: boolean): string {
    const entry = this.#entry;
    const past = this.#past();
    if (only) return entry === undefined ? "failed" : `hit ${entry.value}`;
    if (entry !== undefined && past < 0) return `hit ${entry.value}`;
    if (entry !== undefined && past < this.whileRevalidate) {
      if (!this.#isPaused() && this.#run() === undefined) this.#pause();
      return `stale ${entry.value}`;
    }
    const isFallback = entry !== undefined && past < this.ifError;
    if (isFallback && this.#isPaused()) return `stale ${entry.value}`;
    const value = this.#run();
    if (value !== undefined) return `miss ${value}`;
    if (!isFallback) return "failed";
    this.#pause();
    return `stale ${entry.value}`;
  }
}

const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({
      do: fc.constant("wait"),
      ms: fc.oneof(fc.nat(12), fc.integer({ min: 200, max: 2_500 })),
    }),
  },
  { weight: 6, arbitrary: fc.record({ do: fc.constantFrom("call", "map") }) },
  {
    weight: 4,
    arbitrary: fc.record({ do: fc.constantFrom("read", "break", "mend") }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ do: fc.constantFrom("bust", "only", "reopen") }),
  },
);

const window = fc.option(fc.oneof(
  fc.integer({ min: 1, max: 25 }),
  fc.integer({ min: 500, max: 20_000 }),
));

test("calls over random schedules come to what RFC 5861 says", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.integer({ min: 1, max: 20 }),
      window,
      window,
      fc.array(step, { minLength: 5, maxLength: 40 }),
      async (ttl, whileRevalidate, ifError, steps) => {
        using time = new FakeTime();
        const backend = new MemoryBackend();
        const model = new Model(ttl, whileRevalidate ?? 0, ifError ?? 0);
        let runs = 0;
        const open = () =>
          new Cache(backend, { onError: () => {} }).cache({
            id: "f",
            ttl,
            ...(whileRevalidate !== null && { staleWhileRevalidate: whileRevalidate }),
            ...(ifError !== null && { staleIfError: ifError }),
          })(async (_input: string): Promise<number> => {
            runs++;
            if (model.broken) throw new Error("down");
            return await Promise.resolve(runs);
          });
        let fn = open();
        const call = async (): Promise<string> => {
          try {
            const { status, value } = await fn.detail("x");
            return `${status} ${value}`;
          } catch {
            return "failed";
          }
        };
        const map = async (): Promise<string> => {
          for await (const result of fn.map(["x"], { concurrency: 1 })) {
            return result.ok ? `${result.status} ${result.value}` : "failed";
          }
          return "nothing came";
        };
        for (const [index, next] of steps.entries()) {
          let actual: string | undefined;
          let expected: string | undefined;
          if (next.do === "wait") {
            await time.tick(next.ms);
            model.now += next.ms;
          } else if (next.do === "break" || next.do === "mend") {
            model.broken = next.do === "break";
          } else if (next.do === "bust") {
            await fn.bustCache("x");
            model.bust();
          } else if (next.do === "reopen") {
            fn = open();
            model.reopen();
          } else if (next.do === "read") {
            const found = await fn.readCache("x");
            actual = found.hit ? `hit ${found.value}` : "nothing";
            expected = model.read();
          } else if (next.do === "only") {
            const before = fn;
            actual = await withVariables({ CACHE_ONLY: "1" }, () => {
              fn = open();
              return call();
            });
            fn = before;
            expected = model.call(true);
          } else {
            actual = await (next.do === "map" ? map() : call());
            expected = model.call(false);
          }
          // Refreshes end before anything else happens.
          await quiet();
          assertEquals([actual, runs], [expected, model.runs], `step ${index}`);
        }
      },
    ),
    { seed: 5861, numRuns: 300 },
  );
});
