/**
 * The connection to Redis: its client is loaded on first use, and replaced when it breaks.
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

/** The used part of a client that is made here. */
interface Client extends RedisClientLike {
  readonly isReady: boolean;
  connect(): Promise<unknown>;
  close(): Promise<void>;
  destroy(): void;
  ref(): void;
  unref(): void;
}

/** A connection that is made here. */
interface Open {
  readonly client: Client;
  /** Commands without an answer. */
  pending: number;
}

/** Milliseconds, in an object, so that tests can shorten them. */
export const TIMES = {
  /** The longest wait for a connection. */
  connectMs: 4_000,
  /** The time that a failure to connect also rejects the commands that follow. */
  failedMs: 200,
  /** The longest silence while an answer is due: a host may be gone without a sign. */
  silentMs: 20_000,
};

/** `$`, the RESP type of strings. */
const BLOB_STRING = 36;

/** One server; commands fail at once while it cannot be reached. */
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
   * Sends a command. The commands of one turn share a packet, and are answered in their order.
   *
   * @param key Its first key, by which a cluster finds the node.
   * @returns The answer, with strings as bytes.
   */
  async send(key: string, command: readonly Part[]): Promise<unknown> {
    const server = this.#server;
    if (typeof server !== "string") {
      if (server.isOpen) return await request(server, key, command);
      throw new RedisFailure("the client is not connected", "await its connect()");
    }
    const open = this.#open?.client.isReady ? this.#open : await this.#reach(server);
    // Only a command keeps the process alive, not an open socket.
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

  /** Connects, once for all commands that ask meanwhile. */
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

  /** Closes a connection after its last answer; the next command makes another one. */
  #leave(open: Open): void {
    if (this.#open !== open) return;
    this.#open = undefined;
    open.client.close().catch(() => {});
  }

  /** Breaks off a connection that was silent for `silentMs` while an answer was due. */
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

/** Sends a command through a client; that of a cluster takes further arguments. */
async function request(
  client: RedisClientLike,
  key: string,
  command: readonly Part[],
): Promise<unknown> {
  const options = { typeMapping: { [BLOB_STRING]: builtin("node:buffer")?.Buffer } };
  const isCluster = "slots" in client;
  // `false`, not read-only: a replica may lag behind.
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
    // Every server and proxy speaks version 2.
    RESP: 2,
    disableClientInfo: true,
    maintNotifications: "disabled",
    disableOfflineQueue: true,
    socket: { connectTimeout: TIMES.connectMs, reconnectStrategy: false },
  });
  // Each command that the error breaks rejects as well.
  client.on("error", () => {});
  await client.connect();
  client.unref();
  return client;
}
