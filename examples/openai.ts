/**
 * A chat completion of any server that speaks OpenAI's protocol, kept, retried and limited.
 * llm.ts and batch_csv.ts use it; so can you: copy it and change what differs.
 */
import { type Cache, type CachedFunction, limitConcurrency, limitRate, retry } from "@panza/panza";
import process from "node:process";

/** How many requests run at once. */
export const CONCURRENCY = 8;
const REQUESTS_PER_MINUTE = 300;
const TIMEOUT_MS = 120_000;

/** Where to ask. */
export interface Settings {
  readonly baseUrl: string;
  readonly key: string;
  readonly model: string;
}

/** What identifies an answer: whatever changes it belongs in here. */
export interface Question {
  readonly model: string;
  readonly prompt: string;
}

/** A question that a server did not answer. */
export class ChatError extends Error {
  override readonly name = "ChatError";
  /** The HTTP status; `undefined` when there was no answer at all. */
  readonly status: number | undefined;
  /** How long the server asks to wait, in milliseconds. */
  readonly retryAfterMs: number | undefined;

  constructor(
    message: string,
    options: ErrorOptions & { status?: number; retryAfterMs?: number } = {},
  ) {
    super(message, options);
    this.status = options.status;
    this.retryAfterMs = options.retryAfterMs;
  }
}

/**
 * Reads OPENAI_BASE_URL, OPENAI_API_KEY and OPENAI_MODEL.
 *
 * @throws {TypeError} If one is missing or wrong, by name; no message holds the key.
 */
export function readSettings(): Settings {
  const { OPENAI_BASE_URL, OPENAI_API_KEY, OPENAI_MODEL } = process.env;
  const baseUrl = OPENAI_BASE_URL || "https://api.openai.com/v1";
  const url = URL.parse(baseUrl);
  if (url === null || !/^https?:$/.test(url.protocol) || url.username !== "") {
    throw new TypeError(
      "OPENAI_BASE_URL must be a URL without a user, such as https://api.openai.com/v1",
    );
  }
  // What is no header value would be quoted by the error that refuses it.
  if (!/^[!-~]+$/.test(OPENAI_API_KEY ?? "")) {
    throw new TypeError(
      "OPENAI_API_KEY must be set, without spaces (to any word for a server that needs none)",
    );
  }
  if (!OPENAI_MODEL) {
    throw new TypeError("OPENAI_MODEL must be set, to gpt-5-mini for example");
  }
  return {
    baseUrl: baseUrl.replace(/\/+$/, ""),
    key: OPENAI_API_KEY ?? "",
    model: OPENAI_MODEL,
  };
}

/**
 * Aborts on the first Ctrl-C, after which the answers under way still come: they are paid for. The
 * second one ends the process.
 */
export function stopOnInterrupt(): AbortSignal {
  const stop = new AbortController();
  process.once("SIGINT", () => {
    process.stderr.write(
      "\nInterrupted. Every answer that came is kept; waiting for those under way.\n",
    );
    stop.abort();
  });
  return stop.signal;
}

/**
 * Makes the function that answers questions.
 *
 * @param cache Where answers are kept.
 * @param settings Where to ask.
 * @param stop Ends waiting retries; what is being answered goes on, because it is paid for.
 */
export function openChat(
  cache: Cache,
  { baseUrl, key }: Settings,
  stop: AbortSignal,
): CachedFunction<(question: Question) => Promise<string>> {
  async function chat({ model, prompt }: Question): Promise<string> {
    return await complete(baseUrl, key, {
      model,
      messages: [{ role: "user", content: prompt }],
    });
  }
  // Read from the outside in: a hit passes no limit, and a call that waits to try again occupies
  // no place. Another server gives other answers: it is another version.
  return cache.cache({ id: "chat", version: baseUrl })(
    retry({
      attempts: 4,
      shouldRetry: isTransient,
      retryAfter: (error) => (error instanceof ChatError ? error.retryAfterMs : undefined),
      signal: stop,
    })(limitRate(REQUESTS_PER_MINUTE, { per: "1m" })(limitConcurrency(CONCURRENCY)(chat))),
  );
}

function isTransient(error: unknown): boolean {
  if (!(error instanceof ChatError)) return false;
  const { status } = error;
  return status === undefined || status === 408 || status === 429 || status >= 500;
}

async function complete(baseUrl: string, key: string, request: object): Promise<string> {
  const url = `${baseUrl}/chat/completions`;
  let response: Response;
  let text: string;
  try {
    response = await fetch(url, {
      method: "POST",
      headers: {
        authorization: `Bearer ${key}`,
        "content-type": "application/json",
      },
      body: JSON.stringify(request),
      signal: AbortSignal.timeout(TIMEOUT_MS),
    });
    text = await response.text();
  } catch (error) {
    throw new ChatError(`${url} does not answer: ${reasonOf(error)}`, {
      cause: error,
    });
  }
  const answer = parse(text);
  if (!response.ok) {
    const { status } = response;
    const reason = answer?.error?.message ?? text.slice(0, 200);
    const retryAfterMs = readRetryAfter(response.headers.get("retry-after"));
    throw new ChatError(
      // Some servers repeat the key that they refuse.
      `${url} answered ${status}: ${reason}`.replaceAll(key, "(the key)"),
      { status, ...(retryAfterMs === undefined ? {} : { retryAfterMs }) },
    );
  }
  const content = answer?.choices?.[0]?.message?.content;
  if (typeof content !== "string") {
    throw new ChatError(`${url} answered without a message`, {
      status: response.status,
    });
  }
  return content;
}

/** The parts of an answer that are read here; a server may leave out or break any of them. */
interface Answer {
  readonly choices?: { readonly message?: { readonly content?: unknown } }[];
  readonly error?: { readonly message?: string };
}

function parse(text: string): Answer | null {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

/** Seconds, or a date (RFC 9110, section 10.2.3). */
function readRetryAfter(header: string | null): number | undefined {
  if (header === null) return undefined;
  const milliseconds = /^\d+$/.test(header)
    ? Number(header) * 1000
    : Date.parse(header) - Date.now();
  return Number.isNaN(milliseconds) ? undefined : milliseconds;
}

/** The innermost message: `fetch failed` alone helps nobody. */
function reasonOf(error: unknown): string {
  let reason = error;
  while (reason instanceof Error && reason.cause instanceof Error) {
    reason = reason.cause;
  }
  return reason instanceof Error ? reason.message : String(reason);
}
