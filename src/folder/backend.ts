/**
 * Keeps entries in a folder: `<folder>/<id>/<key>.json`, one readable file each.
 *
 * Several processes may use one folder. Folders of ids stay when they are empty, because another
 * process may be about to write there.
 *
 * @module
 */

import type { Backend, EntryInfo, Pruned, PruneRule } from "../backend/contract.ts";
import { prune } from "../backend/prune.ts";
import { mayAccess } from "../base/env.ts";
import { BackendError, CacheClosedError, DamagedEntryError, PanzaError } from "../base/errors.ts";
import { pathOf, realPath } from "../base/path.ts";
import { builtin } from "../base/runtime.ts";
import type { StoredEntry } from "../encoding/entry.ts";
import { readFile, writeFile } from "./file.ts";
import { adviceOf, isOlder, list, listInner, read, readOurs, reasonOf } from "./files.ts";
import { remove, replace } from "./files.ts";
import { isName, nameOf } from "./names.ts";

/** The age at which a temporary file counts as left by a killed process, in milliseconds. */
const LEFT_MS = 3_600_000;

const ENTRY = /^(.+)\.json$/;
const TEMPORARY = /^(.+)\.json\.[0-9a-f-]{36}\.tmp$/;

/** Keeps entries in a folder, and touches no other file in it. */
export class FolderBackend implements Backend {
  /** Its kind and place: `folder recordings`. */
  readonly description: string;
  readonly #folder: string;
  readonly #running = new Set<Promise<unknown>>();
  #closing: Promise<unknown> | undefined;

  /**
   * @param folder A path, resolved now, or a `file:` URL.
   * @throws {TypeError} If it is neither.
   */
  constructor(folder: string | URL) {
    const path = pathOf("open a folder", "folder", "a path or a file: URL object", folder);
    this.#folder = builtin("node:path")?.resolve(path) ?? path;
    this.description = `folder ${path}`;
  }

