/**
 * The command `panza`: lists, checks, copies and deletes the entries of stores.
 *
 * ```sh
 * deno run -RW jsr:@panza/panza/cli ls cache.db
 * npx @panza/panza ls cache.db
 * ```
 *
 * It is run, never imported. `panza --help` names the commands.
 *
 * @module
 */

import { main } from "./src/cli/main.ts";

await main();
