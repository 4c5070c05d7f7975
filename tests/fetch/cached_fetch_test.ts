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
  QueueFullError,
  SQLiteCache,
} from "../../mod.ts";
import { cachedFetch, type CachedFetchOptions } from "../../fetch.ts";
import { reasonOf } from "../support/by_hand.ts";
import { until } from "../support/event_loop.ts";
import { body, ByHand, gzipped, json, LLMServer, pieces } from "../support/llm_server.ts";
import { chatEvents, STREAMS } from "../support/llm_streams.ts";
import { temporaryFolder } from "../support/temp.ts";

/** The reports of a cache, as kind and message. */
function reports(): { readonly list: string[] } & Required<Pick<CacheOptions, "onError">> {
  const list: string[] = [];
  return { list, onError: (error, { kind }) => void list.push(`${kind}: ${error.message}`) };
}

/** A server, a cache in memory, and a fetch that keeps responses to POST and GET. */
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

test("cachedFetch takes the same question in other words for the same", async () => {
  await using at = await scene();
  at.server.reply = json({});
  const ask = async (...args: Parameters<typeof fetch>) => {
    const response = await at.keep(...args);
    await response.text();
    return how(response);
  };
  const noise = { "user-agent": "a", "x-stainless-retry-count": "1", "idempotency-key": "b" };
  assertEquals(await ask(at.url, post('{"a":1,"b":[2]}')), "panza; fwd=miss");
  for (
    const init of [
      post('{ "b": [2.0], "a": 1 }\n'),
      post('{"a":1,"b":[2]}', noise),
      {
        method: "post",
        body: new TextEncoder().encode('{"a":1,"b":[2]}'),
        headers: { "content-type": "application/json" },
      },
    ]
  ) {
    assertEquals(await ask(`${at.url}#other`, init), "panza; hit");
  }
  assertEquals(await ask(new URL(at.url), post('{"a":1,"b":[2]}')), "panza; hit");
  assertEquals(await ask(new Request(at.url, post('{"a":1,"b":[2]}'))), "panza; hit");
  const others: [string, RequestInit][] = [
    [`${at.url}?a=1`, post('{"a":1,"b":[2]}')],
    [at.url, post('{"a":1,"b":[3]}')],
    [at.url, post('{"a":1,"b":[2]}', { accept: "text/plain" })],
    [at.url, post('{"a":1,"b":[2]}', { "anthropic-version": "1" })],
    [at.url, post('{"a":1,"b":[2]}', { authorization: "Bearer a" })],
    [at.url, { method: "GET" }],
  ];
  for (const [url, init] of others) {
    assertEquals(await ask(url, init), "panza; fwd=miss");
    assertEquals(await ask(url, init), "panza; hit");
  }
  // Numbers that are equal as doubles.
  assertEquals(await ask(at.url, post('{"id":1234567890123456789}')), "panza; fwd=miss");
  assertEquals(await ask(at.url, post('{"id":1234567890123456788}')), "panza; fwd=miss");
});

test("Credentials identify a request for every method, unless they are ignored", async () => {
  for (const name of ["authorization", "cookie", "x-api-key", "api-key", "x-goog-api-key"]) {
    for (const method of ["GET", "POST"]) {
      await using at = await scene();
      at.server.reply = (response, got) =>
        json({ to: got.headers[name] ?? "nobody" })(response, got);
      const ask = async (secret?: string) => {
        const headers = secret === undefined ? {} : { [name]: secret };
        return (await (await at.keep(at.url, { method, headers })).json()).to;
      };
      assertEquals([await ask("anna"), await ask("berta"), await ask()], [
        "anna",
        "berta",
        "nobody",
      ]);
      assertEquals([await ask("anna"), await ask("berta"), await ask()], [
        "anna",
        "berta",
        "nobody",
      ]);
      assertEquals(at.server.got.length, 3);
      const ignoring = cachedFetch(at.cache, { methods: [method], credentials: "ignore" });
      const shared = async (secret: string) =>
        (await (await ignoring(at.url, { method, headers: { [name]: secret } })).json()).to;
      // Neither a response that was kept for one secret, nor the one for none.
      assertEquals([await shared("carla"), await shared("dora")], ["carla", "carla"]);
    }
  }
});

