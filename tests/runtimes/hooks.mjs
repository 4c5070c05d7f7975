/**
 * The imports of tests that run against the built package: doors and rooms lead into the
 * package, packages into the project where it is installed, and TypeScript is transpiled. The test
 * files themselves stay as they are.
 *
 * @module
 */

import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

/** The folder of this checkout. */
const ROOT = new URL("../../", import.meta.url).href;

/** The project that has the built package and the dependencies of the tests. */
export const PROJECT = new URL(".cache/npm/project/", ROOT).href;

/** The folder of the transpiled sources. */
const TRANSPILED = new URL(".cache/npm/transpiled/", ROOT).href;

const { imports } = JSON.parse(
  readFileSync(new URL("deno.json", ROOT), "utf8"),
);

/** Whether a module is a test, an example, or what they need. */
function isSource(url) {
  return url.startsWith(ROOT) && !url.startsWith(PROJECT) &&
    !url.includes("/node_modules/");
}

/**
 * The target of an import of a source.
 *
 * @param from The URL of the importing module.
 * @returns A URL, or a specifier to look up in the project; `undefined` leaves it as it is.
 */
export function map(specifier, from) {
  if (!isSource(from) || specifier.startsWith("node:")) return undefined;
  if (/^(\.|file:|\/)/.test(specifier)) {
    const url = new URL(specifier, from).href;
    const [, name] = /^((?:src\/.+\/)?[\w-]+)\.ts$/.exec(url.slice(ROOT.length)) ?? [];
    if (!url.startsWith(ROOT) || name === undefined) return undefined;
    return new URL(`node_modules/@panza/panza/esm/${name}.js`, PROJECT).href;
  }
  const mapped = String(imports[specifier] ?? specifier);
  if (specifier === "@std/assert") return "deno-std/assert/mod.js";
  if (specifier.startsWith("@std/")) {
    return `deno-std/${specifier.slice(5).replaceAll("-", "_")}.js`;
  }
  return mapped.replace(/^npm:(@?[^@]+)@[^/]+/, "$1");
}

/** The JavaScript of a TypeScript source; `undefined` for other modules. */
export function transpiled(url) {
  const [plain = ""] = url.split(/[?#]/);
  if (!isSource(plain) || !plain.endsWith(".ts")) return undefined;
  const path = plain.slice(ROOT.length).replace(/\.ts$/, ".js");
  return readFileSync(fileURLToPath(new URL(path, TRANSPILED)), "utf8");
}

/** The resolve hook of Node. */
export function resolve(specifier, context, next) {
  const to = map(specifier, context.parentURL ?? "");
  return to === undefined ? next(specifier, context) : next(to, { ...context, parentURL: PROJECT });
}

/** The load hook of Node. */
export function load(url, context, next) {
  const source = transpiled(url);
  return source === undefined
    ? next(url, context)
    : { source, format: "module", shortCircuit: true };
}
