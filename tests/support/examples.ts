/** Example programs as processes of their own. */
import { type Child, commandOf, type Ended, launch, type Surroundings } from "./child.ts";

/** How an example is started; it reads nothing from stdin unless told. */
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
