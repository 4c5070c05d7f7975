/**
 * Hits of S3Cache against GetObject of the AWS SDK and JSON.parse. The work of the server, which is
 * in this process, counts for both. A hit must be one request. `map` runs beside as many reads.
 */
import { openS3 } from "./s3_work.ts";

const s3 = await openS3();
let index = 0;

s3.requests = 0;
await s3.cached(s3.list[0]!);
if (s3.requests !== 1) throw new Error(`a hit took ${s3.requests} requests`);

Deno.bench({
  name: "GetObject of the SDK, JSON.parse",
  group: "S3 hit, 2 KB",
  baseline: true,
  fn: async () => {
    if ((await s3.raw()) === undefined) throw new Error("no object");
  },
});
Deno.bench({
  name: "ours",
  group: "S3 hit, 2 KB",
  fn: async () => {
    const before = s3.requests;
    await s3.cached(s3.list[index++ % s3.list.length]!);
    if (s3.requests !== before + 1) throw new Error("not one request");
  },
});

Deno.bench({
  name: "GetObject of the SDK, 32 at a time",
  group: "200 S3 hits",
  baseline: true,
  fn: s3.rawMap,
});
Deno.bench({ name: "ours: map", group: "200 S3 hits", fn: s3.map });
