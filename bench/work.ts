/**
 * The work that benchmarks share: values, arguments, and the floor: the least work of a cache hit,
 * written by hand.
 *
 * @module
 */

import { hash } from "node:crypto";
import { mkdirSync, rmSync } from "node:fs";
import { DatabaseSync } from "node:sqlite";
import { isDeepStrictEqual } from "node:util";
import { crc32 } from "node:zlib";

/** The folder of the benchmarks' databases. */
const FOLDER = ".cache/bench";

/** A stored value: JSON with a model. */
export type Value = { readonly model: string } & Readonly<Record<string, unknown>>;

/** A chat completion: 2 KB of JSON text. */
export const chat: Value = {
  id: "chatcmpl-9sXkVf2QmZ",
  object: "chat.completion",
  created: 1_722_000_000,
  model: "small-2024-07-18",
  choices: [
    {
      index: 0,
      message: {
        role: "assistant",
        content: 'The committee met on Tuesday, and "everybody" agreed.\n'.repeat(30),
        tool_calls: null,
      },
      logprobs: null,
      finish_reason: "stop",
    },
  ],
  usage: { prompt_tokens: 211, completion_tokens: 402, total_tokens: 613 },
};

/** An embedding of 1,536 numbers: 30 KB of JSON text. */
export const embedding: { model: string; embedding: number[] } = {
  model: "embedding-small",
  embedding: Array.from({ length: 1536 }, (_, index) => Math.fround(Math.sin(index * 12.9898) / 8)),
};

/** A text of 1 MB. */
export const text: string =
  "A long text about everything, line by line, and nothing but ASCII in it.\n".repeat(14_000);

/** The values of the measured hits, by name. */
export const values: Readonly<Record<string, unknown>> = {
  number: 42.5,
  "chat of 2 KB": chat,
  "embedding of 30 KB": embedding,
  "text of 1 MB": text,
};

/** 1 KB of arguments, like those of a call of a model. */
export interface Arguments {
  readonly seed: number;
  readonly model: string;
  readonly temperature: number;
  readonly "max_tokens": number;
  readonly messages: readonly { role: string; content: string }[];
  readonly metadata: {
    readonly user: string;
    readonly tags: readonly string[];
    readonly nested: { x: number; y: number; z: boolean };
  };
  readonly stop: null;
}

/** The arguments of one call, different for each number. */
export function argumentsOf(index: number): Arguments {
  return {
    seed: index,
    model: "small-2024-07-18",
    temperature: 0.2,
    max_tokens: 512,
    messages: [
      {
        role: "system",
        content: "You are a careful assistant that answers in one paragraph.",
      },
      {
        role: "user",
        content: "Summarize the following document, please. ".repeat(17),
      },
    ],
    metadata: {
      user: "u-123",
      tags: ["a", "b", "c"],
      nested: { x: 1, y: 2.5, z: true },
    },
    stop: null,
  };
}

/** A path for a new database, without the files of earlier runs. */
export function freshPath(name: string): string {
  mkdirSync(FOLDER, { recursive: true });
  const path = `${FOLDER}/${name}.db`;
  for (const end of ["", "-wal", "-shm", "-journal"]) {
    rmSync(path + end, { force: true });
  }
  return path;
}

/** The key of the floor, which depends on the order of members: JSON text, then SHA-256. */
export function jsonKey(argument: unknown): string {
  return hash("sha256", JSON.stringify([argument]), "hex");
}

/** The same for members in any order. */
function sortedKey(argument: unknown): string {
  return jsonKey(sorted(argument));
}

function sorted(value: unknown): unknown {
  if (typeof value !== "object" || value === null) return value;
  if (Array.isArray(value)) return value.map(sorted);
  const copy: Record<string, unknown> = {};
  for (const [name, part] of Object.entries(value).sort(([a], [b]) => a < b ? -1 : 1)) {
    copy[name] = sorted(part);
  }
  return copy;
}

