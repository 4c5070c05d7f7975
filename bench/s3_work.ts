/**
 * A bucket on a server in this process, with a cached function and the same object read by hand.
 *
 * @module
 */

import type { AddressInfo } from "node:net";
import { GetObjectCommand, S3Client } from "@aws-sdk/client-s3";
import { buildApp } from "fauxqs";
import { S3Cache } from "../s3.ts";
import { type Arguments, argumentsOf, byHundreds, chat, check } from "./work.ts";

/** The measured work; `requests` counts the requests that reached the server. */
export interface S3Work extends AsyncDisposable {
  requests: number;
  readonly list: readonly Arguments[];
  readonly cached: (argument: Arguments) => Promise<unknown>;
  /** Reads one object and parses it, through a client with the same settings. */
  readonly raw: () => Promise<unknown>;
  /** All hits of the list through `map`, 32 at a time. */
  readonly map: () => Promise<void>;
  /** As many reads through the client, 32 at a time. */
  readonly rawMap: () => Promise<void>;
}

const AT_ONCE = 32;

/** Starts the server, fills the bucket, and checks both ways of reading. */
export async function openS3(): Promise<S3Work> {
  const app = buildApp({ logger: false });
  await app.listen({ port: 0, host: "127.0.0.1" });
  const { port } = app.server.address() as AddressInfo;
  const endpoint = `http://127.0.0.1:${port}`;
  const settings = {
    endpoint,
    region: "us-east-1",
    credentials: { accessKeyId: "test", secretAccessKey: "test-secret" },
    forcePathStyle: true,
  };
  const client = new S3Client(settings);
  const cache = new S3Cache("bench", { ...settings, autoCreateBucket: true });
  const cached = cache.cache({ id: "work" })(
    async (_argument: Arguments): Promise<unknown> => await Promise.resolve(chat),
  );
  const list = Array.from({ length: 200 }, (_, index) => argumentsOf(index));
  await byHundreds(list, cached);
  // The raw client reads a hand-written object with the first result.
  const { PutObjectCommand } = await import("@aws-sdk/client-s3");
  const place = { Bucket: "bench", Key: "by-hand" };
  await client.send(new PutObjectCommand({ ...place, Body: JSON.stringify(chat) }));
  const raw = async () => {
    const { Body } = await client.send(new GetObjectCommand(place));
    return JSON.parse((await Body?.transformToString()) ?? "");
  };
  const work: S3Work = {
    requests: 0,
    list,
    cached,
    raw,
    map: async () => {
      let hits = 0;
      for await (const { ok, status } of cached.map(list, { concurrency: AT_ONCE })) {
        if (ok && status === "hit") hits++;
      }
      check("hits of a map", hits, list.length);
    },
    rawMap: async () => {
      let left = list.length;
      const worker = async () => {
        while (left-- > 0) await raw();
      };
      await Promise.all(Array.from({ length: AT_ONCE }, worker));
    },
    [Symbol.asyncDispose]: async () => {
      await cache.close();
      client.destroy();
      await app.close();
    },
  };
  app.server.on("request", () => {
    work.requests++;
  });
  check("S3Cache", await cached(list[7]!), chat);
  check("GetObject", await work.raw(), chat);
  check("misses", cache.stats().misses, list.length);
  return work;
}
