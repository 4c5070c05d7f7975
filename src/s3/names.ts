/**
 * Where an entry is in a bucket: ids and keys to object names and back.
 *
 * The name is `<prefix>/panza-v1/<id>/<key>`. The segment of our own keeps the objects of a cache
 * apart from whatever else the bucket holds, and from caches at longer and shorter prefixes: no
 * prefix may contain it.
 *
 * A segment keeps ASCII letters, digits, `-`, `_` and `.` (not at its start); every other byte of
 * the UTF-8 text is `!` and two upper-case hex digits. `!` and not `%`, because tools and proxies
 * that decode a URL once too often leave it alone. A segment that begins with `!` and a lower-case
 * letter is therefore never the escaped form of a text, and names what is special.
 *
 * @module
 */

import { optionMessage, quote } from "../base/errors.ts";

/** The segment that every object of this library has, and nothing else. */
const OWN = "panza-v1";

/** Any version of that segment: what a later version lists must not lie in a prefix of today. */
const ANY_OWN = /^panza-v\d+$/;

/** Stands for the empty text, which as a segment or a header would be lost on the way. */
const EMPTY = "!empty";

/** Stands before the SHA-256 of a text whose escaped form is too long for a segment. */
const DIGEST = "!sha256-";

/** Stands before the SHA-256 of a segment in the name of an object that tells id and key. */
const TELLER = "!names-";

/**
 * Bytes of a segment. S3 bounds the whole name alone, at 1024 bytes; servers that keep objects as
 * files bound each segment too, at 255.
 */
const SEGMENT_BYTES = 240;

/** Bytes of a prefix, so that prefix, own segment and two segments stay within 1024. */
const PREFIX_BYTES = 512;

/**
 * Characters of id and key that travel as metadata with an object whose name cannot tell them.
 * S3 keeps 2 KB of metadata, and the fields of an entry take about 300 bytes.
 */
const CARRIED_CHARACTERS = 1_500;

/** What XML, in which S3 lists names, cannot carry: controls, halves of pairs, two code points. */
const UNCARRIABLE = /[\p{Cc}\p{Cs}\uFFFE\uFFFF]/u;

/** Bucket and folder of a cache. */
export interface Place {
  /** The name of the bucket. */
  readonly bucket: string;
  /** What every object name of the cache begins with, the last `/` included. */
  readonly root: string;
  /** Bucket and prefix as a user writes them. */
  readonly label: string;
}

/** The object of one entry. */
export interface EntryName {
  /** Its name in the bucket. */
  readonly object: string;
  /** Metadata that tells id and key where the name cannot. */
  readonly metadata?: Readonly<Record<string, string>>;
  /** An object beside it that tells id and key where metadata cannot either. */
  readonly teller?: { readonly object: string; readonly body: string };
}

/** What the name of an object tells. */
export interface ParsedName {
  /** The id, `undefined` when only metadata tells it. */
  readonly id: string | undefined;
  /** The key, `undefined` when only metadata tells it. */
  readonly key: string | undefined;
}

/**
 * Understands `bucket`, `bucket/prefix` and `s3://bucket/prefix`.
 *
 * @throws {TypeError} If it is none of them, or names what no bucket can hold.
 */
