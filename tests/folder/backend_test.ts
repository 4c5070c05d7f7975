/** The folder as a store: what it leaves alone, who else may use it, and how it fails. */
import { spawnSync } from "node:child_process";
import { test } from "node:test";
import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertMatch,
  assertRejects,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  promises,
  readdirSync,
  readFileSync,
  realpathSync,
  renameSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { pathToFileURL } from "node:url";
import { type Cache, DamagedEntryError, MemoryCache, TieredCache } from "../../mod.ts";
import { FolderCache } from "../../folder.ts";
import { BackendError } from "../../src/base/errors.ts";
import { FolderBackend } from "../../src/folder/backend.ts";
import { commandOf, launch, start } from "../support/child.ts";
import { entry } from "../support/entry.ts";
import { filesIn, link, namesOf, put, textsIn, withFolder } from "../support/folders.ts";
import { temporaryFolder } from "../support/temp.ts";

/** A folder that is not there yet. */
function newFolder(): string {
  return join(temporaryFolder(), "recordings");
}

/** A cache on a folder, with its reports as kind and message. */
function open(path: string): { cache: FolderCache; reports: string[] } {
  const reports: string[] = [];
  const onError = (error: Error, { kind }: { kind: string }) =>
    void reports.push(`${kind}: ${error.message}`);
  return { cache: new FolderCache(path, { onError }), reports };
}

function double(cache: Cache) {
  return cache.cache({ id: "double" })((n: number) => Promise.resolve({ n, twice: 2 * n }));
}

