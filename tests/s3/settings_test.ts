import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { assert, assertEquals, assertMatch } from "@std/assert";
import type { S3Credentials, S3Options } from "../../src/s3/options.ts";
import { start } from "../support/child.ts";
import type { Seen } from "../support/s3_chaos.ts";
import { LONG, scene } from "../support/s3_scene.ts";
import { temporaryFolder } from "../support/temp.ts";

/** The flags of Deno for an SDK that may not read files. */
const FEW = ["--allow-net=127.0.0.1", "--allow-env=AWS_*,_X_AMZN_TRACE_ID"];

/** An environment, the options set in code beside it, and the expected effects. */
interface Case {
  readonly name: string;
  readonly variables: Record<string, string>;
  readonly options?: S3Options;
  readonly bytes?: number;
  /** Whether it needs the profile files. */
  readonly needsFiles?: boolean;
  /** The expected output of the program; `stored` when unset. */
  readonly says?: RegExp;
  /** The condition that each request must meet. */
  readonly sent: (request: Seen) => boolean;
}

const scope = ({ headers }: Seen) =>
  /Credential=([^,]*)/.exec(headers.authorization ?? "")?.[1] ?? "";
const hasChecksum = ({ headers }: Seen) =>
  Object.keys(headers).some((name) => /^x-amz-(sdk-)?checksum-/.test(name));

function casesFor(endpoint: string, credentials: S3Credentials, files: string): Case[] {
  const AWS_ENDPOINT_URL = endpoint;
  const keys = { AWS_ACCESS_KEY_ID: "from-variable", AWS_SECRET_ACCESS_KEY: "b" };
  const region = "eu-north-1";
  return [
    {
      name: "endpoint, keys and region from variables",
      variables: { ...keys, AWS_ENDPOINT_URL, AWS_REGION: region },
      sent: (request) => /^from-variable\/\d+\/eu-north-1\/s3\//.test(scope(request)),
    },
    {
      name: "endpoint of S3 alone, before the other",
      variables: { AWS_ENDPOINT_URL_S3: endpoint, AWS_ENDPOINT_URL: "http://127.0.0.1:1" },
      options: { credentials, region },
      sent: ({ path }) => path.startsWith("/panza-test"),
    },
    {
      name: "options before variables",
      variables: { ...keys, AWS_ENDPOINT_URL: "http://127.0.0.1:1", AWS_REGION: "us-west-1" },
      options: { credentials, region, endpoint },
      sent: (request) => /^(?!from-variable)[^/]+\/\d+\/eu-north-1\//.test(scope(request)),
    },
    {
      name: "a region for another server where none is set",
      variables: { ...keys },
      options: { endpoint },
      sent: (request) => scope(request).includes("/us-east-1/"),
    },
    {
      name: "the profile",
      needsFiles: true,
      variables: {
        AWS_PROFILE: "panza",
        AWS_CONFIG_FILE: join(files, "config"),
        AWS_SHARED_CREDENTIALS_FILE: join(files, "credentials"),
        AWS_ENDPOINT_URL,
      },
      sent: (request) =>
        /^from-profile\/\d+\/eu-south-2\//.test(scope(request)) &&
        !hasChecksum(request),
    },
    {
      name: "the profile's region beside keys in code",
      needsFiles: true,
      variables: { AWS_PROFILE: "panza", AWS_CONFIG_FILE: join(files, "config") },
      options: { credentials, endpoint },
      sent: (request) => scope(request).includes("/eu-south-2/"),
    },
    {
      name: "checksums by default",
      variables: {},
      options: { credentials, region, endpoint },
      sent: hasChecksum,
    },
    {
      name: "no checksums, whole",
      variables: { AWS_REQUEST_CHECKSUM_CALCULATION: "when_required" },
      options: { credentials, region, endpoint },
      sent: (request) => !hasChecksum(request),
    },
    {
      name: "no checksums, in parts",
      variables: { AWS_REQUEST_CHECKSUM_CALCULATION: "WHEN_REQUIRED" },
      options: { credentials, region, endpoint },
      bytes: 2 ** 25 + 1,
      sent: (request) => !hasChecksum(request),
    },
    {
      name: "a session token from a variable",
      variables: { ...keys, AWS_SESSION_TOKEN: "token" },
      options: { endpoint, region },
      sent: ({ headers }) => headers["x-amz-security-token"] === "token",
    },
    {
      name: "the number of attempts",
      variables: { AWS_MAX_ATTEMPTS: "2" },
      options: { credentials, region, endpoint },
      says: /the server failed \(500 InternalError\) after 2 attempts/,
      sent: () => true,
    },
  ];
}

/** The permissions to try; other runtimes than Deno have none. */
const PERMISSIONS: Record<string, readonly string[]> = {
  "with all permissions": ["-A"],
  ...("Deno" in globalThis ? { "without permission to look around": FEW } : {}),
};

for (const [what, flags] of Object.entries(PERMISSIONS)) {
  test(`S3Backend heeds the environment of the SDK ${what}`, LONG, async () => {
    await scene(async ({ bucket, chaos, server }) => {
      const files = temporaryFolder();
      writeFileSync(
        join(files, "config"),
        "[profile panza]\nregion = eu-south-2\nrequest_checksum_calculation = WHEN_REQUIRED\n",
      );
      writeFileSync(
        join(files, "credentials"),
        "[panza]\naws_access_key_id = from-profile\naws_secret_access_key = b\n",
      );
      const cases = casesFor(chaos.url, server.credentials, files)
        .filter(({ needsFiles }) => needsFiles !== true || flags !== FEW);
      const seen = new Map<string, Seen[]>();
      chaos.fault = (request) => {
        const index = request.path.split("/")[2] ?? "";
        seen.set(index, [...(seen.get(index) ?? []), request]);
        // The storage does not matter here, and a real server refuses these keys.
        if (request.operation === "CreateMultipartUpload") {
          const body =
            "<InitiateMultipartUploadResult><UploadId>1</UploadId></InitiateMultipartUploadResult>";
          return { kind: "answer", status: 200, body };
        }
        const isFailing = cases[Number(index)]?.says !== undefined;
        return isFailing
          ? { kind: "answer", status: 500, code: "InternalError" }
          : { kind: "answer", status: 200, body: "<Any></Any>" };
      };
      const described = cases.map(({ variables, options = {}, bytes }, index) => ({
        location: `${bucket}/${index}`,
        variables,
        options,
        bytes,
      }));
      const child = start("fixtures/s3_child.ts", [JSON.stringify(described)], flags);
      const lines = await child.ended();
      assertEquals(lines.length, cases.length);
      for (const [index, { name, sent, says = /^stored$/ }] of cases.entries()) {
        assertMatch(lines[index] ?? "", says, name);
        const requests = seen.get(`${index}`) ?? [];
        assert(requests.length > 0 && requests.every(sent), `${name}: ${requests.map(scope)}`);
      }
    });
  });
}

if ("Deno" in globalThis) {
  test("S3Backend says what is missing where it may not look", async () => {
    const options = { credentials: { accessKeyId: "a", secretAccessKey: "b" } };
    for (
      const [flags, message] of [
        [FEW, /no region is set; set region, or AWS_REGION, or allow reading ~\/\.aws/],
        [
          FEW.slice(0, 1),
          /Deno does not allow it \(NotCapable\); run with --allow-net, and with/,
        ],
      ] as const
    ) {
      const described = [{ location: "bucket", variables: {}, options }];
      const child = start("fixtures/s3_child.ts", [JSON.stringify(described)], flags);
      assertMatch((await child.ended())[0] ?? "", message);
    }
  });
}
