/** Stores that were damaged: never a wrong value, never an error to a caller, and it works again. */

import { Buffer } from "node:buffer";
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { isDeepStrictEqual } from "node:util";
import {
  GetObjectCommand,
  PutObjectCommand,
  type S3Client,
} from "@aws-sdk/client-s3";
import { assert, assertEquals } from "@std/assert";
import type { Cache } from "../../cache.ts";
import type { CacheOptions, ErrorContext } from "../../options.ts";
import { S3Cache } from "../../s3.ts";
import { SQLiteCache } from "../../sqlite.ts";
import { objectNames, optionsFor, withBucket } from "../s3_server.ts";
import { temporaryFolder } from "../temp.ts";
import { type Extent, Random } from "./random.ts";
import { smallValue } from "./values.ts";

const INPUTS = Array.from({ length: 40 }, (_, n) => n);
const PAGE_BYTES = 8192;

/** Some that fit into a page of SQLite, and some that run over. */
function valueOf(n: number): unknown {
  return n % 8 === 0 ? { n, long: `${n}/`.repeat(6000) } : smallValue(n);
}

/** What using a damaged store came to. */
interface Use {
  /** How often the function ran. */
  readonly runs: number;
  /** What was reported. */
  readonly reports: readonly { message: string; context: ErrorContext }[];
}

/** Asks for everything in two ways, twice: the second time all of it must be there again. */
async function use(
  open: (options: CacheOptions) => Cache,
  what: string,
  inputs: readonly number[] = INPUTS,
): Promise<Use> {
  const reports: { message: string; context: ErrorContext }[] = [];
  await using cache = open({
    onError: (error, context) => {
      reports.push({ message: error.message, context });
    },
  });
  let runs = 0;
  const compute = async (n: number): Promise<unknown> => {
    runs++;
    return await Promise.resolve(valueOf(n));
  };
  const one = cache.cache({ id: "one" })(compute);
  const many = cache.cache({ id: "many" })(compute);
  const all = async (): Promise<void> => {
    for (const n of inputs) assertEquals(await one(n), valueOf(n), what);
    assertEquals(
      await many.map(inputs, { concurrency: 4 }).values(),
      inputs.map(valueOf),
      what,
    );
    const direct = await cache.read("direct");
    if (direct.hit) assertEquals(direct.value, valueOf(1), what);
    else await cache.set("direct", valueOf(1));
  };
  await all();
  const first = { runs, reports: [...reports] };
  // What was found in a file before it was moved aside is not in the new one; and an index whose
  // order is broken, which SQLite does not notice, may hide another entry when one is added.
  let before = -1;
  for (let pass = 1; before < runs; pass++) {
    assert(pass < 5, `${what}: it does not come to rest`);
    before = runs;
    await all();
  }
  const told = reports.flatMap(({ context: { kind, id, key } }) =>
    key === undefined ? [] : [`${kind} ${id} ${key}`]
  );
  // What is told of one entry is told once.
  assertEquals(told.length, new Set(told).size, `${what}: ${told}`);
  assert((await cache.read("direct")).hit, what);
  return first;
}

/** A kind of damage, done to a database and its log. */
interface Damage {
  readonly name: string;
  readonly apply: (path: string) => void;
  /** Whether it must be told of: something in the file says that it is not as it was. */
  readonly told?: boolean;
}

function flip(file: string, at: number, bit: number): void {
  const bytes = readFileSync(file);
  const byte = bytes[at];
  if (byte === undefined) throw new RangeError(`${file} has no byte ${at}`);
  bytes[at] = byte ^ (1 << bit);
  writeFileSync(file, bytes);
}

/** What happened to a database under every kind of damage. */
interface Damaged {
  readonly cases: number;
  /** Cases in which something had to run again. */
  readonly missed: number;
  /** Cases in which something was told. */
  readonly told: number;
}

/**
 * Damages a SQLite file and its log in every class of place.
 *
 * @param extent How many bits are flipped beside those of the headers; with 1,000 and more also all
 * page boundaries are cut at.
 */