test("FolderCache keeps one readable file for each result, and finds it again", async () => {
  const path = newFolder();
  const first = open(path).cache;
  const key = await double(first).key(21);
  assertEquals(await double(first)(21), { n: 21, twice: 42 });
  await first.set("a/B", new Date(5));
  await first.close();
  assertEquals(filesIn(path), ["=direct/a=2f+b.json", `double/${key}.json`]);
  const text = readFileSync(join(path, `double/${key}.json`), "utf8");
  assertMatch(text, /^\{\n {2}"panza": 1,\n {2}"id": "double",\n {2}"key": "[0-9a-f]{64}",\n/);
  assert(text.endsWith('  "json": {\n    "n": 21,\n    "twice": 42\n  }\n}\n'));
  const { cache, reports } = open(path);
  assertEquals((await double(cache).detail(21)).status, "hit");
  assertEquals(await cache.get("a/B"), new Date(5));
  await cache.close();
  assertEquals(reports, []);
});

test("FolderCache makes its folder with the first write only", async () => {
  const path = join(newFolder(), "deep");
  const { cache } = open(path);
  assertEquals(await double(cache).readCache(1), { hit: false });
  assertEquals(await namesOf(cache.entries()), []);
  assertEquals(await cache.prune({ maxEntries: 1 }), { entries: 0, bytes: 0 });
  await cache.delete("key");
  await cache.bust("double");
  await cache.bustAll();
  assert(!existsSync(join(path, "..")));
  await double(cache)(1);
  assertEquals(readdirSync(path), ["double"]);
  await cache.close();
});

test("FolderCache with CACHE_ONLY=1 replays what is there, and makes no folder", async () => {
  const path = newFolder();
  const { cache } = open(path);
  await double(cache)(1);
  await cache.close();
  const before = textsIn(path);
  const missing = newFolder();
  const replay = (folder: string) =>
    start("fixtures/folder_child.ts", ["replay", folder], ["-A"], { CACHE_ONLY: "1" }).ended();
  assertEquals(await replay(path), ["2", "CacheOnlyError"]);
  assertEquals(textsIn(path), before);
  assertEquals(await replay(missing), ["CacheOnlyError", "CacheOnlyError"]);
  assert(!existsSync(missing));
});

test("FolderCache reports a file that was edited by hand, and stores the result anew", async () => {
  const path = newFolder();
  const { cache, reports } = open(path);
  const file = join(path, "double", `${await double(cache).key(1)}.json`);
  await double(cache)(1);
  const text = readFileSync(file, "utf8");
  const edits = [
    text.replace('"twice": 2', '"twice": 3'),
    text.replace(/"storedAt": \d/, '"storedAt": 9'),
    text.replace('"id": "double"', '"id": "treble"'),
    text.replace('"json": {', '"json": <<<<<<< HEAD {'),
    text.slice(0, 100),
    "",
  ];
  for (const edit of edits) {
    writeFileSync(file, edit);
    assertEquals((await double(cache).detail(1)).status, "miss", edit);
    assertStringIncludes(reports.shift() ?? "", "damaged: Cannot use the stored entry");
    assertEquals((await double(cache).detail(1)).status, "hit");
  }
  assertEquals(reports, []);
  const batch = double(cache).map([1, 2], { concurrency: 2 });
  writeFileSync(file, text.slice(0, 100));
  assertEquals((await batch.values()).length, 2);
  assertEquals(reports.length, 1);
  await cache.close();
});

test("FolderCache takes a file that a formatter went over", async () => {
  const path = newFolder();
  const { cache, reports } = open(path);
  const file = join(path, "double", `${await double(cache).key(1)}.json`);
  await double(cache)(1);
  writeFileSync(file, JSON.stringify(JSON.parse(readFileSync(file, "utf8")), null, "\t"));
  assertEquals((await double(cache).detail(1)).status, "hit");
  await cache.close();
  assertEquals(reports, []);
});

test("FolderBackend gives no entry under another name than its own", () =>
  withFolder(newFolder(), async (backend) => {
    await backend.set("id", "a", entry("1"));
    const folder = join(backend.location, "id");
    copyFileSync(join(folder, "a.json"), join(folder, "b.json"));
    await assertRejects(() => backend.get("id", "b"), DamagedEntryError);
    assertEquals(await backend.getMany("id", ["b", "a"]), [undefined, entry("1")]);
    assertEquals(await namesOf(backend.entries()), ["id/a"]);
    // The copy still counts as a file of this library.
    await backend.deleteId("id");
    assertEquals(filesIn(backend.location), []);
  }));

test("FolderBackend never changes, deletes or renames a file that is not of this library", () =>
  withFolder(newFolder(), async (backend) => {
    const root = backend.location;
    const foreign = {
      "README.md": "mine",
      "a.json": '{"panza":1,',
      "id/a.json": '{"mine":true}',
      "id/b.json": " ",
      "id/c.json": '{"panza":2,"id":"id"}',
      "id/notes.txt": '{"panza":1,',
      "id/A.json": '{"panza":1,',
      "id/d.json/e.json": '{"panza":1,',
      "id/a.json.tmp": '{"panza":1,',
      "id/f.json.01234567-89ab-4cde-8f01-23456789abcd.tmp": "mine",
      "ID/a.json": '{"panza":1,',
      "file": "in the place of an id",
    };
    for (const [path, text] of Object.entries(foreign)) put(join(root, path), text);
    const [old] = filesIn(join(root, "id")).filter((path) => path.endsWith("d.tmp"));
    utimesSync(join(root, "id", old ?? ""), 0, 0);
    await backend.set("id", "ours", entry("1"));
    for (const key of ["a", "b", "c"]) {
      const reason = await assertRejects(() => backend.set("id", key, entry("1")), BackendError);
      assertStringIncludes(reason.message, "not of this library");
      assertStringIncludes(reason.message, "move it away");
      await assertRejects(() => backend.get("id", key), BackendError, "not of this library");
      await backend.delete("id", key);
    }
    await assertRejects(() => backend.set("id", "d", entry("1")), BackendError);
    await assertRejects(() => backend.get("file", "a"), BackendError);
    assertEquals(await namesOf(backend.entries()), ["id/ours"]);
    await backend.deleteId("file");
    await backend.deleteId("id");
    await backend.set("id", "ours", entry("1"));
    assertEquals((await backend.prune({ storedBefore: Infinity })).entries, 1);
    await backend.set("id", "ours", entry("1"));
    await backend.clear();
    assertEquals(textsIn(root), foreign);
  }));

test("FolderBackend.prune() removes the temporary files of killed processes once they are old", () =>
  withFolder(newFolder(), async (backend) => {
    await backend.set("id", "key", entry("1"));
    const folder = join(backend.location, "id");
    const text = readFileSync(join(folder, "key.json"), "utf8");
    const names = [1, 2, 3].map((n) => `key.json.0123456${n}-89ab-4cde-8f01-23456789abcd.tmp`);
    const texts = [text.slice(0, 60), "", text];
    names.forEach((name, index) => writeFileSync(join(folder, name), texts[index] ?? ""));
    const seconds = Date.now() / 1000;
    for (const name of names.slice(0, 2)) {
      utimesSync(join(folder, name), seconds - 3_660, seconds - 3_660);
    }
    await backend.clear();
    assertEquals(filesIn(folder), names);
    assertEquals(await backend.prune({ maxEntries: 1 }), { entries: 0, bytes: 0 });
    assertEquals(filesIn(folder), names.slice(2));
  }));

test("FolderBackend leaves no temporary file behind, whether a write succeeds or fails", () =>
  withFolder(newFolder(), async (backend) => {
    await Promise.all([1, 2, 3].map((n) => backend.set("id", "key", entry(`${n}`))));
    mkdirSync(join(backend.location, "id", "folder.json"));
    await assertRejects(() => backend.set("id", "folder", entry("1")), BackendError);
    // A full disk, or a folder that just came into the place of the file.
    const { rename } = promises;
    promises.rename = () => Promise.reject(Object.assign(new Error("full"), { code: "ENOSPC" }));
    try {
      await assertRejects(() => backend.set("id", "key", entry("4")), BackendError, "ENOSPC");
    } finally {
      promises.rename = rename;
    }
    assertEquals(filesIn(backend.location), ["id/key.json"]);
  }));

test("FolderBackend has every acknowledged entry whole after a process was killed", async () => {
  const path = newFolder();
  for (const last of ["key19", "key199"]) {
    const child = start("fixtures/folder_child.ts", ["write", path]);
    await child.said(last);
    const acknowledged = (await child.kill()).filter((line) => line.startsWith("key"));
    assert(acknowledged.length > 10);
    await withFolder(path, async (backend) => {
      const found = await backend.getMany("child", acknowledged);
      acknowledged.forEach((key, index) => assertEquals(found[index]?.data, key.repeat(5_000)));
      // An entry that the child was writing is there as a whole, or not at all.
      for await (const { key, size } of backend.entries()) assertEquals(size, key.length * 5_000);
    });
  }
});

test("FolderBackend lets two processes write one entry at once, and readers see one of both", async () => {
  const path = newFolder();
  const child = start("fixtures/folder_child.ts", ["race", path]);
  const ended = child.ended();
  const own = "parent ".repeat(10_000);
  const seen = new Set<string>();
  await child.said("begun");
  await withFolder(path, async (backend) => {
    let isOver = false;
    void ended.finally(() => isOver = true).catch(() => {});
    while (!isOver) {
      const [, found] = await Promise.all([
        backend.set("id", "key", entry(own)),
        backend.get("id", "key"),
      ]);
      seen.add(String(found?.data));
    }
    await ended;
  });
  assertEquals([...seen].filter((text) => text !== own && text !== "child ".repeat(10_000)), []);
  assertEquals(filesIn(path), ["id/key.json"]);
});

test("FolderCache reads a folder that it may not write, and reports writes", async () => {
  const recorded = newFolder();
  const cache = new FolderCache(recorded);
  await cache.cache({ id: "double" })((n: number) => Promise.resolve(2 * n))(1);
  await cache.close();
  // A copy for the other user: the folders above this checkout may be closed to others.
  const shell = (command: string, ...args: string[]): string =>
    spawnSync("sh", ["-euc", command, "sh", ...args], { encoding: "utf8" }).stdout.trim();
  const path = shell(
    'to=$(mktemp -d); cp -r "$1/." "$to"; chmod -R a+rX,a-w "$to"; echo "$to"',
    recorded,
  );
  const lines = await start("fixtures/folder_child.ts", ["guest", path]).ended();
  shell('chmod -R u+w "$1"; rm -r "$1"', path);
  const [hit, ...rest] = lines;
  assertEquals(hit, "hit 2");
  assertEquals(rest.length, 3, lines.join("\n"));
  const reports = rest.filter((line) => line.startsWith("write "));
  assertEquals(reports.length, 2);
  assertStringIncludes(reports[0] ?? "", "EACCES: permission denied; let this process read and");
  assertStringIncludes(rest.at(-1) ?? "", "miss 4");
});

test("FolderCache warns once about a folder that it may not write", async () => {
  const path = join(temporaryFolder(), "file");
  writeFileSync(path, "mine");
  const warnings: string[] = [];
  const { warn } = console;
  console.warn = (message: string) => void warnings.push(message);
  try {
    const cache = new FolderCache(path);
    for (const n of [1, 2, 3]) assertEquals((await double(cache)(n)).twice, 2 * n);
    await cache.close();
  } finally {
    console.warn = warn;
  }
  assertEquals(warnings.length, 2);
  for (const [index, kind] of ["read", "write"].entries()) {
    assertStringIncludes(warnings[index] ?? "", `Cannot ${kind} in folder ${path}: ENOTDIR`);
    assertStringIncludes(warnings[index] ?? "", "use the path of a folder");
  }
  assertEquals(readFileSync(path, "utf8"), "mine");
});

test("FolderBackend rejects where a file cannot be read, and removes the others", async () => {
  const path = newFolder();
  await withFolder(path, async (backend) => {
    for (const key of ["a", "b", "c"]) await backend.set("id", key, entry("1"));
    const file = join(path, "id", "b.json");
    renameSync(file, join(path, "away"));
    // Not even root can read a link to itself.
    link("b.json", file);
    await assertRejects(() => backend.get("id", "b"), BackendError, "ELOOP");
    await assertRejects(() => backend.getMany("id", ["a", "b"]), BackendError);
    await assertRejects(() => namesOf(backend.entries()), BackendError);
    for (const remove of [() => backend.delete("id", "b"), () => backend.deleteId("id")]) {
      await assertRejects(remove, BackendError, "ELOOP");
    }
    assertEquals(readdirSync(join(path, "id")), ["b.json"]);
    const { cache, reports } = open(path);
    assertEquals(await cache.read("x"), { hit: false });
    await assertRejects(() => cache.bustAll(), BackendError);
    await cache.close();
    assertEquals(reports, []);
  });
});

test("FolderBackend has no path of an entry, id, key or value in its errors and their causes", () =>
  withFolder(newFolder(), async (backend) => {
    await backend.set("secret", "secret", entry('"secret"'));
    const file = join(backend.location, "secret", "secret.json");
    renameSync(file, `${file}.away`);
    link("secret.json", file);
    const error = await assertRejects(() => backend.get("secret", "secret"), BackendError);
    assertInstanceOf(error.cause, Error);
    for (const each of [error, error.cause]) {
      const members = Object.getOwnPropertyNames(each).filter((name) => name !== "stack");
      const texts = members.map((name) => String(Reflect.get(each, name)));
      assertEquals(texts.filter((text) => text.includes("secret")), []);
    }
  }));

test("FolderBackend names the flags when Deno grants no permission, and never asks", async () => {
  const path = newFolder();
  const run = (...flags: string[]) =>
    start("fixtures/folder_child.ts", ["store", path], flags).ended();
  const both = [`--allow-read=${path}`, `--allow-write=${path}`];
  assertEquals(await run(...both), ["stored 1"]);
  if (!("Deno" in globalThis)) return;
  // Without any flag, Deno's child_process adds one that allows everything.
  for (const flag of ["--deny-net", `--allow-write=${path}`]) {
    const [line] = await run(flag);
    assertStringIncludes(line ?? "", "read permission is missing; run with " + both.join(" "));
  }
  const [stored, found] = await run(`--allow-read=${path}`);
  assertStringIncludes(stored ?? "", "write permission is missing; run with " + both.join(" "));
  assertEquals(found, "found 1");
});

test("FolderBackend.location is the real path, before and after the folder is there", () => {
  const parent = temporaryFolder();
  link(parent, join(parent, "link"));
  const real = join(realpathSync(parent), "new");
  for (let round = 0; round < 2; round++) {
    for (const path of [join(parent, "new"), join(parent, "link", "..", "new", ".")]) {
      assertEquals(new FolderBackend(path).location, real);
    }
    assertEquals(new FolderBackend(pathToFileURL(join(parent, "link", "new"))).location, real);
    mkdirSync(real, { recursive: true });
  }
});

test("FolderCache refuses a second function of one name over the same folder", async () => {
  const path = newFolder();
  const [one, other] = [new FolderCache(path), new FolderCache(`${path}/.`)];
  const named = () =>
    function same() {
      return Promise.resolve(1);
    };
  one.cache({})(named());
  assertThrows(() => other.cache({})(named()), TypeError, "another function");
  await one.close();
  other.cache({})(named());
  await other.close();
});

test("new FolderCache() refuses what is not a path", () => {
  for (const wrong of ["", 1, null, "https://user:secret@host/", new URL("https://host/"), "a\0"]) {
    const error = assertThrows(() => Reflect.construct(FolderCache, [wrong]), TypeError);
    assertStringIncludes(error.message, "folder must be a path or a file: URL object");
    assert(!error.message.includes("secret"));
  }
});

test("FolderCache is a tier, and hides its values when it encrypts", async () => {
  const path = newFolder();
  const encrypt = await crypto.subtle.generateKey({ name: "AES-GCM", length: 256 }, false, [
    "encrypt",
    "decrypt",
  ]);
  const tiers = () => new TieredCache([new MemoryCache(), new FolderCache(path)], { encrypt });
  const first = tiers();
  await first.set("key", "the value");
  await first.close();
  const [text = ""] = Object.values(textsIn(path));
  assert(!text.includes("the value"));
  assertStringIncludes(text, '"base64": "');
  const second = tiers();
  assertEquals(await second.get("key"), "the value");
  await second.close();
});

test("FolderBackend reads and writes more files at once than its process may open", async () => {
  const child = commandOf("fixtures/folder_child.ts", ["-A"]);
  const shell = ["-c", 'ulimit -n 128 && exec "$@"', "sh"];
  const { stdout, stderr } = await launch(["sh", ...shell, ...child, "many", newFolder()], {})
    .end();
  assertEquals(stdout, "kept 1000\n", stderr);
});

test("FolderBackend says what is missing where the runtime has no files", async () => {
  const backend = new FolderBackend("recordings");
  const original = process.getBuiltinModule;
  process.getBuiltinModule = () => undefined as never;
  try {
    await assertRejects(() => backend.get("id", "a"), BackendError, "this runtime has no node:fs");
  } finally {
    process.getBuiltinModule = original;
  }
  await backend.close();
});
