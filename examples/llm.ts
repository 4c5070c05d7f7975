/**
 * Asks a language model, and pays for each question once.
 *
 *     deno run --allow-env --allow-net --allow-read --allow-write=.cache \
 *       examples/llm.ts "Why is the sky blue?" "Why is grass green?"
 *
 * Without arguments each line of stdin is a prompt. OPENAI_API_KEY and OPENAI_MODEL must be set,
 * OPENAI_BASE_URL for another server than OpenAI's.
 */
// deno-lint-ignore-file no-console
import { SQLiteCache } from "@panza/panza";
import { progressBar } from "@panza/panza/progress";
import process from "node:process";
import { createInterface } from "node:readline";
import { CONCURRENCY, openChat, type Question, readSettings, stopOnInterrupt } from "./openai.ts";

async function* linesOfInput(): AsyncGenerator<string> {
  for await (const line of createInterface({ input: process.stdin })) {
    if (line.trim() !== "") yield line;
  }
}

/** The questions as they come: a long list of prompts never sits in memory. */
async function* questions(
  prompts: Iterable<string> | AsyncIterable<string>,
  model: string,
): AsyncGenerator<Question> {
  for await (const prompt of prompts) yield { model, prompt };
}

async function main(prompts: string[]): Promise<number> {
  let settings;
  try {
    settings = readSettings();
  } catch (error) {
    console.error(`llm: ${(error as Error).message}`);
    return 2;
  }
  await using cache = new SQLiteCache(".cache/llm.db");
  const stop = stopOnInterrupt();
  const chat = openChat(cache, settings, stop);

  const asked = prompts.length > 0 ? prompts : linesOfInput();
  const batch = chat.map(questions(asked, settings.model), {
    concurrency: CONCURRENCY,
    ordered: true,
    signal: stop,
    onProgress: progressBar(),
  });
  try {
    for await (const result of batch) {
      if (result.ok) console.log(`> ${result.input.prompt}\n${result.value}\n`);
      else console.error(`> ${result.input.prompt}\n${String(result.error)}\n`);
    }
  } catch (error) {
    if (!stop.aborted) throw error;
    return 130;
  }
  return batch.summary.failed === 0 ? 0 : 1;
}

const code = await main(process.argv.slice(2));
// After Ctrl-C an input that is still open would keep the process alive.
if (code === 130) process.exit(code);
process.exitCode = code;
