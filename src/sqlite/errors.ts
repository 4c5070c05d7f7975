/**
 * Errors of SQLite, whichever driver threw them, and the way out of each.
 *
 * @module
 */

/** Primary result codes: https://www.sqlite.org/rescode.html */
export const SQLITE = {
  error: 1,
  busy: 5,
  locked: 6,
  readOnly: 8,
  ioError: 10,
  corrupt: 11,
  full: 13,
  cannotOpen: 14,
  protocol: 15,
  tooBig: 18,
  notADatabase: 26,
} as const;

/**
 * The names that `bun:sqlite` and `better-sqlite3` put in `code`, and SQLite's own sentences
 * (`sqlite3ErrStr`): `exec` of Deno and everything of `@db/sqlite` throws a plain `Error` with
 * nothing else.
 */
const KNOWN: readonly (readonly [name: string, code: number, sentence?: RegExp])[] = [
  [
    "SQLITE_BUSY",
    SQLITE.busy,
    /database (schema |table )?is locked|SQL statements in progress/,
  ],
  ["SQLITE_LOCKED", SQLITE.locked],
  ["SQLITE_READONLY", SQLITE.readOnly, /attempt to write a readonly database/],
  ["SQLITE_IOERR", SQLITE.ioError, /disk I\/O error/],
  ["SQLITE_CORRUPT", SQLITE.corrupt, /^(database disk image is |)malformed/],
  ["SQLITE_FULL", SQLITE.full, /database or disk is full/],
  ["SQLITE_CANTOPEN", SQLITE.cannotOpen, /unable to open database/],
  ["SQLITE_PROTOCOL", SQLITE.protocol, /locking protocol/],
  ["SQLITE_TOOBIG", SQLITE.tooBig, /string or blob too big/],
  ["SQLITE_NOTADB", SQLITE.notADatabase, /file is not a database/],
  ["SQLITE_ERROR", SQLITE.error],
];

/**
 * The primary result code of an error.
 *
 * @returns The code, 0 to 255; `undefined` for an error that is not SQLite's.
 */
export function sqliteCode(error: unknown): number | undefined {
  if (!(error instanceof Error)) return undefined;
  for (const name of ["errcode", "errno", "code"] as const) {
    const code: unknown = Reflect.get(error, name);
    // Errors of the file system have negative numbers.
    if (typeof code === "number" && code > 0) return code & 0xff;
    if (typeof code === "string") {
      const known = KNOWN.find(([text]) => code.startsWith(text));
      if (known !== undefined) return known[1];
    }
  }
  return KNOWN.find(([, , sentence]) => sentence?.test(error.message))?.[1];
}

/** Whether somebody else holds a lock, so that waiting helps. */
export function isBusy(error: unknown): boolean {
  const code = sqliteCode(error);
  return code === SQLITE.busy || code === SQLITE.locked;
}

/** Whether SQLite reports the file as damaged or not a database. */
export function isDamage(error: unknown): boolean {
  const code = sqliteCode(error);
  return code === SQLITE.corrupt || code === SQLITE.notADatabase;
}

/** Damage of a file of ours: SQLite reported it, or gave a row that was not asked for. */
export class DamageError extends Error {
  readonly errcode: number = SQLITE.corrupt;
}

/** The way out of an error, where its code implies one. */
export function advise(error: unknown, file: string): string | undefined {
  switch (sqliteCode(error)) {
    case SQLITE.cannotOpen:
    case SQLITE.readOnly:
      return `let this process write ${file} and its folder, or use another path`;
    case SQLITE.full:
      return "free some disk space, or set maxBytes";
    case SQLITE.busy:
    case SQLITE.locked:
      return "end the program that keeps the database locked; if there is none, its file system " +
        "has no working locks: use a path on a local disk";
    case SQLITE.protocol:
    case SQLITE.ioError:
      return "use a path on a local disk: this file system fails, or has no working locks or " +
        "shared memory, as some network shares";
    case SQLITE.corrupt:
    case SQLITE.notADatabase:
      return `use another path, or repair or remove ${file}; it is left as it is`;
    case SQLITE.tooBig:
      return "store less than 1 GB per entry";
    default:
      return undefined;
  }
}
