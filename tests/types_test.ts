/** The types of cached functions: checked when the tests are type-checked. */
import { test } from "node:test";
import { assertEquals } from "@std/assert";
import type { Batch } from "../src/core/batch.ts";
import type { MapResult } from "../src/core/map_options.ts";
import type { Cache } from "../src/core/cache.ts";
import type { CallStatus } from "../src/core/events.ts";
import { type CachedFunction, methodsOf } from "../src/core/wrapped.ts";
import type { CacheRead, CallDetail } from "../mod.ts";
import { limitConcurrency } from "../concurrency.ts";
import { MemoryCache } from "../memory.ts";
import type { StandardSchema } from "../src/base/schema.ts";
import type { ReadableLike } from "../src/base/stream.ts";
import type { FunctionOptions } from "../src/core/options.ts";

type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true
  : false;

/** Compiles only where both types are the same. */
function same<A, B>(..._proof: Same<A, B> extends true ? [] : [never]): void {}

/** Type-checked and never run. */
function compiled(_: () => unknown): void {}

const cache: Cache = new MemoryCache();

interface Doc {
  readonly text: string;
}

test("A cached function can be called like the function: its type is kept whole", async () => {
  const fn = async (doc: Doc, length = 3, ...tags: string[]): Promise<string> =>
    await Promise.resolve(doc.text.slice(0, length) + tags.join(""));
  const cached = cache.cache({ id: "whole" })(fn);
  same<typeof cached, CachedFunction<typeof fn>>();
  // Argument names, optional and rest parameters are those of the function.
  const same_: typeof fn = cached;
  same<Parameters<typeof cached>, [doc: Doc, length?: number | undefined, ...tags: string[]]>();
  same<Awaited<ReturnType<typeof cached>>, string>();
  assertEquals(await same_({ text: "long" }), "lon");
  compiled(() => [
    cached({ text: "a" }, 1, "x", "y"),
    // @ts-expect-error the first argument is missing
    cached(),
    // @ts-expect-error a tag is not a number
    cached({ text: "a" }, 1, 2),
    // @ts-expect-error the value is not a number
    cached({ text: "a" }).then((value: number) => value),
  ]);
});

test("The methods of a cached function take its arguments and give its value", () => {
  const cached = cache.cache({ id: "methods" })(
    async (doc: Doc, model?: "a" | "b"): Promise<number[]> =>
      await Promise.resolve([doc.text.length, (model ?? "").length]),
  );
  compiled(async () => {
    const read = await cached.readCache({ text: "a" }, "b");
    same<typeof read, CacheRead<number[]>>();
    if (read.hit) {
      same<typeof read.value, number[]>();
      same<typeof read.expiresAt, number | null>();
    }
    // @ts-expect-error a miss has no value
    read.value;
    const detail = await cached.detail({ text: "a" });
    same<typeof detail, CallDetail<number[]>>();
    same<typeof detail.status, CallStatus>();
    same<typeof detail.storedAt, number | null>();
    const key = await cached.key({ text: "a" }, "a");
    same<typeof key, string>();
    same<typeof cached.id, string>();
    await cached.bustCache();
    await cached.bustCache({ text: "a" });
  });
  compiled(() => [
    // @ts-expect-error no such model
    cached.readCache({ text: "a" }, "c"),
    // @ts-expect-error the argument is missing
    cached.readCache(),
    // @ts-expect-error not a document
    cached.bustCache("a"),
    // @ts-expect-error the argument is missing
    cached.detail(),
    // @ts-expect-error the argument is missing
    cached.key(),
    // @ts-expect-error the id cannot be changed
    cached.id = "other",
  ]);
});

test("A batch takes the first argument as its inputs and the others as args", () => {
  const cached = cache.cache({ id: "batch" })(
    async (doc: Doc, model: string, length?: number): Promise<boolean> =>
      await Promise.resolve(doc.text.length + model.length > (length ?? 0)),
  );
  compiled(async () => {
    const batch = cached.map([{ text: "a" }], {
      concurrency: 1,
      args: ["model", 2],
    });
    same<typeof batch, Batch<Doc, boolean>>();
    same<Awaited<ReturnType<typeof batch.values>>, boolean[]>();
    for await (const result of batch) {
      same<typeof result, MapResult<Doc, boolean>>();
      if (result.ok) {
        same<typeof result.value, boolean>();
        same<typeof result.status, CallStatus>();
      } else {
        same<typeof result.error, unknown>();
        same<typeof result.status, "failed">();
      }
      same<typeof result.input, Doc>();
    }
    async function* lazily(): AsyncGenerator<Doc> {
      yield await Promise.resolve({ text: "a" });
    }
    cached.map(lazily(), { concurrency: Infinity, args: ["m"] });
    cached.map(new Set([{ text: "a" }]), { concurrency: 1, args: ["m"] });
  });
  compiled(() => [
    // @ts-expect-error inputs are documents
    cached.map(["a"], { concurrency: 1, args: ["m"] }),
    // @ts-expect-error a model is not a number
    cached.map([{ text: "a" }], { concurrency: 1, args: [1] }),
    // @ts-expect-error concurrency is required
    cached.map([{ text: "a" }], {}),
  ]);
});

