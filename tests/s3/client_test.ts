import { test } from "node:test";
import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { DeleteBucketCommand } from "@aws-sdk/client-s3";
import { BackendError } from "../../src/base/errors.ts";
import type { S3Credentials } from "../../src/s3/options.ts";
import { S3Backend } from "../../s3.ts";
import type { Fault, Seen } from "../support/s3_chaos.ts";
import { ENTRY, idsAndKeys, scene } from "../support/s3_scene.ts";
import { objectNames, withBucket } from "../support/s3_server.ts";

const KEYS = Array.from({ length: 20 }, (_, index) => `k${index}`);

test("S3Backend creates a missing bucket once for 20 calls at the same time, and again", async () => {
  await scene(async ({ bucket, chaos, client, open }) => {
    const backend = open("", { autoCreateBucket: true });
    for (let turn = 0; turn < 2; turn++) {
      await Promise.all(
        KEYS.map(async (key) => {
          assertEquals(await backend.get("f", key), undefined);
          await backend.set("f", key, ENTRY);
        }),
      );
      assertEquals(chaos.counts().CreateBucket, 1);
      assertEquals((await idsAndKeys(backend)).length, KEYS.length);
      await backend.clear();
      await client.send(new DeleteBucketCommand({ Bucket: bucket }));
    }
  }, false);
});

test("S3Backend asks for credentials once more when S3 says that they have expired", async () => {
  await scene(async ({ chaos, server, open }) => {
    let asked = 0;
    const credentials = () =>
      Promise.resolve({ ...server.credentials, accessKeyId: server.credentials.accessKeyId });
    const counted = async (): Promise<S3Credentials> => {
      asked++;
      const keys = await credentials();
      return asked === 1 ? { ...keys, sessionToken: "old" } : keys;
    };
    const backend = open("", { credentials: counted });
    chaos.fault = ({ headers }) =>
      headers["x-amz-security-token"] === "old"
        ? { kind: "answer", status: 400, code: "ExpiredToken" }
        : undefined;
    await Promise.all(KEYS.map((key) => backend.set("f", key, ENTRY)));
    assertEquals(asked, 2);
    assertEquals(chaos.counts().PutObject, 2 * KEYS.length);
    // The same credentials are not sent again.
    chaos.fault = () => ({ kind: "answer", status: 403, code: "InvalidAccessKeyId" });
    await assertRejects(() => backend.get("f", "k0"), BackendError, "missing, wrong or expired");
    assertEquals(asked, 3);
    assertEquals(chaos.counts(), { GetObject: 1 });
  });
});

test("S3Backend reports a function that fails or gives no credentials, without its words", async () => {
  await scene(async ({ chaos, open }) => {
    const given: [() => Promise<S3Credentials>, string][] = [
      [() => Promise.reject(new Error("token hunter2")), "the function in credentials failed"],
      [
        () => {
          throw new Error("token hunter2");
        },
        "the function in credentials failed",
      ],
      [() => Promise.resolve({ accessKeyId: "a", secretAccessKey: "" }), "gave something else"],
      [
        // The answer of STS as JSON.
        () =>
          Promise.resolve(JSON.parse(
            '{"accessKeyId":"a","secretAccessKey":"b","expiration":"2030-01-01T00:00:00Z"}',
          )),
        "expiration as a Date",
      ],
    ];
    for (const [credentials, message] of given) {
      const backend = open("", { credentials });
      const error = await assertRejects(() => backend.get("f", "k"), BackendError, message);
      assert(!error.message.includes("hunter2"));
    }
    assertEquals(chaos.counts(), {});
  });
});

/** Answers to a request in the wrong region, which name the region of the bucket. */
const ELSEWHERE: { readonly status: number; readonly body: string; readonly header?: boolean }[] = [
  { status: 301, body: "<Code>PermanentRedirect</Code>", header: true },
  { status: 307, body: "<Code>TemporaryRedirect</Code>", header: true },
  { status: 400, body: "<Code>AuthorizationHeaderMalformed</Code><Region>eu-west-3</Region>" },
  { status: 400, body: "", header: true },
];

