/** Killed writers: each acknowledged result is there and right, and nothing is half-written. */

import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { CreateBucketCommand, DeleteBucketCommand } from "@aws-sdk/client-s3";
import { assert, assertEquals } from "@std/assert";
import { open } from "../../src/encoding/entry.ts";
import { S3Cache } from "../../s3.ts";
import { SQLiteCache } from "../../sqlite.ts";
import { start } from "../support/child.ts";
import { newBucketName, optionsFor, plainClient, testServer } from "../support/s3_server.ts";
import { assertIntact } from "../support/sqlite_files.ts";
import { temporaryFolder } from "../support/temp.ts";
import { type Extent, Random } from "./random.ts";
import { hugeValue, largeValue, smallValue } from "./values.ts";

/** The counts of a run. */
interface Survey {
  /** The number of acknowledged results that were looked for. */
  readonly acknowledged: number;
  /** The number of entries that were listed and opened. */
  readonly entries: number;
}

/** Kills a writer at random moments, from its first system call to its full work. */
export async function killWriters({ count, seed }: Extent): Promise<Survey> {
  const random = new Random(seed);
  const folder = temporaryFolder();
  let path = "";
  let acknowledged = new Set<string>();
  let total = 0;
  let entries = 0;
  for (let round = 0; round < count; round++) {
    // A new file every third round, so that some writers die while they make its tables.
    if (round % 3 === 0) {
      path = join(folder, `${round}.db`);
      acknowledged = new Set();
    }
    const first = (round % 3) * 100_000;
    const child = start("torture/kill_child.ts", ["sqlite", path, String(first)]);
    await child.said("begin");
    await delay(random.next() ** 3 * 400);
    for (const line of await child.kill()) {
      assert(!line.startsWith("trouble"), `seed ${seed}: ${line}`);
      if (line !== "begin") acknowledged.add(line);
    }
    entries += await survey(path, acknowledged, seed);
    total += acknowledged.size;
  }
  return { acknowledged: total, entries };
}

/** Opens the file and checks all of it; returns the number of entries. */
async function survey(
  path: string,
  acknowledged: ReadonlySet<string>,
  seed: number,
): Promise<number> {
  const troubles: string[] = [];
  await using cache = new SQLiteCache(path, {
    onError: (error) => troubles.push(error.message),
  });
  const never = (n: number): Promise<unknown> => Promise.reject(new Error(`ran ${n}`));
  const functions = {
    small: cache.cache({ id: "small" })(never),
    large: cache.cache({ id: "large" })(never),
    mapped: cache.cache({ id: "mapped" })(never),
  };
  for (const line of acknowledged) {
    const [id = "", input] = line.split(" ");
    const n = Number(input);
    if (id === "direct") {
      assertEquals(await cache.get(line), smallValue(n), `seed ${seed}`);
      continue;
    }
    const found = await functions[id as keyof typeof functions].readCache(n);
    assert(found.hit, `seed ${seed}: ${line} was acknowledged and is lost`);
    assertSame(
      found.value,
      id === "large" ? largeValue(n) : smallValue(n),
      `seed ${seed}: ${line}`,
    );
  }
  let entries = 0;
  for await (const { id, key } of cache.entries()) {
    const entry = await cache.backend.get(id, key);
    assert(entry !== undefined, "what is listed can be read");
    open(id, key, entry);
    entries++;
  }
  assertEquals(troubles, [], `seed ${seed}`);
  assertIntact(path, `seed ${seed}`);
  return entries;
}

/** `assertEquals` takes seconds for a megabyte of bytes. */
function assertSame(left: unknown, right: unknown, message: string): void {
  if (left instanceof Uint8Array && right instanceof Uint8Array) {
    assert(left.length === right.length && left.every((byte, at) => byte === right[at]), message);
  } else if (typeof left === "string") assert(left === right, message);
  else assertEquals(left, right, message);
}

/** Kills writers while the parts of an object are on their way. */
export async function killUploads({
  count,
  seed,
}: Extent): Promise<{ acknowledged: number; unfinished: number }> {
  const random = new Random(seed);
  const server = await testServer();
  const client = plainClient(server);
  let acknowledged = 0;
  let unfinished = 0;
  for (let round = 0; round < count; round++) {
    const Bucket = newBucketName();
    await client.send(new CreateBucketCommand({ Bucket }));
    const child = start("torture/kill_child.ts", ["s3", server.endpoint, Bucket]);
    await child.said("begin");
    await delay(200 + random.next() * 1300);
    const lines = (await child.kill()).filter((line) => line !== "begin");
    const troubles: string[] = [];
    await using cache = new S3Cache(Bucket, {
      ...optionsFor(server),
      onError: (error) => troubles.push(error.message),
    });
    const huge = cache.cache({ id: "huge" })((n: number): Promise<string> =>
      Promise.reject(new Error(`ran ${n}`))
    );
    for (const line of lines) {
      const n = Number(line.split(" ")[1]);
      const found = await huge.readCache(n);
      assert(found.hit, `seed ${seed}: ${line} was acknowledged and is lost`);
      assert(found.value === hugeValue(n), `seed ${seed}: ${line}`);
    }
    // The object that was being written is whole or absent.
    const next = lines.length + 1;
    const found = await huge.readCache(next);
    if (found.hit) assert(found.value === hugeValue(next), `seed ${seed}`);
    assertEquals(troubles, [], `seed ${seed}`);
    await cache.bustAll();
    acknowledged += lines.length;
    try {
      await client.send(new DeleteBucketCommand({ Bucket }));
    } catch (error) {
      // A bucket that has no object and is not empty holds parts that were never put together. Not
      // every test server can list them.
      if (!(error instanceof Error && error.name === "BucketNotEmpty")) {
        throw error;
      }
      unfinished++;
    }
  }
  client.destroy();
  return { acknowledged, unfinished };
}
