/** What each published module may import and touch: the table of the design, held by a scan. */
import { readdirSync, readFileSync } from "node:fs";
import { test } from "node:test";
import { assert, assertEquals } from "@std/assert";

/**
 * The level of each module; imports go to a strictly lower one. Whole levels are those of the
 * design; what stands between them serves the level above.
 */
const LEVELS: Readonly<Record<string, number>> = {
  "errors.ts": 0,
  "backend.ts": 0.5,
  "batch_progress.ts": 0.5,
  "duration.ts": 0.5,
  "env.ts": 0.5,
  "integer.ts": 0.5,
  "names.ts": 0.5,
  "random.ts": 0.5,
  "runtime.ts": 0.5,
  "shape.ts": 0.5,
  "turn.ts": 0.5,
  "signals.ts": 0.5,
  "wrap.ts": 0.5,
  "packed.ts": 0.6,
  "crc32.ts": 0.7,
  "checksum.ts": 0.8,
  "limiter.ts": 0.7,
  "pack.ts": 0.7,
  "sorted.ts": 0.7,
  "unpack.ts": 0.7,
  "retry.ts": 0.9,
  "codec.ts": 1,
  "concurrency.ts": 1,
  "flight.ts": 1,
  "hash.ts": 1,
  "options.ts": 1,
  "encryption.ts": 1.5,
  "faulty.ts": 1.5,
  "store.ts": 1.5,
  "testing_samples.ts": 1.5,
  "testing_assert.ts": 1.6,
  "testing_entries.ts": 1.6,
  "call.ts": 1.7,
  "batch.ts": 1.8,
  "prune.ts": 1.8,
  "testing_model.ts": 1.7,
  "testing_life.ts": 1.8,
  "testing_listing.ts": 1.8,
  "testing_names.ts": 1.8,
  "testing_values.ts": 1.8,
  "testing_pruning.ts": 1.9,
  "cache.ts": 2,
  "testing.ts": 2,
  "sqlite_driver.ts": 2.5,
  "sqlite_schema.ts": 2.6,
  "sqlite_sweep.ts": 2.6,
  "sqlite_file.ts": 2.7,
  "sqlite_session.ts": 2.8,
  "s3_errors.ts": 2.5,
  "s3_names.ts": 2.5,
  "s3_object.ts": 2.5,
  "s3_pool.ts": 2.5,
  "s3_client.ts": 2.6,
  "s3_bucket.ts": 2.7,
  "tiered_order.ts": 2.5,
  "tiered_stamp.ts": 2.5,
  "tier.ts": 2.6,
  "tiered_lookup.ts": 2.7,
  "memory.ts": 3,
  "sqlite.ts": 3,
  "s3.ts": 3,
  "tiered.ts": 3,
  "progress.ts": 3,
  "mod.ts": 4,
  "cli.ts": 5,
};

/** The modules that may touch the environment, arguments, console streams and exit codes. */
const PRIVILEGED: readonly string[] = ["env.ts", "cli.ts"];

/** What a module says, without comments and with strings taken out. */
interface Scan {
  /** The code: a comment is a space, a string is `"n"`, its number in `strings`. */
  readonly code: string;
  readonly strings: readonly string[];
}

/**
 * One token of TypeScript that can hide another: comments, strings, the pieces of a template,
 * regular expressions (which begin where a value may), then words, so that `a / b` is a division,
 * and any other character.
 */
const TOKEN =
  /(?<comment>\/\/[^\n]*|\/\*[\s\S]*?\*\/)|(?<string>"(?:\\[\s\S]|[^"\\\n])*"|'(?:\\[\s\S]|[^'\\\n])*')|(?<regex>\/(?:\\.|\[(?:\\.|[^\]\\\n])*\]|[^/\\\n[])+\/[a-z]*)|(?<word>[\w$]+)|(?<other>\s+|[\s\S])/gy;

/** Words after which a slash begins a regular expression. */
const BEFORE_VALUE =
  /^(?:return|typeof|case|in|of|delete|void|throw|new|else|do|await|yield)$/;

