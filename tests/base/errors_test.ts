/** Every error of the library: its class, name, fields, cause and message. */
import { test } from "node:test";
import { assert, assertEquals, assertStrictEquals } from "@std/assert";
import * as exported from "../../mod.ts";
import { quote } from "../../src/base/errors.ts";

const {
  BackendError,
  BatchError,
  BucketNotFoundError,
  CacheClosedError,
  CacheMissError,
  CacheOnlyError,
  DamagedDatabaseError,
  DamagedEntryError,
  PanzaError,
  QueueFullError,
  ReentrantCallError,
  SchemaError,
  UncacheableValueError,
  UnhashableArgumentError,
} = exported;

const cause = new Error("because");
const issues = ["secret", "secret"];
const failures = [{ index: 2, input: "secret", error: cause }];

/** One error of each class, the fields that it must have, and parts of its message. */
const ERRORS: Readonly<
  Record<string, readonly [error: Error, fields: object, message: readonly string[]]>
> = {
  BackendError: [
    new BackendError("SQLite x.db", "write", cause, "make room"),
    { backend: "SQLite x.db", operation: "write", cause },
    ["write", "SQLite x.db", "because", "; make room"],
  ],
  BatchError: [
    new BatchError(failures, 3),
    { failures, cause },
    ["1 of 3", "error.failures", "; the others are stored"],
  ],
  BucketNotFoundError: [
    new BucketNotFoundError("S3 b/p", "read", "b"),
    { backend: "S3 b/p", operation: "read", bucket: "b" },
    ["read", "S3 b/p", '"b"', "; create it"],
  ],
  CacheClosedError: [new CacheClosedError(), {}, ["closed", "; open a new one"]],
  CacheMissError: [new CacheMissError("k"), { key: "k" }, ['"k"', "; use cache.read"]],
  CacheOnlyError: [
    new CacheOnlyError("f", "3f"),
    { id: "f", key: "3f" },
    ['"f"', "3f", "CACHE_ONLY", "; run once without"],
  ],
  DamagedEntryError: [
    new DamagedEntryError("it is cut off", "f", "3f", { cause }),
    { id: "f", key: "3f", cause },
    ['"f"', "3f", "cut off", "; it counts as a miss"],
  ],
  DamagedDatabaseError: [
    new DamagedDatabaseError("x.db", "x.db.panza-2", cause),
    { path: "x.db", continuedIn: "x.db.panza-2", cause },
    ["x.db", "because", "; it is left as it is", "delete x.db.panza-2"],
  ],
  QueueFullError: [new QueueFullError(3), { maxQueue: 3 }, ["3", "; raise maxQueue"]],
  ReentrantCallError: [
    new ReentrantCallError("f", "3f"),
    { id: "f", key: "3f" },
    ['"f"', "3f", "; call the plain function"],
  ],
  SchemaError: [new SchemaError(issues), { issues }, ["2 issues", "; retry({ schema })"]],
  UncacheableValueError: [
    new UncacheableValueError("value.f", "a function"),
    { path: "value.f" },
    ["value.f", "a function", "; return the parts", "codec"],
  ],
  UnhashableArgumentError: [
    new UnhashableArgumentError("args[0]", "a function"),
    { path: "args[0]" },
    ["args[0]", "a function", "; pass hashFunc"],
  ],
};

test("Every exported error is a PanzaError with a literal name, its fields and its cause", () => {
  const classes = Object.entries(exported).filter(
    ([, value]) => typeof value === "function" && value.prototype instanceof Error,
  );
  assertEquals(
    classes.map(([name]) => name).filter((name) => name !== "PanzaError").sort(),
    Object.keys(ERRORS).sort(),
  );
  for (const [name, [error, fields]] of Object.entries(ERRORS)) {
    assert(error instanceof PanzaError && error instanceof Error, name);
    assertStrictEquals(error.constructor, Reflect.get(exported, name));
    // The name is a field, so that a minifier of class names does not change it.
    assertEquals(Object.getOwnPropertyDescriptor(error, "name")?.value, name);
    for (const [field, value] of Object.entries(fields)) {
      assertStrictEquals(Reflect.get(error, field), value, `${name}.${field}`);
    }
    assert(error.stack?.includes("errors_test"), name);
  }
});

test("Every message says what failed, where, and the way out", () => {
  for (const [name, [error, , parts]] of Object.entries(ERRORS)) {
    assert(String(error).startsWith(`${name}: Cannot `), name);
    for (const part of parts) assert(error.message.includes(part), error.message);
  }
});

test("Errors show the results and inputs that they hold only where they are asked for", () => {
  for (const error of [new SchemaError(issues), new BatchError(failures, 3)]) {
    assertEquals(Object.keys(error), ["name"]);
    assert(!`${error}${JSON.stringify(error)}`.includes("secret"));
  }
});

test("BackendError reports what was thrown, also when it is not an error", () => {
  for (
    const [thrown, text] of [
      ["full", "full"],
      [undefined, "undefined"],
      [null, "null"],
      [Symbol("s"), "Symbol(s)"],
      [{ secret: 1 }, "an object"],
      [Object.create(null), "an object"],
    ] as const
  ) {
    const error = new BackendError("store", "read", thrown);
    assertEquals(error.message, `Cannot read in store: ${text}`);
    assertStrictEquals(error.cause, thrown);
  }
});

test("quote() shortens a value, and never shows the content of an object", () => {
  for (
    const [value, text] of [
      ["a", '"a"'],
      ["a\nb", '"a\\nb"'],
      ["x".repeat(81), `"${"x".repeat(80)}…"`],
      [1.5, "1.5"],
      [-0, "0"],
      [NaN, "NaN"],
      [10n, "10n"],
      [true, "true"],
      [undefined, "undefined"],
      [null, "null"],
      [Symbol("s"), "Symbol(s)"],
      [() => 1, "a function"],
      [class A {}, "a function"],
      [["secret"], "an array"],
      [{ secret: 1 }, "an object"],
      [new Date(), "an object"],
    ] as [unknown, string][]
  ) {
    assertEquals(quote(value), text);
  }
});
