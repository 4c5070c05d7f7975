import { test } from "node:test";
import { assert, assertEquals, assertInstanceOf, assertRejects } from "@std/assert";
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  truncateSync,
} from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { DatabaseSync } from "node:sqlite";
import { setTimeout as delay } from "node:timers/promises";
import { BackendError, DatabaseMovedError } from "../../src/base/errors.ts";
import { DatabaseFile } from "../../src/sqlite/file.ts";
import {
  assertIntact,
  assertKept,
  contents,
  entry,
  fill,
  inFolder,
  overwrite,
  withBackend,
} from "../support/sqlite_files.ts";
import { aroundDriver, aroundMethods } from "../torture/driver.ts";

/** Does something around the calls of a function of `node:fs`, as if another process did it. */
async function around(
  name: "renameSync" | "statSync",
  meanwhile: (call: () => unknown, count: number) => unknown,
  work: () => Promise<void>,
): Promise<void> {
  const fs = process.getBuiltinModule("node:fs");
  let count = 0;
  const end = aroundMethods(fs, [name], (call) => meanwhile(call, ++count));
  try {
    await work();
  } finally {
    end();
  }
}

test("DatabaseFile.moveAside() moves a damaged file once when two find the damage", () =>
  inFolder(async (folder) => {
    const path = join(folder, "cache.db");
    await fill(path);
    const reports: Error[] = [];
    const files = [0, 1].map(
      () => new DatabaseFile(path, "SQLite cache.db", (error) => reports.push(error)),
    );
    for (const database of await Promise.all(files.map((file) => file.open()))) {
      database.close();
    }
    const bytes = readFileSync(path);
    const [first, second] = files;
    await first?.moveAside(new Error("damaged"));
    await fill(path, 1);
    const healthy = readFileSync(path);
    await second?.moveAside(new Error("damaged"));
    assertEquals(readFileSync(path), healthy);
    assertEquals(reports.length, 1);
    assertInstanceOf(reports[0], DatabaseMovedError);
    assertEquals(readFileSync(reports[0].movedTo), bytes);
  }));

/** A database whose last entries are in its log alone, and a connection that keeps it so. */
async function withLog(path: string): Promise<DatabaseSync> {
  await fill(path, 20);
  const other = new DatabaseSync(path);
  other.exec("UPDATE panza_entries SET duration_ms = 2");
  return other;
}

// Tries to get the log of a damaged file deleted, or written into it, by whoever else closes it.
for (
  const [damage, from] of [
    ["its tables", 100],
    ["its header", 0],
  ] as const
) {
  test(`DatabaseFile.moveAside() keeps the log while others close a file damaged in ${damage}`, () =>
    inFolder(async (folder) => {
      const path = join(folder, "cache.db");
      const other = await withLog(path);
      overwrite(path, from, 8000);
      const bytes = contents(folder);
      const reports: Error[] = [];
      const file = new DatabaseFile(path, "SQLite", (it) => reports.push(it));
      await around(
        "renameSync",
        (call, count) => {
          if (count === 1) other.close();
          return call();
        },
        async () => (await file.open()).close(),
      );
      assertEquals(
        reports.map(({ name }) => name),
        ["DatabaseMovedError"],
      );
      assertKept(folder, bytes);
    }));
}

// Tries to get a new database made beside the companions of the old one, half-way through a move.
test("SQLiteBackend makes no database while another process moves the old one", () =>
  inFolder(async (folder) => {
    const path = join(folder, "cache.db");
    const mover = new DatabaseSync(`${path}-lock`);
    mover.exec("BEGIN EXCLUSIVE");
    await withBackend(path, async (backend) => {
      const stored = backend.set("id", "a", entry("1"));
      await delay(100);
      assert(!existsSync(path));
      mover.close();
      await stored;
    });
    assertEquals(readdirSync(folder).sort(), ["cache.db", "cache.db-lock"]);
  }));

// Tries to get the log of a database deleted by whoever saw the database, and finds it moved when it
// opens it: SQLite makes an empty one then, and deletes the log of it.
test("DatabaseFile.open() leaves the log alone when the file is moved in this moment", () =>
  inFolder(async (folder) => {
    const path = join(folder, "cache.db");
    const other = await withLog(path);
    const bytes = contents(folder);
    const mover = new DatabaseSync(`${path}-lock`);
    mover.exec("BEGIN EXCLUSIVE");
    const file = new DatabaseFile(path, "SQLite", () => {});
    await around(
      "statSync",
      (call, count) => {
        const found = call();
        // The second look is the last one before it opens what it saw.
        if (count === 2) renameSync(path, `${path}.damaged`);
        return found;
      },
      async () => {
        const opening = file.open();
        await delay(100);
        assertKept(folder, bytes);
        for (const suffix of ["-wal", "-shm"]) {
          renameSync(path + suffix, `${path}.damaged${suffix}`);
        }
        mover.close();
        (await opening).close();
      },
    );
    other.close();
    assertKept(folder, bytes.slice(0, 1));
  }));

