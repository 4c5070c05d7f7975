import { test } from "node:test";
import { assertEquals, assertRejects } from "@std/assert";
import { DeleteBucketCommand } from "@aws-sdk/client-s3";
import { BackendError } from "../../src/base/errors.ts";
import { S3Backend } from "../../s3.ts";
import { startChaos } from "../support/s3_chaos.ts";
import { ENTRY, idsAndKeys, scene } from "../support/s3_scene.ts";
import {
  objectNames,
  optionsFor,
  plainClient,
  testServer,
  withBucket,
} from "../support/s3_server.ts";

test("S3Backend creates a missing bucket once for 20 calls at the same time", async () => {
  const server = await testServer();
  const chaos = await startChaos(server.endpoint);
  try {
    await withBucket(async (bucket) => {
      const backend = new S3Backend(bucket, {
        ...optionsFor(server, chaos.url),
        autoCreateBucket: true,
      });
      const keys = Array.from({ length: 20 }, (_, index) => `k${index}`);
      await Promise.all(
        keys.map(async (key) => {
          assertEquals(await backend.get("f", key), undefined);
          await backend.set("f", key, ENTRY);
        }),
      );
      assertEquals(chaos.counts().CreateBucket, 1);
      assertEquals((await backend.getMany("f", keys)).length, 20);
      await backend.close();
    }, false);
  } finally {
    await chaos.close();
  }
});

test("S3Backend creates the bucket again when it was removed in between", async () => {
  const server = await testServer();
  const chaos = await startChaos(server.endpoint);
  const plain = plainClient(server);
  try {
    await withBucket(async (bucket) => {
      const backend = new S3Backend(bucket, {
        ...optionsFor(server, chaos.url),
        autoCreateBucket: true,
      });
      await backend.set("f", "k", ENTRY);
      await backend.clear();
      const { DeleteBucketCommand } = await import("@aws-sdk/client-s3");
      await plain.send(new DeleteBucketCommand({ Bucket: bucket }));
      await Promise.all([backend.set("f", "a", ENTRY), backend.set("f", "b", ENTRY)]);
      assertEquals(chaos.counts().CreateBucket, 2);
      assertEquals(await idsAndKeys(backend), ["f|a", "f|b"]);
      await backend.close();
    }, false);
  } finally {
    plain.destroy();
    await chaos.close();
  }
});

test("S3Backend never answers a refusal by creating a bucket", async () => {
  await scene(async ({ bucket, server, chaos }) => {
    const backend = new S3Backend(bucket, {
      ...optionsFor(server, chaos.url),
      autoCreateBucket: true,
    });
    for (const code of ["AccessDenied", "NoSuchBucket", "AllAccessDisabled"]) {
      chaos.fault = () => ({ kind: "answer", status: 403, code });
      for (
        const operation of [
          () => backend.get("f", "k"),
          () => backend.set("f", "k", ENTRY),
          () => backend.clear(),
          () => Array.fromAsync(backend.entries()),
        ]
      ) {
        await assertRejects(operation, BackendError, "access denied (403");
      }
    }
    assertEquals(chaos.counts().CreateBucket, undefined);
    await backend.close();
  });
});

test("S3Backend has at most 50 requests under way, and 32 of one batch", async () => {
  await scene(async ({ chaos, open }) => {
    const keys = Array.from({ length: 200 }, (_, index) => `k${index}`);
    const most = async (expected: number, work: Promise<unknown>[]) => {
      const reached = Promise.withResolvers<void>();
      chaos.fault = () => {
        if (chaos.most >= expected) reached.resolve();
        return { kind: "delay", until: reached.promise };
      };
      await Promise.all(work);
      assertEquals(chaos.most, expected);
    };
    const backend = open();
    await most(32, [backend.getMany("f", keys)]);
    await most(
      50,
      keys.map((key) => backend.get("f", key)),
    );
  });
});

test("S3Backend uses a client of the user as it is, and leaves it open", async () => {
  await withBucket(async (bucket, client) => {
    const backend = new S3Backend(bucket, { client });
    await backend.set("f", "k", ENTRY);
    assertEquals(await backend.get("f", "k"), ENTRY);
    await backend.close();
    assertEquals(await objectNames(client, bucket), ["panza-v1/f/k"]);
  });
});
