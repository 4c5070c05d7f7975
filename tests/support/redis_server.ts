/**
 * Real Redis servers on free loopback ports, with their data in temporary folders: Debian's
 * `redis-server`, or the program that `PANZA_TEST_REDIS_SERVER` names.
 *
 * @module
 */

import { type ChildProcess, spawn } from "node:child_process";
import { createServer } from "node:net";
import process from "node:process";
import { createClient } from "redis";
import { temporaryFolder } from "./temp.ts";

/** A server that tests may break. */
export interface RedisServer {
  /** The address, such as `127.0.0.1:4711`. */
  readonly host: string;
  /** The URL, with a user and a password if given. */
  url(user?: string): string;
  /** Sends a command as its administrator. */
  send(...command: string[]): Promise<unknown>;
  /** Ends it at once (SIGKILL); its data is lost. */
  kill(): Promise<void>;
  /** Starts it again, empty, on the same port. */
  restart(): Promise<void>;
  /** Stops or resumes the process. */
  signal(name: "SIGSTOP" | "SIGCONT"): void;
}

const running = new Set<ChildProcess>();

function killAll(): void {
  for (const child of running) child.kill("SIGKILL");
}

process.on("exit", killAll);
if ("Deno" in globalThis) addEventListener("unload", killAll);

/** A free port that leaves room for the cluster's port, which is 10,000 higher. */
async function freePort(): Promise<number> {
  const probe = createServer();
  await new Promise<void>((resolve) => probe.listen(0, "127.0.0.1", resolve));
  const address = probe.address();
  await new Promise((resolve) => probe.close(resolve));
  if (typeof address !== "object" || address === null) throw new Error("no port");
  return address.port + 10_000 < 65_536 ? address.port : await freePort();
}

async function launch(
  port: number,
  folder: string,
  flags: readonly string[],
): Promise<ChildProcess> {
  const program = process.env["PANZA_TEST_REDIS_SERVER"] ?? "redis-server";
  const own = ["--port", `${port}`, "--bind", "127.0.0.1", "--dir", folder];
  const child = spawn(program, [...own, "--save", "", "--appendonly", "no", ...flags], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  running.add(child);
  child.once("close", () => running.delete(child));
  let said = "";
  await new Promise<void>((resolve, reject) => {
    child.once("error", () => reject(new Error(`${program} cannot be started: install it`)));
    child.once("close", () => reject(new Error(`${program} has ended: ${said}`)));
    child.stdout?.setEncoding("utf8").on("data", (text: string) => {
      said += text;
      if (said.includes("eady to accept connections")) resolve();
    });
  });
  child.unref();
  return child;
}

/** Starts a server, which does not keep this process alive and ends with it. */
export async function startRedis(...flags: string[]): Promise<RedisServer> {
  const port = await freePort();
  const folder = temporaryFolder();
  let child = await launch(port, folder, flags);
  const host = `127.0.0.1:${port}`;
  return {
    host,
    url: (user) => `redis://${user === undefined ? "" : `${user}@`}${host}`,
    async send(...command) {
      const client = createClient({ url: `redis://${host}` });
      client.on("error", () => {});
      await client.connect();
      try {
        return await client.sendCommand(command);
      } finally {
        client.destroy();
      }
    },
    async kill() {
      const ended = new Promise((resolve) => child.once("close", resolve));
      child.ref();
      child.kill("SIGKILL");
      await ended;
    },
    async restart() {
      child = await launch(port, folder, flags);
    },
    // Not `child.kill`: Deno then counts the child as ended.
    signal: (name) => void process.kill(child.pid ?? NaN, name),
  };
}
