/** The conformance kit itself: it passes right backends and rejects broken ones by the clause. */
import { test } from "node:test";
import { assert, assertEquals, assertRejects } from "@std/assert";
import {
  type Backend,
  type EntryInfo,
  type NoteChange,
  type Pruned,
  type PruneRule,
  RESERVED,
} from "../../src/backend/contract.ts";
import type { StoredEntry } from "../../src/encoding/entry.ts";
import { CacheClosedError } from "../../src/base/errors.ts";
import { nextTurn, sleep } from "../../src/base/turn.ts";
import { prune } from "../../src/backend/prune.ts";
import { testBackend, type TestOptions } from "../../testing.ts";
import { OPERATION_NAMES } from "../support/faulty.ts";
import { Random } from "../torture/random.ts";

/** More than the 1,000 entries that some broken backends stop at. */
const ENTRY_COUNT = 1100;

type Pair = readonly [id: string, key: string];
type Found = StoredEntry | undefined;
type Space = Map<string, [Pair, StoredEntry]>;

/** The part that several backends share: spaces of entries, and a switch that makes all fail. */
interface Shelf {
  readonly spaces: Map<string, Space>;
  /** The notes of all spaces, by space, id and key. */
  readonly notes: Map<string, string>;
  readonly waiting: Set<() => void>;
  broken: boolean;
  readonly name: string;
}

let shelves = 0;

function newShelf(): Shelf {
  return {
    spaces: new Map(),
    notes: new Map(),
    waiting: new Set(),
    broken: false,
    name: `shelf ${shelves++}`,
  };
}

/** A backend on a shelf, as operations and the steps that they are made of. */
interface ShelfBackend extends Backend {
  readonly shelf: Shelf;
  readonly space: string;
  closed: boolean;
  join(id: string, key: string): string;
  map(): Space;
  check(): void;
  work(): Promise<void>;
  accept(entry: StoredEntry): StoredEntry;
  answer(entry: StoredEntry): StoredEntry;
  read(id: string, key: string): Found;
  write(id: string, key: string, entry: StoredEntry): void;
  remove(matches: (pair: Pair) => boolean): void;
  info(pair: Pair, entry: StoredEntry): EntryInfo;
  update(id: string, key: string, change?: NoteChange): Promise<string | undefined>;
  exchange(id: string, key: string, note: string, entry: StoredEntry): Promise<boolean>;
  changed(ms: number): Promise<void>;
  openSession(session: string): Promise<void>;
  isOver(session: string): boolean;
  endSession(session: string): Promise<void>;
  /** Writes a note, or removes it. */
  note(id: string, key: string, text: string | undefined): void;
  noted(id: string, key: string): string | undefined;
  forget(matches: (pair: Pair, note: string) => boolean): void;
}

/** Replaces steps of a backend; `right` has them as they were, and calls replaced ones. */
type Override = (self: ShelfBackend, right: Readonly<ShelfBackend>) => Partial<ShelfBackend>;

