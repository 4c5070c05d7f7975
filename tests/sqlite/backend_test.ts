import { test } from "node:test";
import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertRejects,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { DatabaseSync } from "node:sqlite";
import { pathToFileURL } from "node:url";
import fc from "fast-check";
import type { StoredEntry } from "../../src/encoding/entry.ts";
import { BackendError, CacheClosedError } from "../../src/base/errors.ts";
import { nextTurn } from "../../src/base/turn.ts";
import { SQLiteBackend } from "../../sqlite.ts";
import { start } from "../support/child.ts";
import { type HeldUp, heldUp, leastHeldUp } from "../support/event_loop.ts";
import { entry } from "../support/entry.ts";
import { fill, inFolder, withBackend } from "../support/sqlite_files.ts";
import { openBetter } from "../fixtures/better_sqlite3_double.ts";
import { openDbSqlite } from "../fixtures/db_sqlite.ts";

async function keysOf(backend: SQLiteBackend, id?: string): Promise<string[]> {
  const keys: string[] = [];
  for await (const info of backend.entries(id)) keys.push(info.key);
  return keys;
}

const AWKWARD: [string, StoredEntry][] = [
  ["empty text", entry("")],
  ["empty bytes", entry(new Uint8Array())],
  ["text with a byte order mark", entry("\ufeffa\ufeff")],
  ["text beyond the basic plane", entry("é💡\uffff")],
  ["bytes", entry(new Uint8Array([0, 255, 128]))],
  ["numeric text", entry("12345678901234567890")],
  ["times", entry("1", { expiresAt: 2 ** 52, staleUntil: 0, durationMs: 0.1 })],
  ["smallest checksum", entry("1", { checksum: 0 })],
  ["largest checksum", entry("1", { checksum: 2 ** 32 - 1 })],
];

/** Each way to pass a database. */
const KINDS: Record<string, (folder: string) => ConstructorParameters<typeof SQLiteBackend>[0]> = {
  "a path": (folder) => join(folder, "cache.db"),
  "a URL": (folder) => pathToFileURL(join(folder, "cache #1.db")),
  memory: () => ":memory:",
  "an open node:sqlite": () => new DatabaseSync(":memory:"),
  "an open @db/sqlite": () => openDbSqlite(),
  "an open better-sqlite3": () => openBetter(),
};

const bun: object | undefined = process.getBuiltinModule?.("bun:sqlite");
if (bun !== undefined) {
  KINDS["an open bun:sqlite"] = () => Reflect.construct(Reflect.get(bun, "Database"), [":memory:"]);
}

for (const [kind, make] of Object.entries(KINDS)) {
  test(`SQLiteBackend on ${kind} keeps every field of awkward entries`, () =>
    inFolder(async (folder) => {
      await withBackend(make(folder), async (backend) => {
        await Promise.all(AWKWARD.map(([name, value]) => backend.set("", name, value)));
        for (const [name, value] of AWKWARD) {
          assertEquals(await backend.get("", name), value, name);
        }
        assertEquals(
          await backend.getMany(
            "",
            AWKWARD.map(([name]) => name),
          ),
          AWKWARD.map(([, value]) => value),
        );
      });
    }));

  test(`SQLiteBackend on ${kind} behaves like a Map under random operations`, () =>
    inFolder(async (folder) => {
      let runs = 0;
      const id = fc.constantFrom("", "a", "A", "a%", "a_b");
      const key = fc.constantFrom("", "k", "K", "k/1", "é");
      const data = fc.oneof(fc.string(), fc.uint8Array({ maxLength: 9 }));
      const operation = fc.oneof(
        fc.record({ do: fc.constant("set" as const), id, key, data }),
        fc.record({ do: fc.constant("delete" as const), id, key }),
        fc.record({ do: fc.constant("deleteId" as const), id }),
        fc.record({ do: fc.constant("clear" as const) }),
        fc.record({ do: fc.constant("get" as const), id, key }),
      );
      await fc.assert(
        fc.asyncProperty(
          fc.array(fc.tuple(operation, fc.boolean()), { maxLength: 40 }),
          async (operations) => {
            const own = join(folder, String(runs++));
            mkdirSync(own);
            await withBackend(make(own), async (backend) => {
              const model = new Map<string, StoredEntry>();
              const name = (id: string, key: string) => JSON.stringify([id, key]);
              let pending: Promise<unknown>[] = [];
              for (const [step, wait] of operations) {
                if (step.do === "set") {
                  const bytes = typeof step.data === "string"
                    ? step.data
                    : new Uint8Array(step.data);
                  model.set(name(step.id, step.key), entry(bytes));
                  pending.push(backend.set(step.id, step.key, entry(bytes)));
                } else if (step.do === "delete") {
                  model.delete(name(step.id, step.key));
                  pending.push(backend.delete(step.id, step.key));
                } else if (step.do === "deleteId") {
                  for (const known of [...model.keys()]) {
                    if (JSON.parse(known)[0] === step.id) model.delete(known);
                  }
                  pending.push(backend.deleteId(step.id));
                } else if (step.do === "clear") {
                  model.clear();
                  pending.push(backend.clear());
                } else {
                  await Promise.all(pending);
                  pending = [];
                  assertEquals(
                    await backend.get(step.id, step.key),
                    model.get(name(step.id, step.key)),
                  );
                }
                if (wait) {
                  await Promise.all(pending);
                  pending = [];
                }
              }
              await Promise.all(pending);
              const listed: string[] = [];
              for await (const info of backend.entries()) {
                listed.push(name(info.id, info.key));
              }
              assertEquals(listed.sort(), [...model.keys()].sort());
            });
          },
        ),
        { seed: 7, numRuns: 15 },
      );
    }));
}

