/**
 * Deletes of many objects of a bucket, in whatever way its server has.
 *
 * @module
 */

import { delay } from "@std/async/delay";
import { Client } from "./client.ts";
import { bulkDeleteRefusal } from "./errors.ts";
import { mapInOrder } from "./pool.ts";

/** How often everything below a prefix is listed at most to delete it. */
const MOST_PASSES = 5;

/** Pages of deletes under way, listing included, which goes one page ahead. */
const PAGES_AT_ONCE = 4;

/** Single deletes of one page under way, where a server has no bulk delete. */
const DELETES_AT_ONCE = 10;

/** How often a refused delete of one object is asked for. */
const DELETE_ATTEMPTS = 3;

/** The pause before the second attempt, in milliseconds; it doubles, and is jittered. */
const PAUSE_MS = 100;

/** Codes with which S3 refuses single deletes of a request for reasons that pass. */
const PASSING = new Set(["InternalError", "ServiceUnavailable", "SlowDown"]);

/** How a request to delete many objects proves that it arrived whole; the first is the SDK's. */
const BULK_DELETES = ["checksum", "md5"] as const;

/** The way of a server that has no such requests. */
const EACH = BULK_DELETES.length;

/** One bucket: its objects by name, and deletes of many. */
export class Bucket extends Client {
  /** The first of `BULK_DELETES` that this server has not refused, or `EACH`. */
  #deleteWay: number = 0;

  /**
   * Deletes all objects below a prefix.
   *
   * @returns The codes of those that S3 refused to delete.
   */
  async removeAll(prefix: string): Promise<string[]> {
    for (let pass = 1;; pass++) {
      let found = 0;
      const refusals = mapInOrder(PAGES_AT_ONCE, this.list(prefix), (page) => {
        found += page.length;
        return this.removeMany(page.map(({ object }) => object));
      });
      const refused = (await Array.fromAsync(refusals)).flat();
      // Servers may lose their place in a listing whose objects are being deleted. The last pass
      // finds nothing, unless others go on storing.
      if (found === 0 || refused.length > 0 || pass === MOST_PASSES) {
        return refused;
      }
    }
  }

  /** Deletes up to 1,000 objects; returns the codes of those that S3 refused for good. */
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

  /** Deletes up to 1,000 objects in the best way that the server has. */
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
        // Several pages may meet the refusal of one way.
        this.#deleteWay = Math.max(this.#deleteWay, refusal === "all" ? EACH : tried + 1);
      }
    }
    await Array.fromAsync(mapInOrder(DELETES_AT_ONCE, objects, (object) => this.delete(object)));
    return [];
  }
}
