/** Makes Node run the tests against the built package: `node --import ./tests/runtimes/node.mjs`. */

import * as module from "node:module";
import { load, resolve } from "./hooks.mjs";

// node:test tracks every promise with async hooks, to tell which test an uncaught error belongs to.
// That takes up to 40 % of a run, and is not needed: each file runs alone, and its output is shown.
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