test("headers adds to what identifies, and takes nothing away", async () => {
  await using at = await scene({ headers: ["X-Tenant"] });
  at.server.reply = json({});
  const ask = async (headers: Record<string, string>) => {
    const response = await at.keep(at.url, { headers });
    await response.text();
    return how(response);
  };
  const own = { "x-tenant": "a", authorization: "b", accept: "c" };
  assertEquals(await ask(own), "panza; fwd=miss");
  assertEquals(await ask({ ...own, "x-other": "1" }), "panza; hit");
  for (const name of Object.keys(own)) {
    assertEquals(await ask({ ...own, [name]: "z" }), "panza; fwd=miss", name);
  }
});

test("hashFunc identifies in the place of all but the credentials", async () => {
  await using at = await scene({
    hashFunc: (
      url,
      { method, headers, body },
    ) => [new URL(url).pathname, method, headers["x-a"], body],
  });
  at.server.reply = json({});
  const ask = async (query: string, headers: Record<string, string>, text = '{"a":1}') => {
    const response = await at.keep(`${at.url}${query}`, post(text, headers));
    await response.text();
    return how(response);
  };
  assertEquals(await ask("?now=1", { "x-a": "1" }), "panza; fwd=miss");
  assertEquals(await ask("?now=2", { "x-a": "1", accept: "b" }, '{ "a": 1 }'), "panza; hit");
  assertEquals(await ask("?now=2", { "x-a": "2" }), "panza; fwd=miss");
  assertEquals(await ask("?now=2", { "x-a": "1", cookie: "c" }), "panza; fwd=miss");
  const broken = cachedFetch(at.cache, { methods: ["GET"], hashFunc: () => undefined });
  await assertRejects(() => broken(at.url), TypeError, "hashFunc must return a value");
});

test("A response that varies by what does not identify its request is not kept, and reported", async () => {
  const cases: [vary: string, options: Partial<CachedFetchOptions>, message: string | undefined][] =
    [
      ["accept-encoding, Origin, Sec-Fetch-Mode", {}, undefined],
      ["Accept, Authorization", {}, undefined],
      ["authorization", { credentials: "ignore" }, "varies by authorization, which credentials"],
      ["X-Tenant, accept", {}, 'pass headers: ["x-tenant"]'],
      ["X-Tenant", { headers: ["x-tenant"] }, undefined],
      ["X-Tenant", { hashFunc: (url) => url }, undefined],
      ["*", { hashFunc: (url) => url }, "Vary: *"],
    ];
  for (const [vary, options, message] of cases) {
    await using at = await scene(options);
    at.server.reply = json({}, 200, { vary });
    for (let round = 0; round < 2; round++) await (await at.keep(at.url)).text();
    assertEquals(at.server.got.length, message === undefined ? 1 : 2, vary);
    assertEquals(at.cache.stats().unstored, message === undefined ? 0 : 2);
    assertEquals(at.reported.length, message === undefined ? 0 : 2);
    const [said = ""] = at.reported;
    assert(said.includes(message ?? ""), said);
  }
});

test("Requests of other methods, no-store, and streams as bodies pass", async () => {
  await using at = await scene({ methods: ["POST"] });
  at.server.reply = (response, got) => json({ got: got.text })(response, got);
  const stream = () =>
    new ReadableStream({
      start(controller) {
        controller.enqueue(new TextEncoder().encode("streamed"));
        controller.close();
      },
    });
  const passing: [RequestInit & { duplex?: "half" }, string, string][] = [
    [{}, "panza; fwd=method", ""],
    [{ method: "PUT", body: "put" }, "panza; fwd=method", "put"],
    [{ ...post("fresh"), cache: "no-store" }, "panza; fwd=bypass", "fresh"],
    [{ method: "POST", body: stream(), duplex: "half" }, "panza; fwd=bypass", "streamed"],
  ];
  for (const [init, status, got] of passing) {
    const response = await at.keep(at.url, init);
    assertEquals([how(response), response.url, await response.json()], [status, at.url, { got }]);
  }
  const manual = { ...post("m"), redirect: "manual" } as const;
  assertEquals(how(await at.keep(at.url, manual)), "panza; fwd=bypass");
  assertEquals(at.server.got.length, 5);
  assertEquals(await at.cache.stats().misses, 0);
});

