/** The tools of the npm scripts: folders, processes, and packages from npm. */

import { spawnSync } from "node:child_process";
import { cpSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";

/** The folder of this checkout. */
export const ROOT: string = fileURLToPath(new URL("../", import.meta.url));

/** The folder of everything that the scripts make or install. */
export const CACHE: string = join(ROOT, ".cache", "npm");

/** Versions of the packages from npm that the library does not depend on. */
export const VERSIONS = {
  "@ai-sdk/openai": "3.0.141",
  "@anthropic-ai/sdk": "1.14.0",
  "@arethetypeswrong/cli": "0.18.5",
  "@rollup/plugin-node-resolve": "16.0.3",
  "@types/node": "22.13.0",
  ai: "6.0.326",
  "deno-std": "1.4.0",
  esbuild: "0.28.2",
  jest: "30.5.2",
  openai: "6.49.0",
  publint: "0.3.25",
  rollup: "4.68.8",
  typescript: "6.0.3",
  vite: "8.3.8",
  vitest: "5.1.1",
  webpack: "5.112.2",
  "webpack-cli": "7.3.1",
} as const;

/** The supported runtimes; the first is the oldest supported Node. */
export const RUNTIMES: Readonly<Record<string, string>> = {
  "node-22.13": "22.13.0",
  "node-24": "24",
  "node-26": "26",
  bun: "1",
};

/** Throws an error with the message unless the condition holds. */
export function expect(condition: boolean, message: string): asserts condition {
  if (!condition) throw new Error(message);
}

/** An empty folder of the cache. */
export function emptyFolder(folder: string): string {
  const path = join(CACHE, folder);
  rmSync(path, { recursive: true, force: true });
  mkdirSync(path, { recursive: true });
  return path;
}

/** The parts of deno.json that the npm package needs. */
export interface Configuration {
  readonly name: string;
  readonly version: string;
  readonly license: string;
  readonly exports: Readonly<Record<string, string>>;
  readonly imports: Readonly<Record<string, string>>;
  readonly links?: readonly string[];
  readonly publish: { readonly include: readonly string[] };
}

/** Reads deno.json, the only place with the version, the exports and the dependencies. */
export function configuration(): Configuration {
  return JSON.parse(readFileSync(join(ROOT, "deno.json"), "utf8"));
}

/**
 * The published configuration, without the links that replace jsr.io in a checkout: with them Deno,
 * dnt and `deno publish` would take `@std/*` from `links/`.
 */
export function unlinked(configuration: Configuration): Configuration {
  const { links = [], ...rest } = configuration;
  const folders = links.map((link) => link.replace("./", ""));
  const include = rest.publish.include.filter((path) => !folders.includes(path));
  return { ...rest, publish: { ...rest.publish, include } };
}

/** The version range of an `npm:` import of deno.json. */
export function npmVersion(name: string): string {
  const specifier = configuration().imports[name] ?? "";
  const version = /^npm:@?[^@]+@([^/]+)$/.exec(specifier)?.[1];
  if (version === undefined) {
    throw new Error(`deno.json imports no ${name} from npm`);
  }
  return version;
}

export interface RunOptions {
  readonly cwd?: string;
  readonly env?: Readonly<Record<string, string>>;
  /** Milliseconds until it is killed; ten minutes unless set. */
  readonly timeout?: number;
}

/** Runs a process to its end, and returns its output. Throws if it failed. */
export function run(
  command: string,
  parameters: readonly string[],
  options: RunOptions = {},
): string {
  const { cwd = ROOT, env = {}, timeout = 600_000 } = options;
  const { status, stdout, stderr, error } = spawnSync(command, parameters, {
    cwd,
    env: { ...process.env, ...env },
    timeout,
    encoding: "utf8",
    maxBuffer: 2 ** 28,
  });
  if (status === 0) return stdout;
  const line = [command, ...parameters].join(" ");
  throw new Error(`${line} failed (${status})\n${stdout}${stderr}`, {
    cause: error,
  });
}

/** Runs the installed npm, or else the one that Deno gets from the registry. */
export function npm(parameters: readonly string[], options?: RunOptions): string {
  const installed = process.platform === "win32" ? ["cmd", "/c", "npm"] : ["npm"];
  const probe = spawnSync(installed[0] ?? "", [...installed.slice(1), "--version"]);
  const [command = "", ...first] = probe.status === 0
    ? installed
    : [process.execPath, "run", "-A", "npm:npm@11"];
  return run(command, [...first, ...parameters], options);
}

/**
 * Installs packages into a folder of the cache, once: a folder with them needs no network.
 *
 * @returns The path of the folder.
 */
export function install(name: string, dependencies: Readonly<Record<string, string>>): string {
  const folder = join(CACHE, name);
  const done = join(folder, "installed.json");
  const wanted = JSON.stringify({
    private: true,
    type: "module",
    dependencies,
  });
  if (existsSync(done) && readFileSync(done, "utf8") === wanted) return folder;
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, "package.json"), wanted);
  npm(["install", "--no-fund", "--no-audit", "--no-package-lock"], {
    cwd: folder,
  });
  writeFileSync(done, wanted);
  return folder;
}

/** Puts the built package into a project. */
export function placeBuilt(project: string): void {
  const place = join(project, "node_modules", configuration().name);
  rmSync(place, { recursive: true, force: true });
  cpSync(join(ROOT, "npm"), place, { recursive: true });
}

/** The executable of a runtime, installed from npm if it is missing. */
export function runtime(name: string): string {
  const version = RUNTIMES[name];
  if (version === undefined) {
    throw new Error(`There is no runtime ${name}, only ${Object.keys(RUNTIMES).join(", ")}`);
  }
  const { arch, platform } = process;
  const end = platform === "win32" ? ".exe" : "";
  // The packages that the install scripts of `node` and `bun` would choose for this machine; npm
  // may be set to run no scripts.
  if (name === "bun") {
    const system = platform === "win32" ? "windows" : platform;
    const bun = `@oven/bun-${system}-${arch === "arm64" ? "aarch64" : arch}`;
    const folder = install(name, { [bun]: version });
    return join(folder, "node_modules", bun, "bin", `bun${end}`);
  }
  const system = platform === "win32" ? "win" : platform;
  const prefix = system === "darwin" && arch === "arm64" ? "node-bin" : "node";
  const node = `${prefix}-${system}-${arch}`;
  const folder = install(name, { [node]: version });
  return join(folder, "node_modules", node, "bin", `node${end}`);
}

/** Runs the TypeScript compiler on a project. */
export function tsc(tools: string, project: string): string {
  return run(process.execPath, [
    "run",
    "-A",
    join(tools, "node_modules", "typescript", "lib", "tsc.js"),
    "--project",
    project,
  ]);
}
