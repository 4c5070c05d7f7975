/** Calls of real SDKs for tests. */
// deno-lint-ignore-file camelcase -- the names of the APIs

import { createOpenAI } from "@ai-sdk/openai";
import Anthropic from "@anthropic-ai/sdk";
import { Mistral } from "@mistralai/mistralai";
import { HTTPClient } from "@mistralai/mistralai/lib/http.js";
import { generateText, streamText } from "ai";
import { Ollama } from "ollama";
import OpenAI from "openai";

type Fetch = typeof fetch;

export const model = "m";
/** A conversation of one question. */
export const messages: { role: "user"; content: string }[] = [{ role: "user", content: "hello" }];

export const openai = (url: string, fetch: Fetch, apiKey = "k1"): OpenAI =>
  new OpenAI({ baseURL: `${url}/v1`, apiKey, fetch, maxRetries: 2 });
const anthropic = (url: string, fetch: Fetch, apiKey = "k1") =>
  new Anthropic({ baseURL: url, apiKey, fetch });
const vercel = (url: string, fetch: Fetch, apiKey = "k1") =>
  createOpenAI({ baseURL: `${url}/v1`, apiKey, fetch });

/** Calls of each SDK, which resolve with the text of the answer. */
export const CALLS: Readonly<
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
  // This SDK leaves the stream at [DONE], before the end.
  "mistral: chat, streamed": async (serverURL, fetch, apiKey = "k1") => {
    const httpClient = new HTTPClient({ fetcher: fetch });
    const client = new Mistral({ serverURL, apiKey, httpClient });
    let text = "";
    for await (const { data } of await client.chat.stream({ model, messages })) {
      text += data.choices[0]?.delta.content ?? "";
    }
    return text;
  },
};

/** The calls whose answers are recorded for a run without a server. */
export const RECORDED: readonly string[] = [
  "openai: chat",
  "anthropic: messages, streamed",
  "vercel: streamText",
];
