/**
 * The commands of Redis that the backend sends, a method for each.
 *
 * @module
 */

import type { Connection, Part } from "./connection.ts";
import { LINE_BYTES } from "./entry.ts";
import { LOOK, READ, REMOVE, REPLACE, STORE, TIDY } from "./scripts.ts";

/** The entries that one command reads, lists or removes: some 100 µs of the server's time. */
export const PAGE = 64;

/** The name of an entry and of its note. No part holds NUL, and names of an id are adjacent. */
export function memberOf(id: string, key: string): string {
  return `${id}\0${key}`;
}

/** The inverse of `memberOf`. */
export function placeOf(member: string): [id: string, key: string] {
  const end = member.indexOf("\0");
  return [member.slice(0, end), member.slice(end + 1)];
}

/** The commands of one prefix. */
export class Commands {
  readonly #connection: Connection;
  /** The beginning of all names; a cluster chooses the node by the part in braces. */
  readonly #root: string;
  readonly #index: string;
  readonly #notes: string;

  constructor(connection: Connection, prefix: string) {
    this.#connection = connection;
    this.#root = `{${prefix}}:panza-1`;
    this.#index = `${this.#root}:index`;
    this.#notes = `${this.#root}:notes`;
  }

  /** Reads entries; `undefined` for those that are absent or not in the index. */
  async read(members: readonly string[]): Promise<(Uint8Array | undefined)[]> {
    const found = listOf(await this.#run(READ, [this.#index, ...this.#entries(members)], members));
    return members.map((_, index) => bytesOf(found[index]));
  }

  /** Stores an entry, in exchange for `note` if given; returns whether it was stored. */
  async store(
    member: string,
    entry: string | Uint8Array,
    ttl: number | undefined,
    note: string | undefined,
  ): Promise<boolean> {
    const keys = [this.#index, this.#notes, ...this.#entries([member])];
    const given = note === undefined ? [] : [note];
    return await this.#run(STORE, keys, [member, entry, `${ttl ?? ""}`, ...given]) === 1;
  }

  async remove(members: readonly string[], withNotes: boolean): Promise<void> {
    const keys = [this.#index, this.#notes, ...this.#entries(members)];
    await this.#run(REMOVE, keys, [withNotes ? "notes" : "", ...members]);
  }

  /** Removes from the index the entries that are gone. */
  async tidy(members: readonly string[]): Promise<void> {
    await this.#run(TIDY, [this.#index, ...this.#entries(members)], members);
  }

  /** The page after `member`, of the members of an id or of all. */
  async membersAfter(member: string | undefined, id?: string): Promise<string[]> {
    const first = id === undefined ? "-" : `[${memberOf(id, "")}`;
    const last = id === undefined ? "+" : `(${id}\u0001`;
    const range = [member === undefined ? first : `(${member}`, last];
    const page = ["LIMIT", "0", `${PAGE}`];
    const found = await this.#send(["ZRANGEBYLEX", this.#index, ...range, ...page]);
    return listOf(found).map((each) => textOf(each) ?? "");
  }

  /** The first bytes of entries; `undefined` for those that are gone. */
  async lines(members: readonly string[]): Promise<(Uint8Array | undefined)[]> {
    const lines = await Promise.all(
      this.#entries(members).map((name) => this.#send(["GETRANGE", name, "0", `${LINE_BYTES}`])),
    );
    return lines.map(bytesOf).map((line) => line?.length === 0 ? undefined : line);
  }

  /** A note, and the clock of the server in milliseconds. */
  async look(member: string): Promise<[note: string | undefined, now: number]> {
    const [note, time] = listOf(await this.#run(LOOK, [this.#notes], [member]));
    const [seconds, micros] = listOf(time).map((part) => Number(textOf(part)));
    return [textOf(note), (seconds ?? NaN) * 1e3 + (micros ?? NaN) / 1e3];
  }

  /** Replaces a note if it is still the same; returns whether it was. */
  async replace(
    member: string,
    before: string | undefined,
    after: string | undefined,
  ): Promise<boolean> {
    const pairs = [before, after].flatMap((note) => note === undefined ? ["", ""] : ["note", note]);
    return await this.#run(REPLACE, [this.#notes], [member, ...pairs]) === 1;
  }

  /** All notes, page by page; they are few, because a run that ends removes its own. */
  async *notes(): AsyncGenerator<(readonly [member: string, note: string])[], void, undefined> {
    let cursor = "0";
    do {
      const [next, found] = listOf(await this.#send(["HSCAN", this.#notes, cursor]));
      const texts = listOf(found).map((each) => textOf(each) ?? "");
      yield texts.flatMap((member, index) =>
        // The empty name holds the number of changes.
        index % 2 === 1 || member === "" ? [] : [[member, texts[index + 1] ?? ""] as const]
      );
      cursor = textOf(next) ?? "0";
    } while (cursor !== "0");
  }

  /** Removes notes, whatever they hold by now. */
  async removeNotes(members: readonly string[]): Promise<void> {
    const removed = this.#send(["HDEL", this.#notes, ...members]);
    await Promise.all([removed, this.#send(["HINCRBY", this.#notes, "", "1"])]);
  }

  /** The number of changes so far. */
  async changes(): Promise<string | undefined> {
    return textOf(await this.#send(["HGET", this.#notes, ""]));
  }

  #entries(members: readonly string[]): string[] {
    return members.map((member) => `${this.#root}:entry:${member}`);
  }

  #run(script: string, keys: readonly string[], args: readonly Part[]): Promise<unknown> {
    return this.#send(["EVAL", script, `${keys.length}`, ...keys, ...args]);
  }

  #send(command: readonly Part[]): Promise<unknown> {
    return this.#connection.send(this.#index, command);
  }
}

function listOf(answer: unknown): readonly unknown[] {
  return Array.isArray(answer) ? answer : [];
}

function bytesOf(answer: unknown): Uint8Array | undefined {
  return answer instanceof Uint8Array ? answer : undefined;
}

function textOf(answer: unknown): string | undefined {
  // A name may begin with a byte order mark.
  const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
  return answer instanceof Uint8Array ? decoder.decode(answer) : undefined;
}
