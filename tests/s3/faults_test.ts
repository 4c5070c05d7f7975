import { test } from "node:test";
import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import type { StoredEntry } from "../../src/encoding/entry.ts";
import { BackendError } from "../../src/base/errors.ts";
import { randomNumbers } from "../../src/testing/random.ts";
import { S3Backend } from "../../s3.ts";
import { type Chaos, type Fault, type Seen, startChaos } from "../support/s3_chaos.ts";
import { optionsFor, withBucket } from "../support/s3_server.ts";

/** CRC-32 as in zip and PNG, bit by bit. */
function crc32(text: string): number {
  let crc = 0xffff_ffff;
  for (const byte of new TextEncoder().encode(text)) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) {
      crc = crc & 1 ? (crc >>> 1) ^ 0xedb8_8320 : crc >>> 1;
    }
  }
  return ~crc >>> 0;
}

function entryFor(id: string, key: string, value: number): StoredEntry {
  const data = JSON.stringify({ value, filling: "x".repeat(value % 500) });
  return {
    data,
    format: "json-1",
    checksum: crc32(id + key + data),
    storedAt: value,
    expiresAt: null,
    staleUntil: null,
    durationMs: 0,
  };
}

/** The value of the entry, `"damaged"` when its checksum does not fit. */
function valueOf(
  id: string,
  key: string,
  entry: StoredEntry | undefined,
): number | undefined | "damaged" {
  if (entry === undefined) return undefined;
  assert(typeof entry.data === "string");
  if (crc32(id + key + entry.data) !== entry.checksum) return "damaged";
  return JSON.parse(entry.data).value;
}

async function scene(
  work: (backend: S3Backend, chaos: Chaos, real: boolean) => Promise<void>,
): Promise<void> {
  await withBucket(async (bucket, _, server) => {
    const chaos = await startChaos(server.endpoint);
    const backend = new S3Backend(`${bucket}/faults`, optionsFor(server, chaos.url));
    try {
      await work(backend, chaos, server.real);
    } finally {
      chaos.fault = () => undefined;
      await backend.close();
      await chaos.close();
    }
  });
}

/** A fault for the first requests of an operation only. */
function first(operation: string, times: number, fault: Fault) {
  let left = times;
  return (request: Seen): Fault | undefined =>
    request.operation === operation && left-- > 0 ? fault : undefined;
}

test("S3Backend.get() asks again when a body breaks off", async () => {
  await scene(async (backend, chaos) => {
    const entry = entryFor("f", "k", 300);
    await backend.set("f", "k", entry);
    for (const at of [0, 1, 100]) {
      chaos.counts();
      chaos.fault = first("GetObject", 2, { kind: "cut", at, silent: false });
      assertEquals(await backend.get("f", "k"), entry);
      assert((chaos.counts().GetObject ?? 0) >= 3);
    }
  });
});

test("S3Backend.get() rejects in one line when a body always breaks off", async () => {
  await scene(async (backend, chaos) => {
    await backend.set("f", "k", entryFor("f", "k", 300));
    chaos.fault = first("GetObject", Infinity, {
      kind: "cut",
      at: 100,
      silent: false,
    });
    const error = await assertRejects(
      () => backend.get("f", "k"),
      BackendError,
      "Cannot read in S3",
    );
    assert(!error.message.includes("\n"));
    const batch = await assertRejects(() => backend.getMany("f", ["k", "other"]), BackendError);
    assertEquals(batch.operation, "read");
  });
});

test("S3Backend.get() never returns a damaged or shortened body as the entry", async () => {
  await scene(async (backend, chaos) => {
    await backend.set("f", "k", entryFor("f", "k", 300));
    const faults: Fault[] = [
      { kind: "flip", side: "response" },
      { kind: "cut", at: 50, silent: true },
      { kind: "cut", at: 0, silent: true },
    ];
    for (const fault of faults) {
      chaos.fault = first("GetObject", Infinity, fault);
      const answer = await backend.get("f", "k").then(
        (entry) => valueOf("f", "k", entry),
        (error: unknown) => error instanceof BackendError,
      );
      // Servers that echo checksums make the SDK notice; with others the checksum of the entry does.
      assert(answer === true || answer === "damaged", String(answer));
    }
  });
});

test("S3Backend.set() never lets a body that was damaged on the way be read as the entry", async () => {
  await scene(async (backend, chaos) => {
    chaos.fault = first("PutObject", 1, { kind: "flip", side: "request" });
    const stored = await backend.set("f", "k", entryFor("f", "k", 300)).then(
      () => true,
      (error: unknown) => {
        assert(error instanceof BackendError);
        return false;
      },
    );
    const answer = await backend.get("f", "k").then(
      (entry) => valueOf("f", "k", entry),
      (error: unknown) => error instanceof BackendError,
    );
    assert(stored ? answer === true || answer === "damaged" : answer === undefined, String(answer));
  });
});

