/** Whatever of plain types can be stored, as structured as fast-check makes it. */
import fc from "fast-check";

/** Everything that has a key; depths are up to the tests. */
export const HASHABLE = {
  withBigInt: true,
  withDate: true,
  withMap: true,
  withSet: true,
  withTypedArray: true,
  withSparseArray: true,
  withNullPrototype: true,
  withUnicodeString: true,
} as const;

export const anything: fc.Arbitrary<unknown> = fc.anything({
  ...HASHABLE,
  maxDepth: 4,
  withObjectString: true,
});
