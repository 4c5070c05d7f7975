/**
 * The AWS SDK for `s3.ts`: options, a client that is made on first use, and what its errors mean.
 *
 * @module
 */

import type { S3Client, S3ClientConfig } from "@aws-sdk/client-s3";
import { mayAccess, variable } from "../base/env.ts";
import { optionMessage, refuseUnknownOptions } from "../base/errors.ts";

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

/** The SDK and a client, loaded. */
export interface S3 {
  /** The module with all commands. */
  readonly sdk: typeof import("@aws-sdk/client-s3");
  /** The client that sends them. */
  readonly client: S3Client;
}

/** How many requests a backend has under way; the SDK keeps 50 connections and complains past that. */
export const MAX_REQUESTS = 50;

/**
 * What the SDK waits for, in milliseconds: a connection, and any byte of an answer or of room for a
 * request. A limit for whole requests would cut large values off. A server that accepts connections
 * and never answers costs a call all its attempts, two minutes; one that is not there, 20 s at most.
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
const ATTEMPTS = 5;

/** What servers other than AWS are content with. */
const DEFAULT_REGION = "us-east-1";

const CLIENT_OPTIONS = ["region", "endpoint", "credentials", "forcePathStyle"];

/**
 * Checks options when a backend is constructed.
 *
 * @throws {TypeError} If an option is unknown or has the wrong shape.
 */
export function checkOptions(action: string, options: S3Options): void {
  refuseUnknownOptions(action, options, [...CLIENT_OPTIONS, "autoCreateBucket", "client"]);
  const check = (name: keyof S3Options, good: boolean, rule: string) => {
    if (options[name] === undefined || good) return;
    // Never the value itself: it may be a secret in the wrong place.
    throw new TypeError(optionMessage(action, name, rule, kindOf(options[name])));
  };
  const { region, endpoint, credentials, client } = options;
  check(
    "region",
    typeof region === "string" && /^[A-Za-z0-9-]+$/.test(region),
    'a region such as "eu-central-1"',
  );
  check(
    "endpoint",
    isEndpoint(endpoint),
    "an http or https URL without user, password, query and fragment",
  );
  check(
    "credentials",
    typeof credentials === "function" || isCredentials(credentials),
    "{ accessKeyId, secretAccessKey } or a function that gives it",
  );
  for (const name of ["forcePathStyle", "autoCreateBucket"] as const) {
    check(name, typeof options[name] === "boolean", "true or false");
  }
  check("client", isS3Client(client), "an S3Client of @aws-sdk/client-s3");
  const extra = CLIENT_OPTIONS.find((name) =>
    Object.entries(options).some(([own, value]) => own === name && value !== undefined)
  );
  if (client !== undefined && extra !== undefined) {
    throw new TypeError(
      `Cannot ${action}: client and ${extra} exclude each other; set it on the client`,
    );
  }
}

function kindOf(value: unknown): string {
  return typeof value === "string" ? "another text" : typeof value;
}

function isEndpoint(text: unknown): boolean {
  if (typeof text !== "string" || !URL.canParse(text)) return false;
  const url = new URL(text);
  return (
    /^https?:$/.test(url.protocol) && url.username + url.password + url.search + url.hash === ""
  );
}

function isS3Client(client: S3ClientLike | undefined): client is S3Client {
  return client?.config?.serviceId === "S3" && typeof client.send === "function";
}

function isCredentials(value: unknown): boolean {
  return (
    typeof value === "object" &&
    value !== null &&
    "accessKeyId" in value &&
    typeof value.accessKeyId === "string" &&
    "secretAccessKey" in value &&
    typeof value.secretAccessKey === "string" &&
    value.accessKeyId !== "" &&
    value.secretAccessKey !== ""
  );
}

/**
 * Settings that keep the SDK from looking for them in the environment and in profile files, which
 * needs permissions and makes Deno ask for them.
 */
const QUIET = {
  retryMode: "standard",
  defaultsMode: "standard",
  useDualstackEndpoint: false,
  useFipsEndpoint: false,
  useArnRegion: false,
  disableS3ExpressSessionAuth: true,
  disableClockSkewCorrection: false,
  requestChecksumCalculation: "WHEN_SUPPORTED",
  responseChecksumValidation: "WHEN_SUPPORTED",
  ignoreConfiguredEndpointUrls: true,
  userAgentAppId: "",
  authSchemePreference: [],
  defaultUserAgentProvider: () => Promise.resolve([["panza", "0"]]),
} satisfies S3ClientConfig;

/**
 * Loads the SDK and makes the client.
 *
 * @throws {Error} If the SDK is not installed, or settings are missing.
 */
export async function openClient(options: S3Options): Promise<S3> {
  const sdk = await import("@aws-sdk/client-s3");
  if (isS3Client(options.client)) return { sdk, client: options.client };
  const explicit = options.credentials !== undefined;
  const endpoint = options.endpoint ??
    (explicit ? (variable("AWS_ENDPOINT_URL_S3") ?? variable("AWS_ENDPOINT_URL")) : undefined);
  const region = options.region ?? (explicit ? explicitRegion(endpoint) : undefined);
  const pathStyle = options.forcePathStyle ?? endpoint !== undefined;
  const config: S3ClientConfig = {
    ...(explicit && region !== undefined ? QUIET : {}),
    ...(region === undefined ? {} : { region }),
    ...(endpoint === undefined ? {} : { endpoint }),
    ...(options.credentials === undefined ? {} : { credentials: options.credentials }),
    ...(pathStyle ? { forcePathStyle: true } : {}),
    maxAttempts: ATTEMPTS,
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
  const client = new sdk.S3Client(config);
  if (region !== undefined || endpoint === undefined) return { sdk, client };
  try {
    await client.config.region();
    return { sdk, client };
  } catch {
    client.destroy();
    return {
      sdk,
      client: new sdk.S3Client({ ...config, region: DEFAULT_REGION }),
    };
  }
}

/**
 * The region for explicit credentials; `undefined` leaves it to the profile, where the runtime lets
 * the SDK read that without asking the user.
 */
function explicitRegion(endpoint: string | undefined): string | undefined {
  const known = variable("AWS_REGION") ?? variable("AWS_DEFAULT_REGION");
  if (known !== undefined) return known;
  if (endpoint !== undefined) return DEFAULT_REGION;
  const home = variable("HOME") ?? variable("USERPROFILE");
  const profile = variable("AWS_CONFIG_FILE") ??
    (home === undefined ? undefined : `${home}/.aws/config`);
  if (profile !== undefined && mayAccess("read", profile)) return undefined;
  throw new Error("no region is set");
}
