/**
 * Settings of the AWS SDK that come from the environment.
 *
 * The SDK looks for each of them in variables and in profile files. Where Deno would stop and ask
 * the user for the permission to do so, this module reads the variables that may be read, and the
 * SDK does not look.
 *
 * @module
 */

import type { S3ClientConfig } from "@aws-sdk/client-s3";
import { mayAccess, mayReadEnvironment, variable } from "../base/env.ts";
import { S3Failure } from "./errors.ts";
import type { S3Credentials, S3Options } from "./options.ts";

/** What servers other than AWS are content with. */
export const DEFAULT_REGION = "us-east-1";

/** The endpoint that variables name, if they count. */
export function endpointVariable(): string | undefined {
  if (isOn("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS")) return undefined;
  return variable("AWS_ENDPOINT_URL_S3") ?? variable("AWS_ENDPOINT_URL");
}

/** How often a request is sent at most, if a variable says so. */
export function attemptsVariable(): number | undefined {
  const attempts = Number(variable("AWS_MAX_ATTEMPTS"));
  return Number.isInteger(attempts) && attempts > 0 ? attempts : undefined;
}

/**
 * The settings for an SDK that must not look for them; `undefined` if it may.
 *
 * @throws {S3Failure} If what is missing can only be in a profile, which may not be read.
 */
export function foundSettings(
  options: S3Options,
  endpoint: string | undefined,
): object | undefined {
  if (mayLook()) return undefined;
  const region = options.region ?? variable("AWS_REGION") ?? variable("AWS_DEFAULT_REGION") ??
    (endpoint === undefined ? undefined : DEFAULT_REGION);
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
  } satisfies S3ClientConfig;
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
