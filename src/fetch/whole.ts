/**
 * Whether the body of a response is whole, judged by its content: a connection that was cut may end
 * as cleanly as one that was not.
 *
 * @module
 */

import { isObject } from "../base/plain.ts";
import { parseJson } from "./json.ts";

/** The end of a body, judged by its content. */
export type Ending =
  /** Nothing more can come. */
  | "final"
  /** It may be whole, but more could have come. */
  | "open"
  /** It is not whole, for a reason in words that quote nothing of it. */
  | { readonly reason: string };

/** The first and last events of known streams, by the `type` of an event. */
const TYPES: readonly (readonly [name: string, begins: RegExp, ends: RegExp])[] = [
  ["message", /^(?:message_start|content_block_\w+)$/, /^message_stop$/],
  ["response", /^response\./, /^response\.(?:completed|incomplete)$/],
  ["message-end", /^(?:message|content)-start$/, /^message-end$/],
  [
    "audio",
    /^(?:speech\.audio|transcript\.text)\.delta$/,
    /^(?:speech\.audio|transcript\.text)\.done$/,
  ],
];

/** The last event of a stream of chat completions. */
const DONE = "[DONE]";

/**
 * Judges the end of a body.
 *
 * @param text The body; `undefined` if it is not UTF-8.
 */
export function endingOf(type: string, text: string | undefined): Ending {
  const [essence = ""] = type.toLowerCase().split(";", 1);
  const kind = /[/+.-](ndjson|jsonlines|jsonl|json-seq|json|event-stream)$/.exec(essence.trim())
    ?.[1];
  if (kind === undefined) return "open";
  if (text === undefined) return { reason: "it is not UTF-8" };
  if (kind === "json") {
    return parseJson(text) === undefined ? { reason: "its JSON was cut" } : "final";
  }
  const stream = new Stream();
  const isCut = kind === "event-stream" ? readEvents(text, stream) : readLines(text, stream);
  return isCut ? { reason: "it was cut inside an event" } : stream.ending;
}

/** Passes on the events of a text/event-stream. Returns whether the last one is incomplete. */
function readEvents(text: string, stream: Stream): boolean {
  let name = "";
  let data: string[] = [];
  const lines = text.replace(/^\uFEFF/, "").split(/\r\n|\n|\r/);
  const rest = lines.pop() ?? "";
  for (const line of lines) {
    const [, field = "", value = ""] = /^([^:]*):? ?([\s\S]*)$/.exec(line) ?? [];
    if (field === "event") name = value;
    else if (field === "data") data.push(value);
    if (line !== "") continue;
    if (data.length > 0) stream.take(name, data.join("\n"));
    name = "";
    data = [];
  }
  // A cut comment does not matter.
  return name !== "" || data.length > 0 || (rest !== "" && !rest.startsWith(":"));
}

/** Passes on the lines of a stream of JSON texts. Returns whether the last one is incomplete. */
function readLines(text: string, stream: Stream): boolean {
  // application/json-seq has a separator of its own.
  for (const line of text.replaceAll("\x1E", "\n").split(/[\r\n]+/)) {
    if (line.trim() === "") continue;
    if (!isObject(parseJson(line)?.value)) return true;
    stream.take("", line);
  }
  return false;
}

/** The parts that the events of a stream have opened and closed. */
class Stream {
  readonly #opened = new Set<string>();
  readonly #closed = new Set<string>();
  #hasError = false;
  #isEmpty = true;

  get ending(): Ending {
    if (this.#hasError) return { reason: "one of its events is an error" };
    if (this.#isEmpty) return { reason: "it ended before its first event" };
    for (const name of this.#opened) {
      if (!this.#closed.has(name)) return { reason: `it ended before its last event (${name})` };
    }
    return this.#opened.size > 0 || this.#closed.has(DONE) ? "final" : "open";
  }

  take(name: string, data: string): void {
    if (name === "error") this.#hasError = true;
    if (data.trim() === DONE) this.#closed.add(DONE);
    const value = parseJson(data)?.value;
    const event = isObject(value) ? value : {};
    const type: unknown = Reflect.get(event, "type") ?? name;
    if (type === "ping") return;
    this.#isEmpty = false;
    if (type === "error" || type === "response.failed" || Boolean(Reflect.get(event, "error"))) {
      this.#hasError = true;
    }
    if (typeof type === "string") {
      for (const [kind, begins, ends] of TYPES) {
        if (begins.test(type)) this.#opened.add(kind);
        if (ends.test(type)) this.#closed.add(kind);
      }
    }
    this.#takeChoices(event, "choices", "finish_reason");
    this.#takeChoices(event, "candidates", "finishReason");
    const isDone: unknown = Reflect.get(event, "done");
    if (typeof isDone === "boolean") {
      this.#opened.add("done");
      if (isDone) this.#closed.add("done");
    }
  }

  /** Takes the alternatives of an answer, each with its own end. */
  #takeChoices(event: object, member: string, reason: string): void {
    const choices: unknown = Reflect.get(event, member);
    if (!Array.isArray(choices)) return;
    this.#opened.add(`${reason} 0`);
    if (member === "choices") this.#opened.add(DONE);
    for (const choice of choices) {
      if (!isObject(choice)) continue;
      const name = `${reason} ${Number(Reflect.get(choice, "index") ?? 0)}`;
      this.#opened.add(name);
      if (typeof Reflect.get(choice, reason) === "string") this.#closed.add(name);
    }
  }
}