test("new SQLiteBackend() refuses what is not a database and options that do not exist", () => {
  const secret = "postgres://user:secret@host/db";
  for (
    const wrong of [
      "",
      "a\0b",
      "file:a.db",
      1,
      null,
      {},
      new URL("http://a/b"),
      secret,
      new URL(secret),
    ]
  ) {
    const open = () => Reflect.construct(SQLiteBackend, [wrong]);
    const { message } = assertThrows(open, TypeError, "database must be");
    assert(!message.includes("secret"), message);
  }
  assertThrows(
    () => Reflect.construct(SQLiteBackend, ["a.db", { maxByte: 1 }]),
    TypeError,
    "maxByte",
  );
  for (const maxBytes of [0, -1, NaN, 1000, 2 ** 60, "1"]) {
    assertThrows(
      () => Reflect.construct(SQLiteBackend, ["a.db", { maxBytes }]),
      typeof maxBytes === "number" ? RangeError : TypeError,
      "maxBytes must be",
    );
  }
  assertThrows(
    () => new SQLiteBackend(new DatabaseSync(":memory:"), { maxBytes: 2 ** 30 }),
    TypeError,
    "prune",
  );
});

test("new SQLiteBackend() makes no file before it is used", () =>
  inFolder(async (folder) => {
    const path = join(folder, "deep", "er", "cache.db");
    const backend = new SQLiteBackend(path);
    assertEquals(readdirSync(folder), []);
    await Promise.all(Array.from({ length: 20 }, (_, n) => backend.get("id", `${n}`)));
    assert(existsSync(path));
    await backend.close();
    assertEquals(readdirSync(join(folder, "deep", "er")), ["cache.db"]);
  }));

test("SQLiteBackend with create: false makes nothing, and takes what another one makes", () =>
  inFolder(async (folder) => {
    const path = join(folder, "deep", "cache.db");
    const backend = new SQLiteBackend(path, { create: false });
    const uses = [
      async () => await backend.get("id", "key"),
      () => backend.set("id", "key", entry("1")),
      () => backend.clear(),
      () => backend.prune({ maxEntries: 1 }),
      async () => void await Array.fromAsync(backend.entries()),
    ];
    for (const use of uses) await assertRejects(use, BackendError, "there is no such file");
    assertEquals(readdirSync(folder), []);
    await fill(path, 1);
    assertEquals((await keysOf(backend)).length, 1);
    await backend.set("id", "key", entry("1"));
    await backend.close();
    assertThrows(
      () => new SQLiteBackend(":memory:", { create: false }),
      TypeError,
      "create: false is for a path",
    );
  }));

test("SQLiteBackend with create: false makes no tables in files that have none", () =>
  inFolder(async (folder) => {
    const path = join(folder, "cache.db");
    for (
      const make of [
        () => writeFileSync(path, ""),
        () => new DatabaseSync(path).exec("CREATE TABLE notes (text)"),
      ]
    ) {
      make();
      const before = readFileSync(path);
      const backend = new SQLiteBackend(path, { create: false });
      await assertRejects(() => backend.set("id", "k", entry("1")), BackendError, "holds no cache");
      await backend.close();
      assertEquals(readFileSync(path), before);
      assertEquals(readdirSync(folder), ["cache.db"]);
    }
  }));

