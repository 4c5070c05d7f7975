/**
 * Requests to one bucket through the AWS SDK, which is loaded on first use: a method for each.
 *
 * @module
 */

import type { S3Client, S3ClientConfig } from "@aws-sdk/client-s3";
import { delay } from "@std/async/delay";
import { Lazy } from "@std/async/lazy";
import { limitConcurrency } from "../limits/concurrency.ts";
import {
  areCredentialsWrong,
  BucketCreationError,
  isBucketMissing,
  isBucketOurs,
  isClockWrong,
  otherRegion,
  S3Failure,
} from "./errors.ts";
import { inPieces, readBody, withMD5 } from "./body.ts";
import type { Metadata } from "./object.ts";
import { isCredentials, isS3Client, type S3Credentials, type S3Options } from "./options.ts";
import { attemptsVariable, DEFAULT_REGION, endpointVariable, foundSettings } from "./settings.ts";

/** How many requests a backend has under way; the SDK keeps 50 connections and complains past that. */
const MAX_REQUESTS = 50;

/**
 * What the SDK waits for, in milliseconds: a connection, and any byte of an answer or of room for a
 * request. A limit for whole requests would cut large values off.
 */
const CONNECTION_MS = 4_000;
const IDLE_MS = 20_000;

/**
 * The last resort, in milliseconds until an answer begins: a large body that the server does not
 * read counts as idle late or never. It lets 32 MiB pass at 56 KB a second.
 */
const REQUEST_MS = 600_000;

/**
 * Attempts of the SDK for each request. Its own default of 3 lets 1 call in 125 fail where every
 * fifth answer is 503; 5 let 1 in 3,000 fail and give up after 15 s at most, waits included.
 */
const SDK_ATTEMPTS = 5;

/** How often a request is sent in all when the answers say how to do better. */
const ATTEMPTS = 3;

/** The pause before a request to a bucket that was created a moment ago, in milliseconds. */
const NEW_BUCKET_MS = 100;

/** Where a request is complete, and not signed yet. */
const BUILT = { step: "build", priority: "low", name: "panzaBuilt" } as const;

/** Where a request is signed, and not sent yet. */
const SENT = { step: "deserialize", priority: "low", name: "panzaSent" } as const;

/** An object as a listing shows it. */
export interface Listed {
  /** Its name. */
  readonly object: string;
  /** Bytes of its body. */
  readonly size: number;
  /** When it was stored, in milliseconds since the Unix epoch. */
  readonly modified: number;
}

/** One page of a listing. */
export interface Page {
  /** Up to 1,000 objects. */
  readonly objects: readonly Listed[];
  /** Where the next page begins, `undefined` on the last. */
  readonly next: string | undefined;
}

/** An object to be stored, without its body. */
export interface Header {
  /** Its name. */
  readonly object: string;
  /** Its content type. */
  readonly type: string;
  /** Its metadata. */
  readonly metadata: Metadata;
}

/** An upload in parts that has begun. */
export interface Upload {
  /** The object. */
  readonly Key: string;
  /** The id that S3 gave it. */
  readonly UploadId: string | undefined;
}

/** A part that S3 has. */
export interface Part {
  /** Its number, from 1. */
  readonly PartNumber: number;
  /** What S3 calls its content. */
  readonly ETag: string | undefined;
  /** Its checksum, where the SDK made one. */
  readonly ChecksumCRC32: string | undefined;
}

/** The SDK and a client, loaded. */
interface S3 {
  readonly sdk: typeof import("@aws-sdk/client-s3");
  readonly client: S3Client;
}

/** Requests that were sent before the same repair. */
interface Round {
  repair?: Promise<void>;
}