test("A generic function stays generic", async () => {
  const cached = cache.cache({ id: "generic" })(
    async <T extends object>(value: T, key: keyof T): Promise<T[keyof T]> =>
      await Promise.resolve(value[key]),
  );
  const value = await cached({ a: 1 }, "a");
  same<typeof value, number>();
  assertEquals(value, 1);
  const list = cache.cache({ id: "list" })(
    async <T>(item: T): Promise<T[]> => await Promise.resolve([item]),
  );
  const texts = await list("a");
  same<typeof texts, string[]>();
  compiled(() => [
    // @ts-expect-error no such member
    cached({ a: 1 }, "b"),
  ]);
  // With options that are typed for any arguments, too.
  const hashed = cache.cache({
    id: "hashed",
    hashFunc: (item: unknown) => String(item),
  })(async <T>(item: T): Promise<T[]> => await Promise.resolve([item]));
  const numbers = await hashed(1);
  same<typeof numbers, number[]>();
});

test("Overloads survive on the function itself; the methods know the last one", () => {
  function load(name: string): Promise<string>;
  function load(id: number, deep: boolean): Promise<number>;
  async function load(item: string | number, deep = false): Promise<string | number> {
    return await Promise.resolve(deep ? item : item);
  }
  const cached = cache.cache({ id: "overloaded" })(load);
  compiled(async () => {
    const text = await cached("a");
    same<typeof text, string>();
    const number = await cached(1, true);
    same<typeof number, number>();
    // TypeScript takes the parameters of an overloaded function from its last signature.
    const read = await cached.readCache(1, true);
    same<typeof read, CacheRead<number>>();
  });
  compiled(() => [
    // @ts-expect-error no overload takes a string and a boolean
    cached("a", true),
    // @ts-expect-error the methods know the last overload only
    cached.readCache("a"),
  ]);
});

test("The type of this survives", () => {
  interface Counter {
    readonly step: number;
  }
  const cached = cache.cache({ id: "this", this: "ignore" })(async function (
    this: Counter,
    n: number,
  ): Promise<number> {
    return await Promise.resolve(n + this.step);
  });
  compiled(() => [
    cached.call({ step: 1 }, 1),
    // @ts-expect-error not called on a counter
    cached(1),
    // @ts-expect-error not a counter
    cached.call({}, 1),
  ]);
});

test("Properties of the function survive, through a limit and back", () => {
  const fn = Object.assign(async (n: number): Promise<number> => await Promise.resolve(n), {
    docs: "text",
  });
  const cached = cache.cache({ id: "properties" })(fn);
  same<typeof cached.docs, string>();
  const outside = limitConcurrency(2)(cached);
  same<typeof outside.docs, string>();
  const inside = cache.cache({ id: "inside" })(limitConcurrency(2)(fn));
  same<typeof inside.docs, string>();
  compiled(async () => {
    const read = await outside.readCache(1);
    same<typeof read, CacheRead<number>>();
    await outside.bustCache();
    same<Awaited<ReturnType<typeof inside>>, number>();
    // @ts-expect-error not a number
    await outside.readCache("a");
  });
});

test("A helper around the cache may be generic over arguments and value", async () => {
  function keep<Args extends unknown[], Value>(
    id: string,
    fn: (...args: Args) => Promise<Value>,
  ): CachedFunction<(...args: Args) => Promise<Value>> {
    // The types of options cannot be compared with arguments that are still generic.
    const cached: unknown = cache.cache({ id })(fn);
    return cached as CachedFunction<(...args: Args) => Promise<Value>>;
  }
  const kept = keep(
    "kept",
    async (n: number, text?: string) => await Promise.resolve(`${n}${text ?? ""}`),
  );
  const value = await kept(1);
  same<typeof value, string>();
  compiled(() => [
    // @ts-expect-error not a number
    kept("a"),
  ]);
});

