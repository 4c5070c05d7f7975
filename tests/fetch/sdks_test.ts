/** Real SDKs over a cached fetch: the second run is the first one's value, without a request. */
import { join } from "node:path";
import { test } from "node:test";
import { createOpenAI } from "@ai-sdk/openai";
import Anthropic from "@anthropic-ai/sdk";
import { Mistral } from "@mistralai/mistralai";
import { generateText, streamText } from "ai";
import { Ollama } from "ollama";
import OpenAI, { toFile } from "openai";
import { assert, assertEquals, assertRejects } from "@std/assert";
import { MemoryCache, SQLiteCache } from "../../mod.ts";
import { cachedFetch } from "../../fetch.ts";
import { json, LLMServer, pieces } from "../support/llm_server.ts";
import { chatEvents } from "../support/llm_streams.ts";
import { temporaryFolder } from "../support/temp.ts";

type Fetch = typeof fetch;

const model = "m";
const messages = [{ role: "user" as const, content: "hello" }];

const openai = (url: string, fetch: Fetch, apiKey = "k1") =>
  new OpenAI({ baseURL: `${url}/v1`, apiKey, fetch, maxRetries: 2 });
const anthropic = (url: string, fetch: Fetch, apiKey = "k1") =>
  new Anthropic({ baseURL: url, apiKey, fetch });
const vercel = (url: string, fetch: Fetch, apiKey = "k1") =>
  createOpenAI({ baseURL: `${url}/v1`, apiKey, fetch });

/** What each SDK does, and what it comes to. */
const CALLS: Readonly<
  Record<string, (url: string, fetch: Fetch, key?: string) => Promise<unknown>>
> = {
  "openai: chat": async (url, fetch, key) => {
    const { choices } = await openai(url, fetch, key).chat.completions.create({ model, messages });
    return choices[0]?.message.content;
  },
  "openai: chat, streamed": async (url, fetch, key) => {
    const stream = await openai(url, fetch, key).chat.completions.create({
      model,
      messages,
      stream: true,
    });
    let text = "";
    for await (const chunk of stream) text += chunk.choices[0]?.delta.content ?? "";
    return text;
  },
  "openai: responses": async (url, fetch, key) =>
    (await openai(url, fetch, key).responses.create({ model, input: "hello" })).output_text,
  "openai: responses, streamed": async (url, fetch, key) => {
    const stream = openai(url, fetch, key).responses.stream({ model, input: "hello" });
    let text = "";
    for await (const event of stream) {
      if (event.type === "response.output_text.delta") text += event.delta;
    }
    return text;
  },
  "anthropic: messages": async (url, fetch, key) => {
    const request = { model, max_tokens: 9, messages };
    const { content: [block] } = await anthropic(url, fetch, key).messages.create(request);
    return block?.type === "text" ? block.text : block;
  },
  "anthropic: messages, streamed": async (url, fetch, key) =>
    await anthropic(url, fetch, key).messages.stream({ model, max_tokens: 9, messages })
      .finalText(),
  "vercel: generateText": async (url, fetch, key) => {
    const provider = vercel(url, fetch, key);
    return (await generateText({ model: provider.chat(model), prompt: "hello" })).text;
  },
  "vercel: streamText": async (url, fetch, key) =>
    await streamText({ model: vercel(url, fetch, key).chat(model), prompt: "hello" }).text,
  "ollama: chat, streamed": async (host, fetch) => {
    const stream = await new Ollama({ host, fetch }).chat({ model, messages, stream: true });
    let text = "";
    for await (const { message } of stream) text += message.content;
    return text;
  },
  // It leaves at [DONE], before the end.
  "mistral: chat, streamed": async (serverURL, fetch, apiKey = "k1") => {
    const { HTTPClient } = await import("@mistralai/mistralai/lib/http.js");
    const httpClient = new HTTPClient({ fetcher: fetch });
    const client = new Mistral({ serverURL, apiKey, httpClient });
    let text = "";
    for await (const { data } of await client.chat.stream({ model, messages })) {
      text += data.choices[0]?.delta.content ?? "";
    }
    return text;
  },
};

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

const RECORDED = ["openai: chat", "anthropic: messages, streamed", "vercel: streamText"];

test("CACHE_ONLY=1 answers openai, Anthropic and Vercel without a server, under a dummy key", async () => {
  const file = join(temporaryFolder(), "recorded.db");
  const options = { methods: ["POST"], credentials: "ignore" } as const;
  const server = await new LLMServer().listen();
  const { url } = server;
  {
    await using cache = new SQLiteCache(file);
    for (const name of RECORDED) await CALLS[name]!(url, cachedFetch(cache, options));
  }
  await server[Symbol.asyncDispose]();
  const { default: process } = await import("node:process");
  process.env["CACHE_ONLY"] = "1";
  try {
    await using cache = new SQLiteCache(file);
    const keep = cachedFetch(cache, options);
    for (const name of RECORDED) {
      assertEquals(await CALLS[name]!(url, keep, "dummy"), "HELLO", name);
    }
    // The error that CI meets says what to do.
    const client = openai(url, cachedFetch(cache, { methods: ["POST"] }), "dummy");
    const missing = await assertRejects(
      () => client.chat.completions.create({ model, messages }, { maxRetries: 0 }),
      OpenAI.APIConnectionError,
    );
    assert(String(missing.cause).includes('credentials: "ignore"'), String(missing.cause));
  } finally {
    delete process.env["CACHE_ONLY"];
  }
});
