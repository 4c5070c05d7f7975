/**
 * Responses through a cached fetch: hits, and the first piece of a stream.
 *
 * @module
 */

import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import { cachedFetch } from "../fetch.ts";
import { SQLiteCache } from "../sqlite.ts";
import { median } from "./measure.ts";
import { type Arguments, byHundreds, chat, check, freshPath } from "./work.ts";

const FETCH = { id: "chat", methods: ["POST"], credentials: "ignore" } as const;

/** Chats with cached answers. */
export interface KeptChats extends AsyncDisposable {
  /** Requests one and reads it. */
  readonly ask: (argument: Arguments) => Promise<unknown>;
  /** The number of requests that reached the server. */
  readonly exchanges: () => number;
}

/** Asks for a chat with each of the arguments. */
export async function keptChats(list: readonly Arguments[]): Promise<KeptChats> {
  let exchanges = 0;
  const cache = new SQLiteCache(freshPath("fetch"));
  const keep = cachedFetch(cache, {
    ...FETCH,
    fetch: async () => {
      exchanges++;
      return await Promise.resolve(Response.json(chat));
    },
  });
  const headers = { "content-type": "application/json", authorization: "Bearer secret" };
  const ask = async (argument: Arguments): Promise<unknown> => {
    const body = JSON.stringify(argument);
    const url = "https://example.com/v1/chat/completions";
    return await (await keep(url, { method: "POST", headers, body })).json();
  };
  await byHundreds(list, ask);
  check("a response", await ask(list[0]!), chat);
  return {
    ask,
    exchanges: () => exchanges,
    [Symbol.asyncDispose]: async () => await cache.close(),
  };
}

/** The number of requests of each way in one round. */
const REQUESTS = 20;

/**
 * The delay of the first piece of a stream through a cached fetch, against the fetch below it: the
 * median of the differences of neighbours, in milliseconds. A server in this process sends the
 * first piece at once and the end 20 ms later.
 */
export async function firstPieceMs(rounds: number): Promise<{ value: number; detail: string }> {
  const server = createServer(async (request, response) => {
    for await (const _ of request);
    response.writeHead(200, { "content-type": "text/event-stream" });
    response.write('data: {"choices":[{"index":0,"delta":{"content":"a"}}]}\n\n');
    await delay(20);
    response.end(
      'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n',
    );
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1/chat/completions`;
  await using cache = new SQLiteCache(freshPath("first_piece"));
  const ways = { ours: cachedFetch(cache, FETCH), own: fetch };
  const times: Record<keyof typeof ways, number[]> = { ours: [], own: [] };
  let seed = 0;
  try {
    for (let index = 0; index < rounds * REQUESTS; index++) {
      for (const way of ["ours", "own"] as const) {
        const begin = performance.now();
        const body = JSON.stringify({ seed: seed++, stream: true });
        const response = await ways[way](url, { method: "POST", body });
        const reader = response.body!.getReader();
        if ((await reader.read()).done) throw new Error("no piece");
        times[way].push(performance.now() - begin);
        while (!(await reader.read()).done);
      }
    }
  } finally {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  }
  check("stored streams", cache.stats().misses, rounds * REQUESTS);
  const { ours, own } = times;
  return {
    value: median(ours.map((time, index) => time - own[index]!)),
    detail: `ours ${median(ours).toFixed(2)} ms, the server's own ${median(own).toFixed(2)} ms`,
  };
}