test("SQLiteBackend.prune() on a dry run writes nothing, not even where it may", () =>
  inFolder(async (folder) => {
    const path = join(folder, "cache.db");
    await fill(path, 300);
    const before = readFileSync(path);
    await withBackend(path, async (backend) => {
      const rule = { maxEntries: 100, id: "id" };
      const dry = await backend.prune({ ...rule, dryRun: true });
      assertEquals(dry.entries, 200);
      assertEquals(readFileSync(path), before);
      assertEquals(readdirSync(folder).filter((name) => name.endsWith("-wal")).length, 1);
      assertEquals(statSync(`${path}-wal`).size, 0);
      assertEquals(await backend.prune(rule), dry);
    });
  }));

test("SQLiteBackend stores text that the sqlite3 shell can query", () =>
  inFolder(async (folder) => {
    const path = join(folder, "cache.db");
    await withBackend(path, (backend) => backend.set("id", "key", entry('{"a":{"b":[5,6]}}')));
    const database = new DatabaseSync(path);
    const row = database
      .prepare("SELECT value ->> '$.a.b[1]' AS found FROM panza_entries WHERE id = 'id'")
      .get();
    assertEquals(row?.found, 6);
    assertEquals(database.prepare("PRAGMA journal_mode").get()?.journal_mode, "wal");
    database.close();
  }));

test("SQLiteBackend.set() keeps the bytes that it was given", () =>
  withBackend(":memory:", async (backend) => {
    const bytes = new Uint8Array([1, 2, 3]);
    const stored = backend.set("id", "key", entry(bytes));
    bytes.fill(9);
    await stored;
    const found = await backend.get("id", "key");
    assertEquals(found?.data, new Uint8Array([1, 2, 3]));
  }).then((reports) => assertEquals(reports, [])));

test("SQLiteBackend.set() fails alone when its neighbours in the transaction are fine", () =>
  withBackend(":memory:", async (backend) => {
    const broken = entry("x");
    // A driver refuses a value that SQL does not know.
    Object.defineProperty(broken, "format", { value: {} });
    const results = await Promise.allSettled([
      backend.set("id", "before", entry("1")),
      backend.set("id", "broken", broken),
      backend.set("id", "after", entry("2")),
      backend.delete("id", "before"),
    ]);
    assertEquals(
      results.map((result) => result.status),
      ["fulfilled", "rejected", "fulfilled", "fulfilled"],
    );
    assert(results[1]?.status === "rejected");
    assertInstanceOf(results[1].reason, BackendError);
    assertEquals(await keysOf(backend), ["after"]);
  }).then(() => {}));

test("SQLiteBackend.set() rejects when the commit fails, alone or with others", async () => {
  const database = new DatabaseSync(":memory:");
  await withBackend(database, async (backend) => {
    await backend.set("id", "kept", entry("1"));
    // The foreign key is checked by the commit, so each statement before it succeeds.
    database.exec(`PRAGMA foreign_keys = ON;
      CREATE TABLE parents (id INTEGER PRIMARY KEY);
      CREATE TABLE children (id REFERENCES parents DEFERRABLE INITIALLY DEFERRED);
      CREATE TRIGGER full AFTER INSERT ON panza_entries WHEN NEW.key LIKE 'bad%'
      BEGIN INSERT INTO children VALUES (1); END`);
    await assertRejects(() => backend.set("id", "bad", entry("1")), BackendError);
    const results = await Promise.allSettled(
      ["a", "bad", "b", "bad2"].map((key) => backend.set("id", key, entry("1"))),
    );
    assertEquals(
      results.map((result) => result.status),
      ["fulfilled", "rejected", "fulfilled", "rejected"],
    );
    assertEquals(await keysOf(backend), ["a", "b", "kept"]);
  });
  database.close();
});

test("SQLiteBackend.set() is seen by a backend on the same file once it resolves", () =>
  inFolder(async (folder) => {
    const path = join(folder, "cache.db");
    await withBackend(path, (one) =>
      withBackend(path, async (two) => {
        for (let n = 0; n < 20; n++) {
          await one.set("id", "key", entry(`${n}`));
          assertEquals((await two.get("id", "key"))?.data, `${n}`);
          await two.delete("id", "key");
          assertEquals(await one.get("id", "key"), undefined);
        }
      }).then(() => {}));
  }));

