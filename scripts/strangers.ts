/** Projects of new users, who have the packed package and its README, but not this checkout. */

// deno-lint-ignore-file no-console -- it reports its steps

import { cpSync, existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import process from "node:process";
import {
  configuration,
  emptyFolder,
  expect,
  install,
  npm,
  npmVersion,
  placeBuilt,
  ROOT,
  run as runProcess,
  runtime,
  tsc,
  VERSIONS,
} from "./tools.ts";

const { name, exports } = configuration();

/** Entry points that users import, without the command, which is run. */
const ENTRIES = Object.keys(exports).filter((path) => path !== "./cli")
  .map((path) => name + path.slice(1));

/** The optional S3 SDK and Redis client, and the types of Node that their declarations need. */
export const SDK: readonly string[] = [
  `@types/node@${VERSIONS["@types/node"]}`,
  `@aws-sdk/client-s3@${npmVersion("@aws-sdk/client-s3")}`,
  `redis@${npmVersion("redis")}`,
];

/** A module that imports all exports of the package. */
const ALL = ENTRIES.map((entry, index) => `export * as entry${index} from "${entry}";\n`).join("");

/** A program that expects errors with the command to install the S3 SDK and the Redis client. */
const NO_SDK = `import { S3Cache } from "${name}";
import { RedisCache } from "${name}/redis";
const cache = new S3Cache("bucket/prefix", { endpoint: "http://127.0.0.1:9", region: "x" });
const error = await cache.get("key").then(() => "no error", (error) => error.message);
if (!error.includes("npm install @aws-sdk/client-s3")) throw new Error(error);
await cache.close();
const redis = new RedisCache("redis://127.0.0.1:9");
const missing = await redis.get("key").then(() => "no error", (error) => error.message);
if (!missing.includes("npm install redis")) throw new Error(missing);
await redis.close();
`;

/** The pages whose blocks are programs. */
function pages(): string[] {
  const docs = existsSync(join(ROOT, "docs")) ? readdirSync(join(ROOT, "docs")) : [];
  return [
    "README.md",
    ...docs.filter((file) => file.endsWith(".md")).map((file) => `docs/${file}`),
  ];
}

/**
 * The blocks of TypeScript in the README and the pages of docs/, by the name of their files.
 *
 * @param fence `ts` for programs that run as they stand, `ts ignore` for those that need more.
 */
export function blocks(fence = "ts"): Map<string, string> {
  const found = new Map<string, string>();
  const pattern = new RegExp(`^\`\`\`${fence}\\n([^]*?)^\`\`\`$`, "gm");
  for (const page of pages()) {
    const text = readFileSync(join(ROOT, page), "utf8");
    for (const [index, match] of [...text.matchAll(pattern)].entries()) {
      found.set(`${basename(page, ".md").toLowerCase()}_${index + 1}.ts`, match[1] ?? "");
    }
  }
  return found;
}

/** Makes a project with the package alone. */
export function installed(tarball: string, manager: "npm" | "bun"): string {
  const project = emptyFolder(`stranger-${manager}`);
  writeFileSync(join(project, "package.json"), JSON.stringify({ private: true, type: "module" }));
  // Without its own configuration, Deno would find that of this checkout.
  writeFileSync(join(project, "deno.json"), "{}");
  if (manager === "npm") {
    npm(["install", "--no-fund", "--no-audit", tarball], { cwd: project });
  } else runProcess(runtime("bun"), ["add", tarball], { cwd: project });
  for (const optional of ["@aws-sdk", "redis"]) {
    const folder = join(project, "node_modules", optional);
    expect(!existsSync(folder), `${manager} installed ${optional}, which is optional`);
  }
  for (const [file, source] of blocks()) writeFileSync(join(project, file), source);
  writeFileSync(join(project, "all.ts"), ALL);
  writeFileSync(join(project, "all.js"), ALL);
  writeFileSync(join(project, "no_sdk.js"), NO_SDK);
  return project;
}

/** Lowers decorators and \`using\`, as any compiler does. */
function lower(tools: string, project: string, files: readonly string[]): string[] {
  if (files.length === 0) return [];
  const esbuild = join(tools, "node_modules", "esbuild", "bin", "esbuild");
  runProcess(esbuild, [...files, "--target=es2022", "--format=esm", "--outdir=lowered"], {
    cwd: project,
  });
  return files.map((file) => join("lowered", file.replace(/\.ts$/, ".js")));
}

/**
 * Imports everything, then runs every block of the README and of docs/ twice: the second run meets
 * the entries of the first. Node 24 and newer, Bun and Deno run the blocks unchanged, except for
 * decorators, which no Node supports.
 */
export function run(tools: string, project: string, runtimes: readonly string[]): void {
  const all = [...blocks().keys()];
  const decorated = all.filter((file) => /^ *@\w+\.cache\(/m.test(blocks().get(file) ?? ""));
  for (const each of runtimes) {
    const old = each === "node-22.13";
    const lowered = old ? all : each.startsWith("node") ? decorated : [];
    const programs = [
      "all.js",
      ...(each === "deno" ? [] : ["no_sdk.js"]),
      ...all.filter((file) => !lowered.includes(file)),
      ...lower(tools, project, lowered),
    ];
    const [command, ...flags] = each === "deno"
      ? [process.execPath, "run", "--quiet", "--no-lock", "--allow-all"]
      : [runtime(each)];
    for (const program of programs.flatMap((file) => [file, file])) {
      runProcess(command ?? "", [...flags, program], { cwd: project, timeout: 60_000 });
    }
    const cli = join("node_modules", name, "esm", "cli.js");
    const help = runProcess(command ?? "", [...flags, cli, "--help"], { cwd: project });
    expect(help.includes("panza copy cache.db"), "the command has no help");
    expect(existsSync(join(project, "node_modules", ".bin", "panza")), "there is no command panza");
    expect(existsSync(join(project, ".cache")), "the blocks stored nothing");
    rmSync(join(project, ".cache"), { recursive: true });
    console.log(`${each}: ${all.length} blocks run, ${all.length - lowered.length} as they stand`);
  }
}

/** Type-checks the recipes, whose SDKs need accounts to run. */
export function typeCheckRecipes(tools: string): void {
  const { openai, ai } = VERSIONS;
  const project = install("recipes", {
    "@ai-sdk/openai": VERSIONS["@ai-sdk/openai"],
    "@anthropic-ai/sdk": VERSIONS["@anthropic-ai/sdk"],
    "@opentelemetry/api": npmVersion("@opentelemetry/api"),
    "@types/node": VERSIONS["@types/node"],
    ai,
    openai,
  });
  placeBuilt(project);
  const compilerOptions = {
    target: "es2022",
    lib: ["esnext", "dom"],
    module: "nodenext",
    strict: true,
    noEmit: true,
    skipLibCheck: true,
    types: ["node"],
  };
  const recipes = blocks("ts ignore");
  for (const [file, source] of recipes) writeFileSync(join(project, file), source);
  writeFileSync(
    join(project, "tsconfig.json"),
    JSON.stringify({ compilerOptions, files: [...recipes.keys()] }),
  );
  tsc(tools, project);
  console.log(`tsc: ${recipes.size} recipes: no errors`);
}

/** Type-checks the project, with the package's declarations, in both ways of resolving modules. */
export function typeCheck(tools: string, project: string, types: readonly string[]): void {
  const ways = [["nodenext", "nodenext"], ["esnext", "bundler"]] as const;
  for (const [module, moduleResolution] of ways) {
    const file = join(project, `tsconfig.${moduleResolution}.json`);
    const compilerOptions = {
      target: "es2022",
      lib: ["esnext", "dom"],
      module,
      moduleResolution,
      strict: true,
      // The types of Node do not pass this check themselves.
      exactOptionalPropertyTypes: types.length === 0,
      noEmit: true,
      skipLibCheck: false,
      types,
    };
    // A block that imports a module of Node needs the types of Node.
    const programs = [...blocks()].filter(([, text]) => types.length > 0 || !/"node:/.test(text));
    const files = ["all.ts", ...programs.map(([file]) => file)];
    writeFileSync(file, JSON.stringify({ compilerOptions, files }));
    tsc(tools, file);
    console.log(
      `tsc: ${moduleResolution}, ${types.length > 0 ? "with" : "without"} the SDK: no errors`,
    );
  }
}

/** Compiles and runs the example with decorators: all results are new in the first run only. */
export function decorate(tools: string, project: string, runtimes: readonly string[]): void {
  const folder = join(project, "decorators");
  cpSync(join(ROOT, "examples", "decorators"), folder, { recursive: true });
  if (!runtimes.includes("bun")) tsc(tools, join(folder, "tsconfig.json"));
  for (const each of runtimes) {
    for (const expected of ["5 runs", "0 runs"]) {
      const program = each === "bun" ? "main.ts" : "main.js";
      const output = runProcess(runtime(each), [program], { cwd: folder });
      expect(output.trimEnd().endsWith(expected), `${each} prints ${output}`);
    }
    rmSync(join(folder, ".cache"), { recursive: true });
    console.log(`decorators: cached on ${each}`);
  }
}
