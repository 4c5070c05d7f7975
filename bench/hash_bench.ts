// deno-lint-ignore-file no-import-prefix
/**
 * Arguments to keys, against JSON.stringify and SHA-256 of `node:crypto`. This baseline is not a
 * key, because it depends on the order of members. Peers that give a text are hashed in the same
 * way.
 *
 * Before it is measured, each way must give 64 hex digits, the same key for members in another
 * order, and another key for other arguments. The baseline must only give the digits.
 */
import { hash } from "node:crypto";
import canonicalizeJson from "npm:canonicalize@4.0.0";
import { hash as ohash, serialize as ohashSerialize } from "npm:ohash@2.0.12";
import { stringify } from "npm:safe-stable-stringify@3.0.0";
import { canonicalArguments } from "../src/encoding/canonical.ts";
import { copyArguments } from "../src/encoding/copy.ts";
import { digest, webDigest } from "../src/encoding/digest.ts";

/** 1 KB of nested arguments, as a call of a model has them. */
const call = [
  {
    model: "small-2024-07-18",
    temperature: 0.2,
    max_tokens: 512,
    messages: [
      {
        role: "system",
        content:
          "You are a careful assistant. Answer in one paragraph, cite nothing, and never guess.",
      },
      {
        role: "user",
        content:
          'Summarize the following document in three sentences for a reader who has little time:\n"The committee met on Tuesday and decided to postpone the vote until all of the figures had been checked by the auditors."',
      },
    ],
    tools: [
      {
        type: "function",
        function: {
          name: "lookup",
          description: "Looks a word up",
          parameters: {
            type: "object",
            properties: {
              word: { type: "string" },
              limit: { type: "integer", minimum: 1, maximum: 50 },
            },
            required: ["word"],
          },
        },
      },
    ],
    response_format: { type: "json_schema", strict: true },
    stop: ["\n\n", "END"],
    seed: 42,
    user: null,
    metadata: {
      run: "2024-11-05",
      tags: ["nightly", "batch", "eu"],
      retries: 3,
      dry: false,
    },
  },
  {
    region: "eu-central-1",
    timeout: 30_000,
    priority: [1, 2, 3.5],
    labels: { team: "research", cost_center: "A-113" },
  },
];

const document = ["A document of 30 KB, line by line.\n".repeat(900)];
const id = [4711];
const beyond = [{ since: new Date(0), tags: new Set(["b", "a"]), call }];

function turned(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(turned);
  if (
    typeof value !== "object" ||
    value === null ||
    Object.getPrototypeOf(value) !== Object.prototype
  ) {
    return value;
  }
  return Object.fromEntries(
    Object.entries(value)
      .reverse()
      .map(([name, part]) => [name, turned(part)]),
  );
}

type MakeKey = (args: readonly unknown[]) => string | Promise<string>;

const sha256 = (text: string): string => hash("sha256", text, "hex");

const ways: readonly (readonly [string, MakeKey])[] = [
  ["JSON.stringify + SHA-256", (args) => sha256(JSON.stringify(args))],
  ["panza", (args) => digest(canonicalArguments(args, []))],
  ["safe-stable-stringify + SHA-256", (args) => sha256(stringify(args) ?? "")],
  ["canonicalize + SHA-256", (args) => sha256(canonicalizeJson(args) ?? "")],
  ["ohash.serialize + SHA-256", (args) => sha256(ohashSerialize(args))],
  ["ohash (base64url)", (args) => ohash(args)],
];

async function compare(
  group: string,
  args: readonly unknown[],
  only?: readonly string[],
): Promise<void> {
  for (const [index, [name, makeKey]] of ways.entries()) {
    if (only !== undefined && !only.includes(name)) continue;
    const key = await makeKey(args);
    const other = turned(args);
    const same = index === 0 || !Array.isArray(other) || key === (await makeKey(other));
    if (key.length < 40 || !same || key === (await makeKey([...args, 1]))) {
      throw new Error(`${name} makes no key of ${group}`);
    }
    Deno.bench({
      name,
      group,
      baseline: index === 0,
      fn: () => {
        const made = makeKey(args);
        if (made instanceof Promise || made.length < 40) {
          throw new Error("no key");
        }
      },
    });
  }
}

await compare("1 KB of nested arguments", call);
await compare("a document of 30 KB", document);
await compare("one number", id);
// The peers write a Date as text or a Set as {}, so keys that should differ are the same.
await compare("1 KB with a Date and a Set", beyond, [
  "JSON.stringify + SHA-256",
  "panza",
  "ohash.serialize + SHA-256",
]);

for (
  const [name, work] of [
    ["canonicalArguments", () => canonicalArguments(call)],
    ["copyArguments", () => copyArguments(call, undefined).args],
    ["structuredClone", () => structuredClone(call)],
  ] as const
) {
  if (canonicalArguments(copyArguments(call, undefined).args) !== canonicalArguments(call)) {
    throw new Error("the copy has another key");
  }
  Deno.bench({
    name,
    group: "a copy of 1 KB beside its text",
    baseline: name === "canonicalArguments",
    fn: () => {
      if (work().length === 0) throw new Error("nothing was made");
    },
  });
}

const text = canonicalArguments(call, []);
Deno.bench({
  name: "digest",
  group: "SHA-256 of 1 KB",
  baseline: true,
  fn: () => {
    const key = digest(text);
    if (key instanceof Promise) throw new Error("no synchronous SHA-256");
  },
});
Deno.bench({
  name: "webDigest",
  group: "SHA-256 of 1 KB",
  fn: async () => {
    if ((await webDigest(text)).length !== 64) throw new Error("no key");
  },
});
