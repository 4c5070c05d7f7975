// @ts-types="./mod.d.ts"
export { assertRejects } from "npm:deno-std@1.4.0/assert/rejects.js";