test("reload and no-cache ask again, and replace what is stored", async () => {
  await using at = await scene();
  let count = 0;
  at.server.reply = (response, got) => json({ count: ++count })(response, got);
  const ask = async (cache: RequestCache) => {
    const response = await at.keep(at.url, { ...post("{}"), cache });
    return [how(response), (await response.json()).count];
  };
  assertEquals(await ask("default"), ["panza; fwd=miss", 1]);
  assertEquals(await ask("reload"), ["panza; fwd=request", 2]);
  assertEquals(await ask("default"), ["panza; hit", 2]);
  assertEquals(await ask("no-cache"), ["panza; fwd=request", 3]);
  // A failed response replaces nothing.
  at.server.next.push(json({ count: 0 }, 500));
  assertEquals(await ask("reload"), ["panza; fwd=request", 0]);
  const { reply } = at.server;
  // Every time, because a runtime may retry once on a connection that was already open.
  at.server.reply = (response) => void response.destroy();
  await assertRejects(() => ask("reload"), TypeError);
  at.server.reply = reply;
  assertEquals(await ask("default"), ["panza; hit", 3]);
});

test("Errors reach the client whole, each time anew", async () => {
  await using at = await scene();
  for (const status of [400, 401, 404, 408, 409, 429, 500, 503]) {
    at.server.reply = json({ error: { code: status } }, status, { "retry-after": "1" });
    for (let round = 0; round < 2; round++) {
      const response = await at.keep(at.url, post(`${status}`));
      assertEquals([response.status, response.ok], [status, false]);
      assertEquals([how(response), response.headers.get("retry-after")], ["panza; fwd=miss", "1"]);
      assertEquals(await response.json(), { error: { code: status } });
    }
  }
  assertEquals([at.server.got.length, at.reported], [16, []]);
  at.server.reply = body(
    "part",
    { "content-type": "text/plain", "content-range": "bytes 0-3/9" },
    206,
  );
  for (let round = 0; round < 2; round++) {
    assertEquals(await (await at.keep(at.url, { headers: { range: "bytes=0-3" } })).text(), "part");
  }
  assertEquals(at.server.got.length, 18);
});

for (const { name, type, events, error } of STREAMS) {
  test(`Streams of ${name} are kept when they are whole, and never when they are cut`, async () => {
    await using at = await scene();
    const ask = async (question: string) => {
      const response = await at.keep(at.url, post(question));
      return [await response.text(), how(response)];
    };
    for (let count = 0; count < events.length; count++) {
      const part = events.slice(0, count);
      const half = events[count]!.slice(0, Math.ceil(events[count]!.length / 2) - 1);
      for (const list of [part, [...part, half], [...part, error]]) {
        at.server.next.push(pieces(type, list));
        assertEquals(await ask("{}"), [list.join(""), "panza; fwd=miss"]);
      }
      at.server.next.push(pieces(type, part, "reset"));
      await assertRejects(() => ask("{}"));
    }
    assertEquals(at.reported.length, 3 * events.length);
    assertMatch(at.reported[0] ?? "", /^refused: a response was not stored: it /);
    at.server.next.push(pieces(type, events));
    assertEquals(await ask("{}"), [events.join(""), "panza; fwd=miss"]);
    assertEquals(await ask("{}"), [events.join(""), "panza; hit"]);
  });
}

test("JSON that was cut is not kept, whether the transport reports it or not", async () => {
  await using at = await scene();
  at.server.next.push(pieces("application/json", ['{"a":', "1"]));
  assertEquals(await (await at.keep(at.url)).text(), '{"a":1');
  at.server.next.push(pieces("application/json", ['{"a":', "1"], "reset"));
  await assertRejects(async () => await (await at.keep(at.url)).text());
  at.server.reply = (response) => void response.destroy();
  await assertRejects(() => at.keep(at.url), TypeError);
  at.server.reply = json({ a: 1 });
  assertEquals(await (await at.keep(at.url)).json(), { a: 1 });
  assertEquals(at.reported, ["refused: a response was not stored: its JSON was cut"]);
});

