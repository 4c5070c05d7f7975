/** Example programs in separate processes. */
import { type Child, commandOf, type Ended, launch, type Surroundings } from "./child.ts";

/** The surroundings of an example; its stdin is empty when unset. */
export interface Start extends Surroundings {
  readonly cwd: string;
  /** Permissions, where the runtime has them. */
  readonly permissions: readonly string[];
}

/** Starts an example. */
export function start(
  example: string,
  parameters: readonly string[],
  { permissions, variables, ...surroundings }: Start,
): Child {
  return launch([...commandOf(`../examples/${example}`, permissions), ...parameters], {
    stdin: "",
    ...surroundings,
    variables: { NO_COLOR: "1", ...variables },
  });
}

/** Runs an example to its end. */
export async function run(
  example: string,
  parameters: readonly string[],
  options: Start,
): Promise<Ended> {
  return await start(example, parameters, options).end();
}
