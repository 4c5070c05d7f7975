/**
 * Settings of the AWS SDK, from options and from the environment.
 *
 * The SDK looks for most of them in variables and in profile files. Where Deno would ask the user
 * for permission, the SDK does not look, and this module reads the variables that may be read.
 *
 * @module
 */

import type { S3ClientConfig } from "@aws-sdk/client-s3";
import { mayAccess, mayReadEnvironment, variable } from "../base/env.ts";
import { S3Failure } from "./errors.ts";
import { isCredentials, type S3Credentials, type S3Options } from "./options.ts";

/** The most concurrent requests of a backend: past the SDK's 50 connections it logs a warning. */
export const MAX_REQUESTS = 50;

/**
 * The SDK's timeouts in milliseconds: for a connection, and for a byte of progress in an answer or
 * a request. A limit for whole requests would cut off large values.
 */
const CONNECTION_MS = 4_000;
const IDLE_MS = 20_000;

/**
 * The last resort, in milliseconds until an answer begins: a large body that the server does not
 * read counts as idle late or never. 32 MiB still pass at 56 KB a second.
 */
const REQUEST_MS = 600_000;

/**
 * The SDK's attempts of each request. Where every fifth answer is 503, its default of 3 lets 1 call
 * in 125 fail, and 5 let 1 in 3,000 fail. They give up after 15 s at most, waits included.
 */
const SDK_ATTEMPTS = 5;

/** A region that servers other than AWS accept. */
const DEFAULT_REGION = "us-east-1";

/** The endpoint that variables name, unless another one turns them off. */
function endpointVariable(): string | undefined {
  if (isOn("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS")) return undefined;
  return variable("AWS_ENDPOINT_URL_S3") ?? variable("AWS_ENDPOINT_URL");
}

/** The attempts of a request, if a variable sets them. */
function attemptsVariable(): number | undefined {
  const attempts = Number(variable("AWS_MAX_ATTEMPTS"));
  return Number.isInteger(attempts) && attempts > 0 ? attempts : undefined;
}

/**
 * The settings of an SDK client: options first, then the environment.
 *
 * @param region The region, instead of that of the options.
 * @returns An `S3ClientConfig`, and the region to use where neither it nor a profile has one.
 */
export function settingsOf(
  options: S3Options,
  region: string | undefined,
): { readonly config: object; readonly fallbackRegion: string | undefined } {
  const { credentials } = options;
  const endpoint = options.endpoint ?? endpointVariable();
  const fallbackRegion = endpoint === undefined ? undefined : DEFAULT_REGION;
  const config = {
    ...foundSettings(region, fallbackRegion),
    ...(region === undefined ? {} : { region }),
    ...(endpoint === undefined ? {} : { endpoint }),
    ...(credentials === undefined ? {} : { credentials: checkedCredentials(credentials) }),
    forcePathStyle: options.forcePathStyle ?? endpoint !== undefined,
    maxAttempts: attemptsVariable() ?? SDK_ATTEMPTS,
    // The SDK's own provider needs a permission in Deno.
    defaultUserAgentProvider: () => Promise.resolve([["panza", "0"]]),
    // The header costs a new connection and a round trip for each body past 2 MiB.
    expectContinueHeader: false,
    requestHandler: {
      connectionTimeout: CONNECTION_MS,
      socketTimeout: IDLE_MS,
      requestTimeout: REQUEST_MS,
      throwOnRequestTimeout: true,
      httpAgent: { keepAlive: true, maxSockets: MAX_REQUESTS },
      httpsAgent: { keepAlive: true, maxSockets: MAX_REQUESTS },
    },
  } satisfies S3ClientConfig;
  return { config, fallbackRegion };
}

