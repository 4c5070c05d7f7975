/**
 * Entries in an S3 bucket, one object each, for jobs that run on many machines.
 *
 * What an operation costs in requests:
 *
 * | operation | requests |
 * | --- | --- |
 * | hit, miss | 1 GET |
 * | store | 1 PUT; past 32 MiB one for each 8 MiB, and 2 more |
 * | delete | 1 DELETE |
 * | delete of an id, of everything | 1 LIST and 1 POST for each 1,000 entries, and 1 LIST |
 * | entries | 1 LIST for each 1,000 entries and 1 HEAD for each |
 *
 * A listing tells no expiry, hence the HEAD. Ids and keys whose escaped form is past 240 bytes have
 * digests as names; past about 1,500 bytes for both together, a second object tells them, which is
 * one more PUT for a store and one more GET for `entries`.
 *
 * @module
 */

import type { Backend, EntryInfo, Report } from "../backend/contract.ts";
import type { StoredEntry } from "../encoding/entry.ts";
import {
  BackendError,
  BucketNotFoundError,
  CacheClosedError,
  DamagedEntryError,
  PanzaError,
} from "../base/errors.ts";
import { BrokenBodyError, Bucket, BucketCreationError, type Listed } from "./bucket.ts";
import { checkOptions, type S3Options } from "./client.ts";
import { explain, isBucketMissing } from "./errors.ts";
import {
  carriedNames,
  entryName,
  folderName,
  parseName,
  parsePlace,
  type Place,
  tellerOf,
  toldNames,
} from "./names.ts";
import { bodyOf, contentTypeOf, entryOf, metadataOf, timesOf } from "./object.ts";
import { mapInOrder } from "./pool.ts";

/** Reads of one batch or listing under way; the other slots stay free for single calls. */
const READS_AT_ONCE = 32;

/** A write that was accepted and is not finished; absent members mean all there are. */
interface Write {
  readonly id?: string | undefined;
  readonly key?: string | undefined;
  readonly done: Promise<void>;
}

/**
 * A backend in an S3 bucket, or on a server that speaks its protocol.
 *
 * Every object has a name below `<prefix>/panza-v1/`, holds the encoded value as its body with a
 * content type, and everything else as metadata, so any S3 tool can read it. The AWS SDK is loaded
 * on first use. Writes and deletes of one backend on one entry happen in the order of the calls.
 *
 * @example Prefixes and ids that would not stay apart are refused at once
 * ```ts
 * import { S3Backend } from "@panza/panza/s3";
 * import { assertEquals, assertThrows } from "@std/assert";
 *
 * const backend = new S3Backend("s3://results/batch-1", { region: "eu-central-1" });
 * assertEquals(backend.description, "S3 results/batch-1");
 * assertThrows(() => new S3Backend("results/../other"), TypeError, "prefix");
 * await backend.close();
 * ```
 */
export class S3Backend implements Backend {
  /** Bucket and prefix: `S3 bucket/prefix`. */
  readonly description: string;
  readonly #place: Place;
  readonly #bucket: Bucket;
  readonly #host: string;
  readonly #writes = new Set<Write>();
  readonly #closing = new AbortController();
  #closed: Promise<void> | undefined;
  readonly #reports: Report[] = [];

  /**
   * Checks everything and opens nothing: the first request is that of the first operation.
   *
   * @param location `bucket`, `bucket/prefix` or `s3://bucket/prefix`; the prefix at most 512 bytes.
   * @param options How to reach it; without any the SDK's standard chain decides.
   * @throws {TypeError} If the location is malformed or an option unknown or of the wrong shape.
   */
  constructor(location: string, options: S3Options = {}) {
    checkOptions("open an S3 backend", options);
    this.#place = parsePlace("open an S3 backend", location);
    this.#bucket = new Bucket(this.#place.bucket, options);
    this.#host = options.endpoint === undefined ? "S3" : new URL(options.endpoint).host;
    this.description = `S3 ${this.#place.label}`;
  }

  /**
   * Adds a listener for damaged objects that a batch of reads met.
   *
   * @param report Called with each of them.
   */
  connect(report: Report): void {
    this.#reports.push(report);
  }

  /**
   * Reads an entry: one GET.
   *
   * @param id The id of the function, `""` for a direct key.
   * @param key The key.
   * @param signal Aborts the request.
   * @returns The entry, `undefined` when there is none.
   * @throws {DamagedEntryError} If the object is not one that this class wrote.
   * @throws {BackendError} If S3 cannot be reached, or refuses.
   */
  async get(id: string, key: string, signal?: AbortSignal): Promise<StoredEntry | undefined> {
    return await this.#read("read", signal, (both) => this.#fetchEntry(id, key, both));
  }

