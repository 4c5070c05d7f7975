/**
 * The reason why S3, the SDK or the network failed, in one line for the user.
 *
 * Nothing of the SDK's own errors is kept. S3 repeats the name of an object, and so a user's key,
 * and the signed request with its session token; the SDK adds all of that to its errors.
 *
 * @module
 */

import { BackendError, BucketNotFoundError, PanzaError } from "../base/errors.ts";
import { isRegion } from "./options.ts";

/** An answer whose body did not arrive as announced. */
export class BrokenBodyError extends Error {}

/** The bucket was missing and could not be created; the cause says why. */
export class BucketCreationError extends Error {}

/** A failure that this library found itself: its message is safe to show. */
export class S3Failure extends Error {
  /** `advice` is the way out. */
  constructor(reason: string, readonly advice: string) {
    super(reason);
  }
}

/**
 * The error for the user: the failed operation, the reason and the way out.
 *
 * @param description The name of the backend in messages.
 */
export function failure(
  error: unknown,
  description: string,
  operation: string,
  bucket: string,
  host: string,
): PanzaError {
  if (error instanceof PanzaError) return error;
  const isCreation = error instanceof BucketCreationError;
  const origin = isCreation || error instanceof BrokenBodyError ? error.cause : error;
  const facts = factsOf(origin);
  const { status, code, requestId } = facts;
  const { message: reason, advice } = origin instanceof S3Failure ? origin : explain(facts, host);
  const cause = Object.assign(new Error(reason), { status, code, requestId });
  if (isBucketMissing(origin)) {
    return new BucketNotFoundError(description, operation, bucket, cause);
  }
  return new BackendError(description, isCreation ? "create the bucket" : operation, cause, advice);
}

/** The informative members of an error. */
interface Facts {
  readonly name: string;
  readonly message: string;
  readonly code: string;
  readonly status: number | undefined;
  readonly attempts: number | undefined;
  readonly requestId: string | undefined;
  readonly region: string | undefined;
}

function member(value: unknown, ...names: readonly string[]): unknown {
  let found = value;
  for (const name of names) {
    if (typeof found !== "object" || found === null) return undefined;
    found = Reflect.get(found, name);
  }
  return found;
}

function textMember(value: unknown, ...names: readonly string[]): string | undefined {
  const text = member(value, ...names);
  return typeof text === "string" ? text : undefined;
}

function numberMember(value: unknown, ...names: readonly string[]): number | undefined {
  const number = member(value, ...names);
  return typeof number === "number" ? number : undefined;
}

/** A text if it is one word that a message may show; anything else may hold a secret. */
function word(text: string | undefined): string {
  return text !== undefined && /^[\w.-]{1,60}$/.test(text) ? text : "";
}

function factsOf(error: unknown): Facts {
  const region = textMember(error, "$response", "headers", "x-amz-bucket-region") ??
    textMember(error, "Region");
  return {
    name: word(textMember(error, "name")),
    message: textMember(error, "message") ?? "",
    code: word(
      textMember(error, "Code") ?? textMember(error, "code") ?? textMember(error, "cause", "code"),
    ),
    status: numberMember(error, "$metadata", "httpStatusCode"),
    attempts: numberMember(error, "$metadata", "attempts"),
    requestId: word(textMember(error, "$metadata", "requestId")) || undefined,
    region: isRegion(region) ? region : undefined,
  };
}

function is({ name, code }: Facts, codes: readonly string[]): boolean {
  return codes.includes(name) || codes.includes(code);
}

/** The codes of refused credentials; newer credentials may be accepted. */
export const WRONG_CREDENTIALS: readonly string[] = [
  "InvalidAccessKeyId",
  "SignatureDoesNotMatch",
  "InvalidToken",
  "InvalidSecurity",
  "ExpiredToken",
  "ExpiredTokenException",
  "TokenRefreshRequired",
  "CredentialsProviderError",
];

const OTHER_REGION = [
  "PermanentRedirect",
  "TemporaryRedirect",
  "AuthorizationHeaderMalformed",
  "IllegalLocationConstraintException",
];

/** The codes with which servers refuse the checksums that the SDK adds to each request. */
const REFUSED_CHECKSUM = [
  "NotImplemented",
  "InvalidArgument",
  "InvalidRequest",
  "InvalidDigest",
  "BadDigest",
  "MissingContentLength",
];

/** The codes of Node and of the other runtimes for a connection that failed. */
const UNREACHABLE = [
  "TimeoutError",
  "ECONNREFUSED",
  "ECONNRESET",
  "ECONNABORTED",
  "EPIPE",
  "EHOSTUNREACH",
  "ENETUNREACH",
  "ENOTFOUND",
  "EAI_AGAIN",
  "ETIMEDOUT",
  "ConnectionRefused",
  "ConnectionClosed",
  "FailedToOpenSocket",
];

const NOT_INSTALLED = ["ERR_MODULE_NOT_FOUND", "MODULE_NOT_FOUND"];

/** Whether an error has one of these names or codes. */
export function hasCode(error: unknown, ...codes: readonly string[]): boolean {
  return is(factsOf(error), codes);
}