// Tries to get a process that has opened the old file to use, or to write, the log of the new one.
for (const isMade of [true, false]) {
  test(
    `DatabaseFile.open() does nothing to the database that comes in place of one ${
      isMade ? "with" : "without"
    } tables`,
    () =>
      inFolder(async (folder) => {
        const path = join(folder, "cache.db");
        const next = join(folder, "next.db");
        await fill(next, 1);
        if (isMade) await fill(path, 1);
        else {
          const unmade = new DatabaseSync(path);
          unmade.exec("PRAGMA page_size = 8192; PRAGMA application_id = 0x50616e7a");
          unmade.exec("PRAGMA journal_mode = WAL");
          unmade.close();
        }
        const file = new DatabaseFile(path, "SQLite", () => {});
        let theirs: DatabaseSync | undefined;
        const end = aroundDriver((call) => {
          end();
          renameSync(path, `${path}.damaged`);
          renameSync(next, path);
          theirs = new DatabaseSync(path);
          theirs.exec("UPDATE panza_entries SET duration_ms = 2");
          return call();
        });
        const database = await file.open();
        assert(!file.isReplaced());
        const rows = database.handle.prepare("SELECT duration_ms FROM panza_entries");
        assertEquals(rows.all().length, 1);
        database.close();
        theirs?.close();
        assertIntact(path);
        const plain = new DatabaseSync(path);
        assertEquals(
          {
            ...plain.prepare("SELECT duration_ms FROM panza_entries").get(),
          },
          { duration_ms: 2 },
        );
        plain.close();
      }),
  );
}

// Tries to lose something, or to leave something behind, by letting each step of a move fail.
test("DatabaseFile.open() finishes a move that failed, whichever step that was", () =>
  inFolder(async (folder) => {
    for (let step = 1;; step++) {
      const place = join(folder, `${step}`);
      mkdirSync(place);
      const path = join(place, "cache.db");
      const other = await withLog(path);
      overwrite(path, 0, 8000);
      const bytes = contents(place);
      const reports: Error[] = [];
      const file = new DatabaseFile(path, "SQLite", (it) => reports.push(it));
      let steps = 0;
      await around(
        "renameSync",
        (call, count) => {
          steps = count;
          if (count === step) throw new Error("killed");
          return call();
        },
        async () => {
          const opening = file.open();
          if (step <= 4) {
            await assertRejects(() => opening, BackendError, "killed");
          } else (await opening).close();
        },
      );
      await withBackend(path, async (backend) => {
        await backend.set("id", "a", entry("1"));
        assertEquals((await backend.get("id", "a"))?.data, "1");
      });
      other.close();
      assertKept(place, bytes);
      assertEquals(reports.length, step <= 4 ? 0 : 1);
      assertEquals(
        readdirSync(place).filter((name) => /-new/.test(name)),
        [],
      );
      if (steps < step) {
        assertEquals(step, 5);
        break;
      }
    }
  }));

// Tries to get the log of an emptied database deleted: SQLite does that.
test("SQLiteBackend keeps the log of a database that was emptied", () =>
  inFolder(async (folder) => {
    const path = join(folder, "cache.db");
    const other = await withLog(path);
    const log = readFileSync(`${path}-wal`);
    truncateSync(path);
    await withBackend(path, (backend) => backend.set("id", "a", entry("1")));
    other.close();
    assertKept(folder, [log]);
    await withBackend(path, async (backend) => {
      assertEquals((await backend.get("id", "a"))?.data, "1");
    });
  }));

// Tries to find a file of this library that does not look like one, as its maker's death would leave it.
test("DatabaseFile.open() marks a new file with the first change of it", () =>
  inFolder(async (folder) => {
    const path = join(folder, "cache.db");
    let first: Buffer | undefined;
    const end = aroundDriver((call) => {
      const result = call();
      if (existsSync(path)) {
        const bytes = readFileSync(path);
        if (bytes.length > 0) first ??= bytes;
      }
      return result;
    });
    const file = new DatabaseFile(path, "SQLite", () => {});
    (await file.open()).close();
    end();
    // https://www.sqlite.org/fileformat.html: how often it was changed, and the mark.
    assertEquals(first?.readUInt32BE(24), 1);
    assertEquals(first?.toString("latin1", 68, 72), "Panz");
  }));
