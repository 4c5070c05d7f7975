/**
 * Deletes of many objects of a bucket, in the best way that its server supports.
 *
 * @module
 */

import { delay } from "@std/async/delay";
import { Client } from "./client.ts";
import { bulkDeleteRefusal } from "./errors.ts";
import { mapInOrder } from "./pool.ts";

/** The most listings of a prefix to delete everything below it. */
const MOST_PASSES = 5;

/** The concurrent pages of deletes, including the listing, which goes one page ahead. */
const PAGES_AT_ONCE = 4;

/** The concurrent single deletes of one page, where a server has no bulk delete. */
const DELETES_AT_ONCE = 10;

/** The attempts to delete an object that S3 refuses. */
const DELETE_ATTEMPTS = 3;

/** The unit of pauses before a further attempt, in milliseconds; they double and are jittered. */
const PAUSE_MS = 100;

/** The codes of transient reasons for which S3 refuses single deletes of a request. */
const PASSING = new Set(["InternalError", "ServiceUnavailable", "SlowDown"]);

/** The proofs that a bulk delete arrived whole; the first is the SDK's. */
const BULK_DELETES = ["checksum", "md5"] as const;

/** The way for a server without bulk deletes. */
const EACH = BULK_DELETES.length;

/** The objects of one bucket, and deletes of many. */
export class Bucket extends Client {
  /** The first of `BULK_DELETES` that this server has not refused, or `EACH`. */
  #deleteWay: number = 0;

  /**
   * Deletes the objects below a prefix that are entries.
   *
   * @returns The codes of the objects that S3 refused to delete.
   */
  async removeAll(prefix: string, isEntry: (object: string) => boolean): Promise<string[]> {
    for (let pass = 1;; pass++) {
      let found = 0;
      const refusals = mapInOrder(PAGES_AT_ONCE, this.list(prefix), (page) => {
        const objects = page.map(({ object }) => object).filter(isEntry);
        found += objects.length;
        return this.removeMany(objects);
      });
      const refused = (await Array.fromAsync(refusals)).flat();
      // Servers may lose their place in a listing whose objects are being deleted. The last pass
      // finds nothing, unless others go on storing.
      if (found === 0 || refused.length > 0 || pass === MOST_PASSES) {
        return refused;
      }
    }
  }

  /** Deletes up to 1,000 objects; returns the codes of the final refusals. */
  async removeMany(objects: readonly string[]): Promise<string[]> {
    const refused: string[] = [];
    let left = objects;
    for (let attempt = 1; left.length > 0; attempt++) {
      const again: string[] = [];
      for (const { key, code } of await this.#removePage(left)) {
        if (code === "NoSuchKey") continue;
        if (key !== undefined && PASSING.has(code) && attempt < DELETE_ATTEMPTS) again.push(key);
        else refused.push(code);
      }
      left = again;
      if (left.length > 0) await delay(PAUSE_MS * 2 ** attempt * Math.random());
    }
    return refused;
  }

  /** Deletes up to 1,000 objects once, and finds the best way that the server supports. */
  async #removePage(
    objects: readonly string[],
  ): Promise<readonly { readonly key: string | undefined; readonly code: string }[]> {
    for (;;) {
      const tried = this.#deleteWay;
      const way = BULK_DELETES[tried];
      if (way === undefined) break;
      try {
        return await this.deleteMany(objects, way);
      } catch (error) {
        const refusal = bulkDeleteRefusal(error);
        if (refusal === undefined) throw error;
        // Several pages may meet the same refusal.
        this.#deleteWay = Math.max(this.#deleteWay, refusal === "all" ? EACH : tried + 1);
      }
    }
    await Array.fromAsync(mapInOrder(DELETES_AT_ONCE, objects, (object) => this.delete(object)));
    return [];
  }
}
