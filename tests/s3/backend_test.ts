import { createHash } from "node:crypto";
import { test } from "node:test";
import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { GetObjectCommand, HeadObjectCommand, PutObjectCommand } from "@aws-sdk/client-s3";
import { ChangeOrder } from "../../src/backend/order.ts";
import { CacheClosedError, DamagedEntryError } from "../../src/base/errors.ts";
import { ENTRY, idsAndKeys, LONG, operationsOf, scene } from "../support/s3_scene.ts";
import { objectNames } from "../support/s3_server.ts";

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

/** A text as `entries` shows it: one that metadata cannot hold by its digest. */
function listedAs(text: string): string {
  if (text.length <= 1_000) return text;
  return `sha256-${createHash("sha256").update(text).digest("hex")}`;
}

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
      assertEquals(
        listed.map(({ id, key }) => JSON.stringify([id, key])).sort(),
        [...different.values()].map((pair) => JSON.stringify(pair.map(listedAs))).sort(),
      );
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
        const names = await idsAndKeys(backend, id);
        assert(names.length >= 2 && names.every((name) => name.startsWith(`${id}|`)));
        await backend.deleteId(id);
        assertEquals(await idsAndKeys(backend, id), []);
        for (const [name, pair] of left) if (pair[0] === id) left.delete(name);
        if (index % 8 === 0) assertEquals(await still(), left.size, id);
      }
      assertEquals(await objectNames(client, bucket), []);
    });
  },
);

test("S3Backend.prune() deletes in one request what a rule names, by whatever name", async () => {
  await scene(async ({ chaos, bucket, client, open }) => {
    const backend = open();
    const keys = Array.from({ length: 40 }, (_, index) => `${index} `.repeat(500));
    await Promise.all(
      keys.map((key, index) => backend.set("f", key, { ...ENTRY, staleUntil: index })),
    );
    chaos.counts();
    const freed = await backend.prune({ expiredBefore: 30 });
    assertEquals(freed, { entries: 30, bytes: 30 * ENTRY.data.length });
    assertEquals(chaos.counts(), { ListObjectsV2: 1, HeadObject: 40, DeleteObjects: 1 });
    assertEquals((await objectNames(client, bucket)).length, 10);
    const left = await backend.getMany("f", keys);
    assertEquals(left.filter((entry) => entry !== undefined).length, 10);
  });
});

test("S3Backend reports the progress of long transfers, entry by entry", async () => {
  await scene(async ({ open }) => {
    const backend = open();
    const told: Record<string, number> = {};
    const link = {
      order: new ChangeOrder(),
      progress: (id: string, key: string) => {
        told[`${id} ${key}`] = (told[`${id} ${key}`] ?? 0) + 1;
      },
    };
    backend.connect(() => {}, link);
    const data = crypto.getRandomValues(new Uint8Array(2 ** 16));
    const long = new Uint8Array(2 ** 22).map((_, index) => data[index % data.length] ?? 0);
    await Promise.all([
      backend.set("f", "long", { ...ENTRY, data: long }),
      backend.set("f", "short", ENTRY),
    ]);
    assertEquals(told, { "f long": 16 });
    assertEquals((await backend.get("f", "long"))?.data, long);
    assert((told["f long"] ?? 0) > 20, `${told["f long"]}`);
  });
});

test("S3Backend deletes neither other objects nor what caches at other prefixes hold", async () => {
  await scene(async ({ bucket, client, open }) => {
    const prefixes = ["", "/p", "/p/q", "/pq", "/panza-v", "/p%2Fq", "/P"];
    const backends = prefixes.map((prefix) => open(prefix));
    const foreign = ["report.json", "panza-v1", "panza-v1x/a/b", "p/report.json"]
      .concat("panza-v1/README.md", "panza-v1/p/logs/2024.txt", "p/panza-v1/p/%zz");
    for (const Key of foreign) {
      await client.send(new PutObjectCommand({ Bucket: bucket, Key, Body: "mine" }));
    }
    for (const backend of backends) {
      for (const id of ["p", "panza-v1", ""]) await backend.set(id, "k", ENTRY);
    }
    for (const [index, backend] of backends.entries()) {
      assertEquals((await idsAndKeys(backend)).length, 3);
      await backend.deleteId("p");
      assertEquals((await idsAndKeys(backend)).length, 2);
      await backend.clear();
      assertEquals(await idsAndKeys(backend), []);
      for (const later of backends.slice(index + 1)) {
        assertEquals((await idsAndKeys(later)).length, 3);
      }
    }
    assertEquals(await objectNames(client, bucket), foreign.sort());
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
    assertEquals(reports, [], "whoever needs the entry learns it from get()");
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
        durationMs: ENTRY.durationMs,
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
