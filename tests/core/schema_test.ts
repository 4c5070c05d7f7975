/** `schema` and `shouldCache`: the conditions for storing a value, and for serving a stored one. */
import { test } from "node:test";
import {
  assertEquals,
  assertNotStrictEquals,
  assertRejects,
  assertStrictEquals,
} from "@std/assert";
import { z } from "zod";
import { Cache } from "../../src/core/cache.ts";
import { MemoryBackend } from "../../memory.ts";
import { SchemaError } from "../../src/base/errors.ts";
import type { SchemaResult, StandardSchema } from "../../src/base/schema.ts";
import type { ErrorContext } from "../../src/core/options.ts";

function schemaOf<Value>(
  validate: (value: Value) => SchemaResult<Value> | Promise<SchemaResult<Value>>,
): StandardSchema<Value> {
  // The input of a validator is unknown; each of these checks it first.
  return { "~standard": { version: 1, vendor: "test", validate: validate as never } };
}

/** A cache that records its reports. */
function reporting(backend = new MemoryBackend()) {
  const errors: { error: Error; context: ErrorContext }[] = [];
  const cache = new Cache(backend, {
    onError: (error, context) => errors.push({ error, context }),
  });
  return { backend, cache, errors };
}

const text = (value: unknown): SchemaResult<string> =>
  typeof value === "string" ? { value } : { issues: [{ message: "no text" }] };

for (
  const [name, validate] of Object.entries({
    "a synchronous": text,
    "an asynchronous": async (value: unknown) => {
      await new Promise((resolve) => setTimeout(resolve, 1));
      return text(value);
    },
  })
) {
  test(`schema with ${name} validator rejects a result that fails it, and stores nothing`, async () => {
    const { cache, errors } = reporting();
    const results = [1, "good"];
    const fn = cache.cache({ id: "f", schema: schemaOf<string>(validate) })(
      async () => await Promise.resolve(results.shift() ?? "none"),
    );
    const error = await assertRejects(() => fn(), SchemaError, "1 issue");
    assertEquals(error.issues, [{ message: "no text" }]);
    assertEquals(Object.keys(error).includes("issues"), false, "it quotes values");
    assertEquals(await fn.readCache(), { hit: false });
    assertEquals([await fn(), (await fn.detail()).status], ["good", "hit"]);
    assertEquals(errors, []);
    assertEquals(cache.stats().failed, 1);
  });

  test(`schema with ${name} validator takes a stored value that fails it for a miss`, async () => {
    const { cache, errors, backend } = reporting();
    const before = cache.cache({ id: "f" })(async (n: number) => await Promise.resolve(n));
    await before.map([1, 2, 3], { concurrency: 3 }).values();
    const other = reporting(backend);
    let runs = 0;
    const fn = other.cache.cache({ id: "f", schema: schemaOf<string>(validate) })(
      async (n: number) => {
        runs++;
        return await Promise.resolve(`${n}`);
      },
    );
    assertEquals(await fn.readCache(1), { hit: false });
    assertEquals((await fn.detail(1)).status, "miss");
    assertEquals((await fn.detail(1)).status, "hit");
    const batch = fn.map([1, 2, 3], { concurrency: 2 });
    assertEquals((await batch.values()).sort(), ["1", "2", "3"]);
    assertEquals([batch.summary.hits, batch.summary.misses, runs], [1, 2, 3]);
    assertEquals([...errors, ...other.errors], []);
  });
}

test("schema whose validator throws is a failed run, and a reported miss of what is stored", async () => {
  for (const fails of ["throws", "rejects"]) {
    const { cache, errors } = reporting();
    const failure = new Error("bad validator");
    let broken = false;
    const schema = schemaOf<number>((value) => {
      if (!broken) return { value };
      if (fails === "throws") throw failure;
      return Promise.reject(failure);
    });
    let runs = 0;
    const fn = cache.cache({ id: "f", schema })(
      async (_n: number) => await Promise.resolve(++runs),
    );
    assertEquals(await fn(1), 1);
    broken = true;
    assertStrictEquals(await fn(1).catch((error: unknown) => error), failure);
    assertEquals(errors.map(({ context }) => context.kind), ["refused"]);
    broken = false;
    assertEquals([await fn(1), runs], [1, 2], "the stored value was left alone");
  }
});

test("Callers get what the schema makes of a result, each its own, and the result itself is stored", async () => {
  const { cache, backend } = reporting();
  const schema = z.object({ n: z.number(), unit: z.string().default("kg") });
  const fn = cache.cache({ id: "f", schema })(
    async (n: number) => await Promise.resolve({ n, more: [n] }),
  );
  const [first, second] = await Promise.all([fn(1), fn(1)]);
  assertEquals([first, second], [{ n: 1, unit: "kg" }, { n: 1, unit: "kg" }]);
  assertNotStrictEquals(first, second);
  assertEquals(await fn.detail(1).then(({ value, status }) => [value, status]), [
    { n: 1, unit: "kg" },
    "hit",
  ]);
  const plain = reporting(backend).cache.cache({ id: "f" })(
    async (n: number): Promise<unknown> => await Promise.resolve(n),
  );
  assertEquals(await plain(1), { n: 1, more: [1] });
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
  await assertRejects(() => fn(-1), SchemaError);
  await assertRejects(() => fn(300), SchemaError);
  assertEquals(errors, []);
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
