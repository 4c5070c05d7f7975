/**
 * Requests to one bucket: objects by name, with bounds, retries and creation of the bucket.
 *
 * @module
 */

import { delay } from "@std/async/delay";
import { Lazy } from "@std/async/lazy";
import { retry, RetryError } from "@std/async/retry";
import { MAX_REQUESTS, openClient, type S3, type S3Options } from "./client.ts";
import { isBucketMissing, isBucketOurs, isNotFound, isObjectMissing } from "./errors.ts";
import type { Metadata } from "./object.ts";
import { mapInOrder, Slots } from "./pool.ts";

const MIB = 2 ** 20;

/** Past this many bytes a value goes in parts, so that a dropped connection costs one part. */
const PARTS_FROM_BYTES = 32 * MIB;

/** Bytes of a part; S3 allows 5 MiB to 5 GiB, and 10,000 parts. */
const PART_BYTES = 8 * MIB;

const PARTS_AT_ONCE = 4;

/** How often everything below a prefix is listed at most to delete it. */
const MOST_PASSES = 5;

/** Requests of 1,000 deletes each under way, listing included, which goes one page ahead. */
const DELETES_AT_ONCE = 4;

/** How often a body is asked for, in all: the SDK retries requests and not their bodies. */
const BODY_ATTEMPTS = 3;

/** How often a refused delete of one object is asked for, and an operation on a new bucket. */
const ATTEMPTS = 3;

/** The pause before the second attempt, in milliseconds; it doubles, and is jittered. */
const PAUSE_MS = 100;

/** Codes with which S3 refuses single deletes of a request for reasons that pass. */
const PASSING = new Set(["InternalError", "ServiceUnavailable", "SlowDown"]);

/** An answer whose body did not arrive as it was announced. */
export class BrokenBodyError extends Error {}

/** The bucket was missing and could not be created; the cause tells why. */
export class BucketCreationError extends Error {}

/** An object as a listing tells it. */
export interface Listed {
  readonly object: string;
  readonly size: number;
  readonly modified: number;
}

/** One bucket, reached with one client that is made on first use. */
export class Bucket {
  readonly #name: string;
  readonly #options: S3Options;
  readonly #s3: Lazy<S3>;
  readonly #slots = new Slots(MAX_REQUESTS);
  #creation: Lazy<void>;

  /**
   * @param name The name of the bucket.
   * @param options How to reach it, checked.
   */
  constructor(name: string, options: S3Options) {
    this.#name = name;
    this.#options = { ...options };
    this.#s3 = new Lazy(() => openClient(this.#options));
    this.#creation = this.#newCreation();
  }

  /** Closes the connections of a client that is not the user's. */
  close(): void {
    const opened = this.#s3.peek();
    if (opened.ok && this.#options.client === undefined) {
      opened.value.client.destroy();
    }
  }

