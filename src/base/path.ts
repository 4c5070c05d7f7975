/**
 * Paths given by users.
 *
 * @module
 */

import { mayAccess } from "./env.ts";
import { optionMessage } from "./errors.ts";
import { builtin } from "./runtime.ts";

/**
 * Checks a path, and converts a `file:` URL into one.
 *
 * @param action The verb phrase after "Cannot" in the message.
 * @param name The name of the parameter.
 * @param rule The words after "must be" in the message.
 * @throws {TypeError} If `given` is not a path.
 */
export function pathOf(action: string, name: string, rule: string, given: unknown): string {
  const isURL = given instanceof URL;
  const path = isURL && given.protocol === "file:"
    ? (builtin("node:url")?.fileURLToPath(given) ?? given.pathname)
    : given;
  // SQLite would take an empty path for a temporary database, and `file:` for a URI with options.
  // What looks like another URL may hold a password, so it is not quoted.
  const isPath = typeof path === "string" && path !== "" && !path.includes("\0") &&
    !/^(file:|[a-z][a-z0-9+.-]+:\/\/)/i.test(path);
  if (isPath) return path;
  const received = isURL || typeof path === "string" && path.includes("://") ? {} : path;
  throw new TypeError(optionMessage(action, name, rule, received));
}

/** The target of a path, even if nothing exists there yet, as far as this process may read it. */
export function realPath(path: string): string {
  const nodePath = builtin("node:path");
  const files = builtin("node:fs");
  if (nodePath === undefined || files === undefined || !mayAccess("read", path)) return path;
  try {
    return files.realpathSync(path);
  } catch {
    // Nothing exists there yet.
  }
  let target = path;
  try {
    target = nodePath.resolve(nodePath.dirname(path), files.readlinkSync(path));
  } catch {
    // Nor is it a link to something that does not exist yet.
  }
  const folder = nodePath.dirname(target);
  return folder === target ? target : nodePath.join(realPath(folder), nodePath.basename(target));
}
