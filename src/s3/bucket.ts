/**
 * Objects of one bucket by name: whole or in parts, page by page, deleted in bulk.
 *
 * @module
 */

import { delay } from "@std/async/delay";
import { retry, RetryError } from "@std/async/retry";
import { Client, type Header, type Page } from "./client.ts";
import { BrokenBodyError, bulkDeleteRefusal, isNotFound, isObjectMissing } from "./errors.ts";
import type { Metadata } from "./object.ts";
import type { S3Options } from "./options.ts";
import { mapInOrder } from "./pool.ts";

const MIB = 2 ** 20;

/** Past this many bytes a value goes in parts, so that a dropped connection costs one part. */
const PARTS_FROM_BYTES = 32 * MIB;

/** Bytes of a part; S3 allows 5 MiB to 5 GiB, and 10,000 parts. */
const PART_BYTES = 8 * MIB;

/** Parts of one value under way: more would take the connections of other calls. */
const PARTS_AT_ONCE = 4;

/** How often everything below a prefix is listed at most to delete it. */
const MOST_PASSES = 5;

/** Pages of deletes under way, listing included, which goes one page ahead. */
const PAGES_AT_ONCE = 4;

/** Single deletes of one page under way, where a server has no bulk delete. */
const DELETES_AT_ONCE = 10;

/** How often a body is asked for, in all: the SDK retries requests and not their bodies. */
const BODY_ATTEMPTS = 3;

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

/** One bucket. */
export class Bucket {
  readonly #client: Client;
  /** The first of `BULK_DELETES` that this server has not refused, or `EACH`. */
  #deleteWay: number = 0;

  /**
   * Opens nothing.
   *
   * @param name The name of the bucket.
   * @param options How to reach it, checked.
   */
  constructor(name: string, options: S3Options) {
    this.#client = new Client(name, options);
  }

  /** Closes the connections. */
  close(): void {
    this.#client.close();
  }

  /**
   * Reads an object with its body.
   *
   * @param object Its name.
   * @param progress Is called with each piece of the body.
   * @param signals Each ends the read.
   * @returns `undefined` when there is none.
   */
  async fetch(
    object: string,
    progress: () => void,
    signals: AbortSignal[],
  ): Promise<{ readonly metadata: Metadata; readonly body: Uint8Array } | undefined> {
    const get = () => this.#client.get(object, progress, signals);
    try {
      return await get();
    } catch (error) {
      if (isObjectMissing(error)) return undefined;
      if (!(error instanceof BrokenBodyError)) throw error;
    }
    return await retry(get, {
      maxAttempts: BODY_ATTEMPTS - 1,
      minTimeout: PAUSE_MS,
      isRetriable: (error) => error instanceof BrokenBodyError,
    }).catch((error: unknown) => {
      if (isObjectMissing(error)) return undefined;
      throw error instanceof RetryError ? error.cause : error;
    });
  }

  /**
   * Stores an object; nobody sees it before it is complete.
   *
   * @param header Its name, type and metadata.
   * @param body Its bytes.
   * @param progress Is called with each piece that has left.
   */
  async put(header: Header, body: Uint8Array, progress: () => void): Promise<void> {
    if (body.length <= PARTS_FROM_BYTES) return await this.#client.put(header, body, progress);
    const upload = await this.#client.startUpload(header);
    const count = Math.ceil(body.length / PART_BYTES);
    const numbers = Array.from({ length: count }, (_, index) => index + 1);
    try {
      const parts = mapInOrder(PARTS_AT_ONCE, numbers, (number) => {
        const end = number * PART_BYTES;
        const part = body.subarray(end - PART_BYTES, end);
        return this.#client.putPart(upload, number, part, progress);
      });
      await this.#client.finishUpload(upload, await Array.fromAsync(parts));
    } catch (error) {
      // The first failure is the one to report; a lifecycle rule of the bucket ends what stays.
      await this.#client.abortUpload(upload).catch(() => {});
      throw error;
    }
  }

  /** The metadata of an object, `undefined` when there is no such object. */
  async metadata(object: string, signals: AbortSignal[]): Promise<Metadata | undefined> {
    try {
      return await this.#client.head(object, signals);
    } catch (error) {
      if (isNotFound(error)) return undefined;
      throw error;
    }
  }

  /** Deletes one object, whether it is there or not. */
  async remove(object: string): Promise<void> {
    await this.#client.delete(object);
  }

  /** The objects below a prefix, page by page of 1,000. */
  async *list(
    prefix: string,
    signals: AbortSignal[] = [],
  ): AsyncGenerator<Page["objects"], void, undefined> {
    let token: string | undefined;
    do {
      const page: Page = await this.#client.list(prefix, token, signals);
      yield page.objects;
      token = page.next;
    } while (token !== undefined);
  }

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
        return await this.#client.deleteMany(objects, way);
      } catch (error) {
        const refusal = bulkDeleteRefusal(error);
        if (refusal === undefined) throw error;
        // Several pages may meet the refusal of one way.
        this.#deleteWay = Math.max(this.#deleteWay, refusal === "all" ? EACH : tried + 1);
      }
    }
    await Array.fromAsync(mapInOrder(DELETES_AT_ONCE, objects, (object) => this.remove(object)));
    return [];
  }
}
