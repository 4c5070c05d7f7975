/**
 * A bucket behind a proxy, and backends that open it.
 *
 * @module
 */

import type { S3Client } from "@aws-sdk/client-s3";
import { S3Backend } from "../../s3.ts";
import type { S3Options } from "../../src/s3/options.ts";
import { type Chaos, startChaos } from "./s3_chaos.ts";
export { ENTRY } from "./s3_entry.ts";
import { ENTRY } from "./s3_entry.ts";
import { optionsFor, type TestServer, withBucket } from "./s3_server.ts";

/** For tests of thousands of requests; the default timeout of a runner is a few seconds. */
export const LONG = { timeout: 120_000 };

/** The parts of a test, closed when it ends. */
export interface Scene {
  readonly bucket: string;
  readonly client: S3Client;
  readonly server: TestServer;
  readonly chaos: Chaos;
  /** A backend behind the proxy. */
  open(prefix?: string, options?: S3Options): S3Backend;
}

/** Runs a test with a bucket of its own, which exists unless `create` is false. */
export async function scene(work: (scene: Scene) => Promise<void>, create = true): Promise<void> {
  await withBucket(async (bucket, client, server) => {
    const chaos = await startChaos(server.endpoint);
    const opened: S3Backend[] = [];
    const open = (prefix = "", options: S3Options = {}) => {
      const all = { ...optionsFor(server, chaos.url), ...options };
      const backend = new S3Backend(`${bucket}${prefix}`, all);
      opened.push(backend);
      return backend;
    };
    try {
      await work({ bucket, client, server, chaos, open });
    } finally {
      chaos.fault = () => undefined;
      for (const backend of opened) await backend.close();
      await chaos.close();
    }
  }, create);
}

/** All ids and keys of a listing, sorted. */
export async function idsAndKeys(backend: S3Backend, id?: string): Promise<string[]> {
  const infos = await Array.fromAsync(backend.entries(id));
  return infos.map((info) => `${info.id}|${info.key}`).sort();
}

/** Calls of every operation. */
export function operationsOf(backend: S3Backend): (() => Promise<unknown>)[] {
  return [
    () => backend.get("f", "k"),
    () => backend.getMany("f", ["k"]),
    () => backend.set("f", "k", ENTRY),
    () => backend.delete("f", "k"),
    () => backend.deleteId("f"),
    () => backend.clear(),
    () => Array.fromAsync(backend.entries()),
    () => backend.prune({ maxEntries: 1 }),
  ];
}
