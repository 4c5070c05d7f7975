import { test } from "node:test";
import { assertEquals } from "@std/assert";
import { readRetryAfter } from "../../concurrency.ts";
import { FakeTime } from "../support/fake_time.ts";

const inAMinute = "Thu, 01 Jan 2026 00:01:00 GMT";

test("readRetryAfter() reads what servers say, in milliseconds", () => {
  using time = new FakeTime();
  time.step(Date.parse("2026-01-01T00:00:00Z") - Date.now());
  const cases: [headers: Record<string, string>, milliseconds: number | undefined][] = [
    [{ "retry-after": "20" }, 20_000],
    [{ "retry-after": "0" }, 0],
    [{ "retry-after": "1.5" }, 1_500],
    [{ "retry-after": inAMinute }, 60_000],
    // The server's clock is 30 s behind ours.
    [{ "retry-after": inAMinute, "date": "Wed, 31 Dec 2025 23:59:30 GMT" }, 90_000],
    [{ "retry-after": "Wed, 31 Dec 2025 23:59:59 GMT" }, 0],
    [{ "retry-after": "6m0s" }, 360_000],
    [{ "retry-after": "1h2m3.5s" }, 3_723_500],
    [{ "retry-after": "20ms" }, 20],
    [{ "retry-after-ms": "150", "retry-after": "1" }, 150],
    [{ "retry-after": "soon" }, undefined],
    [{ "retry-after": "-3" }, undefined],
    [{ "retry-after": "" }, undefined],
    [{}, undefined],
    [{ "x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "6m0s" }, 360_000],
    [{ "x-ratelimit-remaining-tokens": "9", "x-ratelimit-reset-tokens": "6m0s" }, undefined],
    [{
      "x-ratelimit-remaining-requests": "0",
      "x-ratelimit-reset-requests": "1s",
      "x-ratelimit-remaining-tokens": "0",
      "x-ratelimit-reset-tokens": "20ms",
    }, 1_000],
  ];
  for (const [headers, milliseconds] of cases) {
    assertEquals(readRetryAfter(new Headers(headers)), milliseconds, JSON.stringify(headers));
    assertEquals(readRetryAfter({ headers }), milliseconds, JSON.stringify(headers));
  }
});

test("readRetryAfter() finds the headers in the errors of the usual SDKs", () => {
  const text = { "Retry-After": "20" };
  const headers = new Headers(text);
  const sources: Record<string, unknown> = {
    "a Response": new Response("", { headers }),
    "OpenAI, Anthropic, Mistral": Object.assign(new Error("429"), { headers }),
    "ky": Object.assign(new Error("429"), { response: new Response("", { headers }) }),
    "axios, got, octokit": { response: { headers: { "retry-after": 20 } } },
    "Vercel's AI": { responseHeaders: text },
    "AWS": { $response: { headers: { "retry-after": ["20"] } } },
    "Cohere": { rawResponse: { headers } },
    "Vercel's AI, after its own retries": { lastError: { responseHeaders: text } },
    "a cause": new Error("failed", { cause: Object.assign(new Error("429"), { headers }) }),
  };
  for (const [name, source] of Object.entries(sources)) {
    assertEquals(readRetryAfter(source), 20_000, name);
  }
});

test("readRetryAfter() finds nothing in what has no headers, and never throws", () => {
  const { proxy, revoke } = Proxy.revocable({}, {});
  revoke();
  const loop: { cause?: unknown } = {};
  loop.cause = loop;
  const trap = {
    get headers(): never {
      throw new Error("private");
    },
  };
  for (const source of [undefined, null, "20", 20, {}, proxy, loop, trap, new Error("own")]) {
    assertEquals(readRetryAfter(source), undefined);
  }
});
