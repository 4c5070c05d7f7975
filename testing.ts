/**
 * What a backend is tested with: the conformance kit, one or more tests for each numbered clause
 * of the backend contract, and a backend that fails on demand.
 *
 * The kit works with any test runner and imports none. This file is longer than others because
 * the clauses stand one after the other; each is small.
 *
 * @module
 */

import { abortable } from "@std/async/abortable";
import { delay } from "@std/async/delay";
import type { Backend, EntryInfo, StoredEntry } from "./backend.ts";
import {
  CacheClosedError,
  optionMessage,
  refuseUnknownOptions,
} from "./errors.ts";

/** Registers one test: `test` of `node:test`, `bun:test` or Vitest, or `Deno.test`. */
export type RegisterTest = (name: string, fn: () => Promise<void>) => unknown;

/** What `open` gives to a test; it may carry whatever the other options need, such as a path. */
export interface OpenStore {
  /** A backend that holds no entry yet and that nothing else uses. */
  readonly backend: Backend;
}

/**
 * Options of {@linkcode testBackend}: what the store can do besides, each as a function of what
 * `open` gave. Tests that need one that is left out are not registered.
 */
export interface TestOptions<Store extends OpenStore> {
  /**
   * Opens another backend on the same entries, also after the first one is closed (clause 11).
   * Leave it out when entries belong to one object alone, as in memory. The kit closes it.
   */
  readonly again?: (store: Store) => Backend | Promise<Backend>;
  /**
   * Opens a backend on the same store whose entries are not this one's: another table, a prefix
   * that begins with the same letters (clauses 4 and 8). The kit closes it.
   */
  readonly neighbour?: (store: Store) => Backend | Promise<Backend>;
  /**
   * Makes the store fail from now on: every operation on the backend must reject (clause 10).
   */
  readonly breakStore?: (store: Store) => void | Promise<void>;
  /** Removes what `open` made, after each test; the backend is closed by then. */
  readonly remove?: (store: Store) => void | Promise<void>;
  /**
   * How many entries the tests store that look past the first page of a listing: a positive
   * integer, 2,500 when unset. Choose more than two pages of your store.
   */
  readonly entryCount?: number;
  /** Seed of the random tests, an integer from 0 to 2³² − 1; 1 when unset. */
  readonly seed?: number;
}

type Data = string | Uint8Array;

/** Names that a careless store mixes up: separators, wildcards, case, Unicode forms, escapes. */
const NAMES: readonly string[] = [
  ..."a A b ab aB a/b a/b/c a//b /a a/ a_b axb a%b a%%b a%2Fb a%2fb a:b a|b a-b a.b a,b a;b"
    .split(
      " ",
    ),
  ..."../a ../../a ./a . .. ... a. .a a/. a/.. * ? # % _ a* a? a# ** [a] {a} (a) a+b a&b a=b"
    .split(
      " ",
    ),
  ...`' '' " "" \` \\ \\\\ a\\b a\\nb $ $a \${a} ~ ! @ ^ < > &amp; ';-- a'b %00 %20 + null`
    .split(
      " ",
    ),
  ..."undefined true 0 1 01 1.0 1e3 NaN -1 {} [] __proto__ constructor toString con NUL"
    .split(
      " ",
    ),
  ...[" ", "  ", "a ", " a", "a b", "a  b", "a\tb", "a\nb", "a\rb", "a\r\nb"],
  ...["\u0001", "a\u0001b", "a\u001fb", "a\u007f", "a\u0085b", "a\u00a0b"],
  ...["é", "e\u0301", "É", "Å", "A\u030a", "\u212b", "ﬁ", "fi", "ß", "ss"],
  ...["İ", "i", "I", "ı", "Ａ", "ｱ", "ア", "日本", "日本語", "a\u200bb"],
  ...["\ufeffa", "\ufffd", "\uffff", "\u{10000}", "\u{10ffff}", "😀", "👩‍💻"],
  ...["a\u2028b", "a\u202eb", "\u05d0", "x".repeat(600)],
  ...["x".repeat(599) + "y", "x".repeat(599) + "X", "x".repeat(601)],
  ...["é".repeat(600), "é".repeat(599) + "e", "😀".repeat(300)],
  "/".repeat(600),
];

/** Joins that could make two pairs of id and key one: `a` + `b/c` and `a/b` + `c`. */
const JOINS: readonly string[] = [
  ..."/ // : :: | - -- _ . .. , ; # % %2F %2f \\ ' \" + & = ~ ! $ @".split(" "),
  ...["", " ", "\t", "\n", "\u0001", "\u001f", "\u001e", "\uffff", "😀"],
];

const TEXTS: readonly string[] = [
  ...["", " ", "\n", "\r\n", "\r", "a\r\nb\rc\nd", "\ufeff", "\ufefftext"],
  ...["0", "-0", "123", "1e400", "007", "0x10", "9007199254740993", "NaN"],
  ...["null", "undefined", "true", '"text"', "{}", '{"a":[1,2]}', "[]", "a"],
  ...[
    "é",
    "e\u0301",
    "日本語",
    "😀",
    "\u{10ffff}",
    "\uffff",
    "\ufffe",
    "\ufffd",
  ],
  ...["\u0001\u0002\u001f", "\u007f\u0080\u009f", "\u2028\u2029", "trailing "],
  ...["'; drop table entries; --", "%00", "\\0", "\\u0000", "aGVsbG8=", "<a/>"],
];

/** Every byte once, in a text whose bytes no encoding may touch. */
const ALL_BYTES: Uint8Array<ArrayBuffer> = Uint8Array.from(
  { length: 256 },
  (_, i) => i,
);

const BYTES: readonly Uint8Array[] = [
  new Uint8Array(),
  Uint8Array.of(0),
  Uint8Array.of(0, 0, 0),
  Uint8Array.of(255),
  ALL_BYTES,
  ALL_BYTES.toReversed(),
  // Bytes that read as text: "123", "{}", "é", a byte order mark, a broken sequence.
  Uint8Array.of(0x31, 0x32, 0x33),
  Uint8Array.of(0x7b, 0x7d),
  Uint8Array.of(0xc3, 0xa9),
  Uint8Array.of(0xef, 0xbb, 0xbf),
  Uint8Array.of(0xc3, 0x28, 0xa0, 0xa1),
  Uint8Array.of(0x1f, 0x8b, 0x08, 0x00),
];

const MEBIBYTE = 1024 * 1024;

/**
 * Registers the tests that every backend must pass, named after the clauses of the contract.
 *
 * @param test Registers one test with a runner.
 * @param open Gives a fresh, empty backend each time; called once per test.
 * @param options What the store can do besides, and how much to store.
 * @throws {TypeError} If an option does not exist.
 * @throws {RangeError} If `entryCount` or `seed` is out of range.
 *
 * @example Test a backend of your own
 * ```ts
 * import { MemoryBackend } from "@panza/panza/memory";
 * import { testBackend } from "@panza/panza/testing";
 * import { assert } from "@std/assert";
 *
 * // Stands for `import { test } from "node:test"`.
 * const tests = new Map<string, () => Promise<void>>();
 * testBackend(
 *   (name, fn) => tests.set(name, fn),
 *   () => ({ backend: new MemoryBackend() }),
 *   { entryCount: 10 },
 * );
 * for (const run of tests.values()) await run();
 * assert([...tests.keys()].some((name) => name.startsWith("clause 13: ")));
 * ```
 */
