/**
 * Takes `links` out of deno.json and deno.lock: `deno task unlink`.
 *
 * The workflows do this first, because they check, test and publish with the real modules of
 * jsr.io. `git checkout deno.json deno.lock` takes it back.
 */

// deno-lint-ignore-file no-console -- it reports its steps

import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { configuration, ROOT, unlinked } from "./tools.ts";

const write = (file: string, content: unknown) =>
  writeFileSync(join(ROOT, file), `${JSON.stringify(content, null, 2)}\n`);

write("deno.json", unlinked(configuration()));
const lock = JSON.parse(readFileSync(join(ROOT, "deno.lock"), "utf8"));
delete lock.workspace.links;
write("deno.lock", lock);
console.log("deno.json and deno.lock have no links: @std/* comes from jsr.io");
