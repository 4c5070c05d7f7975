/**
 * The reason why Redis, its client or the network failed, in one line for the user.
 *
 * Only one word of their errors is kept: they may quote a URL with its password, a command with its
 * keys, or a script.
 *
 * @module
 */

import { BackendError, PanzaError } from "../base/errors.ts";

/** A failure that this library found itself: its message is safe to show. */
export class RedisFailure extends Error {
  /** `advice` is the way out. */
  constructor(reason: string, readonly advice: string) {
    super(reason);
  }
}

/** The error for the user: the failed operation, the reason and the way out. */
export function failure(error: unknown, description: string, operation: string): PanzaError {
  if (error instanceof PanzaError) return error;
  const [reason, advice] = error instanceof RedisFailure
    ? [error.message, error.advice]
    : explain(error);
  const cause = Object.assign(new Error(reason), { code: codeOf(error) });
  return new BackendError(description, operation, cause, advice);
}

/** Replies of Redis by their first word, with the way out. */
const REPLIES: Readonly<Record<string, readonly [reason: string, advice?: string]>> = {
  OOM: [
    "its memory is full",
    "raise maxmemory, prune the cache, or set maxmemory-policy to allkeys-lru",
  ],
  READONLY: ["it is a replica, which takes no writes", "connect to the primary"],
  MISCONF: ["it cannot save its data and refuses writes", "see its log and its disk"],
  LOADING: ["it is still loading its data", "try again later"],
  BUSY: ["a script keeps it busy", "try again later"],
  MASTERDOWN: ["its primary is down", "try again later"],
  CLUSTERDOWN: ["the cluster is down", "try again later"],
  MOVED: ["it is a node of a cluster", "pass a client made by createCluster of redis"],
  NOAUTH: ["it wants a password", "give the URL a user and a password"],
  WRONGPASS: ["user or password are wrong", "check those of the URL"],
  NOPERM: [
    "access denied",
    "allow the user eval, zrangebylex, getrange, hget, hscan and what they call: +@all ~{prefix}*",
  ],
  WRONGTYPE: ["something else has a name of this cache", "use another prefix"],
};

/** Codes of Node, and classes of the client, for a connection that failed or broke. */
const UNREACHABLE =
  /^(E[A-Z]+|ERR_TLS_\w+|ConnectionRefused|FailedToOpenSocket|\w*(Client|Socket|Timeout)\w*Error)$/;

const NOT_INSTALLED = ["ERR_MODULE_NOT_FOUND", "MODULE_NOT_FOUND"];

/** The word that names a failure: the first of a reply, a code of Node, or a class. */
export function codeOf(error: unknown): string {
  if (!(error instanceof Error)) return "no code";
  const [, reply] = /(?:^|@user_script: ?\d+: -)([A-Z]{2,20}) /.exec(error.message) ?? [];
  if (reply !== undefined && reply !== "ERR") return reply;
  const { code, errors } = error as { code?: unknown; errors?: unknown };
  if (typeof code === "string" && /^\w{1,40}$/.test(code)) return code;
  // Node tries several addresses of one name, and wraps their errors without a code.
  if (Array.isArray(errors) && errors.length > 0) return codeOf(errors[0]);
  return /^\w{1,60}$/.test(error.constructor.name) ? error.constructor.name : "no code";
}

function explain(error: unknown): readonly [reason: string, advice: string | undefined] {
  const code = codeOf(error);
  const reply = Object.hasOwn(REPLIES, code) ? REPLIES[code] : undefined;
  if (reply !== undefined) return [`${reply[0]} (${code})`, reply[1]];
  const message = error instanceof Error ? error.message : "";
  if (NOT_INSTALLED.includes(code) || /(package|module|resolve) .*\bredis\b/i.test(message)) {
    return ["its client is not installed", "npm install redis"];
  }
  if (UNREACHABLE.test(code)) {
    return [`no connection, or it broke (${code})`, "check that it runs, and the address"];
  }
  return [`an unexpected error of its client (${code})`, undefined];
}
