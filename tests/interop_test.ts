/**
 * Every runtime reads the entries that every other one stored: each value, and each key.
 *
 * `PANZA_TEST_RUNTIMES` names further runtimes, as JSON: command and environment by name. Without
 * it, this runtime writes and reads in separate processes.
 */
import { execFile } from "node:child_process";
import { join } from "node:path";
import process from "node:process";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { assert, assertEquals } from "@std/assert";
import { AWKWARD_VALUES } from "./support/awkward_values.ts";
import { testServer, withBucket } from "./support/s3_server.ts";
import { temporaryFolder } from "./support/temp.ts";

interface Runtime {
  readonly command: readonly string[];
  readonly env: Readonly<Record<string, string>>;
}

const SCRIPT = fileURLToPath(new URL("fixtures/interop_child.ts", import.meta.url));

const LONG = { timeout: 300_000 };

function runtimes(): Record<string, Runtime> {
  const flags = "Deno" in globalThis
    ? ["run", "--quiet", "--no-prompt", "--allow-all"]
    : process.execArgv;
  const own: Runtime = { command: [process.execPath, ...flags], env: {} };
  const others = JSON.parse(process.env["PANZA_TEST_RUNTIMES"] ?? "{}");
  return { "this runtime": own, ...others };
}

interface Answer {
  readonly count: number;
  readonly problems: readonly string[];
}

function run(
  { command: [file = "", ...flags], env }: Runtime,
  parameters: readonly string[],
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    execFile(
      file,
      [...flags, SCRIPT, ...parameters],
      {
        env: { ...process.env, ...env },
        timeout: LONG.timeout,
      },
      (error, stdout, stderr) => {
        if (error === null) resolve(JSON.parse(stdout));
        else reject(new Error(`${error.message}\n${stderr}`));
      },
    );
  });
}

/** Lets every runtime write to a separate store, and each read all of them. */
async function exchange(
  store: "sqlite" | "s3" | "folder",
  placeOf: (name: string) => string,
  env: Readonly<Record<string, string>> = {},
): Promise<void> {
  const all = Object.entries(runtimes()).map(([name, runtime]) => ({
    name,
    place: placeOf(name),
    runtime: { ...runtime, env: { ...runtime.env, ...env } },
  }));
  for (const { name, place, runtime } of all) {
    const { problems } = await run(runtime, ["write", store, place]);
    assertEquals(problems, [], `${name} writes`);
  }
  const places = all.map(({ place }) => place);
  const each = AWKWARD_VALUES.filter(({ value }) => value).length +
    AWKWARD_VALUES.filter(({ key }) => key).length;
  for (const { name, runtime } of all) {
    const { count, problems } = await run(runtime, ["read", store, ...places]);
    assertEquals(problems, [], `${name} reads`);
    // The one class that a runtime may lack counts twice, as value and as key.
    const least = (each - 2) * places.length;
    assert(count >= least, `${name} read ${count} of ${least}`);
  }
}

test("A database that one runtime wrote is read by every other", LONG, async () => {
  const folder = temporaryFolder();
  await exchange("sqlite", (name) => join(folder, `${name}.db`));
});

test("Files in a folder that one runtime wrote are read by every other", LONG, async () => {
  const folder = temporaryFolder();
  await exchange("folder", (name) => join(folder, name));
});

test("S3 objects that one runtime wrote are read by every other", LONG, async () => {
  const { endpoint, credentials, region } = await testServer();
  await withBucket(async (bucket) => {
    await exchange("s3", (name) => `${bucket}/${name.replace(" ", "-")}`, {
      PANZA_TEST_S3_ENDPOINT: endpoint,
      PANZA_TEST_S3_ACCESS_KEY_ID: credentials.accessKeyId,
      PANZA_TEST_S3_SECRET_ACCESS_KEY: credentials.secretAccessKey,
      PANZA_TEST_S3_REGION: region,
    });
  });
});
