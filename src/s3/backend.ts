/**
 * Entries in an S3 bucket, one object each.
 *
 * @module
 */

import type {
  Backend,
  EntryInfo,
  Pruned,
  PruneRule,
  Report,
  StoreLink,
} from "../backend/contract.ts";
import { pruneListed } from "../backend/prune.ts";
import { CacheClosedError, DamagedEntryError } from "../base/errors.ts";
import type { StoredEntry } from "../encoding/entry.ts";
import { limitConcurrency } from "../limits/permits.ts";
import { Bucket } from "./bucket.ts";
import type { Listed } from "./client.ts";
import { failure, S3Failure } from "./errors.ts";
import { entryName, folderName, fullNames, parseName, parsePlace, type Place } from "./names.ts";
import { bodyOf, contentTypeOf, entryOf, metadataOf, timesOf } from "./object.ts";
import { checkOptions, type S3Options } from "./options.ts";
import { mapInOrder } from "./pool.ts";

/** The concurrent reads of one batch or listing; the other requests stay free for single calls. */
const READS_AT_ONCE = 32;

/** Entries that one request deletes. */
const DELETES_AT_ONCE = 1_000;

/** A listed entry, with the object that holds it. */
interface Found extends EntryInfo {
  readonly object: string;
}

/**
 * A backend in an S3 bucket, or on a server that speaks its protocol.
 *
 * Every object has a name below `<prefix>/panza-v1/`. Its body is the encoded value with a content
 * type, and everything else is metadata, so any S3 tool can read it. The AWS SDK is loaded on first
 * use. Changes of one entry are not ordered here: a cache does that.
 *
 * @category Backends
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
  /** Host, bucket and prefix: the same for every backend with the same entries. */
  readonly location: string;
  readonly #place: Place;
  readonly #bucket: Bucket;
  readonly #host: string;
  readonly #writes = new Set<Promise<void>>();
  readonly #closing = new AbortController();
  #closed: Promise<void> | undefined;
  readonly #reports: Report[] = [];
  readonly #links: StoreLink[] = [];

  /**
   * Checks everything and opens nothing: the first operation sends the first request.
   *
   * @param location `bucket`, `bucket/prefix` or `s3://bucket/prefix`; a prefix of up to 512 bytes.
   * @param options The settings of the connection; without any the SDK's standard chain decides.
   * @throws {TypeError} If the location is malformed or an option unknown or of the wrong shape.
   */
  constructor(location: string, options: S3Options = {}) {
    checkOptions("open an S3 backend", options);
    this.#place = parsePlace("open an S3 backend", location);
    this.#bucket = new Bucket(this.#place.bucket, options);
    this.#host = options.endpoint === undefined ? "S3" : new URL(options.endpoint).host;
    this.description = `S3 ${this.#place.label}`;
    this.location = `${this.#host} ${this.#place.label}`;
  }

  /**
   * Adds listeners for damaged objects in a batch of reads, and for the progress of transfers.
   *
   * @param report Called with each damaged object.
   * @param link Its `progress` is called for each piece of a transfer.
   */
  connect(report: Report, link?: StoreLink): void {
    this.#reports.push(report);
    if (link !== undefined) this.#links.push(link);
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
    return await this.#read("read", signal, (signals) => this.#fetchEntry(id, key, signals));
  }

  /**
   * Reads entries: one GET for each different key, 32 at a time. A damaged entry is reported and
   * `undefined`, so that the others are still read.
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
    return await this.#read("read", signal, async (signals) => {
      const end = new AbortController();
      const read = limitConcurrency(READS_AT_ONCE, { signal: end.signal })((key: string) =>
        this.#fetchEntry(id, key, signals).catch((error: unknown) => {
          if (!(error instanceof DamagedEntryError)) throw error;
          return undefined;
        })
      );
      const reads = new Map<string, Promise<StoredEntry | undefined>>();
      const answers = keys.map((key) => {
        const earlier = reads.get(key);
        // Every duplicate owns its bytes.
        if (earlier !== undefined) return earlier.then(copyOf);
        const first = read(key);
        reads.set(key, first);
        return first;
      });
      try {
        return await Promise.all(answers);
      } finally {
        // Nothing more is read after a failure.
        end.abort();
      }
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
    const type = contentTypeOf(entry.data);
    await this.#write("write", async () => {
      const { object, metadata } = await entryName(this.#place, id, key);
      const header = { object, type, metadata: { ...metadataOf(entry), ...metadata } };
      await this.#bucket.put(header, body, this.#progressOf(id, key));
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
    await this.#write("delete", async () => {
      await this.#bucket.delete((await entryName(this.#place, id, key)).object);
    });
  }

  /**
   * Removes every entry of an id: one LIST and one POST for each 1,000.
   *
   * @param id The id of the function, `""` for direct keys.
   * @throws {BackendError} If S3 cannot be reached, or refuses any of them.
   */
  async deleteId(id: string): Promise<void> {
    await this.#write("delete", async () => {
      refuse(await this.#bucket.removeAll(await folderName(this.#place, id), this.#isEntry));
    });
  }

  /**
   * Removes every entry of this backend, and nothing else of the bucket.
   *
   * @throws {BackendError} If S3 cannot be reached, or refuses any of them.
   */
  async clear(): Promise<void> {
    await this.#write("delete", async () => {
      refuse(await this.#bucket.removeAll(this.#place.root, this.#isEntry));
    });
  }

  /**
   * Lists entries: one LIST for each 1,000 and one HEAD for each entry, 32 at a time, as they are
   * consumed. Objects that are not entries are skipped. A damaged entry without metadata shows the
   * time of the object, no expiry and no cost. Where id and key together are longer than about
   * 1,500 bytes, the longer one shows as `sha256-` and its digest.
   *
   * @param id The id whose entries are listed; unset, all are.
   * @returns The entries, in the order of the server.
   * @throws {BackendError} If S3 cannot be reached, or refuses.
   */
  async *entries(id?: string): AsyncGenerator<EntryInfo, void, undefined> {
    for await (const { object: _, ...info } of this.#find(id)) {
      yield id === undefined ? info : { ...info, id };
    }
  }

  /**
   * Removes the entries that a rule names: the requests of `entries`, and one POST for each 1,000.
   *
   * @param rule The rule.
   * @returns The count and bytes of the deleted entries.
   * @throws {BackendError} If S3 cannot be reached, or refuses any of them.
   */
  async prune(rule: PruneRule): Promise<Pruned> {
    return await pruneListed({
      entries: (id) => this.#find(id),
      atOnce: DELETES_AT_ONCE,
      remove: (found) =>
        this.#write("delete", async () => {
          refuse(await this.#bucket.removeMany(found.map(({ object }) => object)));
        }),
    }, rule);
  }

  /** Aborts reads, waits for accepted writes and deletes, and releases the connections. */
  async close(): Promise<void> {
    this.#closed ??= this.#end();
    await this.#closed;
  }

  async #end(): Promise<void> {
    this.#closing.abort(new CacheClosedError());
    await Promise.allSettled(this.#writes);
    this.#bucket.close();
  }

  /** Runs a read, which its caller or `close` aborts. */
  async #read<Out>(
    operation: string,
    signal: AbortSignal | undefined,
    work: (signals: AbortSignal[]) => Promise<Out>,
  ): Promise<Out> {
    const closing = this.#closing.signal;
    const signals = signal === undefined ? [closing] : [closing, signal];
    try {
      for (const each of signals) each.throwIfAborted();
      return await work(signals);
    } catch (error) {
      if (closing.aborted) throw new CacheClosedError();
      if (signal?.aborted) throw signal.reason;
      throw this.#failure(operation, error);
    }
  }

  /** Runs a write, which `close` waits for. */
  async #write(operation: string, work: () => Promise<void>): Promise<void> {
    if (this.#closing.signal.aborted) throw new CacheClosedError();
    const write = work();
    this.#writes.add(write);
    try {
      await write;
    } catch (error) {
      throw this.#failure(operation, error);
    } finally {
      this.#writes.delete(write);
    }
  }

  #failure(operation: string, error: unknown): Error {
    return failure(error, this.description, operation, this.#place.bucket, this.#host);
  }

  /** Reports to all caches that the transfer of an entry moves. */
  #progressOf(id: string, key: string): () => void {
    return () => {
      for (const link of this.#links) link.progress(id, key);
    };
  }

  async #fetchEntry(
    id: string,
    key: string,
    signals: AbortSignal[],
  ): Promise<StoredEntry | undefined> {
    const { object } = await entryName(this.#place, id, key);
    const found = await this.#bucket.get(object, this.#progressOf(id, key), signals);
    if (found === undefined) return undefined;
    const entry = entryOf(found.metadata, found.body);
    if (entry !== undefined) return entry;
    const what = "the object was not written by this library, or was changed";
    throw new DamagedEntryError(what, id, key);
  }

  /** The entries of an id, or of all, read as they are consumed. */
  async *#find(id?: string): AsyncGenerator<Found, void, undefined> {
    const signals = [this.#closing.signal];
    const place = this.#place;
    const prefix = id === undefined ? place.root : await folderName(place, id);
    const infos = mapInOrder(
      READS_AT_ONCE,
      this.#listObjects(prefix, signals),
      (listed) => this.#inspect(listed, signals),
    );
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

  readonly #isEntry = (object: string): boolean => parseName(this.#place, object) !== undefined;

  async *#listObjects(
    prefix: string,
    signals: AbortSignal[],
  ): AsyncGenerator<Listed, void, undefined> {
    for await (const page of this.#bucket.list(prefix, signals)) {
      yield* page.filter(({ object }) => this.#isEntry(object));
    }
  }

  async #inspect(listed: Listed, signals: AbortSignal[]): Promise<Found | undefined> {
    const { object, size, modified } = listed;
    const names = parseName(this.#place, object);
    const metadata = await this.#bucket.metadata(object, signals);
    // Deleted since it was listed.
    if (names === undefined || metadata === undefined) return undefined;
    const lost = { storedAt: modified, expiresAt: null, staleUntil: null, durationMs: 0 };
    const times = timesOf(metadata) ?? lost;
    return { object, ...fullNames(names, metadata), ...times, size };
  }
}

function copyOf(entry: StoredEntry | undefined): StoredEntry | undefined {
  return typeof entry?.data === "object" ? { ...entry, data: entry.data.slice() } : entry;
}

/** Throws if S3 refused to delete objects; `codes` has one code for each. */
function refuse(codes: readonly string[]): void {
  if (codes.length === 0) return;
  throw new S3Failure(
    `${codes.length} of its objects were refused and are still there (${codes[0]})`,
    "allow s3:DeleteObject, and see whether the bucket locks objects",
  );
}
