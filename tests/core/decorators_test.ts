/** `@cache.cache(options)` as a standard method decorator, at run time. */
import { test } from "node:test";
import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { type CachedFunction, methodsOf } from "../../src/core/wrapped.ts";
import { limitConcurrency } from "../../concurrency.ts";
import { UnhashableArgumentError } from "../../src/base/errors.ts";
import { MemoryCache } from "../../memory.ts";

/** A decorated method with its added methods: TypeScript lets no decorator change a type. */
function cached<Args extends unknown[], Value>(
  method: (...args: Args) => Promise<Value>,
): CachedFunction<(...args: Args) => Promise<Value>> {
  assert("readCache" in method);
  return method as CachedFunction<(...args: Args) => Promise<Value>>;
}

test("@cache.cache() with a function as this keys by what it makes of the instance", async () => {
  const cache = new MemoryCache();
  let runs = 0;
  class Client {
    constructor(
      readonly model: string,
      readonly secret: string,
    ) {}
    @cache.cache({ id: "Client.ask", this: (client: Client) => client.model })
    ask(prompt: string): Promise<string> {
      runs++;
      return Promise.resolve(`${this.model}: ${prompt}`);
    }
  }
  assertEquals(await new Client("a", "x").ask("hi"), "a: hi");
  assertEquals(await new Client("a", "y").ask("hi"), "a: hi");
  assertEquals(await new Client("b", "x").ask("hi"), "b: hi");
  assertEquals(runs, 2);
  const ask = cached(Client.prototype.ask);
  assertEquals([ask.name, ask.length, ask.id], ["ask", 1, "Client.ask"]);
  const a = new Client("a", "z");
  const found = await ask.readCache.call(a, "hi");
  assert(found.hit);
  assertEquals(found.value, "a: hi");
  assertEquals((await ask.detail.call(a, "hi")).status, "hit");
  assertEquals((await ask.detail.call(a, "new")).value, "a: new");
  await ask.bustCache.call(a, "hi");
  assertEquals((await ask.readCache.call(a, "hi")).hit, false);
  const b = new Client("b", "x");
  assertEquals((await ask.readCache.call(b, "hi")).hit, true);
  assertEquals(await ask.map.call(b, ["hi", "ho"], { concurrency: 1 }).values(), [
    "b: hi",
    "b: ho",
  ]);
  assert((await ask.key.call(a, "hi")) !== (await ask.key.call(b, "hi")));
});

test("@cache.cache() whose methods are called without an instance says how to call them", async () => {
  const cache = new MemoryCache();
  class Client {
    readonly model = "a";
    @cache.cache({ id: "Client.ask", this: (client: Client) => client.model })
    ask(prompt: string): Promise<string> {
      return Promise.resolve(`${this.model}: ${prompt}`);
    }
  }
  const client = new Client();
  for (
    const use of [
      () => cached(client.ask).readCache("hi"),
      () => cached(client.ask).detail("hi"),
      () => cached(client.ask).key("hi"),
      () => cached(client.ask).bustCache("hi"),
    ]
  ) {
    const error = await assertRejects(async () => await use(), TypeError);
    assert(error.message.includes("methodsOf(instance"), error.message);
    assert(error.message.includes("ask"));
  }
  // The whole function needs no instance.
  await client.ask("hi");
  await cached(client.ask).bustCache();
  assertEquals((await cached(client.ask).readCache.call(client, "hi")).hit, false);
});

test('@cache.cache() with this: "ignore" shares results between instances, and still passes this', async () => {
  const cache = new MemoryCache();
  let runs = 0;
  class Client {
    constructor(readonly token: string) {}
    @cache.cache({ id: "Client.fetch", this: "ignore" })
    fetch(url: string): Promise<string> {
      runs++;
      return Promise.resolve(`${url} with ${this.token}`);
    }
  }
  assertEquals(await new Client("a").fetch("x"), "x with a");
  assertEquals(await new Client("b").fetch("x"), "x with a");
  assertEquals(runs, 1);
  assertEquals((await cached(new Client("b").fetch).readCache("x")).hit, true);
});

test("@cache.cache() of an instance method without this is refused when decorating", () => {
  const cache = new MemoryCache();
  const error = assertThrows(() => {
    class Client {
      @cache.cache({ id: "ask" })
      ask(): Promise<number> {
        return Promise.resolve(1);
      }
    }
    return Client;
  }, TypeError);
  assert(error.message.includes("ask") && error.message.includes('"ignore"'));
});

