/**
 * Reads a CSV of prompts and writes a CSV of answers. Killed half-way and run again, it asks only
 * for missing answers.
 *
 *     deno run --allow-env --allow-net --allow-read --allow-write=. \
 *       examples/batch_csv.ts prompts.csv answers.csv [--column prompt]
 *
 * Every row gets two more columns: `answer`, and `error` where there is no answer.
 */
// deno-lint-ignore-file no-console
import { SQLiteCache } from "@panza/panza";
import { progressBar } from "@panza/panza/progress";
import { parse } from "csv-parse";
import { createReadStream } from "node:fs";
import { open, rename } from "node:fs/promises";
import process from "node:process";
import { pipeline } from "node:stream";
import { parseArgs } from "node:util";
import { answerAll, readSettings, type Settings, stopOnInterrupt } from "./openai.ts";

const USAGE = "batch_csv.ts prompts.csv answers.csv [--column prompt]";

type Row = Readonly<Record<string, string>>;

/** The rows of a file, read as they are needed. */
async function* readRows(path: string, column: string): AsyncGenerator<Row> {
  const parser = parse({
    bom: true,
    skip_empty_lines: true,
    columns: (header: string[]) => {
      if (header.includes(column)) return header;
      throw new Error(`no column ${column}, only ${header.join(", ")}`);
    },
  });
  // An error reaches the loop over the parser as well.
  pipeline(createReadStream(path), parser, () => {});
  for await (const row of parser) yield row as Row;
}

/** A line in the format of RFC 4180. */
function csvLine(fields: Iterable<string>): string {
  const quoted = Array.from(
    fields,
    (field) => /[",\r\n]|^\s|\s$/.test(field) ? `"${field.replaceAll('"', '""')}"` : field,
  );
  return `${quoted.join(",")}\r\n`;
}

interface Job {
  readonly input: string;
  readonly output: string;
  readonly column: string;
}

function readJob(): Job {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: { column: { type: "string", default: "prompt" } },
  });
  const [input, output, ...more] = positionals;
  if (input === undefined || output === undefined || more.length > 0) {
    throw new TypeError(`usage: ${USAGE}`);
  }
  return { input, output, column: values.column };
}

async function run({ input, output, column }: Job, settings: Settings): Promise<number> {
  await using cache = new SQLiteCache(".cache/batch_csv.db");
  const stop = stopOnInterrupt();
  const answers = answerAll(readRows(input, column), (row) => row[column] ?? "", {
    cache,
    settings,
    stop,
    bar: progressBar(),
  });
  // Another name until the file is whole, so that an interrupted run leaves older output alone.
  const unfinished = `${output}.part`;
  let rows = 0;
  let failed = 0;
  try {
    await using file = await open(unfinished, "w");
    for await (const { question, answer, error } of answers) {
      const row = { ...question, answer, error };
      if (rows++ === 0) await file.write(csvLine(Object.keys(row)));
      await file.write(csvLine(Object.values(row)));
      if (error !== "") failed++;
    }
  } catch (error) {
    const reason = (error as Error).message;
    console.error(`batch_csv: ${reason}; every answer that came is kept`);
    return 1;
  }
  if (stop.aborted) return 130;
  await rename(unfinished, output);
  console.log(`${output}: ${rows} rows, ${failed} without an answer`);
  return failed === 0 ? 0 : 1;
}

async function main(): Promise<number> {
  let job;
  let settings;
  try {
    job = readJob();
    settings = readSettings();
  } catch (error) {
    console.error(`batch_csv: ${(error as Error).message}`);
    return 2;
  }
  return await run(job, settings);
}

process.exitCode = await main();
