import { test } from "node:test";
import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertMatch,
  assertRejects,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import {
  GetObjectCommand,
  HeadObjectCommand,
  ListMultipartUploadsCommand,
  PutObjectCommand,
  type S3Client,
} from "@aws-sdk/client-s3";
import fc from "fast-check";
import type { Backend } from "../../src/backend/contract.ts";
import type { StoredEntry } from "../../src/encoding/entry.ts";
import {
  BackendError,
  BucketNotFoundError,
  CacheClosedError,
  DamagedEntryError,
} from "../../src/base/errors.ts";
import { S3Backend } from "../../s3.ts";
import { entryName, parseName, parsePlace } from "../../src/s3/names.ts";
import { mapInOrder } from "../../src/s3/pool.ts";
import { type Chaos, startChaos } from "../support/s3_chaos.ts";
import {
  newBucketName,
  objectNames,
  optionsFor,
  plainClient,
  type TestServer,
  testServer,
  withBucket,
} from "../support/s3_server.ts";

const ENTRY: StoredEntry = {
  data: '{"answer":42}',
  format: "json-1",
  checksum: 4_294_967_295,
  storedAt: 1_700_000_000_123,
  expiresAt: 1_700_000_060_000,
  staleUntil: null,
  durationMs: 12.5,
};

/** For tests of thousands of requests, where a runner would give up after a few seconds. */
const LONG = { timeout: 120_000 };

/** Everything a test may need, closed when it ends. */
interface Scene {
  readonly bucket: string;
  readonly client: S3Client;
  readonly server: TestServer;
  readonly chaos: Chaos;
  /** A backend behind the proxy. */
  open(prefix?: string): S3Backend;
}