/** A small backend that keeps the contract, apart from the steps that are replaced. */
function shelfBackend(
  override: Override = () => ({}),
  shelf: Shelf = newShelf(),
  space = "space",
): ShelfBackend {
  const pending = new Set<Promise<void>>();
  const self: ShelfBackend = {
    description: "a shelf",
    location: `${shelf.name}/${space}`,
    shelf,
    space,
    closed: false,
    connect() {},
    async get(id, key) {
      await self.work();
      return self.read(id, key);
    },
    async getMany(id, keys) {
      await self.work();
      return keys.map((key) => self.read(id, key));
    },
    set(id, key, entry) {
      const copied = self.accept(entry);
      const write = self.work().then(() => self.write(id, key, copied));
      pending.add(write);
      const done = (): void => void pending.delete(write);
      write.then(done, done);
      return write;
    },
    async delete(id, key) {
      await self.work();
      self.remove((pair) => self.join(...pair) === self.join(id, key));
      self.forget((pair) => pair[0] === id && pair[1] === key);
    },
    async deleteId(id) {
      await self.work();
      self.remove((pair) => pair[0] === id);
      self.forget((pair) => pair[0] === id);
    },
    async clear() {
      await self.work();
      self.remove(() => true);
      self.forget(([id]) => !id.startsWith(RESERVED));
    },
    async *entries(id) {
      await self.work();
      for (const [pair, entry] of [...self.map().values()]) {
        if (id === undefined || pair[0] === id) yield self.info(pair, entry);
      }
    },
    async close() {
      self.closed = true;
      await Promise.allSettled(pending);
    },
    async update(id, key, change = (note) => note) {
      await self.work();
      const before = self.noted(id, key);
      const note = change(before, Date.now());
      if (note !== before) self.note(id, key, note);
      return note;
    },
    async exchange(id, key, note, entry) {
      const copied = self.accept(entry);
      await self.work();
      if (self.noted(id, key) !== note) return false;
      self.note(id, key, undefined);
      self.write(id, key, copied);
      return true;
    },
    async changed(ms) {
      self.check();
      const { promise, resolve } = Promise.withResolvers<void>();
      shelf.waiting.add(resolve);
      await Promise.race([promise, sleep(ms)]);
    },
    async openSession() {
      await self.work();
    },
    isOver: () => false,
    async endSession(session) {
      await self.work();
      self.forget((_, note) => note.startsWith(`${session}.`));
    },
    note(id, key, text) {
      const name = JSON.stringify([space, id, key]);
      if (text === undefined) shelf.notes.delete(name);
      else shelf.notes.set(name, text);
      for (const wake of shelf.waiting) wake();
    },
    noted: (id, key) => shelf.notes.get(JSON.stringify([space, id, key])),
    forget(matches) {
      for (const [name, note] of shelf.notes) {
        const [of, id, key] = JSON.parse(name);
        if (of === space && matches([id, key], note)) self.note(id, key, undefined);
      }
    },
    join: (id, key) => JSON.stringify([id, key]),
    map: () => spaceOf(shelf, space),
    check() {
      if (self.closed) throw new CacheClosedError();
      if (shelf.broken) throw new Error("the shelf is broken");
    },
    async work() {
      self.check();
      await null;
    },
    accept: own,
    answer: own,
    read(id, key) {
      const found = self.map().get(self.join(id, key));
      return found && self.answer(found[1]);
    },
    write: (id, key, entry) => void self.map().set(self.join(id, key), [[id, key], entry]),
    remove(matches) {
      for (const [name, [pair]] of self.map()) {
        if (matches(pair)) self.map().delete(name);
      }
    },
    info([id, key], { data, storedAt, expiresAt, staleUntil, durationMs }) {
      const bytes = typeof data === "string" ? encode(data) : data;
      return { id, key, size: bytes.length, storedAt, expiresAt, staleUntil, durationMs };
    },
  };
  return Object.assign(self, override(self, { ...self }));
}

function spaceOf(shelf: Shelf, space: string): Space {
  const found = shelf.spaces.get(space) ?? new Map();
  shelf.spaces.set(space, found);
  return found;
}

function own(entry: StoredEntry): StoredEntry {
  const { data } = entry;
  return { ...entry, data: typeof data === "string" ? data : new Uint8Array(data) };
}

function encode(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}

/** Changes the entries that are accepted. */
function accepting(change: (entry: StoredEntry) => Partial<StoredEntry>): Override {
  return () => ({ accept: (entry) => ({ ...own(entry), ...change(entry) }) });
}

/** Changes the text that is accepted. */
function rewriting(change: (text: string) => string | Uint8Array): Override {
  return accepting(({ data }) => ({ data: typeof data === "string" ? change(data) : data }));
}

/** Changes the entries that a read answers. */
function answering(change: (entry: StoredEntry) => Partial<StoredEntry>): Override {
  return () => ({ answer: (entry) => ({ ...own(entry), ...change(entry) }) });
}

/** Takes pairs of the same join for the same. */
function joining(join: (id: string, key: string) => string): Override {
  return () => ({ join });
}

/** Takes pairs of the same id and key, once changed, for the same. */
function changing(id: (id: string) => string, key: (key: string) => string): Override {
  return joining((left, right) => JSON.stringify([id(left), key(right)]));
}

const same = (text: string): string => text;

/** Deletes every pair that matches, and no more than so many. */
function deleting(
  matches: (stored: Pair, asked: Pair) => boolean,
  operation: "delete" | "deleteId" | "clear",
  limit = Infinity,
): Override {
  return (self) => ({
    [operation]: async (id = "", key = "") => {
      await self.work();
      let count = 0;
      self.remove((pair) => matches(pair, [id, key]) && count++ < limit);
    },
  });
}

function deletingIds(matches: (stored: string, asked: string) => boolean): Override {
  return deleting(([stored], [asked]) => matches(stored, asked), "deleteId");
}

/** Changes the answer of `getMany()`. */
function answeringMany(
  change: (found: readonly Found[], keys: readonly string[]) => Found[],
): Override {
  return (_, right) => ({
    getMany: async (id, keys) => change(await right.getMany(id, keys), keys),
  });
}

/** Changes a listing; `index` counts from 0. */
function listing(
  change: (info: EntryInfo, index: number, id: string | undefined) => EntryInfo[],
): Override {
  return (_, right) => ({
    async *entries(id) {
      let index = 0;
      for await (const info of right.entries(id)) yield* change(info, index++, id);
    },
  });
}

