/**
 * A plugin of `deno lint`: published files do not use `console`, `process` or `Deno`, so that the
 * library prints nothing and runs everywhere. Only `src/base` may use the first two, and may look
 * for `globalThis.Deno`.
 */

import { relative } from "node:path/posix";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("../", import.meta.url));

const plugin: Deno.lint.Plugin = {
  name: "panza",
  rules: {
    "no-host-globals": {
      create(context): Deno.lint.LintVisitor {
        const file = relative(ROOT, context.filename).replaceAll("\\", "/");
        if (!/^(src\/.+|[^/]+)\.ts$/.test(file)) return {};
        return {
          "Identifier[name=/^(console|process|Deno)$/]"(node: Deno.lint.Identifier): void {
            const { parent, name } = node;
            const isMember = parent.type === "MemberExpression" && parent.property === node;
            if (isMember && !context.sourceCode.getText(parent.object).includes("globalThis")) {
              return;
            }
            // The name of a member; in `{ process }` the value is another node.
            if ("key" in parent && parent.key === node) return;
            if (file.startsWith("src/base/") && (name !== "Deno" || isMember)) return;
            context.report({ node, message: `Only src/base may use ${name} in published files` });
          },
        };
      },
    },
  },
};

export default plugin;
