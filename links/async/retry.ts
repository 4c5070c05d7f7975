// @ts-types="./retry.d.ts"
export { retry, RetryError } from "npm:deno-std@1.4.0/async/retry.js";
export type { RetryOptions } from "./retry.d.ts";