test("SQLiteBackend stores and reads 100 MB of text and of bytes", () =>
  inFolder(async (folder) => {
    await withBackend(join(folder, "cache.db"), async (backend) => {
      const text = "é".repeat(50_000_000);
      await backend.set("id", "text", entry(text));
      assert((await backend.get("id", "text"))?.data === text);
      const bytes = new Uint8Array(100_000_000).fill(7);
      await backend.set("id", "bytes", entry(bytes));
      const found = (await backend.get("id", "bytes"))?.data;
      assert(found instanceof Uint8Array);
      assertEquals(found.byteLength, bytes.byteLength);
      assert(found.every((byte) => byte === 7));
    });
  }));

test("SQLiteBackend.close() commits what was accepted and refuses what comes later", () =>
  inFolder(async (folder) => {
    const path = join(folder, "cache.db");
    const backend = new SQLiteBackend(path);
    const accepted = [
      backend.set("id", "a", entry("1")),
      backend.get("id", "a"),
      backend.getMany("id", ["a"]),
      backend.deleteId("other"),
    ];
    const closed = backend.close();
    await assertRejects(async () => await backend.get("id", "a"), CacheClosedError);
    await assertRejects(async () => await backend.getMany("id", []), CacheClosedError);
    await assertRejects(() => backend.set("id", "a", entry("2")), CacheClosedError);
    await assertRejects(() => backend.delete("id", "a"), CacheClosedError);
    await assertRejects(() => backend.deleteId("id"), CacheClosedError);
    await assertRejects(() => backend.clear(), CacheClosedError);
    await assertRejects(() => backend.prune({}), CacheClosedError);
    await assertRejects(() => keysOf(backend), CacheClosedError);
    await Promise.all(accepted);
    await closed;
    await backend.close();
    await withBackend(path, async (again) => {
      assertEquals((await again.get("id", "a"))?.data, "1");
    });
  }));

test("SQLiteBackend.entries() yields each entry once while entries are replaced", () =>
  withBackend(":memory:", async (backend) => {
    const keys = Array.from({ length: 700 }, (_, n) => `k${n}`).sort();
    await Promise.all(keys.map((key) => backend.set("a", key, entry("1"))));
    await backend.set("b", "k0", entry("1"));
    const seen: string[] = [];
    for await (const info of backend.entries("a")) {
      seen.push(info.key);
      if (seen.length % 100 === 0) {
        await backend.set("a", seen[0] ?? "", entry("2"));
        await backend.set("a", keys.at(-1) ?? "", entry("2"));
      }
    }
    assertEquals(seen, keys);
  }).then(() => {}));

for (
  const kind of ["a path", "an open node:sqlite", "an open @db/sqlite", "an open better-sqlite3"]
) {
  test(`SQLiteBackend.get() on ${kind} answers a lookup alone in its turn at once, and a crowd with one statement`, () =>
    inFolder(async (folder) => {
      await withBackend(KINDS[kind]?.(folder) ?? ":memory:", async (backend) => {
        await Promise.all(["a", "b", "c"].map((key) => backend.set("id", key, entry(key))));
        for (const key of ["a", "b"]) {
          await nextTurn();
          const alone = backend.get("id", key);
          assert(!(alone instanceof Promise));
          assertEquals(alone?.data, key);
        }
        assert(Array.isArray(backend.getMany("id", ["a", "none"])));
        await nextTurn();
        const [first, ...others] = ["a", "b", "c"].map((key) => backend.get("id", key));
        assert(!(first instanceof Promise) && others.every((each) => each instanceof Promise));
        assertEquals((await Promise.all(others)).map((each) => each?.data), ["b", "c"]);
      });
    }));
}

test("SQLiteBackend cuts its log once the last reader is gone", () =>
  inFolder(async (folder) => {
    const path = join(folder, "cache.db");
    await withBackend(path, async (backend) => {
      await backend.set("id", "first", entry("1"));
      const reader = new DatabaseSync(path);
      reader.exec("BEGIN; SELECT count(*) FROM panza_entries");
      const store = (count: number) =>
        Promise.all(
          Array.from(
            { length: count },
            (_, n) => backend.set("id", `${n}`, entry("x".repeat(100_000))),
          ),
        );
      for (let round = 0; round < 4; round++) await store(80);
      const size = () => statSync(`${path}-wal`).size;
      assert(size() > 17_000_000, `${size()}`);
      reader.close();
      await store(1);
      await store(1);
      assert(size() <= 16_777_216, `the log has ${size()} bytes`);
    });
  }));