test("The first piece of a body reaches its client before the last is sent, and equal requests share it", async () => {
  await using at = await scene();
  const hand = new ByHand();
  at.server.next.push(hand.reply);
  const [first = "", ...rest] = chatEvents();
  const asked = at.keep(at.url, post("{}"));
  await hand.begin("text/event-stream");
  const one = await asked;
  assertEquals(how(one), "panza; fwd=miss");
  const reader = one.body!.getReader();
  await hand.send(first);
  const { value } = await reader.read();
  assertEquals(new TextDecoder().decode(value), first);
  // A late reader streams from the first piece on.
  const two = await at.keep(at.url, post("{}"));
  assertEquals(how(two), "panza; fwd=miss; collapsed");
  const other = two.body!.getReader({ mode: "byob" });
  const early = await other.read(new Uint8Array(8));
  assertEquals(new TextDecoder().decode(early.value), first.slice(0, 8));
  await hand.send(rest.join(""));
  await hand.end();
  let text = first;
  for (let next = await reader.read(); !next.done; next = await reader.read()) {
    text += new TextDecoder().decode(next.value);
  }
  assertEquals(text, chatEvents().join(""));
  // The body ends only once it is stored.
  assertEquals(how(await at.keep(at.url, post("{}"))), "panza; hit");
  let late = first.slice(0, 8);
  for (;;) {
    const { done, value } = await other.read(new Uint8Array(100));
    if (done) break;
    late += new TextDecoder("latin1").decode(value);
  }
  assertEquals(late, new TextDecoder("latin1").decode(new TextEncoder().encode(text)));
  assertEquals(at.server.got.length, 1);
});

test("Five hundred equal requests at once are one request", async () => {
  await using at = await scene();
  at.server.reply = pieces("text/event-stream", chatEvents());
  const texts = await Promise.all(
    Array.from({ length: 500 }, async () => await (await at.keep(at.url, post("{}"))).text()),
  );
  assertEquals(new Set(texts), new Set([chatEvents().join("")]));
  assertEquals(at.server.got.length, 1);
});

test("A response that nobody reads is stored, and holds no permit", async () => {
  await using at = await scene({ limit: limitConcurrency(1) });
  at.server.reply = pieces("text/event-stream", chatEvents());
  for (let number = 0; number < 8; number++) await at.keep(at.url, post(`{"n":${number}}`));
  for (let number = 0; number < 8; number++) {
    await (await at.keep(at.url, post(`{"n":${number}}`))).text();
  }
  assertEquals(at.server.got.length, 8);
});

test("An abort rejects at once: before the head, in the body and in the line of a limit", async () => {
  const limit = limitConcurrency(1);
  await using at = await scene({ limit });
  const hands = [new ByHand(), new ByHand()];
  at.server.next.push(...hands.map((hand) => hand.reply));
  const [before, within] = hands as [ByHand, ByHand];
  const reason = new Error("enough");
  const ask = (number: number, controller: AbortController) =>
    at.keep(at.url, { ...post(`{"n":${number}}`), signal: controller.signal });

  const first = new AbortController();
  const asked = ask(1, first);
  await before.asked;
  const second = new AbortController();
  const waiting = ask(2, second);
  await until(() => limit.pendingCount === 1);
  second.abort(reason);
  assertEquals(await reasonOf(waiting), reason);
  assertEquals([limit.pendingCount, limit.activeCount], [0, 1]);
  first.abort(reason);
  assertEquals(await reasonOf(asked), reason);
  await before.left;
  await until(() => limit.activeCount === 0);

  const third = new AbortController();
  const open = ask(3, third);
  await within.begin("text/event-stream");
  const response = await open;
  await within.send("data: 1\n\n");
  const reader = response.body!.getReader();
  await reader.read();
  third.abort(reason);
  assertEquals(await reasonOf(reader.read()), reason);
  await within.left;
  await until(() => limit.activeCount === 0);
  assertEquals(
    await reasonOf(at.keep(at.url, { ...post("{}"), signal: AbortSignal.abort(reason) })),
    reason,
  );
  assertEquals(at.server.got.length, 2);
});

test("A client that leaves ends its exchange, and nothing is kept; others go on", async () => {
  await using at = await scene();
  const hands = [new ByHand(), new ByHand()];
  at.server.next.push(...hands.map((hand) => hand.reply));
  const [alone, shared] = hands as [ByHand, ByHand];
  const asked = at.keep(at.url, post("{}"));
  await alone.begin("text/event-stream");
  await alone.send(chatEvents()[0]!);
  await (await asked).body!.cancel();
  await alone.left;

  const controller = new AbortController();
  const leaving = at.keep(at.url, { ...post("{}"), signal: controller.signal });
  await shared.begin("text/event-stream");
  const left = await leaving;
  const staying = await at.keep(at.url, post("{}"));
  assertEquals(how(staying), "panza; fwd=miss; collapsed");
  controller.abort();
  await assertRejects(() => left.text());
  for (const event of chatEvents()) await shared.send(event);
  await shared.end();
  assertEquals(await staying.text(), chatEvents().join(""));
  assertEquals(how(await at.keep(at.url, post("{}"))), "panza; hit");
  assertEquals(at.server.got.length, 2);
});

