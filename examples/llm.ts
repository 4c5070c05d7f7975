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
import { answerAll, readSettings, stopOnInterrupt } from "./openai.ts";

/** The prompts as they come: a long list of them never sits in memory. */
async function* readPrompts(given: string[], signal: AbortSignal): AsyncGenerator<string> {
  if (given.length > 0) return yield* given;
  for await (const line of createInterface({ input: process.stdin, signal })) {
    if (line.trim() !== "") yield line;
  }
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
  // In plain lines, because a redrawn line would mix with the answers.
  const output = { columns: undefined, write: (text: string) => process.stderr.write(text) };
  const bar = progressBar({ output });
  const questions = readPrompts(prompts, stop);
  let code = 0;
  const answers = answerAll(questions, (prompt) => prompt, { cache, settings, stop, bar });
  for await (const { question, answer, error } of answers) {
    if (error === "") console.log(`> ${question}\n${answer}\n`);
    else {
      console.error(`> ${question}\n${error}\n`);
      code = 1;
    }
  }
  return stop.aborted ? 130 : code;
}

const code = await main(process.argv.slice(2));
// After Ctrl-C an open input would keep the process alive.
if (code === 130) process.exit(code);
process.exitCode = code;
