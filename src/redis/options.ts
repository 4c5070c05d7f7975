/**
 * The server of a backend, as a URL or a client, and its options.
 *
 * @module
 */

import { check, checkValue, type Rule } from "../base/check.ts";

/** A client, a pool or a cluster of the npm package `redis`, connected by its owner. */
export interface RedisClientLike {
  /** Whether `connect()` was called and the client is not closed since. */
  readonly isOpen: boolean;
  /** Sends a command as it is. */
  sendCommand(...command: never[]): unknown;
}

/** Options of a Redis backend. */
export interface RedisOptions {
  /**
   * The beginning of every name in Redis, in braces: 1 to 200 characters without braces and
   * control characters. Another prefix is another cache. Unset: `panza`.
   */
  readonly prefix?: string;
}

const SERVER: Rule<string | RedisClientLike> = {
  must: 'a URL such as "redis://localhost:6379/0" or "rediss://user:password@host", or a ' +
    "client, a pool or a cluster of the npm package redis",
  // The likeliest string in the wrong place is a URL with a password.
  isSecret: true,
  read: (value) =>
    (typeof value === "string" && isRedisURL(value)) || isClient(value) ? value : undefined,
};

const PREFIX: Rule<string> = {
  must: "1 to 200 characters without braces and control characters",
  read: (value) =>
    // deno-lint-ignore no-control-regex -- what is refused
    typeof value === "string" && /^[^{}\0-\x1f\x7f]{1,200}$/.test(value) && value.isWellFormed()
      ? value
      : undefined,
};

/** The checked server and options of a backend. */
export interface Checked {
  readonly server: string | RedisClientLike;
  readonly prefix: string;
  /** Host, port and database, where a URL names them. */
  readonly place: string | undefined;
}

/**
 * Checks the arguments of a backend.
 *
 * @throws {TypeError} If the server is neither a URL nor a client, or an option is wrong.
 */
export function checkOptions(action: string, server: unknown, options: RedisOptions): Checked {
  const { prefix = "panza" } = check(action, options, { prefix: PREFIX });
  const checked = checkValue(action, "server", server, SERVER);
  return {
    server: checked,
    prefix,
    place: typeof checked === "string" ? placeOf(checked) : undefined,
  };
}

function placeOf(text: string): string {
  const { hostname, port, pathname } = new URL(text);
  return `${hostname || "localhost"}:${port || "6379"}/${Number(pathname.slice(1))}`;
}

function isRedisURL(text: string): boolean {
  if (!URL.canParse(text)) return false;
  const { protocol, pathname, search, hash } = new URL(text);
  return /^rediss?:$/.test(protocol) && /^\/?\d*$/.test(pathname) && search + hash === "";
}

/** Whether a value is a client; one of Sentinel sends its commands in another way. */
function isClient(value: unknown): value is RedisClientLike {
  return typeof value === "object" && value !== null && "isOpen" in value &&
    typeof value.isOpen === "boolean" && "sendCommand" in value &&
    typeof value.sendCommand === "function" && !("getSentinelNode" in value);
}
