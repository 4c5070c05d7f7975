/**
 * The options of an S3 cache, apart from the client: no public declaration may lead to a file that
 * imports the AWS SDK, or TypeScript projects without the SDK do not compile.
 *
 * @module
 */

/** Keys of an account, as AWS and every S3 server issue them. */
export interface S3Credentials {
  /** The public half, such as `AKIA…`. */
  readonly accessKeyId: string;
  /** The secret half. */
  readonly secretAccessKey: string;
  /** The token of temporary credentials. */
  readonly sessionToken?: string;
  /** When temporary credentials end; a function that gives credentials is then asked again. */
  readonly expiration?: Date;
}

/** An `S3Client` of the AWS SDK, version 3. */
export interface S3ClientLike {
  /** What it says of itself; `serviceId` is `S3`. */
  readonly config: { readonly serviceId: string };
  /** Sends a command. */
  send(...command: never[]): unknown;
  /** Closes its connections; never called by a cache that did not make the client. */
  destroy(): void;
}

/** Where and how to reach S3; without any of these the AWS SDK's standard chain decides. */
export interface S3Options {
  /**
   * The region of the bucket, such as `eu-central-1`. Unset: `AWS_REGION` or the profile, and
   * `us-east-1` for an `endpoint` where neither is set.
   */
  readonly region?: string;
  /** The URL of another S3 server than AWS, such as `http://localhost:9000`. */
  readonly endpoint?: string;
  /** Keys, or a function that gives them. Unset: environment, profile, role. */
  readonly credentials?: S3Credentials | (() => Promise<S3Credentials>);
  /**
   * Whether the bucket stands in the path of the URL and not in its host name. Unset: true with an
   * `endpoint`, because few of them have host names for buckets, and false on AWS.
   */
  readonly forcePathStyle?: boolean;
  /** Whether a bucket that turns out missing is created, once. Unset: false. */
  readonly autoCreateBucket?: boolean;
  /**
   * An own client, used as it is and not destroyed. It excludes `region`, `endpoint`,
   * `credentials` and `forcePathStyle`.
   */
  readonly client?: S3ClientLike;
}