  /** Sends requests within the slots; the first that meets a missing bucket may create it. */
  async #send<Out>(signal: AbortSignal | undefined, work: (s3: S3) => Promise<Out>): Promise<Out> {
    const s3 = await this.#s3.get(signal && { signal });
    for (let attempt = 1;; attempt++) {
      // Whoever met the missing bucket before it was created finds this one settled.
      const creation = this.#creation;
      try {
        return await this.#slots.run(signal, () => work(s3));
      } catch (error) {
        if (
          attempt === ATTEMPTS ||
          this.#options.autoCreateBucket !== true ||
          !isBucketMissing(error)
        ) {
          throw error;
        }
      }
      await creation.get();
      // A new bucket may take a moment to be known everywhere.
      if (attempt > 1) await delay(PAUSE_MS);
    }
  }

  #newCreation(): Lazy<void> {
    return new Lazy(async () => {
      const { sdk, client } = await this.#s3.get();
      try {
        await client.send(new sdk.CreateBucketCommand({ Bucket: this.#name }));
      } catch (error) {
        if (!isBucketOurs(error)) {
          throw new BucketCreationError("no bucket", { cause: error });
        }
      }
      this.#creation = this.#newCreation();
    });
  }

  /** An object with its body, `undefined` when there is none. */
  async fetch(
    object: string,
    signal: AbortSignal,
  ): Promise<{ metadata: Metadata; body: Uint8Array } | undefined> {
    const get = async ({ sdk, client }: S3) => {
      const answer = await client.send(
        new sdk.GetObjectCommand({ Bucket: this.#name, Key: object }),
        { abortSignal: signal },
      );
      return { metadata: answer.Metadata ?? {}, body: await readBody(answer) };
    };
    try {
      return await retry(() => this.#send(signal, get), {
        maxAttempts: BODY_ATTEMPTS,
        minTimeout: PAUSE_MS,
        isRetriable: (error) => error instanceof BrokenBodyError,
        signal,
      });
    } catch (error) {
      if (isObjectMissing(error)) return undefined;
      throw error instanceof RetryError ? error.cause : error;
    }
  }

  /** Stores an object; nobody sees it before it is complete. */
  async put(object: string, body: Uint8Array, type: string, metadata: Metadata): Promise<void> {
    await (body.length > PARTS_FROM_BYTES
      ? this.#putParts(object, body, type, metadata)
      : this.#putWhole(object, body, type, metadata));
  }

  async #putWhole(
    object: string,
    body: Uint8Array,
    type: string,
    metadata: Metadata,
  ): Promise<void> {
    await this.#send(undefined, ({ sdk, client }) =>
      client.send(
        new sdk.PutObjectCommand({
          Bucket: this.#name,
          Key: object,
          Body: body,
          ContentLength: body.length,
          ContentType: type,
          Metadata: { ...metadata },
        }),
      ));
  }

  async #putParts(
    object: string,
    body: Uint8Array,
    type: string,
    metadata: Metadata,
  ): Promise<void> {
    const place = { Bucket: this.#name, Key: object };
    const { UploadId } = await this.#send(undefined, ({ sdk, client }) =>
      client.send(
        new sdk.CreateMultipartUploadCommand({
          ...place,
          ContentType: type,
          Metadata: { ...metadata },
          ChecksumAlgorithm: "CRC32",
        }),
      ));
    const upload = { ...place, UploadId };
    const count = Math.ceil(body.length / PART_BYTES);
    const numbers = Array.from({ length: count }, (_, index) => index + 1);
    try {
      const done = mapInOrder(PARTS_AT_ONCE, numbers, async (PartNumber) => {
        const end = PartNumber * PART_BYTES;
        const answer = await this.#send(undefined, ({ sdk, client }) =>
          client.send(
            new sdk.UploadPartCommand({
              ...upload,
              PartNumber,
              Body: body.subarray(end - PART_BYTES, end),
              ChecksumAlgorithm: "CRC32",
            }),
          ));
        const { ETag, ChecksumCRC32 } = answer;
        return { PartNumber, ETag, ChecksumCRC32 };
      });
      const Parts = await Array.fromAsync(done);
      await this.#send(undefined, ({ sdk, client }) =>
        client.send(
          new sdk.CompleteMultipartUploadCommand({
            ...upload,
            MultipartUpload: { Parts },
          }),
        ));
    } catch (error) {
      // The first failure is the one to tell; what this leaves, a lifecycle rule of the bucket ends.
      await this.#send(
        undefined,
        ({ sdk, client }) => client.send(new sdk.AbortMultipartUploadCommand(upload)),
      ).catch(() => {});
      throw error;
    }
  }

  /** The metadata of an object, `undefined` when there is no such object. */
  async metadata(object: string, signal: AbortSignal): Promise<Metadata | undefined> {
    try {
      const answer = await this.#send(
        signal,
        ({ sdk, client }) =>
          client.send(new sdk.HeadObjectCommand({ Bucket: this.#name, Key: object }), {
            abortSignal: signal,
          }),
      );
      return answer.Metadata ?? {};
    } catch (error) {
      if (isNotFound(error)) return undefined;
      throw error;
    }
  }

  /** Deletes one object, whether it is there or not. */
  async remove(object: string): Promise<void> {
    await this.#send(
      undefined,
      ({ sdk, client }) =>
        client.send(new sdk.DeleteObjectCommand({ Bucket: this.#name, Key: object })),
    );
  }

  /** The objects below a prefix, page by page of 1,000. */
  async *list(prefix: string, signal?: AbortSignal): AsyncGenerator<Listed[], void, undefined> {
    let token: string | undefined;
    do {
      const answer = await this.#send(signal, ({ sdk, client }) =>
        client.send(
          new sdk.ListObjectsV2Command({
            Bucket: this.#name,
            Prefix: prefix,
            ContinuationToken: token,
          }),
          signal === undefined ? {} : { abortSignal: signal },
        ));
      yield (answer.Contents ?? []).flatMap(({ Key, Size, LastModified }) =>
        Key === undefined ? [] : [
          {
            object: Key,
            size: Size ?? 0,
            modified: LastModified?.getTime() ?? 0,
          },
        ]
      );
      token = answer.IsTruncated ? answer.NextContinuationToken : undefined;
    } while (token !== undefined);
  }

  /**
   * Deletes all objects below a prefix.
   *
   * @returns The codes of those that S3 refused to delete.
   */
  async removeAll(prefix: string): Promise<string[]> {
    for (let pass = 1;; pass++) {
      let found = 0;
      const refusals = mapInOrder(DELETES_AT_ONCE, this.list(prefix), (page) => {
        found += page.length;
        return this.#removePage(page.map(({ object }) => object));
      });
      const refused = (await Array.fromAsync(refusals)).flat();
      // Servers may lose their place in a listing whose objects are being deleted. The last pass
      // finds nothing, unless others go on storing.
      if (found === 0 || refused.length > 0 || pass === MOST_PASSES) {
        return refused;
      }
    }
  }

  /** Deletes up to 1,000 objects; returns the codes of those that S3 refused for good. */
  async #removePage(objects: readonly string[]): Promise<string[]> {
    const refused: string[] = [];
    let left = objects;
    for (let attempt = 1; left.length > 0; attempt++) {
      const Objects = left.map((Key) => ({ Key }));
      const answer = await this.#send(undefined, ({ sdk, client }) =>
        client.send(
          new sdk.DeleteObjectsCommand({
            Bucket: this.#name,
            Delete: { Objects, Quiet: true },
          }),
        ));
      const again: string[] = [];
      for (const { Key, Code = "no code" } of answer.Errors ?? []) {
        if (Code === "NoSuchKey") continue;
        if (Key !== undefined && PASSING.has(Code) && attempt < ATTEMPTS) again.push(Key);
        else refused.push(Code);
      }
      left = again;
      if (left.length > 0) await delay(PAUSE_MS * 2 ** attempt * Math.random());
    }
    return refused;
  }
}

/** The whole body, which must be as long as it was announced. */
async function readBody(answer: {
  readonly Body?: { transformToByteArray(): Promise<Uint8Array> } | undefined;
  readonly ContentLength?: number | undefined;
}): Promise<Uint8Array> {
  let bytes: Uint8Array;
  try {
    bytes = (await answer.Body?.transformToByteArray()) ?? new Uint8Array();
  } catch (cause) {
    throw new BrokenBodyError("the body broke off", { cause });
  }
  if (bytes.length !== (answer.ContentLength ?? bytes.length)) {
    throw new BrokenBodyError("the body is incomplete", {
      cause: new Error(`${bytes.length} of ${answer.ContentLength} bytes arrived`),
    });
  }
  // A plain array of its own: some runtimes give a Buffer out of a pool.
  return bytes.byteLength === bytes.buffer.byteLength
    ? new Uint8Array(bytes.buffer)
    : new Uint8Array(bytes);
}
