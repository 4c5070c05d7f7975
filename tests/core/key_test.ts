/** The arguments of a call: as they were when it was made, whatever anybody does to them later. */
import { Buffer } from "node:buffer";
import { test } from "node:test";
import { assert, assertEquals, assertStrictEquals } from "@std/assert";
import { Cache } from "../../src/core/cache.ts";
import { MemoryCache } from "../../memory.ts";
import { ByHand, HandBackend, quiet } from "../support/by_hand.ts";

interface Query {
  text: string;
  readonly tags: string[];
}

test("A function runs with the arguments as they were at the call, and its result is stored under them", async () => {
  const cache = new Cache(new HandBackend());
  const hand = new ByHand<[Query], string>();
  const fn = cache.cache({ id: "f" })(hand.fn);
  const query = { text: "a", tags: ["x"] };
  const key = await fn.key(query);
  const call = fn(query);
  query.text = "changed";
  query.tags.push("y");
  await quiet();
  assertEquals(hand.run(0).args, [{ text: "a", tags: ["x"] }]);
  // The function may change its own copy: neither the caller's nor the key changes.
  hand.run(0).args[0].text = "mine";
  hand.run(0).resolve("A");
  assertEquals([await call, query.text], ["A", "changed"]);
  const found = await fn.readCache({ text: "a", tags: ["x"] });
  assertEquals(found.hit && found.value, "A");
  assertEquals((await fn.detail({ text: "a", tags: ["x"] })).key, key);
});

test("fn.map() takes each input as it is when it is taken, and gives back the caller's own object", async () => {
  await using cache = new MemoryCache();
  const fn = cache.cache({ id: "f" })(async (query: Query) => await Promise.resolve(query.text));
  const query = { text: "a", tags: [] };
  const inputs = function* () {
    for (const text of ["a", "b", "c"]) {
      query.text = text;
      yield query;
      query.text = "changed";
    }
  };
  const batch = fn.map(inputs(), { concurrency: 1, ordered: true });
  const texts: string[] = [];
  for await (const result of batch) {
    assertStrictEquals(result.input, query);
    if (result.ok) texts.push(result.value);
  }
  assertEquals(texts, ["a", "b", "c"]);
});

test("Copies of arguments keep their classes", async () => {
  const cache = new Cache(new HandBackend());
  const hand = new ByHand<unknown[], string>();
  const fn = cache.cache({ id: "f" })(hand.fn);
  const given = [Buffer.from([1, 2]), new Date(5), new Map([["a", new Set([1n])]]), /x/gi];
  const call = fn(...given);
  await quiet();
  const { args } = hand.run(0);
  assert(Buffer.isBuffer(args[0]) && args[0] !== given[0]);
  assertEquals(args, given);
  hand.run(0).resolve("A");
  await call;
});

test("shouldCache sees the arguments as they were at the call, whatever the function did to its own", async () => {
  await using cache = new MemoryCache();
  const seen: unknown[] = [];
  const fn = cache.cache({
    id: "f",
    shouldCache: (_: number, query: Query) => seen.push(structuredClone(query)) > 0,
  })(async (query: Query) => {
    query.text = "changed by the function";
    return await Promise.resolve(1);
  });
  await fn({ text: "a", tags: [] });
  assertEquals(seen, [{ text: "a", tags: [] }]);
});

test("What goes by identity and changes while the function runs is reported, and not stored", async () => {
  class Money {
    constructor(public cents: number) {}
    toJSON(): number {
      return this.cents;
    }
  }
  const errors: string[] = [];
  const cache = new MemoryCache({ onError: (_, { kind }) => errors.push(kind) });
  const hand = new ByHand<[Money | Query], string>();
  const money = new Money(1);
  const query: Query = { text: "a", tags: [] };
  const hashFunc = (each: unknown): unknown => each instanceof Money ? 0 : (each as Query).text;
  const functions = [
    [cache.cache({ id: "toJSON" })(hand.fn), money, () => money.cents = 2],
    [cache.cache({ id: "hashFunc", hashFunc })(hand.fn), query, () => query.text = "b"],
  ] as const;
  for (const [fn, given, change] of functions) {
    const run = hand.runs.length;
    const call = fn.detail(given);
    await quiet();
    assertStrictEquals(hand.run(run).args[0], given, "the caller's own");
    change();
    hand.run(run).resolve("A");
    const { value, unstored, storedAt } = await call;
    assertEquals([value, unstored, storedAt], ["A", "arguments", null]);
    assertEquals((await fn.readCache(given)).hit, false);
  }
  assertEquals(errors, ["arguments", "arguments"]);
});

test("A this function is asked again when the method has returned", async () => {
  const errors: string[] = [];
  const cache = new MemoryCache({ onError: (_, { kind }) => errors.push(kind) });
  class Client {
    model = "a";
    @cache.cache({ id: "Client.ask", this: (client: Client) => client.model })
    async ask(_: string): Promise<string> {
      this.model = "b";
      return await Promise.resolve("answer");
    }
  }
  const client = new Client();
  assertEquals(await client.ask("hi"), "answer");
  assertEquals(errors, ["arguments"]);
  assertEquals(cache.stats({ id: "Client.ask" }).unstored, 1);
});
