/** The package in the bundlers that people use, in a project without the S3 SDK. */

// deno-lint-ignore-file no-console -- it reports its steps

import { cpSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { gzipSync } from "node:zlib";
import { blocks } from "./strangers.ts";
import {
  configuration,
  emptyFolder,
  expect,
  install,
  placeBuilt,
  run,
  runtime,
  VERSIONS,
} from "./tools.ts";

const { name } = configuration();

/** The most bytes of a minified bundle that imports `limitConcurrency` only. */
const LARGEST_LIMIT = 17_000;

const VITE = `export default {
  build: { ssr: "quick_start.js", outDir: "vite", rollupOptions: { output: { entryFileNames: "out.mjs" } } },
  ssr: { noExternal: true },
};
`;

const WEBPACK = `import { resolve } from "node:path";
export default {
  mode: "production",
  target: "node",
  entry: "./quick_start.js",
  experiments: { outputModule: true },
  output: { path: resolve("webpack"), filename: "out.mjs", module: true, chunkFormat: "module" },
};
`;

/** Bundles one file with esbuild. */
function esbuild(project: string, file: string, ...flags: string[]): void {
  run(join(project, "node_modules", "esbuild", "bin", "esbuild"), [
    file,
    "--bundle",
    "--format=esm",
    "--log-level=error",
    ...flags,
  ], { cwd: project });
}

/** Makes the project. Its installed tools stay for the next run; the built package is replaced. */
function prepare(): string {
  const { esbuild, rollup, vite, webpack } = VERSIONS;
  const project = install("bundlers", {
    "@rollup/plugin-node-resolve": VERSIONS["@rollup/plugin-node-resolve"],
    esbuild,
    rollup,
    vite,
    webpack,
    "webpack-cli": VERSIONS["webpack-cli"],
  });
  placeBuilt(project);
  for (const optional of ["@aws-sdk", "redis"]) {
    expect(!existsSync(join(project, "node_modules", optional)), `${optional} is installed`);
  }
  writeFileSync(join(project, "deno.json"), "{}");
  writeFileSync(join(project, "quick_start.ts"), blocks().get("readme_1.ts") ?? "");
  writeFileSync(join(project, "vite.config.mjs"), VITE);
  writeFileSync(join(project, "webpack.config.mjs"), WEBPACK);
  return project;
}

/** Bundles the quick start with every bundler, and runs each bundle without installed packages. */
export function bundle(): void {
  const project = prepare();
  // Rollup and webpack need JavaScript with `using` lowered.
  esbuild(
    project,
    "quick_start.ts",
    "--packages=external",
    "--target=es2022",
    "--outfile=quick_start.js",
  );
  const bin = (...path: string[]) => join(project, "node_modules", ...path);
  const node = (...parameters: string[]) => run(runtime("node-24"), parameters, { cwd: project });
  const output = (folder: string) => join(project, folder, "out.mjs");
  const bundlers: Record<string, () => void> = {
    esbuild: () =>
      esbuild(project, "quick_start.js", "--platform=node", `--outfile=${output("esbuild")}`),
    rollup: () =>
      node(
        bin("rollup", "dist", "bin", "rollup"),
        ...["quick_start.js", "--format=es", "--plugin=node-resolve", `--file=${output("rollup")}`],
      ),
    vite: () => node(bin("vite", "bin", "vite.js"), "build"),
    webpack: () => node(bin("webpack-cli", "bin", "cli.js")),
    bun: () =>
      run(runtime("bun"), [
        ...["build", "quick_start.ts", "--target=node", `--outfile=${output("bun")}`],
      ], { cwd: project }),
    deno: () =>
      run(process.execPath, [
        ...["bundle", "--quiet", "--platform=deno", `--output=${output("deno")}`, "quick_start.ts"],
      ], { cwd: project }),
  };
  const empty = emptyFolder("bundles");
  for (const [each, build] of Object.entries(bundlers)) {
    rmSync(join(project, each), { recursive: true, force: true });
    build();
    const folder = join(empty, each);
    mkdirSync(folder);
    cpSync(join(project, each), folder, { recursive: true });
    run(runtime("node-24"), ["out.mjs"], { cwd: folder, timeout: 60_000 });
    expect(existsSync(join(folder, ".cache")), `the bundle of ${each} stored nothing`);
    console.log(`${each}: bundles the quick start, ${readFileSync(output(each)).length} bytes`);
  }
  measureLimit(project);
}

/** Bundles one function and checks the size and the contents of the bundle. */
function measureLimit(project: string): void {
  writeFileSync(
    join(project, "limit.js"),
    `import { limitConcurrency } from "${name}";
export default limitConcurrency(5)(async () => {});
`,
  );
  esbuild(project, "limit.js", "--minify", "--metafile=limit.json", "--outfile=limit.min.js");
  const { outputs } = JSON.parse(readFileSync(join(project, "limit.json"), "utf8"));
  const inputs: Record<string, { bytesInOutput: number }> = outputs["limit.min.js"].inputs;
  const size = readFileSync(join(project, "limit.min.js"));
  const files = Object.keys(inputs).filter((path) => (inputs[path]?.bytesInOutput ?? 0) > 0);
  const heavy = files.filter((path) => /sqlite|s3|aws|folder|redis/.test(path));
  expect(heavy.length === 0, `limitConcurrency brings along ${heavy}`);
  expect(size.length < LARGEST_LIMIT, `limitConcurrency alone takes ${size.length} bytes`);
  console.log(`limitConcurrency alone: ${size.length} bytes, ${gzipSync(size).length} with gzip`);
}