test("@cache.cache() of a static method needs no this, and its methods can be given the class", async () => {
  const cache = new MemoryCache();
  let runs = 0;
  class Models {
    static readonly prefix: string = "p";
    @cache.cache({ id: "Models.load" })
    static load(name: string): Promise<string> {
      runs++;
      return Promise.resolve(`${this.prefix} ${name}`);
    }
    @cache.cache({
      id: "Models.named",
      this: (models: typeof Models) => models.prefix,
    })
    static named(name: string): Promise<string> {
      runs++;
      return Promise.resolve(`${this.prefix} ${name}`);
    }
  }
  class Others extends Models {
    static override readonly prefix = "q";
  }
  assertEquals(await Models.load("a"), "p a");
  assertEquals(await Models.load("a"), "p a");
  assertEquals(runs, 1);
  const found = await cached(Models.load).readCache("a");
  assert(found.hit);
  assertEquals((await cached(Models.load).detail.call(Models, "b")).value, "p b");
  assertEquals(await Models.named("a"), "p a");
  assertEquals(await Others.named("a"), "q a");
  const named = await cached(Models.named).readCache.call(Others, "a");
  assert(named.hit);
  assertEquals(named.value, "q a");
  assertEquals((await cached(Models.named).detail.call(Models, "a")).status, "hit");
  await assertRejects(() => cached(Models.named).readCache("a"), TypeError, "instance");
});

test("@cache.cache() decorates private methods", async () => {
  const cache = new MemoryCache();
  let runs = 0;
  class Client {
    constructor(readonly model: string) {}
    // Without parameters: Deno 2.9 compiles a decorated private method with some to invalid code.
    @cache.cache({ id: "#ask", this: (client: Client) => client.model })
    #ask(): Promise<string> {
      runs++;
      return Promise.resolve(`${this.model}!`);
    }
    ask(): Promise<string> {
      return this.#ask();
    }
    static idOf(client: Client): string {
      return cached(client.#ask).id;
    }
  }
  const client = new Client("a");
  assertEquals([await client.ask(), await client.ask()], ["a!", "a!"]);
  assertEquals(await new Client("b").ask(), "b!");
  assertEquals(runs, 2);
  assertEquals(Client.idOf(client), "#ask");
});

test("@cache.cache() of a method without an id is refused: another class may have one of that name", () => {
  const cache = new MemoryCache();
  const error = assertThrows(() => {
    class Client {
      @cache.cache({ this: "ignore" })
      ask(): Promise<number> {
        return Promise.resolve(1);
      }
    }
    return Client;
  }, TypeError);
  assert(error.message.includes("ask") && error.message.includes("id:"), error.message);
});

test("methodsOf() gives the methods of a decorated method with their instance", async () => {
  const cache = new MemoryCache();
  class Client {
    constructor(readonly model: string) {}
    @cache.cache({ id: "Client.ask", this: (client: Client) => client.model })
    ask(prompt: string): Promise<string> {
      return Promise.resolve(`${this.model}: ${prompt}`);
    }
    @cache.cache({ id: "Client.tell", this: "ignore" })
    tell(prompt: string): Promise<string> {
      return Promise.resolve(`${this.model}: ${prompt}`);
    }
    plain(): void {}
  }
  const client = new Client("a");
  const methods = methodsOf(client, "ask");
  assertEquals(await methods.map(["x", "y"], { concurrency: 2 }).values(), ["a: x", "a: y"]);
  assertEquals((await methods.detail("x")).status, "hit");
  assertEquals((await methods.readCache("y")).hit, true);
  assertEquals((await methodsOf(new Client("b"), "ask").readCache("y")).hit, false);
  await methods.bustCache("y");
  assertEquals((await methods.readCache("y")).hit, false);
  assertEquals((await methodsOf(client, "tell").detail("x")).value, "a: x");
  // Without an instance there is nothing to run on.
  const bare = cached(client.tell);
  await assertRejects(() => bare.detail("x"), TypeError, "methodsOf(instance");
  assertThrows(() => bare.map(["x"], { concurrency: 1 }), TypeError, "methodsOf(instance");
  assertThrows(() => methodsOf(client, "plain"), TypeError, "not a cached method");
});

