/**
 * Standard Schema, which checks results.
 *
 * @module
 */

import type { Rule } from "./check.ts";
import { SchemaError } from "./errors.ts";

/**
 * The part of Standard Schema v1 (https://standardschema.dev) that is used here: zod, valibot,
 * arktype and others implement it.
 *
 * @typeParam Output The type of the schema's output.
 */
export interface StandardSchema<Output = unknown> {
  /** The entry point that the standard defines. */
  readonly "~standard": {
    /** The version of the standard. */
    readonly version: 1;
    /** The name of the implementing library. */
    readonly vendor: string;
    /** Checks a value, and returns either the schema's output or the `issues` of the value. */
    readonly validate: (value: unknown) => SchemaResult<Output> | Promise<SchemaResult<Output>>;
    /** Types only; never present at run time. */
    readonly types?: { readonly input: unknown; readonly output: Output } | undefined;
  };
}

/** The result of checking a value. */
export type SchemaResult<Output> =
  | {
    /** The schema's output. */
    readonly value: Output;
    /** Absent: the value passes the schema. */
    readonly issues?: undefined;
  }
  | {
    /** The reasons why the value fails the schema. */
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
 * @returns The schema's output.
 * @throws {SchemaError} If the value fails the schema.
 */
export async function validate<Output>(
  schema: StandardSchema<Output>,
  value: unknown,
): Promise<Output> {
  const result = await schema["~standard"].validate(value);
  if (result.issues !== undefined) throw new SchemaError(result.issues);
  return result.value;
}