test("A client that leaves at the last word has read a whole response, which is kept", async () => {
  await using at = await scene();
  for (const { name, type, events } of STREAMS) {
    const hand = new ByHand();
    at.server.next.push(hand.reply);
    const asked = at.keep(at.url, post(name));
    await hand.begin(type);
    await hand.send(events.join(""));
    const reader = (await asked).body!.getReader();
    let text = "";
    while (text.length < events.join("").length) {
      text += new TextDecoder().decode((await reader.read()).value);
    }
    await reader.cancel();
    await hand.end();
    // Stored by now, or about to be.
    assertEquals(await (await at.keep(at.url, post(name))).text(), events.join(""), name);
    assertEquals(how(await at.keep(at.url, post(name))), "panza; hit");
  }
});

test("A limit holds its permit to the end of each body, passing requests included", async () => {
  const hosts = limitConcurrency(3, { deriveKey: (url: string) => new URL(url).host });
  await using at = await scene({ limit: hosts, methods: ["POST"] });
  at.server.reply = async (response, got) => {
    // The first three are answered once all three have arrived.
    await until(() => at.server.peak === 3);
    return pieces("text/event-stream", chatEvents())(response, got);
  };
  const methods = ["POST", "PUT"];
  await Promise.all(Array.from({ length: 12 }, async (_, number) => {
    const init = { ...post(`{"n":${number}}`), method: methods[number % 2]! };
    const response = await at.keep(at.url, init);
    assertEquals(await response.text(), chatEvents().join(""));
  }));
  assertEquals([at.server.got.length, at.server.peak, hosts.activeCount], [12, 3, 0]);
  // A passing body gives its permit back when it is left, too.
  const hand = new ByHand();
  at.server.next.push(hand.reply);
  const asked = at.keep(at.url, { method: "PUT" });
  await hand.begin("text/plain");
  const response = await asked;
  await hand.send("a");
  const reader = response.body!.getReader();
  await reader.read();
  void reader.read();
  await reader.cancel();
  await hand.left;
  await until(() => hosts.activeCount === 0);
});

test("A limit counts the attempts of a rate, and lets hits by", async () => {
  const rate = limitRate(1, { per: "1h", maxQueue: 0 });
  await using at = await scene({ limit: rate });
  at.server.reply = json({});
  for (let round = 0; round < 3; round++) await (await at.keep(at.url)).text();
  await assertRejects(() => at.keep(`${at.url}?other`), QueueFullError);
});

test("retry asks again after 408, 409, 429, 5xx and broken connections, and returns what fails at last", async () => {
  const seen: unknown[] = [];
  await using at = await scene({
    limit: limitConcurrency(1),
    retry: {
      attempts: 3,
      backoff: { min: 1, max: 1 },
      onRetry: (error) => void seen.push(Object(error).status),
    },
  });
  for (const status of [408, 409, 429, 500, 503]) {
    const failure = json({ status }, status, { "retry-after": "0" });
    at.server.next.push(failure, failure, json({ fine: status }));
    const response = await at.keep(at.url, post(`{"n":${status}}`));
    assertEquals([response.status, await response.json()], [200, { fine: status }]);
    assertEquals(how(await at.keep(at.url, post(`{"n":${status}}`))), "panza; hit");
  }
  assertEquals([at.server.got.length, seen.length, seen[0]], [15, 10, 408]);

  const failure = json({ busy: true }, 500);
  at.server.next.push(failure, failure, failure);
  const last = await at.keep(at.url, post("{}"));
  assertEquals([last.status, await last.json(), at.server.got.length], [500, { busy: true }, 18]);

  at.server.next.push(json({}, 400));
  const refused = await at.keep(at.url, post("{}"));
  assertEquals([refused.status, await refused.text()], [400, "{}"]);
  assertEquals(at.server.got.length, 19);
  // There is no retry once the body has begun.
  const hand = new ByHand();
  at.server.next.push(hand.reply);
  const asked = at.keep(at.url, post("{}"));
  await hand.begin("text/event-stream");
  const broken = await asked;
  await hand.send(chatEvents()[0]!);
  await hand.end("reset");
  await assertRejects(() => broken.text());
  assertEquals(at.server.got.length, 20);
  at.server.reply = (response) => void response.destroy();
  await assertRejects(() => at.keep(at.url, post("{}")), TypeError);
  assert(at.server.got.length >= 23);
});