/** Prunes by a changed rule, or reports something else. */
function pruning(
  change: (rule: PruneRule) => PruneRule,
  report: (pruned: Pruned) => Pruned = (pruned) => pruned,
): Override {
  return (self) => ({ prune: async (rule) => report(await prune(self, change(rule))) });
}

/** A pattern as in SQL's LIKE, which ignores the case of ASCII letters. */
function like(pattern: string): RegExp {
  const escaped = pattern.replaceAll(/[.*+?^${}()|[\]\\/]/g, "\\$&");
  return new RegExp(`^${escaped.replaceAll("%", ".*").replaceAll("_", ".")}$`, "is");
}

/** A text with another in its place where a function throws. */
function attempt<Text>(change: () => Text, otherwise: Text): Text {
  try {
    return change();
  } catch {
    return otherwise;
  }
}

const OPERATIONS = OPERATION_NAMES.filter((name) => name !== "prune" && name !== "close");
type ShelfOperation = (typeof OPERATIONS)[number];

/** Takes the failure of an operation for its emptiest success. */
function swallowing(operation: ShelfOperation): Override {
  return (self, right) => ({
    [operation]: (...args: unknown[]) => {
      if (!self.shelf.broken) return Reflect.apply(right[operation], self, args);
      if (operation === "entries") return (async function* () {})();
      return Promise.resolve(operation === "getMany" ? [undefined, undefined] : undefined);
    },
  });
}

/** Lets an operation through after `close()`. */
function reopening(operation: ShelfOperation): Override {
  return (self, right) => ({
    [operation]: (...args: unknown[]) => {
      const backend = self.closed ? shelfBackend(undefined, self.shelf) : right;
      return Reflect.apply(backend[operation], backend, args);
    },
  });
}

/** Reads that answer, or throw, at once. */
const atOnce: Override = (self) => ({
  get(id, key) {
    self.check();
    return self.read(id, key);
  },
  getMany(id, keys) {
    self.check();
    return keys.map((key) => self.read(id, key));
  },
});

/** The expiry of inner copies that would last longer. */
const IN_AN_HOUR = Date.now() + 3_600_000;

/** The expiry of an inner copy. */
function innerExpiry({ expiresAt }: Pick<StoredEntry, "expiresAt">): { expiresAt: number } {
  return { expiresAt: Math.min(expiresAt ?? Infinity, IN_AN_HOUR) };
}

/** Different backends that keep the contract. */
const RIGHT: readonly [string, Override][] = [
  ["keeps the contract", () => ({})],
  ["answers and throws at once", atOnce],
  ["answers at once while its changes take turns of the event loop", (self, right) => ({
    ...atOnce(self, right),
    async work() {
      self.check();
      await nextTurn();
    },
  })],
  ["keeps no notes", (self) => {
    const names = ["update", "exchange", "changed", "openSession", "isOver", "endSession"];
    for (const name of names) Reflect.deleteProperty(self, name);
    return {};
  }],
  ["has no location", () => ({ location: undefined })],
  ["reports the earlier expiry of an inner copy", (_, right) => ({
    answer: (entry) => ({ ...right.answer(entry), ...innerExpiry(entry) }),
    info: (pair, entry) => ({ ...right.info(pair, entry), ...innerExpiry(entry) }),
  })],
  ["carries out changes of one turn in any order", (self) => {
    const random = new Random(1);
    return {
      async work() {
        self.check();
        for (let turns = random.below(3); turns > 0; turns--) await nextTurn();
      },
    };
  }],
];

/** An entry, where only its data matters. */
const SAMPLE: StoredEntry = {
  data: "",
  format: "test.1",
  checksum: 0,
  storedAt: 0,
  expiresAt: null,
  staleUntil: null,
  durationMs: 0,
};