test("Options that are typed for other arguments, values or instances are refused", () => {
  const fn = async (text: string): Promise<string> => await Promise.resolve(text);
  const schema = <Value>(value: Value): StandardSchema<Value> => ({
    "~standard": { version: 1, vendor: "test", validate: () => ({ value }) },
  });
  compiled(() => [
    cache.cache({ hashFunc: (text: string) => text })(fn)("a"),
    cache.cache({ hashFunc: () => "one" })(fn)("a"),
    cache.cache({ hashFunc: (text: string | number) => `${text}` })(fn)("a"),
    cache.cache({ shouldCache: (value: string) => value !== "" })(fn)("a"),
    cache.cache({
      shouldCache: (value: string, text: string) => value !== text,
    })(fn)("a"),
    cache.cache({ shouldCache: (value: unknown) => value !== "" })(fn)("a"),
    // @ts-expect-error the function takes a string
    cache.cache({ hashFunc: (n: number) => n })(fn)("a"),
    // @ts-expect-error the function takes one argument
    cache.cache({ hashFunc: (a: string, b: string) => a + b })(fn)("a"),
    // @ts-expect-error the function returns a string
    cache.cache({ shouldCache: (value: number) => value > 0 })(fn)("a"),
    // @ts-expect-error the function takes a string
    cache.cache({ shouldCache: (_: string, text: number) => text > 0 })(fn)("a"),
    cache.cache({ schema: schema(1) })(fn)("a").then((value: number) => value),
    // @ts-expect-error the output of the schema is not a string
    cache.cache({ schema: schema(1) })(fn)("a").then((value: string) => value),
  ]);
  compiled(() => [
    // @ts-expect-error no such option
    cache.cache({ ttll: 1 }),
    // @ts-expect-error not a duration
    cache.cache({ ttl: "ten minutes" }),
    cache.cache({ ttl: "10m", staleIfError: 5 }),
    // @ts-expect-error an id is a string
    cache.cache({ id: 1 }),
    cache.cache({ shouldCache: async () => await Promise.resolve(false) }),
    // @ts-expect-error neither "ignore" nor a function
    cache.cache({ this: "include" }),
    cache.cache({ id: "sync" })((n: number) => n)(1).then((value: number) => value),
    // @ts-expect-error the options of a cache
    new MemoryCache({ onErrors: () => {} }),
  ]);
  same<FunctionOptions["debug"], boolean | undefined>();
});

test("A codec has to fit the function, both ways", () => {
  class Money {
    constructor(readonly cents: number) {}
  }
  const price = async (_item: string): Promise<Money> => await Promise.resolve(new Money(1));
  const encode = (money: Money): number => money.cents;
  const decode = (cents: number): Money => new Money(cents);
  const anything = { encode: (value: unknown) => value, decode: (stored: unknown) => stored };
  compiled(() => [
    cache.cache({ codec: { encode, decode } })(price)("a").then((money: Money) => money.cents),
    cache.cache({ codec: { encode: (money: Money) => money.cents, decode } })(price)("a"),
    cache.cache({ codec: anything })(price)("a"),
    cache.cache({ id: "price", codec: { encode, decode }, shouldCache: (_: Money) => true })(price)(
      "a",
    ),
    // @ts-expect-error the function returns money, not a string
    cache.cache({ codec: { encode: (text: string) => text, decode: (text: string) => text } })(
      price,
    )("a"),
    // @ts-expect-error the decoded value is not money
    cache.cache({ codec: { encode, decode: (cents: number) => cents } })(price)("a"),
  ]);
});

test("Direct keys carry the type that is asked for", () => {
  compiled(async () => {
    const unknown = await cache.get("k");
    same<typeof unknown, unknown>();
    const doc = await cache.get<Doc>("k");
    same<typeof doc, Doc>();
    const read = await cache.read<Doc>("k");
    same<typeof read, CacheRead<Doc>>();
    // @ts-expect-error a key is a string
    await cache.get(1);
  });
});