export async function damageSQLite(
  { count, seed }: Extent,
): Promise<Damaged> {
  const random = new Random(seed);
  const folder = temporaryFolder();
  const template = join(folder, "template.db");
  await use((options) => new SQLiteCache(template, options), "the template");
  // Once more, so that a log is left: copied before the last one closes it.
  const logged = join(folder, "logged.db");
  {
    await using cache = new SQLiteCache(logged);
    const one = cache.cache({ id: "one" })((n: number) =>
      Promise.resolve(valueOf(n))
    );
    for (const n of INPUTS) await one(n);
    for (const suffix of ["", "-wal"]) {
      copyFileSync(logged + suffix, join(folder, `copy.db${suffix}`));
    }
  }
  const copy = join(folder, "copy.db");
  const size = statSync(template).size;
  const logSize = statSync(`${copy}-wal`).size;
  assert(size > 10 * PAGE_BYTES && logSize > 10 * PAGE_BYTES);

  const damages: Damage[] = [];
  const isLong = count >= 1000;
  // The header of the file, then of pages, then anything.
  for (let at = 0; at < 100; at += isLong ? 1 : 7) {
    const bit = random.below(8);
    damages.push({
      name: `header byte ${at} bit ${bit}`,
      apply: (path) => flip(path, at, bit),
    });
  }
  for (let n = 0; n < count; n++) {
    const page = random.below(size / PAGE_BYTES);
    const at = page * PAGE_BYTES +
      random.below(n % 3 === 0 ? 12 : n % 3 === 1 ? 200 : PAGE_BYTES);
    const bit = random.below(8);
    damages.push({
      name: `byte ${at} bit ${bit}`,
      apply: (path) => flip(path, at, bit),
    });
  }
  for (let n = 0; n < count / 3; n++) {
    const frame = 32 + random.below(logSize / (PAGE_BYTES + 24) - 1) *
        (PAGE_BYTES + 24);
    const at = n % 3 === 0
      ? random.below(32)
      : frame + random.below(n % 3 === 1 ? 24 : PAGE_BYTES);
    const bit = random.below(8);
    damages.push({
      name: `log byte ${at} bit ${bit}`,
      apply: (path) => {
        restoreLogged(path);
        flip(`${path}-wal`, at, bit);
      },
    });
  }
  const restoreLogged = (path: string): void => {
    for (const suffix of ["", "-wal"]) {
      copyFileSync(copy + suffix, path + suffix);
    }
  };
  const step = isLong ? 1 : 7;
  for (let pages = 0; pages * PAGE_BYTES < size; pages += step) {
    for (const more of [0, 1000]) {
      damages.push({
        name: `cut after ${pages} pages and ${more} bytes`,
        apply: (path) => truncateSync(path, pages * PAGE_BYTES + more),
      });
    }
  }
  for (let at = 0; at < logSize; at += (PAGE_BYTES + 24) * step) {
    damages.push({
      name: `log cut after ${at} bytes`,
      apply: (path) => {
        restoreLogged(path);
        truncateSync(`${path}-wal`, at);
      },
    });
  }
  damages.push({
    name: "a letter of values",
    apply: (path) => {
      const text = readFileSync(path, "latin1");
      writeFileSync(path, text.replaceAll("value 3", "velue 3"), "latin1");
    },
    told: true,
  }, {
    name: "garbage",
    apply: (path) => writeFileSync(path, random.bytes(50_000)),
    told: true,
  }, {
    name: "garbage as a log",
    apply: (path) => writeFileSync(`${path}-wal`, random.bytes(50_000)),
  }, {
    name: "no bytes",
    apply: (path) => truncateSync(path, 0),
  }, {
    name: "another database",
    apply: (path) => {
      rmSync(path);
      const other = new DatabaseSync(path);
      other.exec("CREATE TABLE notes (text); INSERT INTO notes VALUES ('a')");
      other.close();
    },
  }, {
    name: "the log of another database",
    apply: (path) => copyFileSync(`${copy}-wal`, `${path}-wal`),
  }, {
    name: "values that are none",
    apply: (path) => edit(path, "UPDATE panza_entries SET value = 7"),
    told: true,
  }, {
    name: "values of other entries",
    apply: (path) =>
      edit(
        path,
        `UPDATE panza_entries SET value =
           (SELECT value FROM panza_entries ORDER BY key LIMIT 1)`,
      ),
    told: true,
  }, {
    name: "keys of other entries",
    apply: (path) =>
      edit(
        path,
        `CREATE TEMP TABLE moved AS SELECT rowid AS place, lead(key) OVER (ORDER BY key) AS key
           FROM panza_entries WHERE id = 'one';
         UPDATE panza_entries SET key = 'x' || key WHERE id = 'one';
         UPDATE panza_entries
           SET key = (SELECT key FROM moved WHERE place = panza_entries.rowid)
           WHERE rowid IN (SELECT place FROM moved WHERE key IS NOT NULL)`,
      ),
    told: true,
  }, {
    name: "times and checksums that are none",
    apply: (path) =>
      edit(
        path,
        "UPDATE panza_entries SET stored_at = 'x', checksum = 'y', expires_at = 'z'",
      ),
    told: true,
  });

  let missed = 0;
  let told = 0;
  for (const [index, { name, apply, told: mustTell }] of damages.entries()) {
    const place = join(folder, `case${index}`);
    mkdirSync(place);
    const path = join(place, "cache.db");
    copyFileSync(template, path);
    apply(path);
    const what = `seed ${seed}: ${name}`;
    let result: Use;
    try {
      result = await use((options) => new SQLiteCache(path, options), what);
    } catch (error) {
      throw new Error(`${what}: ${error}`, { cause: error });
    }
    if (result.runs > 0) missed++;
    if (result.reports.length > 0) told++;
    if (mustTell === true) {
      assert(result.reports.length > 0, `${what} was not told`);
    }
    assert(existsSync(path), what);
    rmSync(place, { recursive: true });
  }
  return { cases: damages.length, missed, told };
}

