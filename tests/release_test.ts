/** The substitute for jsr.io, `links/` and the `deno-std` behind it, stays in the checkout. */

import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path/posix";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { assert, assertEquals } from "@std/assert";
import { configuration, unlinked } from "../scripts/tools.ts";

const ROOT = fileURLToPath(new URL("../", import.meta.url));

/** Every file that `deno publish` takes for a list of paths, folders and `*.ts`. */
function published(include: readonly string[]): string[] {
  const all = readdirSync(ROOT, { encoding: "utf8" });
  return include.flatMap((path) => {
    if (path === "*.ts") return all.filter((file) => file.endsWith(".ts"));
    if (/\.\w+$|^LICENSE$/.test(path)) return [path];
    return readdirSync(join(ROOT, path), { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => join(entry.parentPath, entry.name).slice(ROOT.length));
  });
}

test("unlinked() leaves no link and no path of one in the configuration", () => {
  const own = configuration();
  const include = own.publish.include.filter((path) => !path.startsWith("links"));
  const linked = {
    ...own,
    links: ["./links/async", "./links/assert"],
    publish: { include: ["links/async", ...include] },
  };
  const { links: _links, ...expected } = { ...own, publish: { include } };
  assertEquals(unlinked(linked), expected);
  assert(!/"links"|links\/|deno-std/.test(JSON.stringify(unlinked(own))));
});

test("No published file names what stands for jsr.io", () => {
  const files = published(unlinked(configuration()).publish.include);
  assert(files.includes("mod.ts") && files.includes("src/core/cache.ts"), files.join());
  const text = (file: string) => readFileSync(join(ROOT, file), "utf8");
  assertEquals(files.filter((file) => file.startsWith("links/")), []);
  const named = files.filter((file) => file !== "deno.json" && /deno-std|links\//.test(text(file)));
  assertEquals(named, []);
});

test("Every page is short, and its links lead to files that are published", () => {
  const files = published(unlinked(configuration()).publish.include);
  const pages = files.filter((file) => file.endsWith(".md"));
  assert(pages.includes("README.md") && pages.includes("docs/keys.md"), pages.join());
  for (const page of pages) {
    const text = readFileSync(join(ROOT, page), "utf8");
    const longest = page.startsWith("docs/") ? 6_000 : 12_000;
    assert(new TextEncoder().encode(text).length <= longest, `${page} is too long`);
    for (const [, link = ""] of text.matchAll(/\]\(([^)]+)\)/g)) {
      if (/^https?:/.test(link)) continue;
      const [path = "", heading = ""] = link.split("#");
      const target = path === "" ? page : join(page, "..", path);
      assert(files.includes(target), `${page} links to ${link}`);
      const headings = [...readFileSync(join(ROOT, target), "utf8").matchAll(/^#+ (.*)$/gm)]
        .map(([, title = ""]) => title.toLowerCase().replace(/[^\w ]/g, "").replaceAll(" ", "-"));
      assert(heading === "" || headings.includes(heading), `${page} links to ${link}`);
    }
  }
});

test("The module that JSR shows opens like the README", () => {
  const [, block = ""] =
    /^```ts\n([^]*?)^```$/m.exec(readFileSync(join(ROOT, "README.md"), "utf8")) ??
      [];
  const doc = readFileSync(join(ROOT, "mod.ts"), "utf8").replace(/^ \* ?/gm, "");
  assert(block !== "" && doc.includes(block), block);
});
