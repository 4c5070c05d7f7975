/**
 * Builds the npm package into `npm/`: `deno task npm`.
 *
 * Builds with dnt, or, where jsr.io is out of reach, with the TypeScript compiler from npm; both
 * write the same files. `BUILDER=dnt` or `BUILDER=tsc` chooses one.
 */

// deno-lint-ignore-file no-console -- it reports its steps

import {
  copyFileSync,
  cpSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { dirname, join, relative } from "node:path";
import process from "node:process";
import { CACHE, configuration, install, npmVersion, ROOT, tsc, VERSIONS } from "./tools.ts";

const OUT = join(ROOT, "npm");
const TARGET = "ES2022";
/** Without `ESNext`, dnt lacks disposables and declares `[Symbol.asyncDispose]` as a property. */
const LIB = ["ESNext", "DOM"];
/** The folder of modules from JSR in the output of dnt, which the other builder copies. */
const DEPS = "deps/jsr.io";

/** Packages that a backend loads at its first use; an error says how to install a missing one. */
const OPTIONAL = ["@aws-sdk/client-s3", "redis"];

/** Pages to read, apart from README.md and LICENSE, which npm includes by itself. */
const PAGES = ["docs", "CHANGELOG.md", "SECURITY.md"];

/** The licence of this package, and that of the modules of std in it; both are MIT. */
function licences(): string {
  const own = readFileSync(join(ROOT, "LICENSE"), "utf8");
  const std = own.replace(/^Copyright .*$/m, "Copyright 2018-2026 the Deno authors.");
  return `${own}\n---\n\nFor the modules of the Deno standard library in esm/deps/:\n\n${std}`;
}

/** The package metadata: the fields of deno.json, and those that only npm needs. */
function packageJson(): Record<string, unknown> {
  const { name, version, license, exports } = configuration();
  const used = packagesUsed();
  const ranges = (names: string[]) =>
    Object.fromEntries(names.map((each) => [each, npmVersion(each)]));
  const optional = used.filter((each) => OPTIONAL.includes(each));
  // Provenance needs the repository that publishes; CI knows its name.
  const repository = process.env["GITHUB_REPOSITORY"];
  return {
    name,
    version,
    author: "The Panza authors",
    homepage: `https://jsr.io/${name}`,
    description:
      "Keeps the results of expensive async functions in SQLite, S3 or Redis, and limits how many run at once",
    keywords: [
      "async",
      "batch",
      "cache",
      "concurrency",
      "limit",
      "llm",
      "memoize",
      "rate-limit",
      "redis",
      "s3",
      "sqlite",
    ],
    license,
    ...(repository !== undefined && {
      repository: {
        type: "git",
        url: `git+https://github.com/${repository}.git`,
      },
      bugs: `https://github.com/${repository}/issues`,
    }),
    type: "module",
    sideEffects: false,
    engines: { node: ">=22.13", bun: ">=1.2" },
    exports: {
      ...Object.fromEntries(
        Object.entries(exports).map(([path, file]) => [
          path,
          {
            types: file.replace(/^\.\/(.*)\.ts$/, "./esm/$1.d.ts"),
            default: file.replace(/^\.\/(.*)\.ts$/, "./esm/$1.js"),
          },
        ]),
      ),
      "./package.json": "./package.json",
    },
    bin: { panza: "./esm/cli.js" },
    files: ["esm", ...PAGES],
    dependencies: ranges(used.filter((each) => !OPTIONAL.includes(each))),
    peerDependencies: ranges(optional),
    peerDependenciesMeta: Object.fromEntries(optional.map((each) => [each, { optional: true }])),
  };
}

/** Every published module by path: the doors at the root, the rooms under `src/`. */
function sources(): Map<string, string> {
  const rooms = readdirSync(join(ROOT, "src"), {
    recursive: true,
    encoding: "utf8",
  }).map((file) => join("src", file));
  return new Map(
    [...readdirSync(ROOT), ...rooms]
      .filter((file) => file.endsWith(".ts"))
      .map((file) => [file, readFileSync(join(ROOT, file), "utf8")]),
  );
}

/** The npm packages that published modules import. */
function packagesUsed(): string[] {
  const { imports } = configuration();
  return Object.keys(imports)
    .filter(
      (name) =>
        imports[name]?.startsWith("npm:") &&
        [...sources().values()].some((source) => code(source).includes(`"${name}"`)),
    )
    .sort();
}

/** A source without its comment lines, because examples in comments import too. */
function code(source: string): string {
  return source
    .split("\n")
    .filter((line) => !/^\s*(\*|\/\*|\/\/)/.test(line))
    .join("\n");
}

/** The module of std that a link stands for: its place in the package, and its source. */
function linked(specifier: string): { place: string; from: string } {
  const [, name = "", path = ""] = /^@std\/(\w+)\/([\w-]+)$/.exec(specifier) ?? [];
  const folder = join(ROOT, "links", name);
  const { version, exports } = JSON.parse(readFileSync(join(folder, "deno.json"), "utf8"));
  const file = String(exports[`./${path}`]);
  const link = readFileSync(join(folder, file), "utf8");
  const [, std, source] = /"npm:deno-std@([\d.]+)\/([\w/]+\.js)"/.exec(link) ?? [];
  if (std !== VERSIONS["deno-std"] || source === undefined) {
    throw new Error(`links/ does not take ${specifier} from deno-std`);
  }
  return {
    place: join(DEPS, "@std", name, version, file.replace(/\.ts$/, ".js")),
    from: join(CACHE, "build", "node_modules", "deno-std", source),
  };
}

/** Copies a module of std and the modules that it imports by relative path. */
function inline(from: string, to: string): void {
  mkdirSync(dirname(to), { recursive: true });
  copyFileSync(from, to);
  for (
    const [, next = ""] of code(readFileSync(from, "utf8")).matchAll(
      /from "(\.{1,2}\/[\w/]+\.js)"/g,
    )
  ) {
    inline(join(dirname(from), next), join(dirname(to), next));
  }
}

/** Builds with the TypeScript compiler alone. */
function buildWithTsc(): void {
  const stage = join(CACHE, "stage");
  rmSync(stage, { recursive: true, force: true });
  mkdirSync(stage, { recursive: true });
  const tools = install("build", {
    "deno-std": VERSIONS["deno-std"],
    typescript: VERSIONS.typescript,
  });
  const copied = new Map<string, string>();
  for (const [file, source] of sources()) {
    const mapped = source
      .replace(/^((?!\s*\*).*(?:from |import\())"(\.[\w./]+)\.ts"/gm, '$1"$2.js"')
      .replace(/^((?!\s*\*).*from )"(@std\/[\w/-]+)"/gm, (_, start, specifier) => {
        const { place, from } = linked(specifier);
        copied.set(place, from);
        const to = relative(dirname(file), place).replaceAll("\\", "/");
        return `${start}"${to.startsWith(".") ? to : `./${to}`}"`;
      });
    if (/"(@std\/|jsr:)/.test(code(mapped))) {
      throw new Error(`${file} imports what no link stands for`);
    }
    mkdirSync(join(stage, dirname(file)), { recursive: true });
    writeFileSync(join(stage, file), mapped);
  }
  for (const [place, file] of copied) inline(file, join(OUT, "esm", place));
  writeFileSync(
    join(stage, "tsconfig.json"),
    JSON.stringify({
      compilerOptions: {
        target: TARGET,
        module: "ESNext",
        moduleResolution: "Bundler",
        lib: LIB,
        types: [],
        strict: true,
        declaration: true,
        isolatedDeclarations: true,
        // `deno check` has checked all sources, and std has no types here.
        noCheck: true,
        rootDir: ".",
        outDir: join(OUT, "esm"),
      },
      files: Object.values(configuration().exports),
    }),
  );
  tsc(tools, stage);
}

/** The part of dnt that is used here. */
interface Dnt {
  build(options: Record<string, unknown>): Promise<void>;
}

async function buildWithDnt(): Promise<void> {
  // A computed name, so that neither a type check nor the lock file needs jsr.io.
  const name = ["jsr:@deno", "dnt@0.43.2"].join("/");
  const { build }: Dnt = await import(name);
  const { name: own, version, exports, imports } = configuration();
  // In deno.json, dnt would follow `links`. It needs the imports alone.
  const configFile = join(CACHE, "deno.json");
  mkdirSync(CACHE, { recursive: true });
  writeFileSync(configFile, JSON.stringify({ imports }));
  await build({
    entryPoints: Object.entries(exports).map(([name, path]) => ({
      name,
      path,
    })),
    cwd: ROOT,
    configFile,
    outDir: OUT,
    package: { name: own, version },
    shims: {},
    polyfills: false,
    scriptModule: false,
    test: false,
    typeCheck: false,
    skipNpmInstall: true,
    skipSourceOutput: true,
    compilerOptions: { target: TARGET, lib: LIB },
  });
  rmSync(join(OUT, ".npmignore"), { force: true });
  rmSync(join(OUT, "esm", "package.json"), { force: true });
  // No public type comes from std, so its declarations and its type-only modules are left out.
  const deps = join(OUT, "esm", "deps");
  for (const file of readdirSync(deps, { recursive: true, encoding: "utf8" })) {
    const path = join(deps, file);
    if (/\.d\.ts$|_types\.js$/.test(file)) rmSync(path);
  }
}

/** The chosen builder, or else dnt where it is available. */
async function builder(): Promise<string> {
  const wanted = process.env["BUILDER"] ?? "";
  if (wanted !== "") return wanted;
  try {
    const url = "https://jsr.io/@deno/dnt/meta.json";
    const { ok } = await fetch(url, {
      method: "HEAD",
      signal: AbortSignal.timeout(2_000),
    });
    return ok ? "dnt" : "tsc";
  } catch {
    return "tsc";
  }
}

const chosen = await builder();
rmSync(OUT, { recursive: true, force: true });
mkdirSync(OUT);
if (chosen === "dnt") await buildWithDnt();
else if (chosen === "tsc") buildWithTsc();
else throw new Error(`BUILDER must be dnt or tsc, received ${chosen}`);
const command = join(OUT, "esm", "cli.js");
writeFileSync(command, `#!/usr/bin/env node\n${readFileSync(command, "utf8")}`, { mode: 0o755 });
writeFileSync(join(OUT, "package.json"), `${JSON.stringify(packageJson(), null, 2)}\n`);
for (const page of ["README.md", ...PAGES]) {
  cpSync(join(ROOT, page), join(OUT, page), { recursive: true });
}
writeFileSync(join(OUT, "LICENSE"), licences());
const { name, version } = configuration();
console.log(
  `Built ${name}@${version} in npm/ with ${chosen}` +
    (chosen === "tsc" ? " from npm, as jsr.io is not used here" : ""),
);
