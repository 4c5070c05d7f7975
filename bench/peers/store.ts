/**
 * The plainest and therefore fastest store over `node:sqlite`, for peers whose own SQLite drivers
 * are native addons.
 *
 * @module
 */

import { DatabaseSync } from "node:sqlite";
import { freshPath } from "../work.ts";

/** Text by key. */
export interface TextStore {
  get(key: string): string | undefined;
  set(key: string, value: string): void;
  delete(key: string): boolean;
  clear(): void;
  close(): void;
}

/** Opens a store in its own database, with a write-ahead log. */
export function openTextStore(name: string): TextStore {
  const database = new DatabaseSync(freshPath(name));
  database.exec(
    `PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;
     CREATE TABLE entries (key TEXT PRIMARY KEY, value TEXT NOT NULL)`,
  );
  const select = database.prepare("SELECT value FROM entries WHERE key = ?");
  const insert = database.prepare("INSERT OR REPLACE INTO entries VALUES (?, ?)");
  const remove = database.prepare("DELETE FROM entries WHERE key = ?");
  return {
    get(key) {
      const value = select.get(key)?.["value"];
      return typeof value === "string" ? value : undefined;
    },
    set: (key, value) => void insert.run(key, value),
    delete: (key) => remove.run(key).changes > 0,
    clear: () => database.exec("DELETE FROM entries"),
    close: () => database.close(),
  };
}
