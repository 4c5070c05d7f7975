/** Objects of a bucket, damaged in every way. */

import { Buffer } from "node:buffer";
import { isDeepStrictEqual } from "node:util";
import { GetObjectCommand, PutObjectCommand, type S3Client } from "@aws-sdk/client-s3";
import { assert } from "@std/assert";
import type { Cache } from "../../src/core/cache.ts";
import type { CacheOptions } from "../../src/core/options.ts";
import { S3Cache } from "../../s3.ts";
import { objectNames, optionsFor, withBucket } from "../support/s3_server.ts";
import { type Damaged, INPUTS, use } from "./damage.ts";
import { type Extent, Random } from "./random.ts";

/** An object of the bucket. */
interface StoredObject {
  readonly Body: Uint8Array;
  readonly Metadata: Record<string, string>;
}

/** Damages objects in every way, in each case those of all entries at once. */
export async function damageS3({ count, seed }: Extent): Promise<Damaged> {
  const random = new Random(seed);
  let cases = 0;
  let reported = 0;
  await withBucket(async (bucket, client, server) => {
    const open = (options: CacheOptions): Cache =>
      new S3Cache(`${bucket}/p`, { ...optionsFor(server), ...options });
    const inputs = INPUTS.slice(0, count < 100 ? 5 : 20);
    await use(open, "the template", inputs);
    const names = await objectNames(client, bucket);
    const objects = await Promise.all(names.map((name) => fetchObject(client, bucket, name)));
    const [example] = objects;
    assert(example !== undefined);
    const damages: Record<string, (object: StoredObject, index: number) => StoredObject> = {
      emptied: (object) => ({ ...object, Body: new Uint8Array() }),
      cut: ({ Body, Metadata }) => ({
        Body: Body.subarray(0, random.below(Body.length)),
        Metadata,
      }),
      longer: ({ Body, Metadata }) => ({
        Body: new Uint8Array([...Body, 32]),
        Metadata,
      }),
      "the next one": (_, index) => objects[(index + 1) % objects.length]!,
      "the body of the next one": ({ Metadata }, index) => ({
        Body: objects[(index + 1) % objects.length]!.Body,
        Metadata,
      }),
      garbage: ({ Metadata }) => ({ Body: random.bytes(100), Metadata }),
      "no metadata": ({ Body }) => ({ Body, Metadata: {} }),
    };
    for (let n = 0; n < count; n++) {
      damages[`flipped ${n}`] = ({ Body, Metadata }) => {
        const copy = new Uint8Array(Body);
        copy[random.below(copy.length)]! ^= 1 << random.below(8);
        return { Body: copy, Metadata };
      };
    }
    for (const name of Object.keys(example.Metadata)) {
      // Other metadata serves listings alone.
      if (!/kind|format|checksum|-at|until|duration/.test(name)) continue;
      for (const value of [undefined, "", "0", "-1", "1e999", "x", "bytes"]) {
        // A case that was once missed is always tried.
        const isKept = name === "panza-expires-at" && value === "-1";
        if (!isKept && count < 50 && random.below(3) > 0) continue;
        damages[`${name} ${value}`] = ({ Body, Metadata }) => {
          const { [name]: _, ...others } = Metadata;
          return {
            Body,
            Metadata: value === undefined ? others : { ...others, [name]: value },
          };
        };
      }
    }
    for (const [what, damage] of Object.entries(damages)) {
      const changed = objects.map((object, index) => {
        const result = damage(object, index);
        const isSame = isDeepStrictEqual(object.Metadata, result.Metadata) &&
          Buffer.compare(object.Body, result.Body) === 0;
        return isSame ? undefined : result;
      });
      for (const [index, object] of changed.entries()) {
        if (object === undefined) continue;
        await client.send(
          new PutObjectCommand({
            Bucket: bucket,
            Key: names[index],
            ...object,
          }),
        );
      }
      const damaged = changed.filter((object) => object !== undefined).length;
      const { reports } = await use(open, `seed ${seed}: ${what}`, inputs);
      const kinds = new Set(reports.map(({ context }) => context.kind));
      assert(
        reports.length === damaged && kinds.difference(DAMAGED).size === 0,
        `seed ${seed}: ${what}: ${damaged} objects, ${reports.length} reports: ${
          reports
            .map(({ error, context }) => `${context.kind} ${error.message}`)
            .filter((line) => !line.startsWith("damaged"))
            .at(-1)
        }`,
      );
      cases++;
      if (damaged > 0) reported++;
      for (const [index, object] of objects.entries()) {
        await client.send(
          new PutObjectCommand({
            Bucket: bucket,
            Key: names[index],
            ...object,
          }),
        );
      }
    }
  });
  return { cases, missed: reported, told: reported };
}

const DAMAGED: ReadonlySet<string> = new Set(["damaged"]);

async function fetchObject(client: S3Client, Bucket: string, Key: string): Promise<StoredObject> {
  const { Body, Metadata = {} } = await client.send(new GetObjectCommand({ Bucket, Key }));
  return {
    Body: (await Body?.transformToByteArray()) ?? new Uint8Array(),
    Metadata,
  };
}
