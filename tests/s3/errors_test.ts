import { test } from "node:test";
import { inspect } from "node:util";
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
import { ENTRY, operationsOf, scene } from "../support/s3_scene.ts";
import { newBucketName, optionsFor, testServer, withBucket } from "../support/s3_server.ts";

const INSPECT_ALL = { depth: 20, showHidden: true };

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

/** Answers of S3, and the messages that a user reads. */
const CAUSES: [number, string, RegExp][] = [
  [403, "SignatureDoesNotMatch", /credentials are missing, wrong.*; check access key/],
  [403, "InvalidAccessKeyId", /credentials are missing, wrong.*; check access key/],
  [400, "ExpiredToken", /credentials are missing, wrong or expired.*; check access key/],
  [403, "AccessDenied", /access denied.*; allow .*s3:ListBucket/],
  [403, "RequestTimeTooSkewed", /the clock of this machine is wrong.*; set it/],
  [301, "PermanentRedirect", /in another region or behind another endpoint.*; set region/],
  [400, "InvalidRequest", /S3 answered 400 InvalidRequest; .*AWS_REQUEST_CHECKSUM_CALCULATION/],
  [411, "MissingContentLength", /S3 answered 411 .*AWS_REQUEST_CHECKSUM_CALCULATION/],
  [409, "OperationAborted", /S3 answered 409 OperationAborted; check that/],
];

test("S3Backend gives each cause and the way out in one line, and nothing of the request", async () => {
  await scene(async ({ chaos, server, open }) => {
    const { accessKeyId } = server.credentials;
    const secrets = [
      "private-user-key",
      "secret-session-token",
      server.credentials.secretAccessKey,
    ];
    const [key = "", sessionToken = ""] = secrets;
    const backend = open("", { credentials: { ...server.credentials, sessionToken } });
    for (const [status, code, pattern] of CAUSES) {
      chaos.fault = ({ headers }) => ({
        kind: "answer",
        status,
        // As AWS answers a signature that does not match.
        body: `<?xml version="1.0"?><Error><Code>${code}</Code>` +
          `<Message>about ${key}\nand more</Message><AWSAccessKeyId>${accessKeyId}</AWSAccessKeyId>` +
          `<CanonicalRequest>PUT\n/${key}\nx-amz-security-token:${
            headers["x-amz-security-token"]
          }</CanonicalRequest><StringToSign>AWS4-HMAC-SHA256</StringToSign></Error>`,
      });
      const entry = { ...ENTRY, data: "private-user-key" };
      for (
        const operation of [
          () => backend.get("f", key),
          () => backend.set("f", key, entry),
          () => backend.delete("f", key),
          () => backend.clear(),
        ]
      ) {
        const error = await assertRejects(operation, BackendError);
        assertMatch(error.message, pattern);
        assert(!error.message.includes("\n"), error.message);
        const text = inspect(error, INSPECT_ALL);
        for (const secret of [...secrets, "AWS4-HMAC", "CanonicalRequest", "$response"]) {
          assert(!text.includes(secret), text);
        }
      }
    }
  });
});

test("S3Backend keeps nothing of an error of a user's client but its name and codes", async () => {
  const client = {
    config: { serviceId: "S3" },
    send: () => Promise.reject(new TypeError("cannot sign private-user-key")),
    destroy() {},
  };
  const backend = new S3Backend("bucket", { client });
  const error = await assertRejects(() => backend.get("f", "k"), BackendError, "TypeError");
  assert(!inspect(error, INSPECT_ALL).includes("private-user-key"));
});

test("S3Backend reports a server that is not there, and credentials that it refuses", async () => {
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
