/** The examples that ask servers, against small servers on this machine. */
import { readFileSync, writeFileSync } from "node:fs";
import { createServer, type IncomingMessage, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { test } from "node:test";
import { parse } from "csv-parse/sync";
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { run, type Start, start } from "./support/examples.ts";
import { body, LLMServer } from "./support/llm_server.ts";
import { temporaryFolder } from "./support/temp.ts";

const KEY = "sk-secret-123";

/** A response to a prompt; `undefined` is the ordinary answer. */
type Answer = { readonly status: number; readonly body: string } | undefined;

/** A chat server that answers in upper case and records the prompts. */
class ChatServer implements AsyncDisposable {
  /** The prompts, one for each request. */
  readonly asked: string[] = [];
  /** Chooses the response to a prompt. */
  answer: (prompt: string) => Answer | Promise<Answer> = () => undefined;
  readonly #server: Server;

  constructor() {
    this.#server = createServer(async (request, response) => {
      const { model, messages } = JSON.parse(await textOf(request));
      const prompt: string = messages[0].content;
      this.asked.push(prompt);
      assertEquals(request.method, "POST");
      assertEquals(request.url, "/v1/chat/completions");
      assertEquals(request.headers.authorization, `Bearer ${KEY}`);
      const special = await this.answer(prompt);
      const content = `${model}: ${prompt.toUpperCase()}`;
      response.writeHead(special?.status ?? 200, {
        "content-type": "application/json",
        "retry-after": "0",
      });
      response.end(special?.body ?? JSON.stringify({ choices: [{ message: { content } }] }));
    });
  }

  async listen(): Promise<this> {
    await new Promise<void>((resolve) => this.#server.listen(0, "127.0.0.1", resolve));
    return this;
  }

  /** The start of an example that asks this server. */
  start(cwd: string, options: Partial<Start> = {}): Start {
    const { port } = this.#server.address() as AddressInfo;
    return {
      cwd,
      permissions: ["--allow-env", "--allow-net=127.0.0.1", "--allow-read", "--allow-write=."],
      ...options,
      variables: {
        OPENAI_BASE_URL: `http://127.0.0.1:${port}/v1/`,
        OPENAI_API_KEY: KEY,
        OPENAI_MODEL: "echo",
        ...options.variables,
      },
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}

async function textOf(request: IncomingMessage): Promise<string> {
  let text = "";
  for await (const chunk of request.setEncoding("utf8")) text += chunk;
  return text;
}

/** An error as OpenAI's API writes one. */
function refusal(status: number, message: string): Answer {
  return { status, body: JSON.stringify({ error: { message } }) };
}

test("llm.ts asks each prompt once, and never again", async () => {
  const cwd = temporaryFolder();
  await using server = await new ChatServer().listen();
  const options = server.start(cwd);
  const answers = "> one\necho: ONE\n\n> two\necho: TWO\n\n";

  const fresh = await run("llm.ts", ["one", "two"], options);
  assertEquals([fresh.code, fresh.stdout], [0, answers], fresh.stderr);
  assertEquals(server.asked.toSorted(), ["one", "two"]);
  assertMatch(fresh.stderr, /hits 0, misses 2/);

  const again = await run("llm.ts", [], { ...options, stdin: "one\n\ntwo\n" });
  assertEquals([again.code, again.stdout], [0, answers], again.stderr);
  assertEquals(server.asked.length, 2, "no request the second time");
  assertMatch(again.stderr, /hits 2, misses 0/);

  const variables = { ...options.variables, OPENAI_MODEL: "other" };
  const other = await run("llm.ts", ["one"], { ...options, variables });
  assertEquals(other.stdout, "> one\nother: ONE\n\n", "another model, another entry");
});

test("llm.ts retries after a transient error, and stores the result", async () => {
  const cwd = temporaryFolder();
  await using server = await new ChatServer().listen();
  let failures = 2;
  server.answer = (prompt) => prompt === "one" && failures-- > 0 ? refusal(500, "busy") : undefined;
  const { code, stdout, stderr } = await run("llm.ts", ["one", "two"], server.start(cwd));
  // In the order of the prompts, although the first answer comes last.
  assertEquals(stdout, "> one\necho: ONE\n\n> two\necho: TWO\n\n", stderr);
  assertEquals(code, 0);
  assertEquals(server.asked.toSorted(), ["one", "one", "one", "two"]);
});

test("llm.ts reports a lasting error, stores the others, and asks for the missing one next time", async () => {
  const cwd = temporaryFolder();
  await using server = await new ChatServer().listen();
  const options = server.start(cwd);
  server.answer = (prompt) => (prompt === "two" ? refusal(503, "overloaded") : undefined);
  const failed = await run("llm.ts", ["one", "two", "three"], options);
  assertEquals(failed.code, 1);
  assertEquals(failed.stdout, "> one\necho: ONE\n\n> three\necho: THREE\n\n");
  assertMatch(failed.stderr, /^Error: 503 overloaded$/m);

  server.answer = () => undefined;
  server.asked.length = 0;
  const again = await run("llm.ts", ["one", "two", "three"], options);
  assertEquals([again.code, server.asked], [0, ["two"]], again.stderr);
});

test("llm.ts does not retry a refused request, and never prints the key", async () => {
  const cwd = temporaryFolder();
  await using server = await new ChatServer().listen();
  server.answer = () => refusal(401, `Incorrect API key: ${KEY}`);
  const { code, stdout, stderr } = await run("llm.ts", ["one"], server.start(cwd));
  assertEquals([code, stdout, server.asked], [1, "", ["one"]]);
  assertMatch(stderr, /^Error: 401 Incorrect API key: \(the key\)$/m);
  assert(!stderr.includes(KEY));
});

test("llm.ts reports why an answer cannot be used", async () => {
  const cwd = temporaryFolder();
  await using server = await new ChatServer().listen();
  const bodies: Record<string, Answer> = {
    html: { status: 200, body: "<html>" },
    empty: { status: 200, body: "{}" },
    nothing: { status: 200, body: "null" },
    plain: { status: 400, body: "too long" },
  };
  server.answer = (prompt) => bodies[prompt];
  const { code, stderr } = await run("llm.ts", Object.keys(bodies), server.start(cwd));
  assertEquals(code, 1);
  for (const prompt of ["empty", "nothing"]) {
    assertMatch(stderr, new RegExp(`> ${prompt}\nError: the server answered without a message`));
  }
  assertMatch(stderr, /> html\nSyntaxError: /);
  assertMatch(stderr, /> plain\nError: 400 .*too long/);

  server.answer = () => undefined;
  server.asked.length = 0;
  await run("llm.ts", Object.keys(bodies), server.start(cwd));
  assertEquals(server.asked.toSorted(), Object.keys(bodies).sort(), "none of them was kept");
});

test("llm.ts names the setting that is missing or wrong", async () => {
  const cwd = temporaryFolder();
  await using server = await new ChatServer().listen();
  const { variables, ...options } = server.start(cwd);
  const wrong: Record<string, string[]> = {
    OPENAI_BASE_URL: ["nonsense", "ftp://127.0.0.1", "http://me:pw@127.0.0.1"],
    OPENAI_API_KEY: ["", "sk secret\n123"],
    OPENAI_MODEL: [""],
  };
  for (const [name, values] of Object.entries(wrong)) {
    for (const value of values) {
      const { code, stderr } = await run("llm.ts", ["one"], {
        ...options,
        variables: { ...variables, [name]: value },
      });
      assertEquals(code, 2, stderr);
      assertMatch(stderr, new RegExp(`^llm: ${name} must be .*\n$`));
      assert(!stderr.includes("123"), "the key is not printed");
    }
  }
  assertEquals(server.asked, []);
});

test("llm.ts finishes running requests on Ctrl-C, and asks for the rest next time", async () => {
  const cwd = temporaryFolder();
  await using server = await new ChatServer().listen();
  const options = server.start(cwd);
  const prompts = Array.from({ length: 20 }, (_, index) => `prompt ${index}`);
  await run("llm.ts", ["kept"], options);
  server.asked.length = 0;
  const { promise: held, resolve: release } = Promise.withResolvers<undefined>();
  server.answer = () => held;
  const running = start("llm.ts", [...prompts, "kept"], options);
  await running.until(() => server.asked.length === 8);
  running.interrupt();
  await running.until(() => running.errors().includes("Interrupted."));
  release(undefined);
  const { code, stdout, stderr } = await running.end();
  assertEquals(code, 130, stderr);
  const paid = [...server.asked];
  assertEquals(paid.length, 8, "nothing more was asked");
  for (const prompt of [...paid, "kept"]) assertStringIncludes(stdout, `> ${prompt}\n`);
  // A hit waits for no request, and a prompt that was not sent has not failed.
  assertMatch(stderr, /^9(?:\/21| done) in [^,]+s(?:, stopped)?, hits 1, misses 8$/m);

  server.asked.length = 0;
  const again = await run("llm.ts", prompts, options);
  assertEquals(again.code, 0, again.stderr);
  const rest = prompts.filter((prompt) => !paid.includes(prompt));
  assertEquals(server.asked.toSorted(), rest.toSorted());
});

test("llm.ts ends on Ctrl-C while it waits for a prompt", async () => {
  const cwd = temporaryFolder();
  await using server = await new ChatServer().listen();
  const options = server.start(cwd);
  const running = start("llm.ts", [], {
    ...options,
    stdin: "one\n",
    keepStdinOpen: true,
  });
  await running.until(() => server.asked.length === 1);
  running.interrupt();
  const { code, stderr } = await running.end();
  assertEquals(code, 130, stderr);
  const { stdout } = await run("llm.ts", ["one"], options);
  assertEquals(stdout, "> one\necho: ONE\n\n");
  assertEquals(server.asked, ["one"]);
});

/** Reads the CSV that an example wrote. */
function readCsv(path: string): Record<string, string>[] {
  return parse(readFileSync(path), { columns: true });
}

/** The number of results in a database. */
function countEntries(path: string): unknown {
  const database = new DatabaseSync(path, { readOnly: true });
  try {
    return database.prepare("select count(*) as count from panza_entries").get()?.["count"];
  } finally {
    database.close();
  }
}

test("batch_csv.ts answers every row, whatever its fields hold", async () => {
  const cwd = temporaryFolder();
  await using server = await new ChatServer().listen();
  writeFileSync(
    join(cwd, "in.csv"),
    '\ufeffid,question\r\n1,plain\r\n2,"a ""quoted"", one"\r\n3,"two\r\nlines"\r\n\r\n4, spaced \r\n5,\r\n',
  );
  const csv = ["in.csv", "out.csv", "--column", "question"];
  const fresh = await run("batch_csv.ts", csv, server.start(cwd));
  assertEquals(fresh.code, 0, fresh.stderr);
  assertEquals(fresh.stdout, "out.csv: 5 rows, 0 without an answer\n");
  const questions = ["plain", 'a "quoted", one', "two\r\nlines", " spaced ", ""];
  assertEquals(
    readCsv(join(cwd, "out.csv")),
    questions.map((question, index) => ({
      id: String(index + 1),
      question,
      answer: `echo: ${question.toUpperCase()}`,
      error: "",
    })),
  );
  const first = readFileSync(join(cwd, "out.csv"), "utf8");
  assertMatch(first, /^id,question,answer,error\r\n1,plain,echo: PLAIN,\r\n/);

  await run("batch_csv.ts", csv, server.start(cwd));
  assertEquals(server.asked.length, 5, "no request the second time");
  assertEquals(readFileSync(join(cwd, "out.csv"), "utf8"), first);
});

test("batch_csv.ts puts a failure into its row and ends with 1", async () => {
  const cwd = temporaryFolder();
  await using server = await new ChatServer().listen();
  server.answer = (prompt) => (prompt === "b" ? refusal(400, "not that") : undefined);
  writeFileSync(join(cwd, "in.csv"), "prompt\na\nb\nc\n");
  const { code, stdout } = await run("batch_csv.ts", ["in.csv", "out.csv"], server.start(cwd));
  assertEquals([code, stdout], [1, "out.csv: 3 rows, 1 without an answer\n"]);
  const rows = readCsv(join(cwd, "out.csv"));
  assertEquals(
    rows.map(({ answer }) => answer),
    ["echo: A", "", "echo: C"],
  );
  assertMatch(rows[1]?.["error"] ?? "", /^Error: 400 not that$/);
});

test("batch_csv.ts goes on after kill -9 with every answer that was stored", async () => {
  const cwd = temporaryFolder();
  await using server = await new ChatServer().listen();
  const prompts = Array.from({ length: 40 }, (_, index) => `prompt ${index}`);
  writeFileSync(join(cwd, "in.csv"), `prompt\n${prompts.join("\n")}\n`);
  writeFileSync(join(cwd, "out.csv"), "an older output");
  const held = new Promise<undefined>(() => {});
  // The first 20 are answered, the others never.
  server.answer = () => (server.asked.length > 20 ? held : undefined);
  const running = start("batch_csv.ts", ["in.csv", "out.csv"], server.start(cwd));
  // Another 8, as many as run at once, are asked and held; then the first 20 are stored.
  await running.until(() => server.asked.length === 28);
  await running.until(() => countEntries(join(cwd, ".cache", "batch_csv.db")) === 20);
  await running.kill();
  await running.end();
  assertEquals(readFileSync(join(cwd, "out.csv"), "utf8"), "an older output");

  server.asked.length = 0;
  server.answer = () => undefined;
  const again = await run("batch_csv.ts", ["in.csv", "out.csv"], server.start(cwd));
  assertEquals(again.code, 0, again.stderr);
  assertEquals(server.asked.length, 20, "the 20 that had no answer");
  assertEquals(
    readCsv(join(cwd, "out.csv")).map(({ answer }) => answer),
    prompts.map((prompt) => `echo: ${prompt.toUpperCase()}`),
  );
});

test("batch_csv.ts refuses unreadable input with one line", async () => {
  const cwd = temporaryFolder();
  await using server = await new ChatServer().listen();
  writeFileSync(join(cwd, "other.csv"), "a,b\n1,2\n");
  writeFileSync(join(cwd, "ragged.csv"), "prompt,b\n1,2\n1,2,3\n");
  const bad: [string[], number, RegExp][] = [
    [["in.csv"], 2, /usage: batch_csv\.ts prompts\.csv/],
    [["in.csv", "out.csv", "--colum", "x"], 2, /--colum/],
    [["absent.csv", "out.csv"], 1, /absent\.csv/],
    [["other.csv", "out.csv"], 1, /no column prompt, only a, b/],
    [["ragged.csv", "out.csv"], 1, /line 3/],
  ];
  for (const [programArguments, expected, message] of bad) {
    const { code, stdout, stderr } = await run("batch_csv.ts", programArguments, server.start(cwd));
    assertEquals([code, stdout], [expected, ""], stderr);
    const lines = stderr.split("\n").filter((line) => line.startsWith("batch_csv: "));
    assertEquals(lines.length, 1, stderr);
    assertMatch(lines[0] ?? "", message);
  }
});

test("scraper.ts fetches each page once, hosts side by side, one page of a host at a time", async () => {
  const cwd = temporaryFolder();
  await using one = await new LLMServer().listen();
  await using other = await new LLMServer().listen();
  const both = Promise.withResolvers<void>();
  let isGone = true;
  for (const server of [one, other]) {
    server.reply = async (response, got) => {
      if (one.got.length > 0 && other.got.length > 0) both.resolve();
      await both.promise;
      const isMissing = got.path === "/gone" && isGone;
      const title = `<html><title>\n Page ${got.path} </title>`;
      body(title, { "content-type": "text/html" }, isMissing ? 404 : 200)(response, got);
    };
  }
  const urls = [`${one.url}/a`, `${one.url}/gone`, `${other.url}/a`];
  const options: Start = {
    cwd,
    permissions: [
      "--allow-env=BUST_CACHE,CACHE_ONLY,PRINT_CACHE_MISSES",
      "--allow-net=127.0.0.1",
      "--allow-read",
      "--allow-write=.cache",
    ],
  };
  const linesOf = (text: string) => text.trim().split("\n").sort();

  const fresh = await run("scraper.ts", urls, options);
  assertEquals(fresh.code, 1, fresh.stderr);
  assertEquals(linesOf(fresh.stdout), [urls[0]!, urls[2]!].map((url) => `${url}\tPage /a`).sort());
  assertStringIncludes(fresh.stderr, `${urls[1]}: the server answered 404\n`);
  assertEquals([one.peak, other.peak], [1, 1]);

  isGone = false;
  one.got.length = 0;
  other.got.length = 0;
  const again = await run("scraper.ts", urls, options);
  assertEquals(again.code, 0, again.stderr);
  assertEquals(linesOf(again.stdout).length, 3);
  assertStringIncludes(again.stderr, "2 pages kept from before, 1 fetched");
  assertEquals([...one.got, ...other.got].map(({ path }) => path), ["/gone"]);
});
