import { test } from "node:test";
import { assert, assertThrows } from "@std/assert";
import { S3Backend } from "../../s3.ts";

test("S3Backend refuses unknown and malformed options by name, and repeats no value", () => {
  const refused = (options: object, name: string) => {
    const error = assertThrows(() => new S3Backend("bucket", options), TypeError, name);
    assert(!error.message.includes("hunter2"));
  };
  refused({ bucket: "b" }, "bucket");
  refused({ region: "hunter2!" }, "region");
  refused({ endpoint: "localhost:9000" }, "endpoint");
  refused({ endpoint: "http://user:hunter2@localhost" }, "endpoint");
  refused({ endpoint: "ftp://localhost" }, "endpoint");
  refused({ credentials: "hunter2" }, "credentials");
  refused({ credentials: { accessKeyId: "a" } }, "credentials");
  refused({ forcePathStyle: 1 }, "forcePathStyle");
  refused({ autoCreateBucket: "yes" }, "autoCreateBucket");
  refused(
    { credentials: { accessKeyId: "a", secretAccessKey: "hunter2", expiration: "2030" } },
    "credentials",
  );
  refused({ serverSideEncryption: "aes" }, "serverSideEncryption");
  refused({ kmsKeyId: "alias/key" }, "serverSideEncryption");
  refused({ kmsKeyId: "alias/key", serverSideEncryption: "AES256" }, "serverSideEncryption");
  refused({ kmsKeyId: "hunter2 \n", serverSideEncryption: "aws:kms" }, "kmsKeyId");
  refused({ client: {} }, "client");
  refused({ client: { send() {}, config: { serviceId: "SQS" } } }, "client");
  refused(
    {
      client: { send() {}, config: { serviceId: "S3" } },
      region: "eu-central-1",
    },
    "region",
  );
});
