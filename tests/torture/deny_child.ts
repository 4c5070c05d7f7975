/**
 * Takes its own rights away while it uses a cache. `<folder> modes` takes those of files and gives
 * them back; `<folder> revoke [read] [write]` takes those of the process, for good.
 */

// deno-lint-ignore-file no-console -- its output is what the test reads

import { chmodSync, existsSync, mkdirSync, readdirSync } from "node:fs";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { isDeepStrictEqual } from "node:util";
import { SQLiteCache } from "../../sqlite.ts";
import { smallValue } from "./values.ts";

const [, , folder = "", how, ...names] = process.argv;

const troubles: string[] = [];
process.on("unhandledRejection", (error) => troubles.push(`lost: ${error}`));

/** An open cache and the kinds of its reports. */
interface Open {
  readonly told: Set<string>;
  /** Calls a function for these inputs in every way; returns the number of runs. */
  use(inputs: readonly number[], what: string): Promise<number>;
  close(): Promise<void>;
}

function open(path: string): Open {
  const told = new Set<string>();
  const cache = new SQLiteCache(path, {
    onError: (error, { kind }) => {
      told.add(kind);
      if (!["lease", "read", "write"].includes(kind)) {
        troubles.push(`${kind}: ${error.message}`);
      }
    },
  });
  let runs = 0;
  const fn = cache.cache({ id: "work" })(async (n: number) => {
    runs++;
    return await Promise.resolve(smallValue(n));
  });
  return {
    told,
    close: () => cache.close(),
    use: async (inputs, what) => {
      runs = 0;
      try {
        for (const n of inputs) {
          if (!isDeepStrictEqual(await fn(n), smallValue(n))) {
            troubles.push(`${what}: a wrong value`);
          }
        }
        const all = await fn.map(inputs, { concurrency: 3 }).values();
        if (!isDeepStrictEqual(all, inputs.map(smallValue))) {
          troubles.push(`${what}: a wrong batch`);
        }
      } catch (error) {
        troubles.push(`${what}: ${error}`);
      }
      return runs;
    },
  };
}

/** Moves the clock on by 1 s, because caches look at their files at an interval. */
function skip(): void {
  const now = performance.now.bind(performance);
  Object.defineProperty(performance, "now", {
    value: () => now() + 1000,
    configurable: true,
    writable: true,
  });
}

/** Node before 22.15 opens no URI, so its SQLite must make a log beside a file that it reads. */
const READS_MEDIA = "Deno" in globalThis || "Bun" in globalThis ||
  !/^22\.1[34]\./.test(process.versions.node);

/** Files and folders, and the modes that they are changed to. */
const MODES: Readonly<Record<string, readonly (readonly [suffix: string, mode: number])[]>> = {
  "a file to read": [["/cache.db", 0o444]],
  "a file to write": [["/cache.db", 0o222]],
  "a file for nobody": [["/cache.db", 0]],
  "a log to read": [["/cache.db-wal", 0o444]],
  "a log for nobody": [["/cache.db-wal", 0]],
  "an index for nobody": [["/cache.db-shm", 0]],
  "a folder to read": [["", 0o555]],
  "a folder for nobody": [["", 0]],
  "everything to read": [
    ["/cache.db", 0o444],
    ["/cache.db-wal", 0o444],
    ["/cache.db-shm", 0o444],
    ["", 0o555],
  ],
};

async function modes(): Promise<void> {
  for (const [index, [what, changes]] of Object.entries(MODES).entries()) {
    const place = join(folder, `${index}`);
    mkdirSync(place);
    const path = join(place, "cache.db");
    const first = open(path);
    await first.use([1, 2, 3], what);
    // A log or an index that is made anew has the mode of the file.
    const change = (modeOf: (mode: number) => number): void => {
      for (const [suffix, mode] of changes) {
        if (suffix === "" || existsSync(place + suffix)) {
          chmodSync(place + suffix, modeOf(mode));
        }
      }
    };
    change((mode) => mode);
    await first.use([1, 2, 3, 4, 5], `${what}, at once`);
    skip();
    await first.use([1, 6, 7], `${what}, later`);
    const second = open(path);
    await second.use([1, 2, 8, 9], `${what}, opened`);
    if (changes.some(([suffix]) => suffix === "")) chmodSync(place, 0o777);
    change(() => 0o777);
    skip();
    for (const cache of [first, second]) {
      cache.told.clear();
      await cache.use([1, 4, 6, 8], `${what}, given back`);
      if (cache.told.size > 0) {
        troubles.push(`${what}: told after all was well again`);
      }
    }
    const third = open(path);
    if ((await third.use([1, 4, 6, 8], `${what}, anew`)) > 0) {
      troubles.push(`${what}: something was lost`);
    }
    for (const cache of [first, second, third]) await cache.close();
    // A closed database in a folder in which no file can be made, as on read-only media.
    for (const mode of READS_MEDIA ? [0o555, 0o755] : [0o755]) {
      chmodSync(place, mode);
      const closed = open(path);
      if ((await closed.use([1, 4, 6, 8], `${what}, closed`)) > 0) {
        troubles.push(`${what}: it is not read in a folder of mode ${mode.toString(8)}`);
      }
      await closed.close();
    }
    const left = readdirSync(place).filter((name) => name.includes(".panza-"));
    if (left.length > 0) troubles.push(`${what}: a healthy file was left: ${left}`);
  }
}

async function revoke(): Promise<void> {
  const permissions: unknown = Reflect.get(Reflect.get(globalThis, "Deno") ?? {}, "permissions");
  if (typeof permissions !== "object" || permissions === null) {
    console.log("unbound");
    return;
  }
  const path = join(folder, "cache.db");
  const first = open(path);
  await first.use([1, 2, 3], "before");
  for (const name of names) {
    const take: unknown = Reflect.get(permissions, "revoke");
    if (typeof take !== "function") throw new Error("nothing can be revoked");
    await Reflect.apply(take, permissions, [{ name }]);
  }
  await first.use([1, 2, 3, 4], "at once");
  skip();
  await first.use([1, 5, 6], "later");
  const second = open(path);
  await second.use([1, 2, 7], "opened");
  const third = open(join(folder, "new.db"));
  await third.use([1, 2], "a new file");
  if (third.told.size === 0) troubles.push("nothing was told");
  for (const cache of [first, second, third]) await cache.close();
}

/** Whether the modes of files bind this process; they do not bind root. */
function isBound(): boolean {
  const file = join(folder, "bound");
  writeFileSync(file, "");
  chmodSync(file, 0);
  try {
    readFileSync(file);
    return false;
  } catch {
    return true;
  }
}

if (how === "revoke") await revoke();
else if (isBound()) await modes();
else console.log("unbound");
console.log(JSON.stringify(troubles));