export function testBackend<Store extends OpenStore>(
  test: RegisterTest,
  open: () => Store | Promise<Store>,
  options: TestOptions<Store> = {},
): void {
  refuseUnknownOptions("test the backend", options, [
    "again",
    "neighbour",
    "breakStore",
    "remove",
    "entryCount",
    "seed",
  ]);
  const { again, neighbour, breakStore, entryCount = 2500, seed = 1 } = options;
  requireInteger("test the backend", "entryCount", entryCount, 1);
  requireInteger("test the backend", "seed", seed, 0, 2 ** 32 - 1);

  /** Registers a test on a fresh store, which is closed and removed whatever happens. */
  function check(
    name: string,
    body: (backend: Backend, store: Store) => Promise<void>,
  ): void {
    test(name, async () => {
      const store = await open();
      try {
        await body(store.backend, store);
      } finally {
        // A broken store may refuse to close; what the test found matters more.
        await Promise.allSettled([settled(() => store.backend.close())]);
        await options.remove?.(store);
      }
    });
  }

  /** Like `check`, with a second backend. */
  function checkBoth(
    name: string,
    second: (store: Store) => Backend | Promise<Backend>,
    body: (first: Backend, second: Backend) => Promise<void>,
  ): void {
    check(name, async (backend, store) => {
      const other = await second(store);
      try {
        await body(backend, other);
      } finally {
        await Promise.allSettled([settled(() => other.close())]);
      }
    });
  }

  check(
    "clause 1: get() returns the text that set() stored",
    async (backend) => {
      await keepsEach(backend, TEXTS);
    },
  );

  check(
    "clause 1: get() returns the bytes that set() stored",
    async (backend) => {
      await keepsEach(backend, BYTES);
    },
  );

  check(
    "clause 1: bytes that are part of a larger buffer stay a part",
    async (backend) => {
      const whole = Uint8Array.from({ length: 64 }, (_, i) => i);
      await keepsEach(backend, [
        whole.subarray(3, 9),
        whole.subarray(60),
        whole.subarray(5, 5),
      ]);
    },
  );

  check(
    "clause 1: text and bytes of 64 KiB and of 1 MiB come back whole",
    async (backend) => {
      for (const length of [65_535, 65_536, 65_537, MEBIBYTE]) {
        const bytes = Uint8Array.from(
          { length },
          (_, i) => (i * 31 + (i >> 8)),
        );
        await keepsEach(backend, [
          bytes,
          "é".repeat(length / 2),
          `${"0123456789abcde\n".repeat(length / 16)}end`,
        ]);
      }
    },
  );

  check(
    "clause 1: every field comes back as it was stored",
    async (backend) => {
      const past = 8.64e15;
      const entries = [
        {
          storedAt: 0,
          expiresAt: 0,
          staleUntil: 0,
          durationMs: 0,
          checksum: 0,
        },
        { storedAt: 1, expiresAt: null, staleUntil: 0, checksum: 2 ** 31 },
        { expiresAt: 0, staleUntil: null, checksum: 2 ** 31 - 1 },
        { storedAt: past, expiresAt: past, staleUntil: past },
        { expiresAt: 1_700_000_000_001, staleUntil: 1_700_000_000_002 },
        { durationMs: 0.1 + 0.2, checksum: 2 ** 32 - 1 },
        { durationMs: 1e-7, format: "Z" },
        { durationMs: 123_456_789.123, format: "a-B.9-x.0" },
        { durationMs: 1e12, format: "0" },
      ].map((fields, index) => makeEntry(`value ${index}`, fields));
      await keepsEntries(backend, entries);
      await keepsEntries(
        backend,
        entries.map((entry) => ({ ...entry, data: Uint8Array.of(1) })),
      );
    },
  );

  check(
    "clause 2: get() of what was never stored is undefined",
    async (backend) => {
      equal(
        await backend.get("id", "key"),
        undefined,
        "get() on an empty store",
      );
      await backend.set("id", "key", makeEntry("value"));
      for (
        const [id, key] of [["id", "other"], ["other", "key"], ["", "key"]]
      ) {
        equal(await backend.get(id ?? "", key ?? ""), undefined, "get()");
      }
    },
  );

  check(
    "clause 2: get() of what was deleted is undefined, until it is stored again",
    async (backend) => {
      const entry = makeEntry("value");
      const removals = [
        () => backend.delete("id", "key"),
        () => backend.deleteId("id"),
        () => backend.clear(),
      ];
      for (const remove of removals) {
        await backend.set("id", "key", entry);
        same(
          await backend.get("id", "key"),
          entry,
          "get() before the deletion",
        );
        await remove();
        equal(await backend.get("id", "key"), undefined, "get() after it");
      }
    },
  );

  check(
    "clause 3: set() replaces data, kind and every field",
    async (backend) => {
      const versions = [
        makeEntry("first", { expiresAt: 5, staleUntil: 6, durationMs: 7.5 }),
        makeEntry("", { expiresAt: null, staleUntil: null, durationMs: 0 }),
        makeEntry("x".repeat(100_000), { format: "longer.1", checksum: 1 }),
        makeEntry("short", { storedAt: 2, expiresAt: 0 }),
        makeEntry(ALL_BYTES, { format: "bytes.1", staleUntil: 0 }),
        makeEntry(new Uint8Array(), { storedAt: 1 }),
        makeEntry("text again"),
      ];
      for (const [index, version] of versions.entries()) {
        await backend.set("id", "key", version);
        same(await backend.get("id", "key"), version, `version ${index}`);
        same(
          (await backend.getMany("id", ["key"]))[0],
          version,
          `version ${index} through getMany()`,
        );
      }
      equal((await list(backend)).length, 1, "entries after the overwrites");
    },
  );

  check(
    "clause 3: readers during an overwrite see the old entry or the new one",
    async (backend) => {
      await backend.set("id", "key", versioned(0));
      for (let version = 1; version <= 60; version++) {
        let writing = true;
        const readUntilWritten = async (): Promise<
          (StoredEntry | undefined)[]
        > => {
          const seen: (StoredEntry | undefined)[] = [];
          do seen.push(await backend.get("id", "key")); while (writing);
          return seen;
        };
        const early = readUntilWritten();
        const write = backend.set("id", "key", versioned(version)).finally(
          () => {
            writing = false;
          },
        );
        const late = backend.getMany("id", ["key", "key"]);
        const [, ...seen] = await Promise.all([
          write,
          early,
          late,
          readUntilWritten(),
        ]);
        for (const entry of seen.flat()) isVersion(entry, version - 1, version);
        isVersion(await backend.get("id", "key"), version, version);
      }
    },
  );

  check(
    "clause 3: of many overwrites at once, one wins whole",
    async (backend) => {
      await backend.set("id", "key", versioned(0));
      const writes = Array.from(
        { length: 30 },
        (_, index) => backend.set("id", "key", versioned(index + 1)),
      );
      const reads = Array.from({ length: 30 }, () => backend.get("id", "key"));
      const [seen] = await Promise.all([Promise.all(reads), ...writes]);
      for (const entry of seen) isVersion(entry, 0, 30);
      isVersion(await backend.get("id", "key"), 1, 30);
      equal((await list(backend)).length, 1, "entries after the overwrites");
    },
  );

  check(
    "clause 4: ids that look alike keep their own entries",
    async (backend) => {
      await keepsApart(backend, ["", ...NAMES].map((id) => [id, "key"]));
    },
  );

  check(
    "clause 4: keys that look alike keep their own entries",
    async (backend) => {
      await keepsApart(backend, NAMES.map((key) => ["id", key]));
      await keepsApart(backend, NAMES.map((key) => ["", key]));
    },
  );

  check(
    "clause 4: ids and keys that join to the same text keep their own entries",
    async (backend) => {
      await keepsApart(
        backend,
        JOINS.flatMap((join): Pair[] => [
          [`a${join}b`, "c"],
          ["a", `b${join}c`],
          [`a${join}b${join}`, "c"],
          [`a${join}`, `b${join}c`],
          ["", `a${join}b${join}c`],
          [join, `a${join}b`],
          [`${join}a`, "b"],
        ]),
      );
      await keepsApart(backend, [
        ["1", "1:a"],
        ["11", ":a"],
        ["1:1", "a"],
        ["", "1:1:a"],
        ["[", "]"],
        ['["a"', '"b"]'],
        ["a", 'b","c'],
        ['a","b', "c"],
      ]);
    },
  );

  check(
    "clause 5: getMany() answers in the order asked, duplicates and absent keys included",
    async (backend) => {
      const [a, b, c] = [makeEntry("a"), makeEntry(ALL_BYTES), makeEntry("c")];
      await backend.set("id", "a", a);
      await backend.set("id", "b", b);
      await backend.set("id", "c", c);
      await backend.set("other", "absent", a);
      const orders: Record<string, (StoredEntry | undefined)[]> = {
        "": [],
        a: [a],
        cab: [c, a, b],
        aa: [a, a],
        bcbab: [b, c, b, a, b],
        x: [undefined],
        xx: [undefined, undefined],
        xaxcx: [undefined, a, undefined, c, undefined],
      };
      for (const [order, expected] of Object.entries(orders)) {
        const keys = [...order].map((key) => key === "x" ? "absent" : key);
        const answer = await backend.getMany("id", Object.freeze(keys));
        sameList(answer, expected, `getMany(${JSON.stringify(keys)})`);
      }
    },
  );

  check("clause 5: getMany() takes awkward keys", async (backend) => {
    for (const key of NAMES) await backend.set("id", key, makeEntry(key));
    const keys = NAMES.toReversed();
    sameList(
      await backend.getMany("id", keys),
      keys.map((key) => makeEntry(key)),
      "getMany() of awkward keys",
    );
  });

  check(
    `clause 5: getMany() takes ${entryCount} keys at once`,
    async (backend) => {
      const keys = await fill(backend, "id", entryCount);
      const asked = keys.flatMap((key, i) =>
        i % 10 === 0 ? [key, `absent ${i}`, key] : [key]
      ).reverse();
      sameList(
        await backend.getMany("id", asked),
        asked.map((key) =>
          key.startsWith("absent") ? undefined : makeEntry(key)
        ),
        "getMany()",
      );
    },
  );

  check(
    "clause 6: delete() removes one entry and no other",
    async (backend) => {
      const pairs: Pair[] = [["id", "a"], ["id", "b"], ["other", "a"], [
        "",
        "a",
      ]];
      for (const [id, key] of pairs) await backend.set(id, key, makeEntry(id));
      await backend.delete("id", "a");
      equal(await backend.get("id", "a"), undefined, "get() after delete()");
      for (const [id, key] of pairs.slice(1)) {
        same(
          await backend.get(id, key),
          makeEntry(id),
          `get(${quoted(id, key)})`,
        );
      }
    },
  );

  check("clause 6: delete() of what is absent succeeds", async (backend) => {
    await backend.delete("id", "key");
    await backend.delete("", "key");
    await backend.set("id", "other", makeEntry("value"));
    await backend.delete("id", "key");
    await backend.delete("id", "other");
    await backend.delete("id", "other");
    equal((await list(backend)).length, 0, "entries left");
  });

  check(
    "clause 6: deletes of one entry at the same time all succeed",
    async (backend) => {
      await backend.set("id", "key", makeEntry("value"));
      await Promise.all(
        Array.from({ length: 20 }, () => backend.delete("id", "key")),
      );
      equal(
        await backend.get("id", "key"),
        undefined,
        "get() after the deletes",
      );
    },
  );

  check(
    "clause 6: delete() reaches no entry whose id or key looks alike",
    async (backend) => {
      await deletesApart(backend, NAMES.map((key) => ["id", key]), "delete");
      await deletesApart(
        backend,
        ["", ...NAMES].map((id) => [id, "k"]),
        "delete",
      );
    },
  );

  check(
    `clause 7: deleteId() removes all of ${entryCount} entries`,
    async (backend) => {
      const keys = await fill(backend, "id", entryCount);
      await backend.set("id2", "key", makeEntry("stays"));
      await backend.set("", "id", makeEntry("stays"));
      await backend.deleteId("id");
      const left = (await backend.getMany("id", keys)).filter(Boolean).length;
      equal(left, 0, "entries of the id that are left");
      same(await backend.get("id2", "key"), makeEntry("stays"), "another id");
      same(await backend.get("", "id"), makeEntry("stays"), "a direct key");
    },
  );

  check(
    "clause 7: deleteId() reaches no id that looks alike",
    async (backend) => {
      await deletesApart(
        backend,
        ["", ...NAMES].map((id) => [id, "key"]),
        "deleteId",
      );
      const joined = new Set(
        JOINS.flatMap((join) => [`a${join}b`, `a${join}`, join]),
      );
      await deletesApart(
        backend,
        [...joined].map((id) => [id, "key"]),
        "deleteId",
      );
    },
  );

  check(
    "clause 7: deleteId() of an absent id succeeds, and of the empty id deletes direct keys only",
    async (backend) => {
      await backend.deleteId("absent");
      await backend.deleteId("");
      await backend.set("", "key", makeEntry("direct"));
      await backend.set("id", "key", makeEntry("stays"));
      await Promise.all([backend.deleteId(""), backend.deleteId("")]);
      equal(await backend.get("", "key"), undefined, "the direct key");
      same(await backend.get("id", "key"), makeEntry("stays"), "the other id");
    },
  );

  check(
    `clause 8: clear() removes all of ${entryCount} entries, whatever their ids`,
    async (backend) => {
      await backend.clear();
      const keys = await fill(backend, "id", entryCount);
      for (const id of ["", ...NAMES]) {
        await backend.set(id, "k", makeEntry(id));
      }
      await backend.clear();
      equal((await list(backend)).length, 0, "entries that are listed");
      const left = await backend.getMany("id", keys);
      equal(left.filter(Boolean).length, 0, "entries that are read");
      for (const id of ["", ...NAMES]) {
        equal(await backend.get(id, "k"), undefined, `get(${quoted(id, "k")})`);
      }
      await backend.set("id", "key", makeEntry("again"));
      same(
        await backend.get("id", "key"),
        makeEntry("again"),
        "set() after it",
      );
    },
  );

  if (neighbour !== undefined) {
    checkBoth(
      "clause 4: entries of a neighbour in the same store are out of reach",
      neighbour,
      async (first, second) => {
        await first.set("id", "key", makeEntry("mine"));
        equal(
          await second.get("id", "key"),
          undefined,
          "the neighbour's get()",
        );
        await second.set("id", "key", makeEntry("theirs"));
        same(await first.get("id", "key"), makeEntry("mine"), "get()");
        equal((await list(first)).length, 1, "entries that are listed");
        await second.deleteId("id");
        same(await first.get("id", "key"), makeEntry("mine"), "get()");
      },
    );

    checkBoth(
      "clause 8: clear() leaves what else the store holds",
      neighbour,
      async (first, second) => {
        for (
          const [cleared, kept] of [[first, second], [second, first]] as const
        ) {
          await cleared.set("id", "key", makeEntry("goes"));
          await kept.set("id", "key", makeEntry("stays"));
          await cleared.clear();
          equal(
            await cleared.get("id", "key"),
            undefined,
            "get() after clear()",
          );
          same(
            await kept.get("id", "key"),
            makeEntry("stays"),
            "the neighbour's",
          );
        }
      },
    );
  }

  check(
    "clause 9: entries() tells id, key, times, and the size in bytes",
    async (backend) => {
      equal((await list(backend)).length, 0, "entries of an empty store");
      const entries = [...TEXTS, ...BYTES].map((data, index) =>
        makeEntry(data, {
          storedAt: 1_700_000_000_000 + index,
          expiresAt: index % 3 === 0 ? null : index % 3 === 1 ? 0 : index,
          staleUntil: index % 4 === 0 ? null : index % 4 === 1 ? 0 : index,
        })
      );
      for (const [index, entry] of entries.entries()) {
        await backend.set(index % 2 === 0 ? "id" : "", `key ${index}`, entry);
      }
      sameInfos(
        await list(backend),
        entries.map((entry, index) =>
          infoOf(index % 2 === 0 ? "id" : "", `key ${index}`, entry)
        ),
      );
    },
  );

  check(
    "clause 9: entries() tells awkward ids and keys as they are",
    async (backend) => {
      const pairs = NAMES.map((name, i): Pair => [name, NAMES.at(-i) ?? "key"]);
      for (const [id, key] of pairs) await backend.set(id, key, makeEntry(key));
      sameInfos(
        await list(backend),
        pairs.map(([id, key]) => infoOf(id, key, makeEntry(key))),
      );
    },
  );

  check(
    "clause 9: entries() with an id lists that id only",
    async (backend) => {
      const ids = ["", ...NAMES];
      for (const id of ids) await backend.set(id, "key", makeEntry(id));
      for (const id of ids) {
        sameInfos(await list(backend, id), [infoOf(id, "key", makeEntry(id))]);
      }
      equal(
        (await list(backend, "absent")).length,
        0,
        "entries of an absent id",
      );
    },
  );

  check(
    `clause 9: entries() lists each of ${entryCount} entries once`,
    async (backend) => {
      const keys = await fill(backend, "id", entryCount);
      const [first = "key"] = keys;
      await backend.set("id", first, makeEntry(first));
      await backend.set("other", "key", makeEntry("key"));
      const expected = keys.map((key) => infoOf("id", key, makeEntry(key)));
      sameInfos(await list(backend, "id"), expected);
      sameInfos(await list(backend), [
        ...expected,
        infoOf("other", "key", makeEntry("key")),
      ]);
    },
  );

  check(
    "clause 9: entries() tolerates changes while it is read",
    async (backend) => {
      const keys = await fill(backend, "id", 40);
      const deleted = keys.filter((_, index) => index % 4 === 0);
      const kept = keys.filter((_, index) => index % 4 !== 0);
      const seen: string[] = [];
      for await (const { key } of backend.entries("id")) {
        seen.push(key);
        // A listing that also tells what is added meanwhile need not end by itself.
        if (seen.length === 200) break;
        if (!deleted.includes(key)) {
          await backend.set(
            "id",
            key,
            makeEntry("new"),
          );
        }
        await backend.set("id", `added ${seen.length}`, makeEntry("new"));
        const next = deleted[seen.length - 1];
        if (next !== undefined) await backend.delete("id", next);
      }
      equal(
        new Set(seen).size,
        seen.length,
        "different entries that were listed",
      );
      for (const key of kept) {
        equal(
          seen.includes(key),
          true,
          `${key} is listed`,
        );
      }
    },
  );

  check(
    "clause 9: a listing that is left early harms nothing",
    async (backend) => {
      await fill(backend, "id", 20);
      for await (const info of backend.entries()) {
        equal(info.id, "id", "the id");
        break;
      }
      await backend.set("id", "more", makeEntry("more"));
      const [one, two] = await Promise.all([
        list(backend),
        list(backend, "id"),
      ]);
      equal(one.length, 21, "entries that one listing tells");
      equal(two.length, 21, "entries that the other tells");
    },
  );

  if (breakStore !== undefined) {
    for (const [name, run] of OPERATIONS) {
      check(
        `clause 10: ${name} rejects when the store fails`,
        async (backend, store) => {
          for (const key of ["key", "other"]) {
            await backend.set("id", key, makeEntry("value"));
          }
          await breakStore(store);
          await rejects(() => run(backend), `${name} over a broken store`);
        },
      );
    }
  }

  check(
    "clause 11: a change can be read as soon as its promise resolves",
    async (backend) => {
      for (let round = 0; round < 20; round++) {
        await seesChanges(backend, backend);
      }
    },
  );

  if (again !== undefined) {
    checkBoth(
      "clause 11: another backend on the same store sees each change",
      again,
      async (first, second) => {
        for (let round = 0; round < 5; round++) {
          await seesChanges(first, second);
          await seesChanges(second, first);
        }
      },
    );

    check(
      "clause 11: entries outlive the backend that stored them",
      async (backend, store) => {
        await backend.set("id", "deleted", makeEntry("deleted"));
        await backend.delete("id", "deleted");
        // Accepted before close(), so close() waits for it.
        const write = backend.set("id", "key", makeEntry(ALL_BYTES));
        await Promise.all([write, backend.close()]);
        const later = await again(store);
        try {
          same(await later.get("id", "key"), makeEntry(ALL_BYTES), "get()");
          equal(
            await later.get("id", "deleted"),
            undefined,
            "what was deleted",
          );
        } finally {
          await later.close();
        }
      },
    );

    checkBoth(
      `clause 11: 200 random turns on two backends answer like one Map (seed ${seed})`,
      again,
      async (first, second) => {
        await answersLikeMap([first, second], seed, 200);
      },
    );
  }

  check(
    `clauses 1 to 9: 400 random turns answer like a Map (seed ${seed})`,
    async (backend) => {
      await answersLikeMap([backend], seed, 400);
    },
  );

  check(
    "clause 12: close() can be called twice, one after the other and at once",
    async (backend) => {
      await backend.set("id", "key", makeEntry("value"));
      await Promise.all([backend.close(), backend.close()]);
      await backend.close();
    },
  );

  check(
    "clause 12: close() succeeds on a backend that was never used",
    async (backend) => {
      await backend.close();
      await backend.close();
    },
  );

  check(
    "clause 12: close() waits for writes that were accepted",
    async (backend) => {
      let done = 0;
      const writes = Array.from(
        { length: 10 },
        (_, index) =>
          backend.set("id", `key ${index}`, makeEntry("value")).then(() =>
            done++
          ),
      );
      // A failed write is told below, by the count.
      void Promise.allSettled(writes);
      await backend.close();
      // Promises that settle together tell it in any order: one turn later all of them have.
      await delay(0);
      equal(done, writes.length, "number of writes done when close() resolves");
    },
  );

  for (const [name, run] of OPERATIONS) {
    check(
      `clause 12: ${name} rejects with CacheClosedError after close()`,
      async (backend) => {
        await backend.set("id", "key", makeEntry("value"));
        await backend.close();
        for (let attempt = 0; attempt < 2; attempt++) {
          const error = await rejects(
            () => run(backend),
            `${name} after close()`,
          );
          if (!(error instanceof CacheClosedError)) {
            fail(`${name} after close() rejects with CacheClosedError`, error);
          }
        }
      },
    );
  }

  check(
    "clause 13: changing bytes that were given changes no entry",
    async (backend) => {
      for (
        const bytes of [
          ALL_BYTES.slice(),
          new SharingBytes(ALL_BYTES.slice().buffer),
        ]
      ) {
        const write = backend.set("id", "key", makeEntry(bytes));
        bytes.fill(7);
        await write;
        same(await backend.get("id", "key"), makeEntry(ALL_BYTES), "get()");
        bytes.fill(8);
        same(await backend.get("id", "key"), makeEntry(ALL_BYTES), "get()");
      }
    },
  );

  check(
    "clause 13: changing bytes that were returned changes no entry",
    async (backend) => {
      const expected = makeEntry(ALL_BYTES);
      await backend.set(
        "id",
        "key",
        makeEntry(new SharingBytes(ALL_BYTES.slice().buffer)),
      );
      const reads = [
        () => backend.get("id", "key"),
        () => backend.getMany("id", ["key"]).then(([entry]) => entry),
      ];
      for (const read of [...reads, ...reads]) {
        const entry = await read();
        same(entry, expected, "what is read");
        if (entry?.data instanceof Uint8Array) entry.data.fill(9);
        for (const reread of reads) {
          same(
            await reread(),
            expected,
            "a later read",
          );
        }
      }
    },
  );
}

