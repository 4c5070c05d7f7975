import { spawnSync } from "node:child_process";
import { test } from "node:test";
import { assert, assertEquals, assertInstanceOf, assertRejects } from "@std/assert";
import {
  chmodSync,
  copyFileSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { setTimeout as delay } from "node:timers/promises";
import { BackendError, DamagedDatabaseError } from "../../src/base/errors.ts";
import { SQLiteBackend } from "../../sqlite.ts";
import { start } from "../support/child.ts";
import { entry } from "../support/entry.ts";
import {
  assertIntact,
  assertUntouched,
  contents,
  copyDatabase,
  fill,
  inFolder,
  overwrite,
  withBackend,
} from "../support/sqlite_files.ts";

const PAGE_BYTES = 8192;

/** Changes the bytes of a file. */
function edit(path: string, change: (bytes: Buffer) => void): void {
  const bytes = readFileSync(path);
  change(bytes);
  writeFileSync(path, bytes);
}

/** Makes a database of another program. */
function makeTheirs(path: string): void {
  const theirs = new DatabaseSync(path);
  theirs.exec("PRAGMA application_id = 12345; CREATE TABLE notes (text)");
  theirs.close();
}

/** A healthy database, and a file of ours that is damaged in its tables. */
async function fillAndDamage(path: string): Promise<void> {
  await fill(path);
  overwrite(path, 2 * PAGE_BYTES, 8 * PAGE_BYTES);
}

test("SQLiteBackend with create: false makes nothing beside a damaged database, and says why", () =>
  inFolder(async (folder) => {
    const path = join(folder, "cache.db");
    await fillAndDamage(path);
    const before = contents(folder);
    const backend = new SQLiteBackend(path, { create: false });
    for (let round = 0; round < 2; round++) {
      const error = await assertRejects(
        async () => void await Array.fromAsync(backend.entries()),
        BackendError,
        "malformed",
      );
      assert(error.message.includes(path), error.message);
    }
    await backend.close();
    assertUntouched(before);
    assertEquals(readdirSync(folder).filter((name) => name.includes("panza-")), []);
  }));

/** Obstacles at the path of the database, by name. */
const IN_THE_WAY: Record<string, (path: string) => unknown> = {
  "a CSV file": (path) => writeFileSync(path, "id,score\n1,0.5\n".repeat(100)),
  "a file of one byte": (path) => writeFileSync(path, "x"),
  "a file of two bytes": (path) => writeFileSync(path, "xy"),
  "an encrypted database": (path) =>
    writeFileSync(path, crypto.getRandomValues(new Uint8Array(16384))),
  "a damaged database of another program": (path) => {
    makeTheirs(path);
    edit(path, (bytes) => bytes.fill(0x77, 100, 120));
  },
  "a database in a newer format": (path) => {
    makeTheirs(path);
    edit(path, (bytes) => bytes.fill(3, 18, 20));
  },
  "a database with a newer schema format": async (path) => {
    await fill(path);
    edit(path, (bytes) => bytes.fill(9, 47, 48));
  },
  "tables of another shape": async (path) => {
    await fill(path, 1);
    const database = new DatabaseSync(path);
    database.exec("ALTER TABLE panza_entries RENAME COLUMN size TO bytes");
    database.close();
  },
  "a database that is being copied": async (path) => {
    await fill(path);
    truncateSync(path, 5 * PAGE_BYTES);
  },
  "a folder": (path) => mkdirSync(path),
  "a database of another program": makeTheirs,
};

for (const [name, put] of Object.entries(IN_THE_WAY)) {
  for (const suffix of ["", ".panza-2"]) {
    // At its path, the database of another program is shared with it.
    if (put === makeTheirs && suffix === "") continue;
    test(`SQLiteBackend leaves ${name} at ${suffix || "its path"} alone, and names it`, () =>
      inFolder(async (folder) => {
        const path = join(folder, "cache.db");
        if (suffix !== "") await fill(path);
        await put(path + suffix);
        const before = contents(folder);
        const names = readdirSync(folder);
        const reports = await withBackend(path, async (backend) => {
          for (
            const use of [
              async () => await backend.get("id", "key1"),
              () => backend.set("id", "new", entry("1")),
            ]
          ) await assertRejects(use, BackendError, path + suffix);
        });
        assertEquals(reports, []);
        assertUntouched(before);
        assertEquals(readdirSync(folder), names);
      }));
  }
}

/** Damage to a database of ours, which each leaves in `cache.db`. */
const DAMAGE: Record<string, (path: string) => void> = {
  "garbled pages": (path) => overwrite(path, 2 * PAGE_BYTES, 8 * PAGE_BYTES),
  "a garbled first page": (path) => edit(path, (bytes) => bytes.fill(0xa5, 100, PAGE_BYTES)),
  // SQLite does not notice, and returns the row of another key.
  "an index in another order": (path) => {
    const database = new DatabaseSync(path);
    database.exec(
      `DROP INDEX panza_entries_by_key;
       CREATE UNIQUE INDEX panza_entries_by_key ON panza_entries (id, key DESC)`,
    );
    database.close();
    edit(path, (bytes) => bytes.fill(" ", bytes.indexOf(" DESC)"), bytes.indexOf(" DESC)") + 5));
  },
  "a log whose database is gone": (path) => {
    leaveLog(path);
    rmSync(path);
  },
  "a log whose database is empty": (path) => {
    leaveLog(path);
    truncateSync(path);
  },
};

/** Leaves a database with a log, as a process that is killed does. */
function leaveLog(path: string): void {
  const other = new DatabaseSync(path);
  other.exec("UPDATE panza_entries SET duration_ms = 2");
  copyDatabase(path, `${path}.copy`);
  other.close();
  for (const suffix of ["", "-wal"]) renameSync(`${path}.copy${suffix}`, path + suffix);
}

for (const [name, damage] of Object.entries(DAMAGE)) {
  test(`SQLiteBackend goes on beside a database with ${name}`, () =>
    inFolder(async (folder) => {
      const path = join(folder, "cache.db");
      await fill(path);
      damage(path);
      const before = contents(folder);
      const reports = await withBackend(path, async (backend) => {
        for (let n = 0; n < 200; n++) {
          const data = (await backend.get("id", `key${n}`))?.data;
          assert(data === undefined || data === `${n}`.repeat(1000));
        }
        await backend.set("id", "new", entry("1"));
      });
      assertEquals(reports.length, 1);
      const [report] = reports;
      assertInstanceOf(report, DamagedDatabaseError);
      assertEquals([report.path, report.continuedIn], [path, `${path}.panza-2`]);
      assertUntouched(before);
      const later = await withBackend(path, async (backend) => {
        assertEquals((await backend.get("id", "new"))?.data, "1");
      });
      assertEquals(later, []);
    }));
}

test("SQLiteBackend goes on beside a database that gets damaged while it is open, and waits once", () =>
  inFolder(async (folder) => {
    const path = join(folder, "cache.db");
    await fill(path, 3000);
    const began = performance.now();
    const reports = await withBackend(path, async (backend) => {
      await backend.get("id", "key1");
      edit(path, (bytes) => bytes.fill(0xa5, 3 * PAGE_BYTES));
      for (let n = 0; n < 3000; n++) {
        const data = (await backend.get("id", `key${n}`))?.data;
        assert(data === undefined || data === `${n}`.repeat(1000));
      }
      await Promise.all(["a", "b"].map((key) => backend.set("id", key, entry(key))));
      assertEquals((await backend.get("id", "a"))?.data, "a");
    });
    assertEquals(reports.map(({ name }) => name), ["DamagedDatabaseError"]);
    assert(performance.now() - began > 1000, "it did not wait for SQLite to say so again");
  }));

// Tries to keep a damaged file in use by changing it between SQLite's two reports of damage.
test("SQLiteBackend goes on beside a damaged database that others still write", () =>
  inFolder(async (folder) => {
    const path = join(folder, "cache.db");
    await fill(path, 3000);
    const other = new DatabaseSync(path);
    other.exec("CREATE TABLE busy (n); PRAGMA wal_autocheckpoint = 1");
    overwrite(path, 40 * PAGE_BYTES, 400 * PAGE_BYTES);
    const timer = setInterval(() => other.exec("INSERT INTO busy VALUES (1)"), 20);
    try {
      const reports = await withBackend(path, async (backend) => {
        await backend.getMany("id", Array.from({ length: 3000 }, (_, n) => `key${n}`));
        await backend.set("id", "new", entry("1"));
      });
      assertEquals(reports.map(({ name }) => name), ["DamagedDatabaseError"]);
    } finally {
      clearInterval(timer);
      other.close();
    }
  }));

test("SQLiteBackend uses a restored database once the numbered ones are deleted", () =>
  inFolder(async (folder) => {
    const path = join(folder, "cache.db");
    const backup = join(folder, "backup.db");
    await fill(backup);
    copyFileSync(backup, path);
    overwrite(path, 2 * PAGE_BYTES, 8 * PAGE_BYTES);
    const reports = await withBackend(path, async (backend) => {
      await backend.getMany("id", Array.from({ length: 200 }, (_, n) => `key${n}`));
      copyFileSync(backup, path);
      await delay(300);
      assertEquals(await backend.get("id", "key7"), undefined);
      for (const suffix of ["", "-wal", "-shm"]) rmSync(`${path}.panza-2${suffix}`);
      await delay(300);
      assertEquals((await backend.get("id", "key7"))?.data, "7".repeat(1000));
    });
    assertEquals(reports.length, 1);
    assertEquals(readdirSync(folder).sort(), ["backup.db", "cache.db"]);
  }));

test("SQLiteBackend uses the highest number, and none beyond 9", () =>
  inFolder(async (folder) => {
    const path = join(folder, "cache.db");
    await fill(path);
    await fill(`${path}.panza-9`, 1);
    await withBackend(path, async (backend) => {
      assertEquals(await backend.get("id", "key7"), undefined);
      assert((await backend.get("id", "key0")) !== undefined);
    });
    edit(`${path}.panza-9`, (bytes) => bytes.fill(0xa5, 100, PAGE_BYTES));
    const before = contents(folder);
    await withBackend(path, async (backend) => {
      await assertRejects(
        () => backend.set("id", "a", entry("1")),
        BackendError,
        `${path}.panza-9 is damaged too`,
      );
    });
    assertUntouched(before);
  }));

test("SQLiteBackend goes on beside the file that a link leads to, in every process", () =>
  inFolder(async (folder) => {
    const [link, real] = [join(folder, "link.db"), join(folder, "volume", "real.db")];
    mkdirSync(join(folder, "volume"));
    // Making a link needs permission to write everywhere, which the tests do not have.
    assertEquals(spawnSync("ln", ["-s", real, link]).status, 0);
    await fill(link);
    assert(existsSync(real));
    edit(real, (bytes) => bytes.fill(0xa5, 100, PAGE_BYTES));
    const reports = await withBackend(link, (backend) => backend.set("id", "a", entry("1")));
    assertEquals(reports.length, 1);
    assert(lstatSync(link).isSymbolicLink());
    for (const path of [link, real]) {
      await withBackend(path, async (backend) => {
        assertEquals(backend.location, real);
        assertEquals((await backend.get("id", "a"))?.data, "1");
      });
    }
    assertEquals(readdirSync(join(folder, "volume")).sort(), ["real.db", "real.db.panza-2"]);
  }));

test("SQLiteBackend reads a database whose mode is read-only, makes nothing beside it, and writes it once it may", () =>
  inFolder(async (folder) => {
    const path = join(folder, "cache.db");
    await fill(path);
    chmodSync(path, 0o444);
    const before = contents(folder);
    await withBackend(path, async (backend) => {
      assert((await backend.get("id", "key7")) !== undefined);
      await assertRejects(() => backend.set("id", "new", entry("1")), BackendError, "readonly");
      assertUntouched(before);
      // Node before 22.15 cannot keep SQLite from making a log there.
      if ("deserialize" in DatabaseSync.prototype) assertEquals(readdirSync(folder), ["cache.db"]);
      chmodSync(path, 0o644);
      await backend.set("id", "new", entry("1"));
      assertEquals((await backend.get("id", "new"))?.data, "1");
    });
  }));

test("SQLiteBackend reads what a copy brings, once it is complete", () =>
  inFolder(async (folder) => {
    const [path, backup] = [join(folder, "cache.db"), join(folder, "backup.db")];
    await fill(backup);
    const bytes = readFileSync(backup);
    writeFileSync(path, bytes.subarray(0, bytes.length / 2));
    await withBackend(path, async (backend) => {
      const read = async () => await backend.get("id", "key199");
      for (let n = 0; n < 2; n++) await assertRejects(read, BackendError, path);
      writeFileSync(path, bytes);
      assert((await read()) !== undefined);
    });
    assertEquals(readdirSync(folder).sort(), ["backup.db", "cache.db"]);
  }));

test("SQLiteBackend goes on when its file is removed or replaced while it is open", () =>
  inFolder(async (folder) => {
    const [path, other] = [join(folder, "cache.db"), join(folder, "other.db")];
    await fill(path, 2);
    await fill(other, 5);
    const remove = (...suffixes: string[]) =>
      suffixes.forEach((suffix) => rmSync(path + suffix, { force: true }));
    const reports = await withBackend(path, async (backend) => {
      assert((await backend.get("id", "key1")) !== undefined);
      remove("", "-wal", "-shm");
      while ((await backend.get("id", "key1")) !== undefined) await delay(10);
      await backend.set("id", "new", entry("1"));
      assert(existsSync(path));
      remove("-wal", "-shm");
      renameSync(other, path);
      while ((await backend.get("id", "key4")) === undefined) await delay(10);
    });
    assertEquals(reports, []);
  }));

test("SQLiteBackend opens a folder as a database only once it is one", () =>
  inFolder(async (folder) => {
    const path = join(folder, "cache.db");
    mkdirSync(path);
    await withBackend(path, async (backend) => {
      await assertRejects(() => backend.set("id", "a", entry("1")), BackendError, path);
      rmSync(path, { recursive: true });
      await backend.set("id", "a", entry("1"));
      assertEquals((await backend.get("id", "a"))?.data, "1");
    });
  }));

// Tries to lose an entry that one of four processes stores in the file that takes over.
for (const state of ["new", "damaged"]) {
  test(`SQLiteBackend lets 4 processes race to open one ${state} database`, () =>
    inFolder(async (folder) => {
      const path = join(folder, "cache.db");
      if (state === "damaged") await fillAndDamage(path);
      const names = ["a", "b", "c", "d"];
      const children = names.map((name) => start("fixtures/sqlite_child.ts", ["race", path, name]));
      await Promise.all(children.map((child) => child.said("ready")));
      for (const child of children) child.process.stdin?.write("go\n");
      const lines = await Promise.all(children.map((child) => child.ended()));
      const reports = lines.map((each) => each.filter((line) => line.startsWith("report")));
      const one = "report DamagedDatabaseError";
      if (state === "damaged") {
        assert(reports.flat().length > 0);
        for (const each of reports) assert(["", one].includes(each.join()), each.join());
      } else assertEquals(reports.flat(), []);
      const file = state === "damaged" ? "cache.db.panza-2" : "cache.db";
      // Two processes that close in the same moment may both leave the log to the other.
      const databases = readdirSync(folder).filter((name) => !/-(wal|shm)$/.test(name));
      assertEquals(databases.sort().at(-1), file);
      const backend = new SQLiteBackend(path);
      for (const name of names) {
        const keys = Array.from({ length: 100 }, (_, n) => `key${n}`);
        const found = await backend.getMany(name, keys);
        assertEquals(found.filter((each) => each === undefined), []);
      }
      await backend.close();
      assertIntact(join(folder, file));
    }));
}