test("SQLiteBackend has no id, key or value in its errors and their causes", async () => {
  const database = new DatabaseSync(":memory:");
  await withBackend(database, async (backend) => {
    await backend.set("id", "key", entry("1"));
    database.exec(
      "CREATE TRIGGER refuse BEFORE INSERT ON panza_entries BEGIN SELECT RAISE(ABORT, 'no'); END",
    );
    const wrong = entry("x");
    Object.defineProperty(wrong, "format", { value: { secret: 1 } });
    for (const value of [entry("secret"), wrong]) {
      const error = await assertRejects(() => backend.set("secret", "secret", value), BackendError);
      for (let at: unknown = error; at instanceof Error; at = at.cause) {
        assert(!`${at.message} ${JSON.stringify(at)}`.includes("secret"), at.message);
      }
    }
  });
  database.close();
});

test("SQLiteBackend lets timers run in a loop that only finds and lists entries", () =>
  inFolder(async (folder) => {
    const path = join(folder, "cache.db");
    await fill(path);
    await withBackend(path, async (backend) => {
      const gap = await leastHeldUp(150, () =>
        heldUp(async () => {
          const end = performance.now() + 300;
          while (performance.now() < end) await backend.get("id", "key1");
          const later = performance.now() + 300;
          while (performance.now() < later) await keysOf(backend);
        }));
      assert(gap < 150, `the loop was held up for ${gap} ms`);
    });
  }));

test("SQLiteBackend.deleteId() deletes many entries without holding up the event loop", () =>
  inFolder(async (folder) => {
    await withBackend(join(folder, "cache.db"), async (backend) => {
      const count = 20_000;
      const gap = await leastHeldUp(150, async () => {
        await Promise.all(
          Array.from(
            { length: count },
            (_, n) => backend.set(n % 10 === 0 ? "kept" : "gone", `${n}`, entry("x".repeat(500))),
          ),
        );
        return await heldUp(() => backend.deleteId("gone"));
      });
      assert(gap < 150, `the loop was held up for ${gap} ms`);
      assertEquals((await keysOf(backend)).length, count / 10);
      await backend.clear();
      assertEquals(await keysOf(backend), []);
    });
  }));

test("SQLiteBackend.prune() deletes by age and expiry and keeps what was stored last", () =>
  withBackend(":memory:", async (backend) => {
    for (let n = 0; n < 10; n++) {
      await backend.set(
        "id",
        `${n}`,
        entry("xx", {
          storedAt: 1000 + n,
          staleUntil: n === 5 ? 40 : null,
        }),
      );
    }
    assertEquals(await backend.prune({ storedBefore: 1002, expiredBefore: 41 }), {
      entries: 3,
      bytes: 6,
    });
    assertEquals(await keysOf(backend), ["2", "3", "4", "6", "7", "8", "9"]);
    await backend.set("id", "2", entry("yy"));
    assertEquals(await backend.prune({ maxEntries: 5 }), {
      entries: 2,
      bytes: 4,
    });
    assertEquals(await keysOf(backend), ["2", "6", "7", "8", "9"]);
    assertEquals(await backend.prune({ maxBytes: 5 }), {
      entries: 3,
      bytes: 6,
    });
    assertEquals(await keysOf(backend), ["2", "9"]);
    assertEquals(await backend.prune({ maxBytes: 0 }), {
      entries: 2,
      bytes: 4,
    });
    assertEquals(await backend.prune({ maxEntries: 0 }), {
      entries: 0,
      bytes: 0,
    });
  }).then(() => {}));

test("SQLiteBackend.prune() makes the file smaller", () =>
  inFolder(async (folder) => {
    const path = join(folder, "cache.db");
    await withBackend(path, async (backend) => {
      const gap = await leastHeldUp(150, async () => {
        await Promise.all(
          Array.from(
            { length: 3000 },
            (_, n) => backend.set("id", `${n}`, entry("x".repeat(3000))),
          ),
        );
        return await heldUp(() => backend.prune({ maxEntries: 100 }));
      });
      assert(gap < 150, `the loop was held up for ${gap} ms`);
      const size = statSync(path).size;
      assert(size < 1_500_000, `the file still has ${size} bytes`);
      assert(statSync(`${path}-wal`).size < 1_000_000);
      assertEquals((await keysOf(backend)).length, 100);
    });
  }));

