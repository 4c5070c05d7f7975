/**
 * The main job on real input: an expensive function over every text file of a folder, cached and
 * limited. Run it twice, or stop it with Ctrl-C or `kill -9` and run it again: it computes only
 * what is missing.
 *
 *     deno task demo [folder]
 */
// deno-lint-ignore-file no-console
import { limitConcurrency, SQLiteCache } from "@panza/panza";
import { progressBar } from "@panza/panza/progress";
import { Buffer } from "node:buffer";
import { once } from "node:events";
import { open, readdir, readFile, stat } from "node:fs/promises";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { parseArgs } from "node:util";
import { Worker } from "node:worker_threads";
import type { Analysis } from "./demo_worker.ts";

const HELP = `Usage: deno task demo [folder]

Finds the best brotli settings and counts the words of every text file of the
folder (default: the current one). Results are kept in .cache/demo.db; delete
that file to start afresh.`;

const DATABASE = ".cache/demo.db";
const SKIPPED_FOLDERS = [".git", ".cache", "node_modules"];
const MAX_BYTES = 2 * 1024 * 1024;
const WORKERS = availableParallelism();

interface TextFile {
  readonly path: string;
  readonly text: string;
}

const idle: Worker[] = [];

/** Analyses a text on its own thread. The limit below bounds the number of threads. */
async function analyseInThread({ text }: TextFile): Promise<Analysis> {
  const worker = idle.pop() ?? new Worker(new URL("./demo_worker.ts", import.meta.url));
  worker.postMessage(text);
  // A thread that fails rejects here and is not used again.
  const [analysis] = (await once(worker, "message")) as [Analysis];
  idle.push(worker);
  return analysis;
}

async function run(folder: string): Promise<number> {
  await using cache = new SQLiteCache(DATABASE);
  // The text identifies a call: equal files are computed once, changed ones anew.
  const analyse = cache.cache({
    id: "analyse",
    hashFunc: ({ text }: TextFile) => text,
  })(limitConcurrency(WORKERS)(analyseInThread));

  // The first Ctrl-C lets running calls finish. A second one, which `deno task` sends at once, ends
  // the process and loses those calls only.
  const stop = new AbortController();
  process.once("SIGINT", () => {
    console.error(`\nInterrupted. Everything finished is kept in ${DATABASE}; run again to go on.`);
    stop.abort();
  });

  const failures: string[] = [];
  const paths = await textFiles(folder, failures);
  console.log(`${paths.length} text files; results are kept in ${DATABASE}`);
  const batch = analyse.map(readAll(paths, failures), {
    concurrency: WORKERS,
    signal: stop.signal,
    onProgress: progressBar({ total: paths.length }),
  });
  const sum = { bytes: 0, compressed: 0, words: 0 };
  try {
    for await (const result of batch) {
      if (result.ok) {
        sum.bytes += result.value.bytes;
        sum.compressed += result.value.compressed;
        sum.words += result.value.words;
      } else failures.push(`${result.input.path}: ${String(result.error)}`);
    }
  } catch (error) {
    if (error !== stop.signal.reason) throw error;
    return 130;
  } finally {
    await Promise.all(idle.map((worker) => worker.terminate()));
  }

  for (const failure of failures) console.error(failure);
  const { hits, misses, shared, durationMs, savedMs } = batch.summary;
  console.log(
    table({
      files: paths.length,
      hits: hits,
      misses: misses,
      "equal files": shared,
      failures: failures.length,
      time: `${(durationMs / 1000).toFixed(2)} s`,
      "time saved": `${(savedMs / 1000).toFixed(2)} s`,
      words: sum.words,
      kilobytes: Math.round(sum.bytes / 1000),
      compressed: `${Math.round((sum.compressed / (sum.bytes || 1)) * 100)} %`,
    }),
  );
  return failures.length === 0 ? 0 : 1;
}

/** The paths of all text files. As for git, a text has no NUL in its first 8,000 bytes. */
async function textFiles(folder: string, failures: string[]): Promise<string[]> {
  const found: string[] = [];
  const entries = await readdir(folder, { withFileTypes: true });
  for (const entry of entries.sort((a, b) => (a.name < b.name ? -1 : 1))) {
    const path = join(folder, entry.name);
    try {
      if (entry.isDirectory() && !SKIPPED_FOLDERS.includes(entry.name)) {
        found.push(...(await textFiles(path, failures)));
      } else if (entry.isFile() && (await isText(path))) found.push(path);
    } catch (error) {
      failures.push(String(error));
    }
  }
  return found;
}

async function isText(path: string): Promise<boolean> {
  await using file = await open(path);
  if ((await file.stat()).size > MAX_BYTES) return false;
  const { buffer, bytesRead } = await file.read(Buffer.alloc(8000));
  return !buffer.subarray(0, bytesRead).includes(0);
}

/** The files one by one, so that a large folder never sits in memory. */
async function* readAll(paths: readonly string[], failures: string[]): AsyncGenerator<TextFile> {
  for (const path of paths) {
    try {
      yield { path, text: await readFile(path, "utf8") };
    } catch (error) {
      failures.push(String(error));
    }
  }
}

function table(rows: Record<string, string | number>): string {
  return Object.entries(rows)
    .map(([name, value]) => `${name.padEnd(12)}${String(value).padStart(10)}`)
    .join("\n");
}

/** The folder to analyse, or the text to print instead, with the exit code. */
async function readArguments(): Promise<{ folder: string } | { text: string; code: number }> {
  try {
    const { values, positionals } = parseArgs({
      allowPositionals: true,
      options: { help: { type: "boolean", short: "h" } },
    });
    if (values.help === true) return { text: HELP, code: 0 };
    const [folder = ".", ...more] = positionals;
    if (more.length > 0) throw new Error(`one folder, not also ${more[0]}`);
    const found = await stat(folder).catch(() => undefined);
    if (found?.isDirectory() !== true) {
      throw new Error(`${folder} is not a folder that can be read`);
    }
    return { folder };
  } catch (error) {
    const [reason] = (error as Error).message.split(". ");
    return { text: `demo: ${reason} (see --help)`, code: 2 };
  }
}

const asked = await readArguments();
if ("folder" in asked) {
  process.exitCode = await run(asked.folder);
} else {
  (asked.code === 0 ? console.log : console.error)(asked.text);
  process.exitCode = asked.code;
}
