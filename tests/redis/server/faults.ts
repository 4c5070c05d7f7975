/** A cache over a server that is killed, full, a replica, or silent. */
import { test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { createClient } from "redis";
import { MemoryCache } from "../../../memory.ts";
import { RedisBackend, RedisCache } from "../../../redis.ts";
import { TieredCache } from "../../../tiered.ts";
import { TIMES } from "../../../src/redis/connection.ts";
import { makeEntry } from "../../../src/testing/entries.ts";
import { start } from "../../support/child.ts";
import { startRedis } from "../../support/redis_server.ts";

/** A cache that records its reports, and a function that counts its runs. */
function counted(url: string, options: object = {}) {
  const reports: string[] = [];
  const cache = new RedisCache(url, {
    ...options,
    onError: (error, { kind }) => reports.push(`${kind}: ${error.message}`),
  });
  let runs = 0;
  const square = cache.cache({ id: "square" })(async (n: number): Promise<number> => {
    runs++;
    return await Promise.resolve(n * n);
  });
  return { cache, square, reports, runs: () => runs };
}

test("RedisCache runs calls while the server is killed, reports it, and recovers", async () => {
  const server = await startRedis();
  const { cache, square, reports, runs } = counted(server.url("user:secret").replace("user:", ":"));
  await assertRejects(() => cache.set("direct", 1));
  await cache.close();
  const again = counted(server.url());
  assertEquals([await again.square(2), await again.square(2), again.runs()], [4, 4, 1]);
  await server.kill();
  assertEquals([await again.square(2), await again.square(3), again.runs()], [4, 9, 3]);
  const kinds = new Set(again.reports.map((report) => report.split(":")[0]));
  assert(kinds.has("read") && kinds.has("write"), `${[...kinds]}`);
  await assertRejects(() => again.square.bustCache(2));
  await server.restart();
  await delay(2 * TIMES.failedMs);
  const before = again.reports.length;
  const runsBefore = again.runs();
  assertEquals([await again.square(5), await again.square(5)], [25, 25]);
  assertEquals(again.runs(), runsBefore + 1);
  assertEquals(again.reports.length, before);
  await again.cache.close();
  assertEquals([runs(), reports.filter((report) => report.includes("secret")), square.id], [
    0,
    [],
    "square",
  ]);
  await server.kill();
});

test("RedisCache runs what is under way when the server is killed", async () => {
  const server = await startRedis();
  const { cache, square, runs } = counted(server.url());
  const inputs = Array.from({ length: 2_000 }, (_, n) => n);
  const batch = square.map(inputs, { concurrency: 20 });
  let done = 0;
  for await (const result of batch) {
    assert(result.ok && result.value === result.input ** 2);
    if (++done === 500) await server.kill();
    if (done === 1_000) await server.restart();
  }
  assertEquals([done, runs()], [2_000, 2_000]);
  await cache.close();
  await server.kill();
});

test("RedisBackend names no password when the server refuses it", async () => {
  const server = await startRedis("--requirepass", "the-right-one");
  for (const url of [server.url(":a-wrong-one"), server.url()]) {
    const backend = new RedisBackend(url);
    const error = await assertRejects(() => backend.set("id", "key", makeEntry("value")), Error);
    assertStringIncludes(error.message, "password");
    assert(!JSON.stringify([error, `${error.cause}`]).includes("a-wrong-one"), error.message);
    assert(!`${error.stack}${error.message}`.includes("a-wrong-one"));
    await backend.close();
  }
  await server.kill();
});

test("RedisBackend connects anew when the server has become a replica", async () => {
  const server = await startRedis();
  const backend = new RedisBackend(server.url());
  await backend.set("id", "key", makeEntry("before"));
  await server.send("REPLICAOF", "127.0.0.1", "1");
  const error = await assertRejects(() => backend.set("id", "key", makeEntry("lost")), Error);
  assertStringIncludes(error.message, "READONLY");
  await assertRejects(() => backend.deleteId("id"), Error, "READONLY");
  const count = async () =>
    /total_connections_received:(\d+)/.exec(`${await server.send("INFO", "stats")}`)?.[1];
  const connections = Number(await count());
  await server.send("REPLICAOF", "NO", "ONE");
  await backend.set("id", "key", makeEntry("after"));
  assertEquals((await backend.get("id", "key"))?.data, "after");
  // The connections of the backend, and of each command of the test.
  assertEquals(Number(await count()), connections + 3);
  await backend.close();
  await server.kill();
});

test("RedisCache on a full server reads and deletes, and reports what it cannot store", async () => {
  const server = await startRedis();
  const { cache, square, reports, runs } = counted(server.url());
  await Promise.all([1, 2, 3].map((n) => square(n)));
  await server.send("CONFIG", "SET", "maxmemory", "1", "maxmemory-policy", "noeviction");
  assertEquals([await square(1), runs()], [1, 3]);
  assertEquals([await square(9), await square(9), runs()], [81, 81, 5]);
  assert(reports.some((report) => /^write: .*OOM.*raise maxmemory/.test(report)), `${reports}`);
  await square.bustCache(1);
  assertEquals((await square.readCache(1)).hit, false);
  assertEquals((await cache.prune({ maxEntries: 1 })).entries, 1);
  await square.bustCache();
  assertEquals(await Array.fromAsync(cache.entries()), []);
  await server.send("CONFIG", "SET", "maxmemory", "0");
  const before = runs();
  assertEquals([await square(9), await square(9), runs()], [81, 81, before + 1]);
  await cache.close();
  await server.kill();
});

test("RedisCache serves nothing wrong whatever the server evicts, and heals", async () => {
  const server = await startRedis("--maxmemory", "6mb", "--maxmemory-policy", "allkeys-random");
  const cache = new RedisCache(server.url(), { singleFlight: "store" });
  const version = { now: 0 };
  const fill = cache.cache({ id: "fill", hashFunc: (n: number) => n })(
    async (n: number): Promise<string> =>
      await Promise.resolve(`${version.now} ${n} ${"x".repeat(2_000)}`),
  );
  for (let round = 0; round < 3; round++) {
    version.now = round;
    const inputs = Array.from({ length: 3_000 }, (_, n) => n);
    for await (const result of fill.map(inputs, { concurrency: 50 })) {
      assert(result.ok && result.value.startsWith(`${round} ${result.input} `));
    }
    // An entry that was evicted from the index must not come back after this.
    await fill.bustCache();
  }
  assert(/evicted_keys:[1-9]/.test(`${await server.send("INFO", "stats")}`));
  assertEquals(await Array.fromAsync(cache.entries()), []);
  await cache.close();
  await server.kill();
});

test("RedisBackend takes an entry for absent whose index or value was evicted", async () => {
  const server = await startRedis();
  const backend = new RedisBackend(server.url());
  await backend.set("id", "a", makeEntry("a"));
  await backend.set("id", "b", makeEntry("b"));
  await server.send("DEL", "{panza}:panza-1:entry:id\0a");
  assertEquals(await backend.get("id", "a"), undefined);
  assertEquals((await Array.fromAsync(backend.entries())).map(({ key }) => key), ["b"]);
  assertEquals(await server.send("ZCARD", "{panza}:panza-1:index"), 1);
  await server.send("DEL", "{panza}:panza-1:index");
  // A deletion cannot find the entry any more, and must not need to.
  await backend.deleteId("id");
  await backend.set("id", "a", makeEntry("new"));
  assertEquals(await backend.getMany("id", ["a", "b"]), [makeEntry("new"), undefined]);
  await server.send("DEL", "{panza}:panza-1:notes");
  assertEquals(await backend.update("id", "a", () => "note"), "note");
  await backend.close();
  await server.kill();
});

test("RedisBackend lets an entry expire, and the index forgets it with later stores", async () => {
  const server = await startRedis();
  const backend = new RedisBackend(server.url());
  const names = Array.from({ length: 64 }, () => crypto.randomUUID());
  for (const name of names) {
    await backend.set("id", name, makeEntry(name, { staleUntil: Date.now() + 30 }));
  }
  await backend.set("id", "past", makeEntry("past", { staleUntil: 1 }));
  await delay(60);
  assertEquals((await backend.getMany("id", names)).filter(Boolean), []);
  assertEquals((await backend.get("id", "past"))?.data, "past");
  for (let n = 0; n < 32 * 30; n++) await backend.set("id", "0", makeEntry("again"));
  await backend.close();
  assertEquals(await server.send("ZCARD", "{panza}:panza-1:index"), 2);
  await server.kill();
});

test("RedisBackend says so where something else stands in the place of an entry", async () => {
  const server = await startRedis();
  const backend = new RedisBackend(server.url());
  await backend.set("id", "a", makeEntry("a"));
  const name = "{panza}:panza-1:entry:id\0a";
  for (
    const text of ["", "text", "panza-1 text 9 t 1 1 1 1 1\nx", "panza-1 text 1 t x 1 1 1 1\nx"]
  ) {
    await server.send("SET", name, text);
    await assertRejects(async () => await backend.get("id", "a"), Error, "was changed");
    assertEquals(await backend.getMany("id", ["a"]), [undefined]);
  }
  await server.send("DEL", name);
  await server.send("LPUSH", name, "1");
  await assertRejects(async () => await backend.get("id", "a"), Error, "another prefix");
  await backend.delete("id", "a");
  assertEquals(await backend.get("id", "a"), undefined);
  await backend.close();
  await server.kill();
});

test("RedisBackend breaks off a connection to a server that is silent", async () => {
  const server = await startRedis();
  const backend = new RedisBackend(server.url());
  await backend.set("id", "key", makeEntry("value"));
  const { silentMs } = TIMES;
  TIMES.silentMs = 100;
  try {
    // The timer of this backend was set with the old limit.
    await backend.close();
    const waiting = new RedisBackend(server.url());
    await waiting.get("id", "key");
    server.signal("SIGSTOP");
    await assertRejects(async () => await waiting.get("id", "key"), Error, "no connection");
    server.signal("SIGCONT");
    assertEquals((await waiting.get("id", "key"))?.data, "value");
    await waiting.close();
  } finally {
    TIMES.silentMs = silentMs;
    server.signal("SIGCONT");
  }
  await server.kill();
});

test("RedisCache leaves a client of the user open, and wants it connected", async () => {
  const server = await startRedis();
  const client = createClient({ url: server.url() });
  const early = new RedisBackend(client);
  await assertRejects(async () => await early.get("id", "key"), Error, "connect()");
  await client.connect();
  const cache = new RedisCache(client, { prefix: "mine" });
  await cache.set("key", { a: 1 });
  await cache.close();
  assertEquals(await client.ping(), "PONG");
  assertEquals((await client.keys("*")).every((name) => name.startsWith("{mine}:")), true);
  client.destroy();
  await server.kill();
});

test("RedisCache keeps values encrypted, and as a tier behind memory", async () => {
  const server = await startRedis();
  const key = await crypto.subtle.generateKey({ name: "AES-GCM", length: 256 }, true, [
    "encrypt",
    "decrypt",
  ]);
  const redis = new RedisCache(server.url(), { encrypt: key });
  await using cache = new TieredCache([new MemoryCache(), redis]);
  assertEquals(cache.singleFlight, "store");
  await cache.set("key", "a secret value");
  await using far = new RedisCache(server.url(), { encrypt: key });
  assertEquals(await far.get("key"), "a secret value");
  const stored = await server.send("GET", "{panza}:panza-1:entry:\0key");
  assert(!`${stored}`.includes("secret"));
  await cache.delete("key");
  assertEquals((await far.read("key")).hit, false);
  await server.send("FLUSHALL");
});

test("A process that never closes its RedisCache ends, and waits for no other permission", async () => {
  const server = await startRedis();
  const flags = [`--allow-net=${server.host}`];
  const child = start("fixtures/redis_child.ts", [server.url()], flags);
  assertEquals(await child.ended(), ["4", "4", "1"]);
  assertEquals(child.errors(), "");
  const denied = start("fixtures/redis_child.ts", [server.url()], ["--deny-net"]);
  const { stdout, stderr } = await denied.end();
  if ("Deno" in globalThis) assertStringIncludes(stdout + stderr, "--allow-net=127.0.0.1");
  await server.kill();
});
