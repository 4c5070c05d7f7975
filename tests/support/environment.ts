/** Environment variables of a test. */

import process from "node:process";

/**
 * Sets variables for the code of this test file alone: on Deno, files that run at the same time
 * share the real variables.
 */
export async function withVariables<Result>(
  variables: Readonly<Record<string, string>>,
  work: () => Promise<Result>,
): Promise<Result> {
  const kept = process.env;
  process.env = { ...kept, ...variables };
  try {
    return await work();
  } finally {
    process.env = kept;
  }
}
