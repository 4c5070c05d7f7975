/** A project in which sources of this checkout run against the built package, on Node and Bun. */

import { readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import {
  CACHE,
  configuration,
  install,
  npmVersion,
  placeBuilt,
  ROOT,
  run,
  VERSIONS,
} from "./tools.ts";

/**
 * The hooks by which runtimes run sources against the built package. They are environment variables
 * because child processes need them as well.
 */
export const HOOKS: Readonly<Record<string, string>> = {
  NODE_OPTIONS: `--import=${pathToFileURL(join(ROOT, "tests", "runtimes", "node.mjs")).href}`,
  BUN_OPTIONS: `--no-install --preload=${join(ROOT, "tests", "runtimes", "bun.mjs")}`,
};

/**
 * Installs the built package, and the packages that the sources import.
 *
 * @param folders The folders whose sources are to run.
 * @param further Their other imports: versions by name.
 */
export function prepare(
  folders: readonly string[],
  further: Readonly<Record<string, string>> = {},
): void {
  const { imports } = configuration();
  const fromNpm = Object.entries(imports).filter(([each, specifier]) =>
    new RegExp(`^npm:${each}@[^/]+$`).test(specifier)
  );
  const project = install("project", {
    ...Object.fromEntries(fromNpm.map(([each]) => [each, npmVersion(each)])),
    "deno-std": VERSIONS["deno-std"],
    esbuild: VERSIONS.esbuild,
    ...further,
  });
  placeBuilt(project);

  // Decorators and `using` are lowered: no runtime but Deno knows both.
  const sources = folders.flatMap((folder) =>
    readdirSync(join(ROOT, folder), { recursive: true, encoding: "utf8" })
      .filter((file) => file.endsWith(".ts"))
      .map((file) => join(folder, file))
  );
  const out = join(CACHE, "transpiled");
  rmSync(out, { recursive: true, force: true });
  const esbuild = join(project, "node_modules", "esbuild", "bin", "esbuild");
  run(esbuild, [
    ...sources,
    "--target=es2022",
    "--format=esm",
    "--sourcemap=inline",
    "--sources-content=false",
    `--outdir=${out}`,
    "--outbase=.",
    "--log-level=warning",
  ]);
}