/** Whether the bucket itself is missing: status and code must both say so. */
export function isBucketMissing(error: unknown): boolean {
  return isNotFound(error) && hasCode(error, "NoSuchBucket");
}

/**
 * Whether the object of a read is missing. A 404 without this code is not a miss: it comes from
 * something that is not an S3 server, or from a wrong path in front of one.
 */
export function isObjectMissing(error: unknown): boolean {
  return isNotFound(error) && hasCode(error, "NoSuchKey");
}

/** The same for an answer to HEAD, which has no body and so a status but no code. */
export function isNotFound(error: unknown): boolean {
  return factsOf(error).status === 404;
}

/** The region of the bucket, if an answer names it because the request went to another one. */
export function otherRegion(error: unknown): string | undefined {
  const facts = factsOf(error);
  // An answer to HEAD has a status and headers, but no code.
  const isElsewhere = is(facts, OTHER_REGION) || [301, 307, 400].includes(facts.status ?? 0);
  return isElsewhere ? facts.region : undefined;
}

/**
 * The extent of a server's refusal of a bulk delete: this way of making one, or all bulk deletes;
 * `undefined` if the error says neither.
 */
export function bulkDeleteRefusal(error: unknown): "way" | "all" | undefined {
  const facts = factsOf(error);
  const { status = 0 } = facts;
  if (is(facts, [...WRONG_CREDENTIALS, ...OTHER_REGION, "NoSuchBucket"])) return undefined;
  if ([404, 405, 501].includes(status)) return "all";
  return [400, 411].includes(status) ? "way" : undefined;
}

/** The reason and advice for an error of the SDK, whose words are used but never its sentences. */
function explain(facts: Facts, host: string): { message: string; advice?: string } {
  const { name, code, status, attempts = 1, region } = facts;
  const label = [status ?? "", /^(Error|UnknownError|Unknown|)$/.test(name) ? code : name]
    .filter((part) => part !== "").join(" ") || "no code";
  const tried = attempts > 1 ? ` after ${attempts} attempts` : "";
  if (is(facts, WRONG_CREDENTIALS)) {
    return {
      message: `the credentials are missing, wrong or expired (${label})`,
      advice: "check access key, secret and session token",
    };
  }
  if (is(facts, ["RequestTimeTooSkewed"])) {
    return { message: `the clock of this machine is wrong (${label})`, advice: "set it" };
  }
  if (is(facts, OTHER_REGION) || status === 301 || status === 307) {
    return {
      message: `the bucket is in another region or behind another endpoint (${label})`,
      advice: region === undefined ? "set region or endpoint" : `set region: "${region}"`,
    };
  }
  if (status === 401 || status === 403) {
    return {
      message: `access denied (${label})`,
      advice: "allow s3:GetObject, s3:PutObject, s3:DeleteObject and s3:ListBucket (without it a " +
        "missing object reads as denied too), and set serverSideEncryption if the bucket demands it",
    };
  }
  if (status === 501 || (status !== undefined && status < 500 && is(facts, REFUSED_CHECKSUM))) {
    return {
      message: `S3 answered ${label}${tried}`,
      advice: "if the server does not know the checksums of the AWS SDK, set the environment " +
        "variable AWS_REQUEST_CHECKSUM_CALCULATION=WHEN_REQUIRED",
    };
  }
  if (status === 429 || status === 503) {
    return { message: `the server throttles (${label})${tried}`, advice: "lower the concurrency" };
  }
  if (status !== undefined && status >= 500) {
    return { message: `the server failed (${label})${tried}`, advice: "try again later" };
  }
  if (status === 404) {
    return { message: `not found (${label})`, advice: "check that the endpoint is an S3 server" };
  }
  if (is(facts, UNREACHABLE)) {
    return {
      message: `no connection to ${host}, or it broke (${label})${tried}`,
      advice: "check endpoint and network",
    };
  }
  if (is(facts, NOT_INSTALLED) || /@aws-sdk\/client-s3/.test(facts.message)) {
    return {
      message: "the AWS SDK is not installed",
      advice: "npm install @aws-sdk/client-s3",
    };
  }
  if (is(facts, ["NotCapable", "PermissionDenied", "EPERM"])) {
    return {
      message: `Deno does not allow it (${label})`,
      advice: "run with --allow-net, and with --allow-env or --ignore-env",
    };
  }
  if (/region is (missing|set)/i.test(facts.message)) {
    return { message: "no region is set", advice: "set region, or AWS_REGION" };
  }
  if (facts.message.startsWith("Checksum mismatch")) {
    return {
      message: "the body does not match the checksum that the server sent with it",
      advice: "if something between changes it on purpose, set the environment variable " +
        "AWS_RESPONSE_CHECKSUM_VALIDATION=WHEN_REQUIRED",
    };
  }
  return status === undefined || status < 300
    ? { message: `an unexpected error of the AWS SDK (${label})`, advice: "check the endpoint" }
    : { message: `S3 answered ${label}`, advice: "check that the endpoint is an S3 server" };
}
