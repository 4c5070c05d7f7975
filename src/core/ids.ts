/**
 * Names of functions as ids: only one function object may use a name over one store.
 *
 * @module
 */

import { quote } from "../base/errors.ts";

/** The names that are taken over one store, each with its function. */
type Names = Map<string, object>;

/** The names of a store by its location; without a location, by its backend. */
const byLocation = new Map<string, Names>();
const byBackend = new WeakMap<object, Names>();

/** The source text of functions that hide theirs: bound and native ones. */
const NATIVE = /\{\s*\[native code\]\s*\}\s*$/;

const WAY_OUT = "pass { id: … }; if it is the same function, edited, give it an id and, when its " +
  "results change, a new version";

/** The names that one cache has taken; closing the cache frees them. */
export class IdRegistry {
  readonly #names: Names;
  readonly #taken: string[] = [];
  readonly #sources = new Map<string, string>();

  /**
   * @param location The location of the store, where it has one.
   * @param backend The backend as the user gave it.
   */
  constructor(location: string | undefined, backend: object) {
    const known = location === undefined ? byBackend.get(backend) : byLocation.get(location);
    this.#names = known ?? new Map();
    if (known !== undefined) return;
    if (location === undefined) byBackend.set(backend, this.#names);
    else byLocation.set(location, this.#names);
  }

  /**
   * Takes a function's own name as its id.
   *
   * @throws {TypeError} If it has no name, is bound or native, or another function has the name.
   */
  claim(fn: { readonly name: string }): string {
    const { name } = fn;
    const refuse = (why: string): TypeError =>
      new TypeError(`Cannot cache a function by its name: ${why}; ${WAY_OUT}`);
    if (name === "") throw refuse("it has none");
    if (NATIVE.test(fn.toString())) {
      throw refuse(`${quote(name)} is bound or native, so its source cannot be told from others'`);
    }
    const other = this.#names.get(name);
    if (other !== undefined && other !== fn) {
      throw refuse(
        `another function is cached as ${quote(name)} over this store, and they would serve each ` +
          "other's results (a notebook cell that runs again or a hot reload makes another function too)",
      );
    }
    if (other === undefined) {
      this.#names.set(name, fn);
      this.#taken.push(name);
    }
    return name;
  }

  /** Whether the first function with this id had another source. */
  isOfAnother(id: string, fn: object): boolean {
    const source = fn.toString();
    const first = this.#sources.get(id);
    if (first === undefined) this.#sources.set(id, source);
    return first !== undefined && first !== source;
  }

  /** Whether a function has this id. */
  has(id: string): boolean {
    return this.#sources.has(id);
  }

  /** Whether any function was wrapped. */
  get hasAny(): boolean {
    return this.#sources.size > 0;
  }

  release(): void {
    for (const name of this.#taken.splice(0)) this.#names.delete(name);
  }
}
