/**
 * A backend that makes every entry intact on its way in and gives it back as it was: so that the
 * conformance kit, whose checksums are made up, also walks the ways that only intact entries take.
 */

import type { Backend, EntryInfo } from "../../src/backend/contract.ts";
import type { StoredEntry } from "../../src/encoding/entry.ts";
import { seal } from "../../src/encoding/entry.ts";

const SEALED = /^(.+)\.sum(\d+)$/;

export class SealedBackend implements Backend {
  readonly description: string;
  readonly #inner: Backend;

  constructor(inner: Backend) {
    this.#inner = inner;
    this.description = `sealed ${inner.description}`;
  }

  connect(report: (error: Error) => void): void {
    this.#inner.connect(report);
  }

  async get(id: string, key: string): Promise<StoredEntry | undefined> {
    return opened(await this.#inner.get(id, key));
  }

  async getMany(id: string, keys: readonly string[]): Promise<(StoredEntry | undefined)[]> {
    return (await this.#inner.getMany(id, keys)).map(opened);
  }

  set(id: string, key: string, entry: StoredEntry): Promise<void> {
    const { data, format, checksum, ...times } = entry;
    const encoded = { data, format: `${format}.sum${checksum}` };
    return this.#inner.set(id, key, seal(id, key, encoded, times));
  }

  delete(id: string, key: string): Promise<void> {
    return this.#inner.delete(id, key);
  }

  deleteId(id: string): Promise<void> {
    return this.#inner.deleteId(id);
  }

  clear(): Promise<void> {
    return this.#inner.clear();
  }

  entries(id?: string): AsyncIterable<EntryInfo> {
    return this.#inner.entries(id);
  }

  close(): Promise<void> {
    return this.#inner.close();
  }
}

function opened(entry: StoredEntry | undefined): StoredEntry | undefined {
  if (entry === undefined) return undefined;
  const [, format = "", checksum] = SEALED.exec(entry.format) ?? [];
  return { ...entry, format, checksum: Number(checksum) };
}
