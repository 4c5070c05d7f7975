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
 * letter is therefore never the escaped form of a text, and has a meaning of its own.
 *
 * @module
 */

import { optionMessage, quote } from "../base/errors.ts";
import { digest } from "../encoding/digest.ts";

/** The segment that every object of this library has, and nothing else. */
const OWN = "panza-v1";

/** Any version of that segment: what a later version lists must not lie in a prefix of today. */
const ANY_OWN = /^panza-v\d+$/;

/** Stands for the empty text, which as a segment or a header would be lost on the way. */
const EMPTY = "!empty";

/** Stands before the SHA-256 of a text whose escaped form is too long for a segment. */
const DIGEST = "!sha256-";

/**
 * Bytes of a segment. S3 bounds the whole name alone, at 1024 bytes; servers that keep objects as
 * files bound each segment too, at 255.
 */
const SEGMENT_BYTES = 240;

/** Bytes of a prefix, so that prefix, own segment and two segments stay within 1024. */
const PREFIX_BYTES = 512;

/**
 * Characters of an id and a key that travel as metadata where their digest is the name. S3 keeps
 * 2 KB of metadata, and the fields of an entry take about 300 bytes.
 */
const METADATA_CHARACTERS = 1_500;

/** What XML, in which S3 lists names, cannot carry: controls, halves of pairs, two code points. */
const UNCARRIABLE = /[\p{Cc}\p{Cs}\uFFFE\uFFFF]/u;

/** Bucket and folder of a cache. */
export interface Place {
  /** The name of the bucket. */
  readonly bucket: string;
  /** The beginning of every object name of the cache, the last `/` included. */
  readonly root: string;
  /** Bucket and prefix as a user writes them. */
  readonly label: string;
}

/** The object of one entry. */
export interface EntryName {
  /** Its name in the bucket. */
  readonly object: string;
  /** Metadata that holds id and key where the name holds a digest and both are short enough. */
  readonly metadata?: Readonly<Record<string, string>>;
}

/** The id and the key of a listed object. */
export interface Names {
  /** The id, as far as it is known. */
  readonly id: string;
  /** The key, as far as it is known. */
  readonly key: string;
  /** Whether one of them is a digest, for which the metadata may hold the text. */
  readonly isDigest: boolean;
}

/**
 * Reads `bucket`, `bucket/prefix` and `s3://bucket/prefix`.
 *
 * @throws {TypeError} If it is none of them, or names what no bucket can hold.
 */
export function parsePlace(action: string, location: unknown): Place {
  // What looks like a user before a host may hold a password, so it is not quoted.
  const received = typeof location === "string" && location.includes("@") ? {} : location;
  const refuse = (rule: string) => new TypeError(optionMessage(action, "location", rule, received));
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
        "dots, not an IP address (the server's URL is the option endpoint)",
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

async function segmentOf(text: string): Promise<string> {
  const escaped = escapeText(text);
  return escaped.length <= SEGMENT_BYTES ? escaped : DIGEST + (await digest(text));
}

/** The beginning of the names of all objects of an id. */
export async function folderName(place: Place, id: string): Promise<string> {
  return `${place.root}${await segmentOf(id)}/`;
}

/** The object of an entry. */
export async function entryName(place: Place, id: string, key: string): Promise<EntryName> {
  const object = (await folderName(place, id)) + (await segmentOf(key));
  if (!object.includes(DIGEST, place.root.length)) return { object };
  const metadata = { "panza-id": escapeText(id), "panza-key": escapeText(key) };
  const characters = metadata["panza-id"].length + metadata["panza-key"].length;
  return characters <= METADATA_CHARACTERS ? { object, metadata } : { object };
}

/** The names in a listed object name; `undefined` when it is not the name of an entry. */
export function parseName(place: Place, object: string): Names | undefined {
  if (!object.startsWith(place.root)) return undefined;
  const segments = object.slice(place.root.length).split("/");
  if (segments.length !== 2) return undefined;
  const isDigest = (segment: string) => /^!sha256-[0-9a-f]{64}$/.test(segment);
  const [id, key] = segments.map((segment) =>
    isDigest(segment) ? segment.slice(1) : unescapeText(segment)
  );
  if (id === undefined || key === undefined) return undefined;
  return { id, key, isDigest: segments.some(isDigest) };
}

/** The names of a listed object, whose metadata holds the texts that a digest stands for. */
export function fullNames(
  names: Names,
  metadata: Readonly<Record<string, string>>,
): { readonly id: string; readonly key: string } {
  const id = unescapeText(metadata["panza-id"] ?? "");
  const key = unescapeText(metadata["panza-key"] ?? "");
  return id === undefined || key === undefined ? { id: names.id, key: names.key } : { id, key };
}
