/**
 * Requests to one bucket through the AWS SDK, which is loaded on first use.
 *
 * @module
 */

import type { CreateMultipartUploadCommandInput, S3Client } from "@aws-sdk/client-s3";
import { delay } from "@std/async/delay";
import { Lazy } from "@std/async/lazy";
import { limitConcurrency } from "../limits/permits.ts";
import {
  BrokenBodyError,
  BucketCreationError,
  hasCode,
  isBucketMissing,
  isNotFound,
  isObjectMissing,
  otherRegion,
  S3Failure,
  WRONG_CREDENTIALS,
} from "./errors.ts";
import { inPieces, readBody, withMD5 } from "./body.ts";
import type { Metadata } from "./object.ts";
import { isS3Client, type S3Options } from "./options.ts";
import { mapInOrder } from "./pool.ts";
import { MAX_REQUESTS, settingsOf } from "./settings.ts";

/** The most attempts of a request that a repair can help, or whose body breaks off. */
const ATTEMPTS = 3;

/** The unit of pauses before a further attempt, in milliseconds. */
const PAUSE_MS = 100;

const MIB = 2 ** 20;

/** The size past which a value goes in parts, so that a dropped connection costs one part. */
const PARTS_FROM_BYTES = 32 * MIB;

/** The size of a part; S3 allows 5 MiB to 5 GiB, and 10,000 parts. */
const PART_BYTES = 8 * MIB;

/** The concurrent parts of one value: more would take the connections of other calls. */
const PARTS_AT_ONCE = 4;

/** The point where a request is complete but not signed yet. */
const BUILT = { step: "build", priority: "low", name: "panzaBuilt" } as const;

/** The point where a request is signed but not sent yet. */
const SENT = { step: "deserialize", priority: "low", name: "panzaSent" } as const;

/** A listed object; `modified` in milliseconds since the Unix epoch. */
export interface Listed {
  readonly object: string;
  readonly size: number;
  readonly modified: number;
}

/** An object to store, without its body. */
export interface Header {
  readonly object: string;
  readonly type: string;
  readonly metadata: Metadata;
}

/** The loaded SDK and a client. */
interface S3 {
  readonly sdk: typeof import("@aws-sdk/client-s3");
  readonly client: S3Client;
}

interface Abort {
  readonly abortSignal?: AbortSignal;
}

/** The requests that share a repair: all that were sent before it. */
interface Round {
  repair?: Promise<void>;
}