async function scene(work: (scene: Scene) => Promise<void>, create = true): Promise<void> {
  await withBucket(async (bucket, client, server) => {
    const chaos = await startChaos(server.endpoint);
    const opened: S3Backend[] = [];
    const open = (prefix = "") => {
      const backend = new S3Backend(`${bucket}${prefix}`, optionsFor(server, chaos.url));
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

async function idsAndKeys(backend: S3Backend, id?: string): Promise<string[]> {
  const infos = await Array.fromAsync(backend.entries(id));
  return infos.map((info) => `${info.id}|${info.key}`).sort();
}

/** Every operation, on an entry. */
function operationsOf(backend: Backend): (() => Promise<unknown>)[] {
  return [
    async () => await backend.get("f", "k"),
    async () => await backend.getMany("f", ["k"]),
    () => backend.set("f", "k", ENTRY),
    () => backend.delete("f", "k"),
    () => backend.deleteId("f"),
    () => backend.clear(),
    () => Array.fromAsync(backend.entries()),
  ];
}

test("S3Backend stores an entry as one object that any S3 tool can read", async () => {
  await scene(async ({ bucket, client, open }) => {
    const backend = open("/jobs");
    await backend.set("f", "k", { ...ENTRY, data: '"grüße 🌍"' });
    assertEquals(await objectNames(client, bucket), ["jobs/panza-v1/f/k"]);
    const text = await client.send(
      new GetObjectCommand({ Bucket: bucket, Key: "jobs/panza-v1/f/k" }),
    );
    assertEquals(await text.Body?.transformToString(), '"grüße 🌍"');
    assertEquals(text.ContentType, "application/json; charset=utf-8");
    assertEquals(text.Metadata, {
      "panza-kind": "text",
      "panza-format": "json-1",
      "panza-checksum": "4294967295",
      "panza-stored-at": "1700000000123",
      "panza-expires-at": "1700000060000",
      "panza-stale-until": "never",
      "panza-duration-ms": "12.5",
    });
    await backend.set("f", "k", { ...ENTRY, data: new Uint8Array([0, 255]) });
    const bytes = await client.send(
      new HeadObjectCommand({ Bucket: bucket, Key: "jobs/panza-v1/f/k" }),
    );
    assertEquals(bytes.ContentType, "application/octet-stream");
    assertEquals(bytes.ContentLength, 2);
  });
});

test("S3Backend keeps text and bytes of any content, with all fields", async () => {
  await scene(async ({ open }) => {
    const backend = open();
    const values: (string | Uint8Array)[] = [
      "",
      "\uFEFFwith a mark",
      "\0\r\n\u{10FFFF}",
      new Uint8Array(),
      crypto.getRandomValues(new Uint8Array(1000)),
      new TextEncoder().encode('"text as bytes"'),
    ];
    for (const data of values) {
      for (
        const times of [
          { expiresAt: null, staleUntil: null, durationMs: 0 },
          { expiresAt: 1, staleUntil: 2, durationMs: 1e-7 },
        ]
      ) {
        const entry = { ...ENTRY, ...times, data, checksum: 0 };
        await backend.set("f", "k", entry);
        assertEquals(await backend.get("f", "k"), entry);
      }
    }
  });
});

test("S3Backend sends one request per hit, miss, store and delete, and none to set up", async () => {
  await scene(async ({ chaos, open }) => {
    const backend = open("/count");
    backend.connect(() => {});
    assertEquals(chaos.counts(), {});
    assertEquals(await backend.get("f", "k"), undefined);
    assertEquals(chaos.counts(), { GetObject: 1 });
    await backend.set("f", "k", ENTRY);
    assertEquals(chaos.counts(), { PutObject: 1 });
    assertEquals(await backend.get("f", "k"), ENTRY);
    assertEquals(chaos.counts(), { GetObject: 1 });
    await backend.getMany("f", ["k", "x", "k", "y"]);
    assertEquals(chaos.counts(), { GetObject: 3 });
    await Array.fromAsync(backend.entries());
    assertEquals(chaos.counts(), { ListObjectsV2: 1, HeadObject: 1 });
    await backend.delete("f", "k");
    assertEquals(chaos.counts(), { DeleteObject: 1 });
    await backend.set("f", "k", ENTRY);
    chaos.counts();
    await backend.deleteId("f");
    assertEquals(chaos.counts(), { ListObjectsV2: 2, DeleteObjects: 1 });
    await backend.clear();
    assertEquals(chaos.counts(), { ListObjectsV2: 1 });
    await backend.close();
    assertEquals(chaos.counts(), {});
  });
});

const AWKWARD = [
  "",
  "a",
  "A",
  "a/b",
  "ab",
  "a_b",
  "a%b",
  "a%2Fb",
  "a!2Fb",
  "a!2fb",
  "../a",
  ".",
  "..",
  "...",
  "/",
  "//",
  "a/",
  "/a",
  "!empty",
  "!sha256-" + "0".repeat(64),
  "!names-" + "0".repeat(64),
  "panza-v1",
  "panza-v1/a",
  " ",
  "  a  ",
  "a\tb\r\n",
  "\u0001\u007f\u0085",
  "\uFEFF",
  "\uFFFE\uFFFF",
  "ä",
  "a\u0308",
  "日本語".repeat(10),
  "🙂",
  "?versionId=1&x",
  "a#b",
  "a+b",
  "*'()~",
  '<&">',
  "con",
  "k".repeat(240),
  "k".repeat(241),
  "k".repeat(242),
  "long".repeat(1000),
  "ö".repeat(2000),
];

test(
  "S3Backend keeps awkward ids and keys apart, and lists and deletes them by name",
  LONG,
  async () => {
    await scene(async ({ bucket, client, open }) => {
      const backend = open();
      const pairs = AWKWARD.flatMap(
        (text) =>
          [
            ["", text],
            [text, "key"],
            [text, text],
          ] as const,
      );
      const different = new Map(pairs.map((pair) => [JSON.stringify(pair), pair]));
      await Promise.all(
        [...different.values()].map(([id, key], checksum) =>
          backend.set(id, key, { ...ENTRY, checksum })
        ),
      );
      const answers = await Promise.all(
        [...different.values()].map(([id, key]) => backend.get(id, key)),
      );
      assertEquals(
        answers.map((entry) => entry?.checksum),
        [...different.keys()].map((_, index) => index),
      );
      const listed = await Array.fromAsync(backend.entries());
      const names = listed.map(({ id, key }) => JSON.stringify([id, key]));
      assertEquals(
        names.filter((name) => !different.has(name)),
        [],
      );
      assertEquals(names.length, different.size);
      assertEquals(new Set(names).size, different.size);
      for (const name of await objectNames(client, bucket)) {
        assert(new TextEncoder().encode(name).length <= 1024);
        assertMatch(name, /^panza-v1\/[!-~]+\/[!-~]+$/);
      }
      const left = new Map(different);
      const still = async () =>
        (await Promise.all([...left.values()].map(([id, key]) => backend.get(id, key)))).filter(
          (entry) => entry !== undefined,
        ).length;
      for (const [index, id] of AWKWARD.entries()) {
        assert((await idsAndKeys(backend, id)).length >= 2);
        await backend.deleteId(id);
        assertEquals(await idsAndKeys(backend, id), []);
        for (const [name, pair] of left) if (pair[0] === id) left.delete(name);
        if (index % 8 === 0) assertEquals(await still(), left.size, id);
      }
      assertEquals(await objectNames(client, bucket), []);
    });
  },
);

test("S3Backend.delete() leaves nothing of an entry whose names are longer than metadata", async () => {
  await scene(async ({ bucket, client, chaos, open }) => {
    const backend = open();
    const key = "key/".repeat(1000);
    await backend.set("f", key, ENTRY);
    assertEquals(chaos.counts(), { PutObject: 2 });
    assertEquals((await objectNames(client, bucket)).length, 2);
    assertEquals(await backend.get("f", key), ENTRY);
    assertEquals(chaos.counts(), { GetObject: 1 });
    await backend.delete("f", key);
    assertEquals(await objectNames(client, bucket), []);
  });
});

test("entryName() is one name for one pair, and parseName() gives the pair back", async () => {
  const place = parsePlace("test", "bucket/some/prefix");
  const text = fc.string({ unit: "grapheme", maxLength: 30 });
  await fc.assert(
    fc.asyncProperty(text, text, async (id, key) => {
      const { object } = await entryName(place, id, key);
      assertMatch(object, /^some\/prefix\/panza-v1\/[^/.][^/]*\/[^/.][^/]*$/);
      const parsed = parseName(place, object);
      assert(parsed !== undefined);
      // A digest is told by metadata; everything else by the name itself.
      if (!object.includes("!sha256-")) assertEquals(parsed, { id, key });
    }),
    { seed: 20, numRuns: 500 },
  );
  assertEquals(parseName(place, "some/prefix/panza-v1/a/b/c"), undefined);
  assertEquals(parseName(place, "some/prefix/panza-v1/a/!2f"), undefined);
  assertEquals(parseName(place, "some/prefix/panza-v1//b"), undefined);
  assertEquals(parseName(place, "other/prefix/panza-v1/a/b"), undefined);
});

test("S3Backend.clear() touches neither other objects nor caches at other prefixes", async () => {
  await scene(async ({ bucket, client, open }) => {
    const prefixes = ["", "/p", "/p/q", "/pq", "/panza-v", "/p%2Fq", "/P"];
    const backends = prefixes.map((prefix) => open(prefix));
    const foreign = ["report.json", "panza-v1", "panza-v1x/a/b", "p/report.json"];
    for (const Key of foreign) {
      await client.send(new PutObjectCommand({ Bucket: bucket, Key, Body: "mine" }));
    }
    for (const backend of backends) {
      for (const id of ["p", "panza-v1", ""]) await backend.set(id, "k", ENTRY);
    }
    for (const [index, backend] of backends.entries()) {
      assertEquals((await idsAndKeys(backend)).length, 3);
      await backend.clear();
      assertEquals(await idsAndKeys(backend), []);
      for (const later of backends.slice(index + 1)) {
        assertEquals((await idsAndKeys(later)).length, 3);
      }
    }
    assertEquals(await objectNames(client, bucket), foreign.sort());
  });
});

test("S3Backend refuses a malformed location when it is constructed", () => {
  for (
    const location of [
      "",
      "ab",
      "Bucket",
      "my_bucket",
      "a..b",
      "-abc",
      "192.168.0.1",
      "https://bucket/prefix",
      "s3:/bucket",
      "bucket//p",
      "bucket/p//q",
      "bucket//",
      "bucket/./p",
      "bucket/..",
      "bucket/p\n",
      "bucket/\uD800",
      "bucket/panza-v1",
      "bucket/p/panza-v2/q",
      `bucket/${"é".repeat(257)}`,
    ]
  ) {
    assertThrows(
      () => new S3Backend(location),
      TypeError,
      "Cannot open an S3 backend: location must be",
      location,
    );
  }
  for (
    const [location, label] of [
      ["bucket", "bucket"],
      ["bucket/", "bucket"],
      ["s3://bucket/p/q/", "bucket/p/q"],
      ["bucket/Grüße & co", "bucket/Grüße & co"],
    ] as const
  ) {
    assertEquals(new S3Backend(location).description, `S3 ${label}`);
  }
});

test("S3Backend refuses unknown and malformed options by name, and repeats no value", () => {
  const refused = (options: object, name: string) => {
    const error = assertThrows(() => new S3Backend("bucket", options), TypeError, name);
    assert(!error.message.includes("hunter2"));
  };
  refused({ bucket: "b" }, "bucket");
  refused({ region: "hunter2!" }, "region");
  refused({ endpoint: "localhost:9000" }, "endpoint");
  refused({ endpoint: "http://user:hunter2@localhost" }, "endpoint");
  refused({ endpoint: "ftp://localhost" }, "endpoint");
  refused({ credentials: "hunter2" }, "credentials");
  refused({ credentials: { accessKeyId: "a" } }, "credentials");
  refused({ forcePathStyle: 1 }, "forcePathStyle");
  refused({ autoCreateBucket: "yes" }, "autoCreateBucket");
  refused({ client: {} }, "client");
  refused({ client: { send() {}, config: { serviceId: "SQS" } } }, "client");
  refused(
    {
      client: { send() {}, config: { serviceId: "S3" } },
      region: "eu-central-1",
    },
    "region",
  );
});

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

test("S3Backend rejects an object that it did not write, and a batch goes on without it", async () => {
  await scene(async ({ bucket, client, open }) => {
    const backend = open();
    const reports: Error[] = [];
    backend.connect((error) => reports.push(error));
    await backend.set("f", "good", ENTRY);
    const put = (Metadata: Record<string, string>) =>
      client.send(
        new PutObjectCommand({
          Bucket: bucket,
          Key: "panza-v1/f/bad",
          Body: new Uint8Array([0xff]),
          Metadata,
        }),
      );
    const { Metadata = {} } = await client.send(
      new HeadObjectCommand({ Bucket: bucket, Key: "panza-v1/f/good" }),
    );
    const changes: Record<string, string>[] = [
      {},
      { ...Metadata, "panza-checksum": "12x" },
      { ...Metadata, "panza-expires-at": "" },
      { ...Metadata, "panza-kind": "other" },
      { ...Metadata, "panza-stored-at": "Infinity" },
      // Its body is not UTF-8.
      Metadata,
    ];
    for (const metadata of changes) {
      await put(metadata);
      const error = await assertRejects(() => backend.get("f", "bad"), DamagedEntryError);
      assertEquals([error.id, error.key], ["f", "bad"]);
    }
    assertEquals(await backend.getMany("f", ["bad", "good"]), [undefined, ENTRY]);
    assertEquals(reports.length, 1);
    assertInstanceOf(reports[0], DamagedEntryError);
    assertEquals((await idsAndKeys(backend)).length, 2);
    await backend.delete("f", "bad");
    assertEquals(await idsAndKeys(backend), ["f|good"]);
  });
});

test("S3Backend.entries() passes over what is not an entry, and what vanishes", async () => {
  await scene(async ({ bucket, client, chaos, open }) => {
    const backend = open();
    for (const key of ["a", "b"]) await backend.set("f", key, ENTRY);
    for (const Key of ["panza-v1/stray", "panza-v1/f/a/b", "panza-v1/f/!x"]) {
      await client.send(new PutObjectCommand({ Bucket: bucket, Key, Body: "?" }));
    }
    chaos.fault = ({ path }) => (path.endsWith("/a") ? { kind: "answer", status: 404 } : undefined);
    assertEquals(await Array.fromAsync(backend.entries()), [
      {
        id: "f",
        key: "b",
        size: 13,
        storedAt: ENTRY.storedAt,
        expiresAt: ENTRY.expiresAt,
        staleUntil: ENTRY.staleUntil,
      },
    ]);
  });
});

test("S3Backend.entries() asks for no more than a consumer that stops has looked at", async () => {
  await scene(async ({ chaos, open }) => {
    const backend = open();
    await Promise.all(
      Array.from({ length: 100 }, (_, index) => backend.set("f", `k${index}`, ENTRY)),
    );
    chaos.counts();
    for await (const _ of backend.entries()) break;
    assertEquals(chaos.counts(), { ListObjectsV2: 1, HeadObject: 32 });
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

test("S3Backend keeps no bytes that it was given or has returned", async () => {
  await scene(async ({ open }) => {
    const backend = open();
    const data = new Uint8Array([1, 2, 3]);
    const stored = backend.set("f", "k", { ...ENTRY, data });
    data.fill(9);
    await stored;
    const [first, second] = await backend.getMany("f", ["k", "k"]);
    assertEquals(first?.data, new Uint8Array([1, 2, 3]));
    assert(first !== undefined && typeof first.data !== "string");
    first.data.fill(7);
    assertEquals(second?.data, new Uint8Array([1, 2, 3]));
    assertEquals(first.data.buffer.byteLength, 3, "the array must not show a pool of the runtime");
  });
});

test("S3Backend writes of one entry happen in the order of the calls", async () => {
  await scene(async ({ chaos, open }) => {
    const backend = open();
    const { promise, resolve } = Promise.withResolvers<void>();
    let held = false;
    chaos.fault = ({ operation }) => {
      if (operation !== "PutObject" || held) return undefined;
      held = true;
      return { kind: "delay", until: promise };
    };
    const first = backend.set("f", "k", { ...ENTRY, checksum: 1 });
    const second = backend.set("f", "k", { ...ENTRY, checksum: 2 });
    const removal = backend.deleteId("f");
    const third = backend.set("f", "k", { ...ENTRY, checksum: 3 });
    await backend.set("g", "other", ENTRY);
    resolve();
    await Promise.all([first, second, removal, third]);
    assertEquals((await backend.get("f", "k"))?.checksum, 3);
    assertEquals(await idsAndKeys(backend, "f"), ["f|k"]);
  });
});

test("S3Backend.get() ends with the reason of its signal", async () => {
  await scene(async ({ chaos, open }) => {
    const backend = open();
    const asked = Promise.withResolvers<void>();
    const held = Promise.withResolvers<void>();
    chaos.fault = () => {
      asked.resolve();
      return { kind: "delay", until: held.promise };
    };
    const controller = new AbortController();
    const reason = new Error("enough");
    const reading = backend.get("f", "k", controller.signal);
    await asked.promise;
    controller.abort(reason);
    assertEquals(await reading.catch((error: unknown) => error), reason);
    const late = backend.get("f", "k", AbortSignal.abort(reason));
    assertEquals(await late.catch((error: unknown) => error), reason);
    held.resolve();
  });
});

test("S3Backend.close() aborts reads, waits for writes and refuses what comes later", async () => {
  await scene(async ({ chaos, open }) => {
    const backend = open();
    const asked = {
      get: Promise.withResolvers<void>(),
      put: Promise.withResolvers<void>(),
    };
    const held = Promise.withResolvers<void>();
    chaos.fault = ({ operation }) => {
      (operation === "PutObject" ? asked.put : asked.get).resolve();
      return { kind: "delay", until: held.promise };
    };
    const reading = backend.get("f", "k");
    const listing = Array.fromAsync(backend.entries());
    const writing = backend.set("f", "k", ENTRY);
    await Promise.all([asked.get.promise, asked.put.promise]);
    let closed = false;
    const closing = backend.close().then(() => (closed = true));
    await assertRejects(() => reading, CacheClosedError);
    await assertRejects(() => listing, CacheClosedError);
    assertEquals(closed, false);
    chaos.fault = () => undefined;
    held.resolve();
    await writing;
    await closing;
    await backend.close();
    for (const operation of operationsOf(backend)) {
      await assertRejects(operation, CacheClosedError);
    }
    assertEquals(await open().get("f", "k"), ENTRY);
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
