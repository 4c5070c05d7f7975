/**
 * A cache in a folder: one readable JSON file for each result, to review and to commit.
 *
 * @module
 */

import { Cache } from "./src/core/cache.ts";
import type { CacheOptions } from "./src/core/options.ts";
import { FolderBackend } from "./src/folder/backend.ts";

/**
 * A cache in a folder, `<folder>/<id>/<key>.json`: for recordings that are reviewed like source code.
 *
 * Its methods are those of {@linkcode Cache}: `cache` wraps a function, `stream` one that gives a
 * stream; `get`, `set`, `read` and `delete` are for direct keys; `bust`, `bustAll`, `prune`,
 * `entries`, `stats` and `close` for all.
 *
 * The folder is made by the first write. A file that was edited is a reported miss, until its result
 * is stored again. Files that this library did not write stay as they are.
 *
 * @category Caches
 * @example Results that a pull request shows
 * ```ts
 * import { FolderCache } from "@panza/panza/folder";
 * import { assertEquals } from "@std/assert";
 *
 * await using cache = new FolderCache(".cache/recordings");
 * const ask = cache.cache({ id: "ask" })(
 *   async (question: string): Promise<{ answer: string }> =>
 *     await Promise.resolve({ answer: question.toUpperCase() }),
 * );
 * assertEquals(await ask("why?"), { answer: "WHY?" });
 * assertEquals((await ask.readCache("why?")).hit, true);
 * ```
 */
export class FolderCache extends Cache {
  /**
   * Opens and makes nothing yet.
   *
   * @param folder A path, resolved now, or a `file:` URL.
   * @param options What every cache takes.
   * @throws {TypeError} If `folder` is neither, or an option is unknown or of the wrong kind.
   */
  constructor(folder: string | URL, options: CacheOptions = {}) {
    super(new FolderBackend(folder), options);
  }
}
