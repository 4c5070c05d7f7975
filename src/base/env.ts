/**
 * The environment: variables, console output, the terminal, and permissions.
 *
 * No other library module touches environment variables, console streams or permissions. This one
 * touches them only when called, never when imported.
 *
 * @module
 */

import { builtin } from "./runtime.ts";

/** A permission to query. */
type PermissionDescriptor =
  | { name: "env"; variable?: string }
  | { name: "read" | "write"; path: string }
  | { name: "net"; host: string }
  | { name: "sys"; kind: "uid" };

/** The shape of the one permission API that answers without a prompt. */
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
 * Whether a permission is granted, without prompting for it.
 *
 * Reading a variable or a file without permission makes Deno stop and prompt on a terminal. Only
 * its own API reports that beforehand. Runtimes without such an API never prompt, so this is true.
 */
function permitted(descriptor: PermissionDescriptor): boolean {
  const answer = (globalThis as PermissionHost).Deno?.permissions?.querySync?.(descriptor);
  return answer === undefined || answer.state === "granted";
}

/** Whether this file may be read, or written, without a prompt. */
export function mayAccess(access: "read" | "write", path: string): boolean {
  return permitted({ name: access, path });
}

/** Whether this host and port may be connected to without a prompt. */
export function mayConnect(host: string): boolean {
  return permitted({ name: "net", host });
}

/** Whether the runtime's file system may look up the user id without a prompt. */
export function mayAskForUser(): boolean {
  return permitted({ name: "sys", kind: "uid" });
}

/** Whether every variable may be read without a prompt. */
export function mayReadEnvironment(): boolean {
  return permitted({ name: "env" });
}

/** The value of a variable; `undefined` if unset, forbidden, or without any environment. */
export function variable(name: string): string | undefined {
  if (!permitted({ name: "env", variable: name })) return undefined;
  return globalThis.process?.env?.[name];
}

/** Writes a line for the user to stderr. */
export function warn(message: string): void {
  console.warn(message);
}

/** The output on which progress is drawn. */
export interface Terminal {
  /** The current width, in characters; `undefined` where only whole lines can be written. */
  readonly columns: number | undefined;
  /** Writes a text unchanged; without `columns`, whole lines only, each with its line break. */
  write(text: string): void;
}

/**
 * The terminal behind stderr. Without a terminal, or with one that cannot move its cursor
 * (`TERM=dumb`), whole lines go to the console.
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
        // Once the terminal is closed, the stream itself would throw later, uncaught.
        files.writeSync(2, text);
      } catch {
        // A line that cannot be drawn must not stop the work.
      }
    },
  };
}