type Pair = readonly [id: string, key: string];

/** Bytes whose `slice` shares memory, as in the `Buffer` of Node, where a copy is easily missed. */
class SharingBytes extends Uint8Array<ArrayBuffer> {
  override slice(start?: number, end?: number): Uint8Array<ArrayBuffer> {
    return this.subarray(start, end);
  }
}

/** Every operation by its name, on an entry that exists. */
const OPERATIONS: readonly (readonly [
  string,
  (backend: Backend) => Promise<unknown>,
])[] = [
  ["get()", (backend) => backend.get("id", "key")],
  ["getMany()", (backend) => backend.getMany("id", ["key", "other"])],
  ["set()", (backend) => backend.set("id", "key", makeEntry("new"))],
  ["delete()", (backend) => backend.delete("id", "key")],
  ["deleteId()", (backend) => backend.deleteId("id")],
  ["clear()", (backend) => backend.clear()],
  ["entries()", (backend) => list(backend)],
];

function makeEntry(
  data: Data,
  fields: Partial<Omit<StoredEntry, "data">> = {},
): StoredEntry {
  return {
    data,
    format: "test.1",
    checksum: 3_735_928_559,
    storedAt: 1_700_000_000_000,
    expiresAt: null,
    staleUntil: null,
    durationMs: 12.5,
    ...fields,
  };
}

