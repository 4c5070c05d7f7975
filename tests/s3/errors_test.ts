import { test } from "node:test";
import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertMatch,
  assertRejects,
  assertStringIncludes,
} from "@std/assert";
import { BackendError, BucketNotFoundError } from "../../src/base/errors.ts";
import { S3Backend } from "../../s3.ts";
import { startChaos } from "../support/s3_chaos.ts";
import { operationsOf, scene } from "../support/s3_scene.ts";
import { newBucketName, optionsFor, testServer, withBucket } from "../support/s3_server.ts";

test("S3Backend names a missing bucket and the way out, whatever is asked", async () => {
  const server = await testServer();
  const chaos = await startChaos(server.endpoint);
  const bucket = newBucketName();
  const backend = new S3Backend(bucket, optionsFor(server, chaos.url));
  for (const operation of operationsOf(backend)) {
    const error = await assertRejects(operation, BucketNotFoundError, bucket);
    assertEquals(error.bucket, bucket);
    assertStringIncludes(error.message, "autoCreateBucket: true");
  }
  assertEquals(chaos.counts().CreateBucket, undefined);
  await backend.close();
  await chaos.close();
});

test("S3Backend does not take a 404 of something else for a miss", async () => {
  await scene(async ({ chaos, open }) => {
    const backend = open();
    for (const body of ["<html>not here</html>", "not here", ""]) {
      chaos.fault = () => ({ kind: "answer", status: 404, body });
      await assertRejects(
        () => backend.get("f", "k"),
        BackendError,
        "check that the endpoint is an S3 server",
      );
    }
  });
});

test("S3Backend tells each cause in one line without keys and secrets", async () => {
  await scene(async ({ chaos, server, open }) => {
    const backend = open("/told");
    const key = "private-user-key";
    const expected: [number, string, RegExp][] = [
      [403, "SignatureDoesNotMatch", /credentials are missing, wrong/],
      [403, "InvalidAccessKeyId", /credentials are missing, wrong/],
      [400, "ExpiredToken", /credentials are missing, wrong or expired/],
      [403, "AccessDenied", /access denied.*s3:ListBucket/],
      [403, "RequestTimeTooSkewed", /the clock of this machine is wrong/],
      [301, "PermanentRedirect", /in another region.*set region/],
      [400, "InvalidRequest", /S3 answered 400 InvalidRequest/],
    ];
    for (const [status, code, pattern] of expected) {
      chaos.fault = () => ({
        kind: "answer",
        status,
        body:
          `<?xml version="1.0"?><Error><Code>${code}</Code><Message>about ${key}\nand more</Message></Error>`,
      });
      for (const operation of [() => backend.get("f", key), () => backend.delete("f", key)]) {
        const { message } = await assertRejects(operation, BackendError);
        assertMatch(message, pattern);
        assertStringIncludes(message, "told: ");
        assert(!message.includes(key) && !message.includes("\n"), message);
        assert(!message.includes(server.credentials.secretAccessKey));
      }
    }
  });
});

test("S3Backend tells a server that checks signatures from one that is not there", async () => {
  await withBucket(async (bucket, _, server) => {
    const gone = await startChaos(server.endpoint);
    await gone.close();
    const unreachable = new S3Backend(bucket, optionsFor(server, gone.url));
    const error = await assertRejects(
      () => unreachable.get("f", "k"),
      BackendError,
      `no connection to ${new URL(gone.url).host}`,
    );
    assertStringIncludes(error.message, "check endpoint and network");
    await unreachable.close();
    const wrong = new S3Backend(bucket, {
      ...optionsFor(server),
      credentials: { accessKeyId: "nobody", secretAccessKey: "wrong" },
    });
    // The server of this process accepts any signature.
    const answer = await wrong.get("f", "k").catch((error: unknown) => error);
    if (server.real) {
      assertInstanceOf(answer, BackendError);
      assertStringIncludes(answer.message, "credentials");
    } else assertEquals(answer, undefined);
    await wrong.close();
  });
});
