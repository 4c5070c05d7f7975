import { test } from "node:test";
import { assert, assertEquals, assertStrictEquals } from "@std/assert";
import { findSignals, isAbortSignal, replaceSignals } from "../../src/base/signals.ts";

/** A signal like those of the package `abort-controller`: no `reason`, no `throwIfAborted`. */
class PolyfilledSignal extends EventTarget {
  readonly aborted = false;
}

function plainSignal(): object {
  return { aborted: false, addEventListener() {}, removeEventListener() {} };
}

test("isAbortSignal() knows signals of the runtime and of polyfills", () => {
  for (const signal of [new AbortController().signal, new PolyfilledSignal(), plainSignal()]) {
    assert(isAbortSignal(signal));
  }
  const throwing = {
    get aborted(): boolean {
      throw new Error("mine");
    },
  };
  const { proxy, revoke } = Proxy.revocable({}, {});
  revoke();
  for (
    const other of [
      undefined,
      null,
      1,
      "",
      {},
      new EventTarget(),
      { aborted: true },
      throwing,
      proxy,
    ]
  ) {
    assert(!isAbortSignal(other));
  }
});

test("findSignals() finds signals as deep as plain objects and arrays go, each once", () => {
  const { signal } = new AbortController();
  const other = new PolyfilledSignal();
  const bare = Object.assign(Object.create(null), { signal });
  let deep: unknown = other;
  for (let level = 0; level < 20_000; level++) deep = level % 2 === 0 ? [deep] : { deep };
  for (
    const [args, found] of [
      [[], []],
      [[1, "a", undefined], []],
      [[signal, { signal }, [signal]], [signal]],
      [[{ request: { init: [1, bare] } }], [signal]],
      [[deep, signal], [signal, other]],
      [[new Request("http://localhost", { signal: null })], []],
      [[
        new (class {
          signal = signal;
          client = { signal: other };
        })(),
      ], [signal]],
      [[
        new Map([[1, signal]]),
        new (class {
          inner = { signal };
        })(),
      ], []],
    ] satisfies [unknown[], unknown[]][]
  ) {
    assertEquals(findSignals(args).filter((one) => found.includes(one)), found);
    if (found.length === 0) assert(findSignals(args).every((one) => one !== signal));
  }
});

test("findSignals() and replaceSignals() take cycles, throwing getters and revoked proxies", () => {
  const { signal } = new AbortController();
  const given = new AbortController().signal;
  const { proxy, revoke } = Proxy.revocable({}, {});
  revoke();
  const inner: Record<string, unknown> = { signal };
  const outer = {
    inner,
    proxy,
    list: [inner],
    get bad(): unknown {
      throw new Error("mine");
    },
  };
  inner["outer"] = outer;
  assertEquals(findSignals([outer]), [signal]);
  const [copy, again] = replaceSignals([outer, outer], given);
  assert(typeof copy === "object" && copy !== null && "inner" in copy && "list" in copy);
  assertStrictEquals(copy, again);
  const { inner: copied } = copy;
  assert(typeof copied === "object" && copied !== null && "outer" in copied && "signal" in copied);
  assertStrictEquals(copied.outer, copy);
  assertStrictEquals(copied.signal, given);
  assert(Array.isArray(copy.list) && copy.list[0] === copied);
  assert("proxy" in copy && copy.proxy === proxy);
  assertStrictEquals(inner["signal"], signal);
});

test("replaceSignals() copies only what stands on the way to a signal", () => {
  const { signal } = new AbortController();
  const given = new AbortController().signal;
  const client = new (class {
    signal = signal;
  })();
  const data = { rows: [1, 2] };
  const hidden = Symbol("hidden");
  const init = Object.freeze({
    signal,
    data,
    client,
    [hidden]: 1,
    get now() {
      return 7;
    },
  });
  const args = [data, [init], signal];
  const [first, second, third] = replaceSignals(args, given);
  assertStrictEquals(first, data);
  assertStrictEquals(third, given);
  assert(Array.isArray(second));
  assertEquals(second, [{ signal: given, data, client, [hidden]: 1, now: 7 }]);
  assertStrictEquals(second[0].data, data);
  assertStrictEquals(second[0].client, client);
  assertStrictEquals(client.signal, signal);
  assertStrictEquals(replaceSignals([data, client], given)[1], client);
});

test("replaceSignals() gives a signal that never aborts where there is none to give", () => {
  const found = findSignals(replaceSignals([{ signal: AbortSignal.abort() }], undefined));
  assertEquals(found.map(({ aborted }) => aborted), [false]);
});