/** An entry whose every field tells the version, so that a mix shows. */
function versioned(version: number): StoredEntry {
  const text = `${version};`.repeat(1 + version % 7 * 3000);
  return {
    data: version % 2 === 0 ? text : new TextEncoder().encode(text),
    format: `version.${version}`,
    checksum: version,
    storedAt: version,
    expiresAt: version % 3 === 0 ? null : version,
    staleUntil: version % 5 === 0 ? null : version,
    durationMs: version + 0.5,
  };
}

function isVersion(
  entry: StoredEntry | undefined,
  from: number,
  to: number,
): void {
  const version = entry?.storedAt ?? -1;
  if (version < from || version > to) {
    fail(`a read sees one of the versions ${from} to ${to}`, entry);
  }
  same(entry, versioned(version), `version ${version}`);
}

async function keepsEach(
  backend: Backend,
  values: readonly Data[],
): Promise<void> {
  await keepsEntries(backend, values.map((value) => makeEntry(value)));
}

async function keepsEntries(
  backend: Backend,
  entries: readonly StoredEntry[],
): Promise<void> {
  const keys = entries.map((_, index) => `key ${index}`);
  for (const [index, entry] of entries.entries()) {
    await backend.set("id", `key ${index}`, entry);
  }
  for (const [index, entry] of entries.entries()) {
    same(await backend.get("id", `key ${index}`), entry, `get() ${index}`);
  }
  sameList(await backend.getMany("id", keys), entries, "getMany()");
}

