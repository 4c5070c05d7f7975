/**
 * A cache in a folder: one readable JSON file for each result, to review and to commit.
 *
 * @module
 */

import { Cache } from "./src/core/cache.ts";
import type { CacheOptions } from "./src/core/options.ts";
import { FolderBackend } from "./src/folder/backend.ts";

/**
 * A cache in a folder, `<folder>/<id>/<key>.json`, for recordings that are reviewed like code.
 *
 * Its methods are those of {@linkcode Cache}: `cache` wraps a function, `stream` a function that
 * returns a stream; `get`, `set`, `read` and `delete` are for direct keys; `bust`, `bustAll`,
 * `prune`, `entries`, `stats` and `close` for all entries.
 *
 * The first write creates the folder. An edited file is reported, and is a miss until its result is
 * stored again. Files that this library did not write stay as they are.
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
   * Opens and creates nothing yet.
   *
   * @param folder A path, resolved now, or a `file:` URL.
   * @param options The options of every cache.
   * @throws {TypeError} If `folder` is neither, or an option is unknown or of the wrong kind.
   */
  constructor(folder: string | URL, options: CacheOptions = {}) {
    super(new FolderBackend(folder), options);
  }
}