test("S3Backend goes on in the region that S3 names, for all later requests", async () => {
  for (const { status, body, header } of ELSEWHERE) {
    await scene(async ({ chaos, open }) => {
      const backend = open("", { region: "eu-north-1" });
      chaos.fault = ({ headers }) =>
        headers.authorization?.includes("/eu-west-3/s3/") ? undefined : {
          kind: "answer",
          status,
          body: body && `<Error>${body}<Message>no</Message></Error>`,
          headers: header ? { "x-amz-bucket-region": "eu-west-3" } : {},
        };
      await Promise.all(KEYS.map((key) => backend.set("f", key, ENTRY)));
      chaos.counts();
      assertEquals(await backend.get("f", "k1"), ENTRY);
      assertEquals(chaos.counts(), { GetObject: 1 });
    });
  }
});

test("S3Backend follows no answer to something that is not a region", async () => {
  await scene(async ({ chaos, open }) => {
    const backend = open();
    for (const region of ["evil.example/", "us-east-1"]) {
      chaos.counts();
      chaos.fault = () => ({
        kind: "answer",
        status: 301,
        code: "PermanentRedirect",
        headers: { "x-amz-bucket-region": region },
      });
      const error = await assertRejects(() => backend.get("f", "k"), BackendError, "set region");
      assert(!error.message.includes("evil"));
      assertEquals(chaos.counts(), { GetObject: 1 });
    }
  });
});

test("S3Backend sends a request again when the clock was wrong", async () => {
  await scene(async ({ chaos, open }) => {
    const backend = open();
    let left = 1;
    chaos.fault = () =>
      left-- > 0 ? { kind: "answer", status: 403, code: "RequestTimeTooSkewed" } : undefined;
    await backend.set("f", "k", ENTRY);
    assertEquals(chaos.counts(), { PutObject: 2 });
  });
});

test("S3Backend asks S3 to encrypt what it stores, whole or in parts", async () => {
  await scene(async ({ chaos, open }) => {
    const encryption = { serverSideEncryption: "aws:kms", kmsKeyId: "alias/results" } as const;
    const backend = open("", encryption);
    const asked: [string, unknown, unknown][] = [];
    chaos.fault = ({ operation, headers }: Seen): Fault => {
      asked.push([
        operation,
        headers["x-amz-server-side-encryption"],
        headers["x-amz-server-side-encryption-aws-kms-key-id"],
      ]);
      return { kind: "answer", status: 403, code: "AccessDenied" };
    };
    for (const data of ["1", new Uint8Array(2 ** 25 + 1)]) {
      const error = await assertRejects(() => backend.set("f", "k", { ...ENTRY, data }));
      assert(error instanceof BackendError);
      assertStringIncludes(error.message, "serverSideEncryption");
    }
    assertEquals(asked, [
      ["PutObject", "aws:kms", "alias/results"],
      ["CreateMultipartUpload", "aws:kms", "alias/results"],
    ]);
  });
});

test("S3Backend adds one listener to a signal, however many reads wait under it", async () => {
  await scene(async ({ open }) => {
    const backend = open();
    const { signal } = new AbortController();
    let listeners = 0;
    const add = signal.addEventListener.bind(signal);
    signal.addEventListener = (type: string, listener: EventListenerOrEventListenerObject) => {
      listeners++;
      add(type, listener);
    };
    const keys = Array.from({ length: 500 }, (_, index) => `${index}`);
    await Promise.all(keys.map((key) => backend.get("f", key, signal)));
    assert(listeners <= 100, `${listeners}`);
  });
});

test("S3Backend never answers a refusal by creating a bucket", async () => {
  await scene(async ({ chaos, open }) => {
    const backend = open("", { autoCreateBucket: true });
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
