/** Folders for tests, inside the checkout, so that tests need to write nowhere else. */

import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";

const PARENT = fileURLToPath(new URL("../../.cache/tests/", import.meta.url));

const folders: string[] = [];

function removeAll(): void {
  for (const folder of folders.splice(0)) {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** A new empty folder, removed when the process ends. */
export function temporaryFolder(): string {
  if (folders.length === 0) {
    process.on("exit", removeAll);
    // Deno's test runner ends without Node's event.
    if ("Deno" in globalThis) addEventListener("unload", removeAll);
  }
  mkdirSync(PARENT, { recursive: true });
  const folder = mkdtempSync(join(PARENT, "t-"));
  folders.push(folder);
  return folder;
}
