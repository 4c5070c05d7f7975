/** Whatever of plain types can be stored, as structured as fast-check makes it. */
import fc from "fast-check";

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
