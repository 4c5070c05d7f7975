/**
 * The environment: variables, console output, the terminal, and permissions.
 *
 * This is the only library module that touches environment variables, console streams or
 * permissions, and it touches them when asked, never when imported.
 *
 * @module
 */

import { builtin } from "./runtime.ts";

/** What a permission is for. */
type PermissionDescriptor =
  | { name: "env"; variable?: string }
  | { name: "read" | "write"; path: string }
  | { name: "net"; host: string }
  | { name: "sys"; kind: "uid" };

/** The shape of the one permission API that answers without asking the user. */
interface PermissionHost {
  Deno?: {
    permissions?: {
      querySync?: (
        descriptor: PermissionDescriptor,
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
function permitted(descriptor: PermissionDescriptor): boolean {
  const answer = (globalThis as PermissionHost).Deno?.permissions?.querySync?.(descriptor);
  return answer === undefined || answer.state === "granted";
}

/** Whether this file may be read, or written, without the runtime asking the user. */
export function mayAccess(access: "read" | "write", path: string): boolean {
  return permitted({ name: access, path });
}

/** Whether this host and port may be connected to without the runtime asking the user. */
export function mayConnect(host: string): boolean {
  return permitted({ name: "net", host });
}

/** Whether the runtime's file system may ask which user this is, without asking that user. */
export function mayAskForUser(): boolean {
  return permitted({ name: "sys", kind: "uid" });
}

/** Whether every variable may be read without the runtime asking the user. */
export function mayReadEnvironment(): boolean {
  return permitted({ name: "env" });
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
  /** The width now, in characters; `undefined` where only whole lines can be written. */
  readonly columns: number | undefined;
  /** Writes a text as it is: without `columns` whole lines, each with its line break. */
  write(text: string): void;
}

/**
 * The terminal behind stderr. Where there is none, or one that cannot move its cursor
 * (`TERM=dumb`), it takes whole lines and hands them to the console.
 */
export function terminal(): Terminal {
  const stream = globalThis.process?.stderr;
  const files = builtin("node:fs");
  if (stream?.isTTY !== true || files === undefined || variable("TERM") === "dumb") {
    return { columns: undefined, write: (text) => console.error(text.replace(/\n$/, "")) };
  }
  return {
    get columns() {
      // A pseudo-terminal may report 0.
      return stream.columns || 80;
    },
    write(text) {
      try {
        // The stream itself would throw uncaught, later, once the terminal is closed.
        files.writeSync(2, text);
      } catch {
        // A line that cannot be drawn must not stop the work.
      }
    },
  };
}
