/**
 * A backend that seals every entry before it is stored and gives the original back. With it the
 * conformance kit, whose checksums are made up, also tests intact entries.
 */

import type { Backend } from "../../src/backend/contract.ts";
import type { StoredEntry } from "../../src/encoding/entry.ts";
import { seal } from "../../src/encoding/entry.ts";
import { BackendAround } from "./around.ts";

const SEALED = /^(.+)\.sum(\d+)$/;

export class SealedBackend extends BackendAround {
  constructor(inner: Backend) {
    super(inner, "sealed");
  }

  override async get(id: string, key: string): Promise<StoredEntry | undefined> {
    return opened(await this.inner.get(id, key));
  }

  override async getMany(
    id: string,
    keys: readonly string[],
  ): Promise<readonly (StoredEntry | undefined)[]> {
    return (await this.inner.getMany(id, keys)).map(opened);
  }

  override set(id: string, key: string, entry: StoredEntry): Promise<void> {
    const { data, format, checksum, ...times } = entry;
    const encoded = { data, format: `${format}.sum${checksum}` };
    return this.inner.set(id, key, seal(id, key, encoded, times));
  }
}

function opened(entry: StoredEntry | undefined): StoredEntry | undefined {
  if (entry === undefined) return undefined;
  const [, format = "", checksum] = SEALED.exec(entry.format) ?? [];
  return { ...entry, format, checksum: Number(checksum) };
}
