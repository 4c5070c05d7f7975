/**
 * Encryption at rest: a backend around another, which sees ciphertext only.
 *
 * Values are encrypted with AES-GCM (NIST SP 800-38D) and a random nonce. Id, key and times stay
 * readable, because backends and pruning need them; they are authenticated with the value, so that
 * an entry that was moved or given other times does not decrypt.
 *
 * @module
 */

import { decryptAesGcm, encryptAesGcm } from "@std/crypto/aes-gcm";
import type { StoredEntry } from "../encoding/entry.ts";
import type { Backend, EntryInfo, Pruned, PruneRule, Report, StoreLink } from "./contract.ts";
import { handOn } from "./shared.ts";
import { ENCRYPTED, type EntryTimes, isIntact, seal } from "../encoding/entry.ts";
import { CacheClosedError, DamagedEntryError } from "../base/errors.ts";

/**
 * Bytes in the plaintext before the data: kind, length of the format's name, checksum, and that
 * name. The number is fixed, so that a size shows the length of the value and not its encoding.
 */
const HEADER_BYTES = 32;
/** The offset of the format's name. */
const NAME_BEGIN = 6;
const TEXT = 0;
const BYTES = 1;

/**
 * Checks the option `encrypt`.
 *
 * @param action The action that fails without a key, as a verb phrase.
 * @returns A copy of the keys, the first of which encrypts.
 * @throws {TypeError} If there is no key, or one of another kind, algorithm or usage.
 */
export function checkKeys(action: string, encrypt: unknown): CryptoKey[] {
  const keys: unknown[] = Array.isArray(encrypt) ? [...encrypt] : [encrypt];
  if (keys.length === 0) refuse(action, "encrypt", "an empty list");
  return keys.map((key, index) => {
    const name = Array.isArray(encrypt) ? `encrypt[${index}]` : "encrypt";
    // A value that is not a key stays out of the message: it may be the bytes of one.
    if (!(key instanceof CryptoKey)) refuse(action, name, "something else");
    const algorithm = key.algorithm.name;
    const able = key.usages.includes("decrypt") && (index > 0 || key.usages.includes("encrypt"));
    if (algorithm !== "AES-GCM" || !able) {
      const usages = key.usages.join(" and ") || "nothing";
      refuse(action, name, `a key of ${algorithm} for ${usages}`);
    }
    return key;
  });
}

function refuse(action: string, name: string, received: string): never {
  throw new TypeError(
    `Cannot ${action}: ${name} must be a CryptoKey of AES-GCM that may encrypt and decrypt, ` +
      `received ${received}`,
  );
}

/** Encrypts what goes into a backend, and decrypts what comes out. */
export class EncryptedBackend implements Backend {
  /** The description of the other backend. */
  readonly description: string;
  /** Prunes the other backend; absent where that has no `prune`. */
  readonly prune?: (rule: PruneRule) => Promise<Pruned>;
  /** Replaces a note, which is not encrypted: it holds no value. */
  readonly update?: NonNullable<Backend["update"]>;
  /** Encrypts an entry and stores it in exchange for its note. */
  readonly exchange?: NonNullable<Backend["exchange"]>;
  readonly changed?: NonNullable<Backend["changed"]>;
  readonly openSession?: NonNullable<Backend["openSession"]>;
  readonly isOver?: NonNullable<Backend["isOver"]>;
  readonly endSession?: NonNullable<Backend["endSession"]>;
  readonly #inner: Backend;
  readonly #keys: readonly CryptoKey[];
  readonly #first: CryptoKey;
  /** Writes that were accepted and have not settled. */
  readonly #writes = new Set<Promise<void>>();
  #closing: Promise<void> | undefined;

  /** @param keys The result of `checkKeys`: the first one encrypts. */
  constructor(inner: Backend, keys: readonly CryptoKey[]) {
    const [first] = keys;
    if (first === undefined) throw new TypeError("there is no key");
    this.#inner = inner;
    this.#keys = keys;
    this.#first = first;
    this.description = inner.description;
    handOn(this, inner);
    const exchange = inner.exchange?.bind(inner);
    if (exchange !== undefined) {
      this.exchange = (id, key, note, entry) =>
        this.#store(id, key, entry, (encrypted) => exchange(id, key, note, encrypted));
    }
    const prune = inner.prune?.bind(inner);
    if (prune !== undefined) {
      this.prune = async (rule) => {
        this.#assertOpen();
        return await prune(rule);
      };
    }
  }

  /** The location of the other backend. */
  get location(): string | undefined {
    return this.#inner.location;
  }

  /** Connects the other backend, which reports errors and gets the order. */
  connect(report: Report, link?: StoreLink): void {
    this.#inner.connect(report, link);
  }

  /**
   * Reads and decrypts one entry.
   *
   * @throws {DamagedEntryError} If it is not encrypted, or not with one of the keys.
   */
  async get(id: string, key: string, signal?: AbortSignal): Promise<StoredEntry | undefined> {
    this.#assertOpen();
    const entry = await this.#inner.get(id, key, signal);
    return entry === undefined ? undefined : await this.#open(id, key, entry);
  }