/** Stores an entry of its own under each pair, then reads every one. */
async function keepsApart(
  backend: Backend,
  pairs: readonly Pair[],
): Promise<void> {
  const distinct = new Map(pairs.map((pair) => [quoted(...pair), pair]));
  for (const [name, [id, key]] of distinct) {
    equal(await backend.get(id, key), undefined, `get(${name}) before set()`);
    await backend.set(id, key, makeEntry(name));
  }
  for (const [name, [id, key]] of distinct) {
    same(await backend.get(id, key), makeEntry(name), `get(${name})`);
    const [entry] = await backend.getMany(id, [key]);
    same(entry, makeEntry(name), `getMany(${name})`);
  }
  await backend.clear();
}

/**
 * Deletes pair after pair, once from the first to the last and once back: if one deletion reached
 * another pair, in either direction, that pair would be missing when its turn comes.
 */
async function deletesApart(
  backend: Backend,
  pairs: readonly Pair[],
  operation: "delete" | "deleteId",
): Promise<void> {
  for (const order of [pairs, pairs.toReversed()]) {
    for (const [id, key] of order) {
      await backend.set(id, key, makeEntry(quoted(id, key)));
    }
    for (const [id, key] of order) {
      const name = quoted(id, key);
      same(await backend.get(id, key), makeEntry(name), `get(${name})`);
      await (operation === "delete"
        ? backend.delete(id, key)
        : backend.deleteId(id));
      equal(await backend.get(id, key), undefined, `get(${name}) afterwards`);
    }
  }
}