/** Each broken backend: its fault, the clause that it breaks, and the steps that it replaces. */
const MUTANTS: readonly [fault: string, clause: number, override: Override][] = [
  ["loses empty text", 1, (_, right) => ({
    read: (id, key) => {
      const found = right.read(id, key);
      return found?.data === "" ? undefined : found;
    },
  })],
  ["loses empty bytes", 1, (_, right) => ({
    read: (id, key) => {
      const found = right.read(id, key);
      return found?.data !== "" && found?.data.length === 0 ? undefined : found;
    },
  })],
  ["returns text as bytes", 1, rewriting(encode)],
  [
    "returns bytes as text where they are UTF-8",
    1,
    accepting(({ data }) => ({
      data: typeof data === "string" ? data : attempt<typeof data | string>(
        () => new TextDecoder("utf-8", { fatal: true }).decode(data),
        data,
      ),
    })),
  ],
  [
    "guesses that text is a number",
    1,
    rewriting((text) => /^\d+$/.test(text) ? String(Number(text)) : text),
  ],
  ["truncates at 64 KiB", 1, accepting(({ data }) => ({ data: data.slice(0, 65_536) }))],
  ["drops a byte order mark", 1, rewriting((text) => new TextDecoder().decode(encode(text)))],
  ["normalises line ends", 1, rewriting((text) => text.replaceAll("\r\n", "\n"))],
  ["normalises text", 1, rewriting((text) => text.normalize())],
  [
    "keeps 16 bits of a code point",
    1,
    rewriting((text) => text.replaceAll(/[\u{10000}-\u{10ffff}]/gu, "\ufffd")),
  ],
  [
    "stores the whole buffer of a view",
    1,
    accepting(({ data }) => ({
      data: typeof data === "string" ? data : new Uint8Array(data.buffer.slice(0)),
    })),
  ],
  ["turns expiresAt null into 0", 1, accepting((entry) => ({ expiresAt: entry.expiresAt ?? 0 }))],
  [
    "turns expiresAt 0 into null",
    1,
    accepting((entry) => ({ expiresAt: entry.expiresAt || null })),
  ],
  [
    "reports a later expiresAt",
    1,
    answering(({ expiresAt }) => ({ expiresAt: expiresAt === null ? null : expiresAt + 1 })),
  ],
  [
    "reports an earlier expiresAt that is over",
    1,
    answering(({ expiresAt }) => ({ expiresAt: expiresAt ?? Date.now() - 1 })),
  ],
  [
    "turns staleUntil 0 into null",
    1,
    accepting((entry) => ({ staleUntil: entry.staleUntil || null })),
  ],
  ["keeps a signed checksum", 1, accepting((entry) => ({ checksum: entry.checksum | 0 }))],
  ["rounds durationMs", 1, accepting((entry) => ({ durationMs: Math.round(entry.durationMs) }))],
  [
    "keeps times in 32 bits of seconds",
    1,
    accepting((entry) => ({ storedAt: Math.min(entry.storedAt, 2 ** 32 * 1000) })),
  ],
  ["lowers the case of formats", 1, accepting((entry) => ({ format: entry.format.toLowerCase() }))],
  ["answers null for a miss", 2, (_, right) => ({
    // A backend in JavaScript can do what the types forbid.
    get: async (id, key) => (await right.get(id, key)) ?? JSON.parse("null"),
  })],
  ["answers the last entry for a miss", 2, (self, right) => ({
    read: (id, key) => right.read(id, key) ?? [...self.map().values()].at(-1)?.[1],
  })],
  ["keeps deleted entries as tombstones that read as empty", 2, (self) => ({
    delete: async (id, key) => {
      await self.work();
      const found = self.map().get(self.join(id, key));
      if (found) self.write(id, key, { ...found[1], data: "" });
    },
  })],
  ["merges the old fields into the new entry", 3, (self, right) => ({
    write: (id, key, entry) => {
      const expiresAt = entry.expiresAt ?? self.read(id, key)?.expiresAt ?? null;
      right.write(id, key, { ...entry, expiresAt });
    },
  })],
  ["keeps the first entry", 3, (self, right) => ({
    write: (id, key, entry) => void (self.read(id, key) ?? right.write(id, key, entry)),
  })],
  ["deletes before it writes", 3, (self, right) => ({
    set: async (id, key, entry) => {
      const copied = own(entry);
      await self.delete(id, key);
      await right.set(id, key, copied);
    },
  })],
  ["writes data and fields one after the other", 3, (self, right) => ({
    set: async (id, key, entry) => {
      const copied = own(entry);
      const old = self.read(id, key);
      if (old) await right.set(id, key, { ...old, data: copied.data });
      await right.set(id, key, copied);
    },
  })],
  ["overwrites only the beginning of longer data", 3, (self, right) => ({
    write: (id, key, entry) => {
      const { data } = entry;
      const old = self.read(id, key)?.data;
      const isText = typeof data === "string" && typeof old === "string";
      right.write(id, key, isText ? { ...entry, data: data + old.slice(data.length) } : entry);
    },
  })],
  ["ignores the case of ids", 4, changing((id) => id.toLowerCase(), same)],
  ["ignores the case of keys", 4, changing(same, (key) => key.toUpperCase())],
  ["normalises keys", 4, changing(same, (key) => key.normalize("NFC"))],
  [
    "normalises compatible forms",
    4,
    changing((id) => id.normalize("NFKC"), (key) => key.normalize("NFKC")),
  ],
  ["trims keys", 4, changing(same, (key) => key.trim())],
  ["drops trailing dots of ids", 4, changing((id) => id.replace(/\.+$/, ""), same)],
  ["joins id and key with a slash", 4, joining((id, key) => `${id}/${key}`)],
  ["joins id and key with a colon", 4, joining((id, key) => `${id}:${key}`)],
  ["joins id and key with nothing", 4, joining((id, key) => id + key)],
  ["joins id and key with a control character", 4, joining((id, key) => `${id}\u001f${key}`)],
  [
    "resolves dots in paths",
    4,
    joining((id, key) =>
      new URL(`${encodeURIComponent(id)}/${encodeURIComponent(key)}`, "http://h/b/c/").href
    ),
  ],
  [
    "replaces every character but letters",
    4,
    changing((id) => id.replaceAll(/\W/g, "_"), (key) => key.replaceAll(/\W/g, "_")),
  ],
  ["decodes percent signs", 4, changing((id) => attempt(() => decodeURIComponent(id), id), same)],
  ["cuts keys at 255 characters", 4, changing(same, (key) => key.slice(0, 255))],
  ["ignores the id", 4, joining((_, key) => key)],
  ["reaches into its neighbour", 4, (self) => ({ map: () => spaceOf(self.shelf, "") })],
  ["answers duplicates of getMany() once", 5, (_, right) => ({
    getMany: (id, keys) => right.getMany(id, [...new Set(keys)]),
  })],
  [
    "answers only the first duplicate of getMany()",
    5,
    answeringMany((found, keys) =>
      found.map((entry, i) => (keys.indexOf(keys[i] ?? "") === i ? entry : undefined))
    ),
  ],
  ["answers getMany() in the order of the keys", 5, (_, right) => ({
    getMany: (id, keys) => right.getMany(id, keys.toSorted()),
  })],
  ["leaves misses out of getMany()", 5, answeringMany((found) => found.filter(Boolean))],
  [
    "answers the first 1,000 keys of getMany()",
    5,
    answeringMany((found) => found.map((entry, i) => (i < 1000 ? entry : undefined))),
  ],
  ["sorts the keys that getMany() is given", 5, (_, right) => ({
    getMany: (id, keys) => right.getMany(id, Array.prototype.sort.call(keys)),
  })],
  ["rejects a delete of an absent entry", 6, (self, right) => ({
    delete: async (id, key) => {
      if (!(await self.get(id, key))) throw new Error("not found");
      await right.delete(id, key);
    },
  })],
  ["rejects the second of two deletes at once", 6, (self, right) => {
    const running = new Set<string>();
    return {
      delete: async (id, key) => {
        const name = self.join(id, key);
        if (running.has(name)) throw new Error("busy");
        running.add(name);
        await right.delete(id, key).finally(() => running.delete(name));
      },
    };
  }],
  [
    "deletes keys by prefix",
    6,
    deleting((pair, [id, key]) => pair[0] === id && pair[1].startsWith(key), "delete"),
  ],
  ["deletes the key under every id", 6, deleting((pair, [, key]) => pair[1] === key, "delete")],
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
    deleting(([stored], [asked]) => stored === asked, "deleteId", 1000),
  ],
  ["clears nothing", 8, deleting(() => false, "clear")],
  ["clears the first 1,000", 8, deleting(() => true, "clear", 1000)],
  ["clears direct keys only", 8, deleting(([stored]) => stored === "", "clear")],
  ["clears its neighbour too", 8, (self) => ({
    clear: async () => {
      await self.work();
      for (const [space, entries] of self.shelf.spaces) {
        if (space.startsWith(self.space)) entries.clear();
      }
    },
  })],
  ["counts characters instead of bytes", 9, (_, right) => ({
    info: (pair, entry) => ({ ...right.info(pair, entry), size: entry.data.length }),
  })],
  ["lists without cost", 9, listing((info) => [{ ...info, durationMs: 0 }])],
  ["lists without expiry", 9, listing((info) => [{ ...info, expiresAt: null }])],
  ["lists the first 1,000", 9, listing((info, index) => (index < 1000 ? [info] : []))],
  [
    "lists the last entry of a page twice",
    9,
    listing((info, index) => (index % 1000 === 999 ? [info, info] : [info])),
  ],
  ["ignores the id of a listing", 9, (_, right) => ({ entries: () => right.entries() })],
  ["takes the empty id of a listing for all ids", 9, (_, right) => ({
    entries: (id) => right.entries(id || undefined),
  })],
  ["lists ids by prefix", 9, (_, right) => ({
    async *entries(id = "") {
      for await (const info of right.entries()) if (info.id.startsWith(id)) yield info;
    },
  })],
  ["lists overwritten entries again", 9, (self, right) => ({
    async *entries(id) {
      await self.work();
      for (const [pair, entry] of self.map().values()) {
        if (id === undefined || pair[0] === id) yield self.info(pair, entry);
      }
    },
    write(id, key, entry) {
      self.map().delete(self.join(id, key));
      right.write(id, key, entry);
    },
  })],
  ["lists by position, so that deletions hide entries", 9, (self) => ({
    async *entries(id) {
      await self.work();
      for (let index = 0;; index++) {
        const found = [...self.map().values()]
          .filter(([pair]) => id === undefined || pair[0] === id)[index];
        if (found === undefined) return;
        yield self.info(...found);
      }
    },
  })],
  ["stays locked when a listing is left early", 9, (_, right) => {
    let isLocked = false;
    return {
      async *entries(id) {
        isLocked = true;
        yield* right.entries(id);
        isLocked = false;
      },
      check() {
        right.check();
        if (isLocked) throw new Error("locked");
      },
    };
  }],
  ...OPERATIONS.map((operation): [string, number, Override] => [
    `takes a failed ${operation}() for a success`,
    10,
    swallowing(operation),
  ]),
  ["prunes a broken store without an error", 10, (self) => ({
    prune: async (rule) => self.shelf.broken ? { entries: 0, bytes: 0 } : await prune(self, rule),
  })],
  ["answers a failed get() at once with a miss", 10, (self) => ({
    get: (id, key) => self.shelf.broken ? undefined : self.read(id, key),
  })],
  ["throws a failed delete() at once instead of rejecting", 10, (self, right) => ({
    delete: (id, key) => {
      self.check();
      return right.delete(id, key);
    },
  })],
  ["resolves set() before the entry can be read", 11, (self, right) => ({
    set: async (id, key, entry) => {
      await self.work();
      void right.set(id, key, own(entry));
    },
  })],
  [
    "answers get() at once while the entry of a resolved set() is on its way",
    11,
    (self, right) => ({
      ...atOnce(self, right),
      set: (id, key, entry) => {
        void right.set(id, key, entry);
        return Promise.resolve();
      },
      work: async () => {
        self.check();
        await nextTurn();
      },
    }),
  ],
  ["resolves delete() before the entry is gone", 11, (self, right) => ({
    delete: async (id, key) => {
      await self.work();
      void nextTurn().then(() => right.delete(id, key)).catch(() => {});
    },
  })],
  ["keeps serving its earlier reads, whatever another backend writes", 11, (self, right) => {
    const read = new Map<string, Found>();
    return {
      set: async (id, key, entry) => {
        await right.set(id, key, entry);
        read.delete(self.join(id, key));
      },
      get: async (id, key) => {
        const name = self.join(id, key);
        if (!read.has(name)) read.set(name, await right.get(id, key));
        return read.get(name);
      },
    };
  }],
  ["keeps entries to itself", 11, () => {
    const kept: Space = new Map();
    return { map: () => kept };
  }],
  ["forgets everything when it is closed", 11, (self, right) => ({
    close: async () => {
      await right.close();
      self.map().clear();
    },
  })],
  ["rejects the second close()", 12, (self, right) => ({
    close: () => self.closed ? Promise.reject(new CacheClosedError()) : right.close(),
  })],
  ["closes before accepted writes are done", 12, (self) => ({
    work: async () => {
      self.check();
      for (let turn = 0; turn < 3; turn++) await nextTurn();
    },
    close: () => {
      self.closed = true;
      return Promise.resolve();
    },
  })],
  ...OPERATIONS.map((operation): [string, number, Override] => [
    `allows ${operation}() after close()`,
    12,
    reopening(operation),
  ]),
  ["prunes after its end", 12, (self) => ({
    prune: async (rule) => self.closed ? { entries: 0, bytes: 0 } : await prune(self, rule),
  })],
  ["rejects with another error after close()", 12, (self, right) => ({
    check: () => {
      if (self.closed) throw new Error("closed");
      right.check();
    },
  })],
  ["keeps the bytes of the caller", 13, () => ({ accept: (entry) => entry })],
  ["copies the bytes of the caller too late", 13, (_, right) => ({
    accept: (entry) => entry,
    write: (id, key, entry) => right.write(id, key, own(entry)),
  })],
  ["copies with slice(), which shares memory in some subclasses", 13, () => ({
    accept: (entry) => ({ ...entry, data: entry.data.slice() }),
  })],
  ["returns its own bytes", 13, () => ({ answer: (entry) => entry })],
  [
    "prunes entries exactly as old as the rule says",
    14,
    pruning(({ storedBefore = -Infinity, ...rule }) => ({
      ...rule,
      storedBefore: storedBefore + 1,
    })),
  ],
  [
    "prunes entries that expire exactly then",
    14,
    pruning(({ expiredBefore = -Infinity, ...rule }) => ({
      ...rule,
      expiredBefore: expiredBefore + 1,
    })),
  ],
  [
    "does not prune expired entries where there is a bound",
    14,
    pruning((rule) =>
      rule.maxEntries === undefined
        ? rule
        : { ...rule, storedBefore: -Infinity, expiredBefore: -Infinity }
    ),
  ],
  [
    "keeps one entry more than its rule says",
    14,
    pruning(({ maxEntries = Infinity, ...rule }) => ({ ...rule, maxEntries: maxEntries + 1 })),
  ],
  [
    "keeps a byte more than its rule says",
    14,
    pruning(({ maxBytes = Infinity, ...rule }) => ({ ...rule, maxBytes: maxBytes + 1 })),
  ],
  [
    "reports one entry less than it pruned",
    14,
    pruning((rule) => rule, ({ entries, bytes }) => ({ entries: Math.max(0, entries - 1), bytes })),
  ],
  ["reports no bytes", 14, pruning((rule) => rule, ({ entries }) => ({ entries, bytes: 0 }))],
  ["prunes other ids too", 14, pruning(({ id: _, ...rule }) => rule)],
  [
    "takes the empty id of a prune for all ids",
    14,
    pruning(({ id, ...rule }) => ({
      ...rule,
      ...(id !== undefined && id !== "" && { id }),
    })),
  ],
  ["counts other ids where a prune has one", 14, (self) => ({
    prune: async (rule) => {
      if (rule.id === undefined || rule.maxEntries === undefined) return await prune(self, rule);
      const all = self.map().size;
      const own = [...self.map().values()].filter(([[id]]) => id === rule.id).length;
      return await prune(self, { ...rule, maxEntries: Math.max(0, rule.maxEntries - (all - own)) });
    },
  })],
  ["deletes on a dry run", 14, pruning(({ dryRun: _, ...rule }) => rule)],
  ["reports nothing on a dry run", 14, (self) => ({
    prune: async (rule) => rule.dryRun ? { entries: 0, bytes: 0 } : await prune(self, rule),
  })],
  ["prunes the first page only", 14, (self) => ({
    prune: async ({ maxEntries = Infinity }) => {
      await self.work();
      const page = [...self.map().values()].slice(0, 1000);
      for (const [pair] of page.slice(maxEntries)) await self.delete(...pair);
      return { entries: Math.max(0, page.length - maxEntries), bytes: 0 };
    },
  })],
  ["has another location than others on its store", 15, () => ({ location: `${shelves++}` })],
  ["has the location of its neighbour", 15, (self) => ({ location: self.shelf.name })],
  ["writes a note over a change that came in between", 16, (self) => ({
    async update(id, key, change = (note) => note) {
      const note = change(self.noted(id, key), Date.now());
      await self.work();
      self.note(id, key, note);
      return note;
    },
  })],
  ["keeps an empty note for none", 16, (_, right) => ({
    noted: (id, key) => right.noted(id, key) || undefined,
  })],
  ["removes a note that is looked at", 16, (_, right) => ({
    update: (id, key, change = () => undefined) => right.update(id, key, change),
  })],
  ["removes no note", 16, (_, right) => ({
    note(id, key, text) {
      if (text !== undefined) right.note(id, key, text);
    },
  })],
  ["keeps one note for each id", 16, (_, right) => ({
    noted: (id) => right.noted(id, ""),
    note: (id, _key, text) => right.note(id, "", text),
  })],
  ["takes a change that throws for one that removes", 16, (_, right) => ({
    update: (id, key, change = (note) => note) =>
      right.update(
        id,
        key,
        (note, now) => attempt<string | undefined>(() => change(note, now) ?? "", ""),
      ),
  })],
  ["swallows the error of a change", 16, (_, right) => ({
    update: (id, key, change = (note) => note) =>
      right.update(id, key, change).catch(() => undefined),
  })],
  ["tells the time since the process began", 16, (_, right) => ({
    update: (id, key, change = (note) => note) =>
      right.update(id, key, (note) => change(note, performance.now())),
  })],
  ["keeps notes among its entries", 17, (self, right) => ({
    note(id, key, text) {
      right.note(id, key, text);
      if (text !== undefined) self.write(id, key, { ...SAMPLE, data: text });
    },
  })],
  ["removes the note when it stores", 17, (self, right) => ({
    write(id, key, entry) {
      right.write(id, key, entry);
      self.note(id, key, undefined);
    },
  })],
  [
    "deletes an entry and leaves its note",
    17,
    deleting(
      (stored, asked) => stored[0] === asked[0] && stored[1] === asked[1],
      "delete",
    ),
  ],
  ["deletes an id and leaves its notes", 17, deletingIds((stored, asked) => stored === asked)],
  ["clears everything but the notes", 17, deleting(() => true, "clear")],
  ["clears reserved notes too", 17, (self, right) => ({
    async clear() {
      await right.clear();
      self.forget(() => true);
    },
  })],
  ["removes the notes of ids that begin alike", 17, (self, right) => ({
    async deleteId(id) {
      await right.deleteId(id);
      self.forget((pair) => pair[0].startsWith(id));
    },
  })],
  ["exchanges an entry for any note", 18, (self) => ({
    async exchange(id, key, _note, entry) {
      await self.set(id, key, entry);
      self.note(id, key, undefined);
      return true;
    },
  })],
  ["leaves the note that an entry was exchanged for", 18, (self, right) => ({
    async exchange(id, key, note, entry) {
      const isStored = await right.exchange(id, key, note, entry);
      if (isStored) self.note(id, key, note);
      return isStored;
    },
  })],
  ["exchanges in two steps", 18, (self) => ({
    async exchange(id, key, note, entry) {
      if (self.noted(id, key) !== note) return false;
      await self.set(id, key, entry);
      self.note(id, key, undefined);
      return true;
    },
  })],
  ["says that it stored what it did not", 18, (_, right) => ({
    exchange: async (...args) => await right.exchange(...args) || true,
  })],
  ["notices no change", 19, () => ({ changed: (ms) => sleep(ms) })],
  ["takes every look for a change", 19, (self, right) => ({
    update(id, key, change) {
      self.note("", "", "looked");
      return right.update(id, key, change);
    },
  })],
  ["leaves the notes of a session that has ended", 20, () => ({ endSession: async () => {} })],
  ["removes the notes of sessions that begin alike", 20, (self) => ({
    async endSession(session) {
      await self.work();
      self.forget((_, note) => note.startsWith(session));
    },
  })],
  ["takes a session that it does not know for over", 20, () => ({ isOver: () => true })],
];