  /**
   * Reads and decrypts several entries of one id. An entry that is not encrypted with one of the
   * keys is `undefined`: it says nothing about the others.
   */
  async getMany(
    id: string,
    keys: readonly string[],
    signal?: AbortSignal,
  ): Promise<(StoredEntry | undefined)[]> {
    this.#assertOpen();
    const entries = await this.#inner.getMany(id, keys, signal);
    return await Promise.all(
      keys.map((key, index) => {
        const entry = entries[index];
        return entry === undefined ? undefined : this.#open(id, key, entry).catch(orUndefined);
      }),
    );
  }

  set(id: string, key: string, entry: StoredEntry): Promise<void> {
    return this.#store(id, key, entry, (encrypted) => this.#inner.set(id, key, encrypted));
  }

  #store<Result>(
    id: string,
    key: string,
    entry: StoredEntry,
    store: (encrypted: StoredEntry) => Promise<Result>,
  ): Promise<Result> {
    if (this.#closing !== undefined) return Promise.reject(new CacheClosedError());
    const forget = (): void => void this.#writes.delete(settled);
    // In this turn: the caller may change its bytes afterwards.
    let plaintext: Uint8Array<ArrayBuffer>;
    try {
      plaintext = plaintextOf(entry);
    } catch (error) {
      return Promise.reject(error);
    }
    const done = this.#encrypt(id, key, entry, plaintext).then(store);
    const settled: Promise<void> = done.then(forget, forget);
    this.#writes.add(settled);
    return done;
  }

  async delete(id: string, key: string): Promise<void> {
    this.#assertOpen();
    await this.#inner.delete(id, key);
  }

  async deleteId(id: string): Promise<void> {
    this.#assertOpen();
    await this.#inner.deleteId(id);
  }

  async clear(): Promise<void> {
    this.#assertOpen();
    await this.#inner.clear();
  }

  /** Lists entries; their sizes are those of the ciphertexts. */
  async *entries(id?: string): AsyncIterable<EntryInfo> {
    this.#assertOpen();
    yield* this.#inner.entries(id);
  }

  /** Waits for accepted writes, then closes the other backend. */
  close(): Promise<void> {
    return (this.#closing ??= Promise.all(this.#writes).then(() => this.#inner.close()));
  }

  #assertOpen(): void {
    if (this.#closing !== undefined) throw new CacheClosedError();
  }

  async #encrypt(
    id: string,
    key: string,
    entry: StoredEntry,
    plaintext: Uint8Array<ArrayBuffer>,
  ): Promise<StoredEntry> {
    const { storedAt, expiresAt, staleUntil, durationMs } = entry;
    const times = { storedAt, expiresAt, staleUntil, durationMs };
    const additionalData = belongings(id, key, times);
    const data = await encryptAesGcm(this.#first, plaintext, {
      additionalData,
    });
    return seal(id, key, { format: ENCRYPTED, data }, times);
  }

  async #open(id: string, key: string, entry: StoredEntry): Promise<StoredEntry> {
    if (entry.format !== ENCRYPTED || typeof entry.data === "string") {
      throw new DamagedEntryError("it is not encrypted", id, key);
    }
    if (!isIntact(id, key, entry)) {
      throw new DamagedEntryError("its checksum does not match", id, key);
    }
    const data = new Uint8Array(entry.data);
    const additionalData = belongings(id, key, entry);
    let cause: unknown;
    for (const secret of this.#keys) {
      try {
        return {
          ...entry,
          ...contentOf(await decryptAesGcm(secret, data, { additionalData })),
        };
      } catch (error) {
        cause = error;
      }
    }
    throw new DamagedEntryError("none of the given keys decrypts it", id, key, { cause });
  }
}

/** One damaged entry of many counts as absent; `get` reports the reason. */
function orUndefined(error: unknown): undefined {
  if (!(error instanceof DamagedEntryError)) throw error;
}

/** The data that is authenticated beside the value: the entry's id, key and times. */
function belongings(
  id: string,
  key: string,
  { storedAt, expiresAt, staleUntil, durationMs }: EntryTimes,
): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(
    JSON.stringify([ENCRYPTED, id, key, storedAt, expiresAt, staleUntil, durationMs]),
  );
}

/** The encrypted part of an entry: its kind, format, checksum and data. */
function plaintextOf({ format, checksum, data }: StoredEntry): Uint8Array<ArrayBuffer> {
  const name = new TextEncoder().encode(format);
  if (name.length > HEADER_BYTES - NAME_BEGIN) {
    throw new RangeError("the name of the format is too long to encrypt");
  }
  const content = typeof data === "string" ? new TextEncoder().encode(data) : data;
  const bytes = new Uint8Array(HEADER_BYTES + content.length);
  bytes[0] = typeof data === "string" ? TEXT : BYTES;
  bytes[1] = name.length;
  new DataView(bytes.buffer).setUint32(2, checksum, true);
  bytes.set(name, NAME_BEGIN);
  bytes.set(content, HEADER_BYTES);
  return bytes;
}

/** Reads what `plaintextOf` wrote. */
function contentOf(bytes: Uint8Array): Pick<StoredEntry, "format" | "checksum" | "data"> {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const end = NAME_BEGIN + view.getUint8(1);
  const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
  const content = bytes.subarray(HEADER_BYTES);
  return {
    format: decoder.decode(bytes.subarray(NAME_BEGIN, end)),
    checksum: view.getUint32(2, true),
    // In a buffer of its own, aligned to 8 bytes: numbers are then read in place.
    data: bytes[0] === TEXT ? decoder.decode(content) : new Uint8Array(content),
  };
}