for (const how of ["deleteId", "clear"] as const) {
  test(`SQLiteBackend.${how}() gives the room back, and cuts the log`, () =>
    inFolder(async (folder) => {
      const path = join(folder, "cache.db");
      await withBackend(path, async (backend) => {
        await Promise.all(
          Array.from(
            { length: 500 },
            (_, n) => backend.set("id", `${n}`, entry("x".repeat(10_000))),
          ),
        );
        await backend[how]("id");
        assert(statSync(path).size < 100_000, `the file has ${statSync(path).size} bytes`);
        assertEquals(statSync(`${path}-wal`).size, 0);
      });
    }));
}

// The advice about the file system: a database that stays locked stands for its missing locks.
test("SQLiteBackend does not wait again for a lock that nobody gives", () =>
  inFolder(async (folder) => {
    const path = join(folder, "cache.db");
    const other = new DatabaseSync(path);
    other.exec("CREATE TABLE notes (text); BEGIN EXCLUSIVE");
    const real = performance.now.bind(performance);
    let ahead = 0;
    // Each reading of the clock is a second later.
    performance.now = () => real() + 1000 * ahead++;
    try {
      await withBackend(path, async (backend) => {
        const refused = async () => await backend.get("id", "key");
        await assertRejects(refused, BackendError, "use a path on a local disk");
        const before = ahead;
        for (let n = 0; n < 3; n++) await assertRejects(refused, BackendError, "local disk");
        assert(ahead - before < 40, `it looked at the clock ${ahead - before} times`);
        other.exec("COMMIT");
      });
    } finally {
      performance.now = real;
      other.close();
    }
  }));

test("SQLiteBackend keeps its file within maxBytes and what was stored last in it", () =>
  inFolder(async (folder) => {
    const path = join(folder, "cache.db");
    const maxBytes = 2_000_000;
    const backend = new SQLiteBackend(path, { maxBytes });
    for (let n = 0; n < 5000; n += 50) {
      await Promise.all(
        Array.from(
          { length: 50 },
          (_, i) => backend.set("id", `${n + i}`, entry("x".repeat(2000))),
        ),
      );
      // Eviction may lag behind by some 50 entries.
      const size = statSync(path).size;
      assert(size <= maxBytes + 50 * 2000, `the file has ${size} bytes after ${n}`);
    }
    for (let n = 4500; n < 5000; n++) {
      assert((await backend.get("id", `${n}`)) !== undefined);
    }
    await backend.close();
    const size = statSync(path).size;
    assert(size <= maxBytes, `the file has ${size} bytes in the end`);
  }));

test("SQLiteBackend evicts no more large entries than its bound asks for", () =>
  inFolder(async (folder) => {
    const path = join(folder, "cache.db");
    const backend = new SQLiteBackend(path, { maxBytes: 2_000_000 });
    for (let n = 0; n < 60; n++) {
      await backend.set("id", `${n}`, entry("x".repeat(100_000)));
      for (let kept = Math.max(0, n - 14); kept <= n; kept++) {
        assert((await backend.get("id", `${kept}`)) !== undefined, `${kept} is gone at ${n}`);
      }
    }
    await backend.close();
    assert(statSync(path).size <= 2_000_000);
  }));

test("SQLiteBackend adds its tables to somebody else's database and changes nothing else", () =>
  inFolder(async (folder) => {
    const path = join(folder, "users.db");
    const theirs = new DatabaseSync(path);
    theirs.exec(
      "PRAGMA page_size = 4096; PRAGMA user_version = 7; CREATE TABLE notes (text); " +
        "INSERT INTO notes VALUES ('mine')",
    );
    theirs.close();
    const reports = await withBackend(path, async (backend) => {
      await backend.set("id", "key", entry("1"));
      await backend.clear();
      await backend.set("id", "key", entry("2"));
      assertEquals((await backend.get("id", "key"))?.data, "2");
    });
    assertEquals(reports, []);
    const again = new DatabaseSync(path);
    assertEquals(again.prepare("SELECT text FROM notes").get()?.text, "mine");
    assertEquals(
      { ...again.prepare("PRAGMA user_version").get() },
      {
        user_version: 7,
      },
    );
    assertEquals(
      { ...again.prepare("PRAGMA application_id").get() },
      {
        application_id: 0,
      },
    );
    assertEquals(
      { ...again.prepare("PRAGMA journal_mode").get() },
      {
        journal_mode: "delete",
      },
    );
    assertEquals(
      { ...again.prepare("PRAGMA auto_vacuum").get() },
      {
        auto_vacuum: 0,
      },
    );
    again.close();
    const bounded = new SQLiteBackend(path, { maxBytes: 2 ** 30 });
    await assertRejects(async () => await bounded.get("id", "key"), BackendError, "maxBytes");
    await bounded.close();
  }));

