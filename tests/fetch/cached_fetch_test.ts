/** A fetch that keeps responses, against a server on this machine. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { test } from "node:test";
import { assert, assertEquals, assertMatch, assertRejects, assertThrows } from "@std/assert";
import {
  type CacheOptions,
  limitConcurrency,
  limitRate,
  MemoryCache,
  PanzaError,
  SQLiteCache,
} from "../../mod.ts";
import { cachedFetch, type CachedFetchOptions } from "../../fetch.ts";
import { reasonOf } from "../support/by_hand.ts";
import { until } from "../support/event_loop.ts";
import { body, ByHand, gzipped, json, LLMServer, pieces } from "../support/llm_server.ts";
import { chatEvents, STREAMS } from "../support/llm_streams.ts";
import { temporaryFolder } from "../support/temp.ts";

/** What a cache reported, as kind and message. */
function reports(): { readonly list: string[] } & Required<Pick<CacheOptions, "onError">> {
  const list: string[] = [];
  return { list, onError: (error, { kind }) => void list.push(`${kind}: ${error.message}`) };
}

/** A server, a cache in memory, and a fetch that keeps what is posted. */
async function scene(options: Partial<CachedFetchOptions> = {}) {
  const server = await new LLMServer().listen();
  const { list, onError } = reports();
  const cache = new MemoryCache({ onError });
  const keep = cachedFetch(cache, { methods: ["POST", "GET"], ...options });
  return {
    server,
    cache,
    keep,
    reported: list,
    url: `${server.url}/v1/things`,
    async [Symbol.asyncDispose]() {
      await cache.close();
      await server[Symbol.asyncDispose]();
    },
  };
}

function post(text: string, headers: Record<string, string> = {}): RequestInit {
  return { method: "POST", body: text, headers };
}

const how = (response: Response): string | null => response.headers.get("cache-status");

test("cachedFetch asks once, and gives the same response again", async () => {
  await using at = await scene();
  at.server.reply = json({ a: 1 }, 201, { "x-request-id": "r1", "set-cookie": "s=1", age: "9" });
  const first = await at.keep(`${at.url}#here`, post("{}"));
  assertEquals([first.status, first.ok, first.url], [201, true, at.url]);
  assertEquals([how(first), first.headers.get("x-request-id")], ["panza; fwd=miss", "r1"]);
  assertEquals(first.headers.get("set-cookie"), "s=1", "the live response is the server's");
  assertEquals(await first.json(), { a: 1 });

  const second = await at.keep(at.url, post("{}"));
  assert(second instanceof Response);
  assertEquals([second.status, second.ok, second.url], [201, true, at.url]);
  assertEquals([second.statusText, second.redirected], [first.statusText, false]);
  assertEquals([how(second), second.headers.get("x-request-id")], ["panza; hit", "r1"]);
  assertEquals(second.headers.get("content-type"), "application/json");
  for (const name of ["set-cookie", "age", "connection", "transfer-encoding"]) {
    assertEquals(second.headers.get(name), null, name);
  }
  assertEquals(await second.clone().json(), { a: 1 });
  assertEquals(second.clone().url, at.url);
  assertEquals(await second.json(), { a: 1 });
  assertEquals(at.server.got.length, 1);
  assertEquals(at.cache.stats({ id: "fetch" }).hits, 1);
});

test("cachedFetch keeps bodies of every kind", async () => {
  await using at = await scene();
  const bytes = Uint8Array.from({ length: 300 }, (_, index) => index % 256);
  const bodies: Record<string, [type: string, content: string | Uint8Array]> = {
    text: ["text/html; charset=utf-8", "\uFEFF<p>ü</p>"],
    latin: ["text/plain; charset=latin1", Uint8Array.of(0x66, 0xfc, 0x72)],
    bytes: ["application/octet-stream", bytes],
    json: ["application/json", '{"a": [1.0, "\\u00fc", null]}'],
    numbers: ["application/json", '{"id": 1234567890123456789}'],
    lines: ["application/x-ndjson", '{"a":1}\n{"b":2}\n'],
    empty: ["text/plain", ""],
  };
  at.server.reply = (response, got) => {
    const [type, content] = bodies[got.text] ?? ["", ""];
    return body(content, { "content-type": type })(response, got);
  };
  for (const [name, [type, content]] of Object.entries(bodies)) {
    const expected = typeof content === "string" ? new TextEncoder().encode(content) : content;
    for (const status of ["panza; fwd=miss", "panza; hit"]) {
      const response = await at.keep(at.url, post(name));
      assertEquals([how(response), response.headers.get("content-type")], [status, type], name);
      const received = new Uint8Array(await response.arrayBuffer());
      if (name === "json") {
        assertEquals(JSON.parse(new TextDecoder().decode(received)), { a: [1, "ü", null] });
      } else assertEquals(received, expected, name);
    }
  }
  // Without a content type there is none on the hit either.
  at.server.reply = body("plain", {});
  for (let round = 0; round < 2; round++) {
    const response = await at.keep(at.url, post("untyped"));
    assertEquals([response.headers.get("content-type"), await response.text()], [null, "plain"]);
  }
});

test("cachedFetch keeps responses without a body", async () => {
  await using at = await scene({ methods: ["HEAD", "POST"] });
  at.server.reply = body("", {}, 204);
  for (const status of ["panza; fwd=miss", "panza; hit"]) {
    const empty = await at.keep(at.url, post("x"));
    assertEquals([empty.status, how(empty), empty.body, await empty.text()], [
      204,
      status,
      null,
      "",
    ]);
  }
  at.server.reply = body("", { "content-type": "application/json", "content-length": "9" });
  for (const status of ["panza; fwd=miss", "panza; hit"]) {
    const head = await at.keep(at.url, { method: "HEAD" });
    assertEquals([how(head), await head.text()], [status, ""]);
  }
});

test("cachedFetch keeps what was compressed, and follows redirects", async () => {
  await using at = await scene();
  at.server.next.push(gzipped({ big: "x".repeat(1000) }));
  for (let round = 0; round < 2; round++) {
    assertEquals(await (await at.keep(at.url, post("zip"))).json(), { big: "x".repeat(1000) });
  }
  at.server.next.push((response) => {
    response.writeHead(302, { location: "/v1/other?signature=secret" }).end();
  }, json({ moved: true }));
  for (const query of ["?signature=secret", ""]) {
    const response = await at.keep(`${at.url}?a=1`);
    assertEquals(response.url, `${at.server.url}/v1/other${query}`);
    assertEquals([response.redirected, await response.json()], [true, { moved: true }]);
  }
});

test("A stored response is a readable row", async () => {
  const file = join(temporaryFolder(), "cache.db");
  await using server = await new LLMServer().listen();
  await using cache = new SQLiteCache(file);
  const keep = cachedFetch(cache, { methods: ["POST"], id: "openai" });
  const request = { model: "m", messages: [{ role: "user", content: "hi" }] };
  const path = `${server.url}/v1/chat/completions`;
  await (await keep(path, post(JSON.stringify(request)))).text();
  const database = new DatabaseSync(file, { readOnly: true });
  try {
    const query = "select value ->> '$.json.choices[0].message.content' as said from panza_entries";
    assertEquals(database.prepare(query).get()?.["said"], "HI");
  } finally {
    database.close();
  }
});
