/**
 * A proxy between a client and an S3 server that counts requests and does harm on demand.
 *
 * It passes on method, path, Host and headers unchanged, so signatures stay valid.
 *
 * @module
 */

import { Buffer } from "node:buffer";
import http from "node:http";
import type { AddressInfo } from "node:net";

/** The harm to one request. */
export type Fault =
  /** Answers without the server, with an S3 error unless a body is given. */
  | {
    kind: "answer";
    status: number;
    code?: string;
    body?: string;
    headers?: Record<string, string>;
  }
  /** Ends the connection: before the server sees the request, or after it has answered. */
  | { kind: "reset"; when: "before" | "after" }
  /** Waits before the request goes on. */
  | { kind: "delay"; until: Promise<unknown> }
  /** Ends the body of the answer early; a silent cut changes the length to fit. */
  | { kind: "cut"; at: number; silent: boolean }
  /** Changes one bit of a body. */
  | { kind: "flip"; side: "request" | "response" };

/** A request that the proxy saw. */
export interface Seen {
  /** The operation by its SDK name. */
  readonly operation: string;
  readonly path: string;
  readonly query: URLSearchParams;
  readonly headers: http.IncomingHttpHeaders;
}

/** A running proxy. */
export interface Chaos {
  readonly url: string;
  /** Requests since the last `forget`, in order of arrival. */
  readonly seen: readonly Seen[];
  /** The most requests that were under way at once. */
  readonly most: number;
  /** Chooses the harm to each request. */
  fault: (request: Seen) => Fault | undefined;
  /** The number of requests of each operation since the last call of this. */
  counts(): Record<string, number>;
  close(): Promise<void>;
}

function operationOf(method: string, path: string, query: URLSearchParams) {
  if (method === "POST") {
    if (query.has("delete")) return "DeleteObjects";
    return query.has("uploads") ? "CreateMultipartUpload" : "CompleteMultipartUpload";
  }
  if (query.has("uploadId")) {
    return method === "PUT" ? "UploadPart" : "AbortMultipartUpload";
  }
  const verb = method.charAt(0) + method.slice(1).toLowerCase();
  if (/^\/[^/]+\/./.test(path)) return `${verb}Object`;
  if (method === "GET") return "ListObjectsV2";
  return method === "PUT" ? "CreateBucket" : `${verb}Bucket`;
}

/** Starts a proxy on loopback. */
export async function startChaos(upstream: string): Promise<Chaos> {
  const { hostname, port } = new URL(upstream);
  const agent = new http.Agent({ keepAlive: true });
  const seen: Seen[] = [];
  const running = new Set<Promise<void>>();
  const chaos = {
    url: "",
    seen,
    most: 0,
    fault: (_: Seen): Fault | undefined => undefined,
    counts(): Record<string, number> {
      const counts: Record<string, number> = {};
      for (const { operation } of seen.splice(0)) {
        counts[operation] = (counts[operation] ?? 0) + 1;
      }
      return counts;
    },
    async close(): Promise<void> {
      const closed = new Promise((resolve) => server.close(resolve));
      server.closeAllConnections();
      // A request still on its way would leave a connection behind that keeps the process alive.
      await Promise.allSettled(running);
      agent.destroy();
      await closed;
    },
  };

  function forward(
    request: http.IncomingMessage,
    body: Buffer,
  ): Promise<{ answer: http.IncomingMessage; body: Buffer }> {
    return new Promise((resolve, reject) => {
      const forwarded = http.request(
        {
          hostname,
          port,
          agent,
          method: request.method,
          path: request.url,
          headers: request.headers,
          setHost: false,
        },
        (answer) => {
          collect(answer).then((body) => resolve({ answer, body }), reject);
        },
      );
      forwarded.on("error", reject);
      forwarded.end(body);
    });
  }

  async function handle(
    request: http.IncomingMessage,
    response: http.ServerResponse,
  ): Promise<void> {
    const [path = "/", text = ""] = (request.url ?? "/").split("?");
    const query = new URLSearchParams(text);
    const operation = operationOf(request.method ?? "", path, query);
    const entry: Seen = {
      operation,
      path: decodeURIComponent(path),
      query,
      headers: request.headers,
    };
    seen.push(entry);
    const fault = chaos.fault(entry);
    const reset = () => {
      if (request.socket.resetAndDestroy) request.socket.resetAndDestroy();
      else request.socket.destroy();
    };
    if (fault?.kind === "reset" && fault.when === "before") return reset();
    if (fault?.kind === "delay") await fault.until;
    if (request.socket.destroyed) return;
    const body = await collect(request);
    if (fault?.kind === "answer") {
      const { status, code = "Injected" } = fault;
      const xml = fault.body ??
        `<?xml version="1.0"?><Error><Code>${code}</Code><Message>injected</Message></Error>`;
      response.writeHead(status, { "content-type": "application/xml", ...fault.headers });
      return void response.end(xml);
    }
    if (fault?.kind === "flip" && fault.side === "request") flip(body);
    const forwarded = await forward(request, body);
    if (fault?.kind === "reset") return reset();
    if (fault?.kind === "flip" && fault.side === "response") {
      flip(forwarded.body);
    }
    const status = forwarded.answer.statusCode ?? 500;
    const headers = { ...forwarded.answer.headers };
    delete headers.connection;
    delete headers["keep-alive"];
    delete headers["transfer-encoding"];
    const bodyless = request.method === "HEAD" || status === 204;
    if (!bodyless) headers["content-length"] = `${forwarded.body.length}`;
    if (fault?.kind !== "cut") {
      response.writeHead(status, headers);
      return void response.end(bodyless ? undefined : forwarded.body);
    }
    const part = forwarded.body.subarray(0, fault.at);
    if (fault.silent) headers["content-length"] = `${part.length}`;
    response.writeHead(status, headers);
    if (fault.silent || bodyless) return void response.end(part);
    response.write(part, () => request.socket.destroy());
  }

  const server = http.createServer((request, response) => {
    chaos.most = Math.max(chaos.most, running.size + 1);
    const handled = handle(request, response)
      .catch(() => request.socket.destroy())
      .then(() => {
        running.delete(handled);
      });
    running.add(handled);
  });
  await new Promise<void>((resolve) => {
    server.listen(0, "127.0.0.1", () => resolve());
  });
  server.unref();
  chaos.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return chaos;
}

async function collect(stream: http.IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of stream) chunks.push(chunk);
  return Buffer.concat(chunks);
}

function flip(body: Buffer): void {
  const middle = body.length >> 1;
  const byte = body[middle];
  if (byte !== undefined) body[middle] = byte ^ 1;
}
