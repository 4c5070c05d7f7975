/**
 * The one order of changes: every store, delete and bust of a cache goes through here, so that
 * changes of an entry happen in the order of their calls and a bust wins over what began before it.
 *
 * A change of a key follows those of the key, its id and the store that were asked for before it; a
 * bust of an id follows those of all its keys as well, and one of the store follows everything.
 * Each bust and change has a number: whatever was born before the last bust of its key is void.
 *
 * @module
 */

/** The latest changes of a key, an id or the whole store, in numbers of the order's clock. */
interface Epochs {
  /** The last bust. */
  busted: number;
  /** The last change or bust. */
  changed: number;
  /** Settles when the last change that was asked for has settled. */
  tail: Promise<unknown> | undefined;
}

/**
 * A key while work on it is under way.
 * @category Caches
 */
export class Place {
  /** The id that it belongs to. */
  readonly scope: Scope;
  /** The key, as backends know it. */
  readonly key: string;
  /** The last bust, by the order's clock. */
  busted: number;
  /** The last change or bust, by the order's clock. */
  changed: number;
  /** Settles when the last change that was asked for has settled. */
  tail: Promise<unknown> | undefined;
  /** A copy between tiers on its way: changes wait for it, lookups do not. */
  repair: Promise<unknown> | undefined;
  /** The cache's own data for the key: a lookup and a run that equal calls share. */
  shared: object | undefined;
  /** The number of holders; the place is dropped with the last one. */
  users = 0;
  /** The time at which a transfer of this key last moved, by `waitedMs()`. */
  progressAt = 0;

  /**
   * Begins where the dropped places of its id have left off.
   *
   * @param scope The id that it belongs to.
   * @param key The key, as backends know it.
   */
  constructor(scope: Scope, key: string) {
    this.scope = scope;
    this.key = key;
    this.busted = scope.droppedBust;
    this.changed = scope.droppedChange;
  }
}

/**
 * The changes of one id, and its keys in use.
 * @category Caches
 */
export class Scope {
  /** The id, as backends know it. */
  readonly name: string;
  /** The keys in use, and an empty one that stays. */
  readonly places: Map<string, Place> = new Map();
  /** The last bust of all its keys, by the order's clock. */
  busted = 0;
  /** The last change of all its keys, by the order's clock. */
  changed = 0;
  /** Settles when the last change of all its keys has settled. */
  tail: Promise<unknown> | undefined;
  /** The last bust of any key whose place was dropped. */
  droppedBust = 0;
  /** The last change of any key whose place was dropped. */
  droppedChange = 0;
  /** The time at which a transfer of any of its keys last moved, by `waitedMs()`. */
  progressAt = 0;

  /**
   * Begins without any change.
   *
   * @param name The id, as backends know it.
   */
  constructor(name: string) {
    this.name = name;
    // No key is empty. A Map that empties makes itself a new table each time, which costs more than
    // all else that a place does.
    this.places.set("", new Place(this, ""));
  }
}

/**
 * The order of the changes of one cache.
 * @category Caches
 */
export class ChangeOrder {
  readonly #scopes = new Map<string, Scope>();
  readonly #all: Epochs = { busted: 0, changed: 0, tail: undefined };
  #clock = 0;
  #pendingChanges = 0;

  /** Whether a change is under way. */
  get isChanging(): boolean {
    return this.#pendingChanges > 0;
  }

  /** The next number of the clock, higher than all before. */
  now(): number {
    return ++this.#clock;
  }

  /** The scope of an id, made at its first use. */
  scope(name: string): Scope {
    let scope = this.#scopes.get(name);
    if (scope === undefined) this.#scopes.set(name, scope = new Scope(name));
    return scope;
  }

  /** Takes the place of a key; `leave` gives it back. */
  enter(scope: Scope, key: string): Place {
    let place = scope.places.get(key);
    if (place === undefined) scope.places.set(key, place = new Place(scope, key));
    place.users++;
    return place;
  }

  /** Gives a place back. */
  leave(place: Place): void {
    if (--place.users > 0) return;
    const { scope } = place;
    scope.droppedBust = Math.max(scope.droppedBust, place.busted);
    scope.droppedChange = Math.max(scope.droppedChange, place.changed);
    scope.places.delete(place.key);
    // An old table of the Map may hold it for long.
    place.shared = place.tail = undefined;
  }

  /** Whether nothing is under way for a key, its id and the store. */
  isQuiet(scope: Scope, key: string): boolean {
    // The count comes first: looking up a new key has to compute its hash.
    return this.#all.tail === undefined && scope.tail === undefined &&
      (scope.places.size === 1 || !scope.places.has(key));
  }

  /** Whether no bust has reached a key since the number `born`. */
  isCurrent(place: Place, born: number): boolean {
    return born > place.busted && born > place.scope.busted && born > this.#all.busted;
  }

