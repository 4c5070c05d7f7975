/**
 * The built-in modules of the runtime, loaded when they are needed.
 *
 * @module
 */

/** The built-in modules that the library uses where they exist. */
interface Builtins {
  "node:async_hooks": typeof import("node:async_hooks");
  "node:buffer": typeof import("node:buffer");
  "node:crypto": typeof import("node:crypto");
  "node:fs": typeof import("node:fs");
  "node:path": typeof import("node:path");
  "node:timers": typeof import("node:timers");
  "node:sqlite": typeof import("node:sqlite");
  "node:stream": typeof import("node:stream");
  "node:url": typeof import("node:url");
  "node:util": typeof import("node:util");
  "node:zlib": typeof import("node:zlib");
}

/**
 * A module that is built into Deno, Node and Bun, or `undefined` where there is none (a browser).
 * Nothing is loaded before the call, and bundlers see no import.
 */
export function builtin<Name extends keyof Builtins>(name: Name): Builtins[Name] | undefined {
  return globalThis.process?.getBuiltinModule?.(name) as Builtins[Name] | undefined;
}