test(
  "S3Backend repeats requests after errors, throttling and lost answers",
  {
    timeout: 120_000,
  },
  async () => {
    await scene(async (backend, chaos) => {
      const faults: Fault[] = [
        { kind: "answer", status: 500, code: "InternalError" },
        { kind: "answer", status: 503, code: "ServiceUnavailable" },
        { kind: "reset", when: "before" },
        { kind: "reset", when: "after" },
      ];
      for (const [value, fault] of faults.entries()) {
        const entry = entryFor("f", "k", value);
        chaos.fault = first("PutObject", 3, fault);
        await backend.set("f", "k", entry);
        chaos.fault = first("GetObject", 3, fault);
        assertEquals(await backend.get("f", "k"), entry);
        chaos.fault = first("DeleteObject", 3, fault);
        await backend.delete("f", "k");
        assertEquals(await backend.get("f", "k"), undefined);
      }
      chaos.fault = first("GetObject", 1, {
        kind: "answer",
        status: 503,
        code: "SlowDown",
      });
      assertEquals(await backend.get("f", "k"), undefined);
    });
  },
);

test(
  "S3Backend gives up after bounded attempts and says how many",
  {
    timeout: 120_000,
  },
  async () => {
    await scene(async (backend, chaos) => {
      await backend.set("f", "k", entryFor("f", "k", 1));
      chaos.counts();
      for (
        const [status, code, message] of [
          [500, "InternalError", "the server failed (500 InternalError)"],
          [503, "ServiceUnavailable", "the server throttles (503 Service"],
        ] as const
      ) {
        chaos.fault = () => ({ kind: "answer", status, code });
        for (
          const operation of [
            () => backend.get("f", "k"),
            () => backend.set("f", "k", entryFor("f", "k", 2)),
            () => backend.delete("f", "k"),
            () => backend.clear(),
          ]
        ) {
          const error = await assertRejects(operation, BackendError, message);
          assertStringIncludes(error.message, "after 5 attempts");
          assertEquals(chaos.seen.length, 5);
          chaos.counts();
        }
      }
      chaos.fault = () => undefined;
      assertEquals(valueOf("f", "k", await backend.get("f", "k")), 1);
    });
  },
);

const SEED = 20_240_917;

/** Faults by their share in percent; the rest of the requests passes unharmed. */
function mix(real: boolean): [number, (request: Seen) => Fault | undefined][] {
  const reads = (fault: Fault) => ({ operation }: Seen) =>
    operation === "GetObject" ? fault : undefined;
  return [
    [4, () => ({ kind: "answer", status: 500, code: "InternalError" })],
    [4, () => ({ kind: "answer", status: 503, code: "ServiceUnavailable" })],
    [1, () => ({ kind: "answer", status: 503, code: "SlowDown" })],
    [1, () => ({ kind: "answer", status: 403, code: "AccessDenied" })],
    [4, () => ({ kind: "reset", when: "before" })],
    [4, () => ({ kind: "reset", when: "after" })],
    [4, reads({ kind: "cut", at: 20, silent: false })],
    [3, reads({ kind: "cut", at: 20, silent: true })],
    [3, reads({ kind: "flip", side: "response" })],
    // The server of this process does not verify what it stores.
    [3, () => (real ? { kind: "flip", side: "request" } : undefined)],
    [4, () => ({ kind: "delay", until: new Promise((go) => setTimeout(go, 5)) })],
  ];
}

test(
  "S3Backend returns right values or rejects in 2,000 operations under a mix of faults",
  { timeout: 120_000 },
  async () => {
    await scene(async (backend, chaos, real) => {
      const random = randomNumbers(SEED);
      const shares = mix(real);
      let harmed = 0;
      const harm = (request: Seen): Fault | undefined => {
        let point = random() * 100;
        for (const [share, fault] of shares) {
          if ((point -= share) >= 0) continue;
          harmed++;
          return fault(request);
        }
        return undefined;
      };
      chaos.fault = harm;
      /** The values that may be stored, by key: more than one after a failed write. */
      const possible = new Map<string, Set<number | undefined>>();
      const outcomes = { right: 0, damaged: 0, failed: 0 };
      let value = 0;

      async function step(id: string, key: string): Promise<void> {
        const known = possible.get(key) ?? new Set([undefined]);
        possible.set(key, known);
        const choice = random();
        if (choice < 0.5) {
          const found = valueOf(id, key, await backend.get(id, key));
          if (found === "damaged") outcomes.damaged++;
          else assert(known.has(found), `${key} is ${found}, seed ${SEED}`);
          return;
        }
        const next = choice < 0.9 ? ++value : undefined;
        try {
          await (next === undefined
            ? backend.delete(id, key)
            : backend.set(id, key, entryFor(id, key, next)));
          known.clear();
        } finally {
          known.add(next);
        }
      }

      const workers = Array.from({ length: 40 }, async (_, worker) => {
        for (let turn = 0; turn < 50; turn++) {
          try {
            await step("f", `${worker}/${turn % 3}`);
            outcomes.right++;
          } catch (error) {
            if (!(error instanceof BackendError)) throw error;
            outcomes.failed++;
          }
        }
      });
      await Promise.all(workers);

      assertEquals(outcomes.right + outcomes.failed, 2000);
      assert(harmed > 400, `only ${harmed} requests were harmed`);
      assert(outcomes.right > 1700, JSON.stringify(outcomes));
      // Everything acknowledged is there, and nothing else.
      chaos.fault = () => undefined;
      for (const [key, known] of possible) {
        const found = valueOf("f", key, await backend.get("f", key));
        assert(found !== "damaged" && known.has(found), `${key} is ${found}, seed ${SEED}`);
      }
      await backend.clear();
      assertEquals(await Array.fromAsync(backend.entries()), []);
    });
  },
);
