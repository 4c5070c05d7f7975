/**
 * What a backend is tested with: the conformance kit, one or more tests for each numbered clause
 * of the backend contract, and a backend that fails on demand.
 *
 * The kit works with any test runner and imports none.
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
export {
  type FailOptions,
  FaultyBackend,
  type FaultyOptions,
  type Operation,
} from "./src/testing/faulty.ts";
