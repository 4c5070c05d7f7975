/** Makes Node run the tests against the built package: `node --import ./tests/runtimes/node.mjs`. */

import * as module from "node:module";
import { load, resolve } from "./hooks.mjs";

// node:test follows every promise by async hooks, to name the test that an uncaught error belongs
// to. That takes up to 40 % of a run, and each file runs alone: an error names its file anyway.
if (process.argv[1]?.endsWith("_test.ts")) {
  const hooks = module.createRequire(import.meta.url)("node:async_hooks");
  const { createHook } = hooks;
  hooks.createHook = () => ({ enable() {}, disable() {} });
  await import("node:test");
  hooks.createHook = createHook;
}

// Node 22.13 has hooks on a thread of their own only, which later versions deprecate.
if (module.registerHooks === undefined) {
  module.register("./hooks.mjs", import.meta.url);
} else module.registerHooks({ resolve, load });
