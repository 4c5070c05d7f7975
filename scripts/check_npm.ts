/**
 * Checks the built package as a new user meets it: `deno task check:npm`.
 *
 * The package is packed, linted, and installed into empty projects. There it is used as the README
 * says, type-checked, bundled, and tested with Jest and Vitest. The optional S3 SDK comes last.
 */

// deno-lint-ignore-file no-console -- it reports its steps

import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { bundle } from "./bundlers.ts";
import {
  decorate,
  installed,
  run as runAs,
  SDK,
  typeCheck,
  typeCheckRecipes,
} from "./strangers.ts";
import { testRunners } from "./test_runners.ts";
import { emptyFolder, expect, install, npm, ROOT, run, runtime, VERSIONS } from "./tools.ts";

const OUT = join(ROOT, "npm");

/** The files of the package, apart from package.json. */
const FILES =
  /^(LICENSE|(README|CHANGELOG|SECURITY|docs\/\w+)\.md|esm\/((src\/\w+\/)?\w+\.(d\.ts|js)|deps\/jsr\.io\/@std\/[\w/.]+\.js))$/;

/** The report of npm on a tarball. */
interface Packed {
  readonly filename: string;
  readonly files: readonly { readonly path: string }[];
  readonly size: number;
}

/** Packs the package and checks its files. */
function pack(): string {
  const folder = emptyFolder("packed");
  const packed = JSON.parse(npm(["pack", "--json", `--pack-destination=${folder}`], { cwd: OUT }));
  // npm 11 reports a list, npm 12 an object by name.
  const [first] = Object.values<Packed>(packed);
  expect(first !== undefined, "npm packed nothing");
  const { filename, files, size } = first;
  const paths = files.map(({ path }) => path).filter((path) => path !== "package.json");
  const wrong = paths.filter((path) => !FILES.test(path));
  expect(wrong.length === 0, `these files do not belong there: ${wrong}`);
  const text = (path: string) => readFileSync(join(OUT, path), "utf8");
  const standIns = paths.filter((path) => /deno-std|links\//.test(text(path)));
  expect(standIns.length === 0, `these files name what stands for jsr.io: ${standIns}`);
  expect(/Panza[^]*Deno authors/.test(text("LICENSE")), "LICENSE lacks that of std");
  for (const path of paths.filter((each) => each.endsWith(".js"))) {
    const types = path.replace(/\.js$/, ".d.ts");
    expect(path.includes("/deps/") || paths.includes(types), `${path} has no types`);
  }
  for (const path of paths.filter((each) => each.endsWith(".d.ts"))) {
    expect(!text(path).includes("./deps/"), `${path} shows types of a dependency`);
  }
  console.log(`packed: ${files.length} files, ${size} bytes`);
  return join(folder, filename);
}

/** Runs the linters of npm packages. */
function lint(tools: string, tarball: string): void {
  const node = runtime("node-24");
  const bin = (...path: string[]) => join(tools, "node_modules", ...path);
  console.log(run(node, [bin("publint", "src", "cli.js"), "run", tarball, "--strict"]).trim());
  run(
    node,
    [
      bin("@arethetypeswrong", "cli", "dist", "index.js"),
      tarball,
      "--profile=esm-only",
      "--no-emoji",
    ],
    { env: { FORCE_COLOR: "0" } },
  );
  console.log("attw: no problems");
}

expect(existsSync(join(OUT, "esm")), "npm/ is not there: run `deno task npm` first");
const tools = install("tools", {
  "@arethetypeswrong/cli": VERSIONS["@arethetypeswrong/cli"],
  esbuild: VERSIONS.esbuild,
  publint: VERSIONS.publint,
  typescript: VERSIONS.typescript,
});
const tarball = pack();
lint(tools, tarball);
const withNpm = installed(tarball, "npm");
runAs(tools, withNpm, ["node-22.13", "node-24", "node-26", "deno"]);
typeCheck(tools, withNpm, []);
typeCheckRecipes(tools);
bundle();
npm(["install", "--no-fund", "--no-audit", ...SDK], { cwd: withNpm });
typeCheck(tools, withNpm, ["node"]);
decorate(tools, withNpm, ["node-22.13", "node-24", "node-26"]);
const withBun = installed(tarball, "bun");
runAs(tools, withBun, ["bun"]);
decorate(tools, withBun, ["bun"]);
testRunners();
