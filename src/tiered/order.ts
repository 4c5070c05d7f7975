/**
 * The order of changes over several tiers: changes of one entry follow each other, so that every
 * tier applies them in the same order, and whoever read before a change learns of it.
 *
 * @module
 */

/** A map with a place, an id and a key, as its key; it joins no strings. */
export class Places<Value> {
  readonly #ids = new Map<string, Map<string, Value>>();
  #size = 0;

  /** How many places have a value. */
  get size(): number {
    return this.#size;
  }

  get(id: string, key: string): Value | undefined {
    return this.#ids.get(id)?.get(key);
  }

  set(id: string, key: string, value: Value): void {
    let keys = this.#ids.get(id);
    if (keys === undefined) this.#ids.set(id, keys = new Map());
    if (!keys.has(key)) this.#size++;
    keys.set(key, value);
  }

  delete(id: string, key: string): void {
    const keys = this.#ids.get(id);
    if (keys?.delete(key) !== true) return;
    this.#size--;
    if (keys.size === 0) this.#ids.delete(id);
  }

  /** Deletes all places of an id, or all there are. */
  deleteAll(id: string | undefined): void {
    if (id === undefined) {
      this.#ids.clear();
      this.#size = 0;
    } else {
      this.#size -= this.#ids.get(id)?.size ?? 0;
      this.#ids.delete(id);
    }
  }

  /** The places and values of an id, or all there are. */
  *of(id: string | undefined): Generator<[id: string, key: string, value: Value], void, void> {
    const ids = id === undefined ? this.#ids.keys() : [id];
    for (const each of ids) {
      for (const [key, value] of this.#ids.get(each) ?? []) {
        yield [each, key, value];
      }
    }
  }
}

/** A read under way that may copy what it finds. */
export interface Search {
  readonly id: string;
  readonly key: string;
  /** Whether the entry was changed, or was being changed, while it was looked for. */
  outdated: boolean;
}

/** Lets changes of one place follow each other; those of different places know no order. */
export class Order {
  readonly #writes = new Places<Promise<void>>();
  /** Changes of whole ids; under `undefined`, of everything. */
  readonly #sweeps = new Map<string | undefined, Promise<void>>();
  readonly #searches = new Places<Set<Search>>();

  /** Begins to look for an entry; every call needs its `forget`. */
  search(id: string, key: string): Search {
    const outdated = this.#before(id, key).length > 0;
    const search = { id, key, outdated };
    const others = this.#searches.get(id, key);
    if (others === undefined) this.#searches.set(id, key, new Set([search]));
    else others.add(search);
    return search;
  }

  /** Ends what `search` began. */
  forget(search: Search): void {
    const { id, key } = search;
    const searches = this.#searches.get(id, key);
    searches?.delete(search);
    if (searches?.size === 0) this.#searches.delete(id, key);
  }

  /** Lets no search under way copy what it finds; of an id, or all there are. */
  outdate(id: string | undefined): void {
    for (const [, , searches] of this.#searches.of(id)) {
      for (const search of searches) search.outdated = true;
    }
  }

  /** Changes one entry, at once where nothing is before it. */
  write<T>(id: string, key: string, work: () => Promise<T>): Promise<T> {
    for (const search of this.#searches.get(id, key) ?? []) {
      search.outdated = true;
    }
    const { done, result } = follow(this.#before(id, key), work);
    this.#writes.set(id, key, done);
    done.then(() => {
      if (this.#writes.get(id, key) === done) this.#writes.delete(id, key);
    });
    return result;
  }

  /** Changes every entry of an id, or all there are. */
  sweep<T>(id: string | undefined, work: () => Promise<T>): Promise<T> {
    this.outdate(id);
    const writes = [...this.#writes.of(id)].map(([, , write]) => write);
    const sweeps = [...this.#sweeps]
      .filter(([other]) => id === undefined || other === undefined || other === id)
      .map(([, sweep]) => sweep);
    const { done, result } = follow([...writes, ...sweeps], work);
    this.#sweeps.set(id, done);
    done.then(() => {
      if (this.#sweeps.get(id) === done) this.#sweeps.delete(id);
    });
    return result;
  }

  /** Whether a change is under way. */
  get busy(): boolean {
    return this.#writes.size + this.#sweeps.size > 0;
  }

  /** Waits until no change is under way. */
  async idle(): Promise<void> {
    while (this.busy) {
      const writes = [...this.#writes.of(undefined)].map(([, , write]) => write);
      await Promise.all([...writes, ...this.#sweeps.values()]);
    }
  }

  #before(id: string, key: string): Promise<void>[] {
    const before: Promise<void>[] = [];
    for (
      const other of [
        this.#writes.get(id, key),
        this.#sweeps.get(id),
        this.#sweeps.get(undefined),
      ]
    ) {
      if (other !== undefined) before.push(other);
    }
    return before;
  }
}

/** Works when all that is before has settled; `done` never rejects. */
function follow<T>(
  before: readonly Promise<void>[],
  work: () => Promise<T>,
): { done: Promise<void>; result: Promise<T> } {
  const result = before.length === 0 ? work() : Promise.all(before).then(() => work());
  return {
    done: result.then(
      () => {},
      () => {},
    ),
    result,
  };
}
