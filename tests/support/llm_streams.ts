/** Streams as the APIs of language models send them: each a list of whole events. */
// deno-lint-ignore-file camelcase -- the names of the APIs

/** A stream and its name. */
export interface SampleStream {
  readonly name: string;
  readonly type: "text/event-stream" | "application/x-ndjson";
  /** Whole events, blank lines or line breaks included. */
  readonly events: readonly string[];
  /** An event that reports an error, in the words of the API. */
  readonly error: string;
}

const data = (value: unknown): string => `data: ${JSON.stringify(value)}\n\n`;
const named = (value: Readonly<Record<string, unknown>>): string =>
  `event: ${value.type}\n${data(value)}`;
const line = (value: unknown): string => `${JSON.stringify(value)}\n`;

const WORDS = ["Hel", "lo, ", "wörld", " 😀"];

/** A stream of chat completions, as OpenAI and most others send it. */
export function chatEvents(words: readonly string[] = WORDS, model = "m"): string[] {
  const chunk = (delta: unknown, finish_reason: string | null = null) =>
    data({
      id: "c1",
      object: "chat.completion.chunk",
      created: 1,
      model,
      error: null,
      choices: [{ index: 0, delta, finish_reason, logprobs: null }],
    });
  return [
    chunk({ role: "assistant", content: "" }),
    ...words.map((content) => chunk({ content })),
    chunk({}, "stop"),
    data({
      id: "c1",
      object: "chat.completion.chunk",
      created: 1,
      model,
      choices: [],
      usage: { prompt_tokens: 1, completion_tokens: 4, total_tokens: 5 },
    }),
    "data: [DONE]\n\n",
  ];
}

/** A stream of a message, as Anthropic sends it. */
export function messageEvents(words: readonly string[] = WORDS, model = "m"): string[] {
  const usage = { input_tokens: 1, output_tokens: 4 };
  const message = {
    id: "m1",
    type: "message",
    role: "assistant",
    model,
    content: [],
    stop_reason: null,
    stop_sequence: null,
    usage,
  };
  return [
    named({ type: "message_start", message }),
    named(
      { type: "content_block_start", index: 0, content_block: { type: "text", text: "" } },
    ),
    named({ type: "ping" }),
    ...words.map((text) =>
      named(
        { type: "content_block_delta", index: 0, delta: { type: "text_delta", text } },
      )
    ),
    named({ type: "content_block_stop", index: 0 }),
    named(
      {
        type: "message_delta",
        delta: { stop_reason: "end_turn", stop_sequence: null },
        usage,
      },
    ),
    named({ type: "message_stop" }),
  ];
}

/** A response as OpenAI's newer API has it. */
export function responseValue(text: string, model = "m", status = "completed"): object {
  return {
    id: "r1",
    object: "response",
    created_at: 1,
    status,
    model,
    error: null,
    incomplete_details: null,
    output: [{
      type: "message",
      id: "o1",
      role: "assistant",
      status: "completed",
      content: [{ type: "output_text", text, annotations: [] }],
    }],
    parallel_tool_calls: true,
    tool_choice: "auto",
    tools: [],
    usage: {
      input_tokens: 1,
      input_tokens_details: { cached_tokens: 0 },
      output_tokens: 4,
      output_tokens_details: { reasoning_tokens: 0 },
      total_tokens: 5,
    },
  };
}

/** A stream of a response, as OpenAI's newer API sends it. */
export function responseEvents(
  words: readonly string[] = WORDS,
  model = "m",
  end = "completed",
): string[] {
  const text = words.join("");
  let sequence_number = 0;
  const event = (type: string, rest: object) =>
    named({ type, sequence_number: sequence_number++, ...rest });
  const place = { item_id: "o1", output_index: 0, content_index: 0 };
  const item = { type: "message", id: "o1", role: "assistant", status: "in_progress", content: [] };
  return [
    event("response.created", {
      response: { ...responseValue("", model, "in_progress"), output: [] },
    }),
    event("response.output_item.added", { output_index: 0, item }),
    event("response.content_part.added", {
      ...place,
      part: { type: "output_text", text: "", annotations: [] },
    }),
    ...words.map((delta) => event("response.output_text.delta", { ...place, delta })),
    event("response.output_text.done", { ...place, text }),
    event("response.output_item.done", {
      output_index: 0,
      item: { ...item, status: "completed", content: [{ type: "output_text", text }] },
    }),
    event(`response.${end}`, { response: responseValue(text, model, end) }),
  ];
}

/** A stream of Gemini. */
export function candidateEvents(words: readonly string[] = WORDS): string[] {
  const event = (text: string, finishReason?: string) =>
    data({
      candidates: [{ content: { role: "model", parts: [{ text }] }, index: 0, finishReason }],
    });
  return [...words.map((word) => event(word)), event("", "STOP")];
}

/** A stream of Ollama. */
export function ollamaLines(words: readonly string[] = WORDS, model = "m"): string[] {
  const chunk = (content: string, done: boolean) =>
    line({ model, created_at: "t", message: { role: "assistant", content }, done });
  return [...words.map((word) => chunk(word, false)), chunk("", true)];
}

/** One stream of each kind that marks its end. */
export const STREAMS: readonly SampleStream[] = [
  {
    name: "chat completions",
    type: "text/event-stream",
    events: chatEvents(),
    error: data({ error: { message: "overloaded", code: 503 } }),
  },
  {
    name: "messages",
    type: "text/event-stream",
    events: messageEvents(),
    error: named({ type: "error", error: { type: "overloaded_error" } }),
  },
  {
    name: "responses",
    type: "text/event-stream",
    events: responseEvents(),
    error: named({ type: "error", code: "server_error" }),
  },
  {
    name: "incomplete responses",
    type: "text/event-stream",
    events: responseEvents(WORDS, "m", "incomplete"),
    error: named({ type: "response.failed", response: { error: {} } }),
  },
  {
    name: "candidates",
    type: "text/event-stream",
    events: candidateEvents(),
    error: data({ error: { code: 500, status: "INTERNAL" } }),
  },
  {
    name: "Ollama",
    type: "application/x-ndjson",
    events: ollamaLines(),
    error: line({ error: "model runner has stopped" }),
  },
  {
    name: "Cohere",
    type: "text/event-stream",
    events: [
      named({ type: "message-start" }),
      named({ type: "content-delta", delta: { text: "Hi" } }),
      named({ type: "message-end" }),
    ],
    error: "event: error\ndata: overloaded\n\n",
  },
  {
    name: "speech",
    type: "text/event-stream",
    events: [
      data({ type: "speech.audio.delta", audio: "AAAA" }),
      data({ type: "speech.audio.delta", audio: "BBBB" }),
      data({ type: "speech.audio.done" }),
    ],
    error: data({ type: "error", message: "no voice" }),
  },
];
