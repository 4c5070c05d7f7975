// @ts-types="./mod.d.ts"
export { equal } from "npm:deno-std@1.4.0/assert/equal.js";
