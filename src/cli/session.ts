/**
 * One run of the command: its arguments and its output.
 *
 * @module
 */

import type { Output } from "../base/program.ts";
import type { CommandLine } from "./usage.ts";

/** The length from which waiting text is written, in characters. */
const PIECE = 16_384;

/** Thrown when nobody reads stdout any more. */
export class ReaderGone extends Error {}

/** A command line with its output. */
export class Session {
  readonly line: CommandLine;
  readonly now: number = Date.now();
  readonly columns: number | undefined;
  readonly isJson: boolean;
  readonly #output: Output;
  #waiting = "";

  constructor(line: CommandLine, output: Output) {
    this.line = line;
    this.columns = output.columns;
    this.isJson = line.flags.has("json");
    this.#output = output;
  }

  /** Whether to format values for people. */
  get isTerminal(): boolean {
    return this.columns !== undefined;
  }

  /** A text in a style of ECMA-48, where there are colours. */
  styled(style: "bold" | "red" | "yellow", text: string): string {
    if (!this.#output.hasColors) return text;
    return `\x1b[${{ bold: 1, red: 31, yellow: 33 }[style]}m${text}\x1b[0m`;
  }

  /**
   * Prints a line, which may wait for others.
   *
   * @throws {ReaderGone} If nobody reads.
   */
  async print(line: string): Promise<void> {
    this.#waiting += `${line}\n`;
    if (this.#waiting.length >= PIECE) await this.flush();
  }

  /** Prints an object on one line, as JSON. */
  async printJson(value: object): Promise<void> {
    await this.print(JSON.stringify(value));
  }

  /** Writes the waiting text. */
  async flush(): Promise<void> {
    const text = this.#waiting;
    this.#waiting = "";
    if (text !== "" && !(await this.#output.write(text))) throw new ReaderGone();
  }
}