  /** Like `isCurrent`, for a key that may have no place. */
  isCurrentKey(scope: Scope, key: string, born: number): boolean {
    const place = scope.places.size === 1 ? undefined : scope.places.get(key);
    const busted = place?.busted ?? scope.droppedBust;
    return born > busted && born > scope.busted && born > this.#all.busted;
  }

  /** Whether no change or bust has reached a key since the number `born`. */
  isUnchanged(place: Place, born: number): boolean {
    return born > place.changed && born > place.scope.changed && born > this.#all.changed;
  }

  /** The changes that a lookup waits for, once and not for later ones; `undefined` for none. */
  before(scope: Scope, place?: Place): Promise<unknown> | undefined {
    return join(this.#all.tail, scope.tail, place?.tail);
  }

  /** Whether no change is under way that a change of this key would follow. */
  isFree({ scope, tail }: Place): boolean {
    return this.#all.tail === undefined && scope.tail === undefined && tail === undefined;
  }

  /**
   * Changes one entry.
   *
   * @param place Its key.
   * @param work Makes the change.
   * @param settled Called when the change has settled, with the error if it failed.
   */
  change<Result>(
    place: Place,
    work: () => Promise<Result>,
    settled?: (error?: unknown) => void,
  ): Promise<Result> {
    place.changed = this.now();
    place.users++;
    const { tail, repair, scope } = place;
    const before = this.isFree(place) && repair === undefined
      ? undefined
      : join(this.#all.tail, scope.tail, tail, repair);
    return this.#follow(place, before, work, (error) => {
      this.leave(place);
      settled?.(error);
    });
  }

  /** Deletes one entry: what began before is not stored and not served. */
  bust<Result>(place: Place, work: () => Promise<Result>): Promise<Result> {
    place.busted = this.now();
    return this.change(place, work);
  }

  /** Deletes every entry of an id, or of the store: what began before is not stored or served. */
  sweep<Result>(scope: Scope | undefined, work: () => Promise<Result>): Promise<Result> {
    const swept = scope ?? this.#all;
    swept.busted = swept.changed = this.now();
    const scopes = scope === undefined ? [...this.#scopes.values()] : [scope];
    const tails = [this.#all.tail];
    for (const { tail, places } of scopes) {
      tails.push(tail);
      for (const place of places.values()) tails.push(place.tail, place.repair);
    }
    return this.#follow(swept, join(...tails), work);
  }

  /**
   * Copies an entry between tiers. The copy follows the changes before it, and later changes follow
   * the copy. An entry that a change has overtaken is not copied.
   */
  async repair(place: Place, born: number, work: () => Promise<unknown>): Promise<void> {
    if (join(this.#all.tail, place.scope.tail, place.tail) !== undefined) return;
    place.users++;
    const isOvertaken = (): boolean => !this.isUnchanged(place, born);
    const done = (place.repair ?? Promise.resolve()).then(() => isOvertaken() || work());
    const end = (): void => {
      if (place.repair === repair) place.repair = undefined;
      this.leave(place);
    };
    const repair: Promise<unknown> = done.then(end, end);
    place.repair = repair;
    await done;
  }

  /** Resolves when no change is under way. */
  async settled(): Promise<void> {
    for (let pending = this.#pending(); pending !== undefined; pending = this.#pending()) {
      await pending;
    }
  }

  #pending(): Promise<unknown> | undefined {
    const tails = [this.#all.tail];
    for (const { tail, places } of this.#scopes.values()) {
      tails.push(tail);
      for (const place of places.values()) tails.push(place.tail, place.repair);
    }
    return join(...tails);
  }

  /** Makes a change after those in `before`, as the last one of a key, an id or the store. */
  #follow<Result>(
    last: Epochs,
    before: Promise<unknown> | undefined,
    work: () => Promise<Result>,
    after?: (error?: unknown) => void,
  ): Promise<Result> {
    const done = before === undefined ? begin(work) : before.then(work);
    this.#pendingChanges++;
    const end = (error?: unknown): void => {
      this.#pendingChanges--;
      if (last.tail === tail) last.tail = undefined;
      after?.(error);
    };
    const tail: Promise<unknown> = done.then(
      () => end(),
      (error) => end(error ?? new Error("it failed without an error")),
    );
    last.tail = tail;
    return done;
  }
}

/** Begins work; an error that a backend throws at once becomes a rejection. */
function begin<Result>(work: () => Promise<Result>): Promise<Result> {
  try {
    return work();
  } catch (error) {
    return Promise.reject(error);
  }
}

/** Resolves when all have settled; `undefined` when there is none. Tails never reject. */
function join(...tails: readonly (Promise<unknown> | undefined)[]): Promise<unknown> | undefined {
  const pending = tails.filter((tail) => tail !== undefined);
  return pending.length < 2 ? pending[0] : Promise.all(pending);
}