/** Registers the kit over backends on shelves, and returns its tests. */
function testsOf(
  override?: Override,
  options: TestOptions<{ backend: ShelfBackend }> = {},
): Map<string, () => Promise<void>> {
  const tests = new Map<string, () => Promise<void>>();
  testBackend(
    (name, fn) => {
      assert(!tests.has(name), `two tests are named ${name}`);
      tests.set(name, fn);
    },
    () => ({ backend: shelfBackend(override) }),
    options,
  );
  return tests;
}

/** Runs the kit, or its tests of one clause, and returns the messages of those that failed. */
async function failures(override: Override, clause?: number): Promise<Map<string, string>> {
  const tests = testsOf(override, {
    reopen: ({ backend }) => shelfBackend(override, backend.shelf),
    openNeighbour: ({ backend }) => shelfBackend(override, backend.shelf, "space/longer"),
    breakStore: ({ backend }) => void (backend.shelf.broken = true),
    entryCount: ENTRY_COUNT,
  });
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

test("testBackend() has a test for each numbered clause", () => {
  const names = [...testsOf(undefined, { breakStore() {}, reopen: () => shelfBackend() }).keys()];
  for (let clause = 1; clause <= 20; clause++) {
    assert(names.some((name) => name.startsWith(`clause ${clause}: `)), `clause ${clause}`);
  }
});

for (const [way, override] of RIGHT) {
  test(`testBackend() passes a backend that ${way}`, async () => {
    assertEquals(await failures(override), new Map());
  });
}

for (const [fault, clause, override] of MUTANTS) {
  test(`testBackend() rejects, by clause ${clause}, a backend that ${fault}`, async () => {
    const failed = await failures(override, clause);
    assert(failed.size > 0, "the kit passes it");
    for (const message of failed.values()) assert(message.length > 0);
  });
}

test("testBackend() names the seed and the turn where a random test fails", async () => {
  const tests = testsOf(joining((_, key) => key), { seed: 7, entryCount: 1 });
  const [, run] = [...tests].find(([name]) => name.includes("random")) ?? [];
  assert(run !== undefined);
  await assertRejects(run, Error, "seed 7, turn ");
});

test("testBackend() closes and cleans up each store, also after a failure", async () => {
  const closed: boolean[] = [];
  const tests = testsOf(accepting(() => ({ data: "" })), {
    entryCount: 1,
    cleanUp: ({ backend }) => void closed.push(backend.closed),
  });
  const outcomes = await Promise.allSettled([...tests.values()].map((run) => run()));
  assert(outcomes.some(({ status }) => status === "rejected"));
  assertEquals(closed, outcomes.map(() => true));
});

test("testBackend() keeps long data out of the message of a failure", async () => {
  const tests = testsOf(accepting(({ data }) => ({ data: data.slice(0, 65_536) })));
  const run = tests.get("clause 1: text and bytes of 64 KiB and of 1 MiB come back whole");
  assert(run !== undefined);
  const { message } = await assertRejects(run, Error, "text of 65539 units");
  assert(message.length < 1000, message);
});
