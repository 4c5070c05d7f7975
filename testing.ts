/**
 * The conformance kit for backends: one or more tests for each numbered clause of the contract. It
 * works with any test runner and imports none.
 *
 * @module
 */

export type { Backend } from "./src/backend/contract.ts";
export {
  type OpenStore,
  type RegisterTest,
  testBackend,
  type TestOptions,
} from "./src/testing/kit.ts";
