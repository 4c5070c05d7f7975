/**
 * The connection to Redis: its client is loaded on first use, and made anew when it breaks.
 *
 * @module
 */

import { mayConnect } from "../base/env.ts";
import { builtin } from "../base/runtime.ts";
import { inBackground } from "../base/turn.ts";
import { codeOf, RedisFailure } from "./errors.ts";
import type { RedisClientLike } from "./options.ts";

/** A part of a command. */
export type Part = string | Uint8Array;

/** The client of our own, as far as it is used. */
interface Client extends RedisClientLike {
  readonly isReady: boolean;
  connect(): Promise<unknown>;
  close(): Promise<void>;
  destroy(): void;
  ref(): void;
  unref(): void;
}

/** A connection of our own. */
interface Open {
  readonly client: Client;
  /** Commands without an answer. */
  pending: number;
}

/** Milliseconds, in an object, so that tests can shorten them. */
export const TIMES = {
  /** How long a connection may take. */
  connectMs: 4_000,
  /** How long a failure to connect stands for those that follow. */
  failedMs: 200,
  /** How long no answer may come while some is waited for: the host may be gone without a word. */
  silentMs: 20_000,
};

/** `$`, by which RESP knows strings. */
const BLOB_STRING = 36;

/** One server, whose commands fail at once while it cannot be reached. */
export class Connection {
  readonly #server: string | RedisClientLike;
  #open: Open | undefined;
  #opening: Promise<Open> | undefined;
  #failed: { readonly error: unknown; readonly at: number } | undefined;
  /** Whether an answer has come since the last look. */
  #hasMoved = false;
  #stopWatching: (() => void) | undefined;

  /** Opens nothing. */
  constructor(server: string | RedisClientLike) {
    this.#server = server;
  }

  /**
   * Sends a command; those of one turn share a packet, and are answered in their order.
   *
   * @param key Its first key, by which a cluster finds the node.
   * @param command The command.
   * @returns The answer, its strings as bytes.
   */
  async send(key: string, command: readonly Part[]): Promise<unknown> {
    const server = this.#server;
    if (typeof server !== "string") {
      if (server.isOpen) return await request(server, key, command);
      throw new RedisFailure("the client is not connected", "await its connect()");
    }
    const open = this.#open?.client.isReady ? this.#open : await this.#reach(server);
    // An open socket alone does not keep the process alive; a command does.
    if (open.pending++ === 0) open.client.ref();
    this.#watch(open);
    try {
      return await request(open.client, key, command);
    } catch (error) {
      // After a failover the name leads to another server.
      if (codeOf(error) === "READONLY") this.#leave(open);
      throw error;
    } finally {
      this.#hasMoved = true;
      if (--open.pending === 0) open.client.unref();
    }
  }

  /** Closes the connection, unless it is the user's. */
  async close(): Promise<void> {
    await this.#opening?.catch(() => {});
    this.#stopWatching?.();
    this.#open?.client.destroy();
    this.#open = undefined;
  }

  /** A connection for all that ask while it is being made. */
  #reach(url: string): Promise<Open> {
    const failed = this.#failed;
    if (failed !== undefined && performance.now() - failed.at < TIMES.failedMs) {
      return Promise.reject(failed.error);
    }
    this.#opening ??= connect(url).then((client) => {
      this.#failed = undefined;
      return (this.#open = { client, pending: 0 });
    }, (error) => {
      this.#failed = { error, at: performance.now() };
      throw error;
    }).finally(() => (this.#opening = undefined));
    return this.#opening;
  }

  /** Lets a connection end with its last answer; the next command makes another one. */
  #leave(open: Open): void {
    if (this.#open !== open) return;
    this.#open = undefined;
    open.client.close().catch(() => {});
  }

  /** Breaks a connection off that has been silent for long while answers were waited for. */
  #watch(open: Open): void {
    if (this.#stopWatching !== undefined) return;
    this.#hasMoved = false;
    this.#stopWatching = inBackground(() => {
      this.#stopWatching = undefined;
      if (open.pending === 0) return;
      if (this.#hasMoved) this.#watch(open);
      else open.client.destroy();
    }, TIMES.silentMs);
  }
}

/** Sends a command through a client, which a cluster wants to know more of. */
async function request(
  client: RedisClientLike,
  key: string,
  command: readonly Part[],
): Promise<unknown> {
  const options = { typeMapping: { [BLOB_STRING]: builtin("node:buffer")?.Buffer } };
  const isCluster = "slots" in client;
  // Any node that has the key might be a replica that lags behind.
  const parts = isCluster ? [key, false, command, options] : [command, options];
  return await Reflect.apply(client.sendCommand, client, parts);
}

async function connect(url: string): Promise<Client> {
  const { hostname, port } = new URL(url);
  const host = `${hostname || "localhost"}:${port || "6379"}`;
  if (!mayConnect(host)) {
    throw new RedisFailure("Deno does not allow it", `run with --allow-net=${host}`);
  }
  // A bundler leaves an import with a handler alone where the client is not installed.
  const { createClient } = await import("redis").catch((error) => {
    throw error;
  });
  const client = createClient({
    url,
    // What every server and proxy speaks.
    RESP: 2,
    disableClientInfo: true,
    maintNotifications: "disabled",
    disableOfflineQueue: true,
    socket: { connectTimeout: TIMES.connectMs, reconnectStrategy: false },
  });
  // Each command that it breaks rejects as well.
  client.on("error", () => {});
  await client.connect();
  client.unref();
  return client;
}