test("@cache.cache() in a class and in its subclass: inherited methods are shared, overridden ones have ids of their own", async () => {
  const cache = new MemoryCache();
  let runs = 0;
  class Base {
    readonly name: string = "base";
    @cache.cache({ id: "Base.load", this: (base: Base) => base.name })
    load(n: number): Promise<string> {
      runs++;
      return Promise.resolve(`${this.name} ${n}`);
    }
  }
  class Inheriting extends Base {}
  class Renamed extends Base {
    override readonly name = "renamed";
  }
  assertEquals(await new Base().load(1), "base 1");
  assertEquals(await new Inheriting().load(1), "base 1");
  assertEquals(await new Renamed().load(1), "renamed 1");
  assertEquals(runs, 2);
  class Overriding extends Base {
    @cache.cache({ id: "Overriding.load", this: "ignore" })
    override async load(n: number): Promise<string> {
      return `over ${await super.load(n)}`;
    }
  }
  assertEquals(await new Overriding().load(1), "over base 1");
  assertEquals(runs, 2);
});

test("@cache.cache() and @limitConcurrency() stack in both orders", async () => {
  const cache = new MemoryCache();
  const limit = limitConcurrency(1);
  class Client {
    readonly model = "m";
    @cache.cache({ id: "outside", this: (client: Client) => client.model })
    @limit
    outside(n: number): Promise<string> {
      return Promise.resolve(`${this.model}${n}`);
    }
    @limit
    @cache.cache({ id: "inside", this: (client: Client) => client.model })
    inside(n: number): Promise<string> {
      return Promise.resolve(`${this.model}${n}`);
    }
  }
  const client = new Client();
  for (const name of ["outside", "inside"] as const) {
    assertEquals(await client[name](1), "m1");
    const method = cached(client[name]);
    assertEquals(method.id, name);
    assertEquals((await method.readCache.call(client, 1)).hit, true);
    // Called as a method of the method, `this` is not an instance.
    await assertRejects(async () => await method.readCache(1), TypeError);
  }
});

test("A this function whose answer has no stable identity is refused with a path", async () => {
  const cache = new MemoryCache();
  class Client {
    readonly options = { agent: () => 1 };
    @cache.cache({ id: "Client.ask", this: (client: Client) => client.options })
    ask(): Promise<number> {
      return Promise.resolve(1);
    }
  }
  const error = await assertRejects(() => new Client().ask(), UnhashableArgumentError);
  assertEquals(error.path, "this(…).agent");
});

test("Decorating what is not a method is refused, as is a decorator of the old kind", () => {
  const cache = new MemoryCache();
  const decorate = cache.cache({ id: "f", this: "ignore" }) as (...args: unknown[]) => unknown;
  const method = (): Promise<number> => Promise.resolve(1);
  const misuses: [string, unknown[]][] = [
    ...["field", "getter", "setter", "accessor", "class"].map((kind): [string, unknown[]] => [
      kind,
      [method, { kind, name: "x", static: false, private: false }],
    ]),
    ["a field, as runtimes call it", [undefined, { kind: "field", name: "x" }]],
    ["an old method decorator", [{ method }, "method", { value: method, writable: true }]],
    ["an old static method decorator", [class {}, "method", { value: method, writable: true }]],
    ["an old property decorator", [{}, "property"]],
    ["an index", [method, 0, [method]]],
    ["null", [method, null]],
  ];
  for (const [name, args] of misuses) {
    const error = assertThrows(() => decorate(...args), TypeError, undefined, name);
    assert(error.message.startsWith("Cannot cache a function: "), name);
  }
  for (const nothing of [undefined, null, 1, "f", {}, Promise.resolve()]) {
    const error = assertThrows(() => decorate(nothing), TypeError);
    assert(error.message.includes("fn must be a function"));
  }
});

test("@cache.stream() records a method, keyed by its instance, and methodsOf() gives its methods", async () => {
  await using cache = new MemoryCache();
  const limit = limitConcurrency(1);
  let runs = 0;
  class Client {
    constructor(readonly model: string) {}
    @cache.stream({ id: "Client.tokens", this: (client: Client) => client.model })
    @limit
    async *tokens(prompt: string): AsyncIterableIterator<string> {
      runs++;
      yield this.model;
      yield* prompt.split(" ");
    }
  }
  for (const model of ["a", "a", "b"]) {
    const tokens: string[] = [];
    for await (const token of new Client(model).tokens("to be")) tokens.push(token);
    assertEquals(tokens, [model, "to", "be"]);
  }
  assertEquals([runs, limit.activeCount], [2, 0]);
  const found = await methodsOf(new Client("b"), "tokens").readCache("to be");
  assert(found.hit);
  assertThrows(
    () => {
      class Forgetful {
        @cache.stream({ id: "Forgetful.tokens" })
        async *tokens(): AsyncIterableIterator<string> {}
      }
      return Forgetful;
    },
    TypeError,
    'pass { this: "ignore" }',
  );
});