/** Stores entries under one id, some at once, and returns their keys. */
async function fill(
  backend: Backend,
  id: string,
  count: number,
): Promise<string[]> {
  const keys = Array.from({ length: count }, (_, index) => `entry ${index}`);
  for (let from = 0; from < count; from += 100) {
    await Promise.all(
      keys.slice(from, from + 100).map((key) =>
        backend.set(id, key, makeEntry(key))
      ),
    );
  }
  return keys;
}

/** Each kind of change through one backend, read at once through the other. */
async function seesChanges(writer: Backend, reader: Backend): Promise<void> {
  const removals = [
    () => writer.delete("id", "key"),
    () => writer.deleteId("id"),
    () => writer.clear(),
  ];
  for (const remove of removals) {
    for (const data of ["old", "new", ALL_BYTES]) {
      await writer.set("id", "key", makeEntry(data));
      same(await reader.get("id", "key"), makeEntry(data), "get() after set()");
      const [entry] = await reader.getMany("id", ["key"]);
      same(entry, makeEntry(data), "getMany() after set()");
      equal((await list(reader)).length, 1, "entries listed after set()");
    }
    await remove();
    equal(await reader.get("id", "key"), undefined, "get() after a delete");
    const [entry] = await reader.getMany("id", ["key"]);
    equal(entry, undefined, "getMany() after a delete");
    equal((await list(reader)).length, 0, "entries listed after a delete");
  }
}

/**
 * Random turns against a model. The operations of one turn run at the same time and each on a pair
 * of its own, so that their order does not matter.
 */
async function answersLikeMap(
  backends: readonly [Backend, ...Backend[]],
  seed: number,
  turns: number,
): Promise<void> {
  const random = randomNumbers(seed);
  const below = (limit: number): number => Math.floor(random() * limit);
  const one = <T>(list: readonly [T, ...T[]]): T =>
    list[below(list.length)] ?? list[0];
  const ids = ["", "a", "a/b", "A"] as const;
  const keys = ["k", "k/", "K", "k%", "😀"] as const;
  const pairs = ids.flatMap((id) => keys.map((key): Pair => [id, key]));
  const model = new Map<string, { pair: Pair; entry: StoredEntry }>();
  const stored = (id: string, key: string): StoredEntry | undefined =>
    model.get(quoted(id, key))?.entry;

  async function touch(backend: Backend, [id, key]: Pair): Promise<void> {
    const before = stored(id, key);
    switch (below(5)) {
      case 0:
        model.delete(quoted(id, key));
        return await backend.delete(id, key);
      case 1:
        return same(await backend.get(id, key), before, quoted(id, key));
      case 2:
        return sameList(
          await backend.getMany(id, [key, "absent", key]),
          [before, undefined, before],
          quoted(id, key),
        );
      default: {
        const text = one(["", "text", "é😀", "x".repeat(below(5000))]);
        const entry = makeEntry(
          random() < 0.5 ? text : new TextEncoder().encode(text),
          {
            checksum: below(2 ** 32),
            storedAt: below(2 ** 41),
            expiresAt: random() < 0.5 ? null : below(2 ** 41),
            durationMs: random() * 1000,
          },
        );
        model.set(quoted(id, key), { pair: [id, key], entry });
        return await backend.set(id, key, entry);
      }
    }
  }

  for (let turn = 0; turn < turns; turn++) {
    try {
      const backend = one(backends);
      const kind = random();
      if (kind < 0.03) {
        model.clear();
        await backend.clear();
      } else if (kind < 0.1) {
        const id = one(ids);
        for (const key of keys) model.delete(quoted(id, key));
        await backend.deleteId(id);
      } else if (kind < 0.2) {
        const id = random() < 0.5 ? undefined : one(ids);
        const expected = [...model.values()]
          .filter(({ pair }) => id === undefined || pair[0] === id)
          .map(({ pair, entry }) => infoOf(...pair, entry));
        sameInfos(await list(backend, id), expected);
      } else {
        const chosen = pairs.map((pair) => ({ pair, rank: random() }))
          .sort((x, y) => x.rank - y.rank).slice(0, 1 + below(8));
        await Promise.all(chosen.map(({ pair }) => touch(backend, pair)));
      }
    } catch (cause) {
      const reason = cause instanceof Error ? cause.message : String(cause);
      throw new Error(`seed ${seed}, turn ${turn}: ${reason}`, { cause });
    }
  }
}