/** One bucket, reached with a client that is made on first use, and repaired when S3 asks for it. */
export class Client {
  readonly #bucket: string;
  readonly #options: S3Options;
  /** Clients of our own, which are closed at the end only: requests of an older one may be under way. */
  readonly #ours: S3Client[] = [];
  readonly #limited = limitConcurrency(MAX_REQUESTS)(
    async <Out>(send: () => Promise<Out>, ..._signals: AbortSignal[]): Promise<Out> => await send(),
  );
  #opening: Lazy<S3>;
  #round: Round = {};

  /**
   * Opens nothing.
   *
   * @param bucket The name of the bucket.
   * @param options How to reach it, checked.
   */
  constructor(bucket: string, options: S3Options) {
    this.#bucket = bucket;
    this.#options = { ...options };
    this.#opening = new Lazy(() => this.#open(options.region));
  }

  /** Closes the connections of clients that are not the user's. */
  close(): void {
    for (const client of this.#ours) client.destroy();
  }

  /** The metadata and the bytes of an object; `progress` is called with each piece of them. */
  get(
    Key: string,
    progress: () => void,
    signals: AbortSignal[],
  ): Promise<{ readonly metadata: Metadata; readonly body: Uint8Array }> {
    return this.#send(signals, async ({ sdk, client }, abort) => {
      const command = new sdk.GetObjectCommand({ Bucket: this.#bucket, Key });
      const answer = await client.send(command, abort);
      return { metadata: answer.Metadata ?? {}, body: await readBody(answer, progress) };
    });
  }

  /** The metadata of an object. */
  head(Key: string, signals: AbortSignal[]): Promise<Metadata> {
    return this.#send(signals, async ({ sdk, client }, abort) => {
      const command = new sdk.HeadObjectCommand({ Bucket: this.#bucket, Key });
      return (await client.send(command, abort)).Metadata ?? {};
    });
  }

  /** Stores an object; `progress` is called with each piece that has left. */
  put(header: Header, body: Uint8Array, progress: () => void): Promise<void> {
    return this.#send([], async ({ sdk, client }) => {
      const object = { ...this.#stored(header), Body: body, ContentLength: body.length };
      const command = new sdk.PutObjectCommand(object);
      command.middlewareStack.add(
        (next) => (args) => next({ ...args, request: inPieces(args.request, progress) }),
        SENT,
      );
      await client.send(command);
    });
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
   * @param keys Their names.
   * @param way How the request proves that it arrived whole.
   * @returns Those that S3 refused to delete, with its codes.
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

  /** A page of the objects below a prefix. */
  list(Prefix: string, token: string | undefined, signals: AbortSignal[]): Promise<Page> {
    return this.#send(signals, async ({ sdk, client }, abort) => {
      const place = { Bucket: this.#bucket, Prefix, ContinuationToken: token };
      const answer = await client.send(new sdk.ListObjectsV2Command(place), abort);
      const { Contents, IsTruncated, KeyCount, Name, NextContinuationToken } = answer;
      // Whatever answers 200 would otherwise read as an empty bucket, and a bust as done.
      if ([Contents, IsTruncated, KeyCount, Name].every((part) => part === undefined)) {
        throw new S3Failure(
          "the answer is not a listing",
          "check that the endpoint is an S3 server",
        );
      }
      const objects = (Contents ?? []).flatMap(({ Key, Size = 0, LastModified }) =>
        Key === undefined
          ? []
          : [{ object: Key, size: Size, modified: LastModified?.getTime() ?? 0 }]
      );
      return { objects, next: IsTruncated ? NextContinuationToken : undefined };
    });
  }

  /** Begins an upload in parts. */
  startUpload(header: Header): Promise<Upload> {
    return this.#send([], async ({ sdk, client }) => {
      const checksums = await client.config.requestChecksumCalculation?.();
      const { UploadId } = await client.send(
        new sdk.CreateMultipartUploadCommand({
          ...this.#stored(header),
          ...(checksums === "WHEN_REQUIRED" ? {} : { ChecksumAlgorithm: "CRC32" as const }),
        }),
      );
      return { Key: header.object, UploadId };
    });
  }

  /** Sends a part; `progress` is called with each piece that has left. */
  putPart(
    upload: Upload,
    PartNumber: number,
    Body: Uint8Array,
    progress: () => void,
  ): Promise<Part> {
    return this.#send([], async ({ sdk, client }) => {
      const part = { ...upload, Bucket: this.#bucket, PartNumber, Body };
      const command = new sdk.UploadPartCommand(part);
      command.middlewareStack.add(
        (next) => (args) => next({ ...args, request: inPieces(args.request, progress) }),
        SENT,
      );
      const { ETag, ChecksumCRC32 } = await client.send(command);
      return { PartNumber, ETag, ChecksumCRC32 };
    });
  }

  /** Makes the parts an object. */
  finishUpload(upload: Upload, Parts: Part[]): Promise<void> {
    return this.#send([], async ({ sdk, client }) => {
      const whole = { ...upload, Bucket: this.#bucket, MultipartUpload: { Parts } };
      await client.send(new sdk.CompleteMultipartUploadCommand(whole));
    });
  }

  /** Deletes the parts. */
  abortUpload(upload: Upload): Promise<void> {
    return this.#send([], async ({ sdk, client }) => {
      const place = { ...upload, Bucket: this.#bucket };
      await client.send(new sdk.AbortMultipartUploadCommand(place));
    });
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
   * Sends a request when there is room for it, again if its answer says how to do better.
   *
   * @param signals Each ends the waiting and the request.
   * @param request What to send.
   */
  async #send<Out>(
    signals: AbortSignal[],
    request: (s3: S3, abort: { abortSignal?: AbortSignal }) => Promise<Out>,
  ): Promise<Out> {
    for (let attempt = 1;; attempt++) {
      const round = this.#round;
      // Without a signal: it would cost a listener for each call that waits for the first one.
      const s3 = await this.#opening.get();
      try {
        return await this.#limited(
          () => request(s3, signals.length === 0 ? {} : { abortSignal: AbortSignal.any(signals) }),
          ...signals,
        );
      } catch (error) {
        const repair = attempt < ATTEMPTS ? this.#repairFor(s3, error) : undefined;
        if (repair === undefined) throw error;
        // One repair for all requests that met the same: whoever comes late finds it done.
        await (round.repair ??= repair().finally(() => {
          this.#round = {};
        }));
        if (attempt > 1) await delay(NEW_BUCKET_MS);
      }
    }
  }

  /** What makes a request succeed that failed, if anything does. */
  #repairFor(s3: S3, error: unknown): (() => Promise<void>) | undefined {
    if (isBucketMissing(error) && this.#options.autoCreateBucket) return () => this.#create(s3);
    if (areCredentialsWrong(error)) return () => refreshCredentials(s3, error);
    if (isClockWrong(error)) return () => Promise.resolve();
    const region = otherRegion(error);
    return region !== undefined && this.#options.client === undefined
      ? () => this.#moveTo(region, s3, error)
      : undefined;
  }

  async #create({ sdk, client }: S3): Promise<void> {
    try {
      await client.send(new sdk.CreateBucketCommand({ Bucket: this.#bucket }));
    } catch (error) {
      if (!isBucketOurs(error)) throw new BucketCreationError("no bucket", { cause: error });
    }
  }

  async #moveTo(region: string, s3: S3, error: unknown): Promise<void> {
    if (await s3.client.config.region() === region) throw error;
    this.#opening = new Lazy(() => this.#open(region));
  }

  async #open(region: string | undefined): Promise<S3> {
    const sdk = await import("@aws-sdk/client-s3");
    const { client } = this.#options;
    if (isSdkClient(client)) return { sdk, client };
    const config = configOf({ ...this.#options, ...(region === undefined ? {} : { region }) });
    const ours = new sdk.S3Client(config);
    this.#ours.push(ours);
    if (config.region !== undefined || config.endpoint === undefined) return { sdk, client: ours };
    try {
      await ours.config.region();
      return { sdk, client: ours };
    } catch {
      const other = new sdk.S3Client({ ...config, region: DEFAULT_REGION });
      this.#ours.push(other);
      return { sdk, client: other };
    }
  }
}

function isSdkClient(client: unknown): client is S3Client {
  return isS3Client(client);
}

/** The SDK's settings: options first, then the environment. */
function configOf(options: S3Options): S3ClientConfig {
  const { region, credentials } = options;
  const endpoint = options.endpoint ?? endpointVariable();
  return {
    ...foundSettings(options, endpoint),
    ...(region === undefined ? {} : { region }),
    ...(endpoint === undefined ? {} : { endpoint }),
    ...(credentials === undefined ? {} : { credentials: checkedCredentials(credentials) }),
    forcePathStyle: options.forcePathStyle ?? endpoint !== undefined,
    maxAttempts: attemptsVariable() ?? SDK_ATTEMPTS,
    // The SDK's own one needs a permission in Deno.
    defaultUserAgentProvider: () => Promise.resolve([["panza", "0"]]),
    // It would take a new connection, and a round trip, for each body past 2 MiB.
    expectContinueHeader: false,
    requestHandler: {
      connectionTimeout: CONNECTION_MS,
      socketTimeout: IDLE_MS,
      requestTimeout: REQUEST_MS,
      throwOnRequestTimeout: true,
      httpAgent: { keepAlive: true, maxSockets: MAX_REQUESTS },
      httpsAgent: { keepAlive: true, maxSockets: MAX_REQUESTS },
    },
  };
}

/** Credentials as given; what a function gives is checked, because the SDK would sign with anything. */
function checkedCredentials(
  credentials: NonNullable<S3Options["credentials"]>,
): S3Credentials | (() => Promise<S3Credentials>) {
  if (typeof credentials !== "function") return credentials;
  return async () => {
    // What it throws may quote a secret.
    const given = await credentials().catch(() => {
      throw new S3Failure("the function in credentials failed", "call it by hand to see why");
    });
    if (isCredentials(given)) return given;
    throw new S3Failure(
      "the function in credentials gave something else",
      "give { accessKeyId, secretAccessKey } with non-empty strings, expiration as a Date",
    );
  };
}

/** Asks for credentials again; fails with the same error if they are the same. */
async function refreshCredentials({ client }: S3, error: unknown): Promise<void> {
  const before = await client.config.credentials();
  const now = await client.config.credentials({ forceRefresh: true });
  if (now.accessKeyId === before.accessKeyId && now.sessionToken === before.sessionToken) {
    throw error;
  }
}
