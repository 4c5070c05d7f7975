import { test } from "node:test";
import { assert, assertEquals, assertThrows } from "@std/assert";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { isDamage, SQLITE, sqliteCode } from "../../src/sqlite/errors.ts";
import { inFolder } from "../support/sqlite_files.ts";

test("sqliteCode() understands the errors of every driver", () => {
  const error = (message: string, fields: object = {}) => Object.assign(new Error(message), fields);
  const cases: [Error, number | undefined][] = [
    [error("x", { errcode: 517 }), SQLITE.busy],
    [error("x", { errno: 5, code: "SQLITE_BUSY" }), SQLITE.busy],
    [error("x", { code: "SQLITE_CORRUPT_VTAB" }), SQLITE.corrupt],
    [error("26: x", { code: 26 }), SQLITE.notADatabase],
    [error("database is locked", { code: "ERR_SQLITE_ERROR" }), SQLITE.busy],
    [error("database table is locked: a"), SQLITE.busy],
    [error("database schema is locked: main"), SQLITE.busy],
    [error("cannot open savepoint - SQL statements in progress"), SQLITE.busy],
    [error("database disk image is malformed"), SQLITE.corrupt],
    [error("malformed database schema (a)"), SQLITE.corrupt],
    [error("file is not a database"), SQLITE.notADatabase],
    [error("unsupported file format", { errcode: 1 }), SQLITE.error],
    [error("locking protocol"), SQLITE.protocol],
    [error("unable to open database file: /a"), SQLITE.cannotOpen],
    [error("attempt to write a readonly database"), SQLITE.readOnly],
    [error("database or disk is full"), SQLITE.full],
    [error("disk I/O error"), SQLITE.ioError],
    [error("string or blob too big"), SQLITE.tooBig],
    [error("no such file", { code: "ENOENT", errno: -2 }), undefined],
    [error("my file is not here"), undefined],
  ];
  for (const [given, code] of cases) {
    assertEquals(sqliteCode(given), code, given.message);
  }
  assertEquals(sqliteCode("database is locked"), undefined);
});

test("sqliteCode() recognizes damage and locks of the runtime's own driver", () =>
  inFolder(async (folder) => {
    const path = join(folder, "a.db");
    const one = new DatabaseSync(path);
    const two = new DatabaseSync(path);
    one.exec("CREATE TABLE a (b); BEGIN IMMEDIATE");
    two.exec("PRAGMA busy_timeout = 0");
    for (
      const act of [
        () => two.exec("BEGIN IMMEDIATE"),
        () => two.prepare("BEGIN IMMEDIATE").run(),
      ]
    ) {
      const error = assertThrows(act);
      assertEquals(sqliteCode(error), SQLITE.busy);
    }
    one.close();
    two.close();
    writeFileSync(join(folder, "b.db"), "garbage ".repeat(999));
    const garbage = new DatabaseSync(join(folder, "b.db"));
    assert(isDamage(assertThrows(() => garbage.exec("SELECT * FROM sqlite_master"))));
    garbage.close();
    await Promise.resolve();
  }));
