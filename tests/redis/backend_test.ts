/** The Redis backend without a server; the tests in `tests/redis/server/` need one. */
import { test } from "node:test";
import {
  assert,
  assertEquals,
  assertRejects,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import { RedisBackend, RedisCache } from "../../redis.ts";
import { makeEntry } from "../../src/testing/entries.ts";

/** A port that nothing listens on. */
const NOBODY = "redis://user:hunter2@127.0.0.1:1/3";

test("RedisBackend refuses what is neither a URL nor a client, and repeats no string", () => {
  const wrong = [
    "http://user:hunter2@host",
    "redis://user:hunter2@host/a",
    "redis://user:hunter2@host/0?x=1",
    "redis://user:hunter2@host#x",
    "hunter2",
    "",
    undefined,
    null,
    {},
    { isOpen: true, sendCommand: () => {}, getSentinelNode: () => {} },
  ];
  for (const server of wrong) {
    const use = () => Reflect.construct(RedisBackend, [server]);
    const error = assertThrows(use, TypeError, "server must be a URL");
    assert(!error.message.includes("hunter2"));
  }
});

test("RedisBackend refuses prefixes that would not stay apart in a cluster", () => {
  for (const prefix of ["", "a{b", "a}", "a\nb", "a\0b", "\ud800", "x".repeat(201)]) {
    assertThrows(() => new RedisBackend("redis://host", { prefix }), TypeError, "prefix");
  }
});

test("RedisBackend names host, database and prefix, and no user", () => {
  const named = (url: string, prefix?: string) =>
    new RedisBackend(url, prefix === undefined ? {} : { prefix }).description;
  assertEquals(named(NOBODY), "Redis 127.0.0.1:1/3 panza");
  assertEquals(named("rediss://example.com", "a b"), "Redis example.com:6379/0 a b");
  assertEquals(named("redis://[::1]:1234/02"), "Redis [::1]:1234/2 panza");
  const client = { isOpen: false, sendCommand: () => {} };
  const backend = new RedisBackend(client, { prefix: "team" });
  assertEquals([backend.description, backend.location], ["Redis team", undefined]);
});

test("RedisCache runs calls without a server, reports each failure, and names no password", async () => {
  const reports: string[] = [];
  const cache = new RedisCache(NOBODY, {
    onError: (error) => reports.push(`${error.stack} ${error.message} ${error.cause}`),
  });
  const double = cache.cache({ id: "double" })(
    async (n: number): Promise<number> => await Promise.resolve(2 * n),
  );
  assertEquals([await double(2), await double(2)], [4, 4]);
  assert(reports.length >= 2);
  for (const report of reports) {
    assertStringIncludes(report, "Redis 127.0.0.1:1/3 panza: no connection");
    assert(!report.includes("hunter2"));
  }
  await assertRejects(() => cache.bust("double"), Error, "no connection");
  await cache.close();
});

test("RedisBackend rejects at once while a connection has just failed", async () => {
  const backend = new RedisBackend(NOBODY);
  const all = await Promise.allSettled(
    Array.from({ length: 200 }, (_, n) => backend.set("id", `${n}`, makeEntry("value"))),
  );
  assert(all.every(({ status }) => status === "rejected"));
  await backend.close();
});
