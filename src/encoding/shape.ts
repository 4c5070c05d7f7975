/**
 * The shape of objects, for keys and values: their class, their members, and their place in a walk.
 *
 * @module
 */

/**
 * The deepest nesting of objects. Real data stays below 20; the bound keeps hostile data from
 * exhausting the stack, on the smallest default stack of the three runtimes.
 */
export const MAX_DEPTH = 1000;

/** The class name of an object. */
export function className(value: object): string {
  const maker: unknown = Object.getPrototypeOf(value)?.constructor;
  // A class may have its own static member `name`, of any type.
  const name: unknown = typeof maker === "function" ? maker.name : undefined;
  return typeof name === "string" && name !== "" ? name : "anonymous";
}

/** Whether an array has nothing but its elements: neither holes nor named members. */
export function isDense(values: readonly unknown[]): boolean {
  const names = Object.keys(values);
  return names.length === values.length &&
    (names.length === 0 || names[names.length - 1] === `${names.length - 1}`);
}

/** Whether an object has an enumerable member with a symbol for a name. */
export function hasSymbols(value: object): boolean {
  const symbols = Object.getOwnPropertySymbols(value);
  return symbols.length > 0 &&
    symbols.some((symbol) => Object.prototype.propertyIsEnumerable.call(value, symbol));
}

/** An identifier, or the call of a method without arguments. */
const IDENTIFIER = /^[\p{ID_Start}$_][\p{ID_Continue}$]*(\(\))?$/u;

/** The longest name in a path: longer ones may be data, and no error may quote data. */
const MAX_NAME = 40;

/** The most steps of a path: of longer ones only the beginning and the end are worth reading. */
const MAX_STEPS = 16;

/** The position of a walk through a value, for cycles and for the path in an error. */
export class Trail {
  /** The objects around the current value, outermost first. */
  readonly around: object[] = [];
  /** The step from each of them to the next: an index, or the name of a member. */
  readonly steps: (string | number)[] = [];
  /** The beginning of every path. */
  readonly root: string;

  constructor(root: string) {
    this.root = root;
  }

  /**
   * The path as in code, such as `args[0].client`. A member whose name is not a short identifier is
   * named by its position: `args[0][member 3]` is the third.
   */
  get path(): string {
    const { steps } = this;
    const from = steps.length <= MAX_STEPS ? 0 : MAX_STEPS - 2;
    let path = this.root;
    for (let index = 0; index < steps.length; index++) {
      if (from > 0 && index === from) {
        path += "…";
        index = steps.length - 1;
      }
      path += this.#step(index);
    }
    return path;
  }

  #step(index: number): string {
    const step = this.steps[index]!;
    if (typeof step === "number") return `[${step}]`;
    if (step.length <= MAX_NAME && IDENTIFIER.test(step)) return `.${step}`;
    return `[member ${Object.keys(this.around[index]!).indexOf(step) + 1}]`;
  }
}
