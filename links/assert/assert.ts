// @ts-types="./mod.d.ts"
export { assert } from "npm:deno-std@1.4.0/assert/assert.js";
