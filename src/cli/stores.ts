/**
 * The stores that the command opens, by path or URL.
 *
 * @module
 */

import type { Backend, EntryInfo } from "../backend/contract.ts";
import { mayAccess, mayReadEnvironment, warn } from "../base/env.ts";
import { builtin } from "../base/runtime.ts";
import { backendKey, escapeName, unescapeName, userKey } from "../core/names.ts";
import { visible } from "./format.ts";
import { UsageError } from "./usage.ts";

/** A kind of store. Each is loaded on use: most commands need one. */
interface StoreKind {
  /** Whether a name means a store of this kind; the first match counts. */
  matches(name: string): boolean;
  /**
   * Opens a store.
   *
   * @param name A path or URL.
   * @param create Whether to make a missing store.
   */
  open(name: string, create: boolean): Promise<Backend>;
  /** Whether a listing is cheap, so that a copy can count the entries first. */
  readonly isLocal: boolean;
}

function isPath(name: string): boolean {
  return name !== "" && !/^[a-z][a-z0-9+.-]*:\/\//i.test(name);
}

/** Whether a folder is there and this process may read it. */
function isFolder(name: string): boolean {
  if (!mayAccess("read", name)) return false;
  const files = builtin("node:fs");
  return files?.statSync(name, { throwIfNoEntry: false })?.isDirectory() === true;
}

/** The kinds of stores. SQLite takes every path, and so is the last. */
const KINDS: readonly StoreKind[] = [
  {
    matches: (name) => name.startsWith("s3://"),
    open: async (name) => {
      // The AWS SDK reads them as it loads, and Deno would ask the user for one after the other.
      if (!mayReadEnvironment()) throw new Error("S3 needs the AWS_ variables: run deno with -A");
      return new (await import("../s3/backend.ts")).S3Backend(name);
    },
    isLocal: false,
  },
  {
    matches: (name) => /^rediss?:\/\//.test(name),
    open: async (name) => {
      const [url = "", prefix] = name.split("?prefix=");
      const { RedisBackend } = await import("../redis/backend.ts");
      return new RedisBackend(url, prefix === undefined ? {} : { prefix });
    },
    isLocal: false,
  },
  {
    matches: (name) => isPath(name) && (name.endsWith("/") || isFolder(name)),
    open: async (name, create) => {
      if (!create && !isFolder(name)) {
        throw new Error(`Cannot open folder ${name}: there is no such folder`);
      }
      return new (await import("../folder/backend.ts")).FolderBackend(name);
    },
    isLocal: true,
  },
  {
    matches: (name) => name.startsWith("file:") || isPath(name),
    open: async (name, create) => {
      const { SQLiteBackend } = await import("../sqlite/backend.ts");
      // Here ":memory:" is a file name: a store in memory would be empty.
      const path = name === ":memory:" ? `./${name}` : name;
      return new SQLiteBackend(name.startsWith("file:") ? new URL(name) : path, { create });
    },
    isLocal: true,
  },
];

/** An open store, without the rest of a cache: that loads for as long as a runtime starts. */
export class Store implements AsyncDisposable {
  readonly backend: Backend;
  readonly isLocal: boolean;

  constructor(backend: Backend, isLocal: boolean) {
    this.backend = backend;
    this.isLocal = isLocal;
    backend.connect(({ message }) => warn(`panza: ${visible(message)}`));
  }

  /** The entries, under the ids and keys that the user knows. */
  async *entries(id?: string): AsyncGenerator<EntryInfo> {
    const listed = this.backend.entries(id === undefined ? undefined : escapeName(id));
    for await (const info of listed) {
      yield { ...info, id: unescapeName(info.id), key: userKey(info.key) };
    }
  }

  /**
   * The only key with this beginning, or without a beginning the key of the newest result.
   *
   * @returns `undefined` where there is none.
   */
  async findKey(id: string, beginning?: string): Promise<string | undefined> {
    const isThere = async (key: string) =>
      await this.backend.get(escapeName(id), backendKey(key)) !== undefined;
    if (beginning !== undefined && await isThere(beginning)) return beginning;
    let found: EntryInfo | undefined;
    for await (const info of this.entries(id)) {
      if (beginning === undefined) {
        if (found === undefined || info.storedAt > found.storedAt) found = info;
      } else if (info.key.startsWith(beginning)) {
        if (found !== undefined) throw new Error("several keys begin so; write more of it");
        found = info;
      }
    }
    return found?.key;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.backend.close();
  }
}

/**
 * Opens a store; its first use makes or reads it.
 *
 * @throws {UsageError} If the name means no store. It is not quoted: a URL may hold a password.
 */
export async function openStore(name: string, create = false): Promise<Store> {
  const kind = KINDS.find((each) => each.matches(name));
  if (kind === undefined) {
    throw new UsageError(
      "the store must be the path of a SQLite file or folder, s3://bucket/prefix, or redis://host",
    );
  }
  try {
    return new Store(await kind.open(name, create), kind.isLocal);
  } catch (error) {
    throw error instanceof TypeError ? new UsageError(error.message) : error;
  }
}
