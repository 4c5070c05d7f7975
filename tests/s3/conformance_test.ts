/** The S3 backend against the numbered clauses, on a server that speaks S3: wiring only. */
import { test } from "node:test";
import { S3Backend } from "../../s3.ts";
import { testBackend } from "../../testing.ts";
import { newBucketName, optionsFor, startServer } from "../support/s3_server.ts";

/** One bucket for all tests: each store has a prefix of its own. */
const bucket = newBucketName();
const server = await startServer(200);
let stores = 0;

testBackend(
  (clause, fn) => test(`S3Backend, ${clause}`, fn),
  () => {
    const options = { ...optionsFor(server), autoCreateBucket: true };
    const location = `${bucket}/store-${stores++}`;
    return { location, options, backend: new S3Backend(location, options) };
  },
  {
    reopen: ({ location, options }) => new S3Backend(location, options),
    openNeighbour: ({ location, options }) => new S3Backend(`${location}/longer`, options),
    // More than a page of a listing; each entry is a request of its own.
    entryCount: server.pageSize + 10,
  },
);
