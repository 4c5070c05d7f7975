/** A backend around another one, for tests that disturb or change some of its operations. */

import type { Backend, EntryInfo, Maybe, Pruned, PruneRule } from "../../src/backend/contract.ts";
import type { StoredEntry } from "../../src/encoding/entry.ts";

/** The operations of a backend. */
export const OPERATION_NAMES = [
  "get",
  "getMany",
  "set",
  "delete",
  "deleteId",
  "clear",
  "entries",
  "prune",
  "close",
] as const;

export type Operation = (typeof OPERATION_NAMES)[number];

/** Passes every operation but `entries` through {@linkcode run}, which a subclass replaces. */
export class BackendAround implements Backend {
  readonly description: string;
  /** Absent where the wrapped backend has none. */
  readonly prune?: (rule: PruneRule) => Promise<Pruned>;
  readonly inner: Backend;

  constructor(inner: Backend, name: string) {
    this.inner = inner;
    this.description = `${name} ${inner.description}`;
    const prune = inner.prune?.bind(inner);
    if (prune !== undefined) this.prune = (rule) => this.run("prune", () => prune(rule));
  }

  async run<Result>(
    _operation: Operation,
    work: () => Maybe<Result>,
    _signal?: AbortSignal,
  ): Promise<Result> {
    return await work();
  }

  connect(...listeners: Parameters<Backend["connect"]>): void {
    this.inner.connect(...listeners);
  }

  get(id: string, key: string, signal?: AbortSignal): Promise<StoredEntry | undefined> {
    return this.run("get", () => this.inner.get(id, key, signal), signal);
  }

  getMany(
    id: string,
    keys: readonly string[],
    signal?: AbortSignal,
  ): Promise<readonly (StoredEntry | undefined)[]> {
    const copied = [...keys];
    return this.run("getMany", () => this.inner.getMany(id, copied, signal), signal);
  }

  set(id: string, key: string, entry: StoredEntry): Promise<void> {
    const { data } = entry;
    // The work may begin later, when the caller may have changed its bytes.
    const copied = typeof data === "string" ? entry : { ...entry, data: new Uint8Array(data) };
    return this.run("set", () => this.inner.set(id, key, copied));
  }

  delete(id: string, key: string): Promise<void> {
    return this.run("delete", () => this.inner.delete(id, key));
  }

  deleteId(id: string): Promise<void> {
    return this.run("deleteId", () => this.inner.deleteId(id));
  }

  clear(): Promise<void> {
    return this.run("clear", () => this.inner.clear());
  }

  entries(id?: string): AsyncIterable<EntryInfo> {
    return id === undefined ? this.inner.entries() : this.inner.entries(id);
  }

  close(): Promise<void> {
    return this.run("close", () => this.inner.close());
  }
}
