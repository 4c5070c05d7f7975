/**
 * What an error of S3, of the SDK or of the network means, in one line.
 *
 * The messages of S3 are left out: they may repeat the name of an object, and so a user's key.
 *
 * @module
 */

/** One line for the user. */
export interface Explanation {
  /** What happened. */
  readonly reason: string;
  /** The way out, where it is known. */
  readonly advice?: string;
}

/** The members of an error that tell anything. */
interface Facts {
  readonly name: string;
  readonly message: string;
  readonly code: string;
  readonly status: number | undefined;
  readonly attempts: number | undefined;
  readonly region: string | undefined;
}

function member(value: unknown, name: string): unknown {
  return typeof value === "object" && value !== null ? Reflect.get(value, name) : undefined;
}

function textMember(value: unknown, name: string): string | undefined {
  const text = member(value, name);
  return typeof text === "string" ? text : undefined;
}

function numberMember(value: unknown, name: string): number | undefined {
  const number = member(value, name);
  return typeof number === "number" ? number : undefined;
}

function factsOf(error: unknown): Facts {
  const metadata = member(error, "$metadata");
  const headers = member(member(error, "$response"), "headers");
  return {
    name: textMember(error, "name") ?? "",
    message: textMember(error, "message") ?? String(error),
    code: textMember(error, "Code") ??
      textMember(error, "code") ??
      textMember(member(error, "cause"), "code") ??
      "",
    status: numberMember(metadata, "httpStatusCode"),
    attempts: numberMember(metadata, "attempts"),
    region: textMember(headers, "x-amz-bucket-region") ?? textMember(error, "Region"),
  };
}

/** Whether the bucket itself is missing: decided by status and code, as both are needed. */
export function isBucketMissing(error: unknown): boolean {
  const { name, code, status } = factsOf(error);
  return status === 404 && (name === "NoSuchBucket" || code === "NoSuchBucket");
}

/**
 * Whether an object that was to be read is missing. A 404 without this code comes from something
 * that is no S3 server, or from a wrong path in front of one, and is no miss.
 */
export function isObjectMissing(error: unknown): boolean {
  const { name, code, status } = factsOf(error);
  return status === 404 && (name === "NoSuchKey" || code === "NoSuchKey");
}

/** The same for an answer without a body, to HEAD, which has a status and no code. */
export function isNotFound(error: unknown): boolean {
  return factsOf(error).status === 404;
}

/** Whether the bucket is there after all: made by this account a moment ago. */
export function isBucketOurs(error: unknown): boolean {
  const { name, code } = factsOf(error);
  return [name, code].includes("BucketAlreadyOwnedByYou");
}

const WRONG_CREDENTIALS = new Set([
  "InvalidAccessKeyId",
  "SignatureDoesNotMatch",
  "InvalidToken",
  "InvalidSecurity",
  "ExpiredToken",
  "TokenRefreshRequired",
  "CredentialsProviderError",
]);

const OTHER_REGION = new Set([
  "PermanentRedirect",
  "TemporaryRedirect",
  "AuthorizationHeaderMalformed",
  "IllegalLocationConstraintException",
]);

/** Codes of Node, with which the other runtimes agree, for a connection that did not come about. */
const UNREACHABLE = new Set([
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
]);

/**
 * Explains an error.
 *
 * @param error What the SDK threw.
 * @param where The host that was asked, for a connection that failed.
 */
export function explain(error: unknown, where: string): Explanation {
  const facts = factsOf(error);
  const { name, code, status, message } = facts;
  const is = (set: ReadonlySet<string>) => set.has(name) || set.has(code);
  const told = label(facts);
  const tried = facts.attempts !== undefined && facts.attempts > 1
    ? ` after ${facts.attempts} attempts`
    : "";
  if (is(WRONG_CREDENTIALS)) {
    return {
      reason: `the credentials are missing, wrong or expired (${told})`,
      advice: "check access key, secret and session token",
    };
  }
  if (name === "RequestTimeTooSkewed" || code === "RequestTimeTooSkewed") {
    return { reason: `the clock of this machine is wrong (${told})` };
  }
  if (is(OTHER_REGION) || status === 301 || status === 307) {
    return {
      reason: `the bucket is in another region (${told})`,
      advice: facts.region === undefined ? "set region" : `set region: "${facts.region}"`,
    };
  }
  if (status === 401 || status === 403) {
    return {
      reason: `access denied (${told})`,
      advice: "allow s3:GetObject, s3:PutObject, s3:DeleteObject and s3:ListBucket; without " +
        "s3:ListBucket a missing object reads as denied too",
    };
  }
  if (status === 429 || status === 503) {
    return { reason: `the server throttles (${told})${tried}` };
  }
  if (status !== undefined && status >= 500) {
    return { reason: `the server failed (${told})${tried}` };
  }
  if (status === 404) {
    return {
      reason: `not found (${told})`,
      advice: "check that the endpoint is an S3 server",
    };
  }
  if (name === "TimeoutError" || is(UNREACHABLE)) {
    return {
      reason: `no connection to ${where}, or it broke (${told})${tried}`,
      advice: "check endpoint and network",
    };
  }
  if (
    code === "ERR_MODULE_NOT_FOUND" ||
    code === "MODULE_NOT_FOUND" ||
    /@aws-sdk\/client-s3/.test(message)
  ) {
    return {
      reason: "the AWS SDK is not installed",
      advice: "npm install @aws-sdk/client-s3",
    };
  }
  if (/region is (missing|set)/i.test(message)) {
    return {
      reason: "no region is set",
      advice: "set region, or AWS_REGION",
    };
  }
  if (status !== undefined) return { reason: `S3 answered ${told}` };
  return { reason: message.split("\n", 1)[0] ?? message };
}

/** Status and code, as far as they are known. */
function label({ name, code, status }: Facts): string {
  const parts = [
    status === undefined ? "" : String(status),
    /^(Error|UnknownError|Unknown|)$/.test(name) ? code : name,
  ].filter((part) => part !== "");
  const text = parts.join(" ");
  return text === "" ? "no code" : text;
}
