/** The conformance kit itself: it passes a right backend and rejects broken ones by the clause. */
import { test } from "node:test";
import {
  assert,
  assertEquals,
  assertRejects,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import type { Backend, EntryInfo, Pruned, PruneRule } from "../../src/backend/contract.ts";
import type { StoredEntry } from "../../src/encoding/entry.ts";
import { CacheClosedError } from "../../src/base/errors.ts";
import { prune } from "../../src/backend/prune.ts";
import { FaultyBackend, type Operation, testBackend, type TestOptions } from "../../testing.ts";
import { breakDown } from "../support/tiers.ts";

/** More than the 1,000 entries that the broken backends stop at. */
const ENTRY_COUNT = 1100;

/** What several backends share: spaces of entries, and a switch that makes all of it fail. */
class Shelf {
  readonly spaces = new Map<string, Map<string, [Pair, StoredEntry]>>();
  broken = false;
}

type Pair = readonly [id: string, key: string];
type Found = StoredEntry | undefined;

/** A small backend that keeps the contract; what is broken below changes one step of it. */
class RightBackend implements Backend {
  readonly description = "a shelf";
  protected closed = false;
  protected readonly pending = new Set<Promise<void>>();

  readonly shelf: Shelf;
  protected readonly space: string;

  constructor(shelf: Shelf = new Shelf(), space = "space") {
    this.shelf = shelf;
    this.space = space;
  }

  connect(): void {}

  async get(id: string, key: string): Promise<Found> {
    await this.work();
    return this.read(id, key);
  }

  async getMany(id: string, keys: readonly string[]): Promise<Found[]> {
    await this.work();
    return keys.map((key) => this.read(id, key));
  }

  set(id: string, key: string, entry: StoredEntry): Promise<void> {
    const copied = this.accept(entry);
    return this.track(this.work().then(() => this.write(id, key, copied)));
  }

  async delete(id: string, key: string): Promise<void> {
    await this.work();
    this.remove((pair) => this.join(...pair) === this.join(id, key));
  }

  async deleteId(id: string): Promise<void> {
    await this.work();
    this.remove((pair) => pair[0] === id);
  }

  async clear(): Promise<void> {
    await this.work();
    this.map().clear();
  }

  async *entries(id?: string): AsyncGenerator<EntryInfo> {
    await this.work();
    for (const [pair, entry] of [...this.map().values()]) {
      if (id === undefined || pair[0] === id) yield this.info(pair, entry);
    }
  }

  async close(): Promise<void> {
    this.closed = true;
    await Promise.allSettled(this.pending);
  }

  // The steps.

  protected join(id: string, key: string): string {
    return JSON.stringify([id, key]);
  }

  protected map(): Map<string, [Pair, StoredEntry]> {
    const found = this.shelf.spaces.get(this.space);
    if (found !== undefined) return found;
    const made = new Map<string, [Pair, StoredEntry]>();
    this.shelf.spaces.set(this.space, made);
    return made;
  }

  protected check(): void {
    if (this.closed) throw new CacheClosedError();
    if (this.shelf.broken) throw new Error("the shelf is broken");
  }

  protected async work(): Promise<void> {
    this.check();
    await null;
  }

  protected track(write: Promise<void>): Promise<void> {
    this.pending.add(write);
    const done = (): void => void this.pending.delete(write);
    write.then(done, done);
    return write;
  }

  protected accept(entry: StoredEntry): StoredEntry {
    return own(entry);
  }

  protected answer(entry: StoredEntry): StoredEntry {
    return own(entry);
  }

  protected read(id: string, key: string): Found {
    const found = this.map().get(this.join(id, key));
    return found && this.answer(found[1]);
  }

  protected write(id: string, key: string, entry: StoredEntry): void {
    this.map().set(this.join(id, key), [[id, key], entry]);
  }

  protected remove(matches: (pair: Pair) => boolean): void {
    for (const [name, [pair]] of this.map()) {
      if (matches(pair)) this.map().delete(name);
    }
  }

  protected info([id, key]: Pair, entry: StoredEntry): EntryInfo {
    const { data, storedAt, expiresAt, staleUntil } = entry;
    const bytes = typeof data === "string" ? encode(data) : data;
    return { id, key, size: bytes.length, storedAt, expiresAt, staleUntil };
  }
}

function own(entry: StoredEntry): StoredEntry {
  const { data } = entry;
  return {
    ...entry,
    data: typeof data === "string" ? data : new Uint8Array(data),
  };
}

function encode(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}

/** Makes what is accepted something else. */
function accepting(change: (entry: StoredEntry) => Partial<StoredEntry>): typeof RightBackend {
  return class extends RightBackend {
    protected override accept(entry: StoredEntry): StoredEntry {
      return { ...own(entry), ...change(entry) };
    }
  };
}

/** Joins id and key in another way, and takes entries with the same join for the same. */
function joining(join: (id: string, key: string) => string): typeof RightBackend {
  return class extends RightBackend {
    protected override join(id: string, key: string): string {
      return join(id, key);
    }
  };
}

/** Deletes ids that match. */
function deletingIds(matches: (stored: string, asked: string) => boolean): typeof RightBackend {
  return class extends RightBackend {
    override async deleteId(id: string): Promise<void> {
      await this.work();
      this.remove(([stored]) => matches(stored, id));
    }
  };
}

/** Prunes by a changed rule, or tells something else. */
function pruning(
  change: (rule: PruneRule) => PruneRule,
  tell: (pruned: Pruned) => Pruned = (pruned) => pruned,
): typeof RightBackend {
  return class extends RightBackend {
    async prune(rule: PruneRule): Promise<Pruned> {
      return tell(await prune(this, change(rule)));
    }
  };
}

/** A pattern as in SQL's LIKE, which ignores the case of ASCII letters. */
function like(pattern: string): RegExp {
  const escaped = pattern.replaceAll(/[.*+?^${}()|[\]\\/]/g, "\\$&");
  return new RegExp(`^${escaped.replaceAll("%", ".*").replaceAll("_", ".")}$`, "is");
}

function lossy(text: string): string {
  return text.replaceAll(/[^\w]/g, "_");
}

/** Reads without the error of a failing store. */
function swallowing(operation: Operation): typeof RightBackend {
  return class extends RightBackend {
    #swallow<Result>(name: Operation, result: Promise<Result>, instead: Result): Promise<Result> {
      return name === operation
        ? result.catch((error: unknown) => {
          if (error instanceof CacheClosedError) throw error;
          return instead;
        })
        : result;
    }
    override get(id: string, key: string): Promise<Found> {
      return this.#swallow("get", super.get(id, key), undefined);
    }
    override getMany(id: string, keys: readonly string[]): Promise<Found[]> {
      const misses = keys.map(() => undefined);
      return this.#swallow("getMany", super.getMany(id, keys), misses);
    }
    override set(id: string, key: string, entry: StoredEntry): Promise<void> {
      return this.#swallow("set", super.set(id, key, entry), undefined);
    }
    override delete(id: string, key: string): Promise<void> {
      return this.#swallow("delete", super.delete(id, key), undefined);
    }
    override deleteId(id: string): Promise<void> {
      return this.#swallow("deleteId", super.deleteId(id), undefined);
    }
    override clear(): Promise<void> {
      return this.#swallow("clear", super.clear(), undefined);
    }
    override async *entries(id?: string): AsyncGenerator<EntryInfo> {
      if (operation === "entries" && this.shelf.broken) return;
      yield* super.entries(id);
    }
  };
}

