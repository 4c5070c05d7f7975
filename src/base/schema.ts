/**
 * Standard Schema, as far as results are checked with it.
 *
 * @module
 */

import type { Rule } from "./check.ts";
import { SchemaError } from "./errors.ts";

/** What a schema makes of a value: its output, or what is wrong. */
export type SchemaResult<Output> =
  | { readonly value: Output; readonly issues?: undefined }
  | { readonly issues: readonly unknown[] };

/**
 * The part of Standard Schema v1 (https://standardschema.dev) that is used here: zod, valibot,
 * arktype and others implement it.
 */
export interface StandardSchema<Output = unknown> {
  /** The entry point that the standard defines. */
  readonly "~standard": {
    /** The version of the standard. */
    readonly version: 1;
    /** Who implements it. */
    readonly vendor: string;
    /** Checks a value. */
    readonly validate: (value: unknown) => SchemaResult<Output> | Promise<SchemaResult<Output>>;
    /** Types alone; never present at run time. */
    readonly types?: { readonly input: unknown; readonly output: Output } | undefined;
  };
}

/** A schema of any library that implements the standard; some are functions. */
export const schemaRule: Rule<StandardSchema> = {
  must: "a Standard Schema",
  read: (value) => isSchema(value) ? value : undefined,
};

function isSchema(value: unknown): value is StandardSchema {
  const standard: unknown = Object(value)["~standard"];
  return typeof standard === "object" && standard !== null && "validate" in standard &&
    typeof standard.validate === "function";
}

/**
 * Checks a value.
 *
 * @param schema The schema.
 * @param value The value.
 * @returns What the schema makes of it.
 * @throws {SchemaError} If it fails the schema.
 */
export async function validate<Output>(
  schema: StandardSchema<Output>,
  value: unknown,
): Promise<Output> {
  const result = await schema["~standard"].validate(value);
  if (result.issues !== undefined) throw new SchemaError(result.issues);
  return result.value;
}
