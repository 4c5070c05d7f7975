/** The library without a `process`: in Chromium, and in a process that has removed it. */
import { spawn, spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import process from "node:process";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { assert, assertEquals } from "@std/assert";
import { start } from "./support/child.ts";
import type { Outcome } from "./fixtures/browser_program.ts";
import { temporaryFolder } from "./support/temp.ts";

/** The time limit of a run in Chromium, start-up on a busy machine included. */
const LONGEST_RUN_MS = 90_000;

const LONG = { timeout: 2 * LONGEST_RUN_MS };

const FLAGS: readonly string[] = [
  "--headless",
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--disable-dev-shm-usage",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

/** The program as one module for browsers. */
function bundle(folder: string): string {
  const out = join(folder, "program.js");
  const { status, stderr } = spawnSync(
    process.execPath,
    [
      "bundle",
      "--quiet",
      "--platform=browser",
      "--external=@aws-sdk/client-s3",
      `--output=${out}`,
      fileURLToPath(new URL("fixtures/browser_program.ts", import.meta.url)),
    ],
    { encoding: "utf8" },
  );
  assertEquals(status, 0, stderr);
  return out;
}

function assertFine(outcomes: readonly Outcome[]): void {
  assertEquals(
    outcomes.filter(({ error }) => error !== ""),
    [],
  );
  assert(outcomes.length > 5, `${outcomes.length} checks`);
}

test("The library works where process is missing", LONG, async () => {
  const program = bundle(temporaryFolder());
  const child = start("fixtures/browser_child.ts", [program]);
  const [line = "[]"] = await child.ended();
  assertFine(JSON.parse(line));
});

/** The command of Chromium, where it is installed. */
function findChromium(): string | undefined {
  return ["chromium", "chromium-browser", "google-chrome"].find(
    (name) => spawnSync(name, ["--version"]).status === 0,
  );
}

/** Serves the program to a page and a worker, and resolves with their reports. */
async function runInChromium(chromium: string): Promise<Record<string, Outcome[]>> {
  const folder = temporaryFolder();
  const program = readFileSync(bundle(folder));
  const files: Record<string, readonly [string, string | Uint8Array]> = {
    "/": [
      "text/html",
      `<script type="module">
        import { runAll } from "/program.js";
        new Worker("/worker.js", { type: "module" });
        fetch("/page", { method: "POST", body: JSON.stringify(await runAll()) });
      </script>`,
    ],
    "/worker.js": [
      "text/javascript",
      `import { runAll } from "/program.js";
      fetch("/worker", { method: "POST", body: JSON.stringify(await runAll()) });`,
    ],
    "/program.js": ["text/javascript", program],
  };
  const reports: Record<string, Outcome[]> = {};
  const reported = Promise.withResolvers<void>();
  const server = createServer(async (request, response) => {
    const path = request.url ?? "/";
    if (request.method === "POST") {
      let body = "";
      for await (const chunk of request) body += chunk;
      reports[path] = JSON.parse(body);
      if (Object.keys(reports).length === 2) reported.resolve();
    }
    const [type, content] = files[path] ?? ["text/plain", ""];
    response.writeHead(200, { "content-type": type }).end(content);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", () => resolve()));
  const { port } = server.address() as AddressInfo;
  const browser = spawn(
    chromium,
    [...FLAGS, `--user-data-dir=${join(folder, "profile")}`, `http://127.0.0.1:${port}/`],
    { stdio: ["ignore", "ignore", "pipe"] },
  );
  let errors = "";
  browser.stderr.on("data", (data) => (errors += String(data)));
  const ended = new Promise<void>((resolve) => browser.once("close", () => resolve()));
  const timer = setTimeout(() => browser.kill("SIGKILL"), LONGEST_RUN_MS);
  try {
    await Promise.race([reported.promise, ended]);
  } finally {
    clearTimeout(timer);
    browser.kill("SIGKILL");
    await ended;
    server.closeAllConnections();
    server.close();
  }
  assertEquals(Object.keys(reports).sort(), ["/page", "/worker"], errors);
  return reports;
}

test("The library works in a page and in a worker of Chromium", LONG, async () => {
  const chromium = findChromium();
  if (chromium === undefined) {
    console.log("Chromium is not installed: nothing was run in a browser");
    return;
  }
  const reports = await runInChromium(chromium);
  for (const outcomes of Object.values(reports)) assertFine(outcomes);
});