/** Lets one operation through after `close()`. */
function reopening(operation: Operation): typeof RightBackend {
  return class extends RightBackend {
    #open(name: Operation): RightBackend {
      return name === operation ? new RightBackend(this.shelf) : this.#closing();
    }
    #closing(): RightBackend {
      const backend = new RightBackend(this.shelf);
      if (this.closed) void backend.close();
      return backend;
    }
    override get(id: string, key: string): Promise<Found> {
      return this.#open("get").get(id, key);
    }
    override getMany(id: string, keys: readonly string[]): Promise<Found[]> {
      return this.#open("getMany").getMany(id, keys);
    }
    override set(id: string, key: string, entry: StoredEntry): Promise<void> {
      return this.track(this.#open("set").set(id, key, entry));
    }
    override delete(id: string, key: string): Promise<void> {
      return this.#open("delete").delete(id, key);
    }
    override deleteId(id: string): Promise<void> {
      return this.#open("deleteId").deleteId(id);
    }
    override clear(): Promise<void> {
      return this.#open("clear").clear();
    }
    override entries(id?: string): AsyncGenerator<EntryInfo> {
      return this.#open("entries").entries(id);
    }
  };
}

/** Each broken backend: what is wrong with it, and the clause that it breaks. */
const MUTANTS: readonly [string, number, typeof RightBackend][] = [
  [
    "loses empty text",
    1,
    class extends RightBackend {
      protected override read(id: string, key: string): Found {
        const found = super.read(id, key);
        return found?.data ? found : undefined;
      }
    },
  ],
  [
    "loses empty bytes",
    1,
    class extends RightBackend {
      protected override read(id: string, key: string): Found {
        const found = super.read(id, key);
        return found?.data.length === 0 && typeof found.data !== "string" ? undefined : found;
      }
    },
  ],
  [
    "returns text as bytes",
    1,
    accepting(({ data }) => ({
      data: typeof data === "string" ? encode(data) : data,
    })),
  ],
  [
    "returns bytes as text where they are UTF-8",
    1,
    accepting(({ data }) => {
      try {
        return typeof data === "string" ? {} : {
          data: new TextDecoder("utf-8", { fatal: true }).decode(data),
        };
      } catch {
        return {};
      }
    }),
  ],
  [
    "guesses that text is a number",
    1,
    accepting(({ data }) =>
      typeof data === "string" && /^\d+$/.test(data) ? { data: String(Number(data)) } : {}
    ),
  ],
  [
    "truncates at 64 KiB",
    1,
    accepting(({ data }) => ({
      data: data.slice(0, 65_536),
    })),
  ],
  [
    "drops a byte order mark",
    1,
    accepting(({ data }) => ({
      data: typeof data === "string" ? new TextDecoder().decode(encode(data)) : data,
    })),
  ],
  [
    "normalises line ends",
    1,
    accepting(({ data }) => ({
      data: typeof data === "string" ? data.replaceAll("\r\n", "\n") : data,
    })),
  ],
  [
    "normalises text",
    1,
    accepting(({ data }) => ({
      data: typeof data === "string" ? data.normalize() : data,
    })),
  ],
  [
    "keeps 16 bits of a code point",
    1,
    accepting(({ data }) => ({
      data: typeof data === "string" ? data.replaceAll(/[\u{10000}-\u{10ffff}]/gu, "\ufffd") : data,
    })),
  ],
  [
    "stores the whole buffer of a view",
    1,
    accepting(({ data }) => ({
      data: typeof data === "string" ? data : new Uint8Array(data.buffer.slice(0)),
    })),
  ],
  [
    "turns expiresAt null into 0",
    1,
    accepting(({ expiresAt }) => ({
      expiresAt: expiresAt ?? 0,
    })),
  ],
  [
    "turns expiresAt 0 into null",
    1,
    accepting(({ expiresAt }) => ({
      expiresAt: expiresAt || null,
    })),
  ],
  [
    "turns staleUntil 0 into null",
    1,
    accepting(({ staleUntil }) => ({
      staleUntil: staleUntil || null,
    })),
  ],
  [
    "keeps a signed checksum",
    1,
    accepting(({ checksum }) => ({
      checksum: checksum | 0,
    })),
  ],
  [
    "rounds durationMs",
    1,
    accepting(({ durationMs }) => ({
      durationMs: Math.round(durationMs),
    })),
  ],
  [
    "keeps times in 32 bits of seconds",
    1,
    accepting(({ storedAt }) => ({
      storedAt: Math.min(storedAt, 2 ** 32 * 1000),
    })),
  ],
  [
    "lowers the case of formats",
    1,
    accepting(({ format }) => ({
      format: format.toLowerCase(),
    })),
  ],
  [
    "answers null for a miss",
    2,
    class extends RightBackend {
      override async get(id: string, key: string): Promise<Found> {
        // A backend in JavaScript can do what the types forbid.
        return (await super.get(id, key)) ?? JSON.parse("null");
      }
    },
  ],
  [
    "answers the last entry for a miss",
    2,
    class extends RightBackend {
      protected override read(id: string, key: string): Found {
        return super.read(id, key) ?? [...this.map().values()].at(-1)?.[1];
      }
    },
  ],
  [
    "keeps deleted entries as tombstones that read as empty",
    2,
    class extends RightBackend {
      override async delete(id: string, key: string): Promise<void> {
        await this.work();
        const found = this.map().get(this.join(id, key));
        if (found) this.write(id, key, { ...found[1], data: "" });
      }
    },
  ],
  [
    "merges the old fields into the new entry",
    3,
    class extends RightBackend {
      protected override write(id: string, key: string, entry: StoredEntry): void {
        const old = this.read(id, key);
        super.write(id, key, {
          ...entry,
          expiresAt: entry.expiresAt ?? old?.expiresAt ?? null,
        });
      }
    },
  ],
  [
    "keeps the first entry",
    3,
    class extends RightBackend {
      protected override write(id: string, key: string, entry: StoredEntry): void {
        if (!this.read(id, key)) super.write(id, key, entry);
      }
    },
  ],
  [
    "deletes before it writes",
    3,
    class extends RightBackend {
      override async set(id: string, key: string, entry: StoredEntry): Promise<void> {
        const copied = own(entry);
        await this.delete(id, key);
        await super.set(id, key, copied);
      }
    },
  ],
  [
    "writes data and fields one after the other",
    3,
    class extends RightBackend {
      override async set(id: string, key: string, entry: StoredEntry): Promise<void> {
        const copied = own(entry);
        const old = this.read(id, key);
        if (old) await super.set(id, key, { ...old, data: copied.data });
        await super.set(id, key, copied);
      }
    },
  ],
  [
    "overwrites only the beginning of longer data",
    3,
    class extends RightBackend {
      protected override write(id: string, key: string, entry: StoredEntry): void {
        const old = this.read(id, key)?.data;
        const { data } = entry;
        super.write(id, key, {
          ...entry,
          data: typeof data === "string" && typeof old === "string"
            ? data + old.slice(data.length)
            : data,
        });
      }
    },
  ],
  ["ignores the case of ids", 4, joining((id, key) => JSON.stringify([id.toLowerCase(), key]))],
  ["ignores the case of keys", 4, joining((id, key) => JSON.stringify([id, key.toUpperCase()]))],
  ["normalises keys", 4, joining((id, key) => JSON.stringify([id, key.normalize("NFC")]))],
  [
    "normalises compatible forms",
    4,
    joining((id, key) => JSON.stringify([id, key]).normalize("NFKC")),
  ],
  ["trims keys", 4, joining((id, key) => JSON.stringify([id, key.trim()]))],
  [
    "drops trailing dots of ids",
    4,
    joining((id, key) => JSON.stringify([id.replace(/\.+$/, ""), key])),
  ],
  ["joins id and key with a slash", 4, joining((id, key) => `${id}/${key}`)],
  ["joins id and key with a colon", 4, joining((id, key) => `${id}:${key}`)],
  ["joins id and key with nothing", 4, joining((id, key) => id + key)],
  ["joins id and key with a control character", 4, joining((id, key) => `${id}\u001f${key}`)],
  [
    "resolves dots in paths",
    4,
    joining(
      (id, key) =>
        new URL(`${encodeURIComponent(id)}/${encodeURIComponent(key)}`, "http://h/b/c/").href,
    ),
  ],
  ["replaces what is no letter", 4, joining((id, key) => JSON.stringify([lossy(id), lossy(key)]))],
  [
    "decodes percent signs",
    4,
    joining((id, key) => {
      try {
        return JSON.stringify([decodeURIComponent(id), key]);
      } catch {
        return JSON.stringify([id, key]);
      }
    }),
  ],
  ["cuts keys at 255 characters", 4, joining((id, key) => JSON.stringify([id, key.slice(0, 255)]))],
  ["ignores the id", 4, joining((_, key) => key)],
  [
    "reaches into its neighbour",
    4,
    class extends RightBackend {
      protected override map(): Map<string, [Pair, StoredEntry]> {
        const found = this.shelf.spaces.get("") ?? new Map();
        this.shelf.spaces.set("", found);
        return found;
      }
    },
  ],
  [
    "answers duplicates of getMany() once",
    5,
    class extends RightBackend {
      override getMany(id: string, keys: readonly string[]): Promise<Found[]> {
        return super.getMany(id, [...new Set(keys)]);
      }
    },
  ],
  [
    "answers only the first duplicate of getMany()",
    5,
    class extends RightBackend {
      override async getMany(id: string, keys: readonly string[]): Promise<Found[]> {
        const found = await super.getMany(id, keys);
        return found.map((entry, i) => (keys.indexOf(keys[i] ?? "") === i ? entry : undefined));
      }
    },
  ],
  [
    "answers getMany() in the order of the keys",
    5,
    class extends RightBackend {
      override getMany(id: string, keys: readonly string[]): Promise<Found[]> {
        return super.getMany(id, keys.toSorted());
      }
    },
  ],
  [
    "leaves misses out of getMany()",
    5,
    class extends RightBackend {
      override async getMany(id: string, keys: readonly string[]): Promise<Found[]> {
        return (await super.getMany(id, keys)).filter(Boolean);
      }
    },
  ],
  [
    "answers the first 1,000 keys of getMany()",
    5,
    class extends RightBackend {
      override async getMany(id: string, keys: readonly string[]): Promise<Found[]> {
        const found = await super.getMany(id, keys);
        return found.map((entry, index) => (index < 1000 ? entry : undefined));
      }
    },
  ],
  [
    "sorts the keys that getMany() is given",
    5,
    class extends RightBackend {
      override getMany(id: string, keys: string[]): Promise<Found[]> {
        keys.sort();
        return super.getMany(id, keys);
      }
    },
  ],
  [
    "rejects a delete of what is absent",
    6,
    class extends RightBackend {
      override async delete(id: string, key: string): Promise<void> {
        if (!(await this.get(id, key))) throw new Error("not found");
        await super.delete(id, key);
      }
    },
  ],
  [
    "rejects the second of two deletes at once",
    6,
    class extends RightBackend {
      readonly #running = new Set<string>();
      override async delete(id: string, key: string): Promise<void> {
        const name = this.join(id, key);
        if (this.#running.has(name)) throw new Error("busy");
        this.#running.add(name);
        await super.delete(id, key).finally(() => this.#running.delete(name));
      }
    },
  ],
  [
    "deletes keys by prefix",
    6,
    class extends RightBackend {
      override async delete(id: string, key: string): Promise<void> {
        await this.work();
        this.remove((pair) => pair[0] === id && pair[1].startsWith(key));
      }
    },
  ],
  [
    "deletes the key under every id",
    6,
    class extends RightBackend {
      override async delete(_: string, key: string): Promise<void> {
        await this.work();
        this.remove((pair) => pair[1] === key);
      }
    },
  ],
  ["deletes ids by prefix", 7, deletingIds((stored, asked) => stored.startsWith(asked))],
  [
    "deletes ids by prefix and a separator",
    7,
    deletingIds((stored, asked) => `${stored}/`.startsWith(`${asked}/`)),
  ],
  ["deletes ids by a LIKE pattern", 7, deletingIds((stored, asked) => like(asked).test(stored))],
  [
    "deletes ids of any case",
    7,
    deletingIds((stored, asked) => stored.toLowerCase() === asked.toLowerCase()),
  ],
  [
    "takes the empty id for all ids",
    7,
    deletingIds((stored, asked) => asked === "" || stored === asked),
  ],
  [
    "takes the empty id for none",
    7,
    deletingIds((stored, asked) => asked !== "" && stored === asked),
  ],
  [
    "deletes the first 1,000 of an id",
    7,
    class extends RightBackend {
      override async deleteId(id: string): Promise<void> {
        await this.work();
        let count = 0;
        this.remove((pair) => pair[0] === id && count++ < 1000);
      }
    },
  ],
  [
    "clears nothing",
    8,
    class extends RightBackend {
      override async clear(): Promise<void> {
        await this.work();
      }
    },
  ],
  [
    "clears the first 1,000",
    8,
    class extends RightBackend {
      override async clear(): Promise<void> {
        await this.work();
        let count = 0;
        this.remove(() => count++ < 1000);
      }
    },
  ],
  [
    "clears direct keys only",
    8,
    class extends RightBackend {
      override clear(): Promise<void> {
        return this.deleteId("");
      }
    },
  ],
  [
    "clears its neighbour too",
    8,
    class extends RightBackend {
      override async clear(): Promise<void> {
        await this.work();
        for (const [space, entries] of this.shelf.spaces) {
          if (space.startsWith(this.space)) entries.clear();
        }
      }
    },
  ],
  [
    "counts characters instead of bytes",
    9,
    class extends RightBackend {
      protected override info(pair: Pair, entry: StoredEntry): EntryInfo {
        return { ...super.info(pair, entry), size: entry.data.length };
      }
    },
  ],
  [
    "lists without expiry",
    9,
    class extends RightBackend {
      protected override info(pair: Pair, entry: StoredEntry): EntryInfo {
        return { ...super.info(pair, entry), expiresAt: null };
      }
    },
  ],
  [
    "lists the first 1,000",
    9,
    class extends RightBackend {
      override async *entries(id?: string): AsyncGenerator<EntryInfo> {
        let count = 0;
        for await (const info of super.entries(id)) {
          if (count++ < 1000) yield info;
        }
      }
    },
  ],
  [
    "lists the last entry of a page twice",
    9,
    class extends RightBackend {
      override async *entries(id?: string): AsyncGenerator<EntryInfo> {
        let count = 0;
        for await (const info of super.entries(id)) {
          yield info;
          if (++count % 1000 === 0) yield info;
        }
      }
    },
  ],
  [
    "ignores the id of a listing",
    9,
    class extends RightBackend {
      override entries(): AsyncGenerator<EntryInfo> {
        return super.entries();
      }
    },
  ],
  [
    "takes the empty id of a listing for all ids",
    9,
    class extends RightBackend {
      override entries(id?: string): AsyncGenerator<EntryInfo> {
        return super.entries(id || undefined);
      }
    },
  ],
  [
    "lists ids by prefix",
    9,
    class extends RightBackend {
      override async *entries(id = ""): AsyncGenerator<EntryInfo> {
        for await (const info of super.entries()) {
          if (info.id.startsWith(id)) yield info;
        }
      }
    },
  ],
  [
    "lists overwritten entries again",
    9,
    class extends RightBackend {
      override async *entries(id?: string): AsyncGenerator<EntryInfo> {
        await this.work();
        for (const [pair, entry] of this.map().values()) {
          if (id === undefined || pair[0] === id) yield this.info(pair, entry);
        }
      }
      protected override write(id: string, key: string, entry: StoredEntry): void {
        this.map().delete(this.join(id, key));
        super.write(id, key, entry);
      }
    },
  ],
  [
    "lists by position, so that deletions hide entries",
    9,
    class extends RightBackend {
      override async *entries(id?: string): AsyncGenerator<EntryInfo> {
        await this.work();
        for (let index = 0;; index++) {
          const found = [...this.map().values()].filter(
            ([pair]) => id === undefined || pair[0] === id,
          )[index];
          if (found === undefined) return;
          yield this.info(...found);
        }
      }
    },
  ],
  [
    "stays locked when a listing is left early",
    9,
    class extends RightBackend {
      #locked = false;
      override async *entries(id?: string): AsyncGenerator<EntryInfo> {
        this.#locked = true;
        yield* super.entries(id);
        this.#locked = false;
      }
      protected override check(): void {
        super.check();
        if (this.#locked) throw new Error("locked");
      }
    },
  ],
  ["takes a failed get() for a miss", 10, swallowing("get")],
  ["takes a failed getMany() for misses", 10, swallowing("getMany")],
  ["swallows a failed set()", 10, swallowing("set")],
  ["swallows a failed delete()", 10, swallowing("delete")],
  ["swallows a failed deleteId()", 10, swallowing("deleteId")],
  ["swallows a failed clear()", 10, swallowing("clear")],
  ["takes a failed listing for an empty one", 10, swallowing("entries")],
  [
    "throws at once instead of rejecting",
    10,
    class extends RightBackend {
      override delete(id: string, key: string): Promise<void> {
        if (this.shelf.broken) throw new Error("the shelf is broken");
        return super.delete(id, key);
      }
    },
  ],
  [
    "resolves set() before the entry can be read",
    11,
    class extends RightBackend {
      override async set(id: string, key: string, entry: StoredEntry): Promise<void> {
        await this.work();
        void super.set(id, key, own(entry));
      }
    },
  ],
  [
    "resolves delete() before the entry is gone",
    11,
    class extends RightBackend {
      override async delete(id: string, key: string): Promise<void> {
        await this.work();
        setTimeout(() => void super.delete(id, key).catch(() => {}), 0);
      }
    },
  ],
  [
    "remembers what it read, whatever another backend writes",
    11,
    class extends RightBackend {
      readonly #read = new Map<string, Found>();
      override async set(id: string, key: string, entry: StoredEntry): Promise<void> {
        await super.set(id, key, entry);
        this.#read.delete(this.join(id, key));
      }
      override async get(id: string, key: string): Promise<Found> {
        const name = this.join(id, key);
        if (!this.#read.has(name)) {
          this.#read.set(name, await super.get(id, key));
        }
        return this.#read.get(name);
      }
    },
  ],
  [
    "keeps entries to itself",
    11,
    class extends RightBackend {
      readonly #own = new Map<string, [Pair, StoredEntry]>();
      protected override map(): Map<string, [Pair, StoredEntry]> {
        return this.#own;
      }
    },
  ],
  [
    "forgets everything when it is closed",
    11,
    class extends RightBackend {
      override async close(): Promise<void> {
        await super.close();
        this.map().clear();
      }
    },
  ],
  [
    "rejects the second close()",
    12,
    class extends RightBackend {
      override close(): Promise<void> {
        return this.closed ? Promise.reject(new CacheClosedError()) : super.close();
      }
    },
  ],
  [
    "closes before accepted writes are done",
    12,
    class extends RightBackend {
      protected override async work(): Promise<void> {
        this.check();
        await new Promise((resolve) => setTimeout(resolve, 5));
      }
      override close(): Promise<void> {
        this.closed = true;
        return Promise.resolve();
      }
    },
  ],
  ...(["get", "getMany", "set", "delete", "deleteId", "clear", "entries"] as const).map(
    (operation): [string, number, typeof RightBackend] => [
      `allows ${operation}() after close()`,
      12,
      reopening(operation),
    ],
  ),
  [
    "rejects with another error after close()",
    12,
    class extends RightBackend {
      protected override check(): void {
        if (this.closed) throw new Error("closed");
        super.check();
      }
    },
  ],
  [
    "keeps the bytes of the caller",
    13,
    class extends RightBackend {
      protected override accept(entry: StoredEntry): StoredEntry {
        return entry;
      }
    },
  ],
  [
    "copies the bytes of the caller too late",
    13,
    class extends RightBackend {
      protected override accept(entry: StoredEntry): StoredEntry {
        return entry;
      }
      protected override write(id: string, key: string, entry: StoredEntry): void {
        super.write(id, key, own(entry));
      }
    },
  ],
  [
    "copies with slice(), which shares memory in some subclasses",
    13,
    class extends RightBackend {
      protected override accept(entry: StoredEntry): StoredEntry {
        return { ...entry, data: entry.data.slice() };
      }
    },
  ],
  [
    "returns its own bytes",
    13,
    class extends RightBackend {
      protected override answer(entry: StoredEntry): StoredEntry {
        return entry;
      }
    },
  ],
  [
    "prunes what is exactly as old as the rule says",
    14,
    pruning(({ storedBefore = -Infinity, ...rule }) => ({
      ...rule,
      storedBefore: storedBefore + 1,
    })),
  ],
  [
    "prunes what expires exactly then",
    14,
    pruning(({ expiredBefore = -Infinity, ...rule }) => ({
      ...rule,
      expiredBefore: expiredBefore + 1,
    })),
  ],
  [
    "does not prune what is past its time where there is a bound",
    14,
    pruning((rule) =>
      rule.maxEntries === undefined
        ? rule
        : { ...rule, storedBefore: -Infinity, expiredBefore: -Infinity }
    ),
  ],
  [
    "keeps one entry more than it is told",
    14,
    pruning(({ maxEntries = Infinity, ...rule }) => ({
      ...rule,
      maxEntries: maxEntries + 1,
    })),
  ],
  [
    "keeps a byte more than it is told",
    14,
    pruning(({ maxBytes = Infinity, ...rule }) => ({
      ...rule,
      maxBytes: maxBytes + 1,
    })),
  ],
  [
    "tells one entry less than it pruned",
    14,
    pruning(
      (rule) => rule,
      ({ entries, bytes }) => ({ entries: Math.max(0, entries - 1), bytes }),
    ),
  ],
  [
    "tells no bytes",
    14,
    pruning(
      (rule) => rule,
      ({ entries }) => ({ entries, bytes: 0 }),
    ),
  ],
  [
    "prunes the first page only",
    14,
    class extends RightBackend {
      async prune({ maxEntries = Infinity }: PruneRule): Promise<Pruned> {
        await this.work();
        const all = [...this.map().values()].slice(0, 1000);
        for (const [pair] of all.slice(maxEntries)) await this.delete(...pair);
        return {
          entries: Math.max(0, all.length - maxEntries),
          bytes: 0,
        };
      }
    },
  ],
  [
    "prunes after its end",
    12,
    class extends RightBackend {
      async prune(rule: PruneRule): Promise<Pruned> {
        return this.closed ? { entries: 0, bytes: 0 } : await prune(this, rule);
      }
    },
  ],
  [
    "prunes a broken store without a word",
    10,
    class extends RightBackend {
      async prune(rule: PruneRule): Promise<Pruned> {
        return this.shelf.broken ? { entries: 0, bytes: 0 } : await prune(this, rule);
      }
    },
  ],
];

/** Runs the kit, or its tests of one clause, and returns the names of those that failed. */
async function failures(Kind: typeof RightBackend, clause?: number): Promise<Map<string, string>> {
  const tests = new Map<string, () => Promise<void>>();
  const options: TestOptions<{ backend: RightBackend }> = {
    again: ({ backend }) => new Kind(backend.shelf),
    neighbour: ({ backend }) => new Kind(backend.shelf, "space/longer"),
    breakStore: ({ backend }) => void (backend.shelf.broken = true),
    entryCount: ENTRY_COUNT,
  };
  testBackend(
    (name, fn) => tests.set(name, fn),
    () => ({ backend: new Kind() }),
    options,
  );
  const failed = new Map<string, string>();
  let ran = 0;
  for (const [name, fn] of tests) {
    if (clause !== undefined && !name.startsWith(`clause ${clause}:`)) continue;
    ran++;
    await fn().catch((error: Error) => failed.set(name, error.message));
  }
  assert(ran > 0, "no test was run");
  return failed;
}

test("testBackend() passes a backend that keeps the contract", async () => {
  assertEquals(await failures(RightBackend), new Map());
});

test("testBackend() has a test for each numbered clause", () => {
  const names: string[] = [];
  testBackend(
    (name) => names.push(name),
    () => ({ backend: new RightBackend() }),
    { breakStore: () => {} },
  );
  for (let clause = 1; clause <= 14; clause++) {
    assert(
      names.some((name) => name.startsWith(`clause ${clause}: `)),
      `clause ${clause}`,
    );
  }
  assertEquals(names.length, new Set(names).size, "names are unique");
});

for (const [what, clause, Kind] of MUTANTS) {
  test(`testBackend() rejects, by clause ${clause}, a backend that ${what}`, async () => {
    const failed = await failures(Kind, clause);
    assert(failed.size > 0, "the kit passes it");
    for (const message of failed.values()) assert(message.length > 0);
  });
}

test("testBackend() names the seed and the turn where a random test fails", async () => {
  const tests = new Map<string, () => Promise<void>>();
  testBackend(
    (name, fn) => tests.set(name, fn),
    () => ({ backend: new (joining((_, key) => key))() }),
    { seed: 7, entryCount: 1 },
  );
  const [, run] = [...tests].find(([name]) => name.includes("random")) ?? [];
  assert(run !== undefined);
  const error = await assertRejects(run, Error, "seed 7, turn ");
  assertStringIncludes(error.message, "Expected that");
});

test("testBackend() closes and removes each store, also after a failure", async () => {
  const removed: boolean[] = [];
  const runs: (() => Promise<void>)[] = [];
  testBackend(
    (_, fn) => runs.push(fn),
    () => ({ backend: new (accepting(() => ({ data: "" })))() }),
    {
      entryCount: 1,
      remove: async ({ backend }) => {
        const outcome = await backend.get("id", "key").catch((error) => error);
        removed.push(outcome instanceof CacheClosedError);
      },
    },
  );
  const outcomes = await Promise.allSettled(runs.map((run) => run()));
  assert(outcomes.some(({ status }) => status === "rejected"));
  assertEquals(
    removed,
    runs.map(() => true),
  );
});

test("testBackend() refuses options that do not exist or are out of range", () => {
  const kit = (options: object): void =>
    testBackend(
      () => {},
      () => ({ backend: new RightBackend() }),
      options,
    );
  assertThrows(() => kit({ reopen: true }), TypeError, '"reopen"');
  assertThrows(() => kit({ entryCount: 0 }), RangeError, "entryCount");
  assertThrows(() => kit({ entryCount: "9" }), TypeError, "entryCount");
  assertThrows(() => kit({ seed: -1 }), RangeError, "seed");
  assertThrows(() => kit({ seed: 2 ** 32 }), RangeError, "seed");
});

// The faulty backend, undisturbed and with a failing store, keeps the contract itself.
testBackend(
  (name, fn) => test(`FaultyBackend, ${name}`, fn),
  () => ({ backend: new FaultyBackend(new RightBackend()) }),
  {
    entryCount: 10,
    breakStore: ({ backend }) => breakDown(backend),
  },
);

const ENTRY: StoredEntry = {
  data: "value",
  format: "test.1",
  checksum: 1,
  storedAt: 2,
  expiresAt: null,
  staleUntil: null,
  durationMs: 0,
};

test("FaultyBackend.fail() rejects as often as asked, then no more", async () => {
  const backend = new FaultyBackend(new RightBackend());
  const error = new Error("no room");
  backend.fail("set", { error, times: 2 });
  for (let attempt = 0; attempt < 2; attempt++) {
    const got = await assertRejects(() => backend.set("id", "key", ENTRY));
    assert(got === error);
  }
  assertEquals(await backend.get("id", "key"), undefined);
  await backend.set("id", "key", ENTRY);
  assertEquals(await backend.get("id", "key"), ENTRY);
  assertEquals(backend.calls("set"), 3);
  assertEquals(backend.calls("get"), 2);
  assertEquals(backend.calls("clear"), 0);
});

test("FaultyBackend.fail() can lose the answer of work that was done", async () => {
  const backend = new FaultyBackend(new RightBackend());
  backend.fail("set", { when: "after" });
  await assertRejects(() => backend.set("id", "key", ENTRY), Error, "set of");
  assertEquals(await backend.get("id", "key"), ENTRY);
  backend.fail("entries", { when: "after" });
  const seen: string[] = [];
  await assertRejects(
    async () => {
      for await (const { key } of backend.entries()) seen.push(key);
    },
    Error,
    "entries of",
  );
  assertEquals(seen, ["key"]);
});

test("FaultyBackend.hold() makes calls wait until release() or an abort", async () => {
  const backend = new FaultyBackend(new RightBackend());
  await backend.set("id", "key", ENTRY);
  backend.hold("get");
  const order: string[] = [];
  const held = backend.get("id", "key").then((entry) => {
    order.push("held");
    return entry;
  });
  const controller = new AbortController();
  const aborted = backend.get("id", "key", controller.signal);
  await backend.getMany("id", ["key"]);
  order.push("free");
  assertEquals(backend.waiting("get"), 2);
  controller.abort(new Error("enough"));
  await assertRejects(() => aborted, Error, "enough");
  assertEquals(backend.waiting("get"), 1);
  backend.release("get");
  assertEquals(await held, ENTRY);
  assertEquals(order, ["free", "held"]);
  assertEquals(backend.waiting("get"), 0);
  assertEquals(await backend.get("id", "key"), ENTRY);
});

test("FaultyBackend.delay() makes calls late, until heal()", async () => {
  const backend = new FaultyBackend(new RightBackend());
  backend.delay("set", 0);
  const order: string[] = [];
  const late = backend.set("id", "key", ENTRY).then(() => order.push("late"));
  await backend.set("id", "other", ENTRY).then(() => order.push("late"));
  await late;
  backend.delay("set", 1_000_000);
  backend.heal();
  backend.delay("get", 1_000_000);
  const signal = AbortSignal.abort(new Error("enough"));
  await assertRejects(() => backend.get("id", "key", signal), Error, "enough");
  await backend.set("id", "key", ENTRY);
  assertEquals(order, ["late", "late"]);
});

test("FaultyBackend.prune() is there where the wrapped backend has it, and fails on demand", async () => {
  assertEquals(new FaultyBackend(new RightBackend()).prune, undefined);
  const backend = new FaultyBackend(new (pruning((rule) => rule))());
  await backend.set("id", "key", ENTRY);
  backend.fail("prune", { times: 1 });
  const rule: PruneRule = { storedBefore: ENTRY.storedAt + 1 };
  await assertRejects(async () => await backend.prune?.(rule), Error, "prune");
  assertEquals((await backend.prune?.(rule))?.entries, 1);
  assertEquals(backend.calls("prune"), 2);
});

test("FaultyBackend.heal() ends failures and lets held calls go", async () => {
  const backend = new FaultyBackend(new RightBackend());
  backend.fail("get");
  backend.hold("clear");
  const held = backend.clear();
  await assertRejects(() => backend.get("id", "key"));
  backend.heal();
  await held;
  assertEquals(await backend.get("id", "key"), undefined);
});

test("FaultyBackend fails at random, the same way for the same seed", async () => {
  async function run(seed: number): Promise<string> {
    const backend = new FaultyBackend(new RightBackend(), {
      failureRate: 0.5,
      operations: ["get"],
      seed,
    });
    await backend.set("id", "key", ENTRY);
    let marks = "";
    for (let call = 0; call < 64; call++) {
      marks += await backend.get("id", "key").then(
        () => "+",
        () => "-",
      );
    }
    return marks;
  }
  const marks = await run(1);
  assert(marks.includes("+") && marks.includes("-"));
  assertEquals(await run(1), marks);
  assert((await run(2)) !== marks);
});

test("FaultyBackend refuses unknown options and operations", () => {
  const make = (options: object): FaultyBackend => new FaultyBackend(new RightBackend(), options);
  assertThrows(() => make({ rate: 1 }), TypeError, '"rate"');
  assertThrows(() => make({ failureRate: 1.5 }), RangeError, "failureRate");
  assertThrows(() => make({ failureRate: NaN }), RangeError, "failureRate");
  assertThrows(() => make({ failureRate: "1" }), TypeError, "failureRate");
  assertThrows(() => make({ operations: ["read"] }), TypeError, '"read"');
  assertThrows(() => make({ seed: 0.5 }), RangeError, "seed");
  const backend = make({});
  assertThrows(() => backend.fail("get", { times: 0 }), RangeError, "times");
  assertThrows(() => backend.delay("get", -1), RangeError, "milliseconds");
  assertThrows(() => backend.delay("get", Infinity), RangeError, "finite");
});
