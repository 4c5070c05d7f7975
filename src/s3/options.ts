/**
 * The options of an S3 backend, and their rules.
 *
 * @module
 */

import { boolean, check, oneOf, type Rule } from "../base/check.ts";

/** Keys of an account, as AWS and every S3 server issue them. */
export interface S3Credentials {
  /** The public half, such as `AKIA…`. */
  readonly accessKeyId: string;
  /** The secret half. */
  readonly secretAccessKey: string;
  /** The token of temporary credentials. */
  readonly sessionToken?: string;
  /** The end of temporary credentials; a function that returns credentials is then called again. */
  readonly expiration?: Date;
}

/** An `S3Client` of the AWS SDK, version 3. */
export interface S3ClientLike {
  /** Its settings; `serviceId` is `S3`. */
  readonly config: { readonly serviceId: string };
  /** Sends a command. */
  send(...command: never[]): unknown;
  /** Closes its connections; a cache never calls this on a client that it did not make. */
  destroy(): void;
}

/** The settings of an S3 backend; without any, the AWS SDK's standard chain decides. */
export interface S3Options {
  /**
   * The region of the bucket, such as `eu-central-1`. Unset: `AWS_REGION` or the profile, and
   * `us-east-1` for an `endpoint` where neither is set. When S3 answers that the bucket is in
   * another region, that one is used.
   */
  readonly region?: string;
  /**
   * The URL of another S3 server than AWS, such as `http://localhost:9000`. Unset:
   * `AWS_ENDPOINT_URL_S3`, `AWS_ENDPOINT_URL` or the profile.
   */
  readonly endpoint?: string;
  /**
   * Keys, or a function that returns them; the function is called again when S3 answers that they
   * have expired. Unset: environment, profile, role.
   */
  readonly credentials?: S3Credentials | (() => Promise<S3Credentials>);
  /**
   * Whether the bucket is in the path of the URL instead of its host name. Unset: true with an
   * `endpoint`, because few servers have host names for buckets, and false on AWS.
   */
  readonly forcePathStyle?: boolean;
  /** Whether a missing bucket is created. Unset: false. */
  readonly autoCreateBucket?: boolean;
  /** The server-side encryption of stored objects. Unset: the default of the bucket. */
  readonly serverSideEncryption?: "AES256" | "aws:kms" | "aws:kms:dsse";
  /** The id or ARN of the KMS key; needs a `serverSideEncryption` that begins with `aws:kms`. */
  readonly kmsKeyId?: string;
  /**
   * A client of yours, used as it is and never destroyed. It excludes `region`, `endpoint`,
   * `credentials` and `forcePathStyle`.
   */
  readonly client?: S3ClientLike;
}

/** A rule whose message never repeats a string, which may be a secret in the wrong place. */
function secret<Value>(
  must: string,
  isGood: (value: unknown) => boolean,
): Rule<Value> {
  return {
    must,
    isSecret: true,
    // The guard decides the type.
    read: (value) => isGood(value) ? value as Value : undefined,
  };
}

const RULES = {
  region: secret<string>('a region such as "eu-central-1"', isRegion),
  endpoint: secret<string>(
    "an http or https URL without user, password, query and fragment",
    isEndpoint,
  ),
  credentials: secret<NonNullable<S3Options["credentials"]>>(
    "{ accessKeyId, secretAccessKey } with non-empty strings, or a function that gives it",
    (value) => typeof value === "function" || isCredentials(value),
  ),
  forcePathStyle: boolean,
  autoCreateBucket: boolean,
  serverSideEncryption: oneOf("AES256", "aws:kms", "aws:kms:dsse"),
  kmsKeyId: secret<string>(
    "the id or ARN of a KMS key",
    (value) => typeof value === "string" && /^[\w:/-]+$/.test(value),
  ),
  client: secret<S3ClientLike>("an S3Client of @aws-sdk/client-s3", isS3Client),
};

/**
 * Checks options when a backend is constructed.
 *
 * @throws {TypeError} If an option is unknown or has the wrong shape.
 */
export function checkOptions(action: string, options: S3Options): void {
  const { client, kmsKeyId, serverSideEncryption, ...checked } = check(action, options, RULES);
  const { region, endpoint, credentials, forcePathStyle } = checked;
  const [extra] = Object.entries({ region, endpoint, credentials, forcePathStyle })
    .find(([, value]) => value !== undefined) ?? [];
  if (client !== undefined && extra !== undefined) {
    throw new TypeError(
      `Cannot ${action}: client and ${extra} exclude each other; set it on the client`,
    );
  }
  if (kmsKeyId !== undefined && !serverSideEncryption?.startsWith("aws:kms")) {
    throw new TypeError(
      `Cannot ${action}: kmsKeyId needs a kind of encryption that uses it; ` +
        'set serverSideEncryption: "aws:kms"',
    );
  }
}

/** Whether a value is the name of a region: letters, digits and hyphens. */
export function isRegion(value: unknown): value is string {
  return typeof value === "string" && /^[A-Za-z0-9-]+$/.test(value);
}

/** Whether a value is a client of the AWS SDK for S3. */
export function isS3Client(value: unknown): value is S3ClientLike {
  return typeof value === "object" && value !== null && "send" in value &&
    typeof value.send === "function" && "config" in value &&
    typeof value.config === "object" && value.config !== null &&
    "serviceId" in value.config && value.config.serviceId === "S3";
}

/** Whether a value is a complete set of credentials. */
export function isCredentials(value: unknown): value is S3Credentials {
  if (typeof value !== "object" || value === null) return false;
  const { accessKeyId, secretAccessKey, sessionToken, expiration }: Record<string, unknown> = {
    ...value,
  };
  const isText = (text: unknown) => typeof text === "string" && text !== "";
  return isText(accessKeyId) && isText(secretAccessKey) &&
    (sessionToken === undefined || isText(sessionToken)) &&
    (expiration === undefined ||
      (expiration instanceof Date && !Number.isNaN(expiration.getTime())));
}

function isEndpoint(value: unknown): boolean {
  if (typeof value !== "string" || !URL.canParse(value)) return false;
  const url = new URL(value);
  return /^https?:$/.test(url.protocol) &&
    url.username + url.password + url.search + url.hash === "";
}