function scan(source: string): Scan {
  const strings: string[] = [];
  /** For each template that is open: how many braces are open in its expression. */
  const templates: number[] = [];
  let code = "";
  let before = "";
  let at = 0;

  function keep(text: string): void {
    code += `"${strings.push(text) - 1}"`;
    before = "value)";
  }

  /** Reads the text of a template up to its end or to the next expression. */
  function readTemplate(): void {
    const start = at;
    while (at < source.length) {
      if (source[at] === "\\") at += 2;
      else if (source[at] === "`" || source.startsWith("${", at)) break;
      else at++;
    }
    keep(source.slice(start, at));
    if (source[at] === "`") {
      at++;
      return;
    }
    at += 2;
    code += "(";
    before = "(";
    templates.push(0);
  }

  while (at < source.length) {
    const character = source[at];
    const depth = templates.at(-1);
    if (character === "`") {
      at++;
      readTemplate();
      continue;
    }
    if (character === "}" && depth === 0) {
      templates.pop();
      at++;
      code += ")";
      readTemplate();
      continue;
    }
    if (depth !== undefined && (character === "{" || character === "}")) {
      templates[templates.length - 1] = depth + (character === "{" ? 1 : -1);
    }
    TOKEN.lastIndex = at;
    const groups = TOKEN.exec(source)?.groups ?? {};
    const { comment, string, regex, word, other = character ?? "" } = groups;
    if (comment !== undefined) {
      code += " ";
      at += comment.length;
    } else if (string !== undefined) {
      at += string.length;
      keep(string.slice(1, -1));
    } else if (
      regex !== undefined && (/[^\w$)\]}]$|^$/.test(before) ||
        BEFORE_VALUE.test(before))
    ) {
      at += regex.length;
      keep(regex);
    } else {
      const text = regex !== undefined ? "/" : word ?? other;
      code += text;
      at += text.length;
      if (text.trim() !== "") before = text;
    }
  }
  return { code, strings };
}

interface Import {
  readonly specifier: string;
  readonly kind: "static" | "type" | "dynamic";
}

/** Every module that a source names: imports, re-exports, types and `import()`. */
function importsOf({ code, strings }: Scan): Import[] {
  const found: Import[] = [];
  const add = (number: string | undefined, kind: Import["kind"]): void => {
    found.push({ specifier: strings[Number(number)] ?? "", kind });
  };
  const declaration =
    /(?<![\w$.])(?:import|export)\s*(type\b)?(?:[\w$*\s,]|\{[^{}]*\})*?\bfrom\s*"(\d+)"/g;
  for (const [, type, number] of code.matchAll(declaration)) {
    add(number, type === undefined ? "static" : "type");
  }
  for (const [, number] of code.matchAll(/(?<![\w$.])import\s*"(\d+)"/g)) {
    add(number, "static");
  }
  for (
    const [, type, number] of code.matchAll(
      /(?<![\w$.])(typeof\s+)?import\s*\(\s*"(\d+)"\s*[,)]/g,
    )
  ) add(number, type === undefined ? "dynamic" : "type");
  return found;
}

