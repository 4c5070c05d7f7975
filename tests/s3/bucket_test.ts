import { test } from "node:test";
import { assert, assertEquals, assertRejects } from "@std/assert";
import { ListMultipartUploadsCommand } from "@aws-sdk/client-s3";
import { BackendError } from "../../src/base/errors.ts";
import { mapInOrder } from "../../src/s3/pool.ts";
import type { Fault, Seen } from "../support/s3_chaos.ts";
import { ENTRY, idsAndKeys, LONG, scene } from "../support/s3_scene.ts";
import { objectNames } from "../support/s3_server.ts";

test("S3Backend deletes more entries than one request can, and of one id only", LONG, async () => {
  await scene(async ({ bucket, client, chaos, open }) => {
    const backend = open("/many");
    const total = 2100;
    const keys = Array.from({ length: total }, (_, index) => `k${index}`);
    const stored = mapInOrder(40, keys, (key) => backend.set("f", key, ENTRY));
    await Array.fromAsync(stored);
    await backend.set("f2", "k", ENTRY);
    assertEquals((await objectNames(client, bucket)).length, total + 1);
    chaos.counts();
    await backend.deleteId("f");
    assertEquals(chaos.counts(), { ListObjectsV2: 4, DeleteObjects: 3 });
    assertEquals(await idsAndKeys(backend), ["f2|k"]);
  });
});

function deleteErrors(bucket: string, codes: string[]): string {
  return `<?xml version="1.0"?><DeleteResult>${
    codes
      .map(
        (code, index) =>
          `<Error><Key>panza-v1/f/k${index}</Key><Code>${code}</Code><Message>${bucket}</Message></Error>`,
      )
      .join("")
  }</DeleteResult>`;
}

/** Servers without the usual bulk delete, and the requests that they cost. */
const OTHER_DELETES: {
  readonly server: string;
  readonly refuses: (request: Seen) => Fault | undefined;
  readonly first: Record<string, number>;
  readonly later: Record<string, number>;
}[] = [
  {
    server: "demands Content-MD5",
    refuses: ({ headers }) =>
      headers["content-md5"] === undefined
        ? { kind: "answer", status: 400, code: "MissingContentMD5" }
        : undefined,
    first: { DeleteObjects: 2 },
    later: { DeleteObjects: 1 },
  },
  {
    server: "demands Content-MD5, and knows no checksum",
    refuses: ({ headers }) =>
      Object.keys(headers).some((name) => /checksum/.test(name))
        ? { kind: "answer", status: 400, code: "InvalidRequest" }
        : undefined,
    first: { DeleteObjects: 2 },
    later: { DeleteObjects: 1 },
  },
  {
    server: "refuses it",
    refuses: () => ({ kind: "answer", status: 400, code: "InvalidRequest" }),
    first: { DeleteObjects: 2, DeleteObject: 20 },
    later: { DeleteObject: 20 },
  },
  {
    server: "does not have it",
    refuses: () => ({ kind: "answer", status: 405, code: "MethodNotAllowed" }),
    first: { DeleteObjects: 1, DeleteObject: 20 },
    later: { DeleteObject: 20 },
  },
  {
    server: "takes it for an object",
    refuses: () => ({ kind: "answer", status: 404, code: "NoSuchKey" }),
    first: { DeleteObjects: 1, DeleteObject: 20 },
    later: { DeleteObject: 20 },
  },
];

for (const { server, refuses, first, later } of OTHER_DELETES) {
  test(`S3Backend.deleteId() deletes everything on a server that ${server}`, async () => {
    await scene(async ({ chaos, open }) => {
      const backend = open();
      chaos.fault = (request) =>
        request.operation === "DeleteObjects" ? refuses(request) : undefined;
      const keys = Array.from({ length: 20 }, (_, index) => `k${index}`);
      for (const expected of [first, later]) {
        await Promise.all(keys.map((key) => backend.set("f", key, ENTRY)));
        chaos.counts();
        await backend.deleteId("f");
        assertEquals(chaos.counts(), { ListObjectsV2: 2, ...expected });
        assertEquals(await idsAndKeys(backend), []);
      }
    });
  });
}

test("S3Backend.deleteId() does not take the page of another server for an empty bucket", async () => {
  await scene(async ({ chaos, open }) => {
    const backend = open();
    for (const body of ["<html><body>Sign in</body></html>", ""]) {
      chaos.fault = () => ({ kind: "answer", status: 200, body });
      await assertRejects(() => backend.deleteId("f"), BackendError, "Cannot delete in S3");
    }
  });
});

test("S3Backend.deleteId() rejects when single objects of an answer are refused", async () => {
  await scene(async ({ bucket, chaos, open }) => {
    const backend = open();
    for (const key of ["k0", "k1", "k2"]) await backend.set("f", key, ENTRY);
    chaos.fault = ({ operation }) =>
      operation === "DeleteObjects"
        ? {
          kind: "answer",
          status: 200,
          body: deleteErrors(bucket, ["AccessDenied", "AccessDenied"]),
        }
        : undefined;
    const error = await assertRejects(
      () => backend.deleteId("f"),
      BackendError,
      "2 of its objects were refused and are still there (AccessDenied)",
    );
    assertEquals(error.operation, "delete");
    chaos.fault = () => undefined;
    assertEquals((await idsAndKeys(backend)).length, 3);
  });
});

test("S3Backend.clear() asks again for single objects that were refused for a moment", async () => {
  await scene(async ({ bucket, chaos, client, open }) => {
    const backend = open();
    for (const key of ["k0", "k1"]) await backend.set("f", key, ENTRY);
    chaos.counts();
    let first = true;
    chaos.fault = ({ operation }) => {
      if (operation !== "DeleteObjects" || !first) return undefined;
      first = false;
      return {
        kind: "answer",
        status: 200,
        body: deleteErrors(bucket, ["InternalError", "SlowDown"]),
      };
    };
    await backend.clear();
    assertEquals(chaos.counts(), { ListObjectsV2: 2, DeleteObjects: 2 });
    assertEquals(await objectNames(client, bucket), []);
  });
});

test("S3Backend stores a value in parts, unseen before the last", async () => {
  await scene(async ({ bucket, client, chaos, open }) => {
    const backend = open();
    const data = new Uint8Array(33 * 2 ** 20).map((_, index) => index * 31);
    await backend.set("f", "k", ENTRY);
    chaos.counts();
    chaos.fault = ({ operation, query }) =>
      operation === "UploadPart" && query.get("partNumber") === "3"
        ? { kind: "answer", status: 403, code: "AccessDenied" }
        : undefined;
    await assertRejects(
      () => backend.set("f", "k", { ...ENTRY, data }),
      BackendError,
      "access denied",
    );
    assertEquals(chaos.counts().AbortMultipartUpload, 1);
    assertEquals(await backend.get("f", "k"), ENTRY);
    const { Uploads = [] } = await client
      .send(new ListMultipartUploadsCommand({ Bucket: bucket }))
      .catch(() => ({ Uploads: [] }));
    assertEquals(Uploads, []);
    chaos.counts();
    chaos.fault = () => undefined;
    await backend.set("f", "k", { ...ENTRY, data });
    assertEquals(chaos.counts(), {
      CreateMultipartUpload: 1,
      UploadPart: 5,
      CompleteMultipartUpload: 1,
    });
    const entry = await backend.get("f", "k");
    assert(entry !== undefined && typeof entry.data !== "string");
    assert(entry.data.every((byte, index) => byte === data[index]));
    assertEquals(entry.data.length, data.length);
    assertEquals(entry.expiresAt, ENTRY.expiresAt);
  });
});
