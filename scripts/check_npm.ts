/**
 * Meets the built package as a stranger does: `deno task check:npm`.
 *
 * It is packed, linted, installed with npm and with bun into empty projects, type-checked there,
 * used as the README says, and bundled.
 */

// deno-lint-ignore-file no-console -- it tells what it does

import {
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { gzipSync } from "node:zlib";
import {
  CACHE,
  configuration,
  install,
  npm,
  npmVersion,
  ROOT,
  run,
  runtime,
  tsc,
  VERSIONS,
} from "./tools.ts";

const { name, exports } = configuration();
const OUT = join(ROOT, "npm");

/** Bytes that a bundle may have, minified, which imports `limitConcurrency` only. */
const LARGEST_LIMIT = 5_000;

/** Entry points of the package: the name that users import. */
const ENTRIES = Object.keys(exports).map((path) => name + path.slice(1));

function expect(condition: boolean, message: string): asserts condition {
  if (!condition) throw new Error(message);
}

/** An empty folder of the cache. */
function emptyFolder(folder: string): string {
  const path = join(CACHE, folder);
  rmSync(path, { recursive: true, force: true });
  mkdirSync(path, { recursive: true });
  return path;
}

/** What npm tells of a tarball. */
interface Packed {
  readonly filename: string;
  readonly files: readonly { readonly path: string }[];
  readonly size: number;
}

/** Packs the package and checks what is in it. */
function pack(): string {
  const folder = emptyFolder("packed");
  const packed = JSON.parse(npm(["pack", "--json", `--pack-destination=${folder}`], { cwd: OUT }));
  // A list in npm 11, an object by name in npm 12.
  const [first] = Object.values<Packed>(packed);
  expect(first !== undefined, "npm packed nothing");
  const { filename, files, size } = first;
  const paths = files.map(({ path }) => path);
  for (const path of ["package.json", "README.md", "LICENSE", "CHANGELOG.md"]) {
    expect(paths.includes(path), `${path} is not packed`);
  }
  const wrong = paths.filter(
    (path) =>
      path.startsWith("esm/") &&
      !/^esm\/((src\/\w+\/)?\w+\.(d\.ts|js)|deps\/jsr\.io\/@std\/[\w/.]+\.js)$/.test(path),
  );
  expect(wrong.length === 0, `these files do not belong there: ${wrong}`);
  for (const path of paths.filter((each) => each.endsWith(".js"))) {
    const types = path.replace(/\.js$/, ".d.ts");
    expect(path.includes("/deps/") || paths.includes(types), `${path} has no types`);
  }
  for (const path of paths.filter((each) => each.endsWith(".d.ts"))) {
    const text = readFileSync(join(OUT, path), "utf8");
    expect(!text.includes("./deps/"), `${path} shows types of a dependency`);
  }
  console.log(`packed: ${paths.length} files, ${size} bytes`);
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

/** The first block of the README's quick start. */
function quickStart(): string {
  const readme = readFileSync(join(ROOT, "README.md"), "utf8");
  const block = /## Quick start\n[\s\S]*?```ts\n([\s\S]*?)```/.exec(readme);
  expect(block?.[1] !== undefined, "README.md has no quick start");
  return block[1];
}

/** A module that imports everything that the package exports. */
function importAll(): string {
  const imports = ENTRIES.map((entry, index) => `import * as entry${index} from "${entry}";`);
  const names = ENTRIES.map((_, index) => `entry${index}`);
  return `${imports.join("\n")}\nexport default [${names.join(", ")}];\n`;
}

/** Type-checks a project that uses the package, in both ways of resolving modules. */
function checkTypes(tools: string, project: string, withTypes: boolean): void {
  for (
    const [module, resolution] of [
      ["nodenext", "nodenext"],
      ["esnext", "bundler"],
    ]
  ) {
    const file = join(project, `tsconfig.${resolution}.json`);
    writeFileSync(
      file,
      JSON.stringify({
        compilerOptions: {
          target: "es2022",
          lib: ["esnext", "dom"],
          module,
          moduleResolution: resolution,
          strict: true,
          // The types of Node do not pass it themselves.
          exactOptionalPropertyTypes: !withTypes,
          noEmit: true,
          // Without the types of Node and of the SDK, their names in declarations mean nothing.
          skipLibCheck: !withTypes,
          types: withTypes ? ["node"] : [],
        },
        files: ["quick_start.ts", "all.ts"],
      }),
    );
    tsc(tools, file);
    console.log(
      `tsc: ${resolution}${withTypes ? ", declarations too" : ", without the SDK"}: no errors`,
    );
  }
}

/** Installs the tarball into a new project and runs the quick start there. */
function tryOut(tools: string, tarball: string, manager: "npm" | "bun"): void {
  const project = emptyFolder(`stranger-${manager}`);
  writeFileSync(join(project, "package.json"), JSON.stringify({ private: true, type: "module" }));
  if (manager === "npm") {
    npm(["install", "--no-fund", "--no-audit", tarball], { cwd: project });
  } else run(runtime("bun"), ["add", tarball], { cwd: project });
  const sdk = join(project, "node_modules", "@aws-sdk");
  expect(!existsSync(sdk), `${manager} installed the optional SDK`);

  writeFileSync(join(project, "quick_start.ts"), quickStart());
  writeFileSync(join(project, "all.ts"), importAll());
  writeFileSync(join(project, "all.js"), importAll());
  writeFileSync(
    join(project, "no_sdk.js"),
    `import { S3Cache } from "${name}";
const cache = new S3Cache("bucket/prefix", { endpoint: "http://127.0.0.1:9", region: "x" });
const error = await cache.get("key").then(() => "no error", (error) => error.message);
if (!error.includes("npm install @aws-sdk/client-s3")) throw new Error(error);
await cache.close();
`,
  );
  // What Node runs is JavaScript that any tool would make of it: \`await using\` is lowered.
  const esbuild = join(tools, "node_modules", "esbuild", "bin", "esbuild");
  run(esbuild, ["quick_start.ts", "--target=es2022", "--format=esm", "--outfile=quick_start.js"], {
    cwd: project,
  });
  const runtimes = manager === "npm" ? ["node-22.13", "node-24", "node-26"] : ["bun"];
  for (const each of runtimes) {
    const file = each === "bun" ? "quick_start.ts" : "quick_start.js";
    for (const program of ["all.js", "no_sdk.js", file, file]) {
      run(runtime(each), [program], { cwd: project, timeout: 60_000 });
    }
    expect(existsSync(join(project, ".cache", "quick_start.db")), "the quick start stored nothing");
    rmSync(join(project, ".cache"), { recursive: true });
    console.log(`${manager}: installed, and the quick start runs on ${each}`);
  }
  if (manager === "npm") {
    checkTypes(tools, project, false);
    npm(
      [
        "install",
        "--no-fund",
        "--no-audit",
        `@types/node@${VERSIONS["@types/node"]}`,
        `@aws-sdk/client-s3@${npmVersion("@aws-sdk/client-s3")}`,
      ],
      { cwd: project },
    );
    checkTypes(tools, project, true);
    shake(tools, project);
  }
  decorate(tools, project, runtimes);
}

/** Compiles and runs the example with decorators: every result is new at first, then none is. */
function decorate(tools: string, project: string, runtimes: readonly string[]): void {
  const example = runtimes.includes("bun") ? "bun" : "node";
  const folder = join(project, "decorators");
  cpSync(join(ROOT, "examples", example), folder, { recursive: true });
  if (example === "node") tsc(tools, join(folder, "tsconfig.json"));
  for (const each of runtimes) {
    const program = example === "node" ? "main.js" : "main.ts";
    for (const expected of ["5 runs", "0 runs"]) {
      const output = run(runtime(each), [program], { cwd: folder });
      expect(output.trimEnd().endsWith(expected), `${each} says ${output}`);
    }
    rmSync(join(folder, ".cache"), { recursive: true });
    console.log(`decorators: cached on ${each}`);
  }
}

/** Bundles one function and looks at what comes along. */
function shake(tools: string, project: string): void {
  writeFileSync(
    join(project, "limit.js"),
    `import { limitConcurrency } from "${name}";
export default limitConcurrency(5)(async () => {});
`,
  );
  run(
    join(tools, "node_modules", "esbuild", "bin", "esbuild"),
    [
      "limit.js",
      "--bundle",
      "--minify",
      "--format=esm",
      "--metafile=limit.json",
      "--outfile=limit.min.js",
    ],
    { cwd: project },
  );
  const { outputs } = JSON.parse(readFileSync(join(project, "limit.json"), "utf8"));
  const inputs: Record<string, { bytesInOutput: number }> = outputs["limit.min.js"].inputs;
  const bundle = readFileSync(join(project, "limit.min.js"));
  const files = Object.keys(inputs).filter((path) => (inputs[path]?.bytesInOutput ?? 0) > 0);
  const heavy = files.filter((path) => /sqlite|s3|aws/.test(path));
  expect(heavy.length === 0, `limitConcurrency brings along ${heavy}`);
  expect(bundle.length < LARGEST_LIMIT, `limitConcurrency alone takes ${bundle.length} bytes`);
  console.log(
    `bundle of limitConcurrency: ${bundle.length} bytes, ${gzipSync(bundle).length} with gzip`,
  );
}

expect(existsSync(OUT), "npm/ is not there: run `deno task npm` first");
expect(readdirSync(OUT).includes("esm"), "npm/ has no modules");
const tools = install("tools", {
  "@arethetypeswrong/cli": VERSIONS["@arethetypeswrong/cli"],
  esbuild: VERSIONS.esbuild,
  publint: VERSIONS.publint,
  typescript: VERSIONS.typescript,
});
const tarball = pack();
lint(tools, tarball);
tryOut(tools, tarball, "npm");
tryOut(tools, tarball, "bun");
process.exitCode = 0;
