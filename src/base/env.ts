/**
 * The environment: variables, console output, the terminal, and permissions.
 *
 * This is the only library module that touches environment variables, console streams or
 * permissions, and it touches them when asked, never when imported.
 *
 * @module
 */

/** The shape of the one permission API that answers without asking the user. */
interface PermissionHost {
  Deno?: {
    permissions?: {
      querySync?: (
        descriptor: { name: "env"; variable: string } | { name: "read" | "write"; path: string },
      ) => { state: string };
    };
  };
}

/**
 * Whether a permission is there, without prompting for it.
 *
 * Reading a variable or a file without permission makes Deno stop and ask on a terminal, and only
 * its own API tells beforehand. Runtimes without such an API answer true: they never ask.
 */
function permitted(
  descriptor:
    | { name: "env"; variable: string }
    | {
      name: "read" | "write";
      path: string;
    },
): boolean {
  const answer = (globalThis as PermissionHost).Deno?.permissions?.querySync?.(descriptor);
  return answer === undefined || answer.state === "granted";
}

/** Whether this file may be read, or written, without the runtime asking the user. */
export function mayAccess(access: "read" | "write", path: string): boolean {
  return permitted({ name: access, path });
}

/** The value of a variable; unset, forbidden, or no environment at all is `undefined`. */
export function variable(name: string): string | undefined {
  if (!permitted({ name: "env", variable: name })) return undefined;
  return globalThis.process?.env?.[name];
}

/** Writes a line for the user to stderr. */
export function warn(message: string): void {
  console.warn(message);
}

/** Where progress is drawn. */
export interface Terminal {
  /** How wide it is now, in characters; `undefined` where lines are all that can be written. */
  readonly columns: number | undefined;
  /** Writes a text as it is; without `columns` it is whole lines, each with its end. */
  write(text: string): void;
}

/** The width of a terminal that does not tell its own. */
const DEFAULT_COLUMNS = 80;

/**
 * The terminal behind stderr. Where there is none, or one that cannot move its cursor
 * (`TERM=dumb`), it takes lines and hands them to the console.
 */
export function terminal(): Terminal {
  const { process } = globalThis;
  const stream = process?.stderr;
  const files = process?.getBuiltinModule?.("node:fs");
  if (stream?.isTTY !== true || files === undefined || variable("TERM") === "dumb") {
    return {
      columns: undefined,
      write: (text) => console.error(text.replace(/\n$/, "")),
    };
  }
  return {
    get columns() {
      // A pseudo-terminal may say 0.
      return stream.columns || DEFAULT_COLUMNS;
    },
    write(text) {
      try {
        // The stream would throw an uncaught error later when the terminal is closed meanwhile.
        files.writeSync(2, text);
      } catch {
        // A line that cannot be drawn is no reason to stop the work.
      }
    },
  };
}