test("Decorators type-check on instance, static and private methods, and on methods alone", () => {
  class Client {
    readonly model: string = "m";
    @cache.cache({ id: "types.ask", this: (client: Client) => client.model })
    ask(prompt: string, _options?: { readonly signal?: AbortSignal }): Promise<string> {
      return Promise.resolve(prompt);
    }
    @cache.cache({ id: "types.ignored", this: "ignore" })
    ignored<T>(value: T): Promise<T> {
      return Promise.resolve(value);
    }
    @cache.cache({ id: "types.load" })
    static load(n: number): Promise<number> {
      return Promise.resolve(n);
    }
    @cache.cache({
      id: "types.hashed",
      this: "ignore",
      hashFunc: (doc: Doc) => doc.text,
      shouldCache: (value: number, doc: Doc) => value === doc.text.length,
    })
    hashed(doc: Doc): Promise<number> {
      return Promise.resolve(doc.text.length);
    }
    @cache.cache({ id: "types.hidden", this: "ignore" })
    #hidden(): Promise<string> {
      return Promise.resolve(this.model);
    }
    hidden(): Promise<string> {
      return this.#hidden();
    }
  }
  compiled(async () => {
    const client = new Client();
    same<Awaited<ReturnType<typeof client.ask>>, string>();
    const value = await client.ignored(1 as const);
    same<typeof value, 1>();
    same<Awaited<ReturnType<typeof Client.load>>, number>();
  });
  compiled(() => {
    class Misused {
      // @ts-expect-error a field is not a method
      @cache.cache({ id: "field" })
      field = 1;
      // @ts-expect-error a getter is not a method
      @cache.cache({ id: "getter" })
      get getter(): Promise<number> {
        return Promise.resolve(1);
      }
      // @ts-expect-error it returns no promise
      @cache.cache({ id: "sync", this: "ignore" })
      sync(): number {
        return 1;
      }
      // @ts-expect-error hashFunc is for other arguments
      @cache.cache({ id: "other", this: "ignore", hashFunc: (n: number) => n })
      other(text: string): Promise<string> {
        return Promise.resolve(text);
      }
    }
    return Misused;
  });
});

test("A cached stream function takes its arguments and gives its items, from whatever it returns", () => {
  const generator = cache.stream({ id: "generator" })(async function* (doc: Doc, length?: number) {
    yield await Promise.resolve(doc.text.slice(length));
  });
  const promised = cache.stream({ id: "promised" })(async (n: number) =>
    await Promise.resolve(ReadableStream.from([n, n + 1]))
  );
  const readable = cache.stream({ id: "readable" })(
    (_: string): ReadableLike<Uint8Array> => ReadableStream.from([new Uint8Array()]),
  );
  compiled(async () => {
    same<Parameters<typeof generator>, [doc: Doc, length?: number | undefined]>();
    same<ReturnType<typeof generator>, AsyncIterableIterator<string>>();
    same<ReturnType<typeof promised>, AsyncIterableIterator<number>>();
    same<ReturnType<typeof readable>, AsyncIterableIterator<Uint8Array>>();
    const read = await generator.readCache({ text: "a" });
    same<typeof read, CacheRead<string[]>>();
    const detail = await promised.detail(1);
    same<typeof detail, CallDetail<number[]>>();
    same<ReturnType<typeof map>, Batch<number, number[]>>();
  });
  const map = () => promised.map([1], { concurrency: 1 });
  const texts = cache.stream({ id: "wrong", shouldCache: (items: string[]) => items.length > 0 });
  const misfit = texts(async function* () {
    yield await Promise.resolve(1);
  });
  compiled(() => [
    // @ts-expect-error the argument is missing
    generator(),
    // @ts-expect-error an array is not a stream
    cache.stream({ id: "array" })(() => [1]),
    // @ts-expect-error a schema guards all items
    cache.stream({ id: "schema", schema: true }),
    cache.stream({
      id: "right",
      shouldCache: (items: number[], n: number) => items.length > n,
      hashFunc: (n: number) => n,
      maxItems: 10,
    })(async function* (n: number) {
      yield await Promise.resolve(n);
    })(1),
    // @ts-expect-error shouldCache is for other items
    misfit(),
  ]);
});

test("A limit around an async generator function keeps its very type", () => {
  const generator = async function* (n: number): AsyncGenerator<number, string, boolean> {
    return (yield await Promise.resolve(n)) ? "yes" : "no";
  };
  const limited = limitConcurrency(1)(generator);
  const cached = cache.stream({ id: "limited" })(limited);
  compiled(() => {
    same<typeof limited, typeof generator>();
    same<ReturnType<typeof cached>, AsyncIterableIterator<number>>();
    // @ts-expect-error a generator is not awaited
    limited(1).then;
    // @ts-expect-error a function that merely returns an iterable looks like any other
    limitConcurrency(1)((): Iterable<number> => [1]);
  });
});

test("The decorator of a stream fits methods that return an AsyncIterableIterator", () => {
  class Client {
    @cache.stream({ id: "types.tokens", this: "ignore" })
    async *tokens(prompt: string): AsyncIterableIterator<string> {
      yield* prompt.split(" ");
    }
    @limitConcurrency(1)
    async *limited(prompt: string): AsyncGenerator<string> {
      yield* prompt.split(" ");
    }
  }
  compiled(async () => {
    for await (const token of new Client().tokens("a b")) same<typeof token, string>();
    const read = await methodsOf(new Client(), "tokens").readCache("a b");
    same<typeof read, CacheRead<string[]>>();
  });
});
