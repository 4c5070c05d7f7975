/** The values that the torture tests store: each follows from its input. */

/** A short value: JSON text for even inputs, the compact form for odd ones. */
export function smallValue(n: number): unknown {
  const text = `value ${n}`;
  return n % 2 === 0
    ? { n, text, list: [n, n + 1] }
    : { n, text, when: new Date(n), big: BigInt(n) ** 5n };
}

/** A value of about half a megabyte to two: text for even inputs, bytes for odd ones. */
export function largeValue(n: number): string | Uint8Array {
  const length = 500_000 + ((n * 104_729) % 1_500_000);
  if (n % 2 === 0) return `${n},`.repeat(length).slice(0, length);
  const bytes = new Uint8Array(length);
  for (let at = 0; at < length; at++) bytes[at] = (at * 31 + n) & 0xff;
  return bytes;
}

/** A text of 40 MB, which goes to S3 in parts. */
export function hugeValue(n: number): string {
  const text = `${n};`;
  return text.repeat(40_000_000 / text.length);
}
