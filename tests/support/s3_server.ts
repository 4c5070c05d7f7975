/**
 * The S3 server of the tests: one in this process, or a real one that the environment names.
 *
 * @module
 */

import type { AddressInfo } from "node:net";
import process from "node:process";
import {
  CreateBucketCommand,
  DeleteBucketCommand,
  DeleteObjectsCommand,
  ListObjectsV2Command,
  S3Client,
} from "@aws-sdk/client-s3";
import { buildApp } from "fauxqs";

/** A server and the access to it. */
export interface TestServer {
  readonly endpoint: string;
  readonly credentials: { accessKeyId: string; secretAccessKey: string };
  readonly region: string;
  /** Whether it verifies signatures and bodies; the server in this process does not. */
  readonly real: boolean;
  /** The most keys that it gives on a page of a listing. */
  readonly pageSize: number;
}

let started: Promise<TestServer> | undefined;

/** The server of this process, started once; it does not keep the process alive. */
export function testServer(): Promise<TestServer> {
  started ??= startServer();
  return started;
}

/**
 * Starts a server in this process, unless the environment names a real one.
 *
 * @param pageSize Fewer keys on a page than a real server gives, so that few entries take several.
 */
export async function startServer(pageSize: number = 1000): Promise<TestServer> {
  const {
    PANZA_TEST_S3_ENDPOINT: endpoint,
    PANZA_TEST_S3_ACCESS_KEY_ID: accessKeyId = "test",
    PANZA_TEST_S3_SECRET_ACCESS_KEY: secretAccessKey = "test-secret",
    PANZA_TEST_S3_REGION: region = "us-east-1",
  } = process.env;
  const credentials = { accessKeyId, secretAccessKey };
  if (endpoint !== undefined && endpoint !== "") {
    return { endpoint, credentials, region, real: true, pageSize: 1000 };
  }
  const app = buildApp({ logger: false });
  app.addHook("onRequest", (request, _reply, done) => {
    const query = request.query as Record<string, string>;
    if ("list-type" in query) query["max-keys"] ??= `${pageSize}`;
    done();
  });
  await app.listen({ port: 0, host: "127.0.0.1" });
  app.server.unref();
  const { port } = app.server.address() as AddressInfo;
  return {
    endpoint: `http://127.0.0.1:${port}`,
    credentials,
    region,
    real: false,
    pageSize,
  };
}

/** Options of a backend for a server, or for a proxy in front of it. */
export function optionsFor(
  server: TestServer,
  endpoint: string = server.endpoint,
): {
  endpoint: string;
  region: string;
  credentials: { accessKeyId: string; secretAccessKey: string };
} {
  return { endpoint, region: server.region, credentials: server.credentials };
}

/** A client for access past the backend. */
export function plainClient(server: TestServer): S3Client {
  return new S3Client({ ...optionsFor(server), forcePathStyle: true });
}

/** A name that no other test and no other run has. */
export function newBucketName(): string {
  return `panza-test-${crypto.randomUUID()}`;
}

/** Runs a test with its own bucket, which is deleted afterwards with all of its contents. */
export async function withBucket(
  work: (bucket: string, client: S3Client, server: TestServer) => Promise<void>,
  create = true,
): Promise<void> {
  const server = await testServer();
  const client = plainClient(server);
  const Bucket = newBucketName();
  try {
    if (create) await client.send(new CreateBucketCommand({ Bucket }));
    await work(Bucket, client, server);
  } finally {
    await remove(client, Bucket);
    client.destroy();
  }
}

async function remove(client: S3Client, Bucket: string): Promise<void> {
  try {
    await empty(client, Bucket);
    await client.send(new DeleteBucketCommand({ Bucket }));
  } catch (error) {
    if (!(error instanceof Error && error.name === "NoSuchBucket")) throw error;
  }
}

async function empty(client: S3Client, Bucket: string): Promise<void> {
  for (;;) {
    const { Contents = [] } = await client.send(new ListObjectsV2Command({ Bucket }));
    const Objects = Contents.map(({ Key }) => ({ Key }));
    if (Objects.length === 0) return;
    await client.send(new DeleteObjectsCommand({ Bucket, Delete: { Objects, Quiet: true } }));
  }
}

/** The names of all objects of a bucket, sorted. */
export async function objectNames(client: S3Client, Bucket: string): Promise<string[]> {
  const names: string[] = [];
  let ContinuationToken: string | undefined;
  do {
    const answer = await client.send(new ListObjectsV2Command({ Bucket, ContinuationToken }));
    names.push(...(answer.Contents ?? []).map(({ Key }) => Key ?? ""));
    ContinuationToken = answer.NextContinuationToken;
  } while (ContinuationToken !== undefined);
  return names.sort();
}
