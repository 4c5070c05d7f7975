/** Folders for tests: inside the checkout, so that tests need to write nowhere else. */

import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";

const PARENT = fileURLToPath(new URL("../.cache/tests/", import.meta.url));

/** A new empty folder, removed when the process ends. */
export function temporaryFolder(): string {
  mkdirSync(PARENT, { recursive: true });
  const folder = mkdtempSync(join(PARENT, "t-"));
  const remove = () => rmSync(folder, { recursive: true, force: true });
  process.on("exit", remove);
  // Deno's test runner ends without the event of Node.
  if ("Deno" in globalThis) addEventListener("unload", remove);
  return folder;
}