export function parsePlace(action: string, location: unknown): Place {
  const refuse = (rule: string) => new TypeError(optionMessage(action, "location", rule, location));
  if (typeof location !== "string") {
    throw refuse('text such as "bucket/prefix"');
  }
  const [bucket = "", ...rest] = location.replace(/^s3:\/\//, "").split("/");
  // One slash at the end is how tools write a folder; it changes nothing.
  const segments = rest.at(-1) === "" ? rest.slice(0, -1) : rest;
  if (
    !/^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/.test(bucket) ||
    bucket.includes("..") ||
    /^\d+(\.\d+){3}$/.test(bucket)
  ) {
    throw refuse(
      '"bucket/prefix" with a bucket of 3 to 63 lower-case letters, digits, hyphens and single ' +
        "dots, not an IP address",
    );
  }
  if (segments.some((segment) => /^\.{0,2}$/.test(segment))) {
    throw refuse('"bucket/prefix" with a prefix that has no empty, "." or ".." segment');
  }
  if (UNCARRIABLE.test(location)) {
    throw refuse('"bucket/prefix" without control characters and lone surrogates');
  }
  if (segments.some((segment) => ANY_OWN.test(segment))) {
    throw refuse(`"bucket/prefix" without the segment ${quote(OWN)}, which the cache adds`);
  }
  const prefix = segments.join("/");
  if (new TextEncoder().encode(prefix).length > PREFIX_BYTES) {
    throw refuse(`"bucket/prefix" with a prefix of at most ${PREFIX_BYTES} bytes`);
  }
  const label = [bucket, ...segments].join("/");
  return { bucket, root: [...segments, OWN, ""].join("/"), label };
}

/** A text as ASCII without separators; `unescapeText` gives it back. */
function escapeText(text: string): string {
  if (text === "") return EMPTY;
  return encodeURIComponent(text)
    .replace(
      /[!~*'()]|^\./g,
      (character) => `%${character.charCodeAt(0).toString(16).toUpperCase().padStart(2, "0")}`,
    )
    .replaceAll("%", "!");
}

/** The text of an escaped form, or `undefined` if it is not the escaped form of any text. */
function unescapeText(escaped: string): string | undefined {
  if (escaped === EMPTY) return "";
  try {
    const text = decodeURIComponent(escaped.replaceAll("!", "%"));
    return escapeText(text) === escaped ? text : undefined;
  } catch {
    return undefined;
  }
}

async function digest(text: string): Promise<string> {
  const bytes = new TextEncoder().encode(text);
  const hash = await crypto.subtle.digest("SHA-256", bytes);
  return Array.from(new Uint8Array(hash), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

async function segmentOf(text: string): Promise<string> {
  const escaped = escapeText(text);
  return escaped.length <= SEGMENT_BYTES ? escaped : DIGEST + (await digest(text));
}

/** What the names of all objects of an id begin with. */
export async function folderName(place: Place, id: string): Promise<string> {
  return `${place.root}${await segmentOf(id)}/`;
}

/** The object of an entry. */
export async function entryName(place: Place, id: string, key: string): Promise<EntryName> {
  const folder = await folderName(place, id);
  const segment = await segmentOf(key);
  const object = folder + segment;
  if (!object.includes(DIGEST, place.root.length)) return { object };
  const metadata = { "panza-id": escapeText(id), "panza-key": escapeText(key) };
  const characters = metadata["panza-id"].length + metadata["panza-key"].length;
  if (characters <= CARRIED_CHARACTERS) return { object, metadata };
  return {
    object,
    teller: {
      object: tellerName(object, await digest(segment)),
      body: JSON.stringify([id, key]),
    },
  };
}

function tellerName(object: string, segmentDigest: string): string {
  return object.slice(0, object.lastIndexOf("/") + 1) + TELLER + segmentDigest;
}

/** The object that tells id and key of an entry that carries no names itself. */
export async function tellerOf(object: string): Promise<string> {
  const segment = object.slice(object.lastIndexOf("/") + 1);
  return tellerName(object, await digest(segment));
}

/** What a listed name tells; `undefined` when it is not the name of an entry. */
export function parseName(place: Place, object: string): ParsedName | undefined {
  if (!object.startsWith(place.root)) return undefined;
  const segments = object.slice(place.root.length).split("/");
  if (segments.length !== 2) return undefined;
  const texts = segments.map((segment) => {
    if (/^!sha256-[0-9a-f]{64}$/.test(segment)) return null;
    return unescapeText(segment);
  });
  const [id, key] = texts;
  if (id === undefined || key === undefined) return undefined;
  return { id: id ?? undefined, key: key ?? undefined };
}

/** Id and key from the metadata of an object, `undefined` where they are not there. */
export function carriedNames(
  metadata: Readonly<Record<string, string>>,
): { readonly id: string; readonly key: string } | undefined {
  const id = unescapeText(metadata["panza-id"] ?? "");
  const key = unescapeText(metadata["panza-key"] ?? "");
  return id === undefined || key === undefined ? undefined : { id, key };
}

/** Id and key from the object that tells them, `undefined` where it does not. */
export function toldNames(body: string): { readonly id: string; readonly key: string } | undefined {
  const names: unknown = JSON.parse(body);
  if (!Array.isArray(names)) return undefined;
  const [id, key]: unknown[] = names;
  return typeof id === "string" && typeof key === "string" ? { id, key } : undefined;
}