test("retry sends every kind of body again as it was at the call", async () => {
  await using at = await scene({ retry: { attempts: 2, backoff: { max: 1 } } });
  const form = new FormData();
  form.append("file", new File(["content"], "a.txt", { type: "text/plain" }));
  const bytes = Uint8Array.of(1, 2, 3);
  for (const body of ["text", new URLSearchParams({ a: "1" }), bytes, new Blob(["blob"]), form]) {
    at.server.got.length = 0;
    at.server.next.push(json({}, 500), json({}));
    const request = at.keep(at.url, { method: "POST", body });
    if (body === bytes) bytes.fill(9);
    await (await request).text();
    const [first, second] = at.server.got.map(({ text }) => text.replace(/^-{2,}.*\w/gm, "-"));
    assertEquals(first, second);
    assert(first !== "", String(body));
    if (body === bytes) assertEquals(at.server.got[1]?.bytes, Uint8Array.of(1, 2, 3));
  }
  at.server.next.push(json({}, 500), json({}));
  await (await at.keep(new Request(at.url, post("request")))).text();
  assertEquals(at.server.got.slice(-2).map(({ text }) => text), ["request", "request"]);
});

test("A body past maxBytes passes with back pressure, is not kept, and is reported", async () => {
  await using at = await scene({ maxBytes: 1000 });
  const kept = "x".repeat(1000);
  for (const [text, requests] of [[kept, 1], [`${kept}y`, 3]] as const) {
    at.server.reply = body(text, { "content-type": "text/plain" });
    for (let round = 0; round < 2; round++) {
      assertEquals(await (await at.keep(at.url, post(`${text.length}`))).text(), text);
    }
    assertEquals(at.server.got.length, requests);
  }
  assertEquals(at.cache.stats().unstored, 2);
  // Far past the bound, nothing is read ahead of the client.
  const piece = new Uint8Array(65_536);
  let sent = 0;
  at.server.reply = async (response) => {
    response.writeHead(200, { "content-type": "application/octet-stream" });
    while (sent < 64 * 2 ** 20) {
      sent += piece.length;
      if (response.write(piece)) continue;
      await Promise.race([
        new Promise((resolve) => response.once("drain", resolve)),
        new Promise((resolve) => response.once("close", resolve)),
      ]);
      if (response.destroyed) return;
    }
    response.end();
  };
  const response = await at.keep(at.url);
  const reader = response.body!.getReader();
  let read = 0;
  while (read < 8 * 2 ** 20) read += (await reader.read()).value?.length ?? 0;
  assert(sent < 40 * 2 ** 20, `${sent} bytes were read ahead`);
  for (let next = await reader.read(); !next.done; next = await reader.read()) {
    read += next.value.length;
  }
  assertEquals(read, sent);
  assertEquals(at.reported, [
    ...Array(2).fill(
      "refused: a response was not stored: it has more than 1000 bytes; maxBytes decides",
    ),
    "encode: a stream was not stored: it has more than 1000 bytes; maxBytes decides",
  ]);
});

test("shouldCache sees the response, the URL and the request, and has the last word", async () => {
  const seen: unknown[] = [];
  await using at = await scene({
    shouldCache: ({ status, headers, json }, url, request) => {
      seen.push([status, headers["content-type"], json, url, request.method, request.body]);
      return Object(json).done === true;
    },
  });
  for (const done of [false, true]) {
    at.server.next.push(json({ done }));
    assertEquals(await (await at.keep(at.url, post('{"a":1}'))).json(), { done });
  }
  assertEquals(how(await at.keep(at.url, post('{"a":1}'))), "panza; hit");
  const type = "application/json";
  assertEquals(seen, [
    [200, type, { done: false }, at.url, "POST", { a: 1 }],
    [200, type, { done: true }, at.url, "POST", { a: 1 }],
  ]);
});

test("ttl, staleIfError and version are those of cached functions", async () => {
  await using at = await scene({ ttl: 1, staleIfError: "1h" });
  at.server.next.push(json({ n: 1 }), json({ n: 2 }));
  const expire = async () => {
    const start = Date.now();
    await until(() => Date.now() > start + 2);
  };
  assertEquals(await (await at.keep(at.url)).json(), { n: 1 });
  await expire();
  assertEquals(await (await at.keep(at.url)).json(), { n: 2 });
  await expire();
  at.server.reply = (response) => void response.destroy();
  const stale = await at.keep(at.url);
  assertEquals([how(stale), await stale.json()], ["panza; hit; detail=stale-if-error", { n: 2 }]);
  at.server.reply = json({ n: 3 });
  const next = cachedFetch(at.cache, { methods: ["GET"], version: 2 });
  assertEquals(await (await next(at.url)).json(), { n: 3 });
});

