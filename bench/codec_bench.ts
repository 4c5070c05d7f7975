// deno-lint-ignore-file no-import-prefix
/**
 * Values to stored form and back, against JSON text (the baseline: no checks, no types, the
 * least cost of any codec), `v8.serialize`, and the two binary formats that were alternatives to
 * `packed.ts`, each by its pure JavaScript entry.
 *
 * Each codec must give back an equal value before it is measured.
 */
import { isDeepStrictEqual } from "node:util";
import v8 from "node:v8";
import { Encoder } from "npm:cbor-x@1.6.8/index-no-eval";
import { Packr } from "npm:msgpackr@2.1.3/index-no-eval";
import { decode, encode, type Encoded } from "../src/encoding/codec.ts";
import { open, seal } from "../src/encoding/entry.ts";
import { values } from "./work.ts";

interface Codec<Stored> {
  readonly encode: (value: unknown) => Stored;
  readonly decode: (stored: Stored) => unknown;
}

const cbor = new Encoder({ structuredClone: true });
const msgpack = new Packr({ structuredClone: true, moreTypes: true });
const times = {
  storedAt: 1_722_000_000_000,
  expiresAt: null,
  staleUntil: null,
  durationMs: 1200,
};

const panza: Codec<Encoded> = { encode, decode };
const sealed: Codec<ReturnType<typeof seal>> = {
  encode: (value) => seal("summarize", "key", encode(value), times),
  decode: (entry) => open("summarize", "key", entry),
};
const json: Codec<string> = { encode: JSON.stringify, decode: JSON.parse };
const cborX: Codec<Uint8Array> = {
  encode: (value) => cbor.encode(value),
  decode: (bytes) => cbor.decode(bytes),
};
const msgpackr: Codec<Uint8Array> = {
  encode: (value) => msgpack.pack(value),
  decode: (bytes) => msgpack.unpack(bytes),
};
const serialize: Codec<Uint8Array> = {
  encode: (value) => v8.serialize(value),
  decode: (bytes) => v8.deserialize(bytes),
};

function compare<Stored>(
  group: string,
  value: unknown,
  name: string,
  codec: Codec<Stored>,
  baseline: boolean = false,
): void {
  const stored = codec.encode(value);
  if (!isDeepStrictEqual(codec.decode(stored), value)) {
    throw new Error(`${name} does not keep ${group}`);
  }
  let done: unknown;
  Deno.bench({
    name: `${name}: encode`,
    group: `encode ${group}`,
    baseline,
    fn: () => {
      done = codec.encode(value);
    },
  });
  Deno.bench({
    name: `${name}: decode`,
    group: `decode ${group}`,
    baseline,
    fn: () => {
      done = codec.decode(stored);
      if (done === undefined) throw new Error("nothing was decoded");
    },
  });
}

for (const [group, value] of Object.entries(values)) {
  compare(group, value, "JSON text", json, true);
  compare(group, value, "panza", panza);
  compare(group, value, "panza with checksum", sealed);
  compare(group, value, "cbor-x", cborX);
  compare(group, value, "msgpackr", msgpackr);
  compare(group, value, "v8.serialize", serialize);
}
