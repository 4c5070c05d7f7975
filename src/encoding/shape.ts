/**
 * What kind of object a value is, and how to name a place inside of it: shared by keys and values.
 *
 * @module
 */

/**
 * How many objects may stand inside each other. Real data stays below 20; the bound keeps a
 * hostile one from exhausting the stack, on the smallest default stack of the three runtimes.
 */
export const MAX_DEPTH = 1000;

/** The name of the class that an object is of. */
export function className(value: object): string {
  const maker: unknown = Object.getPrototypeOf(value)?.constructor;
  // A class may have a static member `name` of its own, of any type.
  const name: unknown = typeof maker === "function" ? maker.name : undefined;
  return typeof name === "string" && name !== "" ? name : "anonymous";
}

/** The real name of a view's type, which neither a subclass nor a realm can change. */
const viewType = Object.getOwnPropertyDescriptor(
  Object.getPrototypeOf(Uint8Array.prototype),
  Symbol.toStringTag,
)?.get;

/** The type of a view, whatever class it was derived to: `Uint8Array`, …, `DataView`. */
export function viewName(view: ArrayBufferView): string {
  return String(viewType?.call(view) ?? "DataView");
}

/** What can follow a dot: an identifier, or the call of one. */
const NAME = /^[\p{ID_Start}$_][\p{ID_Continue}$]*(\(\))?$/u;

/** Of a longer path only the beginning and the end are worth reading. */
const MAX_STEPS = 16;

/** A path as one would write it in code: `args[0].client["odd name"]`. */
export function formatPath(root: string, steps: readonly (string | number)[]): string {
  const shown = steps.length <= MAX_STEPS
    ? steps
    : [...steps.slice(0, MAX_STEPS - 2), "…", ...steps.slice(-1)];
  let path = root;
  for (const step of shown) {
    if (typeof step === "number") path += `[${step}]`;
    else if (step === "…") path += "…";
    else if (NAME.test(step)) path += `.${step}`;
    else path += `[${JSON.stringify(step)}]`;
  }
  return path;
}
