/** The waits of calls, stores, busts and close() for a store that makes no progress. */
import { readFile } from "node:fs/promises";
import { after, before, test } from "node:test";
import { assert, assertEquals, assertRejects } from "@std/assert";
import { PATIENCE } from "../../src/base/patience.ts";
import { sleep } from "../../src/base/turn.ts";
import { Cache } from "../../src/core/cache.ts";
import type { ErrorKind } from "../../src/core/options.ts";
import { MemoryBackend } from "../../memory.ts";
import type { StoreLink } from "../../src/backend/contract.ts";
import { FaultyBackend } from "../support/faulty.ts";

const usual = { ...PATIENCE };
before(() => void (PATIENCE.callMs = 80));
after(() => void Object.assign(PATIENCE, usual));

/** Runs a test in which changes fail soon. In the other tests a busy machine would make them fail. */
function impatiently(body: () => Promise<void>): () => Promise<void> {
  return async () => {
    PATIENCE.changeMs = 400;
    try {
      await body();
    } finally {
      PATIENCE.changeMs = usual.changeMs;
    }
  };
}

/** A cache over a store that can be held up, and a function whose result names the run. */
function slow() {
  const backend = new FaultyBackend(new MemoryBackend());
  const told: ErrorKind[] = [];
  const cache = new Cache(backend, { onError: (_error, { kind }) => told.push(kind) });
  let runs = 0;
  const fn = cache.cache({ id: "f" })((key: string) => Promise.resolve(`${key}${++runs}`));
  return { backend, cache, fn, told };
}

test("A lookup without progress is a reported miss, and the next lookups are left out", async () => {
  const { backend, fn, told } = slow();
  await fn("a");
  backend.hold("get");
  assertEquals(await fn("a"), "a2");
  assertEquals(told, ["read"]);
  const asked = backend.calls("get");
  assertEquals(await fn("a"), "a3");
  assertEquals(backend.calls("get"), asked);
  backend.heal();
});

test("A bulk lookup without progress is reported once, and each input is computed", async () => {
  const { backend, fn, told } = slow();
  backend.hold("get");
  backend.hold("getMany");
  assertEquals(await fn.map(["a", "b"], { concurrency: 1 }).values(), ["a1", "b2"]);
  assertEquals(told, ["read"]);
  backend.heal();
});

test("A store that takes long is not waited for, and happens all the same", async () => {
  const { backend, cache, fn, told } = slow();
  backend.hold("set");
  const detail = await fn.detail("a");
  assertEquals([detail.value, detail.storedAt, detail.unstored], ["a1", null, undefined]);
  // No other call waits behind the store.
  assertEquals(await Promise.race([fn("b"), sleep(PATIENCE.callMs)]), "b2");
  backend.release("set");
  await cache.close();
  assertEquals([told, cache.stats().unstored], [[], 0]);
});

test("close() waits for stores that their callers did not wait for", async () => {
  const { backend, cache, fn } = slow();
  backend.hold("set");
  await fn("a");
  let isClosed = false;
  const closing = cache.close().then(() => (isClosed = true));
  await sleep(20);
  assertEquals(isClosed, false);
  backend.release("set");
  await closing;
  assertEquals(backend.calls("set"), 1);
});

test(
  "A store without progress for long has failed: it is reported, counted, and close() goes on",
  impatiently(async () => {
    const { backend, cache, fn, told } = slow();
    backend.hold("set");
    await fn("a");
    await cache.close();
    assertEquals([told, cache.stats().unstored], [["write"], 1]);
    backend.heal();
  }),
);

for (const what of ["key", "id", "store"] as const) {
  test(`A call waits for a bust of its ${what} as for a lookup; then it runs, and stores behind it`, async () => {
    const { backend, cache, fn } = slow();
    await fn("a");
    const operation = { key: "delete", id: "deleteId", store: "clear" }[what] as "delete";
    backend.hold(operation);
    const busting = {
      key: () => fn.bustCache("a"),
      id: () => fn.bustCache(),
      store: () => cache.bustAll(),
    };
    const bust = busting[what]();
    // The entry that was stored before is not served.
    const detail = await fn.detail("a");
    assertEquals([detail.value, detail.storedAt], ["a2", null]);
    assertEquals(backend.calls("set"), 1);
    backend.release(operation);
    await bust;
    await until(async () => (await fn.readCache("a")).hit);
    assertEquals((await fn.detail("a")).value, "a2");
  });
}

test(
  "A bust without progress for long rejects, and what it named is not served afterwards",
  impatiently(async () => {
    const { backend, fn } = slow();
    await fn("a");
    await fn("b");
    backend.hold("delete");
    await assertRejects(() => fn.bustCache("a"), Error, "no progress");
    backend.heal();
    assertEquals((await fn.detail("a")).status, "miss");
    assertEquals((await fn.detail("a")).status, "hit");
    assertEquals((await fn.detail("b")).status, "hit");
  }),
);

test("What a failed delete named counts only once this process has stored it", async () => {
  const { backend, cache, fn } = slow();
  for (const bust of [() => fn.bustCache("a"), () => fn.bustCache(), () => cache.bustAll()]) {
    await fn("a");
    for (const operation of ["delete", "deleteId", "clear"] as const) {
      backend.fail(operation, { times: 1 });
    }
    await assertRejects(bust);
    backend.heal();
    assertEquals((await fn.readCache("a")).hit, false);
    assertEquals((await fn.detail("a")).status, "miss");
    assertEquals((await fn.detail("a")).status, "hit");
  }
});

/** A store that reports progress after each of ten parts of a write. */
class Transfer extends MemoryBackend {
  readonly #part: () => Promise<unknown>;
  #link: StoreLink | undefined;

  constructor(part: () => Promise<unknown>) {
    super();
    this.#part = part;
  }

  override connect(_report?: unknown, link?: StoreLink): void {
    this.#link = link;
  }

  override async set(...[id, key, entry]: Parameters<MemoryBackend["set"]>): Promise<void> {
    for (let part = 0; part < 10; part++) {
      await this.#part();
      this.#link?.progress(id, key);
    }
    await super.set(id, key, entry);
  }
}

for (
  const [what, part] of Object.entries({
    "reports progress": () => sleep(PATIENCE.callMs / 4),
    "went on while the program blocked the event loop": async () => {
      await sleep(PATIENCE.callMs / 4);
      const read = readFile(new URL(import.meta.url));
      blockFor(2 * PATIENCE.callMs);
      await read;
    },
  })
) {
  test(`A transfer that ${what} is waited for`, async () => {
    await using cache = new Cache(new Transfer(part));
    const fn = cache.cache({ id: "f" })((key: string) => Promise.resolve(key));
    assert((await fn.detail("a")).storedAt !== null);
  });
}

test("An answer that came while the program blocked the event loop is found", async () => {
  const { backend, fn, told } = slow();
  await fn("a");
  backend.delay("get", 1);
  const found = fn.detail("a");
  blockFor(3 * PATIENCE.callMs);
  assertEquals((await found).status, "hit");
  assertEquals(told, []);
});

function blockFor(milliseconds: number): void {
  for (const end = performance.now() + milliseconds; performance.now() < end;);
}

async function until(isDone: () => Promise<boolean>): Promise<void> {
  while (!await isDone()) await sleep(1);
}
