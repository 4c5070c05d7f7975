/**
 * Writes in every way, for ever, and prints a line for each acknowledged result:
 * `sqlite <path> <first input>`, or `s3 <endpoint> <bucket>`.
 */

// deno-lint-ignore-file no-console -- its output is what the test reads

import process from "node:process";
import { S3Cache } from "../../s3.ts";
import { SQLiteCache } from "../../sqlite.ts";
import { hugeValue, largeValue, smallValue } from "./values.ts";

const [, , store, place = "", more = "0"] = process.argv;

async function forever(work: (n: number) => Promise<void>): Promise<never> {
  for (let n = Number(more);; n++) await work(n);
}

async function sqlite(): Promise<void> {
  const cache = new SQLiteCache(place, {
    onError: (error) => console.log(`trouble ${error.name}: ${error.message}`),
  });
  const small = cache.cache({ id: "small" })(
    async (n: number) => await Promise.resolve(smallValue(n)),
  );
  const large = cache.cache({ id: "large" })(
    async (n: number) => await Promise.resolve(largeValue(n)),
  );
  const mapped = cache.cache({ id: "mapped" })(
    async (n: number) => await Promise.resolve(smallValue(n)),
  );
  const passing = cache.cache({ id: "passing", ttl: 1 })(
    async (n: number) => await Promise.resolve(smallValue(n)),
  );
  const junk = cache.cache({ id: "junk" })(
    async (n: number) => await Promise.resolve(smallValue(n)),
  );
  console.log("begin");
  await Promise.all([
    forever(async (n) => {
      await small(n);
      console.log(`small ${n}`);
    }),
    forever(async (n) => {
      await large(n);
      console.log(`large ${n}`);
    }),
    forever(async (n) => {
      const inputs = Array.from({ length: 50 }, (_, i) => n * 50 + i);
      for await (const result of mapped.map(inputs, { concurrency: 8 })) {
        console.log(`mapped ${result.input}`);
      }
    }),
    forever(async (n) => {
      await cache.set(`direct ${n}`, smallValue(n));
      console.log(`direct ${n}`);
    }),
    forever(async (n) => {
      await Promise.all([passing(n), passing(-n), junk(n)]);
      if (n % 5 === 0) await cache.prune({ expired: true });
      if (n % 7 === 0) await cache.bust("junk");
    }),
  ]);
}

async function s3(): Promise<void> {
  const cache = new S3Cache(more, {
    endpoint: place,
    region: "us-east-1",
    credentials: { accessKeyId: "test", secretAccessKey: "test-secret" },
  });
  console.log("begin");
  const huge = cache.cache({ id: "huge" })(
    async (n: number) => await Promise.resolve(hugeValue(n)),
  );
  for (let n = 1;; n++) {
    await huge(n);
    console.log(`huge ${n}`);
  }
}

await (store === "s3" ? s3() : sqlite());