  /** The real path of the folder. */
  get location(): string {
    return realPath(this.#folder);
  }

  /** Does nothing: every failure rejects its own call. */
  connect(): void {}

  /**
   * Reads one entry.
   *
   * @throws {DamagedEntryError} If its file was changed so that it holds no entry of this key.
   * @throws {BackendError} If its file cannot be read, or is not of this library.
   */
  async get(id: string, key: string): Promise<StoredEntry | undefined> {
    return await this.#attempt("read", () => this.#read(id, key));
  }

  /** Reads several entries of one id; `undefined` also for a damaged one. */
  async getMany(id: string, keys: readonly string[]): Promise<(StoredEntry | undefined)[]> {
    const readOne = (key: string): Promise<StoredEntry | undefined> =>
      this.#read(id, key).catch((error: unknown) => {
        if (!(error instanceof DamagedEntryError)) throw error;
        return undefined;
      });
    return await this.#attempt("read", () => Promise.all(keys.map(readOne)));
  }

  async #read(id: string, key: string): Promise<StoredEntry | undefined> {
    const text = await read(`${this.#folder}/${await pathIn(id, key)}`);
    if (text === undefined) return undefined;
    const file = readFile(text);
    if (file?.id === id && file.key === key) return file.entry;
    throw new DamagedEntryError("its file was changed, or is that of another entry", id, key);
  }

  /** Stores an entry in the place of the one that is there, damaged or not. */
  async set(id: string, key: string, entry: StoredEntry): Promise<void> {
    // In this turn: the caller may change its bytes afterwards.
    const text = writeFile(id, key, entry);
    await this.#attempt("write", async () => {
      await replace(`${this.#folder}/${await nameOf(id)}`, `${await nameOf(key)}.json`, text);
    });
  }

  /** Removes one entry, if it is there. */
  async delete(id: string, key: string): Promise<void> {
    const work = async () => await remove(`${this.#folder}/${await pathIn(id, key)}`);
    await this.#attempt("delete", work);
  }

  /** Removes every entry of one id, damaged ones too. */
  async deleteId(id: string): Promise<void> {
    await this.#attempt("delete", () => this.#removeAll(id));
  }

  /** Removes every entry, damaged ones too. */
  async clear(): Promise<void> {
    await this.#attempt("delete", () => this.#removeAll());
  }

  async #removeAll(id?: string): Promise<void> {
    const failures: unknown[] = [];
    for await (const path of this.#find(ENTRY, id)) {
      await remove(`${this.#folder}/${path}`).catch((error) => failures.push(error));
    }
    if (failures.length > 0) throw failures[0];
  }

  /** Lists the entries, one file after the other; damaged ones are passed over. */
  async *entries(id?: string): AsyncGenerator<EntryInfo, void, void> {
    const infos = this.#list(id);
    for (;;) {
      const next = await this.#attempt("list", () => infos.next());
      if (next.done) return;
      yield next.value;
    }
  }

  async *#list(id?: string): AsyncGenerator<EntryInfo, void, void> {
    for await (const path of this.#find(ENTRY, id)) {
      const file = readFile(await readOurs(`${this.#folder}/${path}`) ?? "");
      // A file that was moved or copied by hand holds no entry.
      if (file === undefined || await pathIn(file.id, file.key) !== path) continue;
      const { data, storedAt, expiresAt, staleUntil, durationMs } = file.entry;
      const { length: size } = typeof data === "string" ? new TextEncoder().encode(data) : data;
      yield { id: file.id, key: file.key, size, storedAt, expiresAt, staleUntil, durationMs };
    }
  }

  /** Removes entries by a rule, and temporary files that killed processes left an hour ago. */
  async prune(rule: PruneRule): Promise<Pruned> {
    if (rule.dryRun === true) return await prune(this, rule);
    await this.#attempt("delete", async () => {
      for await (const path of this.#find(TEMPORARY)) {
        const file = `${this.#folder}/${path}`;
        if (await isOlder(file, Date.now() - LEFT_MS)) await remove(file);
      }
    });
    return await prune(this, rule);
  }

  /** Waits for what was accepted; can be called again. */
  async close(): Promise<void> {
    this.#closing ??= Promise.allSettled(this.#running);
    await this.#closing;
  }

  /** The files of an id, or of all, whose names this library gives. */
  async *#find(pattern: RegExp, id?: string): AsyncGenerator<string, void, void> {
    const folders = id === undefined ? await list(this.#folder) : [await nameOf(id)];
    for (const folder of folders.filter(isName)) {
      for (const file of await listInner(this.#folder, folder)) {
        const name = pattern.exec(file)?.[1];
        if (name !== undefined && isName(name)) yield `${folder}/${file}`;
      }
    }
  }

  /** Does work that `close` waits for; its errors become those of this library. */
  async #attempt<Result>(
    operation: "read" | "list" | "write" | "delete",
    work: () => Promise<Result>,
  ): Promise<Result> {
    if (this.#closing !== undefined) throw new CacheClosedError();
    // Not in this turn: a run that looks something up would take a wait in here for its own.
    const running = Promise.resolve().then(() => {
      this.#assertPermitted(operation);
      return work();
    });
    this.#running.add(running);
    try {
      return await running;
    } catch (error) {
      if (error instanceof PanzaError) throw error;
      throw new BackendError(this.description, operation, reasonOf(error), adviceOf(error));
    } finally {
      this.#running.delete(running);
    }
  }

  #assertPermitted(operation: string): void {
    const folder = this.#folder;
    const isChange = operation === "write" || operation === "delete";
    const missing = !mayAccess("read", folder)
      ? "read"
      : isChange && !mayAccess("write", folder)
      ? "write"
      : undefined;
    if (missing === undefined) return;
    const flags = `--allow-read=${folder} --allow-write=${folder}`;
    const reason = `${missing} permission is missing`;
    throw new BackendError(this.description, operation, reason, `run with ${flags}`);
  }
}

async function pathIn(id: string, key: string): Promise<string> {
  return `${await nameOf(id)}/${await nameOf(key)}.json`;
}
