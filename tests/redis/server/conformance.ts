/** The Redis backend against the numbered clauses: by URL, through a client, on a cluster. */
import { test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { createClient, createClientPool, createCluster } from "redis";
import { RedisBackend, type RedisClientLike } from "../../../redis.ts";
import { testBackend } from "../../../testing.ts";
import { type RedisServer, startRedis } from "../../support/redis_server.ts";

/** More than two pages. */
const entryCount = 300;

let stores = 0;
let started: Promise<RedisServer> | undefined;

testBackend(
  (clause, fn) => test(`RedisBackend, ${clause}`, fn),
  async () => {
    const server = await (started ??= startRedis());
    const user = `user-${stores++}`;
    // Its password has the characters that a URL must escape.
    await server.send("ACL", "SETUSER", user, "on", ">p@ss:/word", "+@all", "~*", "&*");
    const url = server.url(`${user}:p%40ss%3A%2Fword`);
    return { server, user, url, prefix: user, backend: new RedisBackend(url, { prefix: user }) };
  },
  {
    reopen: ({ url, prefix }) => new RedisBackend(url, { prefix }),
    openNeighbour: ({ url, prefix }) => new RedisBackend(url, { prefix: `${prefix}:longer` }),
    breakStore: async ({ server, user }) => {
      await server.send("ACL", "SETUSER", user, "off");
      await server.send("CLIENT", "KILL", "USER", user);
    },
    entryCount,
  },
);

/** A client of the user, connected. */
interface Owned extends RedisClientLike {
  destroy(): unknown;
}

function testClient(name: string, connect: () => Promise<Owned>): void {
  testBackend(
    (clause, fn) => test(`RedisBackend through ${name}, ${clause}`, fn),
    async () => {
      const client = await connect();
      const prefix = `store-${stores++}`;
      return { client, prefix, backend: new RedisBackend(client, { prefix }) };
    },
    {
      reopen: ({ client, prefix }) => new RedisBackend(client, { prefix }),
      openNeighbour: ({ client, prefix }) => new RedisBackend(client, { prefix: `${prefix}/` }),
      breakStore: ({ client }) => void client.destroy(),
      cleanUp: ({ client }) => void (client.isOpen && client.destroy()),
      entryCount,
    },
  );
}

testClient("a client that speaks RESP 3", async () => {
  const client = createClient({ url: (await (started ??= startRedis())).url(), RESP: 3 });
  return await client.on("error", () => {}).connect();
});

testClient("a pool", async () => {
  const pool = createClientPool({ url: (await (started ??= startRedis())).url() }, { minimum: 3 });
  await pool.on("error", () => {}).connect();
  return pool;
});

let cluster: Promise<RedisServer> | undefined;

async function startCluster(): Promise<RedisServer> {
  const server = await startRedis(
    ...["--cluster-enabled", "yes", "--cluster-announce-ip", "127.0.0.1"],
  );
  await server.send("CLUSTER", "ADDSLOTSRANGE", "0", "16383");
  // The node waits some seconds for other nodes, which might have newer information.
  while (!String(await server.send("CLUSTER", "INFO")).includes("cluster_state:ok")) {
    await delay(100);
  }
  return server;
}

testClient("a cluster", async () => {
  const url = (await (cluster ??= startCluster())).url();
  return await createCluster({ rootNodes: [{ url }] }).on("error", () => {}).connect();
});