test("SQLiteBackend leaves an open database open and its transaction alone", async () => {
  const database = new DatabaseSync(":memory:");
  database.exec("CREATE TABLE notes (text); BEGIN; INSERT INTO notes VALUES ('mine')");
  await withBackend(database, async (backend) => {
    await backend.set("id", "key", entry("1"));
    assertEquals((await backend.get("id", "key"))?.data, "1");
    assertEquals(await backend.prune({ maxEntries: 5 }), {
      entries: 0,
      bytes: 0,
    });
  });
  database.exec("ROLLBACK");
  assertEquals({ ...database.prepare("SELECT count(*) AS n FROM notes").get() }, { n: 0 });
  database.close();
});

for (const ends of ["ROLLBACK", "COMMIT"]) {
  test(`SQLiteBackend makes its tables again after a ${ends} of a transaction around its first use`, async () => {
    const database = new DatabaseSync(":memory:");
    const reports = await withBackend(database, async (backend) => {
      database.exec("BEGIN");
      await backend.set("id", "first", entry("1"));
      database.exec(ends);
      await backend.set("id", "next", entry("2"));
      assertEquals((await backend.get("id", "next"))?.data, "2");
      const kept = ends === "COMMIT" ? ["first", "next"] : ["next"];
      assertEquals(await keysOf(backend), kept);
      // The same where only the table is gone.
      database.exec("DROP TABLE panza_entries");
      assertEquals(await backend.getMany("id", ["next"]), [undefined]);
      await backend.set("id", "last", entry("3"));
      assertEquals(await keysOf(backend), ["last"]);
    });
    assertEquals(reports, []);
    database.close();
  });
}

test("SQLiteBackend says so when an open database was closed by its owner", async () => {
  const database = new DatabaseSync(":memory:");
  const backend = new SQLiteBackend(database);
  await backend.set("id", "key", entry("1"));
  database.close();
  await assertRejects(
    async () => await backend.get("id", "key"),
    BackendError,
    "keep the database open",
  );
  await assertRejects(() => backend.set("id", "key", entry("1")), BackendError);
  await backend.close();
});

test("SQLiteBackend leaves a database with newer tables untouched", () =>
  inFolder(async (folder) => {
    const path = join(folder, "cache.db");
    await fill(path, 1);
    const newer = new DatabaseSync(path);
    newer.exec("INSERT INTO panza_schema VALUES (99, 'version 99')");
    newer.close();
    const before = readFileSync(path);
    const backend = new SQLiteBackend(path);
    await assertRejects(
      async () => await backend.get("id", "key0"),
      BackendError,
      "update @panza/panza",
    );
    await assertRejects(() => backend.set("id", "a", entry("1")), BackendError);
    await backend.close();
    assertEquals(readFileSync(path), before);
    assertEquals(readdirSync(folder), ["cache.db"]);
  }));

test("SQLiteBackend waits for a lock of another process while the event loop turns", () =>
  inFolder(async (folder) => {
    const path = join(folder, "cache.db");
    const gap = await leastHeldUp(100, async () => {
      await fill(path, 1);
      const child = start("fixtures/sqlite_child.ts", ["lock", path]);
      await child.said("locked");
      let held: HeldUp | undefined;
      await withBackend(path, async (backend) => {
        assert((await backend.get("id", "key0")) !== undefined);
        let committed = false;
        held = await heldUp(async () => {
          const writes = Promise.all([
            backend.set("id", "a", entry("1")),
            backend.delete("id", "key0"),
            backend.deleteId("none"),
          ]).then(() => (committed = true));
          await new Promise((resolve) => setTimeout(resolve, 1200));
          assert(!committed);
          assert((await backend.get("id", "key0")) !== undefined);
          child.process.stdin?.write("go\n");
          await writes;
        });
        assertEquals(await keysOf(backend), ["a"]);
      });
      await child.ended();
      assert(held !== undefined);
      return held;
    });
    assert(gap < 100, `the loop was held up for ${gap} ms`);
  }));