function edit(path: string, sql: string): void {
  const database = new DatabaseSync(path);
  try {
    database.exec("PRAGMA ignore_check_constraints = ON");
    database.exec(sql);
  } finally {
    database.close();
  }
}

/** An object as it lies in the bucket. */
interface Lying {
  readonly Body: Uint8Array;
  readonly Metadata: Record<string, string>;
}

/** Damages objects in every way, each the objects of all entries at once. */
export async function damageS3({ count, seed }: Extent): Promise<Damaged> {
  const random = new Random(seed);
  let cases = 0;
  let told = 0;
  await withBucket(async (bucket, client, server) => {
    const open = (options: CacheOptions): Cache =>
      new S3Cache(`${bucket}/p`, { ...optionsFor(server), ...options });
    const inputs = INPUTS.slice(0, count < 100 ? 5 : 20);
    await use(open, "the template", inputs);
    const names = await objectNames(client, bucket);
    const objects = await Promise.all(
      names.map((name) => fetchObject(client, bucket, name)),
    );
    const [example] = objects;
    assert(example !== undefined);
    const damages: Record<string, (object: Lying, index: number) => Lying> = {
      "emptied": (object) => ({ ...object, Body: new Uint8Array() }),
      "cut": ({ Body, Metadata }) => ({
        Body: Body.subarray(0, random.below(Body.length)),
        Metadata,
      }),
      "longer": ({ Body, Metadata }) => ({
        Body: new Uint8Array([...Body, 32]),
        Metadata,
      }),
      "the next one": (_, index) => objects[(index + 1) % objects.length]!,
      "the body of the next one": ({ Metadata }, index) => ({
        Body: objects[(index + 1) % objects.length]!.Body,
        Metadata,
      }),
      "garbage": ({ Metadata }) => ({ Body: random.bytes(100), Metadata }),
      "no metadata": ({ Body }) => ({ Body, Metadata: {} }),
    };
    for (let n = 0; n < count; n++) {
      damages[`flipped ${n}`] = ({ Body, Metadata }) => {
        const copy = new Uint8Array(Body);
        copy[random.below(copy.length)]! ^= 1 << random.below(8);
        return { Body: copy, Metadata };
      };
    }
    for (const name of Object.keys(example.Metadata)) {
      // The names that an object carries serve listings alone.
      if (!/kind|format|checksum|-at|until|duration/.test(name)) continue;
      for (const value of [undefined, "", "0", "-1", "1e999", "x", "bytes"]) {
        // The one that once went unseen is always there.
        const isKept = name === "panza-expires-at" && value === "-1";
        if (!isKept && count < 50 && random.below(3) > 0) continue;
        damages[`${name} ${value}`] = ({ Body, Metadata }) => {
          const { [name]: _, ...others } = Metadata;
          return {
            Body,
            Metadata: value === undefined
              ? others
              : { ...others, [name]: value },
          };
        };
      }
    }
    for (const [what, damage] of Object.entries(damages)) {
      const changed = objects.map((object, index) => {
        const result = damage(object, index);
        const isSame = isDeepStrictEqual(object.Metadata, result.Metadata) &&
          Buffer.compare(object.Body, result.Body) === 0;
        return isSame ? undefined : result;
      });
      for (const [index, object] of changed.entries()) {
        if (object === undefined) continue;
        await client.send(
          new PutObjectCommand({
            Bucket: bucket,
            Key: names[index],
            ...object,
          }),
        );
      }
      const damaged = changed.filter((object) => object !== undefined).length;
      const { reports } = await use(open, `seed ${seed}: ${what}`, inputs);
      const kinds = new Set(reports.map(({ context }) => context.kind));
      assert(
        reports.length === damaged && kinds.difference(DAMAGED).size === 0,
        `seed ${seed}: ${what}: ${damaged} objects, ${reports.length} reports: ${
          reports.map(({ message, context }) => `${context.kind} ${message}`)
            .filter((line) => !line.startsWith("damaged")).at(-1)
        }`,
      );
      cases++;
      if (damaged > 0) told++;
      for (const [index, object] of objects.entries()) {
        await client.send(
          new PutObjectCommand({
            Bucket: bucket,
            Key: names[index],
            ...object,
          }),
        );
      }
    }
  });
  return { cases, missed: told, told };
}

const DAMAGED: ReadonlySet<string> = new Set(["damaged"]);

async function fetchObject(
  client: S3Client,
  Bucket: string,
  Key: string,
): Promise<Lying> {
  const { Body, Metadata = {} } = await client.send(
    new GetObjectCommand({ Bucket, Key }),
  );
  return {
    Body: await Body?.transformToByteArray() ?? new Uint8Array(),
    Metadata,
  };
}
