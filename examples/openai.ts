/**
 * Answers of any server with OpenAI's protocol, through its SDK: cached, retried and limited.
 * llm.ts and batch_csv.ts use it. Copy it and change what differs.
 */
import { type Cache, limitConcurrency, limitRate } from "@panza/panza";
import { cachedFetch } from "@panza/panza/fetch";
import type { ProgressBar } from "@panza/panza/progress";
import process from "node:process";
import { Readable } from "node:stream";
import OpenAI from "openai";

/** The number of requests that run at once. */
const CONCURRENCY = 8;
/** The number of questions looked up at once, so that cached answers pass waiting requests. */
const LOOKUPS = 100;
const REQUESTS_PER_MINUTE = 300;
const TIMEOUT_MS = 120_000;
/** The longest delay of a timer, in milliseconds. */
const NO_TIMEOUT_MS = 2 ** 31 - 1;

/** The server and model to ask. */
export interface Settings {
  readonly baseURL: string;
  readonly apiKey: string;
  readonly model: string;
}

/** A question with its answer or its error. */
export interface Answered<Question> {
  readonly question: Question;
  readonly answer: string;
  /** Empty where there is an answer. */
  readonly error: string;
}

/**
 * Reads OPENAI_BASE_URL, OPENAI_API_KEY and OPENAI_MODEL.
 *
 * @throws {TypeError} If one is missing or wrong, by name; no message holds the key.
 */
export function readSettings(): Settings {
  const { OPENAI_BASE_URL, OPENAI_API_KEY = "", OPENAI_MODEL } = process.env;
  const baseURL = OPENAI_BASE_URL || "https://api.openai.com/v1";
  const url = URL.parse(baseURL);
  if (url === null || !/^https?:$/.test(url.protocol) || url.username !== "") {
    throw new TypeError(
      "OPENAI_BASE_URL must be a URL without a user, such as https://api.openai.com/v1",
    );
  }
  // The error that refuses an invalid header value would quote it.
  if (!/^[!-~]+$/.test(OPENAI_API_KEY)) {
    throw new TypeError(
      "OPENAI_API_KEY must be set, without spaces (to any word for a server that needs none)",
    );
  }
  if (!OPENAI_MODEL) {
    throw new TypeError("OPENAI_MODEL must be set, to gpt-5-mini for example");
  }
  return { baseURL, apiKey: OPENAI_API_KEY, model: OPENAI_MODEL };
}

/**
 * Aborts on the first Ctrl-C. Answers under way still come, because they are paid for. The second
 * Ctrl-C ends the process.
 */
export function stopOnInterrupt(): AbortSignal {
  const stop = new AbortController();
  process.once("SIGINT", () => {
    process.stderr.write(
      "\nInterrupted. Every answer that came is kept; waiting for those under way.\n",
    );
    stop.abort(new Error("interrupted"));
  });
  return stop.signal;
}

/** A client that pays for each answer once. After `stop` it sends nothing more. */
function openClient(cache: Cache, { baseURL, apiKey }: Settings, stop: AbortSignal): OpenAI {
  async function send(...[input, init]: Parameters<typeof fetch>): Promise<Response> {
    const signals = [AbortSignal.timeout(TIMEOUT_MS), ...(init?.signal ? [init.signal] : [])];
    return await fetch(input, { ...init, signal: AbortSignal.any(signals) });
  }
  return new OpenAI({
    baseURL,
    apiKey,
    // The wait for a permit takes no time from a request; `retry` below waits without a permit.
    timeout: NO_TIMEOUT_MS,
    maxRetries: 0,
    fetch: cachedFetch(cache, {
      id: "chat",
      methods: ["POST"],
      credentials: "ignore",
      limit: limitConcurrency(CONCURRENCY, { signal: stop }),
      retry: { attempts: 4, signal: stop },
      shouldCache: ({ json }) => contentOf(json) !== undefined,
      fetch: limitRate(REQUESTS_PER_MINUTE, { per: "1m", signal: stop })(send),
    }),
  });
}

/** The text of a completion, of which a server may leave out any part. */
function contentOf(completion: unknown): string | undefined {
  const { choices } = (completion ?? {}) as Partial<OpenAI.ChatCompletion>;
  return choices?.[0]?.message?.content ?? undefined;
}

/** Answers questions, in their order. After `stop` only answers to sent requests come. */
export async function* answerAll<Question>(
  questions: AsyncIterable<Question>,
  promptOf: (question: Question) => string,
  { cache, settings, stop, bar }: {
    readonly cache: Cache;
    readonly settings: Settings;
    readonly stop: AbortSignal;
    readonly bar: ProgressBar;
  },
): AsyncGenerator<Answered<Question>, void, unknown> {
  const { model, apiKey } = settings;
  const client = openClient(cache, settings, stop);
  const startedAt = performance.now();
  const counts = { done: 0, running: 0, hits: 0, misses: 0, shared: 0, failed: 0 };
  let read = 0;
  let total: number | undefined;

  function report(finished = false): void {
    const durationMs = performance.now() - startedAt;
    bar({ ...counts, total, durationMs, stale: 0, unstored: 0, savedMs: 0, finished });
  }

  async function* counted(): AsyncGenerator<Question, void, unknown> {
    for await (const question of questions) {
      if (stop.aborted) return;
      read++;
      yield question;
    }
    total = read;
  }

  async function answer(question: Question): Promise<Answered<Question>[]> {
    counts.running++;
    try {
      const { data, response } = await client.chat.completions.create({
        model,
        messages: [{ role: "user", content: promptOf(question) }],
      }).withResponse();
      const content = contentOf(data);
      if (content === undefined) throw new Error("the server answered without a message");
      const how = response.headers.get("cache-status") ?? "";
      counts[/\bhit\b/.test(how) ? "hits" : /collapsed/.test(how) ? "shared" : "misses"]++;
      return [{ question, answer: content, error: "" }];
    } catch (error) {
      const reason = innermost(error);
      if (stop.aborted && reason === stop.reason) return [];
      counts.failed++;
      // Some servers repeat the key that they refuse.
      return [{ question, answer: "", error: String(reason).replaceAll(apiKey, "(the key)") }];
    } finally {
      counts.running--;
      report();
    }
  }

  report();
  try {
    // In the order of the questions, each as soon as it is ready.
    const answers = Readable.from(counted()).flatMap(answer, { concurrency: LOOKUPS });
    for await (const answered of answers) {
      counts.done++;
      report();
      yield answered as Answered<Question>;
    }
  } finally {
    report(true);
  }
}

/** The innermost cause: `Connection error.` alone does not help. */
function innermost(error: unknown): unknown {
  return error instanceof Error && error.cause instanceof Error ? innermost(error.cause) : error;
}