test("A store that fails changes no response", async () => {
  await using server = await new LLMServer().listen();
  const { list, onError } = reports();
  await using cache = new SQLiteCache(temporaryFolder(), { onError });
  const keep = cachedFetch(cache, { methods: ["POST"] });
  server.reply = json({ a: 1 });
  for (let round = 0; round < 2; round++) {
    assertEquals(await (await keep(server.url, post("{}"))).json(), { a: 1 });
  }
  assertEquals(server.got.length, 2);
  assert(list.length > 0);
});

test("close waits for a flow, stores it, and refuses what comes later", async () => {
  await using at = await scene();
  const hand = new ByHand();
  at.server.next.push(hand.reply);
  const asked = at.keep(at.url, post("{}"));
  await hand.begin("text/event-stream");
  const response = await asked;
  const closed = at.cache.close();
  for (const event of chatEvents()) await hand.send(event);
  await hand.end();
  assertEquals(await response.text(), chatEvents().join(""));
  await closed;
  assertEquals(at.cache.stats().unstored, 0);
  assertEquals(Object(await reasonOf(at.keep(at.url, post("{}")))).name, "CacheClosedError");
  at.server.reply = json({});
  assertEquals((await at.keep(at.url, { method: "PUT" })).status, 200, "a passing request passes");
});

test("Nothing of a request is in the bytes of the store: no header, no key, no body", async () => {
  const folder = temporaryFolder();
  const secrets = Array.from({ length: 12 }, (_, index) => `s3cret-${index}-${"xyz"[index % 3]}`);
  await using server = await new LLMServer().listen();
  server.reply = json({ fine: true }, 200, { "set-cookie": secrets[0]! });
  {
    await using cache = new SQLiteCache(join(folder, "cache.db"));
    for (const credentials of [undefined, "ignore"] as const) {
      const keep = cachedFetch(cache, {
        methods: ["POST"],
        headers: ["x-own"],
        ...(credentials !== undefined && { credentials }),
      });
      const form = new FormData();
      form.append(secrets[1]!, new File([secrets[2]!], `${secrets[3]}.txt`));
      const bodies = [`{"k":"${secrets[4]}"}`, secrets[5]!, new Blob([secrets[6]!]), form];
      for (const body of bodies) {
        server.next.push((response) => {
          response.writeHead(307, { location: `/to?signature=${secrets[11]}` }).end();
        });
        const response = await keep(`${server.url}/a?key=${secrets[7]}#${secrets[8]}`, {
          method: "POST",
          body,
          headers: {
            authorization: `Bearer ${secrets[9]}`,
            "x-api-key": secrets[10]!,
            cookie: secrets[8]!,
            "x-own": secrets[7]!,
          },
        });
        await response.text();
      }
    }
    assertEquals(cache.stats().unstored, 0);
  }
  let bytes = "";
  for (const name of readdirSync(folder)) bytes += readFileSync(join(folder, name), "latin1");
  assert(bytes.includes("fine"), "something is stored");
  for (const secret of secrets) assert(!bytes.includes(secret), secret);
});

test("cachedFetch says what is missing or wrong", () => {
  const cache = new MemoryCache();
  const make = (...args: unknown[]) => () => Reflect.apply(cachedFetch, undefined, args);
  assertThrows(make(cache), TypeError, '["POST"] for clients of LLMs, ["GET"] for pages and APIs');
  assertThrows(
    make(cache, {}),
    TypeError,
    '["POST"] for clients of LLMs, ["GET"] for pages and APIs',
  );
  assertThrows(make(cache, { methods: [] }), RangeError, "methods must be");
  assertThrows(make(cache, { methods: "POST" }), TypeError, "methods must be");
  assertThrows(make({ methods: ["GET"] }), TypeError, "cache must be a cache of this library");
  const schema = { "~standard": { version: 1, vendor: "own", validate: () => ({ value: 1 }) } };
  assertThrows(make(cache, { methods: ["GET"], retry: { schema } }), TypeError);
});