test("SQLiteBackend waits for a lock with an open database of any driver", () =>
  inFolder(async (folder) => {
    const path = join(folder, "shared.db");
    const other = new DatabaseSync(path);
    const handles = [openDbSqlite(path), openBetter(path), new DatabaseSync(path)];
    if (bun !== undefined) {
      handles.push(Reflect.construct(Reflect.get(bun, "Database"), [path]));
    }
    for (const handle of handles) {
      handle.exec("PRAGMA busy_timeout = 0");
      await withBackend(handle, async (backend) => {
        await backend.set("id", "a", entry("1"));
        other.exec("BEGIN IMMEDIATE");
        const write = backend.set("id", "a", entry("2"));
        // More than one attempt meets the lock.
        await new Promise((resolve) => setTimeout(resolve, 60));
        other.exec("COMMIT");
        await write;
        assertEquals((await backend.get("id", "a"))?.data, "2");
      });
    }
    other.close();
  }));

test("SQLiteBackend has every acknowledged entry after a process was killed", () =>
  inFolder(async (folder) => {
    const path = join(folder, "cache.db");
    let total = 0;
    for (const last of ["key49", "key99", "key399"]) {
      const child = start("fixtures/sqlite_child.ts", ["write", path]);
      await child.said(last);
      const acknowledged = (await child.kill()).filter((line) => line.startsWith("key"));
      total += acknowledged.length;
      const reports = await withBackend(path, async (backend) => {
        const found = await backend.getMany("child", acknowledged);
        acknowledged.forEach((key, index) => assertEquals(found[index]?.data, key.repeat(300)));
      });
      assertEquals(reports, []);
    }
    assert(total >= 550);
  }));

test("SQLiteBackend names the flags when Deno grants no permission, and never asks", () =>
  inFolder(async (folder) => {
    const path = join(folder, "cache.db");
    const run = (flags: string[], where = path) =>
      start("fixtures/sqlite_permissions.ts", [where], flags).ended();
    const both = [`--allow-read=${path}`, `--allow-write=${path}`];
    assertEquals(await run(both), ["stored 1", "closed"]);
    if (!("Deno" in globalThis)) return;
    // Without any flag, Deno's child_process adds one that allows everything.
    for (const flag of ["--deny-net", `--allow-write=${path}`]) {
      const [line] = await run([flag]);
      assertStringIncludes(line ?? "", "BackendError");
      assertStringIncludes(line ?? "", `run with --allow-read=${path} --allow-write=${path}`);
    }
    const [readOnly] = await run([`--allow-read=${path}`]);
    assertStringIncludes(readOnly ?? "", "BackendError");
    const deep = join(folder, "deep", "cache.db");
    const [missing] = await run([`--allow-read=${deep}`, `--allow-write=${deep}`], deep);
    assertStringIncludes(missing ?? "", `--allow-write=${join(folder, "deep")}`);
    const bytes = readFileSync(path).fill(0xa5, 100);
    writeFileSync(path, bytes);
    const [damaged] = await run(both);
    const next = `${path}.panza-2`;
    assertStringIncludes(damaged ?? "", `run with --allow-read=${next} --allow-write=${next}`);
    assertEquals(readFileSync(path), bytes);
  }));

test("SQLiteBackend.close() leaves nothing that keeps the process alive", () =>
  inFolder(async (folder) => {
    const child = start("fixtures/sqlite_permissions.ts", [join(folder, "cache.db")]);
    assertEquals(await child.ended(), ["stored 1", "closed"]);
    assertEquals(process.exitCode ?? 0, 0);
  }));

test("SQLiteBackend says what is missing where the runtime has no SQLite", async () => {
  const backend = new SQLiteBackend("cache.db");
  const original = process.getBuiltinModule;
  let error: unknown;
  process.getBuiltinModule = () => undefined as never;
  try {
    error = await Promise.resolve(backend.get("id", "a")).catch((reason: unknown) => reason);
  } finally {
    process.getBuiltinModule = original;
  }
  assertInstanceOf(error, BackendError);
  assertStringIncludes(error.message, "this runtime has no node:sqlite");
  await backend.close();
});
