/** A local server that answers and fails like the APIs of language models. */
// deno-lint-ignore-file camelcase -- the names of the APIs

import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { gzipSync } from "node:zlib";
import {
  candidateEvents,
  chatEvents,
  messageEvents,
  ollamaLines,
  responseEvents,
  responseValue,
} from "./llm_streams.ts";

/** A request that the server got. */
export interface Got {
  readonly method: string;
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly bytes: Uint8Array;
  /** The body as text. */
  readonly text: string;
}

/** Answers a request. */
export type Reply = (response: ServerResponse, request: Got) => void | Promise<void>;

/** The end of a body: as it should, or by a reset of the connection. */
export type End = "clean" | "reset";

/** Answers with JSON. */
export function json(
  value: unknown,
  status = 200,
  headers: Readonly<Record<string, string>> = {},
): Reply {
  return (response) => {
    response.writeHead(status, { "content-type": "application/json", ...headers });
    response.end(JSON.stringify(value, null, 2));
  };
}

/** Answers with any body, with or without its length. */
export function body(
  content: string | Uint8Array,
  headers: Readonly<Record<string, string>>,
  status = 200,
): Reply {
  return (response) => {
    response.writeHead(status, headers);
    response.end(content);
  };
}

/** Answers with JSON that is compressed. */
export function gzipped(value: unknown): Reply {
  return body(gzipSync(JSON.stringify(value)), {
    "content-type": "application/json",
    "content-encoding": "gzip",
  });
}

/** Answers piece by piece, and ends after the last one. */
export function pieces(type: string, events: readonly string[], end: End = "clean"): Reply {
  return async (response) => {
    response.writeHead(200, { "content-type": type });
    response.flushHeaders();
    for (const event of events) await write(response, event);
    if (end === "clean") response.end();
    else response.destroy();
  };
}

function write(response: ServerResponse, piece: string | Uint8Array): Promise<void> {
  return new Promise((resolve) => {
    response.write(piece, () => resolve());
  });
}

/** An answer that the test gives piece by piece. */
export class ByHand {
  readonly #open = Promise.withResolvers<ServerResponse>();
  readonly #left = Promise.withResolvers<void>();

  readonly reply: Reply = (response) => {
    response.on("close", () => this.#left.resolve());
    this.#open.resolve(response);
  };

  /** Resolves when the request has come. */
  get asked(): Promise<unknown> {
    return this.#open.promise;
  }

  /** Resolves when the exchange is over, whoever ended it. */
  get left(): Promise<void> {
    return this.#left.promise;
  }

  /** Sends the head. */
  async begin(type: string): Promise<void> {
    const response = await this.#open.promise;
    response.writeHead(200, { "content-type": type });
    response.flushHeaders();
  }

  /** Sends a piece of the body. */
  async send(piece: string | Uint8Array): Promise<void> {
    await write(await this.#open.promise, piece);
  }

  /** Ends the answer. */
  async end(how: End = "clean"): Promise<void> {
    const response = await this.#open.promise;
    if (how === "clean") response.end();
    else response.destroy();
  }
}

/** The answer of a model: the prompt, in upper case. */
function answerTo(value: unknown): string {
  if (typeof value === "string") return value.toUpperCase();
  const text = JSON.stringify(value ?? "");
  const [, prompt = ""] = /"(?:content|text|input)":"([^"]*)"[^"]*$/.exec(text) ?? [];
  return prompt.toUpperCase();
}

/** Answers an ordinary request as the APIs do. */
const converse: Reply = (response, request) => {
  const { path, text } = request;
  if (path.endsWith("/files")) {
    return json({ id: "file-1", object: "file", bytes: request.bytes.length, filename: "a.txt" })(
      response,
      request,
    );
  }
  const asked = JSON.parse(text);
  const { model, stream } = asked;
  const answer = answerTo(asked.messages ?? asked.input ?? asked);
  const words = answer.match(/.{1,3}/gs) ?? [];
  const events = (list: readonly string[], type = "text/event-stream"): Reply => pieces(type, list);
  const usage = { prompt_tokens: 1, completion_tokens: 2, total_tokens: 3 };
  const message = { role: "assistant", content: answer };
  const replies: Readonly<Record<string, () => Reply>> = {
    "chat/completions": () =>
      stream ? events(chatEvents(words, model)) : json({
        id: "c1",
        object: "chat.completion",
        created: 1,
        model,
        choices: [{ index: 0, message, finish_reason: "stop", logprobs: null }],
        usage,
      }),
    responses: () =>
      stream ? events(responseEvents(words, model)) : json(responseValue(answer, model)),
    messages: () =>
      stream ? events(messageEvents(words, model)) : json({
        id: "m1",
        type: "message",
        role: "assistant",
        model,
        content: [{ type: "text", text: answer }],
        stop_reason: "end_turn",
        stop_sequence: null,
        usage: { input_tokens: 1, output_tokens: 2 },
      }),
    embeddings: () =>
      json({
        object: "list",
        model,
        data: [{ object: "embedding", index: 0, embedding: [0.5, -0.25, 0.123456789012] }],
        usage,
      }),
    chat: () =>
      stream === false
        ? json({ model, created_at: "t", message, done: true })
        : events(ollamaLines(words, model), "application/x-ndjson"),
    "streamGenerateContent?alt=sse": () => events(candidateEvents(words)),
  };
  const route = Object.keys(replies).find((each) => path.endsWith(each));
  const reply = replies[route ?? ""]?.() ?? json({ error: { message: "no such path" } }, 404);
  return reply(response, request);
};

export class LLMServer implements AsyncDisposable {
  /** The requests so far. */
  readonly got: Got[] = [];
  /** Answers to the next requests; after them comes `reply`. */
  readonly next: Reply[] = [];
  /** The answer to all others; like that of an API unless set. */
  reply: Reply = converse;
  /** The number of open exchanges. */
  open = 0;
  /** The most exchanges that were open at once. */
  peak = 0;
  readonly #server: Server;

  constructor() {
    this.#server = createServer(async (request, response) => {
      this.open++;
      this.peak = Math.max(this.peak, this.open);
      response.on("close", () => void this.open--);
      const bytes = await bytesOf(request);
      const { method = "", url = "" } = request;
      const headers = Object.fromEntries(
        Object.entries(request.headers).map(([name, value]) => [name, String(value)]),
      );
      const got = { method, path: url, headers, bytes, text: new TextDecoder().decode(bytes) };
      this.got.push(got);
      await (this.next.shift() ?? this.reply)(response, got);
    });
  }

  /** Starts it on a free port. */
  async listen(): Promise<this> {
    await new Promise<void>((resolve) => this.#server.listen(0, "127.0.0.1", resolve));
    return this;
  }

  /** The URL of the server, without a slash at the end. */
  get url(): string {
    const { port } = this.#server.address() as AddressInfo;
    return `http://127.0.0.1:${port}`;
  }

  /** Stops the server; later connections are refused. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.#server.listening) return;
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}

async function bytesOf(request: IncomingMessage): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  try {
    for await (const chunk of request) chunks.push(chunk);
  } catch {
    // The client has gone.
  }
  return new Uint8Array(await new Blob(chunks.map((chunk) => new Uint8Array(chunk))).arrayBuffer());
}
