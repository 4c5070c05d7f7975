/** The command, on a store in Redis. */
import { test } from "node:test";
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { RedisCache } from "../../../redis.ts";
import { commandOf, launch } from "../../support/child.ts";
import { startRedis } from "../../support/redis_server.ts";

test("panza lists and deletes what is in Redis, and repeats no password", async () => {
  const server = await startRedis("--requirepass", "hunter2");
  const url = server.url(":hunter2");
  await using cache = new RedisCache(url, { prefix: "team" });
  await cache.cache({ id: "double" })(async (n: number) => await Promise.resolve(2 * n))(1);
  const panza = async (...words: string[]) =>
    await launch([...commandOf("../cli.ts", ["-A"]), ...words], { stdin: "" }).end();
  const listed = await panza("ls", `${url}?prefix=team`);
  assertEquals([listed.code, listed.stderr], [0, ""]);
  assertStringIncludes(listed.stdout, "double");
  const other = await panza("ls", `${url}?prefix=other`);
  assert(!other.stdout.includes("double"));
  await server.kill();
  const failed = await panza("ls", `${url}?prefix=team`);
  assert(failed.code !== 0);
  assertStringIncludes(failed.stderr, "no connection");
  assert(!`${failed.stdout}${failed.stderr}`.includes("hunter2"));
});
