/** The identity of requests: their keys stay as they are, on every runtime. */
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { assertEquals } from "@std/assert";
import { cachedFetch } from "../../fetch.ts";
import { MemoryCache } from "../../mod.ts";

/** A file in a form, and its content as text. */
interface FileOf {
  readonly name: string;
  readonly type: string;
  readonly content: string;
}

/** A body in its JSON form. */
interface BodyOf {
  readonly text?: string;
  readonly params?: readonly (readonly [string, string])[];
  readonly bytes?: readonly number[];
  readonly blob?: { readonly type: string; readonly content: string };
  readonly form?: readonly (readonly [string, string | FileOf])[];
}

interface Vector {
  readonly name: string;
  readonly url: string;
  readonly method: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: BodyOf;
  /** The name of a vector that is the same request in other words. */
  readonly sameAs?: string;
  /** The key under `id: "pinned"`; that of a `Request` object is the same. */
  readonly key: string;
}

const VECTORS: readonly Vector[] = JSON.parse(
  readFileSync(new URL("../fixtures/requests.json", import.meta.url), "utf8"),
);

function bodyOf({ text, params, bytes, blob, form }: BodyOf): BodyInit | undefined {
  if (params !== undefined) return new URLSearchParams(params.map(([...pair]) => pair));
  if (bytes !== undefined) return Uint8Array.from(bytes);
  if (blob !== undefined) return new Blob([blob.content], { type: blob.type });
  if (form === undefined) return text;
  const data = new FormData();
  for (const [name, value] of form) {
    if (typeof value === "string") data.append(name, value);
    else data.append(name, new File([value.content], value.name, { type: value.type }));
  }
  return data;
}

/** The key under which the response to a request is kept. */
async function keyOf(input: string | Request, init?: RequestInit): Promise<string> {
  let key = "";
  await using cache = new MemoryCache({
    onCall: (call) => {
      key = call.key;
    },
  });
  const keep = cachedFetch(cache, {
    id: "pinned",
    methods: ["GET", "POST", "PUT"],
    fetch: async () => await Promise.resolve(Response.json({})),
  });
  await (await keep(input, init)).text();
  return key;
}

function initOf({ method, headers = {}, body }: Vector): RequestInit {
  return { method, headers, ...(body !== undefined && { body: bodyOf(body) ?? null }) };
}

for (const vector of VECTORS) {
  test(`A request with ${vector.name} has the key that it has always had`, async () => {
    assertEquals(await keyOf(vector.url, initOf(vector)), vector.key);
  });

  test(`A Request object with ${vector.name} has the same key`, async () => {
    assertEquals(await keyOf(new Request(vector.url, initOf(vector))), vector.key);
  });
}

test("Requests have one key exactly where they are the same in other words", () => {
  const byName = new Map(VECTORS.map(({ name, key }) => [name, key]));
  for (const { sameAs, key } of VECTORS) {
    if (sameAs !== undefined) assertEquals(byName.get(sameAs), key);
  }
  const different = VECTORS.filter(({ sameAs }) => sameAs === undefined);
  assertEquals(new Set(different.map(({ key }) => key)).size, different.length);
});