/** One bucket, whose client is made on first use and repaired when S3 demands it. */
export class Client {
  readonly #bucket: string;
  readonly #options: S3Options;
  /** The clients made here, closed only at the end: requests of an older one may be under way. */
  readonly #ours: S3Client[] = [];
  readonly #limited = limitConcurrency(MAX_REQUESTS)(
    async <Out>(send: () => Promise<Out>, ..._signals: AbortSignal[]): Promise<Out> => await send(),
  );
  #opening: Lazy<S3>;
  #round: Round = {};

  /** Opens nothing; the options are already checked. */
  constructor(bucket: string, options: S3Options) {
    this.#bucket = bucket;
    this.#options = { ...options };
    this.#opening = new Lazy(() => this.#open(options.region));
  }

  /** Closes the connections of the clients made here. */
  close(): void {
    for (const client of this.#ours) client.destroy();
  }

  /**
   * Reads an object.
   *
   * @param progress Called after each piece of its body.
   * @param signals Each aborts the read.
   * @returns Metadata and bytes; `undefined` when there is no such object.
   */
  async get(
    Key: string,
    progress: () => void,
    signals: AbortSignal[],
  ): Promise<{ readonly metadata: Metadata; readonly body: Uint8Array } | undefined> {
    const get = async ({ sdk, client }: S3, abort: Abort) => {
      const command = new sdk.GetObjectCommand({ Bucket: this.#bucket, Key });
      const answer = await client.send(command, abort);
      return { metadata: answer.Metadata ?? {}, body: await readBody(answer, progress) };
    };
    for (let attempt = 1;; attempt++) {
      try {
        return await this.#send(signals, get);
      } catch (error) {
        if (isObjectMissing(error)) return undefined;
        // The SDK repeats a failed request, but not a failed read of a body.
        if (attempt === ATTEMPTS || !(error instanceof BrokenBodyError)) throw error;
      }
      await delay(PAUSE_MS * 2 ** attempt * Math.random());
    }
  }

  /** The metadata of an object, `undefined` when there is no such object. */
  async metadata(Key: string, signals: AbortSignal[]): Promise<Metadata | undefined> {
    try {
      return await this.#send(signals, async ({ sdk, client }, abort) => {
        const command = new sdk.HeadObjectCommand({ Bucket: this.#bucket, Key });
        return (await client.send(command, abort)).Metadata ?? {};
      });
    } catch (error) {
      if (isNotFound(error)) return undefined;
      throw error;
    }
  }

  /**
   * Stores an object, which nobody sees before it is complete.
   *
   * @param progress Called for each piece that the connection takes.
   */
  async put(header: Header, Body: Uint8Array, progress: () => void): Promise<void> {
    if (Body.length > PARTS_FROM_BYTES) return await this.#putParts(header, Body, progress);
    await this.#send([], ({ sdk, client }) => {
      const object = { ...this.#stored(header), Body, ContentLength: Body.length };
      const command = new sdk.PutObjectCommand(object);
      command.middlewareStack.add(
        (next) => (args) => next({ ...args, request: inPieces(args.request, progress) }),
        SENT,
      );
      return client.send(command);
    });
  }

  async #putParts(header: Header, body: Uint8Array, progress: () => void): Promise<void> {
    const { UploadId } = await this.#send([], async ({ sdk, client }) => {
      const checksums = await client.config.requestChecksumCalculation?.();
      const upload: CreateMultipartUploadCommandInput = this.#stored(header);
      // The parts have it by default, and S3 must know that beforehand.
      if (checksums !== "WHEN_REQUIRED") upload.ChecksumAlgorithm = "CRC32";
      return await client.send(new sdk.CreateMultipartUploadCommand(upload));
    });
    const upload = { Bucket: this.#bucket, Key: header.object, UploadId };
    const count = Math.ceil(body.length / PART_BYTES);
    const numbers = Array.from({ length: count }, (_, index) => index + 1);
    const putPart = (PartNumber: number) =>
      this.#send([], async ({ sdk, client }) => {
        const end = PartNumber * PART_BYTES;
        const Body = body.subarray(end - PART_BYTES, end);
        const command = new sdk.UploadPartCommand({ ...upload, PartNumber, Body });
        command.middlewareStack.add(
          (next) => (args) => next({ ...args, request: inPieces(args.request, progress) }),
          SENT,
        );
        const { ETag, ChecksumCRC32 } = await client.send(command);
        return { PartNumber, ETag, ChecksumCRC32 };
      });
    try {
      const Parts = await Array.fromAsync(mapInOrder(PARTS_AT_ONCE, numbers, putPart));
      const whole = { ...upload, MultipartUpload: { Parts } };
      await this.#send(
        [],
        ({ sdk, client }) => client.send(new sdk.CompleteMultipartUploadCommand(whole)),
      );
    } catch (error) {
      // Only the first failure is reported; a lifecycle rule of the bucket can remove what stays.
      await this.#send(
        [],
        ({ sdk, client }) => client.send(new sdk.AbortMultipartUploadCommand(upload)),
      ).catch(() => {});
      throw error;
    }
  }

  /** Deletes an object, whether it is there or not. */
  delete(Key: string): Promise<void> {
    return this.#send([], async ({ sdk, client }) => {
      await client.send(new sdk.DeleteObjectCommand({ Bucket: this.#bucket, Key }));
    });
  }

  /**
   * Deletes up to 1,000 objects in one request.
   *
   * @param way The proof that the request arrived whole.
   * @returns The objects that S3 refused to delete, with its codes.
   */
  deleteMany(
    keys: readonly string[],
    way: "checksum" | "md5",
  ): Promise<{ readonly key: string | undefined; readonly code: string }[]> {
    return this.#send([], async ({ sdk, client }) => {
      const Objects = keys.map((Key) => ({ Key }));
      const command = new sdk.DeleteObjectsCommand({
        Bucket: this.#bucket,
        Delete: { Objects, Quiet: true },
      });
      if (way === "md5") {
        command.middlewareStack.add(
          (next) => (args) => next({ ...args, request: withMD5(args.request) }),
          BUILT,
        );
      }
      const { Errors = [] } = await client.send(command);
      return Errors.map(({ Key, Code = "no code" }) => ({ key: Key, code: Code }));
    });
  }

  /** The objects below a prefix, in pages of 1,000. */
  async *list(
    Prefix: string,
    signals: AbortSignal[] = [],
  ): AsyncGenerator<readonly Listed[], void, undefined> {
    let ContinuationToken: string | undefined;
    do {
      const place = { Bucket: this.#bucket, Prefix, ContinuationToken };
      const answer = await this.#send(
        signals,
        ({ sdk, client }, abort) => client.send(new sdk.ListObjectsV2Command(place), abort),
      );
      const { Contents, IsTruncated, KeyCount, Name } = answer;
      // Otherwise any answer of 200 would read as an empty bucket, and a bust as done.
      if ([Contents, IsTruncated, KeyCount, Name].every((part) => part === undefined)) {
        const advice = "check that the endpoint is an S3 server";
        throw new S3Failure("the answer is not a listing", advice);
      }
      yield (Contents ?? []).flatMap(({ Key, Size = 0, LastModified }) =>
        Key === undefined
          ? []
          : [{ object: Key, size: Size, modified: LastModified?.getTime() ?? 0 }]
      );
      ContinuationToken = IsTruncated ? answer.NextContinuationToken : undefined;
    } while (ContinuationToken !== undefined);
  }

  #stored({ object, type, metadata }: Header) {
    const { serverSideEncryption, kmsKeyId } = this.#options;
    return {
      Bucket: this.#bucket,
      Key: object,
      ContentType: type,
      Metadata: { ...metadata },
      ...(serverSideEncryption && { ServerSideEncryption: serverSideEncryption }),
      ...(kmsKeyId && { SSEKMSKeyId: kmsKeyId }),
    };
  }

  /**
   * Sends a request under the limit, and again after a repair if its error has one.
   *
   * @param signals Each aborts the wait and the request.
   */
  async #send<Out>(
    signals: AbortSignal[],
    request: (s3: S3, abort: Abort) => Promise<Out>,
  ): Promise<Out> {
    for (let attempt = 1;; attempt++) {
      const round = this.#round;
      // Without a signal, which would cost a listener for each call that waits for the first one.
      const s3 = await this.#opening.get();
      try {
        return await this.#limited(() => request(s3, abortOf(signals)), ...signals);
      } catch (error) {
        const repair = attempt < ATTEMPTS ? this.#repairFor(s3, error) : undefined;
        if (repair === undefined) throw error;
        // One repair for all requests of a round: a late one finds it done.
        await (round.repair ??= repair().finally(() => {
          this.#round = {};
        }));
        if (attempt > 1) await delay(PAUSE_MS);
      }
    }
  }

  /** The repair after which a failed request can succeed, if there is one. */
  #repairFor(s3: S3, error: unknown): (() => Promise<void>) | undefined {
    if (isBucketMissing(error) && this.#options.autoCreateBucket) return () => this.#create(s3);
    if (hasCode(error, ...WRONG_CREDENTIALS)) return () => refreshCredentials(s3, error);
    // The SDK has already corrected its clock by that of the answer.
    if (hasCode(error, "RequestTimeTooSkewed")) return () => Promise.resolve();
    const region = otherRegion(error);
    return region !== undefined && this.#options.client === undefined
      ? () => this.#moveTo(region, s3, error)
      : undefined;
  }

  async #create({ sdk, client }: S3): Promise<void> {
    try {
      await client.send(new sdk.CreateBucketCommand({ Bucket: this.#bucket }));
    } catch (error) {
      if (!hasCode(error, "BucketAlreadyOwnedByYou")) {
        throw new BucketCreationError("no bucket", { cause: error });
      }
    }
  }

  async #moveTo(region: string, s3: S3, error: unknown): Promise<void> {
    if (await s3.client.config.region() === region) throw error;
    this.#opening = new Lazy(() => this.#open(region));
  }

  async #open(region: string | undefined): Promise<S3> {
    // A bundler leaves an import with a handler alone where the SDK is not installed.
    const sdk = await import("@aws-sdk/client-s3").catch((error) => {
      throw error;
    });
    const { client } = this.#options;
    if (isSdkClient(client)) return { sdk, client };
    const { config, fallbackRegion } = settingsOf(this.#options, region);
    const ours = new sdk.S3Client(config);
    this.#ours.push(ours);
    if (fallbackRegion === undefined) return { sdk, client: ours };
    try {
      await ours.config.region();
      return { sdk, client: ours };
    } catch {
      const other = new sdk.S3Client({ ...config, region: fallbackRegion });
      this.#ours.push(other);
      return { sdk, client: other };
    }
  }
}

function abortOf(signals: AbortSignal[]): Abort {
  const [signal] = signals;
  if (signal === undefined) return {};
  return { abortSignal: signals.length === 1 ? signal : AbortSignal.any(signals) };
}

function isSdkClient(client: unknown): client is S3Client {
  return isS3Client(client);
}

/** Asks for credentials again; rethrows the error if they are the same. */
async function refreshCredentials({ client }: S3, error: unknown): Promise<void> {
  const before = await client.config.credentials();
  const now = await client.config.credentials({ forceRefresh: true });
  if (now.accessKeyId === before.accessKeyId && now.sessionToken === before.sessionToken) {
    throw error;
  }
}