/** What a published module does that it may not, one sentence each. */
function problemsOf(
  file: string,
  source: string,
  importMap: readonly string[],
): string[] {
  const problems: string[] = [];
  const level = LEVELS[file];
  if (level === undefined) return [`${file} has no row in the table`];
  const scanned = scan(source);
  const { code } = scanned;
  const privileged = PRIVILEGED.includes(file);

  for (const { specifier, kind } of importsOf(scanned)) {
    if (specifier.startsWith(".")) {
      const target = LEVELS[specifier.replace(/^\.\//, "")];
      if (target === undefined || target >= level) {
        problems.push(`${file} imports ${specifier}, which is not below it`);
      }
    } else if (specifier.startsWith("node:")) {
      // A type costs nothing; `builtin()` of env.ts gives the module itself where it exists.
      if (kind !== "type" && !privileged) {
        problems.push(`${file} loads ${specifier}`);
      }
    } else if (
      !importMap.some((name) =>
        specifier === name || specifier.startsWith(`${name}/`)
      )
    ) problems.push(`${file} imports ${specifier}, not in the import map`);
  }
  const computed = /(?<![\w$.])import\s*\((?!\s*"\d+"\s*[,)])/;
  if (computed.test(code)) problems.push(`${file} imports what it computes`);

  // env.ts asks the permission API as a property of globalThis, which is undefined elsewhere.
  const deno = file === "env.ts"
    ? /(?<![\w$.])Deno\s*(?:\?\.|[.[])/
    : /\bDeno\b/;
  if (deno.test(code)) problems.push(`${file} uses Deno`);
  if (!privileged) {
    if (/(?<![\w$])console\b/.test(code)) problems.push(`${file} uses console`);
    const member =
      /(?<![\w$])process\s*(?:\?\.|\.)\s*(env|argv|execArgv|exit|exitCode|stdin|stdout|stderr|emitWarning)\b/;
    const touched = member.exec(code)?.[1];
    if (touched !== undefined) problems.push(`${file} uses process.${touched}`);
    if (/(?<![\w$])process\s*(?:\?\.)?\s*\[/.test(code)) {
      problems.push(`${file} uses a computed member of process`);
    }
    if (/\{[^{}]*\}\s*=\s*(?:globalThis\s*\??\.\s*)?process\b/.test(code)) {
      problems.push(`${file} takes process apart`);
    }
  }
  if (
    file === "mod.ts" &&
    !/^(?:\s*export\s+(?:type\s*)?\{[^{}]*\}\s*from\s*"\d+"\s*;?)*\s*$/
      .test(code)
  ) problems.push(`${file} is more than a list of exports`);
  return problems;
}

const ROOT = new URL("../", import.meta.url);

function read(file: string): string {
  return readFileSync(new URL(file, ROOT), "utf8");
}

function importMap(): string[] {
  const { imports } = JSON.parse(read("deno.json"));
  return Object.keys(imports);
}

test("published modules import downwards and touch only what they may", () => {
  const files = readdirSync(ROOT).filter((name) => name.endsWith(".ts"));
  assert(files.length > 0, "no module was found");
  const names = importMap();
  assertEquals(
    files.flatMap((file) => problemsOf(file, read(file), names)),
    [],
  );
});

test("exports of the package are published modules", () => {
  const { exports } = JSON.parse(read("deno.json"));
  for (const path of Object.values(exports)) {
    const file = String(path).replace(/^\.\//, "");
    assert(file in LEVELS, `${file} has no row in the table`);
  }
});

/** Samples that must be refused: file, source, and what the refusal says. */
const BAD: readonly (readonly [string, string, string])[] = [
  ["new_file.ts", "", "no row"],
  ["hash.ts", 'import { x } from "./cache.ts";', "./cache.ts"],
  ["hash.ts", 'import { x } from "./codec.ts";', "./codec.ts"],
  ["hash.ts", 'import type { X } from "./memory.ts";', "./memory.ts"],
  ["hash.ts", 'import { type X } from "./memory.ts";', "./memory.ts"],
  ["hash.ts", "import x, {\n  y,\n} from './memory.ts'", "./memory.ts"],
  ["hash.ts", 'import * as x from "./memory.ts";', "./memory.ts"],
  ["hash.ts", 'import "./memory.ts";', "./memory.ts"],
  ["hash.ts", 'export { x } from "./memory.ts";', "./memory.ts"],
  ["hash.ts", 'export * from "./memory.ts";', "./memory.ts"],
  ["hash.ts", 'export type { X } from "./memory.ts";', "./memory.ts"],
  ["hash.ts", 'const x = await import("./memory.ts");', "./memory.ts"],
  ["hash.ts", 'type X = import("./memory.ts").X;', "./memory.ts"],
  ["hash.ts", 'type X = typeof import("./memory.ts");', "./memory.ts"],
  ["hash.ts", 'import { x } from "../elsewhere.ts";', "../elsewhere.ts"],
  ["hash.ts", 'const a = `${await import("./memory.ts")}`;', "./memory.ts"],
  ["hash.ts", "await import(name);", "computes"],
  ["hash.ts", 'await import("./errors" + ".ts");', "computes"],
  ["hash.ts", 'import { x } from "left-pad";', "left-pad"],
  ["hash.ts", 'import { x } from "npm:left-pad@1";', "left-pad"],
  ["hash.ts", 'import { createHash } from "node:crypto";', "node:crypto"],
  ["hash.ts", 'await import("node:crypto");', "node:crypto"],
  ["hash.ts", 'Deno.env.get("HOME");', "Deno"],
  ["hash.ts", "globalThis.Deno;", "Deno"],
  ["env.ts", "Deno.permissions;", "Deno"],
  ["env.ts", "Deno?.permissions;", "Deno"],
  ["hash.ts", 'console.log("x");', "console"],
  ["hash.ts", 'globalThis.console.log("x");', "console"],
  ["hash.ts", 'const a = b / 2; console.log("/");', "console"],
  ["hash.ts", "const a = /[/]'/; console.log(a);", "console"],
  ["hash.ts", "const a = `'${b}`; console.log(a);", "console"],
  ["hash.ts", "const a = `${{ a: `}` }}`; console.log(a);", "console"],
  ["hash.ts", 'const a = "\\""; console.log("\\"");', "console"],
  ["hash.ts", "const a = (b) / c; console.log(d / e);", "console"],
  ["hash.ts", "/* a */ console.log(1); // b", "console"],
  ["hash.ts", "process.env.HOME;", "process.env"],
  ["hash.ts", "globalThis.process?.argv;", "process.argv"],
  ["hash.ts", "process.exit(1);", "process.exit"],
  ["hash.ts", "process.stderr.write('x');", "process.stderr"],
  ["hash.ts", 'process["env"];', "computed"],
  ["hash.ts", "const { env } = process;", "apart"],
  ["mod.ts", "export const a = 1;", "more than"],
  ["mod.ts", 'export * from "./hash.ts";', "more than"],
  ["mod.ts", 'import "./hash.ts";', "more than"],
];

for (const [file, source, message] of BAD) {
  test(`the scan of ${file} refuses ${JSON.stringify(source)}`, () => {
    const [problem = "no problem at all", ...more] = problemsOf(file, source, [
      "a-package",
    ]);
    assert(problem.includes(message), problem);
    assertEquals(more, [], "no second problem");
  });
}

/** Samples that must pass. */
const GOOD: readonly (readonly [string, string])[] = [
  ["memory.ts", 'import { x } from "a-package";'],
  ["memory.ts", 'import { x } from "a-package/raw";'],
  ["memory.ts", 'import type { X } from "./cache.ts";'],
  ["hash.ts", 'import type { Hash } from "node:crypto";'],
  ["hash.ts", 'type X = typeof import("node:crypto");'],
  ["hash.ts", '/** import { x } from "./memory.ts"; Deno.env */'],
  ["hash.ts", "// console.log(process.env)"],
  ["hash.ts", "const a = \"import x from './memory.ts'; Deno.env\";"],
  ["hash.ts", "const a = `import './memory.ts'; console`;"],
  ["hash.ts", "const a = /console'/; const b = '// Deno';"],
  ["hash.ts", "return /Deno[\"'`]/.test(a) ? a / b / c : `${a}console`;"],
  ["hash.ts", "globalThis.process?.getBuiltinModule?.(name);"],
  ["hash.ts", "const processed = { consoles: 1 }; processed.env;"],
  ["env.ts", "(globalThis as Host).Deno?.permissions; console.warn(1);"],
  ["cli.ts", 'import { x } from "./mod.ts"; process.exit(console.log(x));'],
  [
    "mod.ts",
    '/** Doc. */\nexport { a, type B } from "./hash.ts";\nexport type { C } from "./cache.ts";\n',
  ],
];

for (const [file, source] of GOOD) {
  test(`the scan of ${file} accepts ${JSON.stringify(source)}`, () => {
    assertEquals(problemsOf(file, source, ["a-package"]), []);
  });
}
