/** `onCall`: its events, and that it changes nothing. */
import { test } from "node:test";
import { assertEquals, assertRejects } from "@std/assert";
import type { CallEvent, ErrorContext } from "../../mod.ts";
import { MemoryCache } from "../../memory.ts";
import { ByHand, quiet } from "../support/by_hand.ts";
import { FakeTime } from "../support/fake_time.ts";

/** A cache that collects its events, by status. */
function observed(onCall?: (event: CallEvent) => void) {
  const events: CallEvent[] = [];
  const errors: [string, ErrorContext][] = [];
  const cache = new MemoryCache({
    onCall: onCall ?? ((event) => events.push(event)),
    onError: ({ message }, context) => errors.push([message, context]),
  });
  return { cache, events, errors };
}

test("onCall receives misses, hits, shared and stale calls, with cost and size", async () => {
  using time = new FakeTime();
  const { cache, events } = observed();
  const hand = new ByHand<[string], string>();
  const ask = cache.cache({ id: "ask", ttl: 100, staleWhileRevalidate: 1000 })(hand.fn);
  const both = [ask("a"), ask("a")];
  await quiet();
  await time.tick(40);
  hand.run(0).resolve("äö");
  await Promise.all(both);
  const storedAt = Date.now();
  await ask("a");
  await time.tick(150);
  await ask("a");
  const key = await ask.key("a");
  const common = { id: "ask", key, durationMs: 40, storedAt, bytes: 6, unstored: undefined };
  assertEquals(
    events,
    (["miss", "shared", "hit", "stale"] as const).map((status) => ({ ...common, status })),
  );
  await quiet();
  hand.run(1).resolve("new");
  await cache.close();
});

test("onCall receives each input of a batch, as stats() counts them", async () => {
  const { cache, events } = observed();
  const half = cache.cache({ id: "half" })(async (n: number): Promise<number> => {
    if (n % 2 === 1) throw new RangeError("odd");
    return await Promise.resolve(n / 2);
  });
  for (let round = 0; round < 2; round++) {
    await half.map([0, 1, 2, 2, 4], { concurrency: 2 }).run();
  }
  const counted = (status: string) => events.filter((each) => each.status === status).length;
  const { hits, misses, shared, stale, failed } = cache.stats({ id: "half" });
  assertEquals(
    ["hit", "miss", "shared", "stale", "failed"].map(counted),
    [hits, misses, shared, stale, failed],
  );
  assertEquals([hits, misses, shared, failed], [4, 3, 1, 2]);
});

test("onCall receives why a result was not stored, and a failed run once", async () => {
  const { cache, events } = observed();
  const hand = new ByHand<[string], unknown>();
  const options = { id: "f", shouldCache: (value: unknown) => value !== "no" };
  const fn = cache.cache(options)(hand.fn);
  const calls = [fn("refused"), fn("encode"), fn("fails"), fn("fails")];
  const settled = Promise.allSettled(calls);
  await quiet();
  hand.run(0).resolve("no");
  await calls[0];
  hand.run(1).resolve(() => 1);
  await calls[1];
  hand.run(2).reject(new Error("down"));
  await settled;
  assertEquals(
    events.map(({ status, storedAt, bytes, unstored }) => ({ status, storedAt, bytes, unstored })),
    [
      { status: "miss", storedAt: null, bytes: 0, unstored: "refused" },
      { status: "miss", storedAt: null, bytes: 0, unstored: "encode" },
      { status: "failed", storedAt: null, bytes: 0, unstored: undefined },
    ],
  );
});

test("onCall that fails, at once or later, is reported and changes no outcome", async () => {
  const failing: ((event: CallEvent) => void)[] = [
    () => {
      throw new Error("listener");
    },
    async () => {
      await Promise.reject(new Error("listener"));
    },
  ];
  for (const onCall of failing) {
    const { cache, errors } = observed(onCall);
    const double = cache.cache({ id: "double" })(async (n: number): Promise<number> => {
      if (n < 0) throw new RangeError("negative");
      return await Promise.resolve(2 * n);
    });
    assertEquals([await double(1), await double(1)], [2, 2]);
    await assertRejects(() => double(-1), RangeError, "negative");
    await quiet();
    const key = await double.key(1);
    assertEquals(errors.slice(0, 2), [
      ["listener", { kind: "progress", id: "double", key }],
      ["listener", { kind: "progress", id: "double", key }],
    ]);
    assertEquals(errors.length, 3);
  }
});

test("onCall receives a stream when it has ended, as stats() counts it", async () => {
  const { cache, events } = observed();
  const count = cache.stream({ id: "count" })(async function* (to: number) {
    for (let n = 0; n < to; n++) yield await Promise.resolve(n);
    if (to === 0) throw new RangeError("nothing");
  });
  for (let round = 0; round < 2; round++) {
    assertEquals(await Array.fromAsync(count(3)), [0, 1, 2]);
    await quiet();
  }
  await assertRejects(() => Array.fromAsync(count(0)), RangeError, "nothing");
  await quiet();
  assertEquals(events.map(({ id, status }) => [id, status]), [
    ["count", "miss"],
    ["count", "hit"],
    ["count", "failed"],
  ]);
  const [miss, hit] = events;
  assertEquals([miss?.key, miss?.bytes, miss?.storedAt], [hit?.key, hit?.bytes, hit?.storedAt]);
  const { hits, misses, failed } = cache.stats({ id: "count" });
  assertEquals([hits, misses, failed], [1, 1, 1]);
});

test("onCall receives nothing of readCache(), busts and direct keys", async () => {
  const { cache, events } = observed();
  const one = cache.cache({ id: "one" })(async (n: number): Promise<number> =>
    await Promise.resolve(n)
  );
  await one.readCache(1);
  await one.bustCache(1);
  await cache.set("key", 1);
  await cache.get("key");
  assertEquals(events, []);
});

test("stats().byId names every function, whatever its id, and sums to stats()", async () => {
  const { cache } = observed();
  for (const id of ["__proto__", "b", "b/c"]) {
    const fn = cache.cache({ id })(async (n: number): Promise<number> => await Promise.resolve(n));
    await fn.map([1, 1, 2], { concurrency: 1 }).run();
  }
  const { byId, misses } = cache.stats();
  assertEquals(Object.entries(byId).map(([id, { misses }]) => [id, misses]), [
    ["__proto__", 2],
    ["b", 2],
    ["b/c", 2],
  ]);
  assertEquals(misses, 6);
});
