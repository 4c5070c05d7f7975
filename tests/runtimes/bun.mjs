/** Makes Bun run the tests against the built package: `bun test --preload ./tests/runtimes/bun.mjs`. */

import { fileURLToPath, pathToFileURL } from "node:url";
import { map, PROJECT, transpiled } from "./hooks.mjs";

const project = fileURLToPath(PROJECT);

/** The target of an import, as Bun names it. */
function locate(specifier, from) {
  const to = map(specifier, from);
  if (to === undefined) return specifier;
  if (to.startsWith("file:")) return fileURLToPath(to);
  try {
    return Bun.resolveSync(to, project);
  } catch {
    // A text that only looks like an import.
    return specifier;
  }
}

Bun.plugin({
  name: "built package",
  setup(build) {
    build.onLoad({ filter: /\.ts$/ }, ({ path }) => {
      const url = pathToFileURL(path).href;
      // `bun test` asks no onResolve for packages, so imports are replaced when a source is loaded.
      const contents = transpiled(url)?.replace(
        /(^import |\bfrom |\bimport\()"([^"\n]+)"/gm,
        (_, start, specifier) => start + JSON.stringify(locate(specifier, url)),
      );
      return contents === undefined ? undefined : { contents, loader: "js" };
    });
  },
});
