/**
 * Standard Schema, as far as results are checked with it.
 *
 * @module
 */

import type { Rule } from "./check.ts";
import { SchemaError } from "./errors.ts";

/**
 * The part of Standard Schema v1 (https://standardschema.dev) that is used here: zod, valibot,
 * arktype and others implement it.
 *
 * @typeParam Output What the schema makes of a value.
 */
export interface StandardSchema<Output = unknown> {
  /** The entry point that the standard defines. */
  readonly "~standard": {
    /** The version of the standard. */
    readonly version: 1;
    /** Who implements it. */
    readonly vendor: string;
    /** Checks a value: what the schema makes of it, or `issues`, which are what is wrong with it. */
    readonly validate: (value: unknown) => SchemaResult<Output> | Promise<SchemaResult<Output>>;
    /** Types alone; never present at run time. */
    readonly types?: { readonly input: unknown; readonly output: Output } | undefined;
  };
}

/** What a schema says of a value. */
export type SchemaResult<Output> =
  | {
    /** What the schema makes of the value. */
    readonly value: Output;
    /** Absent: nothing is wrong. */
    readonly issues?: undefined;
  }
  | {
    /** What is wrong with the value. */
    readonly issues: readonly unknown[];
  };

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
