/** Makes Node run the tests against the built package: `node --import ./tests/runtimes/node.mjs`. */

import * as module from "node:module";
import { load, resolve } from "./hooks.mjs";

// Node 22.13 has hooks on a thread of their own only, which later versions deprecate.
if (module.registerHooks === undefined) {
  module.register("./hooks.mjs", import.meta.url);
} else module.registerHooks({ resolve, load });
