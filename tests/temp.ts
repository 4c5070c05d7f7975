/** Folders for tests: inside the checkout, so that tests need to write nowhere else. */

import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";

/** A new empty folder, removed when the process ends. */
export function temporaryFolder(): string {
  const parent = join(process.cwd(), ".cache", "tests");
  mkdirSync(parent, { recursive: true });
  const folder = mkdtempSync(join(parent, "t-"));
  process.on("exit", () => rmSync(folder, { recursive: true, force: true }));
  return folder;
}