/** The least work of a cache over SQLite, without checks, written by hand. */
export interface Floor {
  /** A hit: key, prepared SELECT, JSON.parse. */
  hit(argument: unknown): Promise<unknown>;
  /** Stores values in one transaction: key, JSON.stringify, prepared INSERT. */
  store(argumentList: readonly unknown[], value: unknown): void;
  clear(): void;
  close(): void;
}

/**
 * Opens a floor with the guarantees of a cache: the order of members does not matter, and a row
 * that is damaged, misplaced or expired is not a hit.
 */
export function openCheckedFloor(name: string): Floor {
  const database = new DatabaseSync(freshPath(name));
  database.exec(
    `PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;
     CREATE TABLE entries (key TEXT PRIMARY KEY, value TEXT NOT NULL, stored_at REAL NOT NULL,
       expires_at REAL, checksum INTEGER NOT NULL)`,
  );
  const select = database.prepare("SELECT * FROM entries WHERE key = ?");
  const insert = database.prepare("INSERT INTO entries VALUES (?, ?, ?, ?, ?)");
  const checksum = (key: string, value: string, storedAt: number, expiresAt: number | null) =>
    crc32(`${key} ${storedAt} ${expiresAt} ${value}`);
  return {
    // deno-lint-ignore require-await
    async hit(argument) {
      const key = sortedKey(argument);
      const row = select.get(key);
      if (typeof row?.["value"] !== "string") throw new Error("no hit");
      const storedAt = Number(row["stored_at"]);
      const expiresAt = row["expires_at"] === null ? null : Number(row["expires_at"]);
      if (checksum(key, row["value"], storedAt, expiresAt) !== row["checksum"]) {
        throw new Error("damaged");
      }
      if (expiresAt !== null && Date.now() > expiresAt) throw new Error("past its time");
      return JSON.parse(row["value"]);
    },
    store(argumentList, value) {
      const [text, now] = [JSON.stringify(value), Date.now()];
      database.exec("BEGIN");
      for (const argument of argumentList) {
        const key = sortedKey(argument);
        insert.run(key, text, now, null, checksum(key, text, now, null));
      }
      database.exec("COMMIT");
    },
    clear: () => database.exec("DELETE FROM entries"),
    close: () => database.close(),
  };
}

/** Opens a floor in its own database. */
export function openFloor(name: string): Floor {
  const database = new DatabaseSync(freshPath(name));
  database.exec(
    `PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;
     CREATE TABLE entries (key TEXT PRIMARY KEY, value TEXT NOT NULL)`,
  );
  const select = database.prepare("SELECT value FROM entries WHERE key = ?");
  const insert = database.prepare("INSERT INTO entries VALUES (?, ?)");
  const begin = database.prepare("BEGIN");
  const commit = database.prepare("COMMIT");
  return {
    // Async like every cache, although nothing in it waits.
    // deno-lint-ignore require-await
    async hit(argument) {
      const row = select.get(jsonKey(argument));
      if (typeof row?.["value"] !== "string") throw new Error("no hit");
      return JSON.parse(row["value"]);
    },
    store(argumentList, value) {
      begin.run();
      for (const argument of argumentList) {
        insert.run(jsonKey(argument), JSON.stringify(value));
      }
      commit.run();
    },
    clear: () => database.exec("DELETE FROM entries"),
    close: () => database.close(),
  };
}

/** Throws unless a benchmark got the expected value. */
export function check(name: string, got: unknown, expected: unknown): void {
  if (!isDeepStrictEqual(got, expected)) {
    throw new Error(`${name} did not give the value that was stored`);
  }
}

/** Awaits one call after the other. */
export async function oneByOne(
  list: readonly Arguments[],
  call: (argument: Arguments) => Promise<unknown>,
): Promise<void> {
  for (const argument of list) await call(argument);
}

/** Keeps 100 calls in flight at a time. */
export async function byHundreds(
  list: readonly Arguments[],
  call: (argument: Arguments) => Promise<unknown>,
): Promise<void> {
  for (let start = 0; start < list.length; start += 100) {
    await Promise.all(list.slice(start, start + 100).map((argument) => call(argument)));
  }
}
