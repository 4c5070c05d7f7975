/**
 * Ids and keys to object names and back.
 *
 * The name is `<prefix>/panza-v1/<id>/<key>`. No prefix may contain the segment `panza-v1`, which
 * keeps the objects of a cache apart from whatever else the bucket holds, and from caches at longer
 * and shorter prefixes.
 *
 * A segment keeps ASCII letters, digits, `-`, `_` and `.` (not at its start); every other byte of
 * the UTF-8 text is `!` and two upper-case hex digits. The escape is not `%`, because tools and
 * proxies may decode a URL once too often. A segment that begins with `!` and a lower-case letter
 * is never the escaped form of a text, and has a meaning of its own.
 *
 * @module
 */

import { optionMessage, quote } from "../base/errors.ts";
import { digest } from "../encoding/digest.ts";

/** The segment that only objects of this library have. */
const OWN = "panza-v1";

/** Any version of that segment: a prefix of today must not hold what a later version lists. */
const ANY_OWN = /^panza-v\d+$/;

/** The form of the empty text, which would be lost on the way as a segment or a header. */
const EMPTY = "!empty";

/** The prefix of the SHA-256 of a text whose escaped form is too long for a segment. */
const DIGEST = "!sha256-";

/**
 * The most bytes of a segment. S3 bounds only the whole name, at 1024 bytes; servers that keep
 * objects as files also bound each segment, at 255.
 */
const SEGMENT_BYTES = 240;

/** The most bytes of a prefix: prefix, own segment and two segments stay within 1024. */
const PREFIX_BYTES = 512;

/**
 * The most characters of an id and a key in metadata, where a digest is the name. S3 keeps 2 KB
 * of metadata, and the fields of an entry take about 300 bytes.
 */
const METADATA_CHARACTERS = 1_500;

/** Characters that XML, in which S3 lists names, cannot carry: controls, surrogates, two others. */
const UNCARRIABLE = /[\p{Cc}\p{Cs}\uFFFE\uFFFF]/u;

/** The bucket and folder of a cache. */
export interface Place {
  readonly bucket: string;
  /** The beginning of every object name of the cache, the last `/` included. */
  readonly root: string;
  /** The bucket and prefix as a user writes them. */
  readonly label: string;
}

/** The object of one entry. */
export interface EntryName {
  /** Its name in the bucket. */
  readonly object: string;
  /** The id and key, if the name holds a digest and both are short enough. */
  readonly metadata?: Readonly<Record<string, string>>;
}

/** The id and the key of a listed object, or their digests. */
export interface Names {
  readonly id: string;
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
  // A user before a host may come with a password, so the text is not quoted.
  const received = typeof location === "string" && location.includes("@") ? {} : location;
  const refuse = (rule: string) => new TypeError(optionMessage(action, "location", rule, received));
  if (typeof location !== "string") {
    throw refuse('text such as "bucket/prefix"');
  }
  const [bucket = "", ...rest] = location.replace(/^s3:\/\//, "").split("/");
  // Tools write a folder with a slash at the end.
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

/** A text as ASCII without separators; `unescapeText` is the inverse. */
function escapeText(text: string): string {
  if (text === "") return EMPTY;
  return encodeURIComponent(text)
    .replace(
      /[!~*'()]|^\./g,
      (character) => `%${character.charCodeAt(0).toString(16).toUpperCase().padStart(2, "0")}`,
    )
    .replaceAll("%", "!");
}

/** The text of an escaped form; `undefined` if it is not the escaped form of any text. */
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

export async function entryName(place: Place, id: string, key: string): Promise<EntryName> {
  const object = (await folderName(place, id)) + (await segmentOf(key));
  if (!object.includes(DIGEST, place.root.length)) return { object };
  const metadata = { "panza-id": escapeText(id), "panza-key": escapeText(key) };
  const characters = metadata["panza-id"].length + metadata["panza-key"].length;
  return characters <= METADATA_CHARACTERS ? { object, metadata } : { object };
}

/** The id and key in an object name; `undefined` when it is not the name of an entry. */
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

/** The id and key of a listed object, as text where the metadata holds what a digest replaced. */
export function fullNames(
  names: Names,
  metadata: Readonly<Record<string, string>>,
): { readonly id: string; readonly key: string } {
  const id = unescapeText(metadata["panza-id"] ?? "");
  const key = unescapeText(metadata["panza-key"] ?? "");
  return id === undefined || key === undefined ? { id: names.id, key: names.key } : { id, key };
}
