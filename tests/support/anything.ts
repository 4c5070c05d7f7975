/** Arbitraries of fast-check for all values and all arguments. */
import { Buffer } from "node:buffer";
import fc from "fast-check";
import { VIEW_CLASSES } from "./awkward_values.ts";

/** Values of plain types, which can be stored. */
export const anything: fc.Arbitrary<unknown> = fc.anything({
  maxDepth: 4,
  withBigInt: true,
  withDate: true,
  withMap: true,
  withSet: true,
  withTypedArray: true,
  withSparseArray: true,
  withNullPrototype: true,
  withUnicodeString: true,
  withObjectString: true,
});

/** An argument that can be made anew any number of times. */
export interface Recipe {
  readonly make: () => unknown;
  /**
   * A text that two recipes share exactly if §4 of the design says that their arguments are the
   * same, written without the library; `undefined` if the argument counts as absent.
   */
  readonly identity: string | undefined;
}

function recipe(make: () => unknown, ...identity: unknown[]): Recipe {
  return { make, identity: JSON.stringify(identity) };
}

/** Queries and cookies come as objects of such a class. */
class Query {}
Object.setPrototypeOf(Query.prototype, null);
Reflect.deleteProperty(Query.prototype, "constructor");

const PROTOTYPES = [Object.prototype, null, Query.prototype];

class Celsius {
  #said: unknown;
  constructor(said: unknown) {
    this.#said = said;
  }
  toJSON(): unknown {
    return this.#said;
  }
}

class Fahrenheit extends Celsius {}

const ABSENT: Recipe = { make: () => undefined, identity: undefined };
const SIGNAL: Recipe = { make: () => new AbortController().signal, identity: undefined };

const text = fc.oneof(fc.constantFrom("", "0", "1", "a", "$", "Date", "\ud800"), fc.string());
const name = fc.oneof(fc.constantFrom("a", "b", "$", "v", "__proto__", "0", "\ud800"), fc.string());
const pairs = fc.array(fc.tuple(fc.constantFrom("a", "b"), fc.constantFrom("", "1")), {
  maxLength: 3,
});

const leaf: fc.Arbitrary<Recipe> = fc.oneof(
  fc.constantFrom(ABSENT, SIGNAL),
  text.map((value) => recipe(() => value, "string", value)),
  fc.oneof(fc.constantFrom(0, -0, 1, NaN, Infinity), fc.double()).map((value) =>
    recipe(() => value, "number", String(value))
  ),
  fc.constantFrom(true, false, null).map((value) => recipe(() => value, String(value))),
  fc.bigInt({ min: -2n, max: 2n }).map((value) => recipe(() => value, "bigint", String(value))),
  fc.constantFrom(0, 1, NaN).map((time) => recipe(() => new Date(time), "Date", String(time))),
  fc.tuple(fc.constantFrom("a", "b"), fc.constantFrom("", "g"), fc.nat(1)).map((parts) =>
    recipe(
      () => Object.assign(new RegExp(parts[0], parts[1]), { lastIndex: parts[2] }),
      "RegExp",
      parts,
    )
  ),
  fc.constantFrom("http://a/", "http://a/?b").map((href) =>
    recipe(() => new URL(href), "URL", href)
  ),
  pairs.map((list) => recipe(() => new URLSearchParams(list), "URLSearchParams", list)),
  pairs.map((list) => {
    const form = (): FormData => {
      const data = new FormData();
      for (const pair of list) data.append(...pair);
      return data;
    };
    return recipe(form, "FormData", list);
  }),
  pairs.map((list) => {
    const values = (wanted: string) => list.filter(([name]) => name === wanted).map(([, it]) => it);
    const lines = ["a", "b"].map((
      name,
    ) => [values(name).length > 0, values(name).join(", ").trim()]);
    return recipe(() => new Headers(list), "Headers", lines);
  }),
  fc.tuple(
    fc.constantFrom(...VIEW_CLASSES, ["ArrayBuffer", null] as const, ["Buffer", null] as const),
    fc.array(fc.nat(1), { maxLength: 2 }),
  ).map(([[kind, View], octets]) =>
    recipe(
      () => {
        const { buffer } = Uint8Array.from(octets.flatMap((octet) => Array(8).fill(octet)));
        if (View !== null) return new View(buffer);
        return kind === "Buffer" ? Buffer.from(buffer) : buffer;
      },
      kind,
      octets,
    )
  ),
);

const HOLE = Symbol("hole");

/** Each type in the table of §4, nested in each other. */
export const argument: fc.Arbitrary<Recipe> = fc.letrec<{ any: Recipe }>((tie) => {
  const any = tie("any");
  const several = fc.array(any, { maxLength: 3 });
  const distinct = fc.uniqueArray(any, {
    maxLength: 3,
    selector: ({ identity }) => identity ?? "absent",
  });
  const present = ({ identity }: Recipe): string => identity ?? "absent";
  return {
    any: fc.oneof(
      { maxDepth: 4, depthSize: "small" },
      leaf,
      fc.array(fc.oneof({ weight: 9, arbitrary: any }, fc.constant(HOLE)), { maxLength: 4 }).map(
        (items) =>
          recipe(
            () => {
              const array: unknown[] = [];
              array.length = items.length;
              items.forEach((item, index) => {
                if (typeof item !== "symbol") array[index] = item.make();
              });
              return array;
            },
            "array",
            items.map((item) => typeof item === "symbol" ? "hole" : present(item)),
          ),
      ),
      fc.tuple(
        fc.uniqueArray(fc.tuple(name, any), { maxLength: 3, selector: ([name]) => name }),
        fc.constantFrom(...PROTOTYPES),
      ).map(([members, prototype]) =>
        recipe(
          () => {
            const object: object = Object.create(prototype);
            for (const [name, { make }] of members) {
              Object.defineProperty(object, name, {
                value: make(),
                enumerable: true,
                writable: true,
                configurable: true,
              });
            }
            return object;
          },
          "object",
          members.flatMap(([name, { identity }]) =>
            identity === undefined ? [] : [[name, identity]]
          )
            .sort(),
        )
      ),
      fc.tuple(distinct, several).map(([keys, values]) =>
        recipe(
          () => new Map(keys.map((key, index) => [key.make(), values[index]?.make()])),
          "Map",
          keys.map((key, index) => [present(key), present(values[index] ?? ABSENT)]).sort(),
        )
      ),
      distinct.map((items) =>
        recipe(() => new Set(items.map(({ make }) => make())), "Set", items.map(present).sort())
      ),
      fc.tuple(fc.constantFrom(Celsius, Fahrenheit), any).map(([Class, said]) =>
        recipe(() => new Class(said.make()), "toJSON", Class.name, present(said))
      ),
    ),
  };
}).any;