/** The given credentials; those of a function are checked, because the SDK signs with anything. */
function checkedCredentials(
  credentials: NonNullable<S3Options["credentials"]>,
): S3Credentials | (() => Promise<S3Credentials>) {
  if (typeof credentials !== "function") return credentials;
  return async () => {
    let given: unknown;
    try {
      given = await credentials();
    } catch {
      // Its error may quote a secret.
      throw new S3Failure("the function in credentials failed", "call it by hand to see why");
    }
    if (isCredentials(given)) return given;
    throw new S3Failure(
      "the function in credentials gave something else",
      "give { accessKeyId, secretAccessKey } with non-empty strings, expiration as a Date",
    );
  };
}

/**
 * The settings for an SDK that must not look for them; `undefined` if the SDK may look.
 *
 * @throws {S3Failure} If the region can only be in a profile, which may not be read.
 */
function foundSettings(
  given: string | undefined,
  fallback: string | undefined,
): S3ClientConfig | undefined {
  if (mayLook()) return undefined;
  const region = given ?? variable("AWS_REGION") ?? variable("AWS_DEFAULT_REGION") ?? fallback;
  if (region === undefined) {
    throw new S3Failure("no region is set", "set region, or AWS_REGION, or allow reading ~/.aws");
  }
  return {
    region,
    ...(variableCredentials() === undefined ? {} : { credentials: readCredentials }),
    retryMode: variable("AWS_RETRY_MODE") ?? "standard",
    defaultsMode: "standard",
    useDualstackEndpoint: isOn("AWS_USE_DUALSTACK_ENDPOINT"),
    useFipsEndpoint: isOn("AWS_USE_FIPS_ENDPOINT"),
    useArnRegion: isOn("AWS_S3_USE_ARN_REGION"),
    disableS3ExpressSessionAuth: isOn("AWS_S3_DISABLE_EXPRESS_SESSION_AUTH"),
    disableClockSkewCorrection: isOn("AWS_DISABLE_CLOCK_SKEW_CORRECTION"),
    requestChecksumCalculation: checksums("AWS_REQUEST_CHECKSUM_CALCULATION"),
    responseChecksumValidation: checksums("AWS_RESPONSE_CHECKSUM_VALIDATION"),
    ignoreConfiguredEndpointUrls: true,
    userAgentAppId: variable("AWS_SDK_UA_APP_ID") ?? "",
    authSchemePreference: variable("AWS_AUTH_SCHEME_PREFERENCE")?.split(",") ?? [],
  };
}

/** Whether the SDK may look for settings without Deno asking the user. */
function mayLook(): boolean {
  if (!mayReadEnvironment()) return false;
  const home = variable("HOME") ?? variable("USERPROFILE") ?? "";
  return mayAccess("read", variable("AWS_CONFIG_FILE") ?? `${home}/.aws/config`) &&
    mayAccess("read", variable("AWS_SHARED_CREDENTIALS_FILE") ?? `${home}/.aws/credentials`);
}

function variableCredentials(): S3Credentials | undefined {
  const accessKeyId = variable("AWS_ACCESS_KEY_ID");
  const secretAccessKey = variable("AWS_SECRET_ACCESS_KEY");
  const sessionToken = variable("AWS_SESSION_TOKEN");
  return accessKeyId === undefined || secretAccessKey === undefined
    ? undefined
    : { accessKeyId, secretAccessKey, ...(sessionToken === undefined ? {} : { sessionToken }) };
}

function readCredentials(): Promise<S3Credentials> {
  const credentials = variableCredentials();
  return credentials === undefined
    ? Promise.reject(new S3Failure("AWS_ACCESS_KEY_ID is gone", "set it again"))
    : Promise.resolve(credentials);
}

function checksums(name: string): "WHEN_REQUIRED" | "WHEN_SUPPORTED" {
  return variable(name)?.toUpperCase() === "WHEN_REQUIRED" ? "WHEN_REQUIRED" : "WHEN_SUPPORTED";
}

function isOn(name: string): boolean {
  return variable(name)?.toLowerCase() === "true";
}