  /**
   * Reads entries: one GET for each different key, 32 at a time. A damaged entry is reported and
   * `undefined`, so that it does not take the others with it.
   *
   * @param id The id of the function, `""` for direct keys.
   * @param keys The keys, in any order, duplicates allowed.
   * @param signal Aborts the requests.
   * @returns For each key the entry, `undefined` where there is none.
   * @throws {BackendError} If S3 cannot be reached, or refuses.
   */
  async getMany(
    id: string,
    keys: readonly string[],
    signal?: AbortSignal,
  ): Promise<(StoredEntry | undefined)[]> {
    return await this.#read("read", signal, async (both) => {
      const different = [...new Set(keys)];
      const entries = mapInOrder(READS_AT_ONCE, different, async (key) => {
        try {
          return await this.#fetchEntry(id, key, both);
        } catch (error) {
          if (!(error instanceof DamagedEntryError)) throw error;
          for (const report of this.#reports) report(error);
          return undefined;
        }
      });
      const found = new Map<string, StoredEntry | undefined>();
      let index = 0;
      for await (const entry of entries) {
        found.set(different[index++] ?? "", entry);
      }
      const given = new Set<string>();
      return keys.map((key) => {
        const entry = found.get(key);
        if (!given.has(key)) given.add(key);
        // Every one that asked owns its bytes.
        else if (entry !== undefined && typeof entry.data !== "string") {
          return { ...entry, data: entry.data.slice() };
        }
        return entry;
      });
    });
  }

  /**
   * Stores an entry: one PUT, past 32 MiB a multipart upload, which shows only when it is complete.
   *
   * @param id The id of the function, `""` for a direct key.
   * @param key The key.
   * @param entry What to store.
   * @throws {BackendError} If S3 cannot be reached, or refuses.
   */
  async set(id: string, key: string, entry: StoredEntry): Promise<void> {
    const body = bodyOf(entry.data);
    const metadata = metadataOf(entry);
    const type = contentTypeOf(entry.data);
    await this.#write("write", id, key, async () => {
      const name = await entryName(this.#place, id, key);
      if (name.teller !== undefined) {
        const { object, body } = name.teller;
        await this.#bucket.put(object, bodyOf(body), contentTypeOf(body), {});
      }
      const all = { ...metadata, ...name.metadata };
      await this.#bucket.put(name.object, body, type, all);
    });
  }

  /**
   * Removes an entry: one DELETE.
   *
   * @param id The id of the function, `""` for a direct key.
   * @param key The key.
   * @throws {BackendError} If S3 cannot be reached, or refuses.
   */
  async delete(id: string, key: string): Promise<void> {
    await this.#write("delete", id, key, async () => {
      const name = await entryName(this.#place, id, key);
      await this.#bucket.remove(name.object);
      if (name.teller !== undefined) {
        await this.#bucket.remove(name.teller.object);
      }
    });
  }

  /**
   * Removes every entry of an id: one LIST and one POST for each 1,000.
   *
   * @param id The id of the function, `""` for direct keys.
   * @throws {BackendError} If S3 cannot be reached, or refuses any of them.
   */
  async deleteId(id: string): Promise<void> {
    await this.#write("delete", id, undefined, async () => {
      await this.#deleteAll(await folderName(this.#place, id));
    });
  }

  /**
   * Removes every entry of this backend, and nothing else of the bucket.
   *
   * @throws {BackendError} If S3 cannot be reached, or refuses any of them.
   */
  async clear(): Promise<void> {
    await this.#write("delete", undefined, undefined, () => this.#deleteAll(this.#place.root));
  }

  /**
   * Lists entries: one LIST for each 1,000 and one HEAD for each entry, 32 at a time, as they are
   * consumed. Objects that are not entries are passed over; a damaged entry whose metadata is lost
   * shows the time of the object and no expiry.
   *
   * @param id Only those of this id.
   * @returns What is stored, in the order of the server.
   * @throws {BackendError} If S3 cannot be reached, or refuses.
   */
  async *entries(id?: string): AsyncGenerator<EntryInfo, void, undefined> {
    const { signal } = this.#closing;
    const prefix = await this.#read(
      "list",
      undefined,
      () => id === undefined ? Promise.resolve(this.#place.root) : folderName(this.#place, id),
    );
    const objects = this.#listObjects(prefix, signal);
    const infos = mapInOrder(READS_AT_ONCE, objects, (listed) => this.#inspect(listed, signal));
    try {
      for (;;) {
        const next = await this.#read("list", undefined, () => infos.next());
        if (next.done) return;
        if (next.value !== undefined) yield next.value;
      }
    } finally {
      await infos.return();
    }
  }

  /** Aborts reads, waits for accepted writes and deletes, and releases the connections. */
  async close(): Promise<void> {
    this.#closed ??= this.#end();
    await this.#closed;
  }

  async #end(): Promise<void> {
    this.#closing.abort(new CacheClosedError());
    await Promise.all([...this.#writes].map((write) => write.done));
    this.#bucket.close();
  }

  /** Runs a read: aborted by its caller or by `close`, and failing in the words of this library. */
  async #read<Out>(
    operation: string,
    signal: AbortSignal | undefined,
    work: (signal: AbortSignal) => Promise<Out>,
  ): Promise<Out> {
    const closing = this.#closing.signal;
    try {
      const both = signal === undefined ? closing : AbortSignal.any([closing, signal]);
      both.throwIfAborted();
      return await work(both);
    } catch (error) {
      if (closing.aborted) throw new CacheClosedError();
      if (signal?.aborted) throw signal.reason;
      throw this.#failure(operation, error);
    }
  }

  /**
   * Runs a write after those that were accepted before and touch the same entries: S3 takes
   * whichever comes last, and retries would let an older one come last.
   */
  async #write(
    operation: string,
    id: string | undefined,
    key: string | undefined,
    work: () => Promise<void>,
  ): Promise<void> {
    if (this.#closing.signal.aborted) throw new CacheClosedError();
    const before = [...this.#writes]
      .filter((other) => meet(id, other.id) && meet(key, other.key))
      .map((other) => other.done);
    const { promise: done, resolve } = Promise.withResolvers<void>();
    const write: Write = { id, key, done };
    this.#writes.add(write);
    try {
      await Promise.all(before);
      await work();
    } catch (error) {
      throw this.#failure(operation, error);
    } finally {
      this.#writes.delete(write);
      resolve();
    }
  }

  #failure(operation: string, error: unknown): Error {
    if (error instanceof PanzaError) return error;
    if (isBucketMissing(error)) {
      const { bucket } = this.#place;
      return new BucketNotFoundError(this.description, operation, bucket, error);
    }
    const creating = error instanceof BucketCreationError;
    const { reason, advice } = explain(
      creating || error instanceof BrokenBodyError ? error.cause : error,
      this.#host,
    );
    return new BackendError(
      this.description,
      creating ? "create the bucket" : operation,
      new Error(reason, { cause: error }),
      advice,
    );
  }

  async #fetchEntry(
    id: string,
    key: string,
    signal: AbortSignal,
  ): Promise<StoredEntry | undefined> {
    const { object } = await entryName(this.#place, id, key);
    const found = await this.#bucket.fetch(object, signal);
    if (found === undefined) return undefined;
    const entry = entryOf(found.metadata, found.body);
    if (entry !== undefined) return entry;
    throw new DamagedEntryError(
      "the object was not written by this library, or was changed",
      id,
      key,
    );
  }

  async *#listObjects(
    prefix: string,
    signal: AbortSignal,
  ): AsyncGenerator<Listed, void, undefined> {
    for await (const page of this.#bucket.list(prefix, signal)) {
      yield* page.filter(({ object }) => parseName(this.#place, object) !== undefined);
    }
  }

  async #inspect(
    { object, size, modified }: Listed,
    signal: AbortSignal,
  ): Promise<EntryInfo | undefined> {
    const metadata = await this.#bucket.metadata(object, signal);
    // Deleted since it was listed.
    if (metadata === undefined) return undefined;
    const told = parseName(this.#place, object);
    const names = told?.id !== undefined && told.key !== undefined
      ? { id: told.id, key: told.key }
      : (carriedNames(metadata) ?? (await this.#tellNames(object, signal)));
    if (names === undefined) return undefined;
    const times = timesOf(metadata) ?? { storedAt: modified, expiresAt: null, staleUntil: null };
    return { ...names, ...times, size };
  }

  async #tellNames(
    object: string,
    signal: AbortSignal,
  ): Promise<{ id: string; key: string } | undefined> {
    const found = await this.#bucket.fetch(await tellerOf(object), signal);
    return found === undefined ? undefined : toldNames(new TextDecoder().decode(found.body));
  }

  async #deleteAll(prefix: string): Promise<void> {
    const refused = await this.#bucket.removeAll(prefix);
    if (refused.length === 0) return;
    throw new Error(
      `${refused.length} of its objects were refused and are still there (${refused[0]})`,
    );
  }
}

/** Whether two writes touch a common id, or key; absent means all. */
function meet(one: string | undefined, other: string | undefined): boolean {
  return one === undefined || other === undefined || one === other;
}
