/**
 * The text of a key, from the parts that identify a call.
 *
 * @module
 */

/** The parts that identify a call. */
export interface KeyParts {
  /** The canonical text of the arguments, or of the result of `hashFunc`. */
  readonly text: string;
  /** Whether the text comes from `hashFunc`. */
  readonly custom: boolean;
  /** The canonical text of the result of the option `this`. */
  readonly self: string | undefined;
  /** The canonical text of the version. */
  readonly version: string | undefined;
}

/**
 * The text that is hashed: the arguments alone where nothing else identifies the call, otherwise
 * an RFC 8785 object with the members `args` (or `hash`), `this` and `version`.
 */
export function keyText({ text, custom, self, version }: KeyParts): string {
  if (self === undefined && version === undefined) return text;
  const members = [
    `${custom ? '"hash"' : '"args"'}:${text}`,
    ...(self === undefined ? [] : [`"this":${self}`]),
    ...(version === undefined ? [] : [`"version":${version}`]),
  ];
  return `{${members.join(",")}}`;
}
