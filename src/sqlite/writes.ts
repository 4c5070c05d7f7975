/**
 * Changes: one after the other, those of one turn of the event loop in one transaction.
 *
 * @module
 */

import type { Report } from "../backend/contract.ts";
import { BackendError, CacheClosedError } from "../base/errors.ts";
import { nextTurn, Pacer } from "../base/turn.ts";
import type { Connection } from "./connection.ts";
import { isBusy } from "./errors.ts";
import type { Session } from "./rows.ts";
import { cull } from "./sweep.ts";
import { rollBack } from "./transaction.ts";

/** A change that waits for its transaction. */
interface Write {
  readonly kind: "write";
  readonly operation: "write" | "delete";
  readonly bytes: number;
  readonly apply: (session: Session) => void;
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

/** A change that takes many transactions. */
interface Job {
  readonly kind: "job";
  readonly work: () => Promise<void>;
}

/** The changes of a backend. */
export class Writes {
  readonly #connection: Connection;
  readonly #maxBytes: number;
  readonly #report: Report;
  #queue: (Write | Job)[] = [];
  #draining: Promise<void> | undefined;
  #isClosed = false;
  /** The number of next writes that go one by one, because one of them failed. */
  #singly = 0;
  /** Bytes stored since the size of the file was looked at; the first write looks. */
  #unchecked = Infinity;

  /**
   * @param maxBytes The bound of the file, in bytes.
   * @param report Gets the error of a failed eviction, which fails no call.
   */
  constructor(connection: Connection, maxBytes: number, report: Report) {
    this.#connection = connection;
    this.#maxBytes = maxBytes;
    this.#report = report;
  }

  /**
   * Makes a change.
   *
   * @param operation The operation, for messages.
   * @param bytes The number of bytes that it stores.
   * @param apply Makes the change, inside a transaction.
   */
  change(
    operation: "write" | "delete",
    bytes: number,
    apply: (session: Session) => void,
  ): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#push({ kind: "write", operation, bytes, apply, resolve, reject });
    });
  }

  /** Makes a change that takes many transactions, after those that were asked for before it. */
  sweep<Result>(work: () => Promise<Result>): Promise<Result> {
    return new Promise((resolve, reject) => {
      this.#push({ kind: "job", work: () => work().then(resolve, reject) });
    });
  }

  /** Refuses further changes, and waits for those that were accepted. */
  async close(): Promise<void> {
    this.#isClosed = true;
    await this.#draining;
  }

  #push(task: Write | Job): void {
    if (this.#isClosed) throw new CacheClosedError();
    this.#queue.push(task);
    this.#draining ??= this.#drain();
  }

  async #drain(): Promise<void> {
    do {
      // Everything that is written in one turn of the event loop goes into one transaction.
      await nextTurn();
      const [first] = this.#queue;
      if (first?.kind === "job") {
        this.#queue.shift();
        await first.work();
      } else await this.#flush();
    } while (this.#queue.length > 0);
    this.#draining = undefined;
  }

  /** Commits the first writes of the queue, as many as fit into a slice of time. */
  async #flush(): Promise<void> {
    const queue = this.#queue;
    let taken = 0;
    try {
      await this.#connection.run("write", (session) => {
        taken = 0;
        const pacer = new Pacer();
        session.begin.run();
        try {
          for (const write of queue) {
            if (write.kind === "job") break;
            taken++;
            write.apply(session);
            if (this.#singly > 0 || pacer.isDue) break;
          }
          session.commit.run();
        } catch (error) {
          rollBack(session.database.handle, session.words);
          throw error;
        }
      });
    } catch (error) {
      this.#fail(error, taken);
      return;
    }
    this.#singly = Math.max(0, this.#singly - 1);
    for (const write of queue.splice(0, taken)) {
      if (write.kind === "write") {
        this.#unchecked += write.bytes;
        write.resolve();
      }
    }
    await this.#cull();
  }

  /** Finds the write that made a transaction fail, so that the others do not fail too. */
  #fail(error: unknown, taken: number): void {
    const queue = this.#queue;
    const cause = error instanceof BackendError ? error.cause : error;
    const isHopeless = this.#connection.session === undefined || isBusy(cause);
    if (!isHopeless && taken > 1) {
      this.#singly = taken;
      return;
    }
    const end = queue.findIndex((task) => task.kind === "job");
    const count = isHopeless ? (end < 0 ? queue.length : end) : 1;
    this.#singly = Math.max(0, this.#singly - 1);
    for (const write of queue.splice(0, count)) {
      if (write.kind !== "write") continue;
      write.reject(
        error instanceof BackendError && error.operation === "write"
          ? this.#connection.failure(write.operation, error.cause)
          : error,
      );
    }
  }

  /** Keeps the file within its bound. */
  async #cull(): Promise<void> {
    const limit = this.#maxBytes;
    if (limit === Infinity || this.#unchecked < Math.min(limit / 50, 4_194_304)) return;
    this.#unchecked = 0;
    try {
      await cull(this.#connection.step("delete"), limit);
    } catch (error) {
      this.#report(this.#connection.failure("delete", error));
    }
  }
}
