/** `schema` and `shouldCache`: what is worth storing, and what a stored value must still be. */
import { test } from "node:test";
import { assert, assertEquals } from "@std/assert";
import { z } from "zod";
import { Cache } from "../../src/core/cache.ts";
import { MemoryBackend } from "../../memory.ts";
import type { ErrorContext, Schema } from "../../src/core/options.ts";

type Issues = { readonly issues?: readonly unknown[] | undefined };

function schemaOf<Value>(validate: (value: unknown) => Issues | Promise<Issues>): Schema<Value> {
  return { "~standard": { version: 1, vendor: "test", validate } };
}

/** A cache that remembers what it reports. */
function reporting(backend = new MemoryBackend()) {
  const errors: { error: Error; context: ErrorContext }[] = [];
  const cache = new Cache(backend, {
    onError: (error, context) => errors.push({ error, context }),
  });
  return { backend, cache, errors };
}

const text = (value: unknown): Issues =>
  typeof value === "string" ? {} : { issues: [{ message: "no text" }] };

for (
  const [name, validate] of Object.entries({
    "a synchronous": text,
    "an asynchronous": async (value: unknown) => {
      await new Promise((resolve) => setTimeout(resolve, 1));
      return text(value);
    },
  })
) {
  test(`schema with ${name} validator keeps a result that fails it out of the store`, async () => {
    const { cache, errors } = reporting();
    const schema = schemaOf<string | number>(validate);
    const results = [1, "good"];
    const fn = cache.cache({ id: "f", schema })(
      async () => await Promise.resolve(results.shift() ?? "none"),
    );
    assertEquals(await fn(), 1, "it is returned all the same");
    assertEquals(await fn.readCache(), { hit: false });
    const [reported] = errors;
    assertEquals(reported?.context, {
      kind: "refused",
      id: "f",
      key: await fn.key(),
    });
    assert(reported?.error.message.includes("fails the schema"));
    assertEquals(await fn(), "good");
    assertEquals((await fn.detail()).status, "hit");
    assertEquals(errors.length, 1);
  });

  test(`schema with ${name} validator takes a stored value that fails it for a miss`, async () => {
    const { cache, errors, backend } = reporting();
    const before = cache.cache({ id: "f" })(async (n: number) => await Promise.resolve(n));
    await before.map([1, 2, 3], { concurrency: 3 }).values();
    const other = reporting(backend);
    const schema = schemaOf<string>(validate);
    let runs = 0;
    const fn = other.cache.cache({ id: "f", schema })(async (n: number) => {
      runs++;
      return await Promise.resolve(`${n}`);
    });
    assertEquals(await fn.readCache(1), { hit: false });
    assertEquals((await fn.detail(1)).status, "miss");
    assertEquals((await fn.detail(1)).status, "hit");
    const batch = fn.map([1, 2, 3], { concurrency: 2 });
    assertEquals(await batch.values(), ["1", "2", "3"]);
    assertEquals([batch.summary.hits, batch.summary.misses, runs], [1, 2, 3]);
    assertEquals([...errors, ...other.errors], []);
  });
}

test("schema whose validator throws changes no outcome and is reported", async () => {
  for (const fails of ["throws", "rejects"]) {
    const { cache, errors, backend } = reporting();
    let broken = false;
    const schema = schemaOf<number>((_value) => {
      if (!broken) return {};
      const error = new Error("bad validator");
      if (fails === "throws") throw error;
      return Promise.reject(error);
    });
    let runs = 0;
    const fn = cache.cache({ id: "f", schema })(
      async (_n: number) => await Promise.resolve(++runs),
    );
    assertEquals(await fn(1), 1);
    broken = true;
    assertEquals(await fn(1), 2, "what cannot be checked is a miss");
    assertEquals(await fn.map([1], { concurrency: 1 }).values(), [3]);
    assertEquals(
      errors.map(({ context }) => context.kind),
      ["refused", "refused", "refused", "refused"],
    );
    broken = false;
    assertEquals(await fn(1), 1, "the stored value was left alone");
    for await (const { id } of backend.entries()) assertEquals(id, "f");
  }
});

test("schema does not change what it checks", async () => {
  const { cache } = reporting();
  const schema = z.object({ n: z.number() });
  const fn = cache.cache({ id: "f", schema })(
    async (n: number) => await Promise.resolve({ n, more: [n] }),
  );
  assertEquals(await fn(1), { n: 1, more: [1] });
  assertEquals(await fn(1), { n: 1, more: [1] });
  assertEquals((await fn.detail(1)).status, "hit");
});

test("schema takes the schemas of zod, and their types fit", async () => {
  const { cache, errors, backend } = reporting();
  const schema = z
    .object({ name: z.string().min(1), age: z.int().positive() })
    .refine(async ({ age }) => await Promise.resolve(age < 200));
  const fn = cache.cache({ id: "person", schema })(
    async (age: number) => await Promise.resolve({ name: "Ada", age }),
  );
  assertEquals(await fn(36), { name: "Ada", age: 36 });
  assertEquals(await fn(-1), { name: "Ada", age: -1 });
  assertEquals(await fn(300), { name: "Ada", age: 300 });
  assertEquals(errors.length, 2);
  assertEquals((await fn.readCache(36)).hit, true);
  assertEquals((await fn.readCache(-1)).hit, false);
  assertEquals((await fn.readCache(300)).hit, false);
  const stricter = reporting(backend).cache.cache({
    id: "person",
    schema: z.object({ name: z.string().min(4), age: z.number() }),
  })(async (age: number) => await Promise.resolve({ name: "Grace", age }));
  assertEquals((await stricter.detail(36)).status, "miss");
});

test("shouldCache sees the value and the arguments", async () => {
  const { cache } = reporting();
  const seen: unknown[][] = [];
  const fn = cache.cache({
    id: "f",
    shouldCache: (value: string, n: number, mode?: string) => {
      seen.push([value, n, mode]);
      return mode !== "draft";
    },
  })(async (n: number, mode?: string) => await Promise.resolve(`${n} ${mode ?? "final"}`));
  assertEquals(await fn(1, "draft"), "1 draft");
  assertEquals(await fn(2), "2 final");
  assertEquals(seen, [
    ["1 draft", 1, "draft"],
    ["2 final", 2, undefined],
  ]);
  assertEquals((await fn.readCache(1, "draft")).hit, false);
  assertEquals((await fn.readCache(2)).hit, true);
  await fn.map([3, 4], { concurrency: 1, args: ["draft"] }).values();
  assertEquals(seen.slice(2), [
    ["3 draft", 3, "draft"],
    ["4 draft", 4, "draft"],
  ]);
});

test("shouldCache that throws stores nothing, and is reported", async () => {
  const { cache, errors } = reporting();
  const fn = cache.cache({
    id: "f",
    shouldCache: () => {
      throw new Error("undecided");
    },
  })(async () => await Promise.resolve(5));
  assertEquals(await fn(), 5);
  assertEquals(await fn.readCache(), { hit: false });
  assertEquals(
    errors.map(({ error, context }) => [error.message, context.kind]),
    [["undecided", "refused"]],
  );
});