/** Random numbers from 0 to below 1 that a seed repeats: Mulberry32, by Tommy Ettinger. */
function randomNumbers(seed: number): () => number {
  let state = seed | 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

async function list(backend: Backend, id?: string): Promise<EntryInfo[]> {
  const infos: EntryInfo[] = [];
  const entries = id === undefined ? backend.entries() : backend.entries(id);
  for await (const info of entries) infos.push(info);
  return infos;
}

function infoOf(id: string, key: string, entry: StoredEntry): EntryInfo {
  const { data, storedAt, expiresAt, staleUntil } = entry;
  const bytes = typeof data === "string"
    ? new TextEncoder().encode(data)
    : data;
  return { id, key, size: bytes.byteLength, storedAt, expiresAt, staleUntil };
}

function quoted(id: string, key: string): string {
  return JSON.stringify([id, key]);
}

/** What a value looks like in a message: short. */
function show(value: unknown): string {
  if (value instanceof Error) return `${value.name}: ${value.message}`;
  if (value instanceof Uint8Array) {
    return `${value.length} bytes [${value.subarray(0, 16)} ...]`;
  }
  if (typeof value === "object" && value !== null) {
    const members = Object.entries(value).map(([name, member]) =>
      `${name}: ${show(member)}`
    );
    return `{ ${members.join(", ")} }`;
  }
  const text = typeof value === "string"
    ? JSON.stringify(value)
    : String(value);
  return text.length > 100
    ? `${text.slice(0, 80)}... (${text.length} characters)`
    : text;
}

function fail(expectation: string, actual: unknown): never {
  const message = `Expected that ${expectation}, but got ${show(actual)}`;
  // Names and texts that differ only in Unicode forms or invisible characters look different.
  throw new Error(message.replaceAll(
    /[^\x20-\x7e]/gu,
    (character) => `\\u{${character.codePointAt(0)?.toString(16)}}`,
  ));
}

function equal(actual: unknown, expected: unknown, what: string): void {
  if (!Object.is(actual, expected)) {
    fail(`${what} is ${show(expected)}`, actual);
  }
}

function same(
  actual: StoredEntry | undefined,
  expected: StoredEntry | undefined,
  what: string,
): void {
  if (actual === undefined || expected === undefined) {
    return equal(actual, expected, what);
  }
  if (!sameData(actual.data, expected.data)) {
    fail(`data of ${what} is ${show(expected.data)}`, actual.data);
  }
  equal(actual.format, expected.format, `format of ${what}`);
  equal(actual.checksum, expected.checksum, `checksum of ${what}`);
  equal(actual.storedAt, expected.storedAt, `storedAt of ${what}`);
  equal(actual.expiresAt, expected.expiresAt, `expiresAt of ${what}`);
  equal(actual.staleUntil, expected.staleUntil, `staleUntil of ${what}`);
  equal(actual.durationMs, expected.durationMs, `durationMs of ${what}`);
}

function sameData(actual: Data, expected: Data): boolean {
  if (typeof actual === "string" || typeof expected === "string") {
    return actual === expected;
  }
  return actual instanceof Uint8Array && actual.length === expected.length &&
    actual.every((byte, index) => byte === expected[index]);
}

function sameList(
  actual: readonly (StoredEntry | undefined)[],
  expected: readonly (StoredEntry | undefined)[],
  what: string,
): void {
  equal(actual.length, expected.length, `length of ${what}`);
  for (const [index, entry] of expected.entries()) {
    same(actual[index], entry, `${what}[${index}]`);
  }
}

/** The same entries, in any order. */
function sameInfos(
  actual: readonly EntryInfo[],
  expected: readonly EntryInfo[],
): void {
  const left = new Map(
    expected.map((info) => [quoted(info.id, info.key), info]),
  );
  for (const info of actual) {
    const name = quoted(info.id, info.key);
    const wanted = left.get(name);
    if (wanted === undefined) {
      fail(`entries() lists what is stored, each once`, info);
    }
    left.delete(name);
    equal(info.size, wanted.size, `size of ${name}`);
    equal(info.storedAt, wanted.storedAt, `storedAt of ${name}`);
    equal(info.expiresAt, wanted.expiresAt, `expiresAt of ${name}`);
    equal(info.staleUntil, wanted.staleUntil, `staleUntil of ${name}`);
  }
  for (const name of left.keys()) {
    fail(`entries() lists ${name}`, `${actual.length} others`);
  }
}

/** Calls, and turns what is thrown at once into a rejection. */
async function settled(call: () => Promise<unknown>): Promise<unknown> {
  return await call();
}

/** Returns why a call rejects; throwing at once instead is a fault of its own. */
async function rejects(
  call: () => Promise<unknown>,
  what: string,
): Promise<unknown> {
  let promise: Promise<unknown>;
  try {
    promise = call();
  } catch (error) {
    return fail(`${what} returns a promise that rejects`, error);
  }
  const outcome = await promise.then(
    (value) => ({ rejected: false, value }),
    (error: unknown) => ({ rejected: true, value: error }),
  );
  return outcome.rejected
    ? outcome.value
    : fail(`${what} rejects`, outcome.value);
}

function requireInteger(
  action: string,
  name: string,
  value: unknown,
  min: number,
  max = Number.MAX_SAFE_INTEGER,
): void {
  const rule = max === Number.MAX_SAFE_INTEGER
    ? `an integer of at least ${min}`
    : `an integer from ${min} to ${max}`;
  if (typeof value !== "number") {
    throw new TypeError(optionMessage(action, name, rule, value));
  }
  if (!Number.isInteger(value) || value < min || value > max) {
    throw new RangeError(optionMessage(action, name, rule, value));
  }
}

/** The operations of a backend that {@linkcode FaultyBackend} can disturb. */
export type Operation =
  | "get"
  | "getMany"
  | "set"
  | "delete"
  | "deleteId"
  | "clear"
  | "entries"
  | "close";

const OPERATION_NAMES: readonly Operation[] = [
  "get",
  "getMany",
  "set",
  "delete",
  "deleteId",
  "clear",
  "entries",
  "close",
];

/** Options of {@linkcode FaultyBackend}: faults at random. */
export interface FaultyOptions {
  /** Which share of the calls fails at random, 0 (none, also when unset) to 1 (all). */
  readonly failureRate?: number;
  /** Which operations fail at random; all but `close` when unset. */
  readonly operations?: readonly Operation[];
  /** Seed of the random faults, an integer from 0 to 2³² − 1; 1 when unset. */
  readonly seed?: number;
}

/** How {@linkcode FaultyBackend.fail} makes an operation fail. */
export interface FailOptions {
  /** What the operation rejects with; an `Error` that names the operation when unset. */
  readonly error?: Error;
  /** How many calls fail, a positive integer; `Infinity` (also when unset) is until `heal()`. */
  readonly times?: number;
  /**
   * When it fails: `"before"` the wrapped backend is asked (also when unset), or `"after"`, as
   * when the answer of a store that did its work is lost.
   */
  readonly when?: "before" | "after";
}

/** Calls of one operation that wait until they are let go. */
interface Gate {
  readonly opened: Promise<void>;
  readonly open: () => void;
  waiting: number;
}

/**
 * A backend over another one that rejects, hangs or is slow when a test says so: for tests of
 * what a cache does over a store that fails.
 *
 * Nothing is disturbed until `fail`, `hold` or `delay` is called, or `failureRate` is given. A
 * call is counted, delayed, held and then failed, in this order.
 *
 * @example A read that fails once
 * ```ts
 * import { MemoryBackend } from "@panza/panza/memory";
 * import { FaultyBackend } from "@panza/panza/testing";
 * import { assertEquals, assertRejects } from "@std/assert";
 *
 * const backend = new FaultyBackend(new MemoryBackend());
 * backend.fail("get", { error: new Error("connection lost"), times: 1 });
 * await assertRejects(() => backend.get("id", "key"), Error, "connection lost");
 * assertEquals(await backend.get("id", "key"), undefined);
 * assertEquals(backend.calls("get"), 2);
 * ```
 */
export class FaultyBackend implements Backend {
  /** What it is, for messages. */
  readonly description: string;
  readonly #inner: Backend;
  readonly #calls = new Map<Operation, number>();
  readonly #failures = new Map<
    Operation,
    { error: Error; left: number; after: boolean }
  >();
  readonly #gates = new Map<Operation, Gate>();
  readonly #delays = new Map<Operation, number>();
  readonly #random: () => number;
  readonly #failureRate: number;
  readonly #randomly: ReadonlySet<Operation>;

  /**
   * Wraps a backend; nothing is disturbed yet, unless at random.
   *
   * @param inner The backend that does the work; its entries are this one's.
   * @param options Faults at random.
   * @throws {TypeError} If an option or an operation does not exist.
   * @throws {RangeError} If `failureRate` or `seed` is out of range.
   */
  constructor(inner: Backend, options: FaultyOptions = {}) {
    const action = "create the faulty backend";
    refuseUnknownOptions(action, options, [
      "failureRate",
      "operations",
      "seed",
    ]);
    const { failureRate = 0, operations, seed = 1 } = options;
    if (typeof failureRate !== "number") {
      throw new TypeError(
        optionMessage(
          action,
          "failureRate",
          "a number from 0 to 1",
          failureRate,
        ),
      );
    }
    if (!(failureRate >= 0 && failureRate <= 1)) {
      throw new RangeError(
        optionMessage(
          action,
          "failureRate",
          "a number from 0 to 1",
          failureRate,
        ),
      );
    }
    requireInteger(action, "seed", seed, 0, 2 ** 32 - 1);
    for (const operation of operations ?? []) {
      requireOperation(action, operation);
    }
    this.#inner = inner;
    this.description = `faulty ${inner.description}`;
    this.#failureRate = failureRate;
    this.#randomly = new Set(
      operations ?? OPERATION_NAMES.filter((name) => name !== "close"),
    );
    this.#random = randomNumbers(seed);
  }

  /**
   * Makes the next calls of an operation reject, until they were as many as asked for or `heal()`.
   *
   * @param operation Which one.
   * @param options How and how often; without them always, before the wrapped backend is asked.
   * @throws {TypeError} If the operation or an option does not exist, or has the wrong shape.
   * @throws {RangeError} If `times` is neither a positive integer nor `Infinity`.
   */
  fail(operation: Operation, options: FailOptions = {}): void {
    const action = "fail an operation";
    requireOperation(action, operation);
    refuseUnknownOptions(action, options, ["error", "times", "when"]);
    const {
      error = new Error(`${operation} of the store failed on purpose`),
      times = Infinity,
      when = "before",
    } = options;
    if (times !== Infinity) requireInteger(action, "times", times, 1);
    if (when !== "before" && when !== "after") {
      throw new TypeError(
        optionMessage(action, "when", '"before" or "after"', when),
      );
    }
    this.#failures.set(operation, {
      error,
      left: times,
      after: when === "after",
    });
  }

  /**
   * Makes every call of an operation wait until `release` or `heal()`; a signal that aborts ends
   * the wait of a read.
   *
   * @param operation Which one.
   * @throws {TypeError} If the operation does not exist.
   */
  hold(operation: Operation): void {
    requireOperation("hold an operation", operation);
    if (this.#gates.has(operation)) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#gates.set(operation, { opened: promise, open: resolve, waiting: 0 });
  }

  /**
   * Lets the calls go that `hold` made wait, and holds no more.
   *
   * @param operation Which one.
   * @throws {TypeError} If the operation does not exist.
   */
  release(operation: Operation): void {
    requireOperation("release an operation", operation);
    this.#gates.get(operation)?.open();
    this.#gates.delete(operation);
  }

  /**
   * Makes every call of an operation late, until `heal()`.
   *
   * @param operation Which one.
   * @param milliseconds How late, 0 or more; 0 is a turn of the event loop.
   * @throws {TypeError} If the operation does not exist or the time is not a number.
   * @throws {RangeError} If the time is negative or not finite.
   */
  delay(operation: Operation, milliseconds: number): void {
    const action = "delay an operation";
    requireOperation(action, operation);
    const rule = "a finite number of at least 0 (milliseconds)";
    if (typeof milliseconds !== "number") {
      throw new TypeError(
        optionMessage(action, "milliseconds", rule, milliseconds),
      );
    }
    if (!(milliseconds >= 0 && milliseconds < Infinity)) {
      throw new RangeError(
        optionMessage(action, "milliseconds", rule, milliseconds),
      );
    }
    this.#delays.set(operation, milliseconds);
  }

  /** Ends every fault that was asked for by hand, and lets waiting calls go. */
  heal(): void {
    this.#failures.clear();
    this.#delays.clear();
    for (const gate of this.#gates.values()) gate.open();
    this.#gates.clear();
  }

  /**
   * How often an operation was called, calls that failed included.
   *
   * @param operation Which one.
   * @returns The number of calls.
   * @throws {TypeError} If the operation does not exist.
   */
  calls(operation: Operation): number {
    requireOperation("count calls", operation);
    return this.#calls.get(operation) ?? 0;
  }

  /**
   * How many calls of an operation wait because of `hold`.
   *
   * @param operation Which one.
   * @returns The number of calls.
   * @throws {TypeError} If the operation does not exist.
   */
  waiting(operation: Operation): number {
    requireOperation("count waiting calls", operation);
    return this.#gates.get(operation)?.waiting ?? 0;
  }

  /** Passes the listener on. */
  connect(report: (error: Error) => void): void {
    this.#inner.connect(report);
  }

  /** See {@linkcode Backend.get}. */
  get(
    id: string,
    key: string,
    signal?: AbortSignal,
  ): Promise<StoredEntry | undefined> {
    return this.#run("get", () => this.#inner.get(id, key, signal), signal);
  }

  /** See {@linkcode Backend.getMany}. */
  getMany(
    id: string,
    keys: readonly string[],
    signal?: AbortSignal,
  ): Promise<(StoredEntry | undefined)[]> {
    const copied = [...keys];
    return this.#run(
      "getMany",
      () => this.#inner.getMany(id, copied, signal),
      signal,
    );
  }

  /** See {@linkcode Backend.set}. */
  set(id: string, key: string, entry: StoredEntry): Promise<void> {
    const { data } = entry;
    // The wrapped backend may be asked later, when the caller may have changed its bytes.
    const copied = typeof data === "string"
      ? entry
      : { ...entry, data: new Uint8Array(data) };
    return this.#run("set", () => this.#inner.set(id, key, copied));
  }

  /** See {@linkcode Backend.delete}. */
  delete(id: string, key: string): Promise<void> {
    return this.#run("delete", () => this.#inner.delete(id, key));
  }

  /** See {@linkcode Backend.deleteId}. */
  deleteId(id: string): Promise<void> {
    return this.#run("deleteId", () => this.#inner.deleteId(id));
  }

  /** See {@linkcode Backend.clear}. */
  clear(): Promise<void> {
    return this.#run("clear", () => this.#inner.clear());
  }

  /** See {@linkcode Backend.entries}; a fault shows at the first entry, or after the last one. */
  async *entries(id?: string): AsyncGenerator<EntryInfo, void, void> {
    const finish = await this.#begin("entries");
    yield* id === undefined ? this.#inner.entries() : this.#inner.entries(id);
    finish();
  }

  /** See {@linkcode Backend.close}. */
  close(): Promise<void> {
    return this.#run("close", () => this.#inner.close());
  }

  async #run<Result>(
    operation: Operation,
    call: () => Promise<Result>,
    signal?: AbortSignal,
  ): Promise<Result> {
    const finish = await this.#begin(operation, signal);
    const result = await call();
    finish();
    return result;
  }

  /** Counts, delays, holds and fails a call; returns what fails it when its work is done. */
  async #begin(
    operation: Operation,
    signal?: AbortSignal,
  ): Promise<() => void> {
    this.#calls.set(operation, this.calls(operation) + 1);
    const late = this.#delays.get(operation);
    if (late !== undefined) {
      await delay(late, signal === undefined ? {} : { signal });
    }
    const gate = this.#gates.get(operation);
    if (gate !== undefined) {
      gate.waiting++;
      try {
        await (signal === undefined
          ? gate.opened
          : abortable(gate.opened, signal));
      } finally {
        gate.waiting--;
      }
    }
    if (this.#randomly.has(operation) && this.#random() < this.#failureRate) {
      throw new Error(`${operation} of the store failed at random`);
    }
    const failure = this.#failures.get(operation);
    if (failure === undefined) return () => {};
    if (--failure.left === 0) this.#failures.delete(operation);
    if (!failure.after) throw failure.error;
    return () => {
      throw failure.error;
    };
  }
}

function requireOperation(action: string, operation: Operation): void {
  if (!OPERATION_NAMES.includes(operation)) {
    throw new TypeError(
      optionMessage(action, "operation", OPERATION_NAMES.join(", "), operation),
    );
  }
}
