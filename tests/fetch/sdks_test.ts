/** Real SDKs over a cached fetch: the second run returns the first value, without a request. */
import { createOpenAI } from "@ai-sdk/openai";
import { generateText, type LanguageModelMiddleware, streamText, wrapLanguageModel } from "ai";
import { join } from "node:path";
import { test } from "node:test";
import OpenAI, { toFile } from "openai";
import { assertEquals, assertMatch, assertRejects } from "@std/assert";
import { MemoryCache, SQLiteCache } from "../../mod.ts";
import { cachedFetch } from "../../fetch.ts";
import { json, LLMServer, pieces } from "../support/llm_server.ts";
import { chatEvents } from "../support/llm_streams.ts";
import { start } from "../support/child.ts";
import { CALLS, messages, model, openai, RECORDED } from "../support/sdks.ts";
import { temporaryFolder } from "../support/temp.ts";

for (const [name, run] of Object.entries(CALLS)) {
  test(`${name}: the second run, with another key, is the first one's value`, async () => {
    await using server = await new LLMServer().listen();
    await using cache = new MemoryCache();
    const keep = cachedFetch(cache, { methods: ["POST"], credentials: "ignore" });
    assertEquals(await run(server.url, keep), "HELLO");
    assertEquals(await run(server.url, keep, "k2"), "HELLO");
    assertEquals(server.got.length, 1);
  });
}

test("openai: embeddings, uploads and what a response carries besides", async () => {
  await using server = await new LLMServer().listen();
  await using cache = new MemoryCache();
  const client = openai(server.url, cachedFetch(cache, { methods: ["POST"] }));
  for (let round = 0; round < 2; round++) {
    const { data } = await client.embeddings.create({
      model,
      input: "a",
      encoding_format: "float",
    });
    assertEquals(data[0]?.embedding, [0.5, -0.25, 0.123456789012]);
    const file = await toFile(new TextEncoder().encode("content"), "a.txt");
    assertEquals((await client.files.create({ file, purpose: "batch" })).id, "file-1");
  }
  assertEquals(server.got.length, 2);
  const { response } = await client.embeddings.create({
    model,
    input: "a",
    encoding_format: "float",
  }).withResponse();
  assertEquals(response.headers.get("cache-status"), "panza; hit");
});

test("openai: errors keep their classes, and its own retries work as ever", async () => {
  await using server = await new LLMServer().listen();
  await using cache = new MemoryCache({ onError: () => {} });
  const client = openai(server.url, cachedFetch(cache, { methods: ["POST"] }));
  const ask = () => client.chat.completions.create({ model, messages }, { maxRetries: 0 });
  const error = { error: { message: "no" } };
  const classes = [
    [400, OpenAI.BadRequestError],
    [401, OpenAI.AuthenticationError],
    [409, OpenAI.ConflictError],
    [429, OpenAI.RateLimitError],
    [500, OpenAI.InternalServerError],
  ] as const;
  for (const [status, type] of classes) {
    server.next.push(json(error, status));
    await assertRejects(ask, type);
  }
  server.got.length = 0;
  const busy = json(error, 429, { "retry-after-ms": "1" });
  server.next.push(busy, busy);
  const { choices } = await client.chat.completions.create({ model, messages });
  assertEquals([choices[0]?.message.content, server.got.length], ["HELLO", 3]);
  await client.chat.completions.create({ model, messages });
  assertEquals(server.got.length, 3);
});

test("openai: a stream that was cut is not kept, and break ends its exchange", async () => {
  await using server = await new LLMServer().listen();
  await using cache = new MemoryCache({ onError: () => {} });
  const keep = cachedFetch(cache, { methods: ["POST"], credentials: "ignore" });
  const run = CALLS["openai: chat, streamed"]!;
  server.next.push(pieces("text/event-stream", chatEvents(["HEL"]).slice(0, 2)));
  assertEquals(await run(server.url, keep), "HEL");
  const stream = await openai(server.url, keep).chat.completions.create({
    model,
    messages: [{ role: "user", content: "something else" }],
    stream: true,
  });
  for await (const _ of stream) break;
  assertEquals(await run(server.url, keep), "HELLO");
  assertEquals(server.got.length, 3);
});

test("CACHE_ONLY=1 answers openai, Anthropic and Vercel without a server, under a dummy key", async () => {
  const file = join(temporaryFolder(), "recorded.db");
  const server = await new LLMServer().listen();
  const { url } = server;
  {
    await using cache = new SQLiteCache(file);
    const keep = cachedFetch(cache, { methods: ["POST"], credentials: "ignore" });
    for (const name of RECORDED) await CALLS[name]!(url, keep);
  }
  await server[Symbol.asyncDispose]();
  const child = start("fixtures/recorded_child.ts", [file, url], ["-A"], { CACHE_ONLY: "1" });
  const lines = await child.ended();
  assertEquals(lines.slice(0, -1), RECORDED.map((name) => `${name}: HELLO`));
  // The error that CI meets names the way out.
  assertMatch(lines.at(-1) ?? "", /^APIConnectionError: CacheOnlyError: .*credentials: "ignore"/);
});

test("vercel: the middleware of the guide keeps answers and streams, without a fetch", async () => {
  await using server = await new LLMServer().listen();
  await using cache = new MemoryCache();
  type Asked<Method extends "wrapGenerate" | "wrapStream"> = Parameters<
    NonNullable<LanguageModelMiddleware[Method]>
  >[0];
  const identity = (
    { model, params }: Pick<Asked<"wrapGenerate">, "model" | "params">,
  ) => [model.provider, model.modelId, params];
  const generate = cache.cache({ id: "generate", hashFunc: identity })(
    async (o: Asked<"wrapGenerate">) => await o.doGenerate(),
  );
  const stream = cache.stream({ id: "stream", hashFunc: identity })(
    async (o: Asked<"wrapStream">) => (await o.doStream()).stream,
  );
  const middleware: LanguageModelMiddleware = {
    specificationVersion: "v3",
    wrapGenerate: (o) => generate(o),
    wrapStream: async (o) => await Promise.resolve({ stream: ReadableStream.from(stream(o)) }),
  };
  const provider = createOpenAI({ baseURL: `${server.url}/v1`, apiKey: "k1" });
  const kept = wrapLanguageModel({ model: provider.chat(model), middleware });
  for (let round = 0; round < 2; round++) {
    assertEquals((await generateText({ model: kept, prompt: "hello" })).text, "HELLO");
    assertEquals(await streamText({ model: kept, prompt: "hello" }).text, "HELLO");
  }
  assertEquals(server.got.length, 2);
});
